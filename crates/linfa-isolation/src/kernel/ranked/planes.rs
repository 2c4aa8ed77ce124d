//! [`super::Ranked`] with vectors of bytes, one row per byte: AVX2 and NEON.
//!
//! These instructions look up bytes in a table of 16, by an index per byte, and no wider integers.
//! So a code is parted into its low and its high byte, and a tree into two planes of 256 bytes, whose
//! levels are tables of up to 16 bytes, or several such with a choice between their results. The
//! codes of a row, whose table would be another one for each row, are chosen by the bits of the column:
//! of each two columns one, of each two of those one, and so on. No step loads by an index.
//!
//! All bytes are kept less 128: the instructions compare signed bytes.

#![allow(unsafe_code)]

#[cfg(target_arch = "x86_64")]
use super::avx2 as vectors;
#[cfg(target_arch = "aarch64")]
use super::neon as vectors;
use super::{Block, Group, Ranked, Simd};

/// Rows whose codes are kept together.
const ROWS: usize = super::super::GROUP_ROWS;

/// Levels of a tree.
const DEPTH: u32 = 8;

/// Columns that this is used up to: the effort grows with them.
const MAX_COLUMNS: usize = 64;

/// Trees whose leaves are added together: a row's sum is loaded and stored once for all of them.
const TREES: usize = 4;

/// What makes signed comparison of two bytes unsigned.
const BIAS: u8 = 0x80;

/// A vector of bytes, one per row. Methods need the instructions that the type is made for, and
/// pointers to as many bytes as they say.
pub(super) trait Bytes: Copy {
    /// Bytes in a vector: a divisor of [`ROWS`].
    const LEN: usize;

    /// The same byte everywhere.
    unsafe fn splat(byte: i8) -> Self;
    /// From `LEN` bytes.
    unsafe fn load(from: *const u8) -> Self;
    /// To `LEN` bytes.
    unsafe fn store(self, to: *mut u8);
    /// Byte by byte, wrapping.
    unsafe fn add(self, other: Self) -> Self;
    /// Byte by byte, wrapping.
    unsafe fn sub(self, other: Self) -> Self;
    unsafe fn and(self, other: Self) -> Self;
    unsafe fn or(self, other: Self) -> Self;
    /// All bits set where the signed byte is greater.
    unsafe fn greater(self, other: Self) -> Self;
    /// All bits set where equal.
    unsafe fn equal(self, other: Self) -> Self;
    /// What [`select`](Self::select) takes for the top bit of each byte.
    unsafe fn top_bit(self) -> Self;
    /// `set` where the mask is set, else `clear`.
    unsafe fn select(mask: Self, set: Self, clear: Self) -> Self;
    /// From a plane of 256 bytes the bytes `at`, which lie on one level, `LEVEL`: their lower `LEVEL`
    /// bits count within it, and only the bit above is set.
    unsafe fn look_up<const LEVEL: u32>(plane: *const u8, at: Self) -> Self;
}

/// The splits of a tree; the first byte of each plane is unused.
#[derive(Debug, Clone)]
#[repr(C, align(64))]
struct Tree {
    low: [u8; 1 << DEPTH],
    high: [u8; 1 << DEPTH],
}

/// The codes of some rows in a column.
#[derive(Debug, Clone, Copy)]
#[repr(C, align(64))]
pub(super) struct Column {
    low: [u8; ROWS],
    high: [u8; ROWS],
}

impl Column {
    const EMPTY: Self = Self {
        low: [0; ROWS],
        high: [0; ROWS],
    };
}

/// The trees of a forest.
#[derive(Debug, Clone)]
pub(super) struct Forest {
    /// Of each group of trees with common ranks.
    groups: Vec<Vec<Tree>>,
}

impl Ranked<u16> {
    /// Prepares if `simd` is made of vectors of bytes and they can take the trees.
    pub(super) fn part_into_planes(&mut self, simd: Simd) {
        if matches!(simd, Simd::Avx2 | Simd::Neon)
            && self.depth == DEPTH
            && self.n_slots <= MAX_COLUMNS
        {
            let groups = self.groups.iter().map(|group| {
                let trees = group.codes.as_chunks().0;
                trees.iter().map(Tree::new).collect()
            });
            self.planes = Some(Forest {
                groups: groups.collect(),
            });
        }
    }

    /// `false` if vectors of bytes aren't used.
    pub(super) fn add_by_planes(
        &self,
        block: &Block,
        scratch: &mut Vec<Column>,
        sums: &mut [f64],
    ) -> bool {
        let Some(forest) = &self.planes else {
            return false;
        };
        let n_columns = self.groups.iter().map(|group| group.rankers.len()).max();
        macro_rules! add {
            ($($n:literal)*) => {
                match n_columns.unwrap_or(0) {
                    // SAFETY: the forest was prepared for these instructions, so the processor has
                    // them: `Simd::is_available` is asked before a forest uses them.
                    $(n if n <= $n => unsafe {
                        vectors::add::<$n>(self, forest, block, scratch, sums);
                    },)*
                    _ => return false,
                }
            };
        }
        add!(4 6 8 10 12 16 24 32 64);
        true
    }
}

impl Tree {
    fn new(codes: &[u16; 1 << DEPTH]) -> Self {
        Self {
            low: codes.map(|code| code as u8 ^ BIAS),
            high: codes.map(|code| (code >> 8) as u8 ^ BIAS),
        }
    }
}

/// Adds the leaves of all trees to `sums`. `N` is at least the number of columns and tells the
/// number of slots.
///
/// # Safety
///
/// The processor has the instructions of `V`.
#[inline(always)]
pub(super) unsafe fn add<V: Bytes, const N: usize>(
    ranked: &Ranked<u16>,
    forest: &Forest,
    block: &Block,
    scratch: &mut Vec<Column>,
    sums: &mut [f64],
) {
    debug_assert_eq!(ranked.n_slots, 1 << slot_bits(N));
    scratch.clear();
    scratch.resize(block.padded_rows / ROWS * N, Column::EMPTY);
    let records = scratch.as_chunks_mut::<N>().0;
    for (group, trees) in ranked.groups.iter().zip(&forest.groups) {
        fill_records(group, ranked.shift, block, records);
        let leaves = &ranked.leaf_values[group.first_tree << DEPTH..];
        let (leaves, _) = leaves.as_chunks::<{ 1 << DEPTH }>();
        for (trees, leaves) in trees.chunks(TREES).zip(leaves.chunks(TREES)) {
            for (record, sums) in records.iter().zip(sums.as_chunks_mut::<ROWS>().0) {
                let mut places = [[[0; ROWS]; 2]; TREES / 2];
                for (pair, places) in trees.chunks(2).zip(&mut places) {
                    // A single tree is its own partner.
                    // SAFETY: the caller's.
                    *places = unsafe { walk::<V, N>([&pair[0], &pair[pair.len() - 1]], record) };
                }
                let places = places.as_flattened();
                if let ([a, b, c, d], [of_a, of_b, of_c, of_d]) = (places, leaves)
                    && trees.len() == TREES
                {
                    for (row, sum) in sums.iter_mut().enumerate() {
                        *sum += of_a[usize::from(a[row])];
                        *sum += of_b[usize::from(b[row])];
                        *sum += of_c[usize::from(c[row])];
                        *sum += of_d[usize::from(d[row])];
                    }
                } else {
                    for (places, leaves) in places.iter().zip(leaves).take(trees.len()) {
                        for (sum, &place) in sums.iter_mut().zip(places) {
                            *sum += leaves[usize::from(place)];
                        }
                    }
                }
            }
        }
    }
}

fn fill_records<const N: usize>(
    group: &Group<u16>,
    shift: u32,
    block: &Block,
    records: &mut [[Column; N]],
) {
    for (column, (feature, ranker)) in group.rankers.iter().enumerate() {
        ranker.rank_all(block.column(*feature), |row, rank| {
            let code = (column << shift | rank) as u16;
            let codes = &mut records[row / ROWS][column];
            codes.low[row % ROWS] = code as u8 ^ BIAS;
            codes.high[row % ROWS] = (code >> 8) as u8 ^ BIAS;
        });
    }
}

/// Bits of a column's number where there are `n` columns.
const fn slot_bits(n: usize) -> usize {
    match n {
        0..=16 => 4,
        17..=32 => 5,
        _ => 6,
    }
}

/// The places of the rows' leaves in two trees, whose walks don't wait for each other.
///
/// # Safety
///
/// The processor has the instructions of `V`.
#[inline(always)]
unsafe fn walk<V: Bytes, const N: usize>(
    trees: [&Tree; 2],
    record: &[Column; N],
) -> [[u8; ROWS]; 2] {
    let mut places = [[0; ROWS]; 2];
    for first in (0..ROWS).step_by(V::LEN) {
        // SAFETY: the caller's; V::LEN divides ROWS.
        unsafe {
            let mut at = [V::splat(1); 2];
            for (at, tree) in at.iter_mut().zip(trees) {
                let root = tree.high[1] ^ BIAS;
                // A tree without a split has a column beyond the last; any will do.
                let column = usize::from(root >> (8 - slot_bits(N))).min(N - 1);
                let low = V::load(record[column].low.as_ptr().add(first));
                let high = V::load(record[column].high.as_ptr().add(first));
                let code = [tree.low[1], tree.high[1]].map(u8::cast_signed);
                *at = step(*at, [V::splat(code[0]), V::splat(code[1])], [low, high]);
            }
            down::<V, N, 1>(trees, record, first, &mut at);
            down::<V, N, 2>(trees, record, first, &mut at);
            down::<V, N, 3>(trees, record, first, &mut at);
            down::<V, N, 4>(trees, record, first, &mut at);
            down::<V, N, 5>(trees, record, first, &mut at);
            down::<V, N, 6>(trees, record, first, &mut at);
            down::<V, N, 7>(trees, record, first, &mut at);
            for (at, places) in at.iter().zip(&mut places) {
                at.store(places.as_mut_ptr().add(first));
            }
        }
    }
    places
}

/// From the splits `at` on a level to those on the next. The top bit of the leaves' places is lost.
///
/// # Safety
///
/// The processor has the instructions of `V`; `first + V::LEN <= ROWS`.
#[inline(always)]
unsafe fn down<V: Bytes, const N: usize, const LEVEL: u32>(
    trees: [&Tree; 2],
    record: &[Column; N],
    first: usize,
    at: &mut [V; 2],
) {
    for (at, tree) in at.iter_mut().zip(trees) {
        // SAFETY: the caller's; planes have 256 bytes.
        unsafe {
            let low = V::look_up::<LEVEL>(tree.low.as_ptr(), *at);
            let high = V::look_up::<LEVEL>(tree.high.as_ptr(), *at);
            // Masks for the bits of the column, the lowest first. The highest was inverted by BIAS.
            let mut masks = [high; 6];
            let mut bits = high;
            for bit in (0..slot_bits(N)).rev() {
                masks[bit] = bits.top_bit();
                bits = bits.add(bits);
            }
            let record = record.as_ptr().cast();
            let value_low = of_columns_64::<V, N>(record, first, 0, &masks);
            let value_high = of_columns_64::<V, N>(record, first + ROWS, 0, &masks);
            *at = step(*at, [low, high], [value_low, value_high]);
        }
    }
}

/// The children to which `value` goes from the splits `at` with `code`; of both the low byte first.
///
/// # Safety
///
/// The processor has the instructions of `V`.
#[inline(always)]
unsafe fn step<V: Bytes>(at: V, code: [V; 2], value: [V; 2]) -> V {
    // SAFETY: the caller's.
    unsafe {
        let low = value[0].greater(code[0]);
        let right = (value[1].greater(code[1])).or(value[1].equal(code[1]).and(low));
        at.add(at).sub(right)
    }
}

/// Functions that choose among the columns from `$first` on, as many as a bit of the column's number
/// can tell apart.
macro_rules! of_columns {
    ($name:ident, $bit:literal, $half:ident) => {
        #[inline(always)]
        unsafe fn $name<V: Bytes, const N: usize>(
            record: *const u8,
            offset: usize,
            first: usize,
            masks: &[V; 6],
        ) -> V {
            // SAFETY: the caller's: columns beyond the last are left out.
            unsafe {
                let clear = $half::<V, N>(record, offset, first, masks);
                if first + (1 << $bit) >= N {
                    return clear;
                }
                let set = $half::<V, N>(record, offset, first + (1 << $bit), masks);
                if $bit + 1 == slot_bits(N) {
                    V::select(masks[$bit], clear, set)
                } else {
                    V::select(masks[$bit], set, clear)
                }
            }
        }
    };
}
of_columns!(of_columns_64, 5, of_columns_32);
of_columns!(of_columns_32, 4, of_columns_16);
of_columns!(of_columns_16, 3, of_columns_8);
of_columns!(of_columns_8, 2, of_columns_4);
of_columns!(of_columns_4, 1, of_columns_2);
of_columns!(of_columns_2, 0, of_column);

#[inline(always)]
unsafe fn of_column<V: Bytes, const N: usize>(
    record: *const u8,
    offset: usize,
    column: usize,
    _: &[V; 6],
) -> V {
    debug_assert!(column < N);
    // SAFETY: the caller's: there are N columns.
    unsafe { V::load(record.add(column * size_of::<Column>() + offset)) }
}

const _: () = assert!(size_of::<Column>() == 2 * ROWS);
