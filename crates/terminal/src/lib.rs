//! What the programs of Foreshock share on the command line: how results are printed, progress is
//! shown, signals are taken, the log is written and exits are told.
#![cfg_attr(
    test,
    allow(clippy::unwrap_used, reason = "a test may fail by panicking")
)]

pub mod exit;
pub mod interrupt;
pub mod logging;
pub mod output;
pub mod progress;
