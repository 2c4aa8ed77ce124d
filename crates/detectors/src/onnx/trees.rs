//! Trees whose nodes compare single columns.

use super::graph::{Graph, Kind, Setting, Value};
use crate::error::{Error, Result};

/// Trees as `TreeEnsembleRegressor` takes them, with a number for each leaf.
#[derive(Default)]
pub(super) struct Trees {
    tree: Vec<i64>,
    node: Vec<i64>,
    column: Vec<i64>,
    threshold: Vec<f64>,
    mode: Vec<&'static str>,
    yes: Vec<i64>,
    no: Vec<i64>,
    leaf_tree: Vec<i64>,
    leaf_node: Vec<i64>,
    leaf_number: Vec<f64>,
    /// Of each tree, the leaves before it.
    first_leaf: Vec<i64>,
    /// Values of the leaves, tree by tree.
    values: Vec<f64>,
}

impl Trees {
    pub(super) fn begin_tree(&mut self) {
        self.first_leaf.push(self.values.len() as i64);
    }

    fn push(
        &mut self,
        node: usize,
        column: i64,
        threshold: f64,
        mode: &'static str,
        next: [i64; 2],
    ) {
        self.tree.push(self.first_leaf.len() as i64 - 1);
        self.node.push(node as i64);
        self.column.push(column);
        self.threshold.push(threshold);
        self.mode.push(mode);
        self.yes.push(next[0]);
        self.no.push(next[1]);
    }

    /// An inner node of the last tree: where `mode` holds for column and threshold the walk goes to
    /// `yes`. Nodes are pushed in ascending order.
    pub(super) fn inner(
        &mut self,
        node: usize,
        column: u32,
        threshold: f64,
        mode: &'static str,
        [yes, no]: [usize; 2],
    ) {
        self.push(
            node,
            i64::from(column),
            threshold,
            mode,
            [yes as i64, no as i64],
        );
    }

    /// A leaf of the last tree.
    pub(super) fn leaf(&mut self, node: usize, value: f64) {
        self.push(node, 0, 0.0, "LEAF", [0, 0]);
        self.leaf_tree.push(self.first_leaf.len() as i64 - 1);
        self.leaf_node.push(node as i64);
        let first = self.first_leaf.last().copied().unwrap_or(0);
        self.leaf_number
            .push((self.values.len() as i64 - first) as f64);
        self.values.push(value);
    }

    /// Values of the leaves that rows end in, (n_samples, n_trees).
    pub(super) fn values(self, graph: &mut Graph, rows: &Value) -> Result<Value> {
        let n_trees = self.first_leaf.len();
        if self
            .leaf_number
            .iter()
            .any(|number| *number >= 16_777_216.0)
        {
            return Err(Error::NotExportable {
                what: "a tree".to_owned(),
                reason: "it has 2²⁴ leaves or more".to_owned(),
            });
        }
        let modes = self.mode.iter().map(|mode| (*mode).to_owned()).collect();
        let missing = vec![0; self.node.len()];
        let settings = vec![
            ("n_targets", Setting::Int(n_trees as i64)),
            ("aggregate_function", Setting::Text("SUM")),
            ("nodes_treeids", Setting::Ints(self.tree)),
            ("nodes_nodeids", Setting::Ints(self.node)),
            ("nodes_featureids", Setting::Ints(self.column)),
            ("nodes_values_as_tensor", Setting::Doubles(self.threshold)),
            ("nodes_modes", Setting::Texts(modes)),
            ("nodes_truenodeids", Setting::Ints(self.yes)),
            ("nodes_falsenodeids", Setting::Ints(self.no)),
            ("nodes_missing_value_tracks_true", Setting::Ints(missing)),
            // Each tree has a target of its own.
            ("target_ids", Setting::Ints(self.leaf_tree.clone())),
            ("target_treeids", Setting::Ints(self.leaf_tree)),
            ("target_nodeids", Setting::Ints(self.leaf_node)),
            (
                "target_weights_as_tensor",
                Setting::Doubles(self.leaf_number),
            ),
        ];
        let leaves = graph.ml("TreeEnsembleRegressor", &[rows], settings);
        let leaves = graph.cast(&leaves, Kind::Int);
        let first = graph.list(&self.first_leaf);
        let leaves = graph.add(&leaves, &first);
        let values = graph.doubles(&self.values, &[self.values.len()]);
        Ok(graph.gather(&values, &leaves, 0))
    }
}
