//! The form in which serde reads and writes a forest.

use serde::{Deserialize, Serialize};

use crate::error::FormatError;
use crate::forest::IsolationForest;
use crate::tree::{NodeSpec, Tree};

/// A forest as plain data. Reading it checks all of it.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct StoredForest {
    pub(crate) n_features: usize,
    pub(crate) sample_size: usize,
    pub(crate) seed: u64,
    pub(crate) trees: Vec<Vec<NodeSpec>>,
}

impl From<IsolationForest> for StoredForest {
    fn from(forest: IsolationForest) -> Self {
        Self {
            n_features: forest.n_features(),
            sample_size: forest.sample_size(),
            seed: forest.seed(),
            trees: forest
                .trees()
                .iter()
                .map(|tree| tree.specs().collect())
                .collect(),
        }
    }
}

impl TryFrom<StoredForest> for IsolationForest {
    type Error = FormatError;

    fn try_from(stored: StoredForest) -> Result<Self, FormatError> {
        let StoredForest {
            n_features,
            sample_size,
            seed,
            trees,
        } = stored;
        require_sizes(n_features as u64, sample_size as u64, trees.len() as u64)?;
        let trees = trees
            .iter()
            .map(|specs| Tree::from_specs(specs, n_features, sample_size))
            .collect::<Result<_, _>>()?;
        Ok(IsolationForest::from_trees(
            n_features,
            sample_size,
            seed,
            trees,
        ))
    }
}

/// Refuses sizes that no fitted forest has.
pub(crate) fn require_sizes(
    n_features: u64,
    sample_size: u64,
    n_trees: u64,
) -> Result<(), FormatError> {
    let limits = [
        ("columns", n_features, i32::MAX as u64),
        ("rows per tree", sample_size, i32::MAX as u64),
        ("trees", n_trees, crate::params::MAX_TREES as u64),
    ];
    for (what, value, limit) in limits {
        if value == 0 || value > limit {
            let reason = format!("{value} {what}, must be between 1 and {limit}");
            return Err(FormatError::invalid(reason));
        }
    }
    Ok(())
}
