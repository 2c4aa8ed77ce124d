//! Scoring many rows at once.
//!
//! A walk down a tree is a chain of dependent loads: alone it waits for the memory of the last step,
//! whatever the processor could do meanwhile. So rows are taken in blocks, turned feature-major once
//! per block, and walk down in groups of [`LANES`], their chains interleaved. The trees are the
//! outer loop within a block, so that a tree's nodes stay in the first-level cache while the rows
//! pass.
//!
//! Every path adds a row's path lengths tree by tree, in the order of the trees: the sums are the
//! same to the last bit whichever kernel, block or thread computes them.

mod deep;
mod shallow;

use ndarray::ArrayView2;

use crate::error::{Error, Result};
use crate::tree::Tree;
use shallow::ShallowTree;

/// Rows that walk down a tree together. Measured best of 4, 8, 16 and 32.
pub(crate) const LANES: usize = 16;

/// Rows of a block: 32 KiB at up to 16 features. The rows stream through the first-level cache, the
/// 5 KiB of a tree stay there.
pub(crate) const BLOCK_ROWS: usize = 256;

/// Groups have room for at least this many features: an index masked to a constant length needs no
/// bounds check.
const PADDED_FEATURES: usize = 16;

/// One value of each row of a group.
pub(crate) type Lanes = [f64; LANES];

/// Trees in the form that the kernels walk.
#[derive(Debug, Clone)]
pub(crate) struct Kernel {
    /// Padded trees, if all are shallow enough.
    shallow: Option<Vec<ShallowTree>>,
}

impl Kernel {
    pub(crate) fn new(trees: &[Tree]) -> Self {
        // Padding makes every tree as large as a full one. Where most are far from full that would
        // cost memory (and let a small file claim a lot of it) for walks that end early anyway.
        let n_nodes: usize = trees.iter().map(|tree| tree.nodes().len()).sum();
        let worthwhile = n_nodes >= trees.len() * (shallow::TABLE_LEN / 8);
        Self {
            shallow: worthwhile
                .then(|| trees.iter().map(ShallowTree::new).collect())
                .flatten(),
        }
    }

    /// Sums the path lengths of each row of `block` over all trees into `sums`.
    pub(crate) fn sum_path_lengths(&self, trees: &[Tree], block: &Block, sums: &mut [Lanes]) {
        sums.fill([0.0; LANES]);
        match &self.shallow {
            Some(shallow_trees) => {
                for tree in shallow_trees {
                    tree.add_path_lengths(block, sums);
                }
            }
            None => {
                for tree in trees {
                    deep::add_path_lengths(tree, block, sums);
                }
            }
        }
    }

    /// Sum of the path lengths of one row, without allocation.
    pub(crate) fn sum_path_lengths_of_one(&self, trees: &[Tree], row: &[f64]) -> f64 {
        match &self.shallow {
            Some(shallow_trees) => shallow::sum_of_one(shallow_trees, row),
            None => trees.iter().map(|tree| tree.path_length(row)).sum(),
        }
    }
}

/// Up to [`BLOCK_ROWS`] rows, feature-major within each group of [`LANES`] rows.
#[derive(Debug)]
pub(crate) struct Block {
    n_features: usize,
    /// Entries per group: `n_features`, or [`PADDED_FEATURES`] if there are fewer.
    stride: usize,
    /// One entry per group and feature: `lanes[group * stride + feature][lane]`.
    lanes: Vec<Lanes>,
}

impl Block {
    pub(crate) fn new(n_features: usize) -> Self {
        let stride = n_features.max(PADDED_FEATURES);
        Self {
            n_features,
            stride,
            lanes: Vec::with_capacity(stride * BLOCK_ROWS / LANES),
        }
    }

    /// Takes over `rows`; lanes beyond the last row are zero. The first value in row-major order
    /// that is not finite is refused, its row counted from `first_row`.
    pub(crate) fn fill(&mut self, rows: &ArrayView2<'_, f64>, first_row: usize) -> Result<()> {
        let n_groups = rows.nrows().div_ceil(LANES);
        self.lanes.clear();
        self.lanes.resize(n_groups * self.stride, [0.0; LANES]);
        let groups = self.lanes.chunks_exact_mut(self.stride);
        if let Some(values) = rows.as_slice() {
            let row_major_groups = values.chunks(LANES * self.n_features);
            for (group, group_rows) in groups.zip(row_major_groups) {
                for (lane, row) in group_rows.chunks_exact(self.n_features).enumerate() {
                    for (column, &value) in group.iter_mut().zip(row) {
                        column[lane] = value;
                    }
                }
            }
        } else {
            for (group_idx, group) in groups.enumerate() {
                for (feature, column) in group.iter_mut().take(self.n_features).enumerate() {
                    let first = group_idx * LANES;
                    for (lane, row) in (first..rows.nrows().min(first + LANES)).enumerate() {
                        column[lane] = rows[[row, feature]];
                    }
                }
            }
        }
        if self
            .lanes
            .as_flattened()
            .iter()
            .all(|value| value.is_finite())
        {
            return Ok(());
        }
        require_finite(rows, first_row)
    }

    /// The groups of the block, each at least one entry per feature.
    fn groups(&self) -> impl Iterator<Item = &[Lanes]> {
        self.lanes.chunks_exact(self.stride)
    }

    /// The groups as arrays, if there are at most [`PADDED_FEATURES`] features.
    fn padded_groups(&self) -> Option<&[[Lanes; PADDED_FEATURES]]> {
        (self.stride == PADDED_FEATURES).then(|| self.lanes.as_chunks().0)
    }
}

/// Refuses the first value in row-major order that is not finite.
pub(crate) fn require_finite(rows: &ArrayView2<'_, f64>, first_row: usize) -> Result<()> {
    // A contiguous table is checked without regard to rows first: that is a plain pass over memory.
    if let Some(values) = rows.as_slice_memory_order() {
        let n_bad = values
            .iter()
            .map(|value| u64::from(!value.is_finite()))
            .sum::<u64>();
        if n_bad == 0 {
            return Ok(());
        }
    }
    match rows.indexed_iter().find(|(_, value)| !value.is_finite()) {
        Some(((row, column), &value)) => Err(Error::NonFinite {
            row: first_row + row,
            column,
            value,
        }),
        None => Ok(()),
    }
}
