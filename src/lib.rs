//! strongroom.
pub mod domain;
pub mod plan;
pub mod policy;
pub mod ports;
