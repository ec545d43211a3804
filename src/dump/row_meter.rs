//! Counts and hashes rows of COPY text while they pass.

use memchr::{memchr, memchr_iter};
use twox_hash::xxhash3_128::Hasher;

/// Rows of a table, or of a part of it.
///
/// The hash is that of a multiset: the sum modulo 2^128 of XXH3-128 over each row's COPY text, without its newline. It does
/// not depend on the order of rows or on how a table was split, and the counts of two parts add up to that of both. It
/// is no cryptographic proof: that is the SHA-256 of the stored object.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct RowCount {
    /// Rows.
    pub rows: u64,
    /// Bytes of COPY text, newlines included.
    pub bytes: u64,
    /// The multiset hash.
    pub hash: u128,
}

impl RowCount {
    /// Both together.
    #[must_use]
    pub fn and(self, other: RowCount) -> RowCount {
        RowCount {
            rows: self.rows + other.rows,
            bytes: self.bytes + other.bytes,
            hash: self.hash.wrapping_add(other.hash),
        }
    }

    /// The hash as manifests have it: 32 hex digits.
    #[must_use]
    pub fn hash_hex(&self) -> String {
        format!("{:032x}", self.hash)
    }
}

/// Counts the rows of a text that comes in pieces, cut anywhere. COPY text has a newline at the end of each row and
/// nowhere else (PostgreSQL, COPY, text format).
#[derive(Default)]
pub struct RowMeter {
    count: RowCount,
    /// Of a row that has begun: its hash so far.
    begun: Option<Hasher>,
}

impl RowMeter {
    /// Takes the next piece.
    pub fn take(&mut self, text: &[u8]) {
        self.count.bytes += text.len() as u64;
        let mut rest = text;
        if let Some(mut begun) = self.begun.take() {
            let Some((end, later)) = split_at_newline(rest) else {
                begun.write(rest);
                self.begun = Some(begun);
                return;
            };
            begun.write(end);
            self.add(begun.finish_128());
            rest = later;
        }
        let mut from = 0;
        for newline in memchr_iter(b'\n', rest) {
            self.add(Hasher::oneshot(rest.get(from..newline).unwrap_or_default()));
            from = newline + 1;
        }
        let left = rest.get(from..).unwrap_or_default();
        if !left.is_empty() {
            let mut begun = Hasher::new();
            begun.write(left);
            self.begun = Some(begun);
        }
    }

    fn add(&mut self, hash: u128) {
        self.count.rows += 1;
        self.count.hash = self.count.hash.wrapping_add(hash);
    }

    /// What has passed so far, without a row that has only begun; its bytes count.
    #[must_use]
    pub fn count(&self) -> RowCount {
        self.count
    }

    /// Whether no row has begun and not ended.
    #[must_use]
    pub fn is_between_rows(&self) -> bool {
        self.begun.is_none()
    }
}

impl std::fmt::Debug for RowMeter {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "RowMeter({:?})", self.count)
    }
}

fn split_at_newline(text: &[u8]) -> Option<(&[u8], &[u8])> {
    let newline = memchr(b'\n', text)?;
    Some((text.get(..newline)?, text.get(newline + 1..)?))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn metered(pieces: &[&[u8]]) -> RowCount {
        let mut meter = RowMeter::default();
        pieces.iter().for_each(|piece| meter.take(piece));
        assert!(meter.is_between_rows());
        meter.count()
    }

    #[test]
    fn rows_are_what_newlines_end() {
        let count = metered(&[b"1\tone\n2\ttwo\n", b"\n"]);
        assert_eq!((count.rows, count.bytes), (3, 13), "a table without columns has empty rows");
        let mut meter = RowMeter::default();
        meter.take(b"1\tone\n2");
        assert!(!meter.is_between_rows());
        assert_eq!(meter.count().rows, 1);
    }

    #[test]
    fn the_hash_of_one_row_is_xxh3() {
        // `xxhsum -H2` of the empty text and of `abc` (xxHash 0.8).
        assert_eq!(metered(&[b"\n"]).hash_hex(), "99aa06d3014798d86001c324468d497f");
        assert_eq!(metered(&[b"abc\n"]).hash_hex(), "06b05ab6733a618578af5f94892f3950");
    }

    #[test]
    fn twice_the_same_row_is_not_none() {
        let (once, twice) = (metered(&[b"a\n"]), metered(&[b"a\na\n"]));
        assert_ne!(once.hash, twice.hash);
        assert_eq!(once.and(once), twice);
    }

    proptest! {
        #[test]
        fn neither_order_nor_cuts_matter(
            rows in prop::collection::vec("[^\n]{0,300}", 0..20),
            cuts in prop::collection::vec(1_usize..200, 1..40),
            turn in any::<prop::sample::Index>(),
        ) {
            let text: String = rows.iter().map(|row| format!("{row}\n")).collect();
            let whole = metered(&[text.as_bytes()]);
            prop_assert_eq!(whole.rows, rows.len() as u64);
            let mut pieces = Vec::new();
            let mut rest = text.as_bytes();
            for cut in cuts.iter().cycle() {
                if rest.is_empty() { break; }
                let (piece, later) = rest.split_at((*cut).min(rest.len()));
                pieces.push(piece);
                rest = later;
            }
            prop_assert_eq!(metered(&pieces), whole);
            let mut turned = rows.clone();
            if !turned.is_empty() { turned.rotate_left(turn.index(rows.len())); }
            let turned: String = turned.iter().map(|row| format!("{row}\n")).collect();
            prop_assert_eq!(metered(&[turned.as_bytes()]), whole);
        }
    }
}
