//! Faults: wrappers around any port that fail, lose answers, delay, or stop dead, as one seeded plan says.
//!
//! Each daemon has a plan of its own, so that one may be dead while another goes on. An *effect* is a call that has changed
//! something outside; effects are counted from 1 over all ports that share a plan.

mod instances;
mod object_store;
mod plan;
mod postgres;
mod rds;
#[cfg(test)]
mod tests;

use std::sync::Arc;

pub(crate) use plan::{Chances, FaultPlan, Operation, Storm};

/// A port with faults.
pub(crate) struct Faulty<P: ?Sized> {
    port: Arc<P>,
    faults: Arc<FaultPlan>,
}

impl<P: ?Sized> Faulty<P> {
    /// Wraps a port.
    pub(crate) fn new(port: Arc<P>, faults: &Arc<FaultPlan>) -> Arc<Faulty<P>> {
        Arc::new(Faulty { port, faults: Arc::clone(faults) })
    }
}
