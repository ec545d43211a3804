//! Counters that a running dump moves and others read: the progress bar, the log, the metrics.

use std::sync::atomic::{AtomicU64, Ordering};

/// How far a dump is. Cheap to move from any thread; readers see each value soon, not all of one instant.
#[derive(Debug, Default)]
pub struct Progress {
    read_bytes: AtomicU64,
    stored_bytes: AtomicU64,
    rows: AtomicU64,
}

/// The counters at one moment.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct ProgressCount {
    /// Bytes that came from the database's side, uncompressed.
    pub read_bytes: u64,
    /// Bytes that the store has acknowledged.
    pub stored_bytes: u64,
    /// Table rows seen.
    pub rows: u64,
}

impl Progress {
    /// Sets the bytes and rows read so far.
    pub fn set_read(&self, read_bytes: u64, rows: u64) {
        self.read_bytes.store(read_bytes, Ordering::Relaxed);
        self.rows.store(rows, Ordering::Relaxed);
    }

    /// Adds bytes and rows that were read.
    pub fn add_read(&self, bytes: u64, rows: u64) {
        self.read_bytes.fetch_add(bytes, Ordering::Relaxed);
        self.rows.fetch_add(rows, Ordering::Relaxed);
    }

    /// Adds bytes that the store has acknowledged.
    pub fn add_stored(&self, bytes: u64) {
        self.stored_bytes.fetch_add(bytes, Ordering::Relaxed);
    }

    /// The counters now.
    #[must_use]
    pub fn count(&self) -> ProgressCount {
        ProgressCount {
            read_bytes: self.read_bytes.load(Ordering::Relaxed),
            stored_bytes: self.stored_bytes.load(Ordering::Relaxed),
            rows: self.rows.load(Ordering::Relaxed),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// One engine tells how far it is, the other what each connection adds; the store's side is apart from both.
    #[test]
    fn what_is_read_is_set_or_added_and_what_is_stored_is_added() {
        let progress = Progress::default();
        progress.set_read(100, 7);
        progress.set_read(150, 9);
        progress.add_read(50, 1);
        progress.add_stored(20);
        progress.add_stored(30);
        assert_eq!(progress.count(), ProgressCount { read_bytes: 200, stored_bytes: 50, rows: 10 });
    }
}
