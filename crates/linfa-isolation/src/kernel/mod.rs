//! Scoring many rows at once.
//!
//! A walk down a tree is a chain of dependent loads: alone it waits for the memory of the last step,
//! whatever the processor could do meanwhile. So rows are taken in blocks, and many walks go on at
//! the same time: rows interleaved in scalar code, or one per lane of a vector register.
//!
//! Three kernels share that idea:
//!
//! - [`ranked`] for splits along single columns: values are turned into ranks among the forest's
//!   thresholds once per row, and all trees compare 16-bit ranks;
//! - [`oblique`] for splits along sums of columns;
//! - [`compact`] for what the two don't take: very deep trees and very wide tables.
//!
//! Every kernel adds a row's leaf values tree by tree, in the order of the trees, and compares
//! exactly: the sums are the same to the last bit whichever kernel, instructions, block or thread
//! computes them.

mod compact;
mod finish;
mod oblique;
mod ranked;
mod simd;

use ndarray::{ArrayView2, Axis};

use crate::error::Result;
use crate::finite::{is_allowed, require_allowed};
use crate::model::{Model, Splits};
use crate::params::Missing;
use compact::CompactKernel;
pub(crate) use finish::Finish;
use oblique::ObliqueKernel;
use ranked::RankedKernel;
pub(crate) use ranked::leaf_place;
pub use simd::Simd;

/// Most rows of a block.
const BLOCK_ROWS: usize = 256;

/// Rows that kernels take at a time: blocks are padded to a multiple of it.
const GROUP_ROWS: usize = 32;

/// Numbers that a block should not exceed: 64 KiB stay in the second-level cache beside the trees.
const BLOCK_VALUES: usize = 8192;

/// Trees in the form that walks need.
#[derive(Debug, Clone)]
pub(crate) struct Kernel {
    walker: Walker,
    /// Leaf values by node, tree by tree, for rows with missing values; `None` where those are errors.
    missing: Option<Vec<Vec<f64>>>,
}

#[derive(Debug, Clone)]
enum Walker {
    Ranked(RankedKernel),
    Oblique(ObliqueKernel),
    Compact(CompactKernel),
}

impl Kernel {
    pub(crate) fn new(model: &Model, simd: Simd) -> Self {
        let walker = match &model.splits {
            Splits::Axis(axis) => RankedKernel::new(model, axis, simd).map(Walker::Ranked),
            Splits::Oblique(splits) => ObliqueKernel::new(model, splits, simd).map(Walker::Oblique),
        };
        Self {
            walker: walker.unwrap_or_else(|| Walker::Compact(CompactKernel::new(model))),
            missing: (model.missing == Missing::BothWays).then(|| model.leaf_values().collect()),
        }
    }

    /// Sums each row's leaf values over all trees into `sums`, one place per row of `rows`. The first
    /// value that is not allowed is refused, its row counted from `first_row`.
    pub(crate) fn sum_into(
        &self,
        model: &Model,
        rows: &ArrayView2<'_, f64>,
        first_row: usize,
        scratch: &mut Scratch,
        sums: &mut [f64],
    ) -> Result<()> {
        let n_features = model.n_features;
        let block_rows = block_rows(n_features);
        for (block_idx, sums) in sums.chunks_mut(block_rows).enumerate() {
            let first = block_idx * block_rows;
            let block = rows.slice(ndarray::s![first..first + sums.len(), ..]);
            let any_nan = scratch
                .block
                .fill(&block, first_row + first, self.missing.is_some())?;
            scratch.sums.clear();
            scratch.sums.resize(scratch.block.padded_rows, 0.0);
            match &self.walker {
                Walker::Ranked(kernel) => {
                    kernel.add(&scratch.block, &mut scratch.ranked, &mut scratch.sums)
                }
                Walker::Oblique(kernel) => {
                    kernel.add(
                        model,
                        &scratch.block,
                        &mut scratch.oblique,
                        &mut scratch.sums,
                    );
                }
                Walker::Compact(kernel) => kernel.add(model, &scratch.block, &mut scratch.sums),
            }
            let n_rows = sums.len();
            sums.copy_from_slice(&scratch.sums[..n_rows]);
            if any_nan && let Some(leaf_values) = &self.missing {
                for (row, sum) in sums.iter_mut().enumerate() {
                    let values: Vec<f64> = scratch.block.row(row).collect();
                    if values.iter().any(|value| value.is_nan()) {
                        *sum = sum_slowly(model, leaf_values, &values);
                    }
                }
            }
        }
        Ok(())
    }

    /// Sum of the leaf values of one row of allowed values, without allocation unless a value is
    /// missing.
    pub(crate) fn sum_of_one(&self, model: &Model, row: &[f64]) -> f64 {
        if let Some(leaf_values) = &self.missing
            && row.iter().any(|value| value.is_nan())
        {
            return sum_slowly(model, leaf_values, row);
        }
        match &self.walker {
            Walker::Ranked(kernel) => kernel.sum_of_one(row),
            Walker::Oblique(kernel) => kernel.sum_of_one(model, row),
            Walker::Compact(kernel) => kernel.sum_of_one(model, row),
        }
    }

    /// Calls `visit` with the row's leaf in each tree, tree by tree, if trees are padded. No value may
    /// be missing.
    pub(crate) fn visit_leaves(&self, row: &[f64], visit: impl FnMut(Leaf)) {
        match &self.walker {
            Walker::Ranked(kernel) => kernel.visit_leaves(row, visit),
            Walker::Oblique(kernel) => kernel.visit_leaves(row, visit),
            Walker::Compact(_) => {}
        }
    }

    /// Takes `rows`, whose values are known to be allowed, block by block; calls `visit` with the first
    /// row of each block, its rows, and the leaves in which they end, if trees are padded. Leaves of
    /// rows with missing values are not to be trusted.
    pub(crate) fn each_block_of_leaves(
        &self,
        model: &Model,
        rows: &ArrayView2<'_, f64>,
        scratch: &mut Scratch,
        mut visit: impl FnMut(usize, ArrayView2<'_, f64>, BlockLeaves<'_>),
    ) {
        let Some(depth) = self.padded_depth() else {
            return;
        };
        // Of many trees, fewer rows at a time: a place is kept for each row and tree.
        let for_trees = (MAX_PLACES / model.trees.len()).max(GROUP_ROWS);
        let block_rows = block_rows(model.n_features).min(for_trees);
        for (block_idx, rows) in rows.axis_chunks_iter(Axis(0), block_rows).enumerate() {
            // Values were checked before.
            if scratch.block.fill(&rows, 0, true).is_err() {
                return;
            }
            let padded_rows = scratch.block.padded_rows;
            scratch.leaves.resize(model.trees.len() * padded_rows, 0);
            let is_oblique = matches!(&self.walker, Walker::Oblique(_));
            let n_outside = if is_oblique { scratch.leaves.len() } else { 0 };
            scratch.outside.resize(n_outside, 0);
            let (leaves, outside) = (&mut scratch.leaves, &mut scratch.outside);
            match &self.walker {
                Walker::Ranked(kernel) => {
                    kernel.find_leaves(&scratch.block, &mut scratch.ranked, leaves);
                }
                Walker::Oblique(kernel) => {
                    kernel.find_leaves(&scratch.block, &mut scratch.oblique, leaves, outside);
                }
                Walker::Compact(_) => {}
            }
            let found = BlockLeaves {
                leaves,
                outside,
                padded_rows,
                n_places: 1 << depth,
            };
            visit(block_idx * block_rows, rows, found);
        }
    }

    /// What a walk that ends there adds to a sum.
    #[inline]
    pub(crate) fn leaf_value(&self, leaf: Leaf) -> f64 {
        match &self.walker {
            Walker::Ranked(kernel) => kernel.leaf_value(leaf),
            Walker::Oblique(kernel) => kernel.leaf_value(leaf),
            Walker::Compact(_) => f64::NAN,
        }
    }

    /// Levels of the padded trees, if trees are padded.
    pub(crate) fn padded_depth(&self) -> Option<u32> {
        match &self.walker {
            Walker::Ranked(kernel) => Some(kernel.depth()),
            Walker::Oblique(kernel) => kernel.depth(),
            Walker::Compact(_) => None,
        }
    }
}

/// Where a row ends in a padded tree.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Leaf {
    /// Among the leaves of all trees, 2^depth for each.
    pub(crate) place: usize,
    /// Splits on the way that the row is outside of the training range of.
    pub(crate) n_outside: u32,
}

/// The leaves of the rows of a block.
pub(crate) struct BlockLeaves<'a> {
    /// For each tree, of each row.
    leaves: &'a [u16],
    /// Empty if nothing can be outside.
    outside: &'a [u16],
    padded_rows: usize,
    n_places: usize,
}

impl BlockLeaves<'_> {
    /// For each tree, the leaf of each row (and of some rows beyond the last).
    pub(crate) fn trees(&self) -> impl Iterator<Item = impl Iterator<Item = Leaf>> {
        let leaves = self.leaves.chunks_exact(self.padded_rows);
        leaves.enumerate().map(|(tree, leaves)| {
            let first = tree * self.n_places;
            let start = (tree * self.padded_rows).min(self.outside.len());
            let outside = self.outside[start..]
                .iter()
                .copied()
                .chain(std::iter::repeat(0));
            leaves
                .iter()
                .zip(outside)
                .map(move |(&leaf, n_outside)| Leaf {
                    place: first + leaf as usize,
                    n_outside: n_outside.into(),
                })
        })
    }
}

/// [`Kernel::sum_of_one`] by the slow walk, which knows missing values.
fn sum_slowly(model: &Model, leaf_values: &[Vec<f64>], row: &[f64]) -> f64 {
    let trees = model.trees.iter().zip(leaf_values);
    trees
        .map(|(tree, leaf_values)| model.walk(tree, leaf_values, row))
        .sum()
}

/// Places of leaves that are kept at the same time, one for each row and tree.
const MAX_PLACES: usize = 1 << 24;

/// Places of padded trees that are always granted: a few megabytes.
const FREE_PLACES: usize = 1 << 18;

/// The depth, one of `depths`, that trees are padded to, if padding is worth its memory: where trees
/// are far from full, it makes them much larger, and would let a small file claim a lot.
fn padded_depth(model: &Model, depths: &[u32]) -> Option<u32> {
    let deepest = model.trees.iter().map(|tree| tree.depth).max()?;
    let depth = depths
        .iter()
        .copied()
        .find(|&depth| depth as usize >= deepest)?;
    let n_nodes: usize = model.trees.iter().map(|tree| tree.nodes.len()).sum();
    let n_places = model.trees.len() << depth;
    (n_places <= FREE_PLACES.max(8 * n_nodes)).then_some(depth)
}

/// Rows of a block of a table of `n_features` columns.
fn block_rows(n_features: usize) -> usize {
    let rows = BLOCK_VALUES / n_features.max(1) / GROUP_ROWS * GROUP_ROWS;
    rows.clamp(GROUP_ROWS, BLOCK_ROWS)
}

/// Memory that scoring reuses from block to block.
#[derive(Debug, Default)]
pub(crate) struct Scratch {
    block: Block,
    sums: Vec<f64>,
    ranked: ranked::Scratch,
    oblique: oblique::Scratch,
    /// Places of the leaves: for each tree, of each row.
    leaves: Vec<u16>,
    /// Splits that rows are outside of: for each tree, of each row.
    outside: Vec<u16>,
}

/// Some rows, column by column; rows beyond the last are zeros.
#[derive(Debug, Default)]
struct Block {
    n_rows: usize,
    /// `n_rows` rounded up to [`GROUP_ROWS`].
    padded_rows: usize,
    /// `padded_rows` values of each column.
    values: Vec<f64>,
}

impl Block {
    /// Takes over `rows`; says whether a value is NaN.
    fn fill(
        &mut self,
        rows: &ArrayView2<'_, f64>,
        first_row: usize,
        allow_nan: bool,
    ) -> Result<bool> {
        let (n_rows, n_features) = rows.dim();
        self.n_rows = n_rows;
        self.padded_rows = n_rows.next_multiple_of(GROUP_ROWS);
        self.values.resize(self.padded_rows * n_features, 0.0);
        if let Some(values) = rows.as_slice() {
            // Eight rows at a time: they are read side by side, and fill a line of the cache.
            const ROWS: usize = 8;
            for (group, rows) in values.chunks(ROWS * n_features).enumerate() {
                let columns = self.values.chunks_exact_mut(self.padded_rows);
                for (feature, column) in columns.enumerate() {
                    let places = &mut column[group * ROWS..(group + 1) * ROWS];
                    for (place, row) in places.iter_mut().zip(rows.chunks_exact(n_features)) {
                        *place = row[feature];
                    }
                }
            }
        } else {
            let columns = self.values.chunks_exact_mut(self.padded_rows);
            for (values, column) in rows.columns().into_iter().zip(columns) {
                let taken = &mut column[..n_rows];
                match values.as_slice() {
                    Some(values) => taken.copy_from_slice(values),
                    None => {
                        for (to, &value) in taken.iter_mut().zip(values) {
                            *to = value;
                        }
                    }
                }
            }
        }
        for column in self.values.chunks_exact_mut(self.padded_rows) {
            column[n_rows..].fill(0.0);
        }
        let n_bad: u64 = self
            .values
            .iter()
            .map(|value| u64::from(!value.is_finite()))
            .sum();
        if n_bad == 0 {
            return Ok(false);
        }
        if self
            .values
            .iter()
            .all(|&value| is_allowed(value, allow_nan))
        {
            return Ok(true);
        }
        require_allowed(rows, first_row, allow_nan).map(|()| true)
    }

    /// The padded values of a column.
    fn column(&self, feature: usize) -> &[f64] {
        &self.values[feature * self.padded_rows..][..self.padded_rows]
    }

    fn columns(&self) -> impl ExactSizeIterator<Item = &[f64]> {
        self.values.chunks_exact(self.padded_rows)
    }

    fn row(&self, row: usize) -> impl Iterator<Item = f64> {
        self.columns().map(move |column| column[row])
    }
}
