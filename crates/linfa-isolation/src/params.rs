//! Hyperparameters: unchecked, then checked. Only the checked type can fit.

use linfa::ParamGuard;
use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};

/// Most trees that a forest may have.
pub const MAX_TREES: usize = 1_000_000;

/// How many rows each tree is grown from.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub enum SampleSize {
    /// That many rows, or all of them if there are fewer.
    Count(usize),
    /// This share of the rows, in (0, 1], rounded down, and at least one row.
    Fraction(f64),
}

impl SampleSize {
    /// Number of rows drawn from a table of `n_samples` rows; at least one if there are any.
    pub fn resolve(self, n_samples: usize) -> usize {
        match self {
            SampleSize::Count(count) => count.min(n_samples),
            // Truncation is the documented rounding.
            SampleSize::Fraction(fraction) => {
                ((fraction * n_samples as f64) as usize).clamp(1.min(n_samples), n_samples)
            }
        }
    }
}

impl From<usize> for SampleSize {
    fn from(count: usize) -> Self {
        SampleSize::Count(count)
    }
}

/// Unchecked hyperparameters of an [`IsolationForest`](crate::IsolationForest).
///
/// `fit` on this type checks first; [`ParamGuard::check`] gives the checked form.
#[derive(Debug, Clone, PartialEq)]
pub struct IsolationForestParams(IsolationForestValidParams);

/// Checked hyperparameters of an [`IsolationForest`](crate::IsolationForest).
#[derive(Debug, Clone, PartialEq)]
pub struct IsolationForestValidParams {
    n_trees: usize,
    sample_size: SampleSize,
    max_depth: Option<usize>,
    max_features: Option<usize>,
    seed: u64,
}

impl IsolationForestParams {
    /// The defaults of the paper: 100 trees of 256 rows each, depth limit ⌈log2(256)⌉, all columns.
    ///
    /// The same seed, parameters and data give the same forest, on any number of threads.
    pub fn new(seed: u64) -> Self {
        Self(IsolationForestValidParams {
            n_trees: 100,
            sample_size: SampleSize::Count(256),
            max_depth: None,
            max_features: None,
            seed,
        })
    }

    /// Number of trees, 1 to [`MAX_TREES`]; default 100.
    pub fn n_trees(mut self, n_trees: usize) -> Self {
        self.0.n_trees = n_trees;
        self
    }

    /// Rows per tree, drawn without replacement; default 256, or all rows if there are fewer.
    pub fn sample_size(mut self, sample_size: impl Into<SampleSize>) -> Self {
        self.0.sample_size = sample_size.into();
        self
    }

    /// Depth limit of a tree; `None` (default) is ⌈log2(sample size)⌉, as in the paper.
    pub fn max_depth(mut self, max_depth: impl Into<Option<usize>>) -> Self {
        self.0.max_depth = max_depth.into();
        self
    }

    /// Columns that each tree may split on, drawn without replacement per tree; `None` (default)
    /// is all of them. More columns than the table has are refused when fitting.
    pub fn max_features(mut self, max_features: impl Into<Option<usize>>) -> Self {
        self.0.max_features = max_features.into();
        self
    }

    /// Seed of all random choices.
    pub fn seed(mut self, seed: u64) -> Self {
        self.0.seed = seed;
        self
    }
}

impl ParamGuard for IsolationForestParams {
    type Checked = IsolationForestValidParams;
    type Error = Error;

    fn check_ref(&self) -> Result<&Self::Checked> {
        let params = &self.0;
        let refuse = |parameter, value: String, allowed| {
            Err(Error::InvalidParameter {
                parameter,
                value,
                allowed,
            })
        };
        if params.n_trees == 0 || params.n_trees > MAX_TREES {
            let allowed = "between 1 and 1000000";
            return refuse("n_trees", params.n_trees.to_string(), allowed);
        }
        match params.sample_size {
            SampleSize::Count(0) => return refuse("sample_size", "0".into(), "at least 1"),
            SampleSize::Count(_) => {}
            SampleSize::Fraction(fraction) => {
                if !(fraction > 0.0 && fraction <= 1.0) {
                    return refuse("sample_size", fraction.to_string(), "a fraction in (0, 1]");
                }
            }
        }
        if params.max_depth == Some(0) {
            return refuse("max_depth", "0".into(), "at least 1");
        }
        if params.max_features == Some(0) {
            return refuse("max_features", "0".into(), "at least 1");
        }
        Ok(params)
    }

    fn check(self) -> Result<Self::Checked> {
        self.check_ref()?;
        Ok(self.0)
    }
}

impl IsolationForestValidParams {
    /// Number of trees.
    pub fn n_trees(&self) -> usize {
        self.n_trees
    }

    /// Rows per tree.
    pub fn sample_size(&self) -> SampleSize {
        self.sample_size
    }

    /// Depth limit, if one was set.
    pub fn max_depth(&self) -> Option<usize> {
        self.max_depth
    }

    /// Columns per tree, if limited.
    pub fn max_features(&self) -> Option<usize> {
        self.max_features
    }

    /// Seed of all random choices.
    pub fn seed(&self) -> u64 {
        self.seed
    }
}

/// Depth limit of a tree grown from `sample_size` rows: ⌈log2(sample size)⌉, at least 1
/// (paper, algorithm 2; scikit-learn has the same rule).
pub(crate) fn default_max_depth(sample_size: usize) -> usize {
    let limit = usize::BITS - sample_size.max(2).saturating_sub(1).leading_zeros();
    limit as usize
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn depth_limit_is_the_rounded_up_logarithm() {
        let expected = [(1, 1), (2, 1), (3, 2), (4, 2), (5, 3), (255, 8), (256, 8)];
        for (sample_size, depth) in expected {
            assert_eq!(default_max_depth(sample_size), depth, "{sample_size} rows");
        }
        assert_eq!(default_max_depth(257), 9);
    }

    #[test]
    fn sample_size_never_exceeds_the_table() {
        assert_eq!(SampleSize::Count(256).resolve(1_000), 256);
        assert_eq!(SampleSize::Count(256).resolve(10), 10);
        assert_eq!(SampleSize::Fraction(0.25).resolve(1_001), 250);
        assert_eq!(SampleSize::Fraction(0.01).resolve(7), 1);
        assert_eq!(SampleSize::Fraction(1.0).resolve(7), 7);
        assert_eq!(SampleSize::Fraction(0.5).resolve(0), 0);
    }

    #[test]
    fn impossible_values_are_named() {
        let defaults = IsolationForestParams::new(0);
        let cases = [
            (defaults.clone().n_trees(0), "n_trees"),
            (defaults.clone().n_trees(MAX_TREES + 1), "n_trees"),
            (defaults.clone().sample_size(0), "sample_size"),
            (
                defaults.clone().sample_size(SampleSize::Fraction(f64::NAN)),
                "sample_size",
            ),
            (
                defaults.clone().sample_size(SampleSize::Fraction(1.5)),
                "sample_size",
            ),
            (
                defaults.clone().sample_size(SampleSize::Fraction(0.0)),
                "sample_size",
            ),
            (defaults.clone().max_depth(0), "max_depth"),
            (defaults.clone().max_features(0), "max_features"),
        ];
        for (params, name) in cases {
            match params.check_ref() {
                Err(Error::InvalidParameter { parameter, .. }) => assert_eq!(parameter, name),
                other => panic!("{params:?} gave {other:?}"),
            }
        }
        assert!(defaults.check().is_ok());
    }
}
