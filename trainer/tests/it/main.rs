//! The trainer through its command line.
#![allow(
    clippy::unwrap_used,
    missing_docs,
    reason = "a test may fail by panicking"
)]

mod bad_input;
mod lab;
mod market;
mod registry_faults;
mod s3;
mod tables;
