//! Drift detection on simulated streams: false alarms and delays, with confidence intervals.
//!
//! ```text
//! drift speed
//! drift h0 [--streams N] [--days N] [--symbols N] [--seed N] [--run-length X]
//! ```

mod study;
mod world;

use std::process::ExitCode;

pub(crate) type Result<T> = std::result::Result<T, Box<dyn std::error::Error + Send + Sync>>;

fn main() -> ExitCode {
    match study::run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("drift: {error}");
            ExitCode::FAILURE
        }
    }
}
