//! Walks down trees that split along sums of columns.
//!
//! Values are brought into the forest's frame and rounded to `f32` once per row. Trees of sums of two
//! columns, which is what all forms default to, are padded to full depth as in [`super::ranked`]; sums
//! of more columns are walked on the model's own nodes.

#[cfg(target_arch = "x86_64")]
mod avx2;
#[cfg(target_arch = "x86_64")]
mod avx512;
#[cfg(any(target_arch = "x86_64", target_arch = "aarch64"))]
mod lanes;
#[cfg(target_arch = "aarch64")]
mod neon;

use super::ranked::leaf_place;
use super::{Block, Leaf, Simd, padded_depth};
use crate::frame::map;
use crate::model::{Model, ObliqueSplits, Tree};

/// Rows, or trees for a single row, that walk together.
const LANES: usize = 16;

/// Levels that trees are padded to.
const DEPTHS: [u32; 3] = [8, 10, 12];

/// Values of a short record of a single row.
const SHORT_RECORD: usize = 64;

/// Columns that padded trees are used up to.
const MAX_COLUMNS: usize = 4096;

/// A split of a padded tree: `x[columns[0]] + weight x[columns[1]] > threshold` goes right.
#[derive(Debug, Clone, Copy)]
#[repr(C)]
struct PaddedSplit {
    columns: [u16; 2],
    weight: f32,
    threshold: f32,
    /// Distance from the threshold beyond which the split doesn't count.
    limit: f32,
}

impl PaddedSplit {
    /// Sends every row left and counts for every row.
    const LEFT: Self = Self {
        columns: [0, 0],
        weight: 0.0,
        threshold: f32::INFINITY,
        limit: f32::INFINITY,
    };
}

/// See the [module's documentation](self).
#[derive(Debug, Clone)]
pub(super) struct ObliqueKernel {
    /// Centre and scale of each column.
    frame: Vec<(f64, f64)>,
    /// Framed values of a row: a power of two, at least the number of columns.
    n_slots: usize,
    trees: Trees,
    #[cfg(target_arch = "x86_64")]
    avx512: Option<avx512::Forest>,
    /// Whether padded trees are walked by [`lanes`].
    #[cfg(any(target_arch = "x86_64", target_arch = "aarch64"))]
    lanes: bool,
}

/// Memory that is reused from block to block.
#[derive(Debug, Default)]
pub(super) struct Scratch {
    records: Vec<f32>,
    #[cfg(target_arch = "x86_64")]
    avx512: avx512::Scratch,
}

#[derive(Debug, Clone)]
enum Trees {
    Padded {
        depth: u32,
        penalized: bool,
        /// 2^depth of each tree; the first of each is unused.
        splits: Vec<PaddedSplit>,
        /// 2^depth of each tree.
        leaf_values: Vec<f64>,
    },
    /// Leaf values by node, tree by tree; the rest is the model's.
    AsTheyAre(Vec<Vec<f64>>),
}

impl ObliqueKernel {
    /// `None` if the columns are too many.
    pub(super) fn new(model: &Model, splits: &ObliqueSplits, simd: Simd) -> Option<Self> {
        if model.n_features > MAX_COLUMNS {
            return None;
        }
        let frame = &splits.frame;
        let trees = Trees::padded(model, splits)
            .unwrap_or_else(|| Trees::AsTheyAre(model.leaf_values().collect()));
        let n_slots = model.n_features.next_power_of_two().max(16);
        Some(Self {
            frame: frame
                .centres
                .iter()
                .copied()
                .zip(frame.scales.iter().copied())
                .collect(),
            n_slots,
            #[cfg(target_arch = "x86_64")]
            avx512: (simd == Simd::Avx512)
                .then(|| avx512::Forest::new(&trees, model.n_features, n_slots))
                .flatten(),
            #[cfg(any(target_arch = "x86_64", target_arch = "aarch64"))]
            lanes: Self::has_lanes(simd),
            trees,
        })
    }

    pub(super) fn add(
        &self,
        model: &Model,
        block: &Block,
        scratch: &mut Scratch,
        sums: &mut [f64],
    ) {
        #[cfg(target_arch = "x86_64")]
        if let (Some(forest), Trees::Padded { leaf_values, .. }) = (&self.avx512, &self.trees) {
            forest.add(&self.frame, leaf_values, block, &mut scratch.avx512, sums);
            return;
        }
        let records = &mut scratch.records;
        #[cfg(any(target_arch = "x86_64", target_arch = "aarch64"))]
        if self.add_by_lanes(block, records, sums) {
            return;
        }
        self.fill_records(block, records);
        match &self.trees {
            Trees::Padded {
                depth: 8,
                penalized: false,
                ..
            } if self.n_slots == 16 => self.add_padded::<8, 16, false>(records, sums),
            Trees::Padded { depth: 8, .. } if self.n_slots == 16 => {
                self.add_padded::<8, 16, true>(records, sums);
            }
            Trees::Padded { depth: 8, .. } => self.add_padded::<8, 0, true>(records, sums),
            Trees::Padded { depth: 10, .. } => self.add_padded::<10, 0, true>(records, sums),
            Trees::Padded { .. } => self.add_padded::<12, 0, true>(records, sums),
            Trees::AsTheyAre(leaf_values) => {
                let rows = records.chunks_exact(self.n_slots).zip(sums);
                for (record, sum) in rows.take(block.n_rows) {
                    *sum = sum_as_they_are(model, leaf_values, |column| record[column]);
                }
            }
        }
    }

    fn fill_records(&self, block: &Block, records: &mut Vec<f32>) {
        records.clear();
        records.resize(block.padded_rows * self.n_slots, 0.0);
        for (feature, (column, &(centre, scale))) in block.columns().zip(&self.frame).enumerate() {
            for (record, &value) in records.chunks_exact_mut(self.n_slots).zip(column) {
                record[feature] = map(value, centre, scale);
            }
        }
    }

    /// Places of the leaves, and the splits on the way that rows are outside of: for each tree, of each
    /// row. Only for padded trees.
    pub(super) fn find_leaves(
        &self,
        block: &Block,
        scratch: &mut Scratch,
        places: &mut [u16],
        outside: &mut [u16],
    ) {
        #[cfg(target_arch = "x86_64")]
        if let Some(forest) = &self.avx512 {
            forest.find_leaves(&self.frame, block, &mut scratch.avx512, places, outside);
            return;
        }
        let records = &mut scratch.records;
        self.fill_records(block, records);
        let Trees::Padded { depth, splits, .. } = &self.trees else {
            return;
        };
        let walk = match depth {
            8 => walk_lanes::<8, true>,
            10 => walk_lanes::<10, true>,
            _ => walk_lanes::<12, true>,
        };
        let of_trees = places
            .chunks_exact_mut(block.padded_rows)
            .zip(outside.chunks_exact_mut(block.padded_rows));
        for (splits, (places, outside)) in splits.chunks_exact(1 << depth).zip(of_trees) {
            let rows = records.chunks_exact(LANES * self.n_slots);
            let ends = places
                .as_chunks_mut()
                .0
                .iter_mut()
                .zip(outside.as_chunks_mut().0);
            for (records, (places, outside)) in rows.zip(ends) {
                let (at, out) = walk(splits, records, self.n_slots);
                *places = at.map(|at| (at & ((1 << depth) - 1)) as u16);
                *outside = out.map(|out| out as u16);
            }
        }
    }

    #[inline]
    pub(super) fn leaf_value(&self, leaf: Leaf) -> f64 {
        match &self.trees {
            Trees::Padded { leaf_values, .. } => {
                leaf_values[leaf.place] - f64::from(leaf.n_outside)
            }
            Trees::AsTheyAre(_) => f64::NAN,
        }
    }

    pub(super) fn depth(&self) -> Option<u32> {
        match &self.trees {
            Trees::Padded { depth, .. } => Some(*depth),
            Trees::AsTheyAre(_) => None,
        }
    }

    /// Sum of the leaf values of one row.
    pub(super) fn sum_of_one(&self, model: &Model, row: &[f64]) -> f64 {
        match &self.trees {
            Trees::Padded { leaf_values, .. } => {
                let mut sum = 0.0;
                self.visit_leaves(row, |leaf| {
                    sum += leaf_values[leaf.place] - f64::from(leaf.n_outside);
                });
                sum
            }
            Trees::AsTheyAre(leaf_values) => {
                let value = |column: usize| {
                    let (centre, scale) = self.frame[column];
                    map(row[column], centre, scale)
                };
                sum_as_they_are(model, leaf_values, value)
            }
        }
    }

    /// See [`Kernel::visit_leaves`](super::Kernel::visit_leaves).
    pub(super) fn visit_leaves(&self, row: &[f64], visit: impl FnMut(Leaf)) {
        // A long record takes longer to clear than a short one to walk.
        if self.n_slots <= SHORT_RECORD {
            self.visit_leaves_with(&mut [0.0; SHORT_RECORD][..self.n_slots], row, visit);
        } else {
            self.visit_leaves_with(&mut [0.0; MAX_COLUMNS][..self.n_slots], row, visit);
        }
    }

    fn visit_leaves_with(&self, record: &mut [f32], row: &[f64], visit: impl FnMut(Leaf)) {
        for ((to, &value), &(centre, scale)) in record.iter_mut().zip(row).zip(&self.frame) {
            *to = map(value, centre, scale);
        }
        match &self.trees {
            Trees::Padded { depth: 8, .. } if self.n_slots == 16 => {
                self.visit_padded::<8, 16>(record, visit);
            }
            Trees::Padded { depth: 8, .. } => self.visit_padded::<8, 0>(record, visit),
            Trees::Padded { depth: 10, .. } => self.visit_padded::<10, 0>(record, visit),
            Trees::Padded { .. } => self.visit_padded::<12, 0>(record, visit),
            Trees::AsTheyAre(_) => {}
        }
    }

    /// `SLOTS` is `n_slots`, or 0 if that isn't known when this is compiled.
    fn add_padded<const DEPTH: u32, const SLOTS: usize, const PENALIZED: bool>(
        &self,
        records: &[f32],
        sums: &mut [f64],
    ) {
        let Trees::Padded {
            splits,
            leaf_values,
            ..
        } = &self.trees
        else {
            return;
        };
        let n_slots = if SLOTS == 0 { self.n_slots } else { SLOTS };
        let mask = (1_usize << DEPTH) - 1;
        let trees = splits
            .chunks_exact(1 << DEPTH)
            .zip(leaf_values.chunks_exact(1 << DEPTH));
        for (splits, leaves) in trees {
            let leaves = &leaves[..1 << DEPTH];
            let rows = records.chunks_exact(LANES * n_slots);
            for (records, sums) in rows.zip(sums.as_chunks_mut::<LANES>().0) {
                let (at, outside) = walk_lanes::<DEPTH, PENALIZED>(splits, records, n_slots);
                for lane in 0..LANES {
                    let penalty = if PENALIZED {
                        f64::from(outside[lane])
                    } else {
                        0.0
                    };
                    sums[lane] += leaves[at[lane] & mask] - penalty;
                }
            }
        }
    }

    fn visit_padded<const DEPTH: u32, const SLOTS: usize>(
        &self,
        record: &[f32],
        mut visit: impl FnMut(Leaf),
    ) {
        let Trees::Padded { splits, .. } = &self.trees else {
            return;
        };
        let n_slots = if SLOTS == 0 { self.n_slots } else { SLOTS };
        let record = &record[..n_slots];
        let mask = (1_usize << DEPTH) - 1;
        let mut first = 0;
        for splits in splits.chunks(LANES << DEPTH) {
            let n_trees = splits.len() >> DEPTH;
            let mut at = [1_usize; LANES];
            let mut outside = [0_u32; LANES];
            for _ in 0..DEPTH {
                for tree in 0..n_trees {
                    let split = &splits[(tree << DEPTH) + (at[tree] & mask)];
                    let projection = split.project(record);
                    at[tree] = 2 * at[tree] + usize::from(projection > split.threshold);
                    outside[tree] += u32::from(split.is_outside(projection));
                }
            }
            for tree in 0..n_trees {
                visit(Leaf {
                    place: first + (at[tree] & mask),
                    n_outside: outside[tree],
                });
                first += 1 << DEPTH;
            }
        }
    }
}

/// Walks [`LANES`] rows down a tree, to the places of their leaves (with a bit above them set), and
/// counts the splits on the way that they are outside of.
#[inline(always)]
fn walk_lanes<const DEPTH: u32, const PENALIZED: bool>(
    splits: &[PaddedSplit],
    records: &[f32],
    n_slots: usize,
) -> ([usize; LANES], [u32; LANES]) {
    let mask = (1_usize << DEPTH) - 1;
    let splits = &splits[..1 << DEPTH];
    let records = &records[..LANES * n_slots];
    let mut at = [1_usize; LANES];
    let mut outside = [0_u32; LANES];
    for _ in 0..DEPTH {
        for lane in 0..LANES {
            let record = &records[lane * n_slots..(lane + 1) * n_slots];
            let split = &splits[at[lane] & mask];
            let projection = split.project(record);
            at[lane] = 2 * at[lane] + usize::from(projection > split.threshold);
            if PENALIZED {
                outside[lane] += u32::from(split.is_outside(projection));
            }
        }
    }
    (at, outside)
}

impl PaddedSplit {
    /// `record` has a power of two of values.
    #[inline(always)]
    fn project(&self, record: &[f32]) -> f32 {
        let mask = record.len() - 1;
        record[self.columns[0] as usize & mask]
            + self.weight * record[self.columns[1] as usize & mask]
    }

    #[inline(always)]
    fn is_outside(&self, projection: f32) -> bool {
        (projection - self.threshold).abs() > self.limit
    }
}

impl Trees {
    /// `None` if the trees are too deep or too far from full to be padded, or their sums too long.
    fn padded(model: &Model, oblique: &ObliqueSplits) -> Option<Self> {
        if oblique.n_terms > 2 {
            return None;
        }
        let depth = padded_depth(model, &DEPTHS)?;
        let mut splits = vec![PaddedSplit::LEFT; model.trees.len() << depth];
        let mut leaf_values = vec![0.0; model.trees.len() << depth];
        let places = splits
            .chunks_exact_mut(1 << depth)
            .zip(leaf_values.chunks_exact_mut(1 << depth));
        let trees = model.trees.iter().zip(model.leaf_values());
        for ((tree, values), (splits, leaves)) in trees.zip(places) {
            pad(oblique, tree, &values, depth, splits, leaves);
        }
        Some(Self::Padded {
            depth,
            penalized: !oblique.limits.is_empty(),
            splits,
            leaf_values,
        })
    }
}

fn pad(
    oblique: &ObliqueSplits,
    tree: &Tree,
    values: &[f64],
    depth: u32,
    splits: &mut [PaddedSplit],
    leaves: &mut [f64],
) {
    super::ranked::for_each_padded(tree, |node_idx, heap_idx| {
        let node = tree.nodes[node_idx];
        if node.is_leaf() {
            leaves[leaf_place(heap_idx, depth)] = values[node_idx];
            return;
        }
        let split = node.split as usize;
        let first = split * oblique.n_terms;
        let last = first + oblique.n_terms - 1;
        splits[heap_idx] = PaddedSplit {
            columns: [oblique.columns[first] as u16, oblique.columns[last] as u16],
            // A single term is its own last: the second must not count.
            weight: if last > first {
                oblique.weights[last]
            } else {
                0.0
            },
            threshold: oblique.thresholds[split],
            limit: oblique.limits.get(split).copied().unwrap_or(f32::INFINITY),
        };
    });
}

/// Sum of the leaf values of a row in the frame, on the model's own nodes.
fn sum_as_they_are(model: &Model, leaf_values: &[Vec<f64>], value: impl Fn(usize) -> f32) -> f64 {
    let crate::model::Splits::Oblique(oblique) = &model.splits else {
        return f64::NAN;
    };
    let mut sum = 0.0;
    for (tree, leaf_values) in model.trees.iter().zip(leaf_values) {
        let mut node_idx = 0;
        let mut penalty = 0.0;
        loop {
            let node = tree.nodes[node_idx];
            if node.is_leaf() {
                break;
            }
            let projection = oblique.project(node.split, &value);
            penalty += f64::from(u8::from(oblique.is_outside(node.split, projection)));
            let right = projection > oblique.thresholds[node.split as usize];
            node_idx = node.left as usize + usize::from(right);
        }
        sum += leaf_values[node_idx] - penalty;
    }
    sum
}
