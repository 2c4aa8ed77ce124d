//! [`super::planes`] with AVX2: 32 rows in a register.

#![allow(unsafe_code)]

use std::arch::x86_64::*;

use super::planes::{self, Bytes, Column, Forest};
use super::{Block, Ranked};

/// [`planes::add`].
#[target_feature(enable = "avx2")]
pub(super) fn add<const N: usize>(
    ranked: &Ranked<u16>,
    forest: &Forest,
    block: &Block,
    scratch: &mut Vec<Column>,
    sums: &mut [f64],
) {
    // SAFETY: this function has AVX2.
    unsafe { planes::add::<Register, N>(ranked, forest, block, scratch, sums) }
}

#[derive(Clone, Copy)]
struct Register(__m256i);

// SAFETY of all methods: the caller's, who has AVX2 and gives pointers to enough bytes.
impl Bytes for Register {
    const LEN: usize = 32;

    #[inline(always)]
    unsafe fn splat(byte: i8) -> Self {
        // SAFETY: as for the whole implementation, above it.
        Self(unsafe { _mm256_set1_epi8(byte) })
    }

    #[inline(always)]
    unsafe fn load(from: *const u8) -> Self {
        // SAFETY: as for the whole implementation, above it.
        Self(unsafe { _mm256_loadu_si256(from.cast()) })
    }

    #[inline(always)]
    unsafe fn store(self, to: *mut u8) {
        // SAFETY: as for the whole implementation, above it.
        unsafe { _mm256_storeu_si256(to.cast(), self.0) }
    }

    #[inline(always)]
    unsafe fn add(self, other: Self) -> Self {
        // SAFETY: as for the whole implementation, above it.
        Self(unsafe { _mm256_add_epi8(self.0, other.0) })
    }

    #[inline(always)]
    unsafe fn sub(self, other: Self) -> Self {
        // SAFETY: as for the whole implementation, above it.
        Self(unsafe { _mm256_sub_epi8(self.0, other.0) })
    }

    #[inline(always)]
    unsafe fn and(self, other: Self) -> Self {
        // SAFETY: as for the whole implementation, above it.
        Self(unsafe { _mm256_and_si256(self.0, other.0) })
    }

    #[inline(always)]
    unsafe fn or(self, other: Self) -> Self {
        // SAFETY: as for the whole implementation, above it.
        Self(unsafe { _mm256_or_si256(self.0, other.0) })
    }

    #[inline(always)]
    unsafe fn greater(self, other: Self) -> Self {
        // SAFETY: as for the whole implementation, above it.
        Self(unsafe { _mm256_cmpgt_epi8(self.0, other.0) })
    }

    #[inline(always)]
    unsafe fn equal(self, other: Self) -> Self {
        // SAFETY: as for the whole implementation, above it.
        Self(unsafe { _mm256_cmpeq_epi8(self.0, other.0) })
    }

    /// The blend looks at no other bit.
    #[inline(always)]
    unsafe fn top_bit(self) -> Self {
        self
    }

    #[inline(always)]
    unsafe fn select(mask: Self, set: Self, clear: Self) -> Self {
        // SAFETY: as for the whole implementation, above it.
        Self(unsafe { _mm256_blendv_epi8(clear.0, set.0, mask.0) })
    }

    #[inline(always)]
    unsafe fn look_up<const LEVEL: u32>(plane: *const u8, at: Self) -> Self {
        // SAFETY: see above; no level has tables beyond the sixteenth.
        unsafe {
            // The shuffle takes the lower four bits of an index, and gives 0 if the top bit is set.
            let idx = if LEVEL == 7 {
                at.and(Self::splat(0x7f))
            } else {
                at
            };
            let table = |table: usize| {
                let bytes = _mm_loadu_si128(plane.add(16 * table).cast());
                Self(_mm256_shuffle_epi8(
                    _mm256_broadcastsi128_si256(bytes),
                    idx.0,
                ))
            };
            if LEVEL < 4 {
                return table(0);
            }
            let first = 1 << (LEVEL - 4);
            // The bits above the lower four say which table.
            let twice = at.add(at);
            let fourfold = twice.add(twice);
            let bit_4 = fourfold.add(fourfold);
            let two = |first| Self::select(bit_4, table(first + 1), table(first));
            let four = |first| Self::select(fourfold, two(first + 2), two(first));
            match LEVEL {
                4 => table(first),
                5 => two(first),
                6 => four(first),
                _ => Self::select(twice, four(first + 4), four(first)),
            }
        }
    }
}
