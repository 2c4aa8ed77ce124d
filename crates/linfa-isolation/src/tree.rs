//! One isolation tree: how it is grown and what it looks like.

use ndarray::ArrayView2;
use serde::{Deserialize, Serialize};

use crate::error::FormatError;
use crate::path_length::average_path_length;
use crate::random::TreeRng;

/// A node of a tree.
///
/// Nodes are stored breadth first and siblings side by side, the root first: the children of the
/// k-th inner node are `2 k + 1` and `2 k + 2`. A leaf is its own child, its threshold is +∞ and its
/// feature 0, so a walk that goes on past a leaf stays there: walks need no exit test.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Node {
    /// Rows with `value <= threshold` go left, the others right.
    pub(crate) threshold: f64,
    /// Column that is compared.
    pub(crate) feature: u32,
    /// Left child, with the right one next to it; for a leaf, the leaf itself.
    pub(crate) left: u32,
}

/// One isolation tree over a sample of the training rows.
#[derive(Debug, Clone)]
pub(crate) struct Tree {
    nodes: Vec<Node>,
    /// Training rows that reached each node.
    n_rows: Vec<u32>,
    /// Depth of a leaf plus `c(rows in it)`; NaN for inner nodes, which no walk ends at.
    path_lengths: Vec<f64>,
    /// Edges from the root to the deepest leaf.
    depth: usize,
}

/// Stored form of a node, from which [`Tree::from_specs`] rebuilds the tree.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub(crate) enum NodeSpec {
    Inner { feature: u32, threshold: f64 },
    Leaf { n_rows: u32 },
}

/// Limits under which a tree grows.
#[derive(Debug, Clone, Copy)]
pub(crate) struct GrowLimits {
    pub(crate) sample_size: usize,
    pub(crate) max_depth: usize,
    pub(crate) max_features: usize,
}

impl Tree {
    /// Grows a tree on a random sample of `records`, shape (n_samples, n_features), which must be
    /// finite and not empty (paper, algorithm 2).
    ///
    /// A node with more than one row, above the depth limit and with at least one column that is not
    /// constant in it, is split: the column is drawn uniformly from those that are not constant
    /// there, the threshold uniformly between the column's extremes there.
    pub(crate) fn grow(
        records: &ArrayView2<'_, f64>,
        limits: GrowLimits,
        rng: &mut TreeRng,
    ) -> Self {
        let rows = rng.sample(records.nrows(), limits.sample_size);
        let columns = rng.sample(records.ncols(), limits.max_features);
        let sample = Sample::gather(records, &rows, &columns);

        let mut order: Vec<usize> = (0..rows.len()).collect();
        let mut specs = Vec::with_capacity(2 * rows.len());
        // Doubles as the queue of a breadth-first walk: (first, end, depth) within `order`.
        let mut pending = Vec::with_capacity(2 * rows.len());
        pending.push((0, rows.len(), 0));
        let mut next = 0;
        while let Some(&(first, end, depth)) = pending.get(next) {
            next += 1;
            let members = &mut order[first..end];
            let split = if members.len() > 1 && depth < limits.max_depth {
                sample.draw_split(members, rng)
            } else {
                None
            };
            match split {
                Some(split) => {
                    let values = &sample.columns[split.column].values;
                    let n_left = partition(members, |row| values[row] <= split.threshold);
                    debug_assert!(0 < n_left && n_left < members.len(), "a side is empty");
                    pending.push((first, first + n_left, depth + 1));
                    pending.push((first + n_left, end, depth + 1));
                    specs.push(NodeSpec::Inner {
                        feature: sample.columns[split.column].feature,
                        threshold: split.threshold,
                    });
                }
                None => specs.push(NodeSpec::Leaf {
                    n_rows: (end - first) as u32,
                }),
            }
        }
        Self::assemble(&specs)
    }

    /// Rebuilds a tree from its nodes in storage order, refusing what is no tree.
    pub(crate) fn from_specs(
        specs: &[NodeSpec],
        n_features: usize,
        sample_size: usize,
    ) -> Result<Self, FormatError> {
        let n_inner = specs
            .iter()
            .filter(|spec| matches!(spec, NodeSpec::Inner { .. }))
            .count();
        if specs.len() != 2 * n_inner + 1 {
            return Err(FormatError::invalid(format!(
                "{} nodes of which {n_inner} are inner ones form no binary tree",
                specs.len()
            )));
        }
        let mut n_inner_before = 0;
        let mut n_leaf_rows = 0_u64;
        for (node_idx, spec) in specs.iter().enumerate() {
            // Every node but the root is the child of an earlier one.
            if node_idx > 2 * n_inner_before {
                return Err(FormatError::invalid(format!(
                    "node {node_idx} has no parent before it"
                )));
            }
            match *spec {
                NodeSpec::Inner { feature, threshold } => {
                    if feature as usize >= n_features {
                        return Err(FormatError::invalid(format!(
                            "node {node_idx} splits on column {feature} of {n_features}"
                        )));
                    }
                    if !threshold.is_finite() {
                        return Err(FormatError::invalid(format!(
                            "node {node_idx} has the threshold {threshold}"
                        )));
                    }
                    n_inner_before += 1;
                }
                NodeSpec::Leaf { n_rows } => {
                    if n_rows == 0 {
                        return Err(FormatError::invalid(format!("leaf {node_idx} has no rows")));
                    }
                    n_leaf_rows += u64::from(n_rows);
                }
            }
        }
        if n_leaf_rows != sample_size as u64 {
            return Err(FormatError::invalid(format!(
                "the leaves of a tree hold {n_leaf_rows} rows instead of {sample_size}"
            )));
        }
        Ok(Self::assemble(specs))
    }

    /// Lays out nodes that are known to form a tree.
    fn assemble(specs: &[NodeSpec]) -> Self {
        let n_nodes = specs.len();
        let mut nodes = Vec::with_capacity(n_nodes);
        let mut n_rows = vec![0_u32; n_nodes];
        let mut depths = vec![0_usize; n_nodes];
        let mut path_lengths = vec![f64::NAN; n_nodes];
        let mut next_child = 1;
        for (node_idx, spec) in specs.iter().enumerate() {
            match *spec {
                NodeSpec::Inner { feature, threshold } => {
                    nodes.push(Node {
                        threshold,
                        feature,
                        left: next_child as u32,
                    });
                    depths[next_child] = depths[node_idx] + 1;
                    depths[next_child + 1] = depths[node_idx] + 1;
                    next_child += 2;
                }
                NodeSpec::Leaf { n_rows: count } => {
                    nodes.push(Node {
                        threshold: f64::INFINITY,
                        feature: 0,
                        left: node_idx as u32,
                    });
                    n_rows[node_idx] = count;
                    path_lengths[node_idx] =
                        depths[node_idx] as f64 + average_path_length(count as usize);
                }
            }
        }
        // Children come after their parents: backwards, both are known when the parent's turn comes.
        for node_idx in (0..n_nodes).rev() {
            let left = nodes[node_idx].left as usize;
            if left != node_idx {
                n_rows[node_idx] = n_rows[left] + n_rows[left + 1];
            }
        }
        Self {
            depth: depths.iter().copied().max().unwrap_or(0),
            nodes,
            n_rows,
            path_lengths,
        }
    }

    /// Stored form, in storage order.
    pub(crate) fn specs(&self) -> impl Iterator<Item = NodeSpec> + '_ {
        self.nodes.iter().enumerate().map(|(node_idx, node)| {
            if node.left as usize == node_idx {
                NodeSpec::Leaf {
                    n_rows: self.n_rows[node_idx],
                }
            } else {
                NodeSpec::Inner {
                    feature: node.feature,
                    threshold: node.threshold,
                }
            }
        })
    }

    pub(crate) fn nodes(&self) -> &[Node] {
        &self.nodes
    }

    /// Path length per leaf, indexed as [`Tree::nodes`].
    pub(crate) fn path_lengths(&self) -> &[f64] {
        &self.path_lengths
    }

    /// Edges from the root to the deepest leaf.
    pub(crate) fn depth(&self) -> usize {
        self.depth
    }

    /// Path length of a row with as many values as the training table had columns.
    pub(crate) fn path_length(&self, row: &[f64]) -> f64 {
        let mut node_idx = 0;
        loop {
            let node = self.nodes[node_idx];
            let next =
                node.left as usize + usize::from(row[node.feature as usize] > node.threshold);
            if next == node_idx {
                return self.path_lengths[node_idx];
            }
            node_idx = next;
        }
    }
}

/// The rows that a tree is grown from, by column, without the columns that are constant in them.
struct Sample {
    columns: Vec<SampleColumn>,
}

struct SampleColumn {
    feature: u32,
    values: Vec<f64>,
}

struct Split {
    /// Index into [`Sample::columns`].
    column: usize,
    threshold: f64,
}

impl Sample {
    fn gather(records: &ArrayView2<'_, f64>, rows: &[usize], columns: &[usize]) -> Self {
        let columns = columns
            .iter()
            .map(|&column| SampleColumn {
                feature: column as u32,
                values: rows.iter().map(|&row| records[[row, column]]).collect(),
            })
            .filter(|column| {
                let first = column.values[0];
                column.values.iter().any(|&value| value != first)
            })
            .collect();
        Self { columns }
    }

    /// Draws a column uniformly from those that are not constant in `members`, and a threshold.
    fn draw_split(&self, members: &[usize], rng: &mut TreeRng) -> Option<Split> {
        let mut candidates: Vec<usize> = Vec::new();
        let mut n_left = self.columns.len();
        while n_left > 0 {
            // Drawing without replacement until one is not constant is a uniform choice among
            // those that are not. The list is only made when the first draw fails.
            let drawn = rng.below(n_left);
            let column = candidates.get(drawn).copied().unwrap_or(drawn);
            let values = &self.columns[column].values;
            let (min, max) = extremes(members.iter().map(|&row| values[row]));
            if min < max {
                let threshold = draw_threshold(min, max, rng.unit());
                return Some(Split { column, threshold });
            }
            if candidates.is_empty() {
                candidates = (0..self.columns.len()).collect();
            }
            candidates.swap_remove(drawn);
            n_left -= 1;
        }
        None
    }
}

/// Smallest and largest of finite values.
fn extremes(values: impl Iterator<Item = f64>) -> (f64, f64) {
    values.fold((f64::INFINITY, f64::NEG_INFINITY), |(min, max), value| {
        (
            if value < min { value } else { min },
            if value > max { value } else { max },
        )
    })
}

/// The point at share `unit` (in [0, 1)) between `min` and `max`; always `min <= t < max`, so that
/// both sides of `value <= t` get a row.
fn draw_threshold(min: f64, max: f64, unit: f64) -> f64 {
    let range = max - min;
    let threshold = if range.is_finite() {
        min + unit * range
    } else {
        min * (1.0 - unit) + max * unit
    };
    // Rounding may reach the upper end; scikit-learn then takes the lower one, too.
    if min <= threshold && threshold < max {
        threshold
    } else {
        min
    }
}

/// Moves the members for which `goes_left` to the front; returns their number.
fn partition(members: &mut [usize], goes_left: impl Fn(usize) -> bool) -> usize {
    let mut n_left = 0;
    for i in 0..members.len() {
        if goes_left(members[i]) {
            members.swap(i, n_left);
            n_left += 1;
        }
    }
    n_left
}

#[cfg(test)]
mod tests {
    use super::*;
    use ndarray::{Array2, array};

    fn limits(sample_size: usize, max_depth: usize, max_features: usize) -> GrowLimits {
        GrowLimits {
            sample_size,
            max_depth,
            max_features,
        }
    }

    #[test]
    fn thresholds_stay_below_the_largest_value() {
        let cases = [
            (0.0, 1.0),
            (1.0, 1.0_f64.next_up()),
            (-1e308, 1e308),
            (f64::MIN, f64::MAX),
            (0.0, f64::MIN_POSITIVE),
            (-5e-324, 5e-324),
        ];
        let largest_unit = 1.0 - 2.0_f64.powi(-53);
        for (min, max) in cases {
            for unit in [0.0, 0.25, 0.5, 0.75, largest_unit] {
                let threshold = draw_threshold(min, max, unit);
                assert!(
                    min <= threshold && threshold < max,
                    "{min} {max} {unit}: {threshold}"
                );
            }
        }
    }

    #[test]
    fn grown_trees_split_every_pair_they_may() {
        // 64 different rows, no depth limit: every leaf holds one row.
        let records = Array2::from_shape_fn((64, 2), |(i, j)| (i * (j + 1)) as f64);
        let tree = Tree::grow(&records.view(), limits(64, 64, 2), &mut TreeRng::new(1, 0));
        assert_eq!(tree.nodes.len(), 127);
        for (i, row) in records.rows().into_iter().enumerate() {
            let length = tree.path_length(row.as_slice().unwrap());
            assert_eq!(length, length.trunc(), "row {i} isn't alone in its leaf");
        }
    }

    #[test]
    fn constant_columns_are_never_split_on() {
        let records = Array2::from_shape_fn((50, 3), |(i, j)| if j == 1 { i as f64 } else { 4.0 });
        let tree = Tree::grow(&records.view(), limits(50, 8, 3), &mut TreeRng::new(1, 0));
        assert!(tree.depth() > 2);
        for spec in tree.specs() {
            if let NodeSpec::Inner { feature, .. } = spec {
                assert_eq!(feature, 1);
            }
        }
    }

    #[test]
    fn columns_constant_in_a_node_only_are_passed_over_there() {
        // Column 0 tells the halves apart and is constant within them; column 1 goes on splitting.
        let records = array![[0.0, 1.0], [0.0, 2.0], [9.0, 1.0], [9.0, 2.0]];
        for tree_idx in 0..50 {
            let mut rng = TreeRng::new(5, tree_idx);
            let tree = Tree::grow(&records.view(), limits(4, 4, 2), &mut rng);
            assert_eq!(
                tree.nodes.len(),
                7,
                "four rows that all differ make seven nodes"
            );
        }
    }

    #[test]
    fn the_column_is_drawn_uniformly_among_those_that_vary() {
        // Columns 0 and 3 are constant: 1, 2 and 4 share the root splits.
        let records = Array2::from_shape_fn((32, 5), |(i, j)| match j {
            0 | 3 => 1.0,
            _ => ((i * 7 + j) % 32) as f64,
        });
        let mut hits = [0_i32; 5];
        for tree_idx in 0..3_000 {
            let mut rng = TreeRng::new(9, tree_idx);
            let tree = Tree::grow(&records.view(), limits(32, 1, 5), &mut rng);
            hits[tree.nodes[0].feature as usize] += 1;
        }
        assert_eq!((hits[0], hits[3]), (0, 0));
        for j in [1, 2, 4] {
            // Standard deviation 26.
            assert!((hits[j] - 1_000).abs() < 120, "{hits:?}");
        }
    }

    #[test]
    fn stored_nodes_rebuild_the_same_tree() {
        let records = Array2::from_shape_fn((100, 4), |(i, j)| ((i * 31 + j * 17) % 53) as f64);
        let tree = Tree::grow(&records.view(), limits(80, 7, 3), &mut TreeRng::new(2, 4));
        let specs: Vec<NodeSpec> = tree.specs().collect();
        let rebuilt = Tree::from_specs(&specs, 4, 80).unwrap();
        assert_eq!(rebuilt.nodes, tree.nodes);
        assert_eq!(rebuilt.n_rows, tree.n_rows);
        assert_eq!(tree.n_rows[0], 80);
    }

    #[test]
    fn what_is_no_tree_is_refused() {
        let inner = |feature, threshold| NodeSpec::Inner { feature, threshold };
        let leaf = |n_rows| NodeSpec::Leaf { n_rows };
        let refused: [&[NodeSpec]; 8] = [
            &[],
            &[inner(0, 1.0)],
            &[inner(0, 1.0), leaf(2)],
            &[leaf(1), inner(0, 1.0), leaf(1)],
            &[inner(2, 1.0), leaf(1), leaf(1)],
            &[inner(0, f64::NAN), leaf(1), leaf(1)],
            &[inner(0, 1.0), leaf(0), leaf(2)],
            &[inner(0, 1.0), leaf(2), leaf(1)],
        ];
        for specs in refused {
            assert!(Tree::from_specs(specs, 2, 2).is_err(), "{specs:?}");
        }
        assert!(Tree::from_specs(&[inner(1, 1.0), leaf(1), leaf(1)], 2, 2).is_ok());
    }
}
