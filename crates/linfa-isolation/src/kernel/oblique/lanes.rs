//! Padded trees with vectors of 32-bit lanes, one row per lane: AVX2 and NEON.
//!
//! A step loads one split per lane and turns them about, so that each part of the splits is in a
//! register of its own. Values of few columns are chosen by the bits of the column, of each two
//! columns one, of each two of those one, and so on; values of many columns are loaded by an index.

#![allow(unsafe_code)]

#[cfg(target_arch = "x86_64")]
use super::avx2 as vectors;
#[cfg(target_arch = "aarch64")]
use super::neon as vectors;
use super::{Block, ObliqueKernel, PaddedSplit, Simd, Trees};
use crate::frame::map;

/// Most columns whose values are chosen by bits.
const MAX_CHOSEN: usize = 16;

/// Vectors of rows that walk at the same time: their steps don't wait for each other.
const VECTORS: usize = 4;

/// A vector of 32-bit lanes. Methods need the instructions that the type is made for, and pointers
/// to what they say.
pub(super) trait Lanes: Copy {
    /// Lanes in a vector; [`VECTORS`] times as many divide the rows of a block.
    const LEN: usize;

    /// The same integer everywhere.
    unsafe fn splat(value: u32) -> Self;
    /// From `LEN` numbers.
    unsafe fn load(from: *const f32) -> Self;
    /// To `LEN` integers.
    unsafe fn store(self, to: *mut u32);
    /// The columns, weights, thresholds and limits of the splits `at`.
    unsafe fn splits(splits: *const PaddedSplit, at: Self) -> [Self; 4];
    /// The first levels of a tree, as it suits [`head`](Self::head).
    type Heads;
    /// From a tree's splits, 2^8 at least.
    unsafe fn heads(splits: *const PaddedSplit) -> Self::Heads;
    /// As [`splits`](Self::splits) for splits `at` that are on one level, `LEVEL`, one of the first six.
    unsafe fn head<const LEVEL: u32>(heads: &Self::Heads, at: Self) -> [Self; 4];
    /// The numbers `at`.
    unsafe fn gather(numbers: *const f32, at: Self) -> Self;
    /// Sum of integers, wrapping.
    unsafe fn add(self, other: Self) -> Self;
    /// Difference of integers, wrapping.
    unsafe fn sub(self, other: Self) -> Self;
    unsafe fn and(self, other: Self) -> Self;
    unsafe fn shift_left<const BITS: i32>(self) -> Self;
    unsafe fn shift_right<const BITS: i32>(self) -> Self;
    /// `self + factor * other` of numbers, rounded twice.
    unsafe fn add_product(self, factor: Self, other: Self) -> Self;
    /// Size of the difference of two numbers.
    unsafe fn distance(self, other: Self) -> Self;
    /// All bits set where the number is greater.
    unsafe fn greater(self, other: Self) -> Self;
    /// What [`select`](Self::select) takes for the top bit of each lane.
    unsafe fn top_bit(self) -> Self;
    /// `set` where the mask is set, else `clear`.
    unsafe fn select(mask: Self, set: Self, clear: Self) -> Self;
}

impl ObliqueKernel {
    /// Whether `simd` is made of such vectors.
    pub(super) fn has_lanes(simd: Simd) -> bool {
        matches!(simd, Simd::Avx2 | Simd::Neon)
    }

    /// `false` if such vectors aren't used.
    pub(super) fn add_by_lanes(
        &self,
        block: &Block,
        records: &mut Vec<f32>,
        sums: &mut [f64],
    ) -> bool {
        if !self.lanes || !matches!(self.trees, Trees::Padded { .. }) {
            return false;
        }
        // SAFETY: the kernel was made for these instructions, so the processor has them:
        // `Simd::is_available` is asked before a forest uses them.
        unsafe {
            match self.frame.len() {
                ..=4 => vectors::add::<4>(self, block, records, sums),
                5..=8 => vectors::add::<8>(self, block, records, sums),
                9 | 10 => vectors::add::<10>(self, block, records, sums),
                11 | 12 => vectors::add::<12>(self, block, records, sums),
                13..=MAX_CHOSEN => vectors::add::<16>(self, block, records, sums),
                _ => vectors::add::<0>(self, block, records, sums),
            }
        }
        true
    }
}

/// Adds the leaves of all trees to `sums`. `N` is at least the number of columns, or 0 where that is
/// more than [`MAX_CHOSEN`].
///
/// # Safety
///
/// The processor has the instructions of `V`.
#[inline(always)]
pub(super) unsafe fn add<V: Lanes, const N: usize>(
    kernel: &ObliqueKernel,
    block: &Block,
    records: &mut Vec<f32>,
    sums: &mut [f64],
) {
    let Trees::Padded {
        depth,
        penalized,
        splits,
        leaf_values,
    } = &kernel.trees
    else {
        return;
    };
    let n_slots = if N == 0 { kernel.n_slots } else { N };
    records.clear();
    records.resize(block.padded_rows * n_slots, 0.0);
    for (feature, (column, &(centre, scale))) in block.columns().zip(&kernel.frame).enumerate() {
        if N == 0 {
            for (record, &value) in records.chunks_exact_mut(n_slots).zip(column) {
                record[feature] = map(value, centre, scale);
            }
        } else {
            // Column by column for each vector of rows.
            let records = records.chunks_exact_mut(V::LEN * N);
            for (record, values) in records.zip(column.chunks_exact(V::LEN)) {
                let places = &mut record[feature * V::LEN..(feature + 1) * V::LEN];
                for (to, &value) in places.iter_mut().zip(values) {
                    *to = map(value, centre, scale);
                }
            }
        }
    }
    let trees = splits
        .chunks_exact(1 << depth)
        .zip(leaf_values.chunks_exact(1 << depth));
    for (splits, leaves) in trees {
        // SAFETY: the caller's; trees have at least eight levels.
        let heads = unsafe { V::heads(splits.as_ptr()) };
        let rows = records.chunks_exact(VECTORS * V::LEN * n_slots);
        for (records, sums) in rows.zip(sums.chunks_exact_mut(VECTORS * V::LEN)) {
            // SAFETY: the caller's; a tree has 2^depth splits.
            unsafe {
                if *penalized {
                    walk::<V, N, true>(&heads, splits, leaves, *depth, records, n_slots, sums);
                } else {
                    walk::<V, N, false>(&heads, splits, leaves, *depth, records, n_slots, sums);
                }
            }
        }
    }
}

/// Walks [`VECTORS`] times `V::LEN` rows down a tree and adds their leaves to `sums`.
///
/// # Safety
///
/// The processor has the instructions of `V`; there are 2^depth splits, whose columns are below
/// `n_slots`, and `n_slots` numbers of each row.
#[inline(always)]
unsafe fn walk<V: Lanes, const N: usize, const PENALIZED: bool>(
    heads: &V::Heads,
    splits: &[PaddedSplit],
    leaves: &[f64],
    depth: u32,
    records: &[f32],
    n_slots: usize,
    sums: &mut [f64],
) {
    // At most 16 lanes.
    let mut places = [[0_u32; 16]; VECTORS];
    let mut penalties = [[0_u32; 16]; VECTORS];
    // SAFETY: the caller's; positions are between 1 and 2^depth before each step.
    unsafe {
        let mut at = [V::splat(1); VECTORS];
        let mut outside = [V::splat(0); VECTORS];
        macro_rules! step {
            ($splits:expr) => {
                for (vector, at) in at.iter_mut().enumerate() {
                    let record = records.as_ptr().add(vector * V::LEN * n_slots);
                    let (right, is_outside) =
                        compare::<V, N, PENALIZED>($splits(*at), record, n_slots);
                    *at = at.add(*at).sub(right);
                    if PENALIZED {
                        outside[vector] = outside[vector].sub(is_outside);
                    }
                }
            };
        }
        step!(|at| V::head::<0>(heads, at));
        step!(|at| V::head::<1>(heads, at));
        step!(|at| V::head::<2>(heads, at));
        step!(|at| V::head::<3>(heads, at));
        step!(|at| V::head::<4>(heads, at));
        step!(|at| V::head::<5>(heads, at));
        for _ in 6..depth {
            step!(|at| V::splits(splits.as_ptr(), at));
        }
        for vector in 0..VECTORS {
            at[vector].store(places[vector].as_mut_ptr());
            outside[vector].store(penalties[vector].as_mut_ptr());
        }
    }
    let mask = leaves.len() - 1;
    for (vector, sums) in sums.chunks_exact_mut(V::LEN).enumerate() {
        let walked = places[vector].iter().zip(&penalties[vector]);
        for (sum, (&place, &penalty)) in sums.iter_mut().zip(walked) {
            *sum += leaves[place as usize & mask] - f64::from(penalty);
        }
    }
}

/// Which rows go right, and which are outside, at these splits.
///
/// # Safety
///
/// The processor has the instructions of `V`; `n_slots` numbers of `V::LEN` rows follow `record`.
#[inline(always)]
unsafe fn compare<V: Lanes, const N: usize, const PENALIZED: bool>(
    [columns, weight, threshold, limit]: [V; 4],
    record: *const f32,
    n_slots: usize,
) -> (V, V) {
    // SAFETY: the caller's.
    unsafe {
        let (first, second) = if N == 0 {
            let first = columns.and(V::splat(0xffff));
            let second = columns.shift_right::<16>();
            (
                of_many::<V>(record, n_slots, first),
                of_many::<V>(record, n_slots, second),
            )
        } else {
            (
                of_few::<V, N>(record, columns),
                of_few::<V, N>(record, columns.shift_right::<16>()),
            )
        };
        let projection = first.add_product(weight, second);
        let right = projection.greater(threshold);
        let is_outside = if PENALIZED {
            projection.distance(threshold).greater(limit)
        } else {
            right
        };
        (right, is_outside)
    }
}

/// The value of each row in its column, by an index.
///
/// # Safety
///
/// The processor has the instructions of `V`; `n_slots` numbers of `V::LEN` rows follow `record`.
#[inline(always)]
unsafe fn of_many<V: Lanes>(record: *const f32, n_slots: usize, column: V) -> V {
    let mut starts = [0_u32; 16];
    for (lane, start) in starts.iter_mut().enumerate() {
        *start = (lane * n_slots) as u32;
    }
    // SAFETY: the caller's; any bits are a number.
    unsafe {
        let starts = V::load(starts.as_ptr().cast());
        V::gather(record, starts.add(column))
    }
}

/// The value of each row in its column, by the bits of the column.
///
/// # Safety
///
/// The processor has the instructions of `V`; `N` vectors follow `record`.
#[inline(always)]
unsafe fn of_few<V: Lanes, const N: usize>(record: *const f32, column: V) -> V {
    // SAFETY: the caller's.
    unsafe {
        let masks = [
            column.shift_left::<31>().top_bit(),
            column.shift_left::<30>().top_bit(),
            column.shift_left::<29>().top_bit(),
            column.shift_left::<28>().top_bit(),
        ];
        of_columns_16::<V, N>(record, 0, &masks)
    }
}

/// Functions that choose among the columns from `first` on, as many as a bit of the column's number
/// can tell apart.
macro_rules! of_columns {
    ($name:ident, $bit:literal, $half:ident) => {
        #[inline(always)]
        unsafe fn $name<V: Lanes, const N: usize>(
            record: *const f32,
            first: usize,
            masks: &[V; 4],
        ) -> V {
            // SAFETY: the caller's: columns beyond the last are left out.
            unsafe {
                let clear = $half::<V, N>(record, first, masks);
                if first + (1 << $bit) >= N {
                    return clear;
                }
                let set = $half::<V, N>(record, first + (1 << $bit), masks);
                V::select(masks[$bit], set, clear)
            }
        }
    };
}
of_columns!(of_columns_16, 3, of_columns_8);
of_columns!(of_columns_8, 2, of_columns_4);
of_columns!(of_columns_4, 1, of_columns_2);
of_columns!(of_columns_2, 0, of_column);

#[inline(always)]
unsafe fn of_column<V: Lanes, const N: usize>(record: *const f32, first: usize, _: &[V; 4]) -> V {
    // SAFETY: the caller's: there are N columns.
    unsafe { V::load(record.add(first * V::LEN)) }
}
