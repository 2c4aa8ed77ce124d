//! Every anomaly detector of Foreshock behind one type, and what makes its scores mean something:
//! calibration to tail probabilities, thresholds as alert budgets, honest evaluation, and the
//! native bytes of a trained model.
//!
//! | module | what it holds |
//! | --- | --- |
//! | [`params`] | [`DetectorParams`]: what to fit, as it is written in an experiment file, checked |
//! | [`detector`] | [`Detector`]: fit, score, explain, update; higher is more anomalous |
//! | [`max_z`] | [`MaxZ`]: the trivial baseline that every other detector must beat |
//! | [`statistics`] | [`CandleZ`](statistics::CandleZ), [`SlidingWindow`](statistics::SlidingWindow): single features against history, in JSON that people edit |
//! | [`ecod`], [`hbos`] | tails and histograms, column by column, without parameters |
//! | [`knn`], [`dbscan`] | distances to training rows, to the core of their clusters |
//! | [`mahalanobis`], [`mixture`] | distances and densities that know correlations |
//! | [`autoencoder`] | what can't be rebuilt through a narrow middle |
//! | [`half_space`] | trees that keep learning |
//! | [`consensus`] | [`Consensus`](consensus::Consensus): several that vote |
//! | [`flock`] | who left the other symbols at this minute |
//! | [`observer`] | looking on while a detector is fitted |
//! | [`calibration`] | [`Calibrator`]: raw score to tail probability, unbounded beyond the training range |
//! | [`threshold`] | [`AlertBudget`], [`Threshold`]: how many alerts per symbol and day |
//! | [`severity`](mod@severity) | from 0 to 100: how seldom ordinary data score so |
//! | [`model`] | [`Model`]: detectors, calibrators, threshold and baseline, to and from bytes |
//! | [`drift`] | [`DriftBaseline`], [`DriftMonitor`]: when scored rows are no longer what they were at training |
//! | [`onnx`] | a model as a graph of standard operators, for other programs |
//! | [`evaluation`] | [`evaluate`](evaluation::evaluate): metrics, events, intervals, feature importance |
//!
//! Nothing here does IO, reads a clock or draws from a generator that was not seeded by an
//! argument. The same inputs and seed give the same bytes on any number of threads.

#![cfg_attr(test, allow(clippy::unwrap_used))]

pub mod autoencoder;
pub mod calibration;
pub mod consensus;
pub mod dbscan;
pub mod detector;
pub mod drift;
pub mod ecod;
pub mod error;
pub mod evaluation;
pub mod flock;
pub mod half_space;
pub mod hbos;
pub mod knn;
pub mod mahalanobis;
pub mod max_z;
pub mod mixture;
pub mod model;
pub mod observer;
pub mod onnx;
pub mod params;
pub mod severity;
pub mod statistics;
pub mod threshold;

mod bytes;
mod linalg;
mod neighbors;
mod random;
mod sample;
mod scaler;
mod scorer;
mod scratch;
mod sort;
mod vectors;

pub use autoencoder::AutoencoderConfig;
pub use calibration::Calibrator;
pub use consensus::{Confidence, ConsensusConfig};
pub use dbscan::{DbscanConfig, dbscan_labels};
pub use detector::{Detector, Training};
pub use drift::{DriftBaseline, DriftConfig, DriftMonitor, DriftVerdict};
pub use ecod::EcodConfig;
pub use error::{Error, FormatError, ParamsError, Result};
pub use flock::FlockConfig;
pub use half_space::HalfSpaceTreesConfig;
pub use hbos::HbosConfig;
pub use knn::KnnConfig;
pub use linfa_isolation::Scoring as ForestScoring;
pub use mahalanobis::MahalanobisConfig;
pub use max_z::MaxZ;
pub use mixture::GaussianMixtureConfig;
pub use model::{
    Baseline, Calibrators, DetectorSet, External, Golden, GoldenError, GoldenRow, Model, ModelScore,
};
pub use observer::{Epoch, FitObserver, FitRecord};
pub use onnx::{OnnxColumn, OnnxKind, OnnxModel};
pub use params::{DetectorParams, ForestForm, IsolationForestConfig, MaxZConfig};
pub use scaler::Scaling;
pub use severity::severity;
pub use statistics::{CandleZConfig, SlidingWindowConfig};
pub use threshold::{AlertBudget, Threshold, ThresholdRule};
