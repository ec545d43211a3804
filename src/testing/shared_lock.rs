//! A record of the leader that several processes share, and each one's way to it, which can be cut.

use std::sync::atomic::{AtomicU8, Ordering};
use std::sync::{Arc, Mutex};

use async_trait::async_trait;

use crate::domain::leadership::Term;
use crate::ports::leadership::{LeaderLock, Standing};
use crate::ports::{ErrorKind, PortError};

/// The record.
#[derive(Debug, Default)]
pub(crate) struct SharedLock {
    state: Mutex<(u64, Option<Standing>)>,
}

impl SharedLock {
    /// What it says.
    pub(crate) fn term(&self) -> Option<Term> {
        self.state.lock().unwrap().1.as_ref().map(|standing| standing.term.clone())
    }

    /// Somebody writes or deletes it by hand.
    pub(crate) fn set(&self, term: Option<Term>) {
        let mut state = self.state.lock().unwrap();
        state.0 += 1;
        state.1 = term.map(|term| Standing { term, version: state.0.to_string() });
    }

    /// A way to it.
    pub(crate) fn wire(self: &Arc<Self>) -> Arc<Wire> {
        Arc::new(Wire { lock: Arc::clone(self), state: AtomicU8::new(State::Whole as u8) })
    }

    fn write(&self, term: &Term, over: Option<&Standing>) -> Option<Standing> {
        let mut state = self.state.lock().unwrap();
        if state.1.as_ref().map(|standing| &standing.version) != over.map(|over| &over.version) {
            return None;
        }
        state.0 += 1;
        state.1 = Some(Standing { term: term.clone(), version: state.0.to_string() });
        state.1.clone()
    }
}

/// How a way is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum State {
    /// Everything comes through.
    Whole,
    /// Nothing comes through, and that is said.
    Refusing,
    /// Nothing comes through, and nothing is said.
    Hanging,
    /// What is asked arrives, and the answer does not.
    Mute,
}

/// One process's way to the record.
#[derive(Debug)]
pub(crate) struct Wire {
    lock: Arc<SharedLock>,
    state: AtomicU8,
}

impl Wire {
    pub(crate) fn set(&self, state: State) {
        self.state.store(state as u8, Ordering::Relaxed);
    }

    fn is(&self, state: State) -> bool {
        self.state.load(Ordering::Relaxed) == state as u8
    }

    async fn there(&self) -> Result<(), PortError> {
        if self.is(State::Hanging) {
            std::future::pending::<()>().await;
        }
        if self.is(State::Refusing) { Err(lost()) } else { Ok(()) }
    }

    fn back<T>(&self, answer: T) -> Result<T, PortError> {
        if self.is(State::Mute) { Err(lost()) } else { Ok(answer) }
    }
}

fn lost() -> PortError {
    PortError::new("ask who leads", ErrorKind::Transient).because("it is cut off")
}

#[async_trait]
impl LeaderLock for Wire {
    async fn read(&self) -> Result<Option<Standing>, PortError> {
        self.there().await?;
        let found = self.lock.state.lock().unwrap().1.clone();
        self.back(found)
    }

    async fn write(&self, term: &Term, over: Option<&Standing>) -> Result<Option<Standing>, PortError> {
        self.there().await?;
        let written = self.lock.write(term, over);
        self.back(written)
    }
}
