//! Drift: when the market, or what a model makes of it, is no longer what it was at training.
//!
//! [`DriftBaseline`] is computed at training and stored with the model: per symbol coarse bins,
//! per statistic what is usual by symbol and hour of the week, how far windows of dependent rows
//! stray from it, and the limit for the run length asked for. [`DriftMonitor`] counts scored rows
//! into windows and gives [`DriftVerdict`]s. What is measured and why stands in `docs/drift.md`.
//!
//! Two families are watched, each with one limit for the largest of its statistics (so that false
//! alarms don't grow with the number of features): the **model**'s (alert rate, calibrated score),
//! which may ask for a new training, and the **features**', which only warn.

mod baseline;
mod counts;
mod family;
mod fit;
mod limit;
mod monitor;
mod quality;
mod ranks;
mod season;
mod state;
mod variance;
mod verdict;

pub use baseline::{DriftBaseline, FeatureReference, ScoreReference, StatisticSummary};
pub use counts::WindowCounts;
pub use family::Measure;
pub use monitor::{Counts, DriftGauge, DriftMonitor, DriftPolicy, FamilyKind, Observation};
pub use verdict::{Action, Direction, DriftVerdict};

use market::{HOUR_US, MINUTE_US};
use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};

/// What a drift baseline is asked for.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DriftConfig {
    /// How many of the largest windows pass on average between two false alarms of a family, 10
    /// to 1,000,000.
    pub run_length: f64,
    /// Rows of a window, over all symbols, ascending, 1 to 4 sizes from 100 to 10,000,000 rows. Small ones find
    /// what is severe soon, large ones what is slight.
    pub windows: Vec<usize>,
    /// How long, µs, features remember what went into them: after an outage rows count only
    /// when it is forgotten.
    pub memory_us: i64,
    /// How long, µs, all symbols of a stream may be silent before that is an outage.
    pub silence_us: i64,
    /// What the bootstrap draws from.
    pub seed: u64,
}

impl Default for DriftConfig {
    fn default() -> Self {
        Self {
            run_length: 5_000.0,
            windows: vec![1_000, 5_000],
            memory_us: HOUR_US,
            silence_us: 5 * MINUTE_US,
            seed: 42,
        }
    }
}

impl DriftConfig {
    /// # Errors
    /// The first value that makes no sense.
    pub fn check(&self) -> Result<()> {
        if !(10.0..=1e6).contains(&self.run_length) {
            return Err(Error::invalid(
                "run_length",
                self.run_length,
                "10 to 1,000,000 windows are allowed",
            ));
        }
        let sizes_fit = self
            .windows
            .iter()
            .all(|rows| (100..=10_000_000).contains(rows))
            && self.windows.is_sorted_by(|a, b| a < b);
        if !(1..=4).contains(&self.windows.len()) || !sizes_fit {
            return Err(Error::invalid(
                "windows",
                format!("{:?}", self.windows),
                "1 to 4 ascending sizes from 100 to 10,000,000 rows are needed",
            ));
        }
        for (name, span) in [("memory", self.memory_us), ("silence", self.silence_us)] {
            if !(0..=30 * market::DAY_US).contains(&span) {
                return Err(Error::invalid(
                    name,
                    span,
                    "0 to 30 days in microseconds are allowed",
                ));
            }
        }
        Ok(())
    }
}
