//! The form in which serde reads and writes a forest.

use serde::{Deserialize, Serialize};

use crate::error::FormatError;
use crate::forest::IsolationForest;
use crate::frame::Frame;
use crate::model::{AxisSplits, Model, NodeSpec, ObliqueSplits, Splits, link_tree, require_sizes};
use crate::params::{Form, Missing, Scoring};

/// A forest as plain data. Reading it checks all of it.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct StoredForest {
    n_features: usize,
    sample_size: usize,
    seed: u64,
    #[serde(default, skip_serializing_if = "is_default")]
    form: Form,
    #[serde(default, skip_serializing_if = "is_default")]
    scoring: Scoring,
    #[serde(default, skip_serializing_if = "is_default")]
    missing: Missing,
    /// Of forests that split along sums of columns.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    frame: Option<StoredFrame>,
    trees: Vec<Vec<NodeSpec>>,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct StoredFrame {
    /// Columns that a split sums up.
    n_terms: usize,
    centres: Vec<f64>,
    scales: Vec<f64>,
}

fn is_default<T: Default + PartialEq>(value: &T) -> bool {
    *value == T::default()
}

impl From<IsolationForest> for StoredForest {
    fn from(forest: IsolationForest) -> Self {
        let model = forest.model();
        let spec = |split: u32| {
            let idx = split as usize;
            let left_share = model.left_shares.get(idx).copied();
            match &model.splits {
                Splits::Axis(axis) => {
                    let (feature, threshold) = axis.split(split);
                    NodeSpec::Inner {
                        feature,
                        threshold,
                        left_share,
                    }
                }
                Splits::Oblique(oblique) => {
                    let terms = idx * oblique.n_terms..(idx + 1) * oblique.n_terms;
                    NodeSpec::Oblique {
                        features: oblique.columns[terms.clone()].to_vec(),
                        weights: oblique.weights[terms].to_vec(),
                        threshold: oblique.thresholds[idx],
                        limit: oblique.limits.get(idx).copied(),
                        left_share,
                    }
                }
            }
        };
        let trees = model.trees.iter().map(|tree| {
            let nodes = tree.nodes.iter().map(|node| {
                if node.is_leaf() {
                    NodeSpec::Leaf {
                        n_rows: node.n_rows,
                    }
                } else {
                    spec(node.split)
                }
            });
            nodes.collect()
        });
        Self {
            n_features: model.n_features,
            sample_size: model.sample_size,
            seed: model.seed,
            form: model.form,
            scoring: model.scoring,
            missing: model.missing,
            frame: match &model.splits {
                Splits::Axis(_) => None,
                Splits::Oblique(oblique) => Some(StoredFrame {
                    n_terms: oblique.n_terms,
                    centres: oblique.frame.centres.clone(),
                    scales: oblique.frame.scales.clone(),
                }),
            },
            trees: trees.collect(),
        }
    }
}

impl TryFrom<StoredForest> for IsolationForest {
    type Error = FormatError;

    fn try_from(stored: StoredForest) -> Result<Self, FormatError> {
        require_sizes(
            stored.n_features as u64,
            stored.sample_size as u64,
            stored.trees.len() as u64,
        )?;
        let mut trees = Vec::with_capacity(stored.trees.len());
        let mut n_splits = 0;
        for nodes in &stored.trees {
            let leaf_rows = nodes.iter().map(|node| match node {
                NodeSpec::Leaf { n_rows } => Some(*n_rows),
                NodeSpec::Inner { .. } | NodeSpec::Oblique { .. } => None,
            });
            trees.push(link_tree(leaf_rows, n_splits, stored.sample_size)?);
            n_splits += nodes.len() / 2;
        }
        let inner = stored.trees.into_iter().flatten();
        let inner = inner.filter(|node| !matches!(node, NodeSpec::Leaf { .. }));
        let mut left_shares = Vec::new();
        let splits = match stored.frame {
            None => {
                let mut splits = Vec::with_capacity(n_splits);
                for node in inner {
                    let NodeSpec::Inner {
                        feature,
                        threshold,
                        left_share,
                    } = node
                    else {
                        return Err(FormatError::invalid("a sum of columns without a frame"));
                    };
                    if feature as usize >= stored.n_features || !threshold.is_finite() {
                        let reason = format!("a split of column {feature} at {threshold}");
                        return Err(FormatError::invalid(reason));
                    }
                    splits.push((feature, threshold));
                    left_shares.extend(left_share);
                }
                Splits::Axis(AxisSplits::new(&splits))
            }
            Some(frame) => {
                let mut splits = ObliqueSplits {
                    n_terms: frame.n_terms,
                    columns: Vec::new(),
                    weights: Vec::new(),
                    thresholds: Vec::with_capacity(n_splits),
                    limits: Vec::new(),
                    frame: Frame {
                        centres: frame.centres,
                        scales: frame.scales,
                    },
                };
                for node in inner {
                    let NodeSpec::Oblique {
                        features,
                        weights,
                        threshold,
                        limit,
                        left_share,
                    } = node
                    else {
                        return Err(FormatError::invalid("a single column in a frame"));
                    };
                    if features.len() != splits.n_terms || weights.len() != splits.n_terms {
                        return Err(FormatError::invalid("a sum of too many or too few columns"));
                    }
                    splits.columns.extend(features);
                    splits.weights.extend(weights);
                    splits.thresholds.push(threshold);
                    splits.limits.extend(limit);
                    left_shares.extend(left_share);
                }
                Splits::Oblique(splits)
            }
        };
        let model = Model {
            n_features: stored.n_features,
            sample_size: stored.sample_size,
            seed: stored.seed,
            form: stored.form,
            scoring: stored.scoring,
            missing: stored.missing,
            trees,
            splits,
            left_shares,
        };
        model.check()?;
        Ok(IsolationForest::new(model))
    }
}
