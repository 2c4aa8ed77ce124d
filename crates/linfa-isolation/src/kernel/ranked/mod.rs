//! Walks down trees that split along single columns, on ranks instead of values.
//!
//! `x > threshold` is the same as "more of the column's thresholds lie below `x` than lie below
//! `threshold`". So each value is ranked once among the thresholds of its column, exactly, and all
//! trees compare ranks. Column and rank of a split fit into one small integer, its *code*: a tree of
//! 255 splits takes 512 bytes, and comparing codes of one column compares ranks.
//!
//! Trees are padded to full depth: the children of node `i` are `2 i` and `2 i + 1`, the root is 1, so
//! a step needs no link and no leaf test. Below an early leaf lie splits that send every row left, down
//! to the place that holds the leaf's value.
//!
//! Where one integer can't tell apart all thresholds of the forest, its trees are parted into groups,
//! each with ranks of its own.

#[cfg(target_arch = "x86_64")]
mod avx2;
#[cfg(target_arch = "x86_64")]
mod avx512;
#[cfg(target_arch = "aarch64")]
mod neon;
#[cfg(any(target_arch = "x86_64", target_arch = "aarch64"))]
mod planes;
mod rank;

use super::{Block, Leaf, Simd, padded_depth};
use crate::model::{AxisSplits, Model, Tree};
use rank::Ranker;

/// Rows, or trees for a single row, that walk together.
const LANES: usize = 16;

/// Levels that trees are padded to.
const DEPTHS: [u32; 3] = [8, 10, 12];

/// Trees beyond the last that leaves are kept for: vectors take trees four by four.
const EXTRA_TREES: usize = 3;

/// Codes of a row at least.
const LEAST_SLOTS: usize = 16;

/// Columns that 16-bit codes are used up to.
const MAX_NARROW_COLUMNS: usize = 256;

/// Columns that 32-bit codes are used up to.
const MAX_WIDE_COLUMNS: usize = 4096;

/// Column and rank of a split, or of a value, in one integer: the column in the upper bits.
pub(super) trait Code: Copy + Ord + Default + Send + Sync + std::fmt::Debug {
    const BITS: u32;
    /// The code of a split that sends every row left.
    const LEFT: Self;
    /// `column << shift | rank`, which must fit.
    fn new(column: usize, shift: u32, rank: usize) -> Self;
    /// The column, given the number of rank bits.
    fn column(self, shift: u32) -> usize;
}

macro_rules! impl_code {
    ($type:ty) => {
        impl Code for $type {
            const BITS: u32 = <$type>::BITS;
            const LEFT: Self = <$type>::MAX;

            #[inline(always)]
            fn new(column: usize, shift: u32, rank: usize) -> Self {
                (column << shift | rank) as $type
            }

            #[inline(always)]
            fn column(self, shift: u32) -> usize {
                (self >> shift) as usize
            }
        }
    };
}
impl_code!(u16);
impl_code!(u32);

/// See the [module's documentation](self).
#[derive(Debug, Clone)]
pub(super) enum RankedKernel {
    /// Codes of 16 bits.
    Narrow(Ranked<u16>),
    /// Codes of 32 bits: deep trees and wide tables.
    Wide(Ranked<u32>),
}

/// Memory that is reused from block to block.
#[derive(Debug, Default)]
pub(super) struct Scratch {
    narrow: Vec<u16>,
    wide: Vec<u32>,
    #[cfg(target_arch = "x86_64")]
    registers: Vec<avx512::Register>,
    #[cfg(any(target_arch = "x86_64", target_arch = "aarch64"))]
    columns: Vec<planes::Column>,
}

impl RankedKernel {
    /// `None` if the trees are too deep or too far from full to be padded, or the columns too many.
    pub(super) fn new(model: &Model, axis: &AxisSplits, simd: Simd) -> Option<Self> {
        let depth = padded_depth(model, &DEPTHS)?;
        let n_columns = axis.columns.len();
        if n_columns > MAX_WIDE_COLUMNS {
            return None;
        }
        if n_columns <= MAX_NARROW_COLUMNS
            && let Some(mut ranked) = Ranked::new(model, axis, depth)
        {
            #[cfg(target_arch = "x86_64")]
            ranked.vectorize(simd);
            #[cfg(any(target_arch = "x86_64", target_arch = "aarch64"))]
            ranked.part_into_planes(simd);
            #[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
            let _ = (&mut ranked, simd);
            return Some(Self::Narrow(ranked));
        }
        Ranked::new(model, axis, depth).map(Self::Wide)
    }

    pub(super) fn add(&self, block: &Block, scratch: &mut Scratch, sums: &mut [f64]) {
        match self {
            Self::Narrow(ranked) => {
                #[cfg(target_arch = "x86_64")]
                if ranked.add_by_vectors(block, &mut scratch.registers, sums) {
                    return;
                }
                #[cfg(any(target_arch = "x86_64", target_arch = "aarch64"))]
                if ranked.add_by_planes(block, &mut scratch.columns, sums) {
                    return;
                }
                match ranked.n_slots {
                    16 => ranked.add::<16>(block, &mut scratch.narrow, sums),
                    // 0: known only when it runs.
                    _ => ranked.add::<0>(block, &mut scratch.narrow, sums),
                }
            }
            Self::Wide(ranked) => ranked.add::<0>(block, &mut scratch.wide, sums),
        }
    }

    pub(super) fn sum_of_one(&self, row: &[f64]) -> f64 {
        let mut sum = 0.0;
        #[cfg(target_arch = "x86_64")]
        if let Self::Narrow(ranked) = self
            && ranked.visit_leaves_by_vectors(row, |place| sum += ranked.leaf_values[place])
        {
            return sum;
        }
        self.visit_leaves(row, |leaf| sum += self.leaf_value(leaf));
        sum
    }

    /// See [`Kernel::visit_leaves`](super::Kernel::visit_leaves).
    #[inline]
    pub(super) fn visit_leaves(&self, row: &[f64], mut visit: impl FnMut(Leaf)) {
        let mut visit = |place| {
            visit(Leaf {
                place,
                n_outside: 0,
            });
        };
        match self {
            Self::Narrow(ranked) => {
                #[cfg(target_arch = "x86_64")]
                if ranked.visit_leaves_by_vectors(row, &mut visit) {
                    return;
                }
                ranked.visit_leaves(row, &mut [0; MAX_NARROW_COLUMNS], visit);
            }
            Self::Wide(ranked) => ranked.visit_leaves(row, &mut [0; MAX_WIDE_COLUMNS], visit),
        }
    }

    /// Places of the leaves: for each tree, of each row.
    pub(super) fn find_leaves(&self, block: &Block, scratch: &mut Scratch, places: &mut [u16]) {
        match self {
            Self::Narrow(ranked) => {
                #[cfg(target_arch = "x86_64")]
                if ranked.find_leaves_by_vectors(block, &mut scratch.registers, places) {
                    return;
                }
                ranked.find_leaves(block, &mut scratch.narrow, places);
            }
            Self::Wide(ranked) => ranked.find_leaves(block, &mut scratch.wide, places),
        }
    }

    #[inline]
    pub(super) fn leaf_value(&self, leaf: Leaf) -> f64 {
        match self {
            Self::Narrow(ranked) => ranked.leaf_values[leaf.place],
            Self::Wide(ranked) => ranked.leaf_values[leaf.place],
        }
    }

    pub(super) fn depth(&self) -> u32 {
        match self {
            Self::Narrow(ranked) => ranked.depth,
            Self::Wide(ranked) => ranked.depth,
        }
    }
}

#[derive(Debug, Clone)]
pub(super) struct Ranked<C> {
    /// Levels of each tree.
    depth: u32,
    /// Bits of a rank; the bits above are the column.
    shift: u32,
    /// Codes of a row: a power of two, at least the number of columns.
    n_slots: usize,
    groups: Vec<Group<C>>,
    /// 2^depth values of each tree, and of [`EXTRA_TREES`] more.
    leaf_values: Vec<f64>,
    /// For vector instructions, if they are used.
    #[cfg(target_arch = "x86_64")]
    avx512: Option<avx512::Forest>,
    #[cfg(any(target_arch = "x86_64", target_arch = "aarch64"))]
    planes: Option<planes::Forest>,
}

/// Trees that share ranks.
#[derive(Debug, Clone)]
struct Group<C> {
    first_tree: usize,
    /// Columns that are split on, and their rankers. A code's column is the position here.
    rankers: Vec<(usize, Ranker)>,
    /// 2^depth codes of each tree; the first of each is unused.
    codes: Vec<C>,
}

impl<C: Code> Ranked<C> {
    /// `None` if the codes can't even tell apart the thresholds of each single tree.
    fn new(model: &Model, axis: &AxisSplits, depth: u32) -> Option<Self> {
        let n_slots = axis.columns.len().next_power_of_two().max(LEAST_SLOTS);
        let shift = C::BITS - n_slots.ilog2();
        let mut grouping = Grouping::new(axis, (1 << shift) - 1);
        let mut groups: Vec<Group<C>> = Vec::new();
        let mut first_tree = 0;
        let one_by_one = if grouping.take_all() {
            &[]
        } else {
            model.trees.as_slice()
        };
        for (tree_idx, tree) in one_by_one.iter().enumerate() {
            if grouping.take(tree) {
                continue;
            }
            let taken = &model.trees[first_tree..tree_idx];
            groups.push(grouping.finish(taken, first_tree, depth, shift));
            first_tree = tree_idx;
            if !grouping.take(tree) {
                return None;
            }
        }
        groups.push(grouping.finish(&model.trees[first_tree..], first_tree, depth, shift));

        let mut leaf_values = vec![0.0; (model.trees.len() + EXTRA_TREES) << depth];
        let places = leaf_values.chunks_exact_mut(1 << depth);
        for ((tree, values), places) in model.trees.iter().zip(model.leaf_values()).zip(places) {
            for_each_padded(tree, |node_idx, heap_idx| {
                if tree.nodes[node_idx].is_leaf() {
                    places[leaf_place(heap_idx, depth)] = values[node_idx];
                }
            });
        }
        Some(Self {
            depth,
            shift,
            n_slots,
            groups,
            leaf_values,
            #[cfg(target_arch = "x86_64")]
            avx512: None,
            #[cfg(any(target_arch = "x86_64", target_arch = "aarch64"))]
            planes: None,
        })
    }

    fn leaves(&self, tree: usize) -> &[f64] {
        &self.leaf_values[tree << self.depth..(tree + 1) << self.depth]
    }

    /// `SLOTS` is `n_slots`, or 0 if that isn't known when this is compiled.
    fn add<const SLOTS: usize>(&self, block: &Block, records: &mut Vec<C>, sums: &mut [f64]) {
        match self.depth {
            8 => self.add_at_depth::<SLOTS, 8>(block, records, sums),
            10 => self.add_at_depth::<SLOTS, 10>(block, records, sums),
            _ => self.add_at_depth::<SLOTS, 12>(block, records, sums),
        }
    }

    fn add_at_depth<const SLOTS: usize, const DEPTH: u32>(
        &self,
        block: &Block,
        records: &mut Vec<C>,
        sums: &mut [f64],
    ) {
        let n_slots = if SLOTS == 0 { self.n_slots } else { SLOTS };
        let shift = C::BITS - n_slots.ilog2();
        for group in &self.groups {
            self.fill_records(group, block, records);
            for (tree, codes) in group.codes.chunks_exact(1 << DEPTH).enumerate() {
                let leaves = &self.leaves(group.first_tree + tree)[..1 << DEPTH];
                let rows = records.chunks_exact(LANES * n_slots);
                for (records, sums) in rows.zip(sums.as_chunks_mut::<LANES>().0) {
                    let places = walk_lanes::<C, DEPTH>(codes, records, n_slots, shift);
                    for (sum, place) in sums.iter_mut().zip(places) {
                        *sum += leaves[place & ((1 << DEPTH) - 1)];
                    }
                }
            }
        }
    }

    fn fill_records(&self, group: &Group<C>, block: &Block, records: &mut Vec<C>) {
        records.clear();
        records.resize(block.padded_rows * self.n_slots, C::default());
        for (column, (feature, ranker)) in group.rankers.iter().enumerate() {
            ranker.rank_all(block.column(*feature), |row, rank| {
                records[row * self.n_slots + column] = C::new(column, self.shift, rank);
            });
        }
    }

    /// Places of the leaves: for each tree, of each row.
    fn find_leaves(&self, block: &Block, records: &mut Vec<C>, places: &mut [u16]) {
        let mask = (1 << self.depth) - 1;
        for group in &self.groups {
            self.fill_records(group, block, records);
            let of_trees = places[group.first_tree * block.padded_rows..]
                .chunks_exact_mut(block.padded_rows)
                .zip(group.codes.chunks_exact(1 << self.depth));
            for (places, codes) in of_trees {
                let rows = records.chunks_exact(LANES * self.n_slots);
                for (records, places) in rows.zip(places.as_chunks_mut::<LANES>().0) {
                    let walk = match self.depth {
                        8 => walk_lanes::<C, 8>,
                        10 => walk_lanes::<C, 10>,
                        _ => walk_lanes::<C, 12>,
                    };
                    *places = walk(codes, records, self.n_slots, self.shift)
                        .map(|place| (place & mask) as u16);
                }
            }
        }
    }

    /// Calls `visit` with the place of the row's leaf among the leaves of all trees, tree by tree.
    /// `record` has room for the codes of a row. [`LANES`] trees are walked together, as their walks
    /// don't wait for each other.
    fn visit_leaves(&self, row: &[f64], record: &mut [C], mut visit: impl FnMut(usize)) {
        for group in &self.groups {
            for (column, (feature, ranker)) in group.rankers.iter().enumerate() {
                record[column] = C::new(column, self.shift, ranker.rank(row[*feature]));
            }
            match (self.n_slots, self.depth) {
                (16, 8) => self.visit_group::<8>(group, &record[..16], 16, &mut visit),
                (n_slots, 8) => self.visit_group::<8>(group, record, n_slots, &mut visit),
                (n_slots, 10) => self.visit_group::<10>(group, record, n_slots, &mut visit),
                (n_slots, _) => self.visit_group::<12>(group, record, n_slots, &mut visit),
            }
        }
    }

    #[inline(always)]
    fn visit_group<const DEPTH: u32>(
        &self,
        group: &Group<C>,
        record: &[C],
        n_slots: usize,
        visit: &mut impl FnMut(usize),
    ) {
        let record = &record[..n_slots];
        let shift = C::BITS - n_slots.ilog2();
        let mask = (1_usize << DEPTH) - 1;
        let mut first = group.first_tree << DEPTH;
        for trees in group.codes.chunks(LANES << DEPTH) {
            let n_trees = trees.len() >> DEPTH;
            let mut at = [1_usize; LANES];
            if n_trees == LANES {
                let trees = &trees[..LANES << DEPTH];
                for _ in 0..DEPTH {
                    for (lane, at) in at.iter_mut().enumerate() {
                        let code = trees[(lane << DEPTH) + (*at & mask)];
                        let value = record[code.column(shift) & (n_slots - 1)];
                        *at = 2 * *at + usize::from(value > code);
                    }
                }
            } else {
                for (codes, at) in trees.chunks_exact(1 << DEPTH).zip(&mut at) {
                    for _ in 0..DEPTH {
                        let code = codes[*at & mask];
                        let value = record[code.column(shift) & (n_slots - 1)];
                        *at = 2 * *at + usize::from(value > code);
                    }
                }
            }
            for &at in &at[..n_trees] {
                visit(first + (at & mask));
                first += 1 << DEPTH;
            }
        }
    }
}

/// Walks [`LANES`] rows down a tree, level by level, to the places of their leaves (with a bit above
/// them set). Every index is masked to the length of its table, so none needs a bounds check.
#[inline(always)]
fn walk_lanes<C: Code, const DEPTH: u32>(
    codes: &[C],
    records: &[C],
    n_slots: usize,
    shift: u32,
) -> [usize; LANES] {
    let mask = (1_usize << DEPTH) - 1;
    let codes = &codes[..1 << DEPTH];
    let records = &records[..LANES * n_slots];
    let mut at = [1_usize; LANES];
    for _ in 0..DEPTH {
        for (lane, at) in at.iter_mut().enumerate() {
            let code = codes[*at & mask];
            let value = records[lane * n_slots + (code.column(shift) & (n_slots - 1))];
            *at = 2 * *at + usize::from(value > code);
        }
    }
    at
}

/// Calls `visit` with each node of a tree and its place in the padded tree.
pub(super) fn for_each_padded(tree: &Tree, mut visit: impl FnMut(usize, usize)) {
    let mut pending = vec![(0, 1)];
    while let Some((node_idx, heap_idx)) = pending.pop() {
        visit(node_idx, heap_idx);
        let node = tree.nodes[node_idx];
        if !node.is_leaf() {
            let left = node.left as usize;
            pending.push((left, 2 * heap_idx));
            pending.push((left + 1, 2 * heap_idx + 1));
        }
    }
}

/// Where walks end that come by a leaf: the leftmost place below it.
pub(crate) fn leaf_place(heap_idx: usize, depth: u32) -> usize {
    (heap_idx << (depth - heap_idx.ilog2())) & ((1 << depth) - 1)
}

/// Collects trees until their thresholds exceed the ranks.
struct Grouping<'a> {
    axis: &'a AxisSplits,
    /// The position of each cut's column among those that are split on.
    place_of_cut: Vec<u32>,
    /// Most cuts of a column.
    capacity: usize,
    n_groups: u32,
    /// The group, counted from 1, that each cut was last used in.
    used_in: Vec<u32>,
    /// The cuts of this group.
    cuts: Vec<u32>,
    /// Cuts of each column in this group.
    counts: Vec<usize>,
    /// Ranks of the cuts of the group that was last finished.
    rank_of_cut: Vec<u32>,
}

impl<'a> Grouping<'a> {
    fn new(axis: &'a AxisSplits, capacity: usize) -> Self {
        let places = axis.cuts_by_column().enumerate();
        Self {
            axis,
            place_of_cut: places
                .flat_map(|(place, cuts)| cuts.map(move |_| place as u32))
                .collect(),
            capacity,
            n_groups: 1,
            used_in: vec![0; axis.cuts.len()],
            cuts: Vec::new(),
            counts: vec![0; axis.columns.len()],
            rank_of_cut: vec![0; axis.cuts.len()],
        }
    }

    /// Takes all trees, if there is room for all cuts of each column.
    fn take_all(&mut self) -> bool {
        let mut columns = self.axis.cuts_by_column();
        let fits = columns.all(|cuts| cuts.len() <= self.capacity);
        if fits {
            self.cuts.extend(0..self.axis.cuts.len() as u32);
        }
        fits
    }

    /// Takes a tree into the group unless it has no room.
    fn take(&mut self, tree: &Tree) -> bool {
        let n_before = self.cuts.len();
        let mut fits = true;
        for node in tree.nodes.iter().filter(|node| !node.is_leaf()) {
            let cut = self.axis.cut_of_split[node.split as usize];
            if self.used_in[cut as usize] == self.n_groups {
                continue;
            }
            self.used_in[cut as usize] = self.n_groups;
            self.cuts.push(cut);
            let count = &mut self.counts[self.place_of_cut[cut as usize] as usize];
            *count += 1;
            fits &= *count <= self.capacity;
        }
        if !fits {
            for cut in self.cuts.drain(n_before..) {
                self.used_in[cut as usize] = 0;
                self.counts[self.place_of_cut[cut as usize] as usize] -= 1;
            }
        }
        fits
    }

    /// The group of the trees taken; begins the next.
    fn finish<C: Code>(
        &mut self,
        trees: &[Tree],
        first_tree: usize,
        depth: u32,
        shift: u32,
    ) -> Group<C> {
        // Cuts are numbered by column and threshold.
        self.cuts.sort_unstable();
        let same_column =
            |a: &u32, b: &u32| self.place_of_cut[*a as usize] == self.place_of_cut[*b as usize];
        let mut rankers = vec![None; self.axis.columns.len()];
        for cuts in self.cuts.chunk_by(same_column) {
            for (rank, &cut) in cuts.iter().enumerate() {
                self.rank_of_cut[cut as usize] = rank as u32;
            }
            let thresholds = cuts.iter().map(|&cut| self.axis.cuts[cut as usize]);
            let place = self.place_of_cut[cuts[0] as usize] as usize;
            rankers[place] = Some(Ranker::new(thresholds.collect()));
        }
        let columns = self.axis.columns.iter().map(|&column| column as usize);
        let rankers = rankers
            .into_iter()
            .map(|ranker| ranker.unwrap_or_else(|| Ranker::new(Vec::new())));
        let mut codes = vec![C::LEFT; trees.len() << depth];
        for (tree, codes) in trees.iter().zip(codes.chunks_exact_mut(1 << depth)) {
            for_each_padded(tree, |node_idx, heap_idx| {
                let node = tree.nodes[node_idx];
                if !node.is_leaf() {
                    let cut = self.axis.cut_of_split[node.split as usize] as usize;
                    let column = self.place_of_cut[cut] as usize;
                    codes[heap_idx] = C::new(column, shift, self.rank_of_cut[cut] as usize);
                }
            });
        }
        let group = Group {
            first_tree,
            rankers: columns.zip(rankers).collect(),
            codes,
        };
        self.n_groups += 1;
        self.cuts.clear();
        self.counts.fill(0);
        group
    }
}
