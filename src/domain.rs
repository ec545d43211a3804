//! The nouns: plain values without I/O, clock or async.
//!
//! Everything here can be built in a test without I/O. What may be done with these values is decided in
//! [`crate::policy`] and [`crate::plan`].

pub mod account;
pub mod activity;
pub mod alert;
pub mod alert_ledger;
pub mod bucket;
pub mod diagnosis;
pub mod drill;
pub mod dump_login;
pub mod encryption_key;
pub mod id;
pub mod instance;
pub mod inventory;
pub mod job;
pub mod key;
pub mod leadership;
pub mod lease;
pub mod manifest;
pub mod memory;
pub mod new_instance;
pub mod pin;
pub mod progress;
pub mod prune_record;
pub mod published;
pub mod recovery;
pub mod recovery_point;
pub mod run;
pub mod switch;
pub mod tags;
pub mod verification;
pub mod volume;
