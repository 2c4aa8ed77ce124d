//! What to fit, as an experiment file writes it.

use serde::{Deserialize, Serialize};

use crate::error::ParamsError;

/// A detector and its parameters; the key `detector` chooses.
///
/// Unknown keys are refused. [`check`](Self::check) lists every value out of range at once.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "detector", rename_all = "snake_case")]
pub enum DetectorParams {
    /// Isolation Forest (Liu, Ting and Zhou 2008).
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
}

impl Default for IsolationForestConfig {
    fn default() -> Self {
        Self {
            n_trees: 100,
            sample_size: 256,
            max_depth: None,
            max_features: None,
        }
    }
}

impl IsolationForestConfig {
    /// The keys of an experiment file.
    pub const KEYS: &'static [&'static str] =
        &["n_trees", "sample_size", "max_depth", "max_features"];

    const MAX_TREES: usize = 100_000;
    const MAX_SAMPLE: usize = 1 << 24;
    const MAX_DEPTH: usize = 64;

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
        })
        .check()
        .unwrap_err();
        assert_eq!(error.violations.len(), 4);
        let text = error.to_string();
        assert!(text.contains("`n_trees` is `0`"), "{text}");
        assert!(text.contains("`sample_size` is `1`"), "{text}");
        assert!(text.contains("`max_depth` is `0`"), "{text}");
    }
}
