//! The forest: fitting, scoring, introspection.

use ndarray::{Array1, ArrayView2, Axis, s};
use rayon::prelude::*;
use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};
use crate::kernel::{BLOCK_ROWS, Block, Kernel, LANES, require_finite};
use crate::params::{IsolationForestParams, IsolationForestValidParams, default_max_depth};
use crate::path_length::{average_path_length, score};
use crate::random::TreeRng;
use crate::stored::StoredForest;
use crate::tree::{GrowLimits, Tree};

/// Rows that one rayon task scores.
const TASK_ROWS: usize = 4096;

/// Rows and columns that a tree can address.
const MAX_LEN: usize = i32::MAX as usize;

/// A fitted Isolation Forest. It is immutable; scoring needs only a shared reference.
///
/// Higher scores are more anomalous: near 1 for rows that few splits isolate, below 0.5 for rows
/// that need more splits than random data would, 0.5 for every row if the training data was constant.
///
/// # Complexity
///
/// Fitting costs `O(n_trees · sample_size · depth)` plus one pass over the data that checks it is
/// finite. Scoring costs at most `n_trees · depth` comparisons per row.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(try_from = "StoredForest", into = "StoredForest")]
pub struct IsolationForest {
    n_features: usize,
    sample_size: usize,
    seed: u64,
    trees: Vec<Tree>,
    kernel: Kernel,
    /// `c(sample_size)` added up once per tree, in the order in which path lengths are added up: so
    /// a row whose every path length is `c(sample_size)` scores 0.5 exactly.
    denominator: f64,
}

impl IsolationForest {
    /// Hyperparameters with their defaults; see [`IsolationForestParams`].
    pub fn params(seed: u64) -> IsolationForestParams {
        IsolationForestParams::new(seed)
    }

    pub(crate) fn from_trees(
        n_features: usize,
        sample_size: usize,
        seed: u64,
        trees: Vec<Tree>,
    ) -> Self {
        let offset = average_path_length(sample_size);
        Self {
            n_features,
            sample_size,
            seed,
            kernel: Kernel::new(&trees),
            denominator: trees.iter().map(|_| offset).sum(),
            trees,
        }
    }

    /// Number of columns of the tables that the forest was fitted on and scores.
    pub fn n_features(&self) -> usize {
        self.n_features
    }

    /// Number of trees.
    pub fn n_trees(&self) -> usize {
        self.trees.len()
    }

    /// Rows that each tree was grown from.
    pub fn sample_size(&self) -> usize {
        self.sample_size
    }

    /// Seed that the forest was fitted with.
    pub fn seed(&self) -> u64 {
        self.seed
    }

    /// `c(sample_size)`: the mean path length that scores 0.5.
    pub fn offset(&self) -> f64 {
        average_path_length(self.sample_size)
    }

    /// Edges from the root to the deepest leaf of any tree.
    pub fn depth(&self) -> usize {
        self.trees.iter().map(Tree::depth).max().unwrap_or(0)
    }

    pub(crate) fn trees(&self) -> &[Tree] {
        &self.trees
    }

    /// Scores of `records`, shape (n_samples, n_features): n_samples values in (0, 1), higher is more
    /// anomalous. A table of no rows has no scores.
    ///
    /// Large tables are scored on rayon's current pool; the scores don't depend on its size.
    ///
    /// # Errors
    ///
    /// A wrong number of columns and values that are not finite are refused.
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
        let denominator = self.denominator;
        self.map_path_length_sums(records, scores, |sum| score(sum, denominator))
    }

    /// Score of one row of `n_features` values, without allocation.
    ///
    /// # Errors
    ///
    /// As [`score_samples`](Self::score_samples); the row counts as row 0.
    pub fn score_one(&self, row: &[f64]) -> Result<f64> {
        self.require_n_features(row.len())?;
        if let Some(column) = row.iter().position(|value| !value.is_finite()) {
            return Err(Error::NonFinite {
                row: 0,
                column,
                value: row[column],
            });
        }
        let sum = self.kernel.sum_path_lengths_of_one(&self.trees, row);
        Ok(score(sum, self.denominator))
    }

    /// Mean path length of each row of `records`, shape (n_samples, n_features): `E(h(x))` of the
    /// paper, in edges, from which the score is `2^(-E(h(x)) / c(sample_size))`.
    ///
    /// # Errors
    ///
    /// As [`score_samples`](Self::score_samples).
    pub fn path_lengths(&self, records: ArrayView2<'_, f64>) -> Result<Array1<f64>> {
        let n_trees = self.trees.len() as f64;
        let mut means = vec![0.0; records.nrows()];
        self.map_path_length_sums(records, &mut means, |sum| sum / n_trees)?;
        Ok(Array1::from_vec(means))
    }

    fn require_n_features(&self, actual: usize) -> Result<()> {
        if actual != self.n_features {
            return Err(Error::WrongFeatureCount {
                expected: self.n_features,
                actual,
            });
        }
        Ok(())
    }

    /// Writes `finish(sum of path lengths)` of each row.
    fn map_path_length_sums(
        &self,
        records: ArrayView2<'_, f64>,
        out: &mut [f64],
        finish: impl Fn(f64) -> f64 + Sync,
    ) -> Result<()> {
        self.require_n_features(records.ncols())?;
        if out.len() != records.nrows() {
            return Err(Error::WrongOutputLength {
                expected: records.nrows(),
                actual: out.len(),
            });
        }
        if out.len() <= TASK_ROWS {
            return self.map_task(records, 0, out, &finish);
        }
        let first_error = out
            .par_chunks_mut(TASK_ROWS)
            .zip(records.axis_chunks_iter(Axis(0), TASK_ROWS).into_par_iter())
            .enumerate()
            .map(|(task, (out, rows))| self.map_task(rows, task * TASK_ROWS, out, &finish))
            .find_first(Result::is_err);
        first_error.unwrap_or(Ok(()))
    }

    fn map_task(
        &self,
        records: ArrayView2<'_, f64>,
        first_row: usize,
        out: &mut [f64],
        finish: &impl Fn(f64) -> f64,
    ) -> Result<()> {
        let mut block = Block::new(self.n_features);
        let mut sums = [[0.0; LANES]; BLOCK_ROWS / LANES];
        for (block_idx, out) in out.chunks_mut(BLOCK_ROWS).enumerate() {
            let first = block_idx * BLOCK_ROWS;
            let rows = records.slice(s![first..first + out.len(), ..]);
            block.fill(&rows, first_row + first)?;
            let sums = &mut sums[..out.len().div_ceil(LANES)];
            self.kernel.sum_path_lengths(&self.trees, &block, sums);
            for (out, &sum) in out.iter_mut().zip(sums.as_flattened()) {
                *out = finish(sum);
            }
        }
        Ok(())
    }
}

impl IsolationForestValidParams {
    /// Fits a forest on `records`, shape (n_samples, n_features), in any memory layout. This is what
    /// linfa's `fit` calls; it needs no [`Dataset`](linfa::Dataset).
    ///
    /// Each tree has a generator of its own, seeded from the seed and the tree's index, so the forest
    /// doesn't depend on the number of threads of rayon's current pool, on which the trees grow.
    ///
    /// # Errors
    ///
    /// An empty table, one with a value that is not finite, and one with fewer columns than
    /// `max_features` are refused.
    pub fn fit_view(&self, records: ArrayView2<'_, f64>) -> Result<IsolationForest> {
        let (n_samples, n_features) = records.dim();
        if n_samples == 0 || n_features == 0 {
            return Err(Error::Empty {
                n_samples,
                n_features,
            });
        }
        if n_samples > MAX_LEN || n_features > MAX_LEN {
            return Err(Error::TooLarge {
                n_samples,
                n_features,
            });
        }
        let max_features = self.max_features().unwrap_or(n_features);
        if max_features > n_features {
            return Err(Error::InvalidParameter {
                parameter: "max_features",
                value: max_features.to_string(),
                allowed: "at most the number of columns",
            });
        }
        require_finite(&records, 0)?;

        let sample_size = self.sample_size().resolve(n_samples);
        let limits = GrowLimits {
            sample_size,
            max_depth: self
                .max_depth()
                .unwrap_or_else(|| default_max_depth(sample_size)),
            max_features,
        };
        let trees = (0..self.n_trees())
            .into_par_iter()
            .map(|tree_idx| {
                let mut rng = TreeRng::new(self.seed(), tree_idx);
                Tree::grow(&records, limits, &mut rng)
            })
            .collect();
        Ok(IsolationForest::from_trees(
            n_features,
            sample_size,
            self.seed(),
            trees,
        ))
    }
}
