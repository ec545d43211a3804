//! strongroom.
pub mod adapters;
pub mod cli;
pub mod collect;
pub mod config;
pub mod daemon;
pub mod domain;
pub mod dump;
pub mod execute;
pub mod plan;
pub mod policy;
pub mod ports;
pub mod reconcile;
pub mod telemetry;
