//! [`super::lanes`] with NEON: 4 rows in a register.

#![allow(unsafe_code)]

use std::arch::aarch64::*;

use super::lanes::{self, Lanes};
use super::{Block, ObliqueKernel, PaddedSplit};

/// [`lanes::add`].
#[target_feature(enable = "neon")]
pub(super) fn add<const N: usize>(
    kernel: &ObliqueKernel,
    block: &Block,
    records: &mut Vec<f32>,
    sums: &mut [f64],
) {
    // SAFETY: this function has NEON.
    unsafe { lanes::add::<Register, N>(kernel, block, records, sums) }
}

#[derive(Clone, Copy)]
struct Register(uint32x4_t);

// SAFETY of all methods: the caller's, who has NEON and gives pointers to what is read or written.
impl Lanes for Register {
    const LEN: usize = 4;

    #[inline(always)]
    unsafe fn splat(value: u32) -> Self {
        // SAFETY: as for the whole implementation, above it.
        Self(unsafe { vdupq_n_u32(value) })
    }

    #[inline(always)]
    unsafe fn load(from: *const f32) -> Self {
        // SAFETY: as for the whole implementation, above it.
        Self(unsafe { vld1q_u32(from.cast()) })
    }

    #[inline(always)]
    unsafe fn store(self, to: *mut u32) {
        // SAFETY: as for the whole implementation, above it.
        unsafe { vst1q_u32(to, self.0) }
    }

    #[inline(always)]
    unsafe fn splits(splits: *const PaddedSplit, at: Self) -> [Self; 4] {
        // SAFETY: as for the whole implementation, above it.
        unsafe {
            let mut idx = [0_u32; 4];
            at.store(idx.as_mut_ptr());
            let rows = idx.map(|idx| vld1q_u32(splits.add(idx as usize).cast()));
            let [even_0, even_1] = [vtrn1q_u32(rows[0], rows[1]), vtrn1q_u32(rows[2], rows[3])];
            let [odd_0, odd_1] = [vtrn2q_u32(rows[0], rows[1]), vtrn2q_u32(rows[2], rows[3])];
            let pairs = |a, b| (vreinterpretq_u64_u32(a), vreinterpretq_u64_u32(b));
            let (even_0, even_1) = pairs(even_0, even_1);
            let (odd_0, odd_1) = pairs(odd_0, odd_1);
            [
                Self(vreinterpretq_u32_u64(vtrn1q_u64(even_0, even_1))),
                Self(vreinterpretq_u32_u64(vtrn1q_u64(odd_0, odd_1))),
                Self(vreinterpretq_u32_u64(vtrn2q_u64(even_0, even_1))),
                Self(vreinterpretq_u32_u64(vtrn2q_u64(odd_0, odd_1))),
            ]
        }
    }

    type Heads = *const PaddedSplit;

    #[inline(always)]
    unsafe fn heads(splits: *const PaddedSplit) -> Self::Heads {
        splits
    }

    #[inline(always)]
    unsafe fn head<const LEVEL: u32>(heads: &Self::Heads, at: Self) -> [Self; 4] {
        // SAFETY: as for the whole implementation, above it.
        unsafe { Self::splits(*heads, at) }
    }

    #[inline(always)]
    unsafe fn gather(numbers: *const f32, at: Self) -> Self {
        // SAFETY: as for the whole implementation, above it.
        unsafe {
            let mut idx = [0_u32; 4];
            at.store(idx.as_mut_ptr());
            let values = idx.map(|idx| *numbers.add(idx as usize));
            Self::load(values.as_ptr())
        }
    }

    #[inline(always)]
    unsafe fn add(self, other: Self) -> Self {
        // SAFETY: as for the whole implementation, above it.
        Self(unsafe { vaddq_u32(self.0, other.0) })
    }

    #[inline(always)]
    unsafe fn sub(self, other: Self) -> Self {
        // SAFETY: as for the whole implementation, above it.
        Self(unsafe { vsubq_u32(self.0, other.0) })
    }

    #[inline(always)]
    unsafe fn and(self, other: Self) -> Self {
        // SAFETY: as for the whole implementation, above it.
        Self(unsafe { vandq_u32(self.0, other.0) })
    }

    #[inline(always)]
    unsafe fn shift_left<const BITS: i32>(self) -> Self {
        // SAFETY: as for the whole implementation, above it.
        Self(unsafe { vshlq_n_u32::<BITS>(self.0) })
    }

    #[inline(always)]
    unsafe fn shift_right<const BITS: i32>(self) -> Self {
        // SAFETY: as for the whole implementation, above it.
        Self(unsafe { vshrq_n_u32::<BITS>(self.0) })
    }

    #[inline(always)]
    unsafe fn add_product(self, factor: Self, other: Self) -> Self {
        // SAFETY: as for the whole implementation, above it.
        unsafe {
            let product = vmulq_f32(
                vreinterpretq_f32_u32(factor.0),
                vreinterpretq_f32_u32(other.0),
            );
            Self(vreinterpretq_u32_f32(vaddq_f32(
                vreinterpretq_f32_u32(self.0),
                product,
            )))
        }
    }

    #[inline(always)]
    unsafe fn distance(self, other: Self) -> Self {
        // SAFETY: as for the whole implementation, above it.
        unsafe {
            let difference = vsubq_f32(
                vreinterpretq_f32_u32(self.0),
                vreinterpretq_f32_u32(other.0),
            );
            Self(vreinterpretq_u32_f32(vabsq_f32(difference)))
        }
    }

    #[inline(always)]
    unsafe fn greater(self, other: Self) -> Self {
        // SAFETY: as for the whole implementation, above it.
        Self(unsafe {
            vcgtq_f32(
                vreinterpretq_f32_u32(self.0),
                vreinterpretq_f32_u32(other.0),
            )
        })
    }

    /// The bit everywhere in its lane.
    #[inline(always)]
    unsafe fn top_bit(self) -> Self {
        // SAFETY: as for the whole implementation, above it.
        Self(unsafe { vcltzq_s32(vreinterpretq_s32_u32(self.0)) })
    }

    #[inline(always)]
    unsafe fn select(mask: Self, set: Self, clear: Self) -> Self {
        // SAFETY: as for the whole implementation, above it.
        Self(unsafe { vbslq_u32(mask.0, set.0, clear.0) })
    }
}
