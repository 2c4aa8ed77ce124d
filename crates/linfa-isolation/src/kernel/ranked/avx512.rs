//! [`super::Ranked`] with AVX-512: 8 rows walk down 4 trees in the 32 lanes of a register.
//!
//! On the upper eight levels, no step loads from memory by an index. The splits of a level of four
//! trees are 4, 8, … 512 codes, which permutations look up in registers; so are the 8 rows' codes of
//! up to 64 columns. Walking four trees at once is the best balance: the fewer the rows of a register,
//! the less permuting it takes to find a row's code, but the more to find a split. Deeper levels and
//! more columns are gathered from memory.

#![allow(unsafe_code)]

use std::arch::x86_64::*;

use super::{Block, Group, Ranked, Simd};

/// Trees in a register.
const TREES: usize = 4;

/// Rows in a register.
const ROWS: usize = 8;

/// Levels that are looked up in registers.
const TOP: u32 = 8;

/// Registers of rows that walk at the same time: their steps don't wait for each other, and share
/// what is loaded of the trees.
const REGISTERS: usize = 4;

/// First register of each level in a [`Quad`].
const LEVEL_STARTS: [usize; 8] = [0, 1, 2, 3, 4, 6, 10, 18];

/// What fits into a register.
#[derive(Debug, Clone, Copy, Default)]
#[repr(C, align(64))]
pub(super) struct Register([u16; 32]);

impl Register {
    #[inline]
    #[target_feature(enable = "avx512f")]
    fn load(&self) -> __m512i {
        // SAFETY: 64 readable bytes, aligned to 64.
        unsafe { _mm512_load_si512(self.0.as_ptr().cast()) }
    }
}

/// The splits of four trees: level by level, tree by tree within a level.
#[derive(Debug, Clone)]
struct Quad {
    /// Of the upper levels. The roots are repeated for each row; other levels fill up their last
    /// register with anything.
    top: [Register; 34],
    /// Of the deeper levels.
    deep: Vec<u16>,
}

/// Trees that a single row walks down together, one in each lane.
const BUNCH_TREES: usize = 32;

/// Levels that a single row walks down with vectors.
const BUNCH_DEPTH: u32 = 5;

/// The splits of 32 trees on their upper levels: a register for each place, of which the first is
/// unused.
#[derive(Debug, Clone)]
struct Bunch([Register; 1 << BUNCH_DEPTH]);

/// The trees of a forest: four by four for many rows, 32 by 32 for one.
#[derive(Debug, Clone)]
pub(super) struct Forest {
    /// Of each group of trees with common ranks.
    groups: Vec<Vec<Quad>>,
    /// Likewise; none if a row's codes don't fit into a register.
    bunches: Vec<Vec<Bunch>>,
}

impl Ranked<u16> {
    /// Prepares for AVX-512 if `simd` says so.
    pub(super) fn vectorize(&mut self, simd: Simd) {
        if simd == Simd::Avx512 {
            let groups = self.groups.iter().map(|group| {
                let quads = group.codes.chunks(TREES << self.depth);
                quads.map(|codes| Quad::new(codes, self.depth)).collect()
            });
            let bunches = self.groups.iter().map(|group| {
                let bunches = group.codes.chunks(BUNCH_TREES << self.depth);
                bunches.map(|codes| Bunch::new(codes, self.depth)).collect()
            });
            self.avx512 = Some(Forest {
                groups: groups.collect(),
                bunches: if self.n_slots <= 32 {
                    bunches.collect()
                } else {
                    Vec::new()
                },
            });
        }
    }

    /// `false` if AVX-512 isn't used.
    pub(super) fn add_by_vectors(
        &self,
        block: &Block,
        scratch: &mut Vec<Register>,
        sums: &mut [f64],
    ) -> bool {
        self.walk_by_vectors(block, scratch, |first_tree, n_trees, places| {
            // There are leaves of three trees beyond the last.
            let leaves = &self.leaf_values[first_tree << self.depth..][..TREES << self.depth];
            match n_trees {
                1 => add_leaves::<1>(leaves, places, sums),
                2 => add_leaves::<2>(leaves, places, sums),
                3 => add_leaves::<3>(leaves, places, sums),
                _ => add_leaves::<4>(leaves, places, sums),
            }
        })
    }

    /// Places of the leaves: for each tree, of each row. `false` if AVX-512 isn't used.
    pub(super) fn find_leaves_by_vectors(
        &self,
        block: &Block,
        scratch: &mut Vec<Register>,
        places: &mut [u16],
    ) -> bool {
        let mask = (1 << self.depth) - 1;
        self.walk_by_vectors(block, scratch, |first_tree, n_trees, found| {
            let of_trees =
                places[first_tree * block.padded_rows..].chunks_exact_mut(block.padded_rows);
            for (tree, places) in of_trees.take(n_trees).enumerate() {
                for (places, found) in places.as_chunks_mut::<ROWS>().0.iter_mut().zip(found) {
                    *places = found.0.as_chunks::<ROWS>().0[tree].map(|place| place & mask);
                }
            }
        })
    }

    /// Walks the block down four trees at a time. Gives `finish` the first tree, the number of trees,
    /// and for each 8 rows the places of their leaves among those of the four trees, tree by tree.
    /// `false` if AVX-512 isn't used.
    fn walk_by_vectors(
        &self,
        block: &Block,
        scratch: &mut Vec<Register>,
        mut finish: impl FnMut(usize, usize, &[Register]),
    ) -> bool {
        let Some(forest) = &self.avx512 else {
            return false;
        };
        let n_registers = block.padded_rows / ROWS;
        let stride = self.n_slots / TREES;
        scratch.clear();
        scratch.resize(n_registers * (stride + 1), Register::default());
        let (places, records) = scratch.split_at_mut(n_registers);
        for (group, quads) in self.groups.iter().zip(&forest.groups) {
            // SAFETY: the forest was prepared for AVX-512, so the processor has it:
            // `Simd::is_available` is asked before a forest uses it.
            unsafe { self.fill_records_avx512(group, block, records) };
            let n_trees = group.codes.len() >> self.depth;
            for (quad_idx, quad) in quads.iter().enumerate() {
                // SAFETY: as above.
                unsafe {
                    match self.n_slots {
                        16 => walk_all::<4>(quad, self.depth, self.shift, stride, records, places),
                        32 => walk_all::<8>(quad, self.depth, self.shift, stride, records, places),
                        64 => walk_all::<16>(quad, self.depth, self.shift, stride, records, places),
                        _ => walk_all::<0>(quad, self.depth, self.shift, stride, records, places),
                    }
                }
                let first = quad_idx * TREES;
                finish(group.first_tree + first, TREES.min(n_trees - first), places);
            }
        }
        true
    }

    /// Calls `visit` with the place of the row's leaf among the leaves of all trees, tree by tree.
    /// `false` if AVX-512 isn't used.
    #[inline(always)]
    pub(super) fn visit_leaves_by_vectors(
        &self,
        row: &[f64],
        mut visit: impl FnMut(usize),
    ) -> bool {
        let Some(forest) = self
            .avx512
            .as_ref()
            .filter(|forest| !forest.bunches.is_empty())
        else {
            return false;
        };
        for (group, bunches) in self.groups.iter().zip(&forest.bunches) {
            let mut record = Register::default();
            for (column, (feature, ranker)) in group.rankers.iter().enumerate() {
                let bits = (column << self.shift) as u16;
                record.0[column] = bits | ranker.rank(row[*feature]) as u16;
            }
            let mask = (1_usize << self.depth) - 1;
            let mut first = group.first_tree << self.depth;
            let trees = group.codes.chunks(BUNCH_TREES << self.depth);
            for (bunch, codes) in bunches.iter().zip(trees) {
                // SAFETY: the forest was prepared for AVX-512, so the processor has it.
                let mut at = unsafe { walk_bunch(bunch, self.shift, &record) };
                let at = &mut at.0[..codes.len() >> self.depth];
                // Plain loads are faster than gathers for so few.
                let (eights, rest) = at.as_chunks_mut::<8>();
                let (codes_of_eights, codes_of_rest) =
                    codes.split_at((eights.len() * 8) << self.depth);
                for (at, codes) in eights
                    .iter_mut()
                    .zip(codes_of_eights.chunks_exact(8 << self.depth))
                {
                    match self.depth {
                        8 => descend::<8, 8>(codes, self.shift, &record, at),
                        10 => descend::<10, 8>(codes, self.shift, &record, at),
                        _ => descend::<12, 8>(codes, self.shift, &record, at),
                    }
                }
                for (at, codes) in rest
                    .iter_mut()
                    .zip(codes_of_rest.chunks_exact(1 << self.depth))
                {
                    let at = std::array::from_mut(at);
                    match self.depth {
                        8 => descend::<8, 1>(codes, self.shift, &record, at),
                        10 => descend::<10, 1>(codes, self.shift, &record, at),
                        _ => descend::<12, 1>(codes, self.shift, &record, at),
                    }
                }
                for &at in at.iter() {
                    visit(first + (usize::from(at) & mask));
                    first += mask + 1;
                }
            }
        }
        true
    }

    /// Fills in a register for each four columns of each 8 rows.
    #[target_feature(enable = "avx512f,avx512bw,popcnt")]
    fn fill_records_avx512(&self, group: &Group<u16>, block: &Block, records: &mut [Register]) {
        let stride = self.n_slots / TREES;
        for (column, (feature, ranker)) in group.rankers.iter().enumerate() {
            let bits = (column << self.shift) as u16;
            let place = column % TREES * ROWS;
            ranker.rank_all_avx512(block.column(*feature), |record, ranks| {
                let codes = &mut records[record * stride + column / TREES].0[place..place + ROWS];
                for (code, rank) in codes.iter_mut().zip(ranks) {
                    *code = bits | rank;
                }
            });
        }
    }
}

impl Bunch {
    /// `codes` are those of up to 32 padded trees; missing ones send the row left.
    fn new(codes: &[u16], depth: u32) -> Self {
        let mut bunch = Self([Register([u16::MAX; BUNCH_TREES]); 1 << BUNCH_DEPTH]);
        for (tree, codes) in codes.chunks_exact(1 << depth).enumerate() {
            for (register, &code) in bunch.0.iter_mut().zip(codes) {
                register.0[tree] = code;
            }
        }
        bunch
    }
}

/// Walks one row down the lower levels of `N_TREES` trees.
#[inline(always)]
fn descend<const DEPTH: u32, const N_TREES: usize>(
    codes: &[u16],
    shift: u32,
    record: &Register,
    at: &mut [u16; N_TREES],
) {
    let codes = &codes[..N_TREES << DEPTH];
    let mask = (1 << DEPTH) - 1;
    let mut nodes = at.map(usize::from);
    for _ in BUNCH_DEPTH..DEPTH {
        for (tree, node) in nodes.iter_mut().enumerate() {
            let code = codes[(tree << DEPTH) + (*node & mask)];
            let value = record.0[usize::from(code >> shift) % BUNCH_TREES];
            *node = 2 * *node + usize::from(value > code);
        }
    }
    *at = nodes.map(|node| node as u16);
}

/// Walks one row down the upper levels of 32 trees, to the nodes below (counted as in padded trees).
#[target_feature(enable = "avx512f,avx512bw")]
fn walk_bunch(bunch: &Bunch, shift: u32, record: &Register) -> Register {
    let record = record.load();
    let shift = _mm_cvtsi32_si128(shift as i32);
    let goes_right = |code: __m512i| {
        let value = _mm512_permutexvar_epi16(_mm512_srl_epi16(code, shift), record);
        _mm512_cmpgt_epu16_mask(value, code)
    };
    let (_, rest) = bunch.0.split_at(1);
    let first = goes_right(rest[0].load());
    let second = goes_right(splits_at::<2>(&rest[1..], &[first]));
    let third = goes_right(splits_at::<4>(&rest[3..], &[first, second]));
    let fourth = goes_right(splits_at::<8>(&rest[7..], &[first, second, third]));
    let fifth = goes_right(splits_at::<16>(
        &rest[15..],
        &[first, second, third, fourth],
    ));
    let mut at = _mm512_set1_epi16(1);
    for step in [first, second, third, fourth, fifth] {
        at = _mm512_add_epi16(at, at);
        at = _mm512_mask_add_epi16(at, step, at, _mm512_set1_epi16(1));
    }
    let mut nodes = Register::default();
    // SAFETY: 64 writable bytes, aligned to 64.
    unsafe { _mm512_store_si512(nodes.0.as_mut_ptr().cast(), at) };
    nodes
}

/// The splits of a level, of `WIDTH` registers, that the trees are at after `steps`: the last step
/// chooses between neighbours, the one before between pairs of them, and so on.
#[inline]
#[target_feature(enable = "avx512f,avx512bw")]
fn splits_at<const WIDTH: usize>(level: &[Register], steps: &[__mmask32]) -> __m512i {
    let level = &level[..WIDTH];
    let mut splits: [__m512i; WIDTH] = std::array::from_fn(|idx| level[idx].load());
    let mut n_left = WIDTH;
    for &step in steps.iter().rev() {
        n_left /= 2;
        for idx in 0..n_left {
            splits[idx] = _mm512_mask_blend_epi16(step, splits[2 * idx], splits[2 * idx + 1]);
        }
    }
    splits[0]
}

/// Walks all rows down four trees, to the places of their leaves. `N` is the number of registers for
/// the codes of 8 rows if those are looked up in registers, or 0.
#[target_feature(enable = "avx512f,avx512bw")]
fn walk_all<const N: usize>(
    quad: &Quad,
    depth: u32,
    shift: u32,
    stride: usize,
    records: &[Register],
    places: &mut [Register],
) {
    let rows = records.chunks_exact(REGISTERS * stride);
    for (records, places) in rows.zip(places.as_chunks_mut::<REGISTERS>().0) {
        let mut of_register = records.chunks_exact(stride);
        let records = std::array::from_fn(|_| of_register.next().unwrap_or(records));
        *places = walk::<N>(quad, depth, shift, records);
    }
}

/// Adds the leaves of the first `N_TREES` of four trees, tree by tree, to the sum of each row.
fn add_leaves<const N_TREES: usize>(leaves: &[f64], places: &[Register], sums: &mut [f64]) {
    for (places, sums) in places.iter().zip(sums.as_chunks_mut::<ROWS>().0) {
        for (row, sum) in sums.iter_mut().enumerate() {
            for tree in 0..N_TREES {
                let place = usize::from(places.0[tree * ROWS + row]);
                debug_assert!(place < leaves.len());
                // SAFETY: walks end at one of the leaves of the four trees: a place is below 4 at the
                // roots, each level at most doubles it and adds 1, and so does the number of places.
                *sum += unsafe { leaves.get_unchecked(place) };
            }
        }
    }
}

impl Quad {
    /// `codes` are those of up to four padded trees; missing ones send every row left.
    fn new(codes: &[u16], depth: u32) -> Self {
        let n_deep = TREES * ((1 << depth) - (1 << TOP));
        let mut quad = Self {
            top: [Register([u16::MAX; 32]); 34],
            deep: vec![u16::MAX; n_deep],
        };
        for (tree, codes) in codes.chunks_exact(1 << depth).enumerate() {
            quad.top[0].0[tree * ROWS..(tree + 1) * ROWS].fill(codes[1]);
            for (level, start) in LEVEL_STARTS.into_iter().enumerate().skip(1) {
                let width = 1 << level;
                for (idx, &code) in codes[width..2 * width].iter().enumerate() {
                    let place = tree * width + idx;
                    quad.top[start + place / 32].0[place % 32] = code;
                }
            }
            for level in TOP..depth {
                let width = 1 << level;
                let start = deep_start(level) + tree * width;
                quad.deep[start..start + width].copy_from_slice(&codes[width..2 * width]);
            }
        }
        quad
    }
}

/// The first code of a level in [`Quad::deep`].
fn deep_start(level: u32) -> usize {
    TREES * ((1 << level) - (1 << TOP))
}

/// Walks the rows down four trees. The result is for each register of rows the places of their
/// leaves among the leaves of the four trees, tree by tree.
#[inline]
#[target_feature(enable = "avx512f,avx512bw")]
fn walk<const N: usize>(
    quad: &Quad,
    depth: u32,
    shift: u32,
    records: [&[Register]; REGISTERS],
) -> [Register; REGISTERS] {
    let table = |idx: usize| quad.top[idx].load();
    // The lanes of the first two trees, the second two; of each tree.
    const PAIRS: [u32; 2] = [0x0000_ffff, 0xffff_0000];
    const SINGLE: [u32; 4] = [0x0000_00ff, 0x0000_ff00, 0x00ff_0000, 0xff00_0000];

    let lane = Register(std::array::from_fn(|lane| lane as u16)).load();
    // At level l, the split that a lane is at: tree << l | place within the level.
    let mut at = [_mm512_srli_epi16::<3>(lane); REGISTERS];

    let roots = table(0);
    for (at, record) in at.iter_mut().zip(records) {
        *at = step::<N>(*at, roots, shift, record);
    }
    for start in &LEVEL_STARTS[1..=3] {
        let table = table(*start);
        for (at, record) in at.iter_mut().zip(records) {
            let code = _mm512_permutexvar_epi16(*at, table);
            *at = step::<N>(*at, code, shift, record);
        }
    }
    {
        let tables = [table(4), table(5)];
        for (at, record) in at.iter_mut().zip(records) {
            let code = _mm512_permutex2var_epi16(tables[0], *at, tables[1]);
            *at = step::<N>(*at, code, shift, record);
        }
    }
    {
        // Lanes that a permutation doesn't look up keep their index for the next.
        let mut code = at;
        for (pair, mask) in PAIRS.into_iter().enumerate() {
            let tables = [table(6 + 2 * pair), table(7 + 2 * pair)];
            for code in &mut code {
                *code = _mm512_mask2_permutex2var_epi16(tables[0], *code, mask, tables[1]);
            }
        }
        for ((at, code), record) in at.iter_mut().zip(code).zip(records) {
            *at = step::<N>(*at, code, shift, record);
        }
    }
    {
        let mut code = at;
        for (tree, mask) in SINGLE.into_iter().enumerate() {
            let tables = [table(10 + 2 * tree), table(11 + 2 * tree)];
            for code in &mut code {
                *code = _mm512_mask2_permutex2var_epi16(tables[0], *code, mask, tables[1]);
            }
        }
        for ((at, code), record) in at.iter_mut().zip(code).zip(records) {
            *at = step::<N>(*at, code, shift, record);
        }
    }
    {
        let (mut low, mut high) = (at, at);
        for (tree, mask) in SINGLE.into_iter().enumerate() {
            let first = 18 + 4 * tree;
            let tables = [
                table(first),
                table(first + 1),
                table(first + 2),
                table(first + 3),
            ];
            for (low, high) in low.iter_mut().zip(&mut high) {
                *low = _mm512_mask2_permutex2var_epi16(tables[0], *low, mask, tables[1]);
                *high = _mm512_mask2_permutex2var_epi16(tables[2], *high, mask, tables[3]);
            }
        }
        for (i, record) in records.iter().enumerate() {
            let upper = _mm512_test_epi16_mask(at[i], _mm512_set1_epi16(64));
            let code = _mm512_mask_blend_epi16(upper, low[i], high[i]);
            at[i] = step::<N>(at[i], code, shift, record);
        }
    }
    for level in TOP..depth {
        let codes = &quad.deep[deep_start(level)..];
        for (at, record) in at.iter_mut().zip(records) {
            // SAFETY: lanes are at one of the level's splits.
            let code = unsafe { gather(codes.as_ptr(), *at) };
            *at = step::<N>(*at, code, shift, record);
        }
    }
    at.map(|at| {
        let mut leaves = Register::default();
        // SAFETY: 64 writable bytes, aligned to 64.
        unsafe { _mm512_store_si512(leaves.0.as_mut_ptr().cast(), at) };
        leaves
    })
}

/// The codes at each lane's index from `codes` on, of which there must be an even number.
///
/// # Safety
///
/// There must be a code at each index.
#[inline]
#[target_feature(enable = "avx512f,avx512bw")]
unsafe fn gather(codes: *const u16, idx: __m512i) -> __m512i {
    // Codes come in pairs, even and odd lanes apart.
    let one_of_pair = |idx: __m512i| {
        // SAFETY: the caller's promise; the other code of the pair is there, too.
        let pair =
            unsafe { _mm512_i32gather_epi32::<4>(_mm512_srli_epi32::<1>(idx), codes.cast()) };
        let upper = _mm512_slli_epi32::<4>(_mm512_and_si512(idx, _mm512_set1_epi32(1)));
        _mm512_srlv_epi32(pair, upper)
    };
    let even = one_of_pair(_mm512_and_si512(idx, _mm512_set1_epi32(0xffff)));
    let odd = one_of_pair(_mm512_srli_epi32::<16>(idx));
    _mm512_mask_mov_epi16(even, 0xaaaa_aaaa, _mm512_slli_epi32::<16>(odd))
}

/// From the splits `at` with `code` to those on the next level.
#[inline]
#[target_feature(enable = "avx512f,avx512bw")]
fn step<const N: usize>(at: __m512i, code: __m512i, shift: u32, record: &[Register]) -> __m512i {
    let value = select::<N>(code, shift, record);
    let right = _mm512_cmpgt_epu16_mask(value, code);
    let left_child = _mm512_add_epi16(at, at);
    _mm512_mask_add_epi16(left_child, right, left_child, _mm512_set1_epi16(1))
}

/// The code of each lane's row in the column of its split.
#[inline]
#[target_feature(enable = "avx512f,avx512bw")]
fn select<const N: usize>(code: __m512i, shift: u32, record: &[Register]) -> __m512i {
    // column << 3 | row: in which register, and where in it.
    let shifted = match N {
        4 => _mm512_srli_epi16::<9>(code),
        8 => _mm512_srli_epi16::<8>(code),
        16 => _mm512_srli_epi16::<7>(code),
        _ => _mm512_srl_epi16(code, _mm_cvtsi32_si128(shift as i32 - 3)),
    };
    let row = _mm512_set_epi64(
        0x0007_0006_0005_0004,
        0x0003_0002_0001_0000,
        0x0007_0006_0005_0004,
        0x0003_0002_0001_0000,
        0x0007_0006_0005_0004,
        0x0003_0002_0001_0000,
        0x0007_0006_0005_0004,
        0x0003_0002_0001_0000,
    );
    // (shifted & !7) | row
    let idx = _mm512_ternarylogic_epi64::<0b1111_1000>(row, shifted, _mm512_set1_epi16(!7));
    if N == 0 {
        // SAFETY: a code's column is one of the slots, of which the record has 8 codes each.
        return unsafe { gather(record.as_ptr().cast(), idx) };
    }
    let record = |idx: usize| record[idx].load();
    let pair = |first: usize| _mm512_permutex2var_epi16(record(first), idx, record(first + 1));
    let bit = |bit: i16| _mm512_test_epi16_mask(idx, _mm512_set1_epi16(1 << bit));
    let blend = |mask, low, high| _mm512_mask_blend_epi16(mask, low, high);
    // Bit 6 of the index and those above say which pair of registers.
    let four = |first: usize, bit_6| blend(bit_6, pair(first), pair(first + 2));
    match N {
        4 => four(0, _mm512_movepi16_mask(code)),
        8 => blend(_mm512_movepi16_mask(code), four(0, bit(6)), four(4, bit(6))),
        _ => {
            let (bit_6, bit_7) = (bit(6), bit(7));
            let low = blend(bit_7, four(0, bit_6), four(4, bit_6));
            let high = blend(bit_7, four(8, bit_6), four(12, bit_6));
            blend(_mm512_movepi16_mask(code), low, high)
        }
    }
}
