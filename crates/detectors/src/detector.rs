//! One type for every detector.

use linfa::ParamGuard;
use linfa_isolation::IsolationForest;
use ndarray::{ArrayView2, Axis, s};
use rayon::prelude::*;
use serde::{Deserialize, Serialize};

use crate::bytes::{Reader, Writer};
use crate::error::{Error, FormatError, Result};
use crate::max_z::MaxZ;
use crate::params::{DetectorParams, IsolationForestConfig};

/// Rows that one task scores at a time.
const CHUNK: usize = 8_192;

/// A fitted detector: immutable, higher scores are more anomalous, scores are finite.
///
/// Raw scores of different detectors do not compare; a [`Calibrator`](crate::Calibrator) makes
/// them tail probabilities, which do.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(tag = "detector", rename_all = "snake_case")]
#[non_exhaustive]
#[expect(
    clippy::large_enum_variant,
    reason = "a model holds at most one per symbol, and most are forests"
)]
pub enum Detector {
    /// Isolation Forest.
    IsolationForest(IsolationForest),
    /// The largest |z| over the features.
    MaxZ(MaxZ),
}

impl Detector {
    /// Fits `params` on `rows`, (n_samples, n_features), without labels.
    ///
    /// The same rows, parameters and seed give the same detector on any number of threads.
    ///
    /// # Errors
    /// Parameters out of range (all listed), no rows, no columns, a value that is not finite (with
    /// its row and column).
    pub fn fit(params: &DetectorParams, rows: ArrayView2<'_, f64>, seed: u64) -> Result<Self> {
        params.check()?;
        match params {
            DetectorParams::IsolationForest(config) => {
                fit_forest(config, rows, seed).map(Self::IsolationForest)
            }
            DetectorParams::MaxZ(_) => MaxZ::fit(rows).map(Self::MaxZ),
        }
    }

    /// The name that experiment files use, such as `isolation_forest`.
    #[must_use]
    pub fn name(&self) -> &'static str {
        match self {
            Self::IsolationForest(_) => "isolation_forest",
            Self::MaxZ(_) => "max_z",
        }
    }

    /// Number of columns that rows must have.
    #[must_use]
    pub fn n_features(&self) -> usize {
        match self {
            Self::IsolationForest(forest) => forest.n_features(),
            Self::MaxZ(z) => z.n_features(),
        }
    }

    /// Scores `rows`, (n_samples, n_features), into `out`, n_samples long, on rayon's threads.
    ///
    /// # Errors
    /// Another number of columns than in training, `out` of another length, a value that is not
    /// finite (with its row and column). `out` is then left in an unspecified state.
    pub fn score_into(&self, rows: ArrayView2<'_, f64>, out: &mut [f64]) -> Result<()> {
        self.check_columns(rows.ncols())?;
        if out.len() != rows.nrows() {
            return Err(Error::Shape {
                what: "scores",
                expected: rows.nrows(),
                found: out.len(),
            });
        }
        match self {
            // The forest has threads and checks of its own.
            Self::IsolationForest(forest) => forest.score_into(rows, out).map_err(forest_error),
            Self::MaxZ(z) => out
                .par_chunks_mut(CHUNK)
                .enumerate()
                .try_for_each(|(chunk, out)| {
                    let start = chunk * CHUNK;
                    let rows = rows.slice(s![start..start + out.len(), ..]);
                    check_finite("rows", rows).map_err(|error| shift_row(error, start))?;
                    for (row, out) in rows.axis_iter(Axis(0)).zip(out) {
                        *out = z.score_row(row.iter().copied());
                    }
                    Ok(())
                }),
        }
    }

    /// Scores `rows`, (n_samples, n_features).
    ///
    /// # Errors
    /// As [`score_into`](Self::score_into).
    pub fn score(&self, rows: ArrayView2<'_, f64>) -> Result<Vec<f64>> {
        let mut out = vec![0.0; rows.nrows()];
        self.score_into(rows, &mut out)?;
        Ok(out)
    }

    /// Scores one row of n_features values; the same number as in a batch, bit for bit.
    ///
    /// # Errors
    /// Another number of values than in training, or one that is not finite.
    pub fn score_one(&self, row: &[f64]) -> Result<f64> {
        self.check_columns(row.len())?;
        if let Some(column) = row.iter().position(|v| !v.is_finite()) {
            return Err(Error::NonFinite {
                what: "row",
                row: 0,
                column,
                value: row[column],
            });
        }
        match self {
            Self::IsolationForest(forest) => forest.score_one(row).map_err(forest_error),
            Self::MaxZ(z) => Ok(z.score_row(row.iter().copied())),
        }
    }

    fn check_columns(&self, found: usize) -> Result<()> {
        let expected = self.n_features();
        if found == expected {
            Ok(())
        } else {
            Err(Error::Shape {
                what: "features of a row",
                expected,
                found,
            })
        }
    }

    pub(crate) fn write(&self, out: &mut Writer) {
        match self {
            Self::IsolationForest(forest) => {
                out.u8(2);
                out.blob(&forest.to_bytes());
            }
            Self::MaxZ(z) => {
                out.u8(1);
                z.write(out);
            }
        }
    }

    pub(crate) fn read(from: &mut Reader<'_>) -> Result<Self, FormatError> {
        match from.u8("detector kind")? {
            1 => MaxZ::read(from).map(Self::MaxZ),
            2 => IsolationForest::from_bytes(from.blob("isolation forest")?)
                .map(Self::IsolationForest)
                .map_err(|error| FormatError::content("isolation forest", error)),
            kind => Err(FormatError::content(
                "detector kind",
                format!("`{kind}` is not known"),
            )),
        }
    }
}

fn fit_forest(
    config: &IsolationForestConfig,
    rows: ArrayView2<'_, f64>,
    seed: u64,
) -> Result<IsolationForest> {
    config
        .forest(seed)
        .check()
        .and_then(|params| params.fit_view(rows))
        .map_err(forest_error)
}

fn forest_error(error: linfa_isolation::Error) -> Error {
    match error {
        linfa_isolation::Error::NonFinite { row, column, value } => Error::NonFinite {
            what: "rows",
            row,
            column,
            value,
        },
        other => Error::Forest(other.to_string()),
    }
}

fn shift_row(error: Error, by: usize) -> Error {
    match error {
        Error::NonFinite {
            what,
            row,
            column,
            value,
        } => Error::NonFinite {
            what,
            row: row + by,
            column,
            value,
        },
        other => other,
    }
}

/// Refuses the first value that is not finite, in row order.
pub(crate) fn check_finite(what: &'static str, rows: ArrayView2<'_, f64>) -> Result<()> {
    // Values in one piece are looked at without branches first.
    let is_finite = |values: &[f64]| values.iter().fold(true, |all, v| all & v.is_finite());
    if rows.as_slice_memory_order().is_some_and(is_finite) {
        return Ok(());
    }
    for (row, values) in rows.axis_iter(Axis(0)).enumerate() {
        if let Some(column) = values.iter().position(|v| !v.is_finite()) {
            return Err(Error::NonFinite {
                what,
                row,
                column,
                value: values[column],
            });
        }
    }
    Ok(())
}
