//! The memory of all dumps of a process: one account, from which each dump takes its share before it begins.
//!
//! A share is taken whole, so that dumps never wait for each other half-way, and before anything is asked of the server: who
//! waits for memory holds no lock and no snapshot. Within its share a dump has slots for parts. A slow store keeps them
//! full, and whoever wants the next one waits: the rows then wait in the server.

use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::domain::memory::{DumpMemory, MemoryUse};

/// What the account counts in: tokio's permits are 32 bits wide, and memory is wider.
const UNIT_BYTES: u64 = 64 << 10;
/// A part that has outgrown its slot asks for so much at a time.
const STRETCH_BYTES: u64 = 1 << 20;

/// The account. Cheap to clone.
#[derive(Debug, Clone)]
pub struct MemoryPool(Arc<Account>);

#[derive(Debug)]
struct Account {
    free: Semaphore,
    /// What was taken without waiting, and is not paid back.
    debt: Mutex<usize>,
    usage: Arc<MemoryUse>,
}

impl MemoryPool {
    /// An account of as much as `usage` says.
    #[must_use]
    pub fn new(usage: Arc<MemoryUse>) -> MemoryPool {
        let units = usize::try_from(usage.limit_bytes() / UNIT_BYTES).unwrap_or(Semaphore::MAX_PERMITS);
        let free = Semaphore::new(units.min(Semaphore::MAX_PERMITS));
        MemoryPool(Arc::new(Account { free, debt: Mutex::new(0), usage }))
    }

    /// What all dumps together may take.
    #[must_use]
    pub fn limit_bytes(&self) -> u64 {
        self.0.usage.limit_bytes()
    }

    /// Takes what a dump needs, and waits its turn for it. Dropping the future gives up the place in the queue.
    ///
    /// `memory` must fit at all: see [`DumpMemory::within`].
    pub async fn share(&self, memory: DumpMemory) -> Arc<Share> {
        let units = units(memory.bytes());
        if let Ok(permits) = self.0.free.acquire_many(units).await {
            // It is given back by our own hands, for debts are paid first.
            permits.forget();
        }
        self.0.usage.add(u64::from(units) * UNIT_BYTES);
        Arc::new(Share { account: Arc::clone(&self.0), units, memory })
    }
}

fn units(bytes: u64) -> u32 {
    u32::try_from(bytes.div_ceil(UNIT_BYTES)).unwrap_or(u32::MAX)
}

impl Account {
    fn debt(&self) -> std::sync::MutexGuard<'_, usize> {
        self.debt.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes without waiting, also what is not there: nobody else gets any before it is paid back.
    fn take_now(&self, units: u32) {
        let wanted = units as usize;
        let mut debt = self.debt();
        *debt += wanted - self.free.forget_permits(wanted).min(wanted);
        self.usage.add(u64::from(units) * UNIT_BYTES);
    }

    fn give_back(&self, units: u32) {
        let returned = units as usize;
        let mut debt = self.debt();
        let paid = returned.min(*debt);
        *debt -= paid;
        self.free.add_permits(returned - paid);
        self.usage.remove(u64::from(units) * UNIT_BYTES);
    }
}

/// What one dump may hold; it is given back when this is dropped.
#[derive(Debug)]
pub struct Share {
    account: Arc<Account>,
    units: u32,
    memory: DumpMemory,
}

impl Share {
    /// What it was taken for.
    #[must_use]
    pub fn memory(&self) -> DumpMemory {
        self.memory
    }

    /// Its slots for parts, all of them free.
    pub(super) fn slots(self: &Arc<Share>) -> Slots {
        Slots { share: Arc::clone(self), free: Arc::new(Semaphore::new(self.memory.parts())) }
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        self.account.give_back(self.units);
    }
}

/// The slots of one dump. Cheap to clone.
#[derive(Debug, Clone)]
pub(super) struct Slots {
    share: Arc<Share>,
    free: Arc<Semaphore>,
}

impl Slots {
    /// A free slot, when there is one; `None` once they are closed.
    pub(super) async fn take(&self) -> Option<Slot> {
        let permit = Arc::clone(&self.free).acquire_owned().await.ok()?;
        Some(Slot { _permit: permit, share: Arc::clone(&self.share), stretched: 0 })
    }

    /// Nobody gets another one: whoever waits is told.
    pub(super) fn close(&self) {
        self.free.close();
    }
}

/// The memory of one part: given back when the store has taken the part.
#[derive(Debug)]
pub(super) struct Slot {
    _permit: OwnedSemaphorePermit,
    share: Arc<Share>,
    stretched: u32,
}

impl Slot {
    /// Its part has grown to so many bytes. A row that is longer than a part, or a table with more parts than were foreseen,
    /// makes it larger than its slot. The rest is taken from the account at once: to wait for it would keep what is held
    /// already, and two who wait so would wait for ever.
    pub(super) fn holds(&mut self, size_bytes: u64) {
        let own = self.share.memory.part_bytes + STRETCH_BYTES + u64::from(self.stretched) * UNIT_BYTES;
        if size_bytes > own {
            let more = units((size_bytes - own).next_multiple_of(STRETCH_BYTES));
            self.share.account.take_now(more);
            self.stretched += more;
        }
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        self.share.account.give_back(self.stretched);
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt;

    use super::*;
    use crate::domain::manifest::Engine;

    const MIB: u64 = 1 << 20;

    fn memory() -> DumpMemory {
        DumpMemory { engine: Engine::Parallel, jobs: 1, compression_level: 1, parts_in_flight: 1, part_bytes: 8 * MIB }
    }

    fn pool(limit_bytes: u64) -> (MemoryPool, Arc<MemoryUse>) {
        let usage = Arc::new(MemoryUse::new(limit_bytes));
        (MemoryPool::new(Arc::clone(&usage)), usage)
    }

    #[test]
    fn dumps_share_what_there_is_and_the_next_one_waits() {
        let (pool, usage) = pool(memory().bytes() * 2 + MIB);
        let first = pool.share(memory()).now_or_never().unwrap();
        let second = pool.share(memory()).now_or_never().unwrap();
        assert_eq!(usage.in_use_bytes(), 2 * memory().bytes());
        assert!(pool.share(memory()).now_or_never().is_none(), "a MiB is left");
        drop(first);
        assert!(pool.share(memory()).now_or_never().is_some());
        drop(second);
        assert_eq!(usage.in_use_bytes(), 0, "whoever gave up waiting has taken nothing");
    }

    #[test]
    fn a_dump_has_as_many_slots_as_parts_and_no_more() {
        let (pool, _) = pool(memory().bytes());
        let slots = pool.share(memory()).now_or_never().unwrap().slots();
        let held: Vec<Slot> = (0..2).map(|_| slots.take().now_or_never().flatten().unwrap()).collect();
        assert!(slots.take().now_or_never().is_none(), "one that is filled and one on its way");
        drop(held);
        assert!(slots.take().now_or_never().flatten().is_some());
        slots.close();
        assert!(matches!(slots.take().now_or_never(), Some(None)), "whoever waits is told");
    }

    #[test]
    fn what_a_row_longer_than_a_part_takes_is_missing_for_others_until_it_is_sent() {
        let (pool, usage) = pool(2 * memory().bytes());
        let share = pool.share(memory()).now_or_never().unwrap();
        let mut slot = share.slots().take().now_or_never().flatten().unwrap();
        slot.holds(9 * MIB);
        assert_eq!(usage.in_use_bytes(), memory().bytes(), "that much is part of its slot");
        slot.holds(500 * MIB);
        assert_eq!(usage.in_use_bytes(), memory().bytes() + 491 * MIB, "more than there is");
        assert!(pool.share(memory()).now_or_never().is_none());
        drop(slot);
        assert_eq!(usage.in_use_bytes(), memory().bytes());
        assert!(pool.share(memory()).now_or_never().is_some(), "the debt is paid, and nothing has got lost");
        drop(share);
        assert_eq!(usage.in_use_bytes(), 0);
    }
}
