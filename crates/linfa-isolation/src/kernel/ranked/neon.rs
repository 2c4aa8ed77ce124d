//! [`super::planes`] with NEON: 16 rows in a register.

#![allow(unsafe_code)]

use std::arch::aarch64::*;

use super::planes::{self, Bytes, Column, Forest};
use super::{Block, Ranked};

/// [`planes::add`].
#[target_feature(enable = "neon")]
pub(super) fn add<const N: usize>(
    ranked: &Ranked<u16>,
    forest: &Forest,
    block: &Block,
    scratch: &mut Vec<Column>,
    sums: &mut [f64],
) {
    // SAFETY: this function has NEON.
    unsafe { planes::add::<Register, N>(ranked, forest, block, scratch, sums) }
}

#[derive(Clone, Copy)]
struct Register(uint8x16_t);

// SAFETY of all methods: the caller's, who has NEON and gives pointers to enough bytes.
impl Bytes for Register {
    const LEN: usize = 16;

    #[inline(always)]
    unsafe fn splat(byte: i8) -> Self {
        // SAFETY: as for the whole implementation, above it.
        Self(unsafe { vdupq_n_u8(byte.cast_unsigned()) })
    }

    #[inline(always)]
    unsafe fn load(from: *const u8) -> Self {
        // SAFETY: as for the whole implementation, above it.
        Self(unsafe { vld1q_u8(from) })
    }

    #[inline(always)]
    unsafe fn store(self, to: *mut u8) {
        // SAFETY: as for the whole implementation, above it.
        unsafe { vst1q_u8(to, self.0) }
    }

    #[inline(always)]
    unsafe fn add(self, other: Self) -> Self {
        // SAFETY: as for the whole implementation, above it.
        Self(unsafe { vaddq_u8(self.0, other.0) })
    }

    #[inline(always)]
    unsafe fn sub(self, other: Self) -> Self {
        // SAFETY: as for the whole implementation, above it.
        Self(unsafe { vsubq_u8(self.0, other.0) })
    }

    #[inline(always)]
    unsafe fn and(self, other: Self) -> Self {
        // SAFETY: as for the whole implementation, above it.
        Self(unsafe { vandq_u8(self.0, other.0) })
    }

    #[inline(always)]
    unsafe fn or(self, other: Self) -> Self {
        // SAFETY: as for the whole implementation, above it.
        Self(unsafe { vorrq_u8(self.0, other.0) })
    }

    #[inline(always)]
    unsafe fn greater(self, other: Self) -> Self {
        // SAFETY: as for the whole implementation, above it.
        Self(unsafe { vcgtq_s8(vreinterpretq_s8_u8(self.0), vreinterpretq_s8_u8(other.0)) })
    }

    #[inline(always)]
    unsafe fn equal(self, other: Self) -> Self {
        // SAFETY: as for the whole implementation, above it.
        Self(unsafe { vceqq_u8(self.0, other.0) })
    }

    /// The bit everywhere in its byte.
    #[inline(always)]
    unsafe fn top_bit(self) -> Self {
        // SAFETY: as for the whole implementation, above it.
        Self(unsafe { vcltzq_s8(vreinterpretq_s8_u8(self.0)) })
    }

    #[inline(always)]
    unsafe fn select(mask: Self, set: Self, clear: Self) -> Self {
        // SAFETY: as for the whole implementation, above it.
        Self(unsafe { vbslq_u8(mask.0, set.0, clear.0) })
    }

    #[inline(always)]
    unsafe fn look_up<const LEVEL: u32>(plane: *const u8, at: Self) -> Self {
        // SAFETY: see above; no level reaches beyond the 256 bytes.
        unsafe {
            // Without the bit above those that count within the level.
            let idx = if LEVEL < 4 {
                at.0
            } else {
                veorq_u8(at.0, vdupq_n_u8(1 << LEVEL))
            };
            Self(match LEVEL {
                ..4 => vqtbl1q_u8(vld1q_u8(plane), idx),
                4 => vqtbl1q_u8(vld1q_u8(plane.add(16)), idx),
                5 => vqtbl2q_u8(vld1q_u8_x2(plane.add(32)), idx),
                6 => vqtbl4q_u8(vld1q_u8_x4(plane.add(64)), idx),
                _ => {
                    // The first look-up gives 0 to indices beyond its table, the second leaves
                    // those as they are that are beyond its own.
                    let low = vqtbl4q_u8(vld1q_u8_x4(plane.add(128)), idx);
                    let idx = vsubq_u8(idx, vdupq_n_u8(64));
                    vqtbx4q_u8(low, vld1q_u8_x4(plane.add(192)), idx)
                }
            })
        }
    }
}
