//! Parameters of the isolation forests.

use linfa::ParamGuard;
use linfa_isolation::{Form, IsolationForest, IsolationForestParams, Scoring};
use serde::{Deserialize, Serialize};

/// Which of the isolation forests is grown; [`linfa_isolation::Form`] defines them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ForestForm {
    /// Splits along one random column, at a random threshold.
    #[default]
    Classic,
    /// Splits along random slopes over `extension_level + 1` columns.
    Extended,
    /// Of several random directions, the cut of the largest averaged gain.
    SciForest,
    /// Of one or several random directions, the cut of the largest pooled gain.
    FairCut,
}

impl ForestForm {
    /// Every form.
    pub const ALL: &'static [Self] = &[
        Self::Classic,
        Self::Extended,
        Self::SciForest,
        Self::FairCut,
    ];

    /// The name that experiment files use, such as `sci_forest`.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Classic => "classic",
            Self::Extended => "extended",
            Self::SciForest => "sci_forest",
            Self::FairCut => "fair_cut",
        }
    }

    /// Whether it chooses its cuts by gain, among candidates: then it has `n_candidates`,
    /// `hyperplane_columns` and `penalize_range`.
    #[must_use]
    pub fn by_gain(self) -> bool {
        matches!(self, Self::SciForest | Self::FairCut)
    }
}

/// Parameters of the Isolation Forest. The defaults are the paper's, and scikit-learn's.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct IsolationForestConfig {
    /// Number of trees, 1 to 100,000. Default 100.
    pub n_trees: usize,
    /// Rows drawn without replacement for each tree, at least 2; all rows where there are fewer.
    /// Default 256.
    pub sample_size: usize,
    /// Height limit of a tree; default ⌈log₂ `sample_size`⌉.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_depth: Option<usize>,
    /// Columns that each tree may split on, drawn for each tree; default all.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_features: Option<usize>,
    /// Which forest is grown; default the classic one.
    pub form: ForestForm,
    /// The extended form's columns in a slope, less one, 0 to 16,383. Default 1.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub extension_level: Option<usize>,
    /// What a leaf says about the rows in it; default the path length.
    pub scoring: Scoring,
    /// SCiForest and fair-cut forest: directions that a node tries, 1 to 10,000. Default 10 for
    /// the SCiForest, 1 for the fair-cut forest.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub n_candidates: Option<usize>,
    /// SCiForest and fair-cut forest: columns that a direction combines, 1 to 16,384. Default 2.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub hyperplane_columns: Option<usize>,
    /// SCiForest and fair-cut forest, unless leaves score by density: whether rows far outside the
    /// training range score higher. Default: the SCiForest only.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub penalize_range: Option<bool>,
}

impl Default for IsolationForestConfig {
    fn default() -> Self {
        Self {
            n_trees: 100,
            sample_size: 256,
            max_depth: None,
            max_features: None,
            form: ForestForm::Classic,
            extension_level: None,
            scoring: Scoring::PathLength,
            n_candidates: None,
            hyperplane_columns: None,
            penalize_range: None,
        }
    }
}

impl IsolationForestConfig {
    /// The keys of an experiment file.
    pub const KEYS: &'static [&'static str] = &[
        "n_trees",
        "sample_size",
        "max_depth",
        "max_features",
        "form",
        "extension_level",
        "scoring",
        "n_candidates",
        "hyperplane_columns",
        "penalize_range",
    ];

    /// Largest `extension_level`.
    pub const MAX_EXTENSION_LEVEL: usize = Self::MAX_HYPERPLANE_COLUMNS - 1;
    /// Most `n_candidates`.
    pub const MAX_CANDIDATES: usize = 10_000;
    /// Most `hyperplane_columns`.
    pub const MAX_HYPERPLANE_COLUMNS: usize = 1 << 14;

    const MAX_TREES: usize = 100_000;
    const MAX_SAMPLE: usize = 1 << 24;
    const MAX_DEPTH: usize = 64;
    const DEFAULT_EXTENSION_LEVEL: usize = 1;

    /// Whether `penalize_range` says anything with this form and scoring.
    #[must_use]
    pub fn has_range_penalty(&self) -> bool {
        self.form.by_gain() && self.scoring == Scoring::PathLength
    }

    /// The forest's own parameters.
    pub(crate) fn forest(&self, seed: u64) -> IsolationForestParams {
        IsolationForest::params(seed)
            .n_trees(self.n_trees)
            .sample_size(self.sample_size)
            .max_depth(self.max_depth)
            .max_features(self.max_features)
            .form(match self.form {
                ForestForm::Classic => Form::Classic,
                ForestForm::Extended => Form::Extended {
                    extension_level: self
                        .extension_level
                        .unwrap_or(Self::DEFAULT_EXTENSION_LEVEL),
                },
                ForestForm::SciForest => Form::SciForest,
                ForestForm::FairCut => Form::FairCut,
            })
            .scoring(self.scoring)
            .n_candidates(self.n_candidates)
            .hyperplane_columns(self.hyperplane_columns)
            .penalize_range(self.penalize_range)
    }

    pub(super) fn resolved(self) -> Self {
        let Ok(forest) = self.forest(0).check() else {
            return self;
        };
        let by_gain = self.form.by_gain();
        Self {
            extension_level: match forest.form() {
                Form::Extended { extension_level } => Some(extension_level),
                _ => None,
            },
            n_candidates: by_gain.then(|| forest.n_candidates()),
            hyperplane_columns: by_gain.then(|| forest.hyperplane_columns()),
            penalize_range: self.has_range_penalty().then(|| forest.penalize_range()),
            ..self
        }
    }

    pub(super) fn violations(&self) -> Vec<String> {
        let mut found = Vec::new();
        if !(1..=Self::MAX_TREES).contains(&self.n_trees) {
            found.push(format!(
                "`n_trees` is `{}`, expected 1 to {}",
                self.n_trees,
                Self::MAX_TREES
            ));
        }
        if !(2..=Self::MAX_SAMPLE).contains(&self.sample_size) {
            found.push(format!(
                "`sample_size` is `{}`, expected 2 to {}",
                self.sample_size,
                Self::MAX_SAMPLE
            ));
        }
        if let Some(depth) = self.max_depth
            && !(1..=Self::MAX_DEPTH).contains(&depth)
        {
            found.push(format!(
                "`max_depth` is `{depth}`, expected 1 to {}",
                Self::MAX_DEPTH
            ));
        }
        if self.max_features == Some(0) {
            found.push("`max_features` is `0`, expected at least 1".to_owned());
        }
        if let Some(level) = self.extension_level {
            if self.form != ForestForm::Extended {
                found.push(format!(
                    "`extension_level` is `{level}`, expected only with form `extended`"
                ));
            } else if level > Self::MAX_EXTENSION_LEVEL {
                found.push(format!(
                    "`extension_level` is `{level}`, expected 0 to {}",
                    Self::MAX_EXTENSION_LEVEL
                ));
            }
        }
        for (key, value, most) in [
            ("n_candidates", self.n_candidates, Self::MAX_CANDIDATES),
            (
                "hyperplane_columns",
                self.hyperplane_columns,
                Self::MAX_HYPERPLANE_COLUMNS,
            ),
        ] {
            let Some(value) = value else { continue };
            if !self.form.by_gain() {
                found.push(format!(
                    "`{key}` is `{value}`, expected only with form `sci_forest` or `fair_cut`"
                ));
            } else if !(1..=most).contains(&value) {
                found.push(format!("`{key}` is `{value}`, expected 1 to {most}"));
            }
        }
        if let Some(penalize) = self.penalize_range
            && !self.has_range_penalty()
        {
            let expected = if self.form.by_gain() {
                "scoring `path_length`"
            } else {
                "form `sci_forest` or `fair_cut`"
            };
            found.push(format!(
                "`penalize_range` is `{penalize}`, expected only with {expected}"
            ));
        }
        found
    }
}
