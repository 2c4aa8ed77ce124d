//! What is known about contributions before any row comes: the credits of steps and of leaves, as
//! [`crate::contributions`] defines them.

use ndarray::ArrayView1;

use crate::forest::IsolationForest;
use crate::kernel::{Leaf, leaf_place};
use crate::math::{exp2_of_negative, ln};
use crate::model::{AxisSplits, Model, ObliqueSplits, Splits};

/// Credits that are known before any row comes. Rows collect them in *slots*: two for each column,
/// too high and too low.
#[derive(Debug, Clone)]
pub(crate) enum Credits {
    /// All slots of each leaf: padded trees with splits along few single columns.
    AllSlots(AllSlots),
    /// The slots of each leaf that aren't 0: padded trees with splits along many single columns.
    SomeSlots(SomeSlots),
    /// The way to each leaf: padded trees with splits along sums, whose credits depend on the row.
    Ways(Ways),
    /// Of each step, as for rows with missing values: trees that aren't padded.
    Steps,
}

/// Slots up to which all of each leaf are kept.
const MAX_ALL_SLOTS: usize = 64;

/// Numbers of all leaves up to which all slots are kept: 64 MiB.
const MAX_NUMBERS: usize = 1 << 24;

/// The slots of all leaves, as many for each.
#[derive(Debug, Clone)]
pub(crate) struct AllSlots {
    /// The leaf at each place of all padded trees.
    leaf_at: Vec<u32>,
    /// Eights of slots of a leaf.
    n_eights: usize,
    eights: Vec<[f32; 8]>,
}

#[derive(Debug, Clone)]
pub(crate) struct SomeSlots {
    /// First part of each place of all padded trees, and the number of parts.
    starts: Vec<u32>,
    /// Slots and credits.
    parts: Vec<(u32, f32)>,
}

#[derive(Debug, Clone)]
pub(crate) struct Ways {
    /// The first part of the way to the leaf at each place of all padded trees.
    first_at: Vec<u32>,
    /// Parts of each way.
    n_parts: usize,
    parts: Vec<Part>,
}

/// Steps in a [`Part`].
const PART_STEPS: usize = 8;

/// Less than any pull that counts.
const TINY: f32 = 1e-30;

/// Steps on the way to a leaf, at splits along sums of two columns. Ways are filled up with steps
/// without credit: doing them costs less than mispredicting where the way ends.
#[derive(Debug, Clone, Copy, Default)]
#[repr(align(64))]
struct Part {
    columns: [[u16; PART_STEPS]; 2],
    /// Weights of the columns, negated for a step to the left.
    weights: [[f32; PART_STEPS]; 2],
    credits: [f32; PART_STEPS],
}

#[derive(Debug, Clone)]
pub(crate) struct StepCredits {
    /// `ln(n / m)` of going left and right, split by split.
    of_split: Vec<[f64; 2]>,
    /// What ends a walk, by node, tree by tree.
    leaf_values: Vec<Vec<f64>>,
}

impl Credits {
    pub(crate) fn new(forest: &IsolationForest) -> Self {
        let model = forest.model();
        let steps = forest.step_credits();
        match (&model.splits, forest.kernel().padded_depth()) {
            (Splits::Axis(axis), Some(depth)) => {
                let sparse = SomeSlots::new(model, axis, steps, depth);
                let n_leaves = (model.splits.len() + model.trees.len()).saturating_mul(2);
                if 2 * model.n_features <= MAX_ALL_SLOTS
                    && n_leaves.saturating_mul(model.n_features) <= MAX_NUMBERS
                {
                    Self::AllSlots(AllSlots::new(&sparse, 2 * model.n_features))
                } else {
                    Self::SomeSlots(sparse)
                }
            }
            (Splits::Oblique(oblique), Some(depth)) => {
                Self::Ways(Ways::new(model, oblique, steps, depth))
            }
            (_, None) => Self::Steps,
        }
    }

    /// Adds the credits of the leaf at a place of all padded trees, which the row reached outside of
    /// so many splits. `framed` is the row in the frame, if splits are along sums.
    #[inline]
    pub(crate) fn add_leaf(&self, leaf: Leaf, framed: FramedRow<'_>, slots: &mut [f32]) {
        match self {
            Self::AllSlots(credits) => credits.add(leaf.place, slots),
            Self::SomeSlots(credits) => credits.add(leaf.place, slots),
            Self::Ways(ways) => ways.add(leaf, framed, slots),
            Self::Steps => {}
        }
    }
}

/// What a tree counts whose walk ended with `value`: 2^-value, within what sums of `f32` can hold.
fn tree_weight(value: f64) -> f64 {
    let magnitude = exp2_of_negative(value.abs().min(60.0));
    if value < 0.0 {
        1.0 / magnitude
    } else {
        magnitude
    }
}

/// Calls `visit` with the place of each leaf among those of all padded trees, in order, its weight
/// over the sum of the credits on the way (0 if there are none), and the way: splits, whether the step
/// went right, and credits.
fn for_each_leaf(
    model: &Model,
    steps: &StepCredits,
    depth: u32,
    mut visit: impl FnMut(usize, f64, &[(u32, bool, f64)]),
) {
    let mut way = Vec::new();
    for (tree_idx, tree) in model.trees.iter().enumerate() {
        let values = &steps.leaf_values[tree_idx];
        // Depth first, left before right: leaves come in the order of their places.
        let mut pending = vec![(0, 1_usize)];
        while let Some((node_idx, heap_idx)) = pending.pop() {
            let node = tree.nodes[node_idx];
            if node_idx > 0 {
                // Children 2 k + 1 and 2 k + 2 belong to the k-th inner node of the tree, and splits
                // are numbered alike.
                let split = tree.nodes[0].split + (node_idx as u32 - 1) / 2;
                let right = node_idx % 2 == 0;
                way.truncate(heap_idx.ilog2() as usize - 1);
                way.push((
                    split,
                    right,
                    steps.of_split[split as usize][usize::from(right)],
                ));
            } else {
                way.clear();
            }
            if !node.is_leaf() {
                let left = node.left as usize;
                pending.push((left + 1, 2 * heap_idx + 1));
                pending.push((left, 2 * heap_idx));
                continue;
            }
            let place = leaf_place(heap_idx, depth);
            let sum: f64 = way.iter().map(|(_, _, credit)| credit).sum();
            let scale = if sum > 0.0 {
                tree_weight(values[node_idx]) / sum
            } else {
                0.0
            };
            visit((tree_idx << depth) + place, scale, &way);
        }
    }
}

impl SomeSlots {
    fn new(model: &Model, axis: &AxisSplits, steps: &StepCredits, depth: u32) -> Self {
        let n_places = model.trees.len() << depth;
        let mut starts = Vec::with_capacity(n_places + 1);
        let mut parts: Vec<(u32, f32)> = Vec::new();
        for_each_leaf(model, steps, depth, |place, scale, way| {
            starts.resize(place + 1, parts.len() as u32);
            let first = parts.len();
            for &(split, right, credit) in way {
                let slot = 2 * axis.split(split).0 + u32::from(!right);
                let credit = (credit * scale) as f32;
                match parts[first..].iter_mut().find(|part| part.0 == slot) {
                    Some(part) => part.1 += credit,
                    None => parts.push((slot, credit)),
                }
            }
        });
        starts.resize(n_places + 1, parts.len() as u32);
        Self { starts, parts }
    }

    fn of(&self, place: usize) -> &[(u32, f32)] {
        &self.parts[self.starts[place] as usize..self.starts[place + 1] as usize]
    }

    #[inline]
    fn add(&self, place: usize, slots: &mut [f32]) {
        for &(slot, credit) in self.of(place) {
            slots[slot as usize] += credit;
        }
    }
}

impl AllSlots {
    fn new(sparse: &SomeSlots, n_slots: usize) -> Self {
        let n_eights = n_slots.div_ceil(8);
        // The first leaf has no credits, as have the places where no leaf is.
        let mut eights = vec![[0.0; 8]; n_eights];
        let leaf_at = (0..sparse.starts.len() - 1).map(|place| {
            let parts = sparse.of(place);
            if parts.is_empty() {
                return 0;
            }
            let first = eights.len();
            eights.resize(first + n_eights, [0.0; 8]);
            for &(slot, credit) in parts {
                eights[first + slot as usize / 8][slot as usize % 8] = credit;
            }
            (first / n_eights) as u32
        });
        Self {
            leaf_at: leaf_at.collect(),
            n_eights,
            eights,
        }
    }

    /// `slots` are filled up to a power of two, and at least 8.
    #[inline]
    fn add(&self, place: usize, slots: &mut [f32]) {
        let first = self.leaf_at[place] as usize * self.n_eights;
        let credits = &self.eights[first..first + self.n_eights];
        for (slots, credits) in slots.as_chunks_mut::<8>().0.iter_mut().zip(credits) {
            // All eight are read before one is written: then one instruction can add them.
            *slots = std::array::from_fn(|slot| slots[slot] + credits[slot]);
        }
    }
}

impl Ways {
    fn new(model: &Model, oblique: &ObliqueSplits, credits: &StepCredits, depth: u32) -> Self {
        let n_parts = (depth as usize).div_ceil(PART_STEPS);
        let mut ways = Self {
            // Where no leaf is, and at leaves without credits, is the way of no steps.
            first_at: vec![0; model.trees.len() << depth],
            n_parts,
            parts: vec![Part::default(); n_parts],
        };
        for_each_leaf(model, credits, depth, |place, scale, way| {
            let first = ways.parts.len();
            ways.first_at[place] = first as u32;
            ways.parts.resize(first + n_parts, Part::default());
            for (idx, &(split, right, credit)) in way.iter().enumerate() {
                let (columns, weights) = oblique.terms(split);
                let last = columns.len() - 1;
                let direction = if right { 1.0 } else { -1.0 };
                let (part, step) = (&mut ways.parts[first + idx / PART_STEPS], idx % PART_STEPS);
                part.columns[0][step] = columns[0] as u16;
                part.columns[1][step] = columns[last] as u16;
                part.weights[0][step] = direction;
                part.weights[1][step] = if last > 0 {
                    direction * weights[last]
                } else {
                    0.0
                };
                part.credits[step] = (credit * scale) as f32;
            }
        });
        ways
    }

    #[inline]
    fn add(&self, leaf: Leaf, row: FramedRow<'_>, slots: &mut [f32]) {
        // Splits that don't count make the path shorter.
        let factor = (1_u64 << leaf.n_outside) as f32;
        let first = self.first_at[leaf.place] as usize;
        let parts = &self.parts[first..first + self.n_parts];
        // Known lengths make masks constants.
        if let (Ok(values), Ok(slot_of), Ok(slots)) = (
            <&[f32; 16]>::try_from(row.values),
            <&[u32; 16]>::try_from(row.slots),
            <&mut [f32; 32]>::try_from(&mut *slots),
        ) {
            add_parts(parts, factor, values, slot_of, slots);
        } else {
            add_parts(parts, factor, row.values, row.slots, slots);
        }
    }
}

/// Adds the credits of a way. Lengths are powers of two: masked, an index needs no bounds check.
#[inline(always)]
fn add_parts(parts: &[Part], factor: f32, values: &[f32], slot_of: &[u32], slots: &mut [f32]) {
    if values.is_empty() || slot_of.len() != values.len() || slots.is_empty() {
        return;
    }
    let column_mask = values.len() - 1;
    let slot_mask = slots.len() - 1;
    for part in parts {
        let mut given = [[0.0_f32; PART_STEPS]; 2];
        for step in 0..PART_STEPS {
            let pull = |term: usize| {
                let value = values[part.columns[term][step] as usize & column_mask];
                let pull = part.weights[term][step] * value;
                // x + |x| is 2 x where x is positive, else 0, without a branch, which would often be
                // mispredicted. Where no column pulls, both get half.
                pull + pull.abs() + TINY
            };
            let (first, second) = (pull(0), pull(1));
            let credit = part.credits[step] * factor;
            given[0][step] = credit * (first / (first + second));
            given[1][step] = credit - given[0][step];
        }
        for (columns, given) in part.columns.iter().zip(given) {
            for (&column, given) in columns.iter().zip(given) {
                let slot = slot_of[column as usize & column_mask];
                slots[slot as usize & slot_mask] += given;
            }
        }
    }
}

/// A row in the frame, filled up to a power of two of columns; empty if splits are not along sums.
#[derive(Debug, Clone, Copy)]
pub(crate) struct FramedRow<'a> {
    values: &'a [f32],
    /// The slot of each column that its value speaks for: too high from the mean on, too low below.
    slots: &'a [u32],
}

/// Rows in the frame.
#[derive(Debug, Default)]
pub(crate) struct FramedRows {
    /// Columns of a row, filled up.
    n_columns: usize,
    values: Vec<f32>,
    slots: Vec<u32>,
}

impl FramedRows {
    /// Takes over `rows`, if splits are along sums.
    pub(crate) fn fill<'a>(
        &mut self,
        model: &Model,
        rows: impl Iterator<Item = ArrayView1<'a, f64>>,
    ) {
        let Splits::Oblique(oblique) = &model.splits else {
            return;
        };
        self.n_columns = model.n_features.next_power_of_two();
        self.values.clear();
        self.slots.clear();
        for (row_idx, row) in rows.enumerate() {
            for (column, &value) in row.iter().enumerate() {
                let value = oblique.frame.map(column, value);
                self.values.push(value);
                self.slots.push(2 * column as u32 + u32::from(value < 0.0));
            }
            self.values.resize((row_idx + 1) * self.n_columns, 0.0);
            self.slots.resize((row_idx + 1) * self.n_columns, 0);
        }
    }

    pub(crate) fn row(&self, row: usize) -> FramedRow<'_> {
        let values = row * self.n_columns..(row + 1) * self.n_columns;
        FramedRow {
            values: &self.values[values.clone()],
            slots: &self.slots[values],
        }
    }
}

impl StepCredits {
    pub(crate) fn new(model: &Model) -> Self {
        let mut of_split = vec![[0.0; 2]; model.splits.len()];
        for tree in &model.trees {
            for node in tree.nodes.iter().filter(|node| !node.is_leaf()) {
                let left = node.left as usize;
                let credit =
                    |child: usize| ln(f64::from(node.n_rows) / f64::from(tree.nodes[child].n_rows));
                of_split[node.split as usize] = [credit(left), credit(left + 1)];
            }
        }
        Self {
            of_split,
            leaf_values: model.leaf_values().collect(),
        }
    }

    /// Adds the credits of a row to `slots`, going both ways where a value is missing.
    pub(crate) fn add_row(&self, model: &Model, row: &[f64], slots: &mut [f32]) {
        let mut way = Vec::new();
        let mut pending = Vec::new();
        for (tree, leaf_values) in model.trees.iter().zip(&self.leaf_values) {
            // Nodes that the row reaches with some probability, the splits before that don't count,
            // and how much of the way leads there.
            pending.push((0, 1.0, 0.0, 0));
            while let Some((mut node_idx, probability, mut penalty, way_len)) = pending.pop() {
                way.truncate(way_len);
                loop {
                    let node = tree.nodes[node_idx];
                    if node.is_leaf() {
                        let sum: f64 = way.iter().map(|(_, credit)| credit).sum();
                        let weight = tree_weight(leaf_values[node_idx] - penalty);
                        let scale = if sum > 0.0 {
                            probability * weight / sum
                        } else {
                            0.0
                        };
                        for &(slot, credit) in &way {
                            slots[slot as usize] += (credit * scale) as f32;
                        }
                        break;
                    }
                    let left = node.left as usize;
                    let Some(side) = model.side(node.split, row) else {
                        let share = f64::from(tree.nodes[left].n_rows) / f64::from(node.n_rows);
                        let (low, high) = (probability * share, probability * (1.0 - share));
                        pending.push((left + 1, high, penalty, way.len()));
                        pending.push((left, low, penalty, way.len()));
                        break;
                    };
                    penalty += f64::from(u8::from(side.outside));
                    let credit = self.of_split[node.split as usize][usize::from(side.right)];
                    match &model.splits {
                        Splits::Axis(axis) => {
                            let slot = 2 * axis.split(node.split).0 + u32::from(!side.right);
                            way.push((slot, credit));
                        }
                        Splits::Oblique(oblique) => {
                            share_out(oblique, node.split, side.right, credit, row, &mut way);
                        }
                    }
                    node_idx = left + usize::from(side.right);
                }
            }
        }
    }
}

/// Shares the credit of a step out among the columns of its sum.
fn share_out(
    oblique: &ObliqueSplits,
    split: u32,
    right: bool,
    credit: f64,
    row: &[f64],
    way: &mut Vec<(u32, f64)>,
) {
    let (columns, weights) = oblique.terms(split);
    let framed = |column: u32| oblique.frame.map(column as usize, row[column as usize]);
    let n_used = weights.iter().filter(|&&weight| weight != 0.0).count();
    let direction = if right { 1.0 } else { -1.0 };
    let pull = |column: u32, weight: f32| direction * f64::from(weight * framed(column));
    let terms = || {
        columns
            .iter()
            .zip(weights)
            .map(|(&column, &weight)| (column, weight))
    };
    let pulled: f64 = terms()
        .map(|(column, weight)| pull(column, weight).max(0.0))
        .sum();
    for (column, weight) in terms().filter(|&(_, weight)| weight != 0.0) {
        let share = if pulled > 0.0 {
            pull(column, weight).max(0.0) / pulled
        } else {
            1.0 / n_used as f64
        };
        let low = framed(column) < 0.0;
        way.push((2 * column + u32::from(low), credit * share));
    }
}
