//! What the daemon tells about itself: metrics, logs, and one read-only HTTP listener for both people and probes.
//!
//! Nothing here decides anything, and nothing here is remembered: every derived gauge is set from the inventory and the
//! plan, in one function, each time the loop turns, so it is right at once after a restart. Time comes in as an argument
//! or from the clock port. What the numbers mean to a reader outside is a contract; `metrics` holds all of it.

pub mod health;
pub mod http;
pub mod log;
pub mod metrics;
pub mod page;
pub mod process;
pub mod words;

pub use health::Health;
pub use http::HttpState;
pub use log::LogFormat;
pub use metrics::{Metrics, RunOutcome};
