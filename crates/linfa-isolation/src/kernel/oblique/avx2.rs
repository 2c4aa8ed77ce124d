//! [`super::lanes`] with AVX2: 8 rows in a register.

#![allow(unsafe_code)]

use std::arch::x86_64::*;

use super::lanes::{self, Lanes};
use super::{Block, ObliqueKernel, PaddedSplit};

/// [`lanes::add`].
#[target_feature(enable = "avx2")]
pub(super) fn add<const N: usize>(
    kernel: &ObliqueKernel,
    block: &Block,
    records: &mut Vec<f32>,
    sums: &mut [f64],
) {
    // SAFETY: this function has AVX2.
    unsafe { lanes::add::<Register, N>(kernel, block, records, sums) }
}

#[derive(Clone, Copy)]
struct Register(__m256i);

// SAFETY of all methods: the caller's, who has AVX2 and gives pointers to what is read or written.
impl Lanes for Register {
    const LEN: usize = 8;

    #[inline(always)]
    unsafe fn splat(value: u32) -> Self {
        // SAFETY: as for the whole implementation, above it.
        Self(unsafe { _mm256_set1_epi32(value.cast_signed()) })
    }

    #[inline(always)]
    unsafe fn load(from: *const f32) -> Self {
        // SAFETY: as for the whole implementation, above it.
        Self(unsafe { _mm256_loadu_si256(from.cast()) })
    }

    #[inline(always)]
    unsafe fn store(self, to: *mut u32) {
        // SAFETY: as for the whole implementation, above it.
        unsafe { _mm256_storeu_si256(to.cast(), self.0) }
    }

    #[inline(always)]
    unsafe fn splits(splits: *const PaddedSplit, at: Self) -> [Self; 4] {
        // SAFETY: as for the whole implementation, above it.
        unsafe {
            let mut idx = [0_u32; 8];
            at.store(idx.as_mut_ptr());
            // Rows 0 to 3 in the lower halves, 4 to 7 in the upper.
            let two = |row: usize| {
                let low = _mm_loadu_ps(splits.add(idx[row] as usize).cast());
                let high = _mm_loadu_ps(splits.add(idx[row + 4] as usize).cast());
                _mm256_insertf128_ps::<1>(_mm256_castps128_ps256(low), high)
            };
            let rows = [two(0), two(1), two(2), two(3)];
            let low = [
                _mm256_unpacklo_ps(rows[0], rows[1]),
                _mm256_unpacklo_ps(rows[2], rows[3]),
            ];
            let high = [
                _mm256_unpackhi_ps(rows[0], rows[1]),
                _mm256_unpackhi_ps(rows[2], rows[3]),
            ];
            let [low_0, low_1] = [_mm256_castps_pd(low[0]), _mm256_castps_pd(low[1])];
            let [high_0, high_1] = [_mm256_castps_pd(high[0]), _mm256_castps_pd(high[1])];
            [
                Self(_mm256_castpd_si256(_mm256_unpacklo_pd(low_0, low_1))),
                Self(_mm256_castpd_si256(_mm256_unpackhi_pd(low_0, low_1))),
                Self(_mm256_castpd_si256(_mm256_unpacklo_pd(high_0, high_1))),
                Self(_mm256_castpd_si256(_mm256_unpackhi_pd(high_0, high_1))),
            ]
        }
    }

    /// Tables of eight splits, part by part.
    type Heads = [[Self; 4]; 8];

    #[inline(always)]
    unsafe fn heads(splits: *const PaddedSplit) -> Self::Heads {
        // SAFETY: as for the whole implementation, above it.
        unsafe {
            let mut heads = [[Self::splat(0); 4]; 8];
            for (table, head) in heads.iter_mut().enumerate() {
                let first = 8 * table as i32;
                let idx = _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7);
                *head = Self::splits(
                    splits,
                    Self(_mm256_add_epi32(idx, _mm256_set1_epi32(first))),
                );
            }
            heads
        }
    }

    #[inline(always)]
    unsafe fn head<const LEVEL: u32>(heads: &Self::Heads, at: Self) -> [Self; 4] {
        // SAFETY: see above; the permutation takes the lower three bits of an index.
        unsafe {
            let mut parts = [at; 4];
            let bit_3 = at.shift_left::<28>();
            let bit_4 = at.shift_left::<27>();
            for (part, to) in parts.iter_mut().enumerate() {
                let table =
                    |table: usize| Self(_mm256_permutevar8x32_epi32(heads[table][part].0, at.0));
                let two = |first| Self::select(bit_3, table(first + 1), table(first));
                *to = match LEVEL {
                    ..=2 => table(0),
                    3 => table(1),
                    4 => two(2),
                    _ => Self::select(bit_4, two(6), two(4)),
                };
            }
            parts
        }
    }

    #[inline(always)]
    unsafe fn gather(numbers: *const f32, at: Self) -> Self {
        // SAFETY: as for the whole implementation, above it.
        Self(unsafe { _mm256_i32gather_epi32::<4>(numbers.cast(), at.0) })
    }

    #[inline(always)]
    unsafe fn add(self, other: Self) -> Self {
        // SAFETY: as for the whole implementation, above it.
        Self(unsafe { _mm256_add_epi32(self.0, other.0) })
    }

    #[inline(always)]
    unsafe fn sub(self, other: Self) -> Self {
        // SAFETY: as for the whole implementation, above it.
        Self(unsafe { _mm256_sub_epi32(self.0, other.0) })
    }

    #[inline(always)]
    unsafe fn and(self, other: Self) -> Self {
        // SAFETY: as for the whole implementation, above it.
        Self(unsafe { _mm256_and_si256(self.0, other.0) })
    }

    #[inline(always)]
    unsafe fn shift_left<const BITS: i32>(self) -> Self {
        // SAFETY: as for the whole implementation, above it.
        Self(unsafe { _mm256_slli_epi32::<BITS>(self.0) })
    }

    #[inline(always)]
    unsafe fn shift_right<const BITS: i32>(self) -> Self {
        // SAFETY: as for the whole implementation, above it.
        Self(unsafe { _mm256_srli_epi32::<BITS>(self.0) })
    }

    #[inline(always)]
    unsafe fn add_product(self, factor: Self, other: Self) -> Self {
        // SAFETY: as for the whole implementation, above it.
        unsafe {
            let product =
                _mm256_mul_ps(_mm256_castsi256_ps(factor.0), _mm256_castsi256_ps(other.0));
            Self(_mm256_castps_si256(_mm256_add_ps(
                _mm256_castsi256_ps(self.0),
                product,
            )))
        }
    }

    #[inline(always)]
    unsafe fn distance(self, other: Self) -> Self {
        // SAFETY: as for the whole implementation, above it.
        unsafe {
            let difference =
                _mm256_sub_ps(_mm256_castsi256_ps(self.0), _mm256_castsi256_ps(other.0));
            Self(_mm256_castps_si256(difference)).and(Self::splat(u32::MAX >> 1))
        }
    }

    #[inline(always)]
    unsafe fn greater(self, other: Self) -> Self {
        // SAFETY: as for the whole implementation, above it.
        unsafe {
            let (a, b) = (_mm256_castsi256_ps(self.0), _mm256_castsi256_ps(other.0));
            Self(_mm256_castps_si256(_mm256_cmp_ps::<_CMP_GT_OQ>(a, b)))
        }
    }

    /// The blend looks at no other bit.
    #[inline(always)]
    unsafe fn top_bit(self) -> Self {
        self
    }

    #[inline(always)]
    unsafe fn select(mask: Self, set: Self, clear: Self) -> Self {
        // SAFETY: as for the whole implementation, above it.
        unsafe {
            let (clear, set) = (_mm256_castsi256_ps(clear.0), _mm256_castsi256_ps(set.0));
            Self(_mm256_castps_si256(_mm256_blendv_ps(
                clear,
                set,
                _mm256_castsi256_ps(mask.0),
            )))
        }
    }
}
