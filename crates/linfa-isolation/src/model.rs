//! What a fitted forest is: trees, splits and leaves, apart from how they are walked.

use serde::{Deserialize, Serialize};

use crate::error::FormatError;
use crate::frame::{Frame, LARGEST_WEIGHT, MAX_TERMS};
use crate::math::log2;
use crate::params::{Form, Missing, Scoring};
use crate::path_length::AveragePathLengths;

/// Smallest range share that densities are computed with.
const SMALLEST_SHARE: f64 = 1.0 / (1_u64 << 40) as f64;

/// A node of a tree.
///
/// Nodes are stored breadth first and siblings side by side, the root first: the children of the
/// k-th inner node of a tree are `2 k + 1` and `2 k + 2`.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Node {
    /// Left child within the tree, with the right one next to it; for a leaf, the leaf itself.
    pub(crate) left: u32,
    /// Training rows that reached the node.
    pub(crate) n_rows: u32,
    /// Index of an inner node's split in the forest; [`NO_SPLIT`] for a leaf.
    pub(crate) split: u32,
}

/// The split of a leaf.
pub(crate) const NO_SPLIT: u32 = u32::MAX;

impl Node {
    pub(crate) fn is_leaf(&self) -> bool {
        self.split == NO_SPLIT
    }
}

/// One isolation tree over a sample of the training rows.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Tree {
    pub(crate) nodes: Vec<Node>,
    /// Edges from the root to the deepest leaf.
    pub(crate) depth: usize,
}

/// The splits of all trees, tree by tree, breadth first within each.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Splits {
    /// Along single columns.
    Axis(AxisSplits),
    /// Along sums of columns.
    Oblique(ObliqueSplits),
}

/// Splits `x[column] <= threshold`. Thresholds are kept sorted by column, so that scoring may compare
/// ranks, which fit into 16 bits, instead of values: the outcome is the same for every value.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct AxisSplits {
    /// Columns that are split on, ascending.
    pub(crate) columns: Vec<u32>,
    /// First cut of each of those columns, and at the end the number of cuts.
    pub(crate) starts: Vec<u32>,
    /// Different thresholds, column by column, ascending within each.
    pub(crate) cuts: Vec<f64>,
    /// The cut of each split.
    pub(crate) cut_of_split: Vec<u32>,
}

impl AxisSplits {
    /// From column and threshold of each split in order.
    pub(crate) fn new(splits: &[(u32, f64)]) -> Self {
        // The key of a threshold is an integer that sorts alike.
        let mut sorted: Vec<(u32, u64, u32)> = splits
            .iter()
            .enumerate()
            .map(|(split, &(column, threshold))| (column, sort_key(threshold), split as u32))
            .collect();
        sorted.sort_unstable();
        let mut axis = Self {
            columns: Vec::new(),
            starts: Vec::new(),
            cuts: Vec::with_capacity(splits.len()),
            cut_of_split: vec![0; splits.len()],
        };
        let mut last = None;
        for (column, key, split) in sorted {
            if axis.columns.last() != Some(&column) {
                axis.columns.push(column);
                axis.starts.push(axis.cuts.len() as u32);
            }
            if last != Some((column, key)) {
                last = Some((column, key));
                // Adding 0 turns -0 into 0, which compares alike.
                axis.cuts.push(splits[split as usize].1 + 0.0);
            }
            axis.cut_of_split[split as usize] = axis.cuts.len() as u32 - 1;
        }
        axis.starts.push(axis.cuts.len() as u32);
        axis
    }

    /// Column and threshold of a split.
    pub(crate) fn split(&self, split: u32) -> (u32, f64) {
        let cut = self.cut_of_split[split as usize];
        let place = self.starts.partition_point(|&start| start <= cut) - 1;
        (self.columns[place], self.cuts[cut as usize])
    }

    /// The cuts of each column in [`columns`](Self::columns).
    pub(crate) fn cuts_by_column(&self) -> impl Iterator<Item = std::ops::Range<usize>> {
        self.starts
            .windows(2)
            .map(|bounds| bounds[0] as usize..bounds[1] as usize)
    }

    fn check(&self, n_features: usize) -> Result<(), FormatError> {
        let sound = self.columns.is_sorted_by(|a, b| a < b)
            && self
                .columns
                .last()
                .is_none_or(|&last| (last as usize) < n_features)
            && self.starts.len() == self.columns.len() + 1
            && self.starts.first() == Some(&0)
            && self.starts.is_sorted_by(|a, b| a < b)
            && self.starts.last().map(|&last| last as usize) == Some(self.cuts.len());
        if !sound {
            return Err(FormatError::invalid("thresholds don't belong to columns"));
        }
        for cuts in self.cuts_by_column() {
            if !self.cuts[cuts].is_sorted_by(|a, b| a < b) {
                return Err(FormatError::invalid(
                    "thresholds of a column are not in order",
                ));
            }
        }
        if let Some(cut) = self.cuts.iter().find(|cut| !cut.is_finite()) {
            return Err(FormatError::invalid(format!("{cut} is a threshold")));
        }
        match self
            .cut_of_split
            .iter()
            .find(|&&cut| cut as usize >= self.cuts.len())
        {
            Some(cut) => Err(FormatError::invalid(format!(
                "threshold {cut} doesn't exist"
            ))),
            None => Ok(()),
        }
    }
}

/// An integer that sorts as the finite `value` does; -0 and 0 are the same.
fn sort_key(value: f64) -> u64 {
    let bits = (value + 0.0).to_bits() as i64;
    // Of negative numbers the magnitude is inverted, then the sign bit is flipped for all.
    (bits ^ ((bits >> 63) as u64 >> 1) as i64) as u64 ^ (1 << 63)
}

/// Splits `x[c0] + w1 x[c1] + … <= threshold` in the frame, in `f32`.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct ObliqueSplits {
    /// Terms of each split.
    pub(crate) n_terms: usize,
    /// Columns of the terms, split by split. A split of fewer terms repeats its first column.
    pub(crate) columns: Vec<u32>,
    /// Weights of the terms; the first of each split is 1, those of repeated columns are 0.
    pub(crate) weights: Vec<f32>,
    pub(crate) thresholds: Vec<f32>,
    /// Distance to the threshold beyond which a row is outside the training range; empty if the
    /// range isn't penalized.
    pub(crate) limits: Vec<f32>,
    pub(crate) frame: Frame,
}

impl ObliqueSplits {
    /// Projection of a row in the frame. Every kernel adds up in this order and without fused
    /// multiplications, so that all agree.
    #[inline]
    pub(crate) fn project(&self, split: u32, value: impl Fn(usize) -> f32) -> f32 {
        let (columns, weights) = self.terms(split);
        project(columns, weights, value)
    }

    /// Columns and weights of a split.
    #[inline]
    pub(crate) fn terms(&self, split: u32) -> (&[u32], &[f32]) {
        let terms = split as usize * self.n_terms..(split as usize + 1) * self.n_terms;
        (&self.columns[terms.clone()], &self.weights[terms])
    }

    /// Whether `projection` is outside of what training saw at the split.
    #[inline]
    pub(crate) fn is_outside(&self, split: u32, projection: f32) -> bool {
        let threshold = self.thresholds[split as usize];
        match self.limits.get(split as usize) {
            Some(&limit) => (projection - threshold).abs() > limit,
            None => false,
        }
    }

    fn check(&self, n_features: usize) -> Result<(), FormatError> {
        let n_splits = self.thresholds.len();
        let n_terms = n_splits.checked_mul(self.n_terms);
        if self.n_terms == 0
            || self.n_terms > MAX_TERMS
            || n_terms != Some(self.columns.len())
            || n_terms != Some(self.weights.len())
            || !(self.limits.is_empty() || self.limits.len() == n_splits)
        {
            return Err(FormatError::invalid(
                "splits lack columns, weights or limits",
            ));
        }
        if let Some(column) = self
            .columns
            .iter()
            .find(|&&column| column as usize >= n_features)
        {
            let reason = format!("a split on column {column} of {n_features}");
            return Err(FormatError::invalid(reason));
        }
        if self
            .weights
            .chunks_exact(self.n_terms)
            .any(|weights| weights[0] != 1.0)
        {
            return Err(FormatError::invalid("a split's first weight isn't 1"));
        }
        let finite = self
            .thresholds
            .iter()
            .all(|threshold| threshold.is_finite())
            && self
                .weights
                .iter()
                .all(|weight| weight.abs() <= LARGEST_WEIGHT);
        let limited = self
            .limits
            .iter()
            .all(|&limit| limit >= 0.0 && limit.is_finite());
        if !finite || !limited {
            return Err(FormatError::invalid("a split's number is out of range"));
        }
        self.frame.check(n_features)
    }
}

/// `x[c0] + w1 x[c1] + …`.
#[inline]
pub(crate) fn project(columns: &[u32], weights: &[f32], value: impl Fn(usize) -> f32) -> f32 {
    let mut terms = columns.iter().zip(weights);
    let first = terms
        .next()
        .map_or(0.0, |(&column, _)| value(column as usize));
    terms.fold(first, |sum, (&column, &weight)| {
        sum + weight * value(column as usize)
    })
}

impl Splits {
    pub(crate) fn len(&self) -> usize {
        match self {
            Self::Axis(axis) => axis.cut_of_split.len(),
            Self::Oblique(oblique) => oblique.thresholds.len(),
        }
    }
}

/// A fitted forest as data.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Model {
    pub(crate) n_features: usize,
    pub(crate) sample_size: usize,
    pub(crate) seed: u64,
    pub(crate) form: Form,
    pub(crate) scoring: Scoring,
    pub(crate) missing: Missing,
    pub(crate) trees: Vec<Tree>,
    pub(crate) splits: Splits,
    /// Share of the range of a node's projections that lies left of its threshold, split by split;
    /// empty where the scoring doesn't need it.
    pub(crate) left_shares: Vec<f32>,
}

impl Model {
    /// Refuses what no fit makes. `trees` are known to be trees.
    pub(crate) fn check(&self) -> Result<(), FormatError> {
        let n_splits = match &self.splits {
            Splits::Axis(axis) => {
                axis.check(self.n_features)?;
                axis.cut_of_split.len()
            }
            Splits::Oblique(oblique) => {
                oblique.check(self.n_features)?;
                oblique.thresholds.len()
            }
        };
        let told_truly = match (&self.splits, self.form) {
            (Splits::Axis(_), Form::Classic | Form::Extended { extension_level: 0 }) => true,
            (Splits::Oblique(oblique), Form::Extended { extension_level }) => {
                extension_level < self.n_features && oblique.n_terms == extension_level + 1
            }
            (Splits::Oblique(_), Form::SciForest | Form::FairCut) => true,
            _ => false,
        };
        let limited = matches!(&self.splits, Splits::Oblique(splits) if !splits.limits.is_empty());
        if !told_truly || (limited && self.scoring != Scoring::PathLength) {
            return Err(FormatError::invalid(
                "form or scoring contradict the splits",
            ));
        }
        let expected = if self.scoring == Scoring::PathLength {
            0
        } else {
            n_splits
        };
        if self.left_shares.len() != expected {
            return Err(FormatError::invalid("range shares don't belong to splits"));
        }
        if self
            .left_shares
            .iter()
            .any(|share| !(0.0..=1.0).contains(share))
        {
            return Err(FormatError::invalid("a range share is outside [0, 1]"));
        }
        Ok(())
    }

    /// What ends a walk in each leaf, tree by tree and by node; NaN for inner nodes.
    ///
    /// For path lengths that is the depth plus `c(rows)`, for densities their logarithm.
    pub(crate) fn leaf_values(&self) -> impl Iterator<Item = Vec<f64>> {
        let mut rest = AveragePathLengths::default();
        self.trees
            .iter()
            .map(move |tree| self.leaf_values_of(tree, &mut rest))
    }

    fn leaf_values_of(&self, tree: &Tree, rest: &mut AveragePathLengths) -> Vec<f64> {
        let mut values = vec![0.0; tree.nodes.len()];
        for (node_idx, node) in tree.nodes.iter().enumerate() {
            if node.is_leaf() {
                if self.scoring != Scoring::Density {
                    values[node_idx] += rest.get(node.n_rows as usize);
                }
                continue;
            }
            let so_far = values[node_idx];
            values[node_idx] = f64::NAN;
            let left = node.left as usize;
            let n_left = f64::from(tree.nodes[left].n_rows);
            for (side, n_side) in [(left, n_left), (left + 1, f64::from(node.n_rows) - n_left)] {
                let step = match self.left_shares.get(node.split as usize) {
                    None => 1.0,
                    Some(&left_share) => {
                        let left_share = f64::from(left_share);
                        let range = if side == left {
                            left_share
                        } else {
                            1.0 - left_share
                        };
                        let rows = n_side / f64::from(node.n_rows);
                        if self.scoring == Scoring::Density {
                            log2(rows / range.max(SMALLEST_SHARE))
                        } else {
                            2.0 * rows / (rows + range)
                        }
                    }
                };
                values[side] = so_far + step;
            }
        }
        values
    }

    /// What the walk of `row` down `tree` ends with: the value of its leaf, less the splits on the way
    /// that don't count; where a value is missing (NaN), the mean of both sides. This is the slow walk
    /// that the kernels agree with; it serves rows that they can't take.
    pub(crate) fn walk(&self, tree: &Tree, leaf_values: &[f64], row: &[f64]) -> f64 {
        let mut sum = 0.0;
        // Nodes that the row reaches with some probability, and the splits before that don't count.
        let mut pending = Vec::new();
        let mut next = Some((0, 1.0, 0.0));
        while let Some((mut node_idx, probability, mut penalty)) =
            next.take().or_else(|| pending.pop())
        {
            loop {
                let node = tree.nodes[node_idx];
                if node.is_leaf() {
                    sum += probability * (leaf_values[node_idx] - penalty);
                    break;
                }
                let left = node.left as usize;
                match self.side(node.split, row) {
                    Some(side) => {
                        penalty += f64::from(u8::from(side.outside));
                        node_idx = left + usize::from(side.right);
                    }
                    None => {
                        let share = f64::from(tree.nodes[left].n_rows) / f64::from(node.n_rows);
                        pending.push((left + 1, probability * (1.0 - share), penalty));
                        pending.push((left, probability * share, penalty));
                        break;
                    }
                }
            }
        }
        sum
    }

    /// Where `row` goes at `split`; `None` if a value is missing.
    #[inline]
    pub(crate) fn side(&self, split: u32, row: &[f64]) -> Option<Side> {
        match &self.splits {
            Splits::Axis(axis) => {
                let (column, threshold) = axis.split(split);
                let value = row[column as usize];
                (!value.is_nan()).then_some(Side {
                    right: value > threshold,
                    outside: false,
                })
            }
            Splits::Oblique(oblique) => {
                let frame = &oblique.frame;
                let projection = oblique.project(split, |column| frame.map(column, row[column]));
                (!projection.is_nan()).then(|| Side {
                    right: projection > oblique.thresholds[split as usize],
                    outside: oblique.is_outside(split, projection),
                })
            }
        }
    }
}

/// Where a row goes at a split.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Side {
    pub(crate) right: bool,
    /// Whether it lies outside of what training saw there, and the split doesn't count.
    pub(crate) outside: bool,
}

/// Rebuilds a tree from its nodes in storage order: the rows of a leaf, or `None` for an inner node.
/// Splits are counted from `first_split`. What is no tree over `sample_size` rows is refused.
pub(crate) fn link_tree(
    leaf_rows: impl ExactSizeIterator<Item = Option<u32>>,
    first_split: usize,
    sample_size: usize,
) -> Result<Tree, FormatError> {
    let n_nodes = leaf_rows.len();
    let mut nodes = Vec::with_capacity(n_nodes);
    let mut n_inner = 0;
    let mut n_sampled = 0_u64;
    for (node_idx, leaf_rows) in leaf_rows.enumerate() {
        // Every node but the root is the child of an earlier one.
        if node_idx > 2 * n_inner {
            let reason = format!("node {node_idx} has no parent before it");
            return Err(FormatError::invalid(reason));
        }
        nodes.push(match leaf_rows {
            Some(0) => return Err(FormatError::invalid(format!("leaf {node_idx} has no rows"))),
            Some(n_rows) => {
                n_sampled += u64::from(n_rows);
                Node {
                    left: node_idx as u32,
                    n_rows,
                    split: NO_SPLIT,
                }
            }
            None => {
                let node = Node {
                    left: 2 * n_inner as u32 + 1,
                    n_rows: 0,
                    split: (first_split + n_inner) as u32,
                };
                n_inner += 1;
                node
            }
        });
    }
    if n_nodes != 2 * n_inner + 1 {
        let reason =
            format!("{n_nodes} nodes of which {n_inner} are inner ones form no binary tree");
        return Err(FormatError::invalid(reason));
    }
    if n_sampled != sample_size as u64 {
        let reason = format!("the leaves of a tree hold {n_sampled} rows instead of {sample_size}");
        return Err(FormatError::invalid(reason));
    }
    // Children come after their parents: backwards, both are known when the parent's turn comes.
    for node_idx in (0..n_nodes).rev() {
        let left = nodes[node_idx].left as usize;
        if left != node_idx {
            nodes[node_idx].n_rows = nodes[left].n_rows + nodes[left + 1].n_rows;
        }
    }
    // Breadth first: a level ends where the children of its last inner node begin.
    let mut depth = 0;
    let (mut first, mut end) = (0, 1);
    while let Some(last) = nodes[first..end].iter().rev().find(|node| !node.is_leaf()) {
        depth += 1;
        (first, end) = (end, last.left as usize + 2);
    }
    Ok(Tree { nodes, depth })
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

/// A node in the form in which serde reads and writes it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub(crate) enum NodeSpec {
    Inner {
        feature: u32,
        threshold: f64,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        left_share: Option<f32>,
    },
    Oblique {
        features: Vec<u32>,
        weights: Vec<f32>,
        threshold: f32,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        limit: Option<f32>,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        left_share: Option<f32>,
    },
    Leaf {
        n_rows: u32,
    },
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_sort_as_values_do() {
        let values = [
            f64::MIN,
            -1.5,
            -1.0,
            -5e-324,
            0.0,
            5e-324,
            1.0,
            1.5,
            f64::MAX,
        ];
        assert!(values.is_sorted_by(|&a, &b| sort_key(a) < sort_key(b)));
        assert_eq!(sort_key(-0.0), sort_key(0.0));
    }

    #[test]
    fn cuts_are_kept_once_and_in_order() {
        let splits = [(2, 1.0), (0, 3.0), (2, -1.0), (0, 3.0), (2, -0.0), (2, 0.0)];
        let axis = AxisSplits::new(&splits);
        assert_eq!(axis.cuts, [3.0, -1.0, 0.0, 1.0]);
        assert_eq!(
            (axis.columns.as_slice(), axis.starts.as_slice()),
            (&[0, 2][..], &[0, 1, 4][..])
        );
        for (split, &expected) in splits.iter().enumerate() {
            assert_eq!(axis.split(split as u32), expected);
        }
        assert!(axis.check(3).is_ok());
        assert!(axis.check(2).is_err());
    }

    #[test]
    fn what_is_no_tree_is_refused() {
        let (inner, leaf) = (None, Some);
        let refused: [&[Option<u32>]; 7] = [
            &[],
            &[inner],
            &[inner, leaf(2)],
            &[leaf(1), inner, leaf(1)],
            &[inner, leaf(0), leaf(2)],
            &[inner, leaf(2), leaf(1)],
            &[inner, leaf(u32::MAX), leaf(3)],
        ];
        for nodes in refused {
            assert!(link_tree(nodes.iter().copied(), 0, 2).is_err(), "{nodes:?}");
        }
        let tree = link_tree([inner, leaf(1), leaf(1)].into_iter(), 7, 2).unwrap();
        assert_eq!(
            (tree.depth, tree.nodes[0].n_rows, tree.nodes[0].split),
            (1, 2, 7)
        );
    }
}
