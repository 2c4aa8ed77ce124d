//! The forest: scoring, introspection.

use std::sync::OnceLock;

use ndarray::{Array1, ArrayView2, Axis};
use rayon::prelude::*;
use serde::{Deserialize, Serialize};

use crate::credits::{Credits, StepCredits};
use crate::error::{Error, Result};
use crate::finite::is_allowed;
use crate::kernel::{Finish, Kernel, Scratch, Simd};
use crate::model::Model;
use crate::params::{Form, IsolationForestParams, Missing, Scoring};
use crate::path_length::average_path_length;
use crate::stored::StoredForest;

/// Rows that one rayon task scores.
const TASK_ROWS: usize = 4096;

/// A fitted isolation forest of any [`Form`]. It is immutable; scoring needs only a shared reference.
///
/// Higher scores are more anomalous: near 1 for rows that few splits isolate, below 0.5 for rows
/// that need more splits than random data would, 0.5 for every row if the training data was constant.
///
/// # Complexity
///
/// Fitting costs `O(n_trees · sample_size · depth)`, for forms that cut by gain
/// `O(n_trees · n_candidates · sample_size · (hyperplane_columns + log(sample_size)) · depth)`, plus
/// one pass over the data that checks it is finite. Scoring a row costs `O(n_trees · depth)`, and for
/// splits along single columns `O(n_features · log(n_trees · sample_size))` to rank its values.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(try_from = "StoredForest", into = "StoredForest")]
pub struct IsolationForest {
    model: Model,
    simd: Simd,
    kernel: Kernel,
    finish: Finish,
    /// What contributions need, made when they are first asked for.
    credits: OnceLock<Credits>,
    /// Likewise, of rows with missing values.
    step_credits: OnceLock<StepCredits>,
}

impl IsolationForest {
    /// Hyperparameters with their defaults; see [`IsolationForestParams`].
    pub fn params(seed: u64) -> IsolationForestParams {
        IsolationForestParams::new(seed)
    }

    pub(crate) fn new(model: Model) -> Self {
        let simd = Simd::best();
        Self {
            simd,
            kernel: Kernel::new(&model, simd),
            finish: Finish::new(&model),
            model,
            credits: OnceLock::new(),
            step_credits: OnceLock::new(),
        }
    }

    /// The same forest, scoring with other instructions than the best that there are. Scores are the
    /// same, bit for bit: this is for measuring and for ruling out.
    ///
    /// # Errors
    ///
    /// Instructions that this processor lacks are refused.
    pub fn with_simd(self, simd: Simd) -> Result<Self> {
        if !simd.is_available() {
            return Err(Error::UnsupportedSimd { simd: simd.name() });
        }
        Ok(Self {
            simd,
            kernel: Kernel::new(&self.model, simd),
            credits: OnceLock::new(),
            step_credits: OnceLock::new(),
            ..self
        })
    }

    /// Instructions that scoring uses.
    pub fn simd(&self) -> Simd {
        self.simd
    }

    /// Number of columns of the tables that the forest was fitted on and scores.
    pub fn n_features(&self) -> usize {
        self.model.n_features
    }

    /// Number of trees.
    pub fn n_trees(&self) -> usize {
        self.model.trees.len()
    }

    /// Rows that each tree was grown from.
    pub fn sample_size(&self) -> usize {
        self.model.sample_size
    }

    /// Seed that the forest was fitted with.
    pub fn seed(&self) -> u64 {
        self.model.seed
    }

    /// Which isolation forest.
    pub fn form(&self) -> Form {
        self.model.form
    }

    /// What a leaf says about its rows.
    pub fn scoring(&self) -> Scoring {
        self.model.scoring
    }

    /// What becomes of missing values.
    pub fn missing(&self) -> Missing {
        self.model.missing
    }

    /// `c(sample_size)`: the mean path length that scores 0.5.
    pub fn offset(&self) -> f64 {
        average_path_length(self.model.sample_size)
    }

    /// Edges from the root to the deepest leaf of any tree.
    pub fn depth(&self) -> usize {
        self.model
            .trees
            .iter()
            .map(|tree| tree.depth)
            .max()
            .unwrap_or(0)
    }

    pub(crate) fn model(&self) -> &Model {
        &self.model
    }

    pub(crate) fn kernel(&self) -> &Kernel {
        &self.kernel
    }

    pub(crate) fn score_of_sum(&self, sum: f64) -> f64 {
        self.finish.score(sum)
    }

    pub(crate) fn credits_cells(&self) -> (&OnceLock<Credits>, &OnceLock<StepCredits>) {
        (&self.credits, &self.step_credits)
    }

    /// Scores of `records`, shape (n_samples, n_features), in any memory layout: n_samples values in
    /// (0, 1), higher is more anomalous. A table of no rows has no scores.
    ///
    /// Large tables are scored on rayon's current pool; the scores don't depend on its size.
    ///
    /// # Errors
    ///
    /// A wrong number of columns and values that are not finite (but for NaN with
    /// [`Missing::BothWays`]) are refused.
    pub fn score_samples(&self, records: ArrayView2<'_, f64>) -> Result<Array1<f64>> {
        let mut scores = vec![0.0; records.nrows()];
        self.score_into(records, &mut scores)?;
        Ok(Array1::from_vec(scores))
    }

    /// [`score_samples`](Self::score_samples) into the caller's buffer, one place per row. After an
    /// error its content is unspecified.
    ///
    /// # Errors
    ///
    /// As [`score_samples`](Self::score_samples); a buffer of another length is refused, too.
    pub fn score_into(&self, records: ArrayView2<'_, f64>, scores: &mut [f64]) -> Result<()> {
        self.map_sums(records, scores, |sums| {
            self.finish.score_all(self.simd, sums)
        })
    }

    /// Score of one row of `n_features` values, without allocation (but for rows with missing values).
    ///
    /// # Errors
    ///
    /// As [`score_samples`](Self::score_samples); the row counts as row 0.
    pub fn score_one(&self, row: &[f64]) -> Result<f64> {
        self.require_row(row)?;
        Ok(self.finish.score(self.kernel.sum_of_one(&self.model, row)))
    }

    /// Mean over the trees of what [`Scoring`] says for each row of `records`, shape
    /// (n_samples, n_features): by default the mean path length `E(h(x))` of Liu 2008, in edges, from
    /// which the score is `2^(-E(h(x)) / c(sample_size))`; with [`Scoring::Density`] the mean log2
    /// density.
    ///
    /// # Errors
    ///
    /// As [`score_samples`](Self::score_samples).
    pub fn path_lengths(&self, records: ArrayView2<'_, f64>) -> Result<Array1<f64>> {
        let n_trees = self.n_trees() as f64;
        let mut means = vec![0.0; records.nrows()];
        self.map_sums(records, &mut means, |sums| {
            sums.iter_mut().for_each(|sum| *sum /= n_trees)
        })?;
        Ok(Array1::from_vec(means))
    }

    /// Refuses a row that can't be scored.
    pub(crate) fn require_row(&self, row: &[f64]) -> Result<()> {
        self.require_n_features(row.len())?;
        let allow_nan = self.model.missing == Missing::BothWays;
        match row.iter().position(|&value| !is_allowed(value, allow_nan)) {
            Some(column) => Err(Error::NonFinite {
                row: 0,
                column,
                value: row[column],
            }),
            None => Ok(()),
        }
    }

    pub(crate) fn require_n_features(&self, actual: usize) -> Result<()> {
        if actual != self.model.n_features {
            return Err(Error::WrongFeatureCount {
                expected: self.model.n_features,
                actual,
            });
        }
        Ok(())
    }

    /// Writes what `finish` makes of the sum of leaf values of each row.
    fn map_sums(
        &self,
        records: ArrayView2<'_, f64>,
        out: &mut [f64],
        finish: impl Fn(&mut [f64]) + Sync,
    ) -> Result<()> {
        self.require_n_features(records.ncols())?;
        if out.len() != records.nrows() {
            return Err(Error::WrongOutputLength {
                expected: records.nrows(),
                actual: out.len(),
            });
        }
        let score_task =
            |scratch: &mut Scratch, rows: ArrayView2<'_, f64>, first, out: &mut [f64]| {
                self.kernel
                    .sum_into(&self.model, &rows, first, scratch, out)?;
                finish(out);
                Ok(())
            };
        if out.len() <= TASK_ROWS {
            return score_task(&mut Scratch::default(), records, 0, out);
        }
        let first_error = out
            .par_chunks_mut(TASK_ROWS)
            .zip(records.axis_chunks_iter(Axis(0), TASK_ROWS).into_par_iter())
            .enumerate()
            .map_init(Scratch::default, |scratch, (task, (out, rows))| {
                score_task(scratch, rows, task * TASK_ROWS, out)
            })
            .find_first(Result::is_err);
        first_error.unwrap_or(Ok(()))
    }
}
