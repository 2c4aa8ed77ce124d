//! [`super::ObliqueKernel`] with AVX-512: 16 rows walk down a tree in the lanes of a register.
//!
//! On the upper three levels all seven splits are evaluated, for all rows, with plain loads; below, a
//! level's splits are looked up in registers by permutation, as are the rows' values in up to 16
//! columns. More columns are gathered from memory.

#![allow(unsafe_code)]

use std::arch::x86_64::*;

use super::{Block, PaddedSplit, Trees};
use crate::frame::map;

/// Rows in a register.
const ROWS: usize = 16;

/// Levels of a tree.
const DEPTH: u32 = 8;

/// Levels on which all splits are evaluated.
const TOP: usize = 3;

/// Registers of rows that walk at the same time.
const REGISTERS: usize = 2;

/// Most columns whose values are looked up in registers.
const MAX_IN_REGISTERS: usize = 16;

/// First register of each level below the top in a [`Table`].
const LEVEL_STARTS: [usize; 5] = [0, 1, 2, 4, 8];

/// What fits into a register.
#[derive(Debug, Clone, Copy, Default)]
#[repr(C, align(64))]
struct Register([u32; ROWS]);

impl Register {
    #[inline]
    #[target_feature(enable = "avx512f")]
    fn load(&self) -> __m512i {
        // SAFETY: 64 readable bytes, aligned to 64.
        unsafe { _mm512_load_si512(self.0.as_ptr().cast()) }
    }

    #[inline]
    #[target_feature(enable = "avx512f")]
    fn load_ps(&self) -> __m512 {
        _mm512_castsi512_ps(self.load())
    }

    #[inline]
    #[target_feature(enable = "avx512f")]
    fn store(value: __m512i) -> Self {
        let mut register = Self::default();
        // SAFETY: 64 writable bytes, aligned to 64.
        unsafe { _mm512_store_si512(register.0.as_mut_ptr().cast(), value) };
        register
    }
}

/// A number of each split below the top, level by level.
type Table = [Register; 16];

/// A padded tree.
#[derive(Debug, Clone)]
struct Tree {
    /// The splits of the top, as in a padded tree; the first is unused.
    top: [PaddedSplit; 1 << TOP],
    /// Columns: the first from bit 4 on, the second from bit 20 on, so that a lane's number can stand
    /// below.
    columns: Table,
    weights: Table,
    thresholds: Table,
    limits: Table,
}

impl Tree {
    fn new(splits: &[PaddedSplit]) -> Self {
        let mut tree = Self {
            top: std::array::from_fn(|idx| splits[idx]),
            columns: Table::default(),
            weights: Table::default(),
            thresholds: Table::default(),
            limits: Table::default(),
        };
        for level in TOP..DEPTH as usize {
            let width = 1 << level;
            for (idx, split) in splits[width..2 * width].iter().enumerate() {
                let (register, lane) = (LEVEL_STARTS[level - TOP] + idx / ROWS, idx % ROWS);
                let columns = split.columns.map(u32::from);
                tree.columns[register].0[lane] = columns[0] << 4 | columns[1] << 20;
                tree.weights[register].0[lane] = split.weight.to_bits();
                tree.thresholds[register].0[lane] = split.threshold.to_bits();
                tree.limits[register].0[lane] = split.limit.to_bits();
            }
        }
        tree
    }
}

/// The trees of a forest.
#[derive(Debug, Clone)]
pub(super) struct Forest {
    trees: Vec<Tree>,
    n_slots: usize,
    /// Columns, of which the slots beyond are unused.
    n_columns: usize,
    penalized: bool,
}

/// Memory that is reused from block to block.
#[derive(Debug, Default)]
pub(super) struct Scratch {
    records: Vec<Register>,
    places: Vec<Register>,
    outside: Vec<Register>,
}

impl Forest {
    /// `None` if the trees are not padded to [`DEPTH`]. Only for processors with AVX-512.
    pub(super) fn new(trees: &Trees, n_columns: usize, n_slots: usize) -> Option<Self> {
        match trees {
            Trees::Padded {
                depth: DEPTH,
                penalized,
                splits,
                ..
            } => Some(Self {
                trees: splits.chunks_exact(1 << DEPTH).map(Tree::new).collect(),
                n_slots,
                n_columns,
                penalized: *penalized,
            }),
            Trees::Padded { .. } | Trees::AsTheyAre(_) => None,
        }
    }

    /// `leaf_values` are 2^[`DEPTH`] of each tree, `frame` is centre and scale of each column.
    pub(super) fn add(
        &self,
        frame: &[(f64, f64)],
        leaf_values: &[f64],
        block: &Block,
        scratch: &mut Scratch,
        sums: &mut [f64],
    ) {
        let penalized = self.penalized;
        let leaf_values = leaf_values.chunks_exact(1 << DEPTH);
        self.walk_trees(
            frame,
            block,
            scratch,
            leaf_values,
            |leaves, places, outside| {
                let leaves = &leaves[..1 << DEPTH];
                let ends = places.iter().zip(outside.iter());
                for ((places, outside), sums) in ends.zip(sums.as_chunks_mut::<ROWS>().0) {
                    for (row, sum) in sums.iter_mut().enumerate() {
                        let leaf = leaves[places.0[row] as usize & ((1 << DEPTH) - 1)];
                        let penalty = if penalized {
                            f64::from(outside.0[row])
                        } else {
                            0.0
                        };
                        *sum += leaf - penalty;
                    }
                }
            },
        );
    }

    /// Places of the leaves, and the splits on the way that rows are outside of: for each tree, of each
    /// row.
    pub(super) fn find_leaves(
        &self,
        frame: &[(f64, f64)],
        block: &Block,
        scratch: &mut Scratch,
        places: &mut [u16],
        outside: &mut [u16],
    ) {
        let ends = places
            .chunks_exact_mut(block.padded_rows)
            .zip(outside.chunks_exact_mut(block.padded_rows));
        self.walk_trees(
            frame,
            block,
            scratch,
            ends,
            |(places, outside), found, out| {
                for (place, found) in places
                    .iter_mut()
                    .zip(found.iter().flat_map(|found| found.0))
                {
                    *place = found as u16;
                }
                for (outside, out) in outside.iter_mut().zip(out.iter().flat_map(|out| out.0)) {
                    *outside = out as u16;
                }
            },
        );
    }

    /// Walks the block down each tree; gives `finish` the tree's item of `of_trees`, the places of the
    /// rows' leaves and the splits that they are outside of.
    fn walk_trees<T>(
        &self,
        frame: &[(f64, f64)],
        block: &Block,
        scratch: &mut Scratch,
        of_trees: impl Iterator<Item = T>,
        mut finish: impl FnMut(T, &[Register], &[Register]),
    ) {
        let n_registers = block.padded_rows / ROWS;
        let Scratch {
            records,
            places,
            outside,
        } = scratch;
        records.clear();
        records.resize(n_registers * self.n_slots, Register::default());
        for (feature, (column, &(centre, scale))) in block.columns().zip(frame).enumerate() {
            for (group, values) in column.as_chunks::<ROWS>().0.iter().enumerate() {
                let record = &mut records[group * self.n_slots + feature];
                record.0 = values.map(|value| map(value, centre, scale).to_bits());
            }
        }
        places.resize(n_registers, Register::default());
        outside.resize(n_registers, Register::default());
        // SAFETY: a forest is only made for processors that have AVX-512.
        let walk_all = |tree, places: &mut [Register], outside: &mut [Register]| unsafe {
            match (self.n_columns.div_ceil(2), self.penalized) {
                (0..=2, false) => self.walk_all::<2, false>(tree, records, places, outside),
                (3..=4, false) => self.walk_all::<4, false>(tree, records, places, outside),
                (5, false) => self.walk_all::<5, false>(tree, records, places, outside),
                (6, false) => self.walk_all::<6, false>(tree, records, places, outside),
                (7..=8, false) => self.walk_all::<8, false>(tree, records, places, outside),
                (_, false) => self.walk_all::<0, false>(tree, records, places, outside),
                (0..=2, true) => self.walk_all::<2, true>(tree, records, places, outside),
                (3..=4, true) => self.walk_all::<4, true>(tree, records, places, outside),
                (5, true) => self.walk_all::<5, true>(tree, records, places, outside),
                (6, true) => self.walk_all::<6, true>(tree, records, places, outside),
                (7..=8, true) => self.walk_all::<8, true>(tree, records, places, outside),
                (_, true) => self.walk_all::<0, true>(tree, records, places, outside),
            }
        };
        for (tree, of_tree) in self.trees.iter().zip(of_trees) {
            walk_all(tree, places, outside);
            finish(of_tree, places, outside);
        }
    }

    /// `PAIRS` is half the number of columns whose values are looked up in registers, or 0 if they
    /// are gathered.
    #[target_feature(enable = "avx512f,avx512bw")]
    fn walk_all<const PAIRS: usize, const PENALIZED: bool>(
        &self,
        tree: &Tree,
        records: &[Register],
        places: &mut [Register],
        outside: &mut [Register],
    ) {
        let rows = records.chunks_exact(REGISTERS * self.n_slots);
        let ends = places
            .as_chunks_mut::<REGISTERS>()
            .0
            .iter_mut()
            .zip(outside.as_chunks_mut::<REGISTERS>().0);
        for (records, (places, outside)) in rows.zip(ends) {
            let mut of_register = records.chunks_exact(self.n_slots);
            let records = std::array::from_fn(|_| of_register.next().unwrap_or(records));
            (*places, *outside) = walk::<PAIRS, PENALIZED>(tree, records);
        }
    }
}

/// Walks the rows down a tree. Returns the places of their leaves, and how many splits on the way
/// they were outside of.
#[inline]
#[target_feature(enable = "avx512f,avx512bw")]
fn walk<const PAIRS: usize, const PENALIZED: bool>(
    tree: &Tree,
    records: [&[Register]; REGISTERS],
) -> ([Register; REGISTERS], [Register; REGISTERS]) {
    let one = _mm512_set1_epi32(1);
    let mut at = [_mm512_setzero_si512(); REGISTERS];
    let mut outside = [_mm512_setzero_si512(); REGISTERS];
    for ((record, at), outside) in records.iter().zip(&mut at).zip(&mut outside) {
        let side = |idx: usize| evaluate::<PENALIZED>(&tree.top[idx], record);
        let [(right_1, out_1), (right_2, out_2), (right_3, out_3)] = [side(1), side(2), side(3)];
        let [(right_4, out_4), (right_5, out_5)] = [side(4), side(5)];
        let [(right_6, out_6), (right_7, out_7)] = [side(6), side(7)];
        let pick = |mask: __mmask16, low: __mmask16, high: __mmask16| mask & high | !mask & low;
        let level_1 = pick(right_1, right_2, right_3);
        let level_2 = pick(
            right_1,
            pick(level_1, right_4, right_5),
            pick(level_1, right_6, right_7),
        );
        *at = _mm512_maskz_mov_epi32(right_1, _mm512_set1_epi32(4));
        *at = _mm512_mask_add_epi32(*at, level_1, *at, _mm512_set1_epi32(2));
        *at = _mm512_mask_add_epi32(*at, level_2, *at, one);
        if PENALIZED {
            let out_on_1 = pick(right_1, out_2, out_3);
            let out_on_2 = pick(
                right_1,
                pick(level_1, out_4, out_5),
                pick(level_1, out_6, out_7),
            );
            *outside = _mm512_maskz_mov_epi32(out_1, one);
            *outside = _mm512_mask_add_epi32(*outside, out_on_1, *outside, one);
            *outside = _mm512_mask_add_epi32(*outside, out_on_2, *outside, one);
        }
    }
    for level in TOP..DEPTH as usize {
        for ((record, at), outside) in records.iter().zip(&mut at).zip(&mut outside) {
            let columns = look_up(&tree.columns, level, *at);
            let weight = _mm512_castsi512_ps(look_up(&tree.weights, level, *at));
            let threshold = _mm512_castsi512_ps(look_up(&tree.thresholds, level, *at));
            let first = select::<PAIRS>(columns, record);
            let second = select::<PAIRS>(_mm512_srli_epi32::<16>(columns), record);
            let projection = _mm512_add_ps(first, _mm512_mul_ps(weight, second));
            let right = _mm512_cmp_ps_mask::<_CMP_GT_OQ>(projection, threshold);
            if PENALIZED {
                let limit = _mm512_castsi512_ps(look_up(&tree.limits, level, *at));
                let distance = _mm512_abs_ps(_mm512_sub_ps(projection, threshold));
                let out = _mm512_cmp_ps_mask::<_CMP_GT_OQ>(distance, limit);
                *outside = _mm512_mask_add_epi32(*outside, out, *outside, one);
            }
            let left_child = _mm512_add_epi32(*at, *at);
            *at = _mm512_mask_add_epi32(left_child, right, left_child, one);
        }
    }
    (
        at.map(|at| Register::store(at)),
        outside.map(|outside| Register::store(outside)),
    )
}

/// Which rows go right at a split, and which are outside of its training range.
#[inline]
#[target_feature(enable = "avx512f,avx512bw")]
fn evaluate<const PENALIZED: bool>(
    split: &PaddedSplit,
    record: &[Register],
) -> (__mmask16, __mmask16) {
    let [first, second] = split
        .columns
        .map(|column| record[column as usize].load_ps());
    let projection = _mm512_add_ps(first, _mm512_mul_ps(_mm512_set1_ps(split.weight), second));
    let threshold = _mm512_set1_ps(split.threshold);
    let right = _mm512_cmp_ps_mask::<_CMP_GT_OQ>(projection, threshold);
    if !PENALIZED {
        return (right, 0);
    }
    let distance = _mm512_abs_ps(_mm512_sub_ps(projection, threshold));
    let out = _mm512_cmp_ps_mask::<_CMP_GT_OQ>(distance, _mm512_set1_ps(split.limit));
    (right, out)
}

/// The number of each lane's split on `level`, of which the table has 8 to 128.
#[inline]
#[target_feature(enable = "avx512f,avx512bw")]
fn look_up(table: &Table, level: usize, at: __m512i) -> __m512i {
    let register = |idx: usize| table[LEVEL_STARTS[level - TOP] + idx].load();
    let pair = |first: usize| _mm512_permutex2var_epi32(register(first), at, register(first + 1));
    let four = |first: usize| {
        let upper = _mm512_test_epi32_mask(at, _mm512_set1_epi32(32));
        _mm512_mask_blend_epi32(upper, pair(first), pair(first + 2))
    };
    match level {
        3 | 4 => _mm512_permutexvar_epi32(at, register(0)),
        5 => pair(0),
        6 => four(0),
        _ => {
            let upper = _mm512_test_epi32_mask(at, _mm512_set1_epi32(64));
            _mm512_mask_blend_epi32(upper, four(0), four(4))
        }
    }
}

/// The value of each lane's row in the column that stands in bits 4 to 15 of `columns`.
#[inline]
#[target_feature(enable = "avx512f,avx512bw")]
fn select<const PAIRS: usize>(columns: __m512i, record: &[Register]) -> __m512 {
    let lane = _mm512_set_epi32(15, 14, 13, 12, 11, 10, 9, 8, 7, 6, 5, 4, 3, 2, 1, 0);
    if PAIRS == 0 {
        let columns = _mm512_and_si512(columns, _mm512_set1_epi32(0xffff));
        let idx = _mm512_or_si512(columns, lane);
        // SAFETY: the columns of all splits are within the record, of which each holds 16 values.
        return unsafe { _mm512_i32gather_ps::<4>(idx, record.as_ptr().cast()) };
    }
    let idx = _mm512_or_si512(columns, lane);
    let mut values = [_mm512_setzero_ps(); MAX_IN_REGISTERS / 2];
    for (pair, value) in values.iter_mut().take(PAIRS).enumerate() {
        let (low, high) = (record[2 * pair].load_ps(), record[2 * pair + 1].load_ps());
        *value = _mm512_permutex2var_ps(low, idx, high);
    }
    // The upper bits of the column say which pair.
    let mut n_left = PAIRS;
    let mut bit = 1 << 5;
    while n_left > 1 {
        let upper = _mm512_test_epi32_mask(columns, _mm512_set1_epi32(bit));
        for idx in 0..n_left / 2 {
            values[idx] = _mm512_mask_blend_ps(upper, values[2 * idx], values[2 * idx + 1]);
        }
        if n_left % 2 == 1 {
            values[n_left / 2] = values[n_left - 1];
        }
        n_left = n_left.div_ceil(2);
        bit <<= 1;
    }
    values[0]
}
