//! Hyperparameters: unchecked, then checked. Only the checked type can fit.

use linfa::ParamGuard;
use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};
use crate::frame::MAX_TERMS;

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

/// How the nodes of a forest split: which of the family of isolation forests is grown.
///
/// All forms share sampling, depth limit, path lengths and scores; they differ in the direction in
/// which a node cuts and in how it chooses the place of the cut. A direction is a sum over columns
/// `x[c0] + w1 x[c1] + …`; the classic forest cuts along single columns.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Form {
    /// Isolation Forest (Liu, Ting, Zhou, ICDM 2008, algorithm 2): one random column, a uniform
    /// threshold between its extremes in the node.
    ///
    /// Deviations, scikit-learn's too: the column is drawn among those that vary in the node (the
    /// paper may draw a constant one), and values equal to the threshold go left (the paper: right).
    #[default]
    Classic,
    /// Extended Isolation Forest (Hariri, Carrasco Kind, Brunner, TKDE 2021, arXiv 1811.02141,
    /// section 3.2): a random slope over `extension_level + 1` columns. Level 0 is the classic forest;
    /// a level beyond the columns there are is refused when fitting.
    ///
    /// Two deviations, both isotree's too: the slope is drawn for columns divided by their standard
    /// deviation in the node (the paper's is drawn for raw columns, so that the column of the
    /// largest numbers decides alone), and the cut is uniform between the extremes of the projected
    /// rows (the paper draws a point of the bounding box, whose cut may leave one side empty).
    Extended {
        /// Columns in a slope, less one.
        extension_level: usize,
    },
    /// SCiForest (Liu, Ting, Zhou, ECML PKDD 2010): of
    /// [`n_candidates`](IsolationForestParams::n_candidates) random hyper-planes (the paper's τ, default
    /// 10), each cut where the paper's Sd_gain, `(σ(Y) − (σ(Y_left) + σ(Y_right)) / 2) / σ(Y)`, is
    /// largest, the best. A split doesn't count for a row outside its acceptable range unless
    /// [`penalize_range`](IsolationForestParams::penalize_range) says otherwise.
    ///
    /// Nodes of two rows are leaves, as in the paper. Deviations: normal coefficients (the paper:
    /// uniform in [−1, 1]); a threshold lies midway between the rows beside it.
    SciForest,
    /// Fair-cut forest (Cortes, arXiv 2110.13402): as SCiForest, but cut where the pooled
    /// gain is largest, in which the sides are weighted by their rows, with one direction by default
    /// and without a range penalty.
    ///
    /// The gain is that of variances, `(σ²(Y) − (n_l σ²(Y_left) + n_r σ²(Y_right)) / n) / σ²(Y)`, as
    /// isotree has it with one direction; the paper writes it with standard deviations.
    FairCut,
}

/// What a leaf says about the rows that end in it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Scoring {
    /// The number of splits on the way, plus `c(rows in the leaf)` for those that were not made; the
    /// score is `2^(-mean / c(sample size))` (Liu 2008, equations 1 and 2).
    #[default]
    PathLength,
    /// Density-adjusted path length: a split on the way counts `2 p / (1 + p)` instead of 1, where
    /// `p` is the share of the node's rows that went the same way divided by the share of the node's
    /// range on that side. A step into emptiness counts little, a step towards the crowd up to 2,
    /// and 1 where rows lie evenly.
    ///
    /// After Cortes, "Isolation forests: looking beyond tree depth" (arXiv 2111.11639), isotree's
    /// `adj_depth`. That has `2 / (1 + 1 / (2 p))`, 4/3 where rows lie evenly.
    AdjustedDepth,
    /// Mean over trees of `log2(density in the leaf / uniform density)`, the product of the `p` of
    /// [`AdjustedDepth`](Scoring::AdjustedDepth) along the path (the same paper; isotree's `density`).
    /// The score is `1 / (1 + 2^mean)`: 0.5 where the density is that of uniform data. No range
    /// penalty.
    Density,
}

/// What becomes of missing values (NaN) in fitting and scoring. Infinities are refused always.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Missing {
    /// A NaN is an error that names its row and column.
    #[default]
    Refuse,
    /// A row whose value is missing where a node splits goes both ways. In scoring it gets the mean
    /// of both sides, weighted by the training rows that went there; in fitting it joins one side,
    /// drawn with the odds of the rows that have the value. Extremes and deviations are those of the
    /// values that are there; a column of which all are missing is constant.
    BothWays,
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
    form: Form,
    hyperplane_columns: Option<usize>,
    n_candidates: Option<usize>,
    penalize_range: Option<bool>,
    scoring: Scoring,
    missing: Missing,
    check_all_rows: bool,
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
            form: Form::Classic,
            hyperplane_columns: None,
            n_candidates: None,
            penalize_range: None,
            scoring: Scoring::PathLength,
            missing: Missing::Refuse,
            check_all_rows: true,
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
    /// is all of them. More columns than the table has are refused when fitting; if there are fewer
    /// than a split could sum up, it sums up those.
    pub fn max_features(mut self, max_features: impl Into<Option<usize>>) -> Self {
        self.0.max_features = max_features.into();
        self
    }

    /// Which isolation forest; default [`Form::Classic`].
    pub fn form(mut self, form: Form) -> Self {
        self.0.form = form;
        self
    }

    /// Columns that a direction of [`Form::SciForest`] or [`Form::FairCut`] combines; default 2. A
    /// node with fewer columns that vary combines those; more than two, and more than the table has,
    /// are refused when fitting. [`Form::Extended`] has its level instead.
    pub fn hyperplane_columns(mut self, n_columns: impl Into<Option<usize>>) -> Self {
        self.0.hyperplane_columns = n_columns.into();
        self
    }

    /// Directions that a node of [`Form::SciForest`] (default 10) or [`Form::FairCut`] (default 1)
    /// tries, to keep the one of the largest gain.
    pub fn n_candidates(mut self, n_candidates: impl Into<Option<usize>>) -> Self {
        self.0.n_candidates = n_candidates.into();
        self
    }

    /// Whether a split on the way doesn't count for a row whose projection lies further from the
    /// threshold than the node's training rows are wide (Liu 2010, acceptable range): rows far outside
    /// the training range then score higher. Default: [`Form::SciForest`] only. The classic forest
    /// and extension level 0 have no such penalty, nor have scores other than by path length.
    pub fn penalize_range(mut self, penalize_range: impl Into<Option<bool>>) -> Self {
        self.0.penalize_range = penalize_range.into();
        self
    }

    /// What a leaf says about its rows; default [`Scoring::PathLength`].
    pub fn scoring(mut self, scoring: Scoring) -> Self {
        self.0.scoring = scoring;
        self
    }

    /// What becomes of missing values; default [`Missing::Refuse`].
    pub fn missing(mut self, missing: Missing) -> Self {
        self.0.missing = missing;
        self
    }

    /// Whether fitting looks for values that are not finite in all rows (the default) or only in
    /// those that trees draw. Of a large table trees draw few: the look at the others then takes most
    /// of the time, and only pays if they are bad.
    pub fn check_all_rows(mut self, check_all_rows: bool) -> Self {
        self.0.check_all_rows = check_all_rows;
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
        if params.hyperplane_columns() > MAX_TERMS {
            let parameter = match params.form {
                Form::Extended { .. } => "extension_level",
                Form::Classic | Form::SciForest | Form::FairCut => "hyperplane_columns",
            };
            let value = params.hyperplane_columns().to_string();
            return refuse(
                parameter,
                value,
                "such that a split sums up at most 16384 columns",
            );
        }
        let by_gain = matches!(params.form, Form::SciForest | Form::FairCut);
        for (parameter, value) in [
            ("hyperplane_columns", params.hyperplane_columns),
            ("n_candidates", params.n_candidates),
        ] {
            match value {
                Some(0) => return refuse(parameter, "0".into(), "at least 1"),
                Some(value) if !by_gain => {
                    let allowed = "unset: only SCiForest and the fair-cut forest have it";
                    return refuse(parameter, value.to_string(), allowed);
                }
                _ => {}
            }
        }
        if params.penalize_range == Some(true) {
            if params.axis_parallel() {
                let allowed = "false for splits along single columns";
                return refuse("penalize_range", "true".into(), allowed);
            }
            if params.scoring != Scoring::PathLength {
                let allowed = "false unless scoring is by path length";
                return refuse("penalize_range", "true".into(), allowed);
            }
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

    /// Which isolation forest.
    pub fn form(&self) -> Form {
        self.form
    }

    /// Columns that a split combines at most.
    pub fn hyperplane_columns(&self) -> usize {
        match self.form {
            Form::Classic => 1,
            Form::Extended { extension_level } => extension_level.saturating_add(1),
            Form::SciForest | Form::FairCut => self.hyperplane_columns.unwrap_or(2),
        }
    }

    /// Directions that a node tries.
    pub fn n_candidates(&self) -> usize {
        self.n_candidates.unwrap_or(match self.form {
            Form::SciForest => 10,
            Form::Classic | Form::Extended { .. } | Form::FairCut => 1,
        })
    }

    /// Whether rows outside the training range are penalized.
    pub fn penalize_range(&self) -> bool {
        self.penalize_range
            .unwrap_or(self.form == Form::SciForest && self.scoring == Scoring::PathLength)
    }

    /// What a leaf says about its rows.
    pub fn scoring(&self) -> Scoring {
        self.scoring
    }

    /// What becomes of missing values.
    pub fn missing(&self) -> Missing {
        self.missing
    }

    /// Whether fitting looks at all rows for values that are not finite.
    pub fn check_all_rows(&self) -> bool {
        self.check_all_rows
    }

    /// Whether splits are uniform cuts along single columns, of which the forest keeps exact `f64`
    /// thresholds.
    pub(crate) fn axis_parallel(&self) -> bool {
        matches!(
            self.form,
            Form::Classic | Form::Extended { extension_level: 0 }
        )
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
