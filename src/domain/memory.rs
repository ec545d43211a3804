//! How much memory a dump takes, as a formula, and the account of it that the metrics show.
//!
//! What a dump holds follows from its settings and not from its database: buffers for each connection, and parts. The rest of
//! the process (code, TLS, what was seen of AWS, a table of contents) is no part of the formula.

use std::sync::atomic::{AtomicU64, Ordering};

use super::manifest::Engine;

const MIB: u64 = 1 << 20;

/// For each connection, beside its encoder: 256 KiB of rows, 128 KiB of socket, TLS's buffers, and what its thread has touched.
const CONNECTION_BYTES: u64 = MIB;
/// Ends of ranges wait for each other until there are 5 MiB, which S3 takes as a part; no more objects have some than there
/// are connections.
const TAIL_BYTES: u64 = 5 * MIB;
/// Beside its size: a part is found to be full when the last piece of rows has been compressed into it, which is half a MiB at
/// most, and on its way it has a connection with buffers of its own.
const PART_EXTRA_BYTES: u64 = MIB;

/// What the settings of one dump ask for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DumpMemory {
    /// How it is made.
    pub engine: Engine,
    /// Connections that read rows; one `pg_dump` is one.
    pub jobs: usize,
    /// zstd level.
    pub compression_level: i32,
    /// Parts that may exist at once: of the parallel engine, beside the one that each connection fills.
    pub parts_in_flight: usize,
    /// Bytes of a part.
    pub part_bytes: u64,
}

impl DumpMemory {
    /// Bytes that the dump may hold at once.
    #[must_use]
    pub fn bytes(self) -> u64 {
        let connection = CONNECTION_BYTES + encoder_bytes(self.compression_level);
        let connections = match self.engine {
            Engine::PgDump => connection,
            Engine::Parallel => (connection + TAIL_BYTES).saturating_mul(self.jobs as u64),
        };
        connections.saturating_add((self.part_bytes + PART_EXTRA_BYTES).saturating_mul(self.parts() as u64))
    }

    /// Parts that may exist at once, those that are being filled included.
    #[must_use]
    pub fn parts(self) -> usize {
        match self.engine {
            Engine::PgDump => self.parts_in_flight,
            Engine::Parallel => self.jobs + self.parts_in_flight,
        }
    }

    /// The same, or with fewer parts on their way, or with fewer connections, so that it fits; `None`: nothing fits.
    #[must_use]
    pub fn within(self, limit_bytes: u64) -> Option<DumpMemory> {
        let smaller = |memory: &DumpMemory| {
            let DumpMemory { jobs, parts_in_flight, .. } = *memory;
            match (parts_in_flight, jobs) {
                (2.., _) => Some(DumpMemory { parts_in_flight: parts_in_flight - 1, ..*memory }),
                (_, 2..) => Some(DumpMemory { jobs: jobs - 1, ..*memory }),
                (_, _) => None,
            }
        };
        std::iter::successors(Some(self), smaller).find(|memory| memory.bytes() <= limit_bytes)
    }
}

/// What one zstd encoder takes at a level with the windows that dumps use: `ZSTD_estimateCStreamSize_usingCParams` of zstd
/// 1.5, rounded up to the largest of some levels.
fn encoder_bytes(level: i32) -> u64 {
    let mib = match level {
        ..=4 => 4,
        5..=8 => 12,
        9..=11 => 32,
        12..=18 => 72,
        19.. => 96,
    };
    mib * MIB
}

/// The memory of all dumps of this process.
#[derive(Debug)]
pub struct MemoryUse {
    limit_bytes: u64,
    in_use_bytes: AtomicU64,
}

impl MemoryUse {
    /// Nothing is in use.
    #[must_use]
    pub fn new(limit_bytes: u64) -> MemoryUse {
        MemoryUse { limit_bytes, in_use_bytes: AtomicU64::new(0) }
    }

    /// What all dumps together may take.
    #[must_use]
    pub fn limit_bytes(&self) -> u64 {
        self.limit_bytes
    }

    /// What is set aside for dumps under way.
    #[must_use]
    pub fn in_use_bytes(&self) -> u64 {
        self.in_use_bytes.load(Ordering::Relaxed)
    }

    /// So much more is in use.
    pub fn add(&self, bytes: u64) {
        self.in_use_bytes.fetch_add(bytes, Ordering::Relaxed);
    }

    /// So much is free again.
    pub fn remove(&self, bytes: u64) {
        self.in_use_bytes.fetch_sub(bytes, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const DEFAULTS: DumpMemory = DumpMemory {
        engine: Engine::Parallel,
        jobs: 4,
        compression_level: 3,
        parts_in_flight: 4,
        part_bytes: 16 * MIB,
    };

    #[test]
    fn the_formula_is_the_one_that_is_written_down() {
        // README: jobs x (6 MiB + encoder) + parts x (part_size + 1 MiB), where an encoder takes 4 MiB at level 3.
        assert_eq!(DEFAULTS.bytes(), 4 * (6 + 4) * MIB + 8 * 17 * MIB);
        let stream = DumpMemory { engine: Engine::PgDump, ..DEFAULTS };
        assert_eq!(stream.bytes(), (1 + 4) * MIB + 4 * 17 * MIB);
        assert_eq!(DumpMemory { compression_level: 19, ..stream }.bytes() - stream.bytes(), 92 * MIB);
    }

    #[test]
    fn what_does_not_fit_gets_fewer_parts_then_fewer_connections_then_nothing() {
        let fitted = |limit_mib| DEFAULTS.within(limit_mib * MIB).map(|fit| (fit.jobs, fit.parts_in_flight));
        assert_eq!(fitted(176), Some((4, 4)));
        assert_eq!(fitted(175), Some((4, 3)));
        assert_eq!(fitted(124), Some((3, 1)));
        assert_eq!(fitted(44), Some((1, 1)));
        assert_eq!(fitted(43), None);
    }

    #[test]
    fn what_dumps_take_is_accounted_for_until_it_is_free_again() {
        let account = MemoryUse::new(100);
        account.add(60);
        account.add(30);
        assert_eq!((account.limit_bytes(), account.in_use_bytes()), (100, 90));
        account.remove(60);
        assert_eq!((account.limit_bytes(), account.in_use_bytes()), (100, 30));
    }

    #[test]
    fn absurd_settings_are_too_large_and_not_small() {
        let absurd = DumpMemory { part_bytes: u64::MAX / 4, ..DEFAULTS };
        assert_eq!((absurd.bytes(), absurd.within(1 << 50)), (u64::MAX, None));
    }
}
