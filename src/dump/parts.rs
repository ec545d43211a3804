//! How large the parts of an upload are.
//!
//! S3 takes 10,000 parts (Amazon S3 user guide, multipart upload limits), and nobody knows beforehand how long a compressed
//! dump gets. Memory is parts in flight times part size, so parts should be as small as the dump allows.

/// Most parts of one upload (S3's limit).
pub const PARTS_MAX: u32 = 10_000;
/// What every upload must be able to reach: 5 TiB, the largest object that all S3-compatible stores take.
pub const OBJECT_BYTES_MAX: u64 = 5 << 40;
/// Parts are whole multiples of this, and it is what is handed to the store in one piece.
pub const SEGMENT_BYTES: usize = 256 << 10;

/// Parts of one size up to this number, growing ones behind it.
const STEADY_PARTS: u32 = 5_000;

/// The size of each part of one upload.
///
/// The first half of the parts has one size: the configured one, or more where the size of the database says that it would
/// not do. A dump that outgrows them after all gets parts that grow linearly, so that the last reaches
/// [`OBJECT_BYTES_MAX`]: linear, because that ends with the smallest largest part.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PartSizes {
    steady_bytes: u64,
    growth_bytes: u64,
}

impl PartSizes {
    /// Sizes for a dump of at most about `expected_bytes`, with parts of `configured_bytes` or larger.
    #[must_use]
    pub fn for_dump(configured_bytes: u64, expected_bytes: u64) -> PartSizes {
        let needed = expected_bytes.min(OBJECT_BYTES_MAX).div_ceil(u64::from(STEADY_PARTS));
        let steady_bytes = whole_segments(configured_bytes.max(needed));
        let growing = u64::from(PARTS_MAX - STEADY_PARTS);
        let rest = OBJECT_BYTES_MAX.saturating_sub(steady_bytes * u64::from(PARTS_MAX));
        // The growth is 1, 2, … `growing` steps: together growing x (growing + 1) / 2.
        let growth_bytes = whole_segments(rest.div_ceil(growing * (growing + 1) / 2));
        PartSizes { steady_bytes, growth_bytes }
    }

    /// Bytes of a part; `number` counts from 1.
    #[must_use]
    pub fn of_part(self, number: u32) -> u64 {
        self.steady_bytes + self.growth_bytes * u64::from(number.saturating_sub(STEADY_PARTS))
    }
}

fn whole_segments(bytes: u64) -> u64 {
    bytes.next_multiple_of(SEGMENT_BYTES as u64)
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    const MIB: u64 = 1 << 20;

    #[rstest]
    #[case(8, 0)]
    #[case(16, 3 << 30)]
    #[case(16, 800 << 30)]
    #[case(1024, 64 << 40)]
    fn ten_thousand_parts_reach_five_tebibytes(#[case] configured_mib: u64, #[case] expected_bytes: u64) {
        let sizes = PartSizes::for_dump(configured_mib * MIB, expected_bytes);
        let total: u64 = (1..=PARTS_MAX).map(|number| sizes.of_part(number)).sum();
        assert!(total >= OBJECT_BYTES_MAX, "{total}");
        assert!(sizes.of_part(PARTS_MAX) <= 5 << 30, "S3 takes parts up to 5 GiB");
        assert!(sizes.of_part(1) >= 5 * MIB, "S3 takes parts from 5 MiB on");
    }

    #[test]
    fn a_dump_of_the_expected_size_keeps_the_configured_parts() {
        let sizes = PartSizes::for_dump(16 * MIB, 70 << 30);
        let until_expected = u32::try_from((70_u64 << 30) / (16 * MIB)).unwrap();
        assert!((1..=until_expected).all(|number| sizes.of_part(number) == 16 * MIB));
    }

    #[test]
    fn a_large_database_gets_larger_parts_from_the_start() {
        let sizes = PartSizes::for_dump(16 * MIB, 1 << 40);
        assert!(sizes.of_part(1) * u64::from(STEADY_PARTS) >= 1 << 40);
        assert_eq!(sizes.of_part(1), sizes.of_part(STEADY_PARTS));
    }
}
