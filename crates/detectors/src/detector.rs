//! One type for every detector.

mod bytes;

use linfa::ParamGuard;
use linfa_isolation::IsolationForest;
use ndarray::{ArrayView2, Axis, s};
use rayon::prelude::*;

use crate::autoencoder::Autoencoder;
use crate::consensus::Consensus;
use crate::dbscan::Dbscan;
use crate::ecod::Ecod;
use crate::error::{Error, Result};
use crate::half_space::HalfSpaceTrees;
use crate::hbos::Hbos;
use crate::knn::Knn;
use crate::mahalanobis::Mahalanobis;
use crate::max_z::MaxZ;
use crate::mixture::GaussianMixture;
use crate::observer::FitObserver;
use crate::params::{DetectorParams, IsolationForestConfig};
use crate::scorer::Scorer;
use crate::scratch::with_zeros;
use crate::statistics::{CandleZ, SlidingWindow};

/// Rows that one task scores at a time.
const CHUNK: usize = 8_192;
/// Rows that are scored between two questions whether to go on.
const ROWS_BETWEEN_QUESTIONS: usize = 4 * CHUNK;

/// A fitted detector: higher scores are more anomalous, scores are finite.
///
/// Raw scores of different detectors do not compare; a [`Calibrator`](crate::Calibrator) makes
/// them tail probabilities, which do. Only [`update`](Self::update) and
/// [`calibrate`](Self::calibrate) change one.
#[derive(Debug, Clone)]
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
    /// Empirical tails, column by column.
    Ecod(Ecod),
    /// Histograms, column by column.
    Hbos(Hbos),
    /// Distance to the nearest training rows.
    Knn(Knn),
    /// Distance to the nearest core row of DBSCAN.
    Dbscan(Dbscan),
    /// Mahalanobis distance.
    Mahalanobis(Mahalanobis),
    /// Density of a Gaussian mixture.
    GaussianMixture(GaussianMixture),
    /// Reconstruction error of an autoencoder.
    Autoencoder(Autoencoder),
    /// Half-space trees, which keep learning.
    HalfSpaceTrees(HalfSpaceTrees),
    /// Per-candle z-scores of named features.
    CandleZ(CandleZ),
    /// The last hour against historical limits.
    SlidingWindow(SlidingWindow),
    /// Several of the others.
    Consensus(Consensus),
}

/// What a detector is fitted on.
#[derive(Debug, Clone, Copy)]
pub struct Training<'a> {
    /// (n_samples, n_features), in the order of time where the data have one.
    pub rows: ArrayView2<'a, f64>,
    /// The columns' names, for detectors that look at some of them.
    pub names: Option<&'a [String]>,
    /// What every random choice derives from.
    pub seed: u64,
}

impl Detector {
    /// Fits `params` on `rows`, (n_samples, n_features), without labels.
    ///
    /// The same rows, parameters and seed give the same detector on any number of threads.
    ///
    /// # Errors
    /// As [`fit_with`](Self::fit_with).
    pub fn fit(params: &DetectorParams, rows: ArrayView2<'_, f64>, seed: u64) -> Result<Self> {
        let names = None;
        Self::fit_with(params, Training { rows, names, seed }, &mut ())
    }

    /// Fits `params` on what `training` holds, without labels; `observer` hears how it goes and may end
    /// it.
    ///
    /// # Errors
    /// Parameters out of range (all listed), no rows, no columns, a value that is not finite (with
    /// its row and column), features that aren't there, rows that a detector can make nothing of,
    /// [`Error::Stopped`] where the observer says so.
    pub fn fit_with(
        params: &DetectorParams,
        training: Training<'_>,
        observer: &mut dyn FitObserver,
    ) -> Result<Self> {
        params.check()?;
        let Training { rows, names, seed } = training;
        if rows.is_empty() {
            return Err(Error::Empty {
                what: "training rows",
            });
        }
        if let Some(names) = names
            && names.len() != rows.ncols()
        {
            return Err(Error::Shape {
                what: "names of the features",
                expected: rows.ncols(),
                found: names.len(),
            });
        }
        if observer.should_stop() {
            return Err(Error::Stopped);
        }
        if let DetectorParams::IsolationForest(config) = params {
            // The forest has checks of its own.
            return fit_forest(config, rows, seed, observer).map(Self::IsolationForest);
        }
        check_finite("training rows", rows)?;
        Ok(match params {
            DetectorParams::IsolationForest(config) => {
                Self::IsolationForest(fit_forest(config, rows, seed, observer)?)
            }
            DetectorParams::MaxZ(_) => Self::MaxZ(MaxZ::fit(rows)?),
            DetectorParams::Ecod(_) => Self::Ecod(Ecod::fit(rows)),
            DetectorParams::Hbos(config) => Self::Hbos(Hbos::fit(config, rows)),
            DetectorParams::Knn(config) => Self::Knn(Knn::fit(config, rows, seed, observer)?),
            DetectorParams::Dbscan(config) => {
                Self::Dbscan(Dbscan::fit(config, rows, seed, observer)?)
            }
            DetectorParams::Mahalanobis(config) => {
                Self::Mahalanobis(Mahalanobis::fit(config, rows, seed, observer)?)
            }
            DetectorParams::GaussianMixture(config) => {
                Self::GaussianMixture(GaussianMixture::fit(config, rows, seed, observer)?)
            }
            DetectorParams::Autoencoder(config) => {
                Self::Autoencoder(Autoencoder::fit(config, rows, seed, observer)?)
            }
            DetectorParams::HalfSpaceTrees(config) => {
                Self::HalfSpaceTrees(HalfSpaceTrees::fit(config, rows, seed, observer)?)
            }
            DetectorParams::CandleZ(config) => Self::CandleZ(CandleZ::fit(config, rows, names)?),
            DetectorParams::SlidingWindow(config) => {
                Self::SlidingWindow(SlidingWindow::fit(config, rows, names)?)
            }
            DetectorParams::Consensus(config) => {
                Self::Consensus(Consensus::fit(config, training, observer)?)
            }
        })
    }

    /// The name that experiment files use, such as `isolation_forest`.
    #[must_use]
    pub fn name(&self) -> &'static str {
        match self {
            Self::IsolationForest(_) => "isolation_forest",
            Self::MaxZ(_) => "max_z",
            Self::Ecod(_) => "ecod",
            Self::Hbos(_) => "hbos",
            Self::Knn(_) => "knn",
            Self::Dbscan(_) => "dbscan",
            Self::Mahalanobis(_) => "mahalanobis",
            Self::GaussianMixture(_) => "gaussian_mixture",
            Self::Autoencoder(_) => "autoencoder",
            Self::HalfSpaceTrees(_) => "half_space_trees",
            Self::CandleZ(_) => "candle_z",
            Self::SlidingWindow(_) => "sliding_window",
            Self::Consensus(_) => "consensus",
        }
    }

    /// Those that are handed rows one by one; the others have threads and checks of their own.
    fn scorer(&self) -> Either<'_> {
        Either::Scorer(match self {
            Self::IsolationForest(forest) => return Either::Forest(forest),
            Self::Consensus(consensus) => return Either::Consensus(consensus),
            Self::MaxZ(inner) => inner,
            Self::Ecod(inner) => inner,
            Self::Hbos(inner) => inner,
            Self::Knn(inner) => inner,
            Self::Dbscan(inner) => inner,
            Self::Mahalanobis(inner) => inner,
            Self::GaussianMixture(inner) => inner,
            Self::Autoencoder(inner) => inner,
            Self::HalfSpaceTrees(inner) => inner,
            Self::CandleZ(inner) => inner,
            Self::SlidingWindow(inner) => inner,
        })
    }

    /// Number of columns that rows must have.
    #[must_use]
    pub fn n_features(&self) -> usize {
        match self.scorer() {
            Either::Forest(forest) => forest.n_features(),
            Either::Consensus(consensus) => consensus.n_features(),
            Either::Scorer(scorer) => scorer.n_features(),
        }
    }

    /// The raw score beyond which the detector itself calls a row anomalous, for those that have a
    /// notion of their own: the per-candle z-score and the sliding window (1: a limit is exceeded),
    /// DBSCAN (1: beyond eps of the core). `None` for those that only rank.
    #[must_use]
    pub fn own_limit(&self) -> Option<f64> {
        matches!(
            self,
            Self::CandleZ(_) | Self::SlidingWindow(_) | Self::Dbscan(_)
        )
        .then_some(1.0)
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
        match self.scorer() {
            Either::Forest(forest) => forest.score_into(rows, out).map_err(forest_error),
            Either::Consensus(consensus) => consensus.score_into(rows, out),
            Either::Scorer(scorer) => {
                let chunks = out.par_chunks_mut(CHUNK).enumerate();
                chunks.try_for_each(|(chunk, out)| {
                    let start = chunk * CHUNK;
                    let rows = rows.slice(s![start..start + out.len(), ..]);
                    check_finite("rows", rows).map_err(|error| shift_row(error, start))?;
                    scorer.score_rows(rows, out);
                    Ok(())
                })
            }
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

    /// As [`score`](Self::score), a few thousand rows at a time: before each of them `observer` is asked
    /// whether to stop.
    ///
    /// # Errors
    /// As [`score_into`](Self::score_into), and [`Error::Stopped`].
    pub fn score_watched(
        &self,
        rows: ArrayView2<'_, f64>,
        observer: &mut dyn FitObserver,
    ) -> Result<Vec<f64>> {
        let mut out = vec![0.0; rows.nrows()];
        for (part, out) in out.chunks_mut(ROWS_BETWEEN_QUESTIONS).enumerate() {
            if observer.should_stop() {
                return Err(Error::Stopped);
            }
            let start = part * ROWS_BETWEEN_QUESTIONS;
            let rows = rows.slice(s![start..start + out.len(), ..]);
            let scored = self.score_into(rows, out);
            scored.map_err(|error| shift_row(error, start))?;
        }
        Ok(out)
    }

    /// Scores one row of n_features values; the same number as in a batch, bit for bit. Without an
    /// allocation, where rows have at most 32 values.
    ///
    /// # Errors
    /// Another number of values than in training, or one that is not finite.
    pub fn score_one(&self, row: &[f64]) -> Result<f64> {
        self.check_row(row)?;
        match self.scorer() {
            Either::Forest(forest) => forest.score_one(row).map_err(forest_error),
            Either::Consensus(consensus) => consensus.score_one(row),
            Either::Scorer(scorer) => Ok(scorer.score_row(row)),
        }
    }

    /// Scores one row, and says in `parts`, n_features long, what each feature has to do with it. What a
    /// part is, and whether parts sum to the score, is said at each detector; a larger one has more to
    /// do with it everywhere.
    ///
    /// # Errors
    /// As [`score_one`](Self::score_one); `parts` of another length.
    pub fn explain(&self, row: &[f64], parts: &mut [f64]) -> Result<f64> {
        self.check_row(row)?;
        if parts.len() != row.len() {
            return Err(Error::Shape {
                what: "parts of a score",
                expected: row.len(),
                found: parts.len(),
            });
        }
        match self.scorer() {
            Either::Forest(forest) => with_zeros(row.len(), |low| {
                let score = forest.contributions_one(row, parts, low);
                for (part, low) in parts.iter_mut().zip(&*low) {
                    *part += low;
                }
                score.map_err(forest_error)
            }),
            Either::Consensus(consensus) => consensus.explain(row, parts),
            Either::Scorer(scorer) => Ok(scorer.explain_row(row, parts)),
        }
    }

    /// Each feature's share in one row's score, n_features numbers of at least 0 that sum to 1, or are
    /// all 0 where nothing speaks for an anomaly.
    ///
    /// # Errors
    /// As [`explain`](Self::explain).
    pub fn shares(&self, row: &[f64]) -> Result<Vec<f64>> {
        let mut parts = vec![0.0; row.len()];
        self.explain(row, &mut parts)?;
        let largest = parts.iter().copied().fold(0.0, f64::max);
        for part in &mut parts {
            // In units of the largest, so that no sum overflows.
            *part = if largest > 0.0 {
                part.max(0.0) / largest
            } else {
                0.0
            };
        }
        let sum: f64 = parts.iter().sum();
        if sum > 0.0 {
            parts.iter_mut().for_each(|part| *part /= sum);
        }
        Ok(parts)
    }

    /// Whether [`update`](Self::update) teaches it something.
    #[must_use]
    pub fn is_streaming(&self) -> bool {
        match self {
            Self::HalfSpaceTrees(_) => true,
            Self::Mahalanobis(inner) => inner.is_streaming(),
            Self::Consensus(inner) => inner.is_streaming(),
            _ => false,
        }
    }

    /// Takes a row into what a streaming detector knows, and says whether it is one; the others stay as
    /// they are. Scoring never does: score first, then update, and a row isn't judged by itself. The same
    /// rows in the same order give the same detector.
    ///
    /// # Errors
    /// As [`score_one`](Self::score_one); nothing is learned then.
    pub fn update(&mut self, row: &[f64]) -> Result<bool> {
        self.check_row(row)?;
        match self {
            Self::HalfSpaceTrees(inner) => inner.update(row),
            Self::Mahalanobis(inner) => inner.update(row),
            Self::Consensus(inner) => return inner.update(row),
            _ => (),
        }
        Ok(self.is_streaming())
    }

    /// Calibrates the members of a consensus on `rows`, (n_samples, n_features), that they were not
    /// fitted on; the others have none and stay as they are.
    ///
    /// # Errors
    /// As [`score_into`](Self::score_into), and no rows.
    pub fn calibrate(&mut self, rows: ArrayView2<'_, f64>) -> Result<()> {
        self.calibrate_with(rows, &mut ())
    }

    /// As [`calibrate`](Self::calibrate), unless `observer` says to stop.
    ///
    /// # Errors
    /// As [`calibrate`](Self::calibrate), and [`Error::Stopped`].
    pub fn calibrate_with(
        &mut self,
        rows: ArrayView2<'_, f64>,
        observer: &mut dyn FitObserver,
    ) -> Result<()> {
        match self {
            Self::Consensus(consensus) => consensus.calibrate(rows, observer),
            _ => Ok(()),
        }
    }

    fn check_row(&self, row: &[f64]) -> Result<()> {
        self.check_columns(row.len())?;
        match row.iter().position(|v| !v.is_finite()) {
            None => Ok(()),
            Some(column) => Err(Error::NonFinite {
                what: "row",
                row: 0,
                column,
                value: row[column],
            }),
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
}

/// Who scores rows, and how it is asked.
enum Either<'a> {
    Forest(&'a IsolationForest),
    Consensus(&'a Consensus),
    Scorer(&'a dyn Scorer),
}

fn fit_forest(
    config: &IsolationForestConfig,
    rows: ArrayView2<'_, f64>,
    seed: u64,
    observer: &mut dyn FitObserver,
) -> Result<IsolationForest> {
    config
        .forest(seed)
        .check()
        .and_then(|params| params.fit_view_until(rows, &mut || observer.should_stop()))
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
        linfa_isolation::Error::Stopped => Error::Stopped,
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
