//! The rows of a table out of its uncompressed data, without the mark that pg_dump ends them with.

use std::io::{self, Read};

use super::archive::{ArchiveError, COPY_END};
use super::row_meter::{RowCount, RowMeter};

/// Bytes that are decompressed at once.
const PLAIN_BYTES: usize = 256 << 10;

/// Gives the rows as they are read, counts and hashes them, and holds back the end mark. No row is like the mark: a
/// backslash in a row is never followed by a dot (PostgreSQL, COPY, text format).
pub struct Rows<R> {
    plain: R,
    buffer: Vec<u8>,
    /// What may be given: bytes from the first up to, not including, the second.
    start: usize,
    ready: usize,
    /// What was read. The last bytes of it may be the mark, and wait until more have come.
    end: usize,
    meter: RowMeter,
    is_at_end: bool,
    has_mark: bool,
}

impl<R: Read> Rows<R> {
    /// The rows in uncompressed data.
    pub fn of(plain: R) -> Rows<R> {
        Rows {
            plain,
            buffer: vec![0; PLAIN_BYTES],
            start: 0,
            ready: 0,
            end: 0,
            meter: RowMeter::default(),
            is_at_end: false,
            has_mark: false,
        }
    }

    /// What was given so far.
    pub fn count(&self) -> RowCount {
        self.meter.count()
    }

    /// Whether the data has come to its end, with the mark of a table's end after a whole row.
    pub fn has_ended_well(&self) -> bool {
        self.has_mark && self.meter.is_between_rows()
    }

    /// Reads to the end.
    ///
    /// # Errors
    /// The data cannot be read, or has no end mark.
    pub fn count_all(mut self) -> Result<RowCount, ArchiveError> {
        io::copy(&mut self, &mut io::sink()).map_err(ArchiveError::Read)?;
        if self.has_ended_well() { Ok(self.count()) } else { Err(ArchiveError::NoEndMark) }
    }

    fn fill(&mut self) -> io::Result<()> {
        while self.start == self.ready && !self.is_at_end {
            self.buffer.copy_within(self.ready..self.end, 0);
            self.end -= self.ready;
            (self.start, self.ready) = (0, 0);
            let room = self.buffer.get_mut(self.end..).unwrap_or_default();
            let read = match self.plain.read(room) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                read => read?,
            };
            self.end += read;
            self.is_at_end = read == 0;
            if self.is_at_end {
                self.has_mark = self.buffer.get(..self.end) == Some(COPY_END);
                self.ready = if self.has_mark { 0 } else { self.end };
            } else {
                self.ready = self.end.saturating_sub(COPY_END.len());
            }
            self.meter.take(self.buffer.get(..self.ready).unwrap_or_default());
        }
        Ok(())
    }
}

impl<R: Read> Read for Rows<R> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        self.fill()?;
        let ready = self.buffer.get(self.start..self.ready).unwrap_or_default();
        let given = ready.len().min(into.len());
        if let (Some(to), Some(from)) = (into.get_mut(..given), ready.get(..given)) {
            to.copy_from_slice(from);
        }
        self.start += given;
        Ok(given)
    }
}

impl<R> std::fmt::Debug for Rows<R> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Rows({:?})", self.meter)
    }
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    /// Gives so many bytes at once.
    struct Dribble<'a>(&'a [u8], usize);

    impl Read for Dribble<'_> {
        fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
            let step = self.1.min(into.len());
            self.0.read(&mut into[..step])
        }
    }

    fn given(plain: &[u8], step: usize) -> (String, bool, u64) {
        let mut rows = Rows::of(Dribble(plain, step));
        let mut text = String::new();
        rows.read_to_string(&mut text).unwrap();
        assert_eq!(rows.count().bytes, text.len() as u64);
        (text, rows.has_ended_well(), rows.count().rows)
    }

    #[rstest]
    fn rows_come_without_the_mark_however_they_are_cut(#[values(1, 2, 4, 5, 6, 100)] step: usize) {
        assert_eq!(given(b"1\tone\n\n\\.\n\n\n", step), ("1\tone\n\n".to_owned(), true, 2));
        assert_eq!(given(b"\\.\n\n\n", step), (String::new(), true, 0));
    }

    #[rstest]
    fn a_part_that_is_not_the_last_one_has_no_mark(#[values(1, 3, 100)] step: usize) {
        assert_eq!(given(b"1\tone\n2\ttwo\n", step), ("1\tone\n2\ttwo\n".to_owned(), false, 2));
        assert_eq!(given(b"1\n", step), ("1\n".to_owned(), false, 1));
        assert_eq!(given(b"", step), (String::new(), false, 0));
    }

    #[rstest]
    fn a_mark_in_the_middle_of_a_row_is_none(#[values(1, 3, 100)] step: usize) {
        assert!(!given(b"1\\.\n\n\n", step).1);
    }
}
