//! ONNX models that others made, say with scikit-learn or PyTorch, as scorers of rows.
//!
//! [`ScoringModel::load`] checks a graph against the MLflow [`Signature`] that it was logged with: opsets,
//! operators, inputs, types; what doesn't fit is refused with what was expected and found.
//! [`ScoringModel::score`] then gives one number a row, higher being more anomalous, by the
//! [`ScoreRule`].
//!
//! Graphs run in tract, with `TreeEnsembleRegressor` and `LabelEncoder`, which it lacks and which
//! skl2onnx writes, added here.
//!
//! Nothing here does IO or knows a clock.

#![cfg_attr(test, allow(clippy::unwrap_used))]

mod check;
mod error;
mod model;
mod ops;
mod rule;
mod signature;

/// Where a native model that stands for a graph says what the graph's file is called.
pub const FILE_KEY: &str = "foreshock.graph";
/// And where it has the inputs of the graph's signature, as [`Signature::from_json`] takes them.
pub const INPUTS_KEY: &str = "foreshock.graph_inputs";

pub use error::{Error, Result};
pub use model::ScoringModel;
pub use rule::ScoreRule;
pub use signature::{ColumnKind, Signature, SignatureInput};
