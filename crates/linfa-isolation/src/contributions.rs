//! Which columns made a row's score, and in which direction.
//!
//! In each tree, a step from a node of `n` training rows to a child of `m` is credited with
//! `ln(n / m)`: how surprising it is to go that way. The credits of a path sum to
//! `ln(sample size / rows in the leaf)`; divided by that, they are shares of the tree's verdict, one
//! for each split on the way. A split along one column gives its share to that column, as too high if
//! the row went right, too low if left. In forests that split along sums, it goes to the columns that
//! pulled the row to its side, in proportion to their terms (as distances from the mean), and is for
//! too high if the value is above the mean.
//!
//! A tree that isolates the row early has found something, one that takes long has not: a tree counts
//! `2^(-h)`, where `h` is what its leaf says (by default the path length). The weighted mean of the
//! trees' shares, times the score, is what [`IsolationForest::contributions`] returns: no part is
//! negative, and together they are the score.
//!
//! Published attributions for isolation forests go the same way with other weights: DIFFI (Carletti,
//! Terzi, Susto, 2020, arXiv 2007.11117) weights by `1 / h` and scales by how uneven a split is; the
//! split into too high and too low is that of AWS's random cut forests.

use ndarray::{Array1, Array2, ArrayView1, ArrayView2, Axis};
use rayon::prelude::*;

use crate::error::{Error, Result};
use crate::finite::require_allowed;
use crate::forest::IsolationForest;
use crate::kernel::{Leaf, Scratch, leaf_place};
use crate::math::{exp2_of_negative, ln};
use crate::model::{AxisSplits, Model, ObliqueSplits, Splits};
use crate::params::Missing;

/// Rows that one rayon task takes.
const TASK_ROWS: usize = 1024;

/// Scores with the columns' parts in them.
#[derive(Debug, Clone, PartialEq)]
pub struct Contributions {
    /// The scores, n_samples long, as [`IsolationForest::score_samples`] gives them.
    pub scores: Array1<f64>,
    /// What each column contributed by being too high, shape (n_samples, n_features), not negative.
    pub too_high: Array2<f64>,
    /// What each column contributed by being too low, shape (n_samples, n_features), not negative.
    pub too_low: Array2<f64>,
}

impl Contributions {
    /// What each column contributed, shape (n_samples, n_features). A row's sum is its score, up to
    /// rounding.
    #[must_use]
    pub fn total(&self) -> Array2<f64> {
        &self.too_high + &self.too_low
    }
}

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
    fn new(forest: &IsolationForest) -> Self {
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
    fn add_leaf(&self, leaf: Leaf, framed: FramedRow<'_>, slots: &mut [f32]) {
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
struct FramedRow<'a> {
    values: &'a [f32],
    /// The slot of each column that its value speaks for: too high from the mean on, too low below.
    slots: &'a [u32],
}

/// Rows in the frame.
#[derive(Debug, Default)]
struct FramedRows {
    /// Columns of a row, filled up.
    n_columns: usize,
    values: Vec<f32>,
    slots: Vec<u32>,
}

impl FramedRows {
    /// Takes over `rows`, if splits are along sums.
    fn fill<'a>(&mut self, model: &Model, rows: impl Iterator<Item = ArrayView1<'a, f64>>) {
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

    fn row(&self, row: usize) -> FramedRow<'_> {
        let values = row * self.n_columns..(row + 1) * self.n_columns;
        FramedRow {
            values: &self.values[values.clone()],
            slots: &self.slots[values],
        }
    }
}

impl StepCredits {
    fn new(model: &Model) -> Self {
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
    fn add_row(&self, model: &Model, row: &[f64], slots: &mut [f32]) {
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

impl IsolationForest {
    /// Scores of `records`, shape (n_samples, n_features), with each column's part in them and the
    /// direction of it. A row's parts sum to its score, up to rounding. See
    /// [`Contributions`] for the shapes.
    ///
    /// ```
    /// use linfa::ParamGuard;
    /// use linfa_isolation::IsolationForest;
    /// use ndarray::Array2;
    ///
    /// let records = Array2::from_shape_fn((400, 3), |(i, j)| ((i * (7 + 4 * j)) % 101) as f64);
    /// let forest = IsolationForest::params(1).check()?.fit_view(records.view())?;
    /// let suspect = ndarray::array![[50.0, -300.0, 50.0]];
    /// let why = forest.contributions(suspect.view())?;
    /// assert!(why.too_low[[0, 1]] > 0.5 * why.scores[0], "{why:?}");
    /// assert!((why.total().sum() - why.scores[0]).abs() < 1e-12);
    /// # Ok::<(), linfa_isolation::Error>(())
    /// ```
    ///
    /// # Errors
    ///
    /// As [`score_samples`](Self::score_samples).
    pub fn contributions(&self, records: ArrayView2<'_, f64>) -> Result<Contributions> {
        let (n_samples, n_features) = records.dim();
        self.require_n_features(n_features)?;
        require_allowed(&records, 0, self.missing() == Missing::BothWays)?;
        let mut scores = Array1::zeros(n_samples);
        let mut too_high = Array2::zeros((n_samples, n_features));
        let mut too_low = Array2::zeros((n_samples, n_features));
        let tasks = records
            .axis_chunks_iter(Axis(0), TASK_ROWS)
            .into_par_iter()
            .zip(scores.axis_chunks_iter_mut(Axis(0), TASK_ROWS))
            .zip(too_high.axis_chunks_iter_mut(Axis(0), TASK_ROWS))
            .zip(too_low.axis_chunks_iter_mut(Axis(0), TASK_ROWS));
        tasks.for_each_init(
            || (Scratch::default(), SlotScratch::default()),
            |(scratch, slots), (((rows, mut scores), mut too_high), mut too_low)| {
                self.each_row_of_slots(&rows, scratch, slots, |row, sum, slots| {
                    scores[row] = self.score_of_sum(sum);
                    let mut high = too_high.row_mut(row);
                    let mut low = too_low.row_mut(row);
                    share_score(scores[row], slots, |column, parts| {
                        (high[column], low[column]) = parts;
                    });
                });
            },
        );
        Ok(Contributions {
            scores,
            too_high,
            too_low,
        })
    }

    /// [`contributions`](Self::contributions) of one row, into buffers of `n_features` places; returns
    /// the score.
    ///
    /// # Errors
    ///
    /// As [`score_one`](Self::score_one); buffers of another length are refused, too.
    pub fn contributions_one(
        &self,
        row: &[f64],
        too_high: &mut [f64],
        too_low: &mut [f64],
    ) -> Result<f64> {
        for actual in [too_high.len(), too_low.len()] {
            if actual != self.n_features() {
                return Err(Error::WrongOutputLength {
                    expected: self.n_features(),
                    actual,
                });
            }
        }
        let score = self.score_one(row)?;
        let mut slots = vec![0.0; padded_slots(row.len())];
        self.add_slots_of_one(row, &mut slots);
        share_score(score, &slots[..2 * row.len()], |column, (high, low)| {
            too_high[column] = high;
            too_low[column] = low;
        });
        Ok(score)
    }

    /// Calls `visit` with each row of `rows`, whose values are known to be allowed, the sum of its leaf
    /// values and its slots.
    fn each_row_of_slots(
        &self,
        rows: &ArrayView2<'_, f64>,
        scratch: &mut Scratch,
        slots: &mut SlotScratch,
        mut visit: impl FnMut(usize, f64, &[f32]),
    ) {
        let n_slots = 2 * self.n_features();
        let stride = padded_slots(self.n_features());
        let SlotScratch {
            slots,
            sums,
            framed,
        } = slots;
        let (kernel, credits) = (self.kernel(), self.credits());
        if let Credits::Steps = credits {
            for (row, values) in rows.rows().into_iter().enumerate() {
                let values = values.to_vec();
                slots.clear();
                slots.resize(stride, 0.0);
                self.add_slots_of_one(&values, slots);
                let sum = kernel.sum_of_one(self.model(), &values);
                visit(row, sum, &slots[..n_slots]);
            }
            return;
        }
        kernel.each_block_of_leaves(self.model(), rows, scratch, |first, rows, leaves| {
            slots.clear();
            slots.resize(rows.nrows() * stride, 0.0);
            sums.clear();
            sums.resize(rows.nrows(), 0.0);
            framed.fill(self.model(), rows.rows().into_iter());
            // Tree by tree: the credits of a tree fit into the first-level cache.
            for tree in leaves.trees() {
                let ends = sums.iter_mut().zip(slots.chunks_exact_mut(stride));
                for (row, (leaf, (sum, slots))) in tree.zip(ends).enumerate() {
                    *sum += kernel.leaf_value(leaf);
                    credits.add_leaf(leaf, framed.row(row), slots);
                }
            }
            let may_miss = self.missing() == Missing::BothWays;
            let ends = sums.iter_mut().zip(slots.chunks_exact_mut(stride));
            for (row, (values, (sum, slots))) in rows.rows().into_iter().zip(ends).enumerate() {
                if may_miss && values.iter().any(|value| value.is_nan()) {
                    let values = values.to_vec();
                    slots.fill(0.0);
                    self.add_slots_of_one(&values, slots);
                    *sum = kernel.sum_of_one(self.model(), &values);
                }
                visit(first + row, *sum, &slots[..n_slots]);
            }
        });
    }

    /// Adds the credits of one row to slots filled up to a power of two.
    fn add_slots_of_one(&self, row: &[f64], slots: &mut [f32]) {
        match self.credits() {
            Credits::Steps => self.step_credits().add_row(self.model(), row, slots),
            _ if row.iter().any(|value| value.is_nan()) => {
                self.step_credits().add_row(self.model(), row, slots);
            }
            credits => {
                let mut framed = FramedRows::default();
                framed.fill(self.model(), std::iter::once(ArrayView1::from(row)));
                self.kernel()
                    .visit_leaves(row, |leaf| credits.add_leaf(leaf, framed.row(0), slots));
            }
        }
    }

    fn step_credits(&self) -> &StepCredits {
        let (_, steps) = self.credits_cells();
        steps.get_or_init(|| StepCredits::new(self.model()))
    }

    fn credits(&self) -> &Credits {
        self.credits_cells().0.get_or_init(|| Credits::new(self))
    }
}

/// Memory that is reused from block to block.
#[derive(Debug, Default)]
struct SlotScratch {
    /// Of each row.
    slots: Vec<f32>,
    /// Sums of leaf values.
    sums: Vec<f64>,
    framed: FramedRows,
}

/// Slots for `n_features` columns, filled up to a power of two, and at least 8.
fn padded_slots(n_features: usize) -> usize {
    (2 * n_features).next_power_of_two().max(8)
}

/// Shares `score` out in proportion to `slots`; evenly if nothing speaks for any column.
fn share_score(score: f64, slots: &[f32], mut keep: impl FnMut(usize, (f64, f64))) {
    let sum: f64 = slots.iter().map(|&slot| f64::from(slot)).sum();
    let even = score / slots.len() as f64;
    let scale = score / sum;
    for (column, parts) in slots.as_chunks::<2>().0.iter().enumerate() {
        let part = |slot: usize| {
            if sum > 0.0 {
                scale * f64::from(parts[slot])
            } else {
                even
            }
        };
        keep(column, (part(0), part(1)));
    }
}
