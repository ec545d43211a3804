//! Memory for one dump of a test, which no other dump takes from it.

use std::sync::Arc;

use futures_util::FutureExt;

use crate::domain::manifest::Engine;
use crate::domain::memory::{DumpMemory, MemoryUse};
use crate::dump::memory::{MemoryPool, Share};
use crate::dump::parts::SEGMENT_BYTES;

/// The least that there is of everything.
pub(crate) const SMALL: DumpMemory = DumpMemory {
    engine: Engine::PgDump,
    jobs: 1,
    compression_level: 1,
    parts_in_flight: 1,
    part_bytes: SEGMENT_BYTES as u64,
};

/// All of an account of its own.
pub(crate) fn share(memory: DumpMemory) -> Arc<Share> {
    let usage = Arc::new(MemoryUse::new(memory.bytes()));
    MemoryPool::new(usage).share(memory).now_or_never().expect("nobody else takes from it")
}
