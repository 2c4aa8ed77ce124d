//! Walks down trees of any depth over any number of columns, on nodes that lie close together.

use super::Block;
use crate::model::{Model, Splits};

/// Rows that walk down a tree together.
const LANES: usize = 16;

/// A node with its split along a single column. A leaf is its own child and its threshold is +∞, so a
/// walk that goes on past a leaf stays there: walks need no exit test.
#[derive(Debug, Clone, Copy)]
struct AxisNode {
    threshold: f64,
    column: u32,
    left: u32,
}

#[derive(Debug, Clone)]
struct CompactTree {
    /// Empty for splits along sums of columns, which are walked on the model itself.
    nodes: Vec<AxisNode>,
    leaf_values: Vec<f64>,
}

#[derive(Debug, Clone)]
pub(super) struct CompactKernel {
    trees: Vec<CompactTree>,
}

impl CompactKernel {
    pub(super) fn new(model: &Model) -> Self {
        let trees = model
            .trees
            .iter()
            .zip(model.leaf_values())
            .map(|(tree, leaf_values)| {
                let mut nodes = Vec::new();
                if let Splits::Axis(axis) = &model.splits {
                    nodes.reserve_exact(tree.nodes.len());
                    for node in &tree.nodes {
                        let (column, threshold) = if node.is_leaf() {
                            (0, f64::INFINITY)
                        } else {
                            axis.split(node.split)
                        };
                        nodes.push(AxisNode {
                            threshold,
                            column,
                            left: node.left,
                        });
                    }
                }
                CompactTree { nodes, leaf_values }
            });
        Self {
            trees: trees.collect(),
        }
    }

    pub(super) fn add(&self, model: &Model, block: &Block, sums: &mut [f64]) {
        match &model.splits {
            Splits::Axis(_) => {
                for tree in &self.trees {
                    for (group, sums) in sums.chunks_exact_mut(LANES).enumerate() {
                        tree.add_to_group(block, group * LANES, sums);
                    }
                }
            }
            Splits::Oblique(_) => {
                let mut row = Vec::new();
                for (idx, sum) in sums.iter_mut().enumerate().take(block.n_rows) {
                    row.clear();
                    row.extend(block.row(idx));
                    *sum = self.sum_of_one(model, &row);
                }
            }
        }
    }

    pub(super) fn sum_of_one(&self, model: &Model, row: &[f64]) -> f64 {
        let trees = self.trees.iter().zip(&model.trees);
        trees
            .map(|(compact, tree)| match &model.splits {
                Splits::Axis(_) => compact.leaf_value(row),
                Splits::Oblique(_) => model.walk(tree, &compact.leaf_values, row),
            })
            .sum()
    }
}

impl CompactTree {
    fn leaf_value(&self, row: &[f64]) -> f64 {
        let mut at = 0;
        loop {
            let node = self.nodes[at];
            let next = node.left as usize + usize::from(row[node.column as usize] > node.threshold);
            if next == at {
                return self.leaf_values[at];
            }
            at = next;
        }
    }

    fn add_to_group(&self, block: &Block, first: usize, sums: &mut [f64]) {
        let mut at = [0_usize; LANES];
        loop {
            let mut moved = false;
            for (lane, at) in at.iter_mut().enumerate() {
                let node = self.nodes[*at];
                let value = block.column(node.column as usize)[first + lane];
                let next = node.left as usize + usize::from(value > node.threshold);
                moved |= next != *at;
                *at = next;
            }
            if !moved {
                break;
            }
        }
        for (sum, at) in sums.iter_mut().zip(at) {
            *sum += self.leaf_values[at];
        }
    }
}
