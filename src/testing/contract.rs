//! What planner and executors rely on, as tests that run against the fakes always and against real adapters where there is
//! something to ask. They assume nothing that only a fake has: times are waited for, lists may lag, ids are new each time.

pub(crate) mod object_store;
pub(crate) mod rds;

#[cfg(test)]
mod tests;
