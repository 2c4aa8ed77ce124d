//! A forest's trees to look at: what other programs need to walk them.

use crate::forest::IsolationForest;
use crate::model::{Splits, Tree};

/// What a node does with a row. The children of an inner node lie side by side: `left` and
/// `left + 1`.
#[derive(Debug, Clone, Copy, PartialEq)]
#[non_exhaustive]
pub enum NodeView<'a> {
    /// A row goes right where `row[column] > threshold`.
    Axis {
        /// The column.
        column: u32,
        /// The last value that goes left.
        threshold: f64,
        /// The left child.
        left: u32,
    },
    /// A row goes right where the sum of its framed columns (see [`ForestView::frame`]) times
    /// their weights, in `f32`, each product and each sum rounded, in this order, is above the
    /// threshold. A column may come twice, then with weight 0.
    Oblique {
        /// The columns.
        columns: &'a [u32],
        /// Their weights; the first is 1.
        weights: &'a [f32],
        /// The largest sum that goes left.
        threshold: f32,
        /// Distance from the threshold beyond which the split doesn't count: 1 is taken off the leaf's value.
        limit: Option<f32>,
        /// The left child.
        left: u32,
    },
    /// The walk ends.
    Leaf {
        /// What it ends with: a path length, or the logarithm to base 2 of a density.
        value: f64,
    },
}

/// The trees of a forest.
#[derive(Debug, Clone, PartialEq)]
pub struct ForestView<'a> {
    /// Of each tree its nodes, the root first; children come after their parents.
    pub trees: Vec<Vec<NodeView<'a>>>,
    /// Of forests that split along sums: centre and scale of each column. A value x becomes
    /// `f32((x - centre) * scale)`, cut at ±2^63.
    pub frame: Option<(&'a [f64], &'a [f64])>,
}

impl IsolationForest {
    /// The trees as they are walked. A row's score comes of the sum of its leaves' values, added up
    /// tree by tree; see [`Scoring`](crate::Scoring).
    #[must_use]
    pub fn view(&self) -> ForestView<'_> {
        let model = self.model();
        let trees = model.trees.iter().zip(model.leaf_values());
        ForestView {
            trees: trees
                .map(|(tree, values)| nodes(&model.splits, tree, &values))
                .collect(),
            frame: match &model.splits {
                Splits::Axis(_) => None,
                Splits::Oblique(oblique) => Some((&oblique.frame.centres, &oblique.frame.scales)),
            },
        }
    }
}

fn nodes<'a>(splits: &'a Splits, tree: &Tree, leaf_values: &[f64]) -> Vec<NodeView<'a>> {
    let of_leaves = tree.nodes.iter().zip(leaf_values);
    of_leaves
        .map(|(node, value)| match splits {
            _ if node.is_leaf() => NodeView::Leaf { value: *value },
            Splits::Axis(axis) => {
                let (column, threshold) = axis.split(node.split);
                NodeView::Axis {
                    column,
                    threshold,
                    left: node.left,
                }
            }
            Splits::Oblique(oblique) => {
                let (columns, weights) = oblique.terms(node.split);
                NodeView::Oblique {
                    columns,
                    weights,
                    threshold: oblique.thresholds[node.split as usize],
                    limit: oblique.limits.get(node.split as usize).copied(),
                    left: node.left,
                }
            }
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use linfa::ParamGuard;
    use ndarray::Array2;

    use super::*;
    use crate::Form;

    /// Walks the view as its documentation says.
    fn path_length(view: &ForestView<'_>, row: &[f64]) -> f64 {
        let framed = |column: u32| {
            let (centres, scales) = view.frame.unwrap();
            let column = column as usize;
            (((row[column] - centres[column]) * scales[column]) as f32)
                .clamp(-9.223_372e18, 9.223_372e18)
        };
        let mut sum = 0.0;
        for tree in &view.trees {
            let (mut node, mut penalty) = (0, 0.0);
            sum += loop {
                node = match tree[node] {
                    NodeView::Leaf { value } => break value - penalty,
                    NodeView::Axis {
                        column,
                        threshold,
                        left,
                    } => left as usize + usize::from(row[column as usize] > threshold),
                    NodeView::Oblique {
                        columns,
                        weights,
                        threshold,
                        limit,
                        left,
                    } => {
                        let terms = columns.iter().zip(weights);
                        let products: Vec<f32> = terms.map(|(c, w)| w * framed(*c)).collect();
                        let sum = products[1..].iter().fold(products[0], |sum, p| sum + p);
                        if limit.is_some_and(|limit| (sum - threshold).abs() > limit) {
                            penalty += 1.0;
                        }
                        left as usize + usize::from(sum > threshold)
                    }
                };
            };
        }
        sum / view.trees.len() as f64
    }

    #[test]
    #[cfg_attr(miri, ignore = "takes long")]
    fn a_view_is_walked_to_the_forests_own_path_lengths() {
        let rows = Array2::from_shape_fn((300, 3), |(i, j)| {
            ((i * 7919 + j * 104_729) % 1_009) as f64 / 100.0 + j as f64
        });
        for form in [
            Form::Classic,
            Form::Extended { extension_level: 1 },
            Form::SciForest,
            Form::FairCut,
        ] {
            let params = IsolationForest::params(3).form(form).n_trees(7);
            let forest = params.check().unwrap().fit_view(rows.view()).unwrap();
            let view = forest.view();
            let mut tested = rows.clone();
            tested.row_mut(0).fill(1e9);
            let lengths = forest.path_lengths(tested.view()).unwrap();
            for (row, expected) in tested.rows().into_iter().zip(lengths) {
                assert_eq!(
                    path_length(&view, row.as_slice().unwrap()),
                    expected,
                    "{form:?}"
                );
            }
        }
    }
}
