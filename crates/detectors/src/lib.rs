//! Every anomaly detector of Foreshock behind one type, and what makes its scores mean something:
//! calibration to tail probabilities, thresholds as alert budgets, honest evaluation, and the
//! native bytes of a trained model.
//!
//! | module | what it holds |
//! | --- | --- |
//! | [`params`] | [`DetectorParams`]: what to fit, as it is written in an experiment file, checked |
//! | [`detector`] | [`Detector`]: fit, score; higher is more anomalous |
//! | [`max_z`] | [`MaxZ`]: the trivial baseline that every other detector must beat |
//! | [`calibration`] | [`Calibrator`]: raw score to tail probability, unbounded beyond the training range |
//! | [`threshold`] | [`AlertBudget`], [`Threshold`]: how many alerts per symbol and day |
//! | [`model`] | [`Model`]: detectors, calibrators, threshold and baseline, to and from bytes |
//! | [`evaluation`] | [`evaluate`](evaluation::evaluate): metrics, events, intervals, feature importance |
//!
//! Nothing here does IO, reads a clock or draws from a generator that was not seeded by an
//! argument. The same inputs and seed give the same bytes on any number of threads.

#![cfg_attr(test, allow(clippy::unwrap_used))]

pub mod calibration;
pub mod detector;
pub mod error;
pub mod evaluation;
pub mod max_z;
pub mod model;
pub mod params;
pub mod threshold;

mod bytes;
mod random;
mod sort;

pub use calibration::Calibrator;
pub use detector::Detector;
pub use error::{Error, FormatError, ParamsError, Result};
pub use linfa_isolation::Scoring as ForestScoring;
pub use max_z::MaxZ;
pub use model::{Baseline, Calibrators, DetectorSet, Model, ModelScore};
pub use params::{DetectorParams, ForestForm, IsolationForestConfig, MaxZConfig};
pub use threshold::{AlertBudget, Threshold, ThresholdRule};
