//! Walks down trees of at most [`MAX_DEPTH`] levels, which the default sample of 256 rows gives.
//!
//! Such a tree is padded to full depth: the children of node `i` are `2 i` and `2 i + 1`, the root is
//! 1, so a step needs no link and no leaf test, and each index is masked to the length of its table,
//! so it needs no bounds check either. An early leaf is padded by nodes with threshold +∞, which lead
//! left down to an entry of the leaf table that holds the leaf's path length.

use super::{Block, LANES, Lanes, PADDED_FEATURES};
use crate::tree::{Node, Tree};

/// Levels of inner nodes.
const MAX_DEPTH: usize = 8;

/// Entries of a table: inner nodes (entry 0 is unused) or leaves.
pub(super) const TABLE_LEN: usize = 1 << MAX_DEPTH;
const MASK: usize = TABLE_LEN - 1;

/// A tree padded to full depth.
#[derive(Debug, Clone)]
pub(super) struct ShallowTree {
    thresholds: [f64; TABLE_LEN],
    path_lengths: [f64; TABLE_LEN],
    features: [u32; TABLE_LEN],
}

impl ShallowTree {
    /// `None` if the tree is too deep.
    pub(super) fn new(tree: &Tree) -> Option<Self> {
        if tree.depth() > MAX_DEPTH {
            return None;
        }
        let mut padded = Self {
            thresholds: [f64::INFINITY; TABLE_LEN],
            features: [0; TABLE_LEN],
            path_lengths: [f64::NAN; TABLE_LEN],
        };
        let mut pending = vec![(0, 1_usize)];
        while let Some((node_idx, heap_idx)) = pending.pop() {
            let Node {
                threshold,
                feature,
                left,
            } = tree.nodes()[node_idx];
            let left = left as usize;
            if left == node_idx {
                // Leftmost entry below the leaf in the leaf table.
                let level = heap_idx.ilog2() as usize;
                let entry = (heap_idx << (MAX_DEPTH - level)) & MASK;
                padded.path_lengths[entry] = tree.path_lengths()[node_idx];
            } else {
                padded.thresholds[heap_idx] = threshold;
                padded.features[heap_idx] = feature;
                pending.push((left, 2 * heap_idx));
                pending.push((left + 1, 2 * heap_idx + 1));
            }
        }
        Some(padded)
    }

    /// Adds each row's path length in this tree to `sums`.
    pub(super) fn add_path_lengths(&self, block: &Block, sums: &mut [Lanes]) {
        match block.padded_groups() {
            Some(groups) => {
                for (group, sum) in groups.iter().zip(sums) {
                    self.walk(|feature| &group[feature & (PADDED_FEATURES - 1)], sum);
                }
            }
            None => {
                for (group, sum) in block.groups().zip(sums) {
                    self.walk(|feature| &group[feature], sum);
                }
            }
        }
    }

    /// Walks one group of rows down, level by level.
    #[inline]
    fn walk<'a>(&self, column: impl Fn(usize) -> &'a Lanes, sum: &mut Lanes) {
        let mut at = [1_usize; LANES];
        for _ in 0..MAX_DEPTH {
            for (lane, at) in at.iter_mut().enumerate() {
                let node = *at & MASK;
                let value = column(self.features[node] as usize)[lane];
                *at = 2 * *at + usize::from(value > self.thresholds[node]);
            }
        }
        for (sum, at) in sum.iter_mut().zip(at) {
            *sum += self.path_lengths[at & MASK];
        }
    }
}

/// Sum of the path lengths of one row. [`LANES`] trees are walked together, as their chains are
/// independent; the sum still goes tree by tree.
pub(super) fn sum_of_one(trees: &[ShallowTree], row: &[f64]) -> f64 {
    let mut sum = 0.0;
    let (groups, rest) = trees.as_chunks::<LANES>();
    for group in groups {
        let mut at = [1_usize; LANES];
        for _ in 0..MAX_DEPTH {
            for (at, tree) in at.iter_mut().zip(group) {
                *at = tree.step(*at, row);
            }
        }
        for (at, tree) in at.iter().zip(group) {
            sum += tree.path_lengths[at & MASK];
        }
    }
    for tree in rest {
        let at = (0..MAX_DEPTH).fold(1, |at, _| tree.step(at, row));
        sum += tree.path_lengths[at & MASK];
    }
    sum
}

impl ShallowTree {
    #[inline]
    fn step(&self, at: usize, row: &[f64]) -> usize {
        let node = at & MASK;
        let value = row[self.features[node] as usize];
        2 * at + usize::from(value > self.thresholds[node])
    }
}
