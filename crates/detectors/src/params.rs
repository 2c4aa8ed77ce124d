//! What to fit, as an experiment file writes it.

use linfa::ParamGuard;
use linfa_isolation::{Form, IsolationForest, IsolationForestParams, Scoring};
use serde::{Deserialize, Serialize};

use crate::error::ParamsError;

/// A detector and its parameters; the key `detector` chooses.
///
/// Unknown keys are refused. [`check`](Self::check) lists every value out of range at once.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "detector", rename_all = "snake_case")]
pub enum DetectorParams {
    /// Isolation Forest (Liu, Ting and Zhou 2008) and the forms that followed it.
    IsolationForest(IsolationForestConfig),
    /// The trivial baseline: the largest |z| over the features.
    MaxZ(MaxZConfig),
}

impl DetectorParams {
    /// Every value that `detector` may take.
    pub const NAMES: &'static [&'static str] = &["isolation_forest", "max_z"];

    /// The value of `detector`.
    #[must_use]
    pub fn name(&self) -> &'static str {
        match self {
            Self::IsolationForest(_) => "isolation_forest",
            Self::MaxZ(_) => "max_z",
        }
    }

    /// The keys that the detector called `name` takes beside `detector`; `None` for an unknown
    /// name. For messages that suggest the nearest key.
    #[must_use]
    pub fn keys(name: &str) -> Option<&'static [&'static str]> {
        match name {
            "isolation_forest" => Some(IsolationForestConfig::KEYS),
            "max_z" => Some(&[]),
            _ => None,
        }
    }

    /// The same, with every value that was left to the detector's own default filled in: what is
    /// fitted, for those who record it. Parameters out of range are left as they are.
    #[must_use]
    pub fn resolved(self) -> Self {
        match self {
            Self::IsolationForest(config) => Self::IsolationForest(config.resolved()),
            Self::MaxZ(config) => Self::MaxZ(config),
        }
    }

    /// Checks every parameter and lists all violations.
    pub fn check(&self) -> Result<(), ParamsError> {
        let violations = match self {
            Self::IsolationForest(config) => config.violations(),
            Self::MaxZ(MaxZConfig {}) => Vec::new(),
        };
        if violations.is_empty() {
            Ok(())
        } else {
            Err(ParamsError {
                detector: self.name(),
                violations,
            })
        }
    }
}

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

    fn resolved(self) -> Self {
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

    fn violations(&self) -> Vec<String> {
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

/// The baseline has no parameters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct MaxZConfig {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_defaults_and_refuses_unknown_keys() {
        let params: DetectorParams =
            serde_json::from_str(r#"{"detector":"isolation_forest","n_trees":50}"#).unwrap();
        let DetectorParams::IsolationForest(config) = &params else {
            panic!("wrong variant");
        };
        assert_eq!((config.n_trees, config.sample_size), (50, 256));
        let error = serde_json::from_str::<DetectorParams>(
            r#"{"detector":"isolation_forest","n_tree":50}"#,
        )
        .unwrap_err()
        .to_string();
        assert!(error.contains("n_tree"), "{error}");
        let error = serde_json::from_str::<DetectorParams>(r#"{"detector":"max_z","window":5}"#)
            .unwrap_err()
            .to_string();
        assert!(error.contains("window"), "{error}");
    }

    #[test]
    fn names_and_keys_agree_with_serde() {
        for name in DetectorParams::NAMES {
            let params: DetectorParams =
                serde_json::from_value(serde_json::json!({ "detector": name })).unwrap();
            assert_eq!(params.name(), *name);
            params.check().unwrap();
            assert!(DetectorParams::keys(name).is_some());
        }
        assert!(DetectorParams::keys("dbscan").is_none());
    }

    #[test]
    fn lists_every_violation() {
        let error = DetectorParams::IsolationForest(IsolationForestConfig {
            n_trees: 0,
            sample_size: 1,
            max_depth: Some(0),
            max_features: Some(0),
            ..IsolationForestConfig::default()
        })
        .check()
        .unwrap_err();
        assert_eq!(error.violations.len(), 4);
        let text = error.to_string();
        assert!(text.contains("`n_trees` is `0`"), "{text}");
        assert!(text.contains("`sample_size` is `1`"), "{text}");
        assert!(text.contains("`max_depth` is `0`"), "{text}");
    }

    fn forest(config: serde_json::Value) -> DetectorParams {
        let mut config = config;
        config["detector"] = "isolation_forest".into();
        serde_json::from_value(config).unwrap()
    }

    #[test]
    fn a_file_without_a_form_means_the_classic_forest() {
        let DetectorParams::IsolationForest(config) = forest(serde_json::json!({})) else {
            panic!("wrong variant");
        };
        assert_eq!(config.forest(7), IsolationForest::params(7));
    }

    #[test]
    fn every_key_of_a_form_reaches_the_forest() {
        let all = serde_json::json!({
            "form": "fair_cut",
            "n_candidates": 3,
            "hyperplane_columns": 4,
            "penalize_range": true,
        });
        let DetectorParams::IsolationForest(config) = forest(all) else {
            panic!("wrong variant");
        };
        let expected = IsolationForest::params(7)
            .form(Form::FairCut)
            .n_candidates(3)
            .hyperplane_columns(4)
            .penalize_range(true);
        assert_eq!(config.forest(7), expected);
        let adjusted = serde_json::json!({"scoring": "adjusted_depth"});
        let DetectorParams::IsolationForest(config) = forest(adjusted) else {
            panic!("wrong variant");
        };
        let expected = IsolationForest::params(7).scoring(Scoring::AdjustedDepth);
        assert_eq!(config.forest(7), expected);
        let extended = serde_json::json!({"form": "extended", "extension_level": 3});
        let DetectorParams::IsolationForest(config) = forest(extended) else {
            panic!("wrong variant");
        };
        let expected = Form::Extended { extension_level: 3 };
        assert_eq!(config.forest(7), IsolationForest::params(7).form(expected));
        for form in ForestForm::ALL {
            let name = serde_json::json!({ "form": form.name() });
            let DetectorParams::IsolationForest(config) = forest(name) else {
                panic!("wrong variant");
            };
            assert_eq!(config.form, *form);
        }
    }

    #[test]
    fn keys_are_those_of_the_type() {
        let all = IsolationForestConfig {
            max_depth: Some(1),
            max_features: Some(1),
            extension_level: Some(1),
            n_candidates: Some(1),
            hyperplane_columns: Some(1),
            penalize_range: Some(true),
            ..IsolationForestConfig::default()
        };
        let all = serde_json::to_value(all).unwrap();
        let mut written: Vec<&String> = all.as_object().unwrap().keys().collect();
        let mut keys: Vec<&str> = IsolationForestConfig::KEYS.to_vec();
        written.sort();
        keys.sort_unstable();
        assert_eq!(written, keys);
    }

    #[test]
    fn keys_of_another_form_are_refused_by_name() {
        let level = "`extension_level` is `2`, expected only with form `extended`";
        let gain = "expected only with form `sci_forest` or `fair_cut`";
        for (config, expected) in [
            (serde_json::json!({"extension_level": 2}), level),
            (
                serde_json::json!({"form": "sci_forest", "extension_level": 2}),
                level,
            ),
            (
                serde_json::json!({"form": "extended", "extension_level": 16_384}),
                "`extension_level` is `16384`, expected 0 to 16383",
            ),
            (serde_json::json!({"n_candidates": 2}), gain),
            (
                serde_json::json!({"form": "extended", "hyperplane_columns": 2}),
                gain,
            ),
            (
                serde_json::json!({"form": "extended", "penalize_range": true}),
                gain,
            ),
            (
                serde_json::json!({"form": "fair_cut", "scoring": "density", "penalize_range": true}),
                "`penalize_range` is `true`, expected only with scoring `path_length`",
            ),
            (
                serde_json::json!({"form": "fair_cut", "n_candidates": 0}),
                "`n_candidates` is `0`, expected 1 to 10000",
            ),
            (
                serde_json::json!({"form": "sci_forest", "hyperplane_columns": 16_385}),
                "`hyperplane_columns` is `16385`, expected 1 to 16384",
            ),
        ] {
            let error = forest(config.clone()).check().unwrap_err();
            assert_eq!(error.violations.len(), 1, "{config}: {error}");
            assert!(error.violations[0].contains(expected), "{config}: {error}");
        }
    }

    #[test]
    fn what_the_form_decides_is_filled_in() {
        for (config, filled) in [
            (serde_json::json!({}), serde_json::json!({})),
            (
                serde_json::json!({"form": "extended"}),
                serde_json::json!({"extension_level": 1}),
            ),
            (
                serde_json::json!({"form": "sci_forest"}),
                serde_json::json!({"n_candidates": 10, "hyperplane_columns": 2, "penalize_range": true}),
            ),
            (
                serde_json::json!({"form": "sci_forest", "scoring": "density"}),
                serde_json::json!({"n_candidates": 10, "hyperplane_columns": 2}),
            ),
            (
                serde_json::json!({"form": "fair_cut", "hyperplane_columns": 3}),
                serde_json::json!({"n_candidates": 1, "penalize_range": false}),
            ),
        ] {
            let params = forest(config.clone());
            let mut expected = serde_json::to_value(&params).unwrap();
            for (key, value) in filled.as_object().unwrap() {
                expected[key] = value.clone();
            }
            let resolved = params.resolved();
            resolved.check().unwrap();
            assert_eq!(serde_json::to_value(resolved).unwrap(), expected);
        }
    }
}
