//! strongroom takes over the backup runbook of a bank's RDS PostgreSQL: weekly snapshots, monthly logical dumps streamed
//! compressed to S3, and the proof that they are there.
//!
//! # In one sentence
//! **Collect** what exists, **plan** what should happen (a pure function), **execute** it, wait. Start-up, recovery after a
//! crash and a cron tick are this one path, so there is one path to test. `strongroom backup` takes the same three steps for
//! one run, and waits for its end.
//!
//! # Where things are
//! Modules in reading order; each knows only those above it, and a test enforces that.
//!
//! | module | what it is |
//! |---|---|
//! | [`domain`] | nouns: ids, object keys, manifest, run records, inventory. No I/O, no clock |
//! | [`policy`] | what is wanted: obligations, schedules, back-off |
//! | [`plan`](mod@plan) | the decision: policy and inventory and time in, actions and reasons out |
//! | [`ports`] | one trait per outside thing |
//! | [`config`] | files and environment in, policy out |
//! | [`collect`] | reads the outside into an inventory |
//! | [`dump`] | the pipeline from `pg_dump`'s pipe to parts of an upload |
//! | [`restore`] | brings dumps and instances back, reads what came back, and judges it |
//! | [`execute`] | carries actions out, tells people, and publishes numbers |
//! | [`recover`] | carries out the steps of a guided recovery, with their journal |
//! | [`reconcile`] | the loop, and the work in flight beside it |
//! | [`adapters`] | AWS, PostgreSQL, the clock, the process table |
//! | [`telemetry`] | metrics, health, logs |
//! | [`daemon`] | the composition root |
//! | [`cli`] | the commands |
//!
//! # What always holds
//! 1. `domain`, `policy` and `plan` do no I/O, read no clock and cannot fail.
//! 2. Only `adapters` name an SDK, only `daemon` names an adapter, only one file reads the clock, only `config` reads the
//!    environment.
//! 3. State lives in AWS. What the daemon remembers can be rebuilt by looking.
//! 4. A run is claimed by a conditional write before anything else happens: of two daemons, one gets it.
//! 5. A dump exists when its manifest does. The manifest is written last, if absent, after everything it names was stored
//!    and the store was asked what it has. Stopping anywhere before leaves nothing that counts.
//! 6. Ownership is self-referential: a mark names the very resource that it is on. What is not marked as ours is not changed.
//! 7. What could not be seen decides nothing: no start, no success, no deletion.
//! 8. Memory is bounded: parts in flight times part size, whatever the size of the database.

pub mod domain;
pub mod policy;

pub mod plan;

pub mod ports;

pub mod config;

pub mod collect;
pub mod dump;
pub mod execute;
pub mod reconcile;
pub mod recover;
pub mod restore;

pub mod adapters;
pub mod telemetry;

pub mod daemon;

pub mod cli;

#[cfg(test)]
mod testing;
