//! What the volume of a dump tells beside the one before it.
//!
//! A dump can be whole, and what it was taken of already damaged: emptied by a mistake, or encrypted by somebody who means ill.

use crate::domain::volume::Volume;

/// A dump that has lost more than this share of what the one before had is looked at by a person.
const LOST_PERCENT_MAX: u64 = 30;
/// And one that is compressed so much worse: what is encrypted cannot be compressed.
const WORSE_PERCENT_MAX: u64 = 40;
/// A dump that is so many times as large as the one before.
const GROWN_TIMES: u64 = 2;
/// Of fewer rows and bytes, losses and ratios are chance.
const ROWS_MIN: u64 = 1_000;
const BYTES_MIN: u64 = 1 << 20;
/// Growth of less than this costs nothing.
const GROWTH_BYTES_MIN: u64 = 1 << 30;

/// What is unlikely to be the ordinary course of things, in words.
#[must_use]
pub fn anomaly(before: &Volume, now: &Volume) -> Option<String> {
    let lost = |what: &str, before: u64, now: u64, least: u64| {
        let kept_percent = 100 - LOST_PERCENT_MAX;
        let is_less = u128::from(now) * 100 < u128::from(before) * u128::from(kept_percent);
        (before >= least && is_less).then(|| format!("it has {now} {what}, and the one before had {before}"))
    };
    lost("rows", before.rows, now.rows, ROWS_MIN)
        .or_else(|| lost("bytes before compression", before.uncompressed_bytes, now.uncompressed_bytes, BYTES_MIN))
        .or_else(|| compressed_worse(before, now))
}

fn compressed_worse(before: &Volume, now: &Volume) -> Option<String> {
    let is_small = before.uncompressed_bytes.min(now.uncompressed_bytes) < BYTES_MIN;
    if is_small || before.compression != now.compression {
        return None;
    }
    // Percent of its size that compression left.
    let left = |volume: &Volume| u128::from(volume.stored_bytes) * 100 / u128::from(volume.uncompressed_bytes.max(1));
    // What was saved before and is not any more.
    let saved = |volume: &Volume| 100_u128.saturating_sub(left(volume));
    let is_worse = saved(now) * 100 < saved(before) * u128::from(100 - WORSE_PERCENT_MAX);
    (is_worse && saved(before) >= 10).then(|| {
        format!(
            "compression leaves {} % of it, and left {} % of the one before: data that was encrypted or replaced by noise looks so",
            left(now),
            left(before)
        )
    })
}

/// That it has grown by leaps, in words: it costs, and takes longer to restore.
#[must_use]
pub fn growth(before: &Volume, now: &Volume) -> Option<String> {
    let more = now.stored_bytes.saturating_sub(before.stored_bytes);
    let is_leap = now.stored_bytes >= before.stored_bytes.saturating_mul(GROWN_TIMES) && more >= GROWTH_BYTES_MIN;
    let (now, before) = (now.stored_bytes >> 20, before.stored_bytes >> 20);
    is_leap.then(|| format!("it takes {now} MiB, and the one before took {before}"))
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    fn volume(rows: u64, uncompressed_mib: u64, stored_mib: u64) -> Volume {
        let (uncompressed_bytes, stored_bytes) = (uncompressed_mib << 20, stored_mib << 20);
        Volume { rows, uncompressed_bytes, stored_bytes, compression: "zstd 3".to_owned() }
    }

    #[rstest]
    #[case::as_before(volume(10_000, 100, 25), None)]
    #[case::thirty_percent_fewer_rows(volume(7_000, 100, 25), None)]
    #[case::more_than_that(volume(6_999, 100, 25), Some("it has 6999 rows, and the one before had 10000"))]
    #[case::emptied(volume(0, 0, 0), Some("it has 0 rows"))]
    #[case::smaller(volume(10_000, 69, 17), Some("bytes before compression"))]
    #[case::a_little_worse(volume(10_000, 100, 55), None)]
    #[case::encrypted(volume(10_000, 100, 99), Some("compression leaves 99 % of it, and left 25 % of the one before"))]
    #[case::better(volume(10_000, 100, 5), None)]
    #[case::more(volume(20_000, 200, 50), None)]
    fn what_is_lost_or_encrypted_stands_out(#[case] now: Volume, #[case] expected: Option<&str>) {
        let found = anomaly(&volume(10_000, 100, 25), &now);
        assert_eq!(found.is_some(), expected.is_some(), "{found:?}");
        assert!(expected.is_none_or(|text| found.as_ref().unwrap().contains(text)), "{found:?}");
    }

    #[test]
    fn of_little_nothing_follows_and_other_settings_are_no_anomaly() {
        assert_eq!(anomaly(&volume(999, 0, 0), &volume(1, 0, 0)), None);
        let other = Volume { compression: "zstd 1".to_owned(), ..volume(10_000, 100, 99) };
        assert_eq!(anomaly(&volume(10_000, 100, 25), &other), None);
        // What could not be compressed before either.
        assert_eq!(anomaly(&volume(10_000, 100, 95), &volume(10_000, 100, 99)), None);
    }

    #[rstest]
    #[case::as_before(1_100, None)]
    #[case::twice(2_200, Some("it takes 2200 MiB, and the one before took 1100"))]
    #[case::not_yet(2_199, None)]
    fn growth_by_leaps_is_told(#[case] stored_mib: u64, #[case] expected: Option<&str>) {
        assert_eq!(growth(&volume(1, 1, 1_100), &volume(1, 1, stored_mib)).as_deref(), expected);
        assert_eq!(growth(&volume(1, 1, 10), &volume(1, 1, 1_033)), None, "less than a gibibyte is no matter");
    }
}
