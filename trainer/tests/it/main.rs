//! The trainer through its command line.
#![allow(
    clippy::unwrap_used,
    missing_docs,
    reason = "a test may fail by panicking"
)]

mod bad_input;
mod bakeoff;
mod evaluate;
mod full_disk;
mod honesty;
mod lab;
mod market;
mod proxy;
mod registry_faults;
mod s3;
mod signals;
mod tables;
