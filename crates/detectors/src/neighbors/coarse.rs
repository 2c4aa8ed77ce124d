//! The tree once more in `f32`: half the memory to go through, twice the lanes. What it says is only
//! which rows and boxes can't be near.
//!
//! Of a turned tree all of this is along the rows' principal axes, where boxes are tighter; distances stay the same.
//!
//! A distance computed here differs from the exact one by at most [`Probe`]'s slack, which comes from
//! rounding the coordinates, and a hundred-thousandth of itself, which comes from the sum: so whatever is
//! farther than the limit with both added is farther in truth.

use pulp::Simd;

use super::LANES;
use crate::linalg::dot;

/// Lanes of a box's columns.
const BOX_LANES: usize = 8;
/// Columns of a probe at most that need no allocation.
const ON_STACK: usize = 32;

#[derive(Debug, Clone, Default)]
pub(super) struct Coarse {
    dims: usize,
    /// Columns of a box, a whole number of [`BOX_LANES`]; those beyond the rows' are 0.
    padded: usize,
    /// Of each node, its lowest values, then its highest, rounded outwards.
    boxes: Vec<f32>,
    /// Of each block, every column of [`LANES`] rows.
    blocks: Vec<f32>,
    /// The largest coordinate's size.
    reach: f64,
    /// What rows are turned to, axis after axis; empty: to nothing.
    axes: Vec<f64>,
}

/// A row that neighbours are sought of.
#[derive(Debug)]
pub(super) struct Probe {
    on_stack: [f32; ON_STACK],
    wide: Vec<f32>,
    /// How far a distance may be off by the rounding of coordinates.
    slack: f64,
    /// Coarse squared distances from here on can't be near.
    pub(super) limit: f32,
}

impl Probe {
    #[inline(always)]
    fn values(&self) -> &[f32] {
        if self.wide.is_empty() {
            &self.on_stack
        } else {
            &self.wide
        }
    }

    /// Only rows nearer than the root of `limit` are of interest any more.
    #[inline(always)]
    pub(super) fn tighten(&mut self, limit: f64) {
        let far = limit.sqrt() + self.slack;
        self.limit = (far * far * (1.0 + 4e-5)) as f32;
    }
}

impl Coarse {
    pub(super) fn new(dims: usize, boxes: &[f64], blocks: &[f64]) -> Self {
        let padded = dims.next_multiple_of(BOX_LANES);
        let mut rounded = Vec::with_capacity(boxes.len() / dims * padded);
        for (i, side) in boxes.chunks_exact(dims).enumerate() {
            rounded.extend(side.iter().map(|value| {
                let near = *value as f32;
                match (i % 2 == 0, f64::from(near).total_cmp(value)) {
                    (true, std::cmp::Ordering::Greater) => near.next_down(),
                    (false, std::cmp::Ordering::Less) => near.next_up(),
                    _ => near,
                }
            }));
            rounded.resize(rounded.len() + padded - dims, 0.0);
        }
        Self {
            dims,
            padded,
            boxes: rounded,
            blocks: blocks.iter().map(|value| *value as f32).collect(),
            reach: boxes
                .iter()
                .fold(0.0, |reach, value| reach.max(value.abs())),
            axes: Vec::new(),
        }
    }

    /// Says that what it was made of had been turned to these axes.
    pub(super) fn turn(&mut self, axes: Vec<f64>) {
        self.axes = axes;
    }

    #[inline]
    pub(super) fn probe(&self, row: &[f64]) -> Probe {
        let mut probe = Probe {
            on_stack: [0.0; ON_STACK],
            wide: Vec::new(),
            slack: 0.0,
            limit: f32::INFINITY,
        };
        let values = if self.padded <= ON_STACK {
            probe.on_stack.as_mut_slice()
        } else {
            probe.wide.resize(self.padded, 0.0);
            probe.wide.as_mut_slice()
        };
        let mut size = 0.0_f64;
        let mut take = |value: &mut f32, exact: f64| {
            *value = exact as f32;
            size = size.max(exact.abs());
        };
        if self.axes.is_empty() {
            for (value, exact) in values.iter_mut().zip(row) {
                take(value, *exact);
            }
        } else {
            for (value, axis) in values.iter_mut().zip(self.axes.chunks_exact(self.dims)) {
                take(value, dot(axis, row));
            }
        }
        // Half a unit in the last place for either coordinate, and room to spare.
        probe.slack = (size + self.reach) * (self.dims as f64).sqrt() * 1.3e-7;
        probe
    }

    /// The square of a distance that no row of the node is nearer than, but for the slack.
    #[inline(always)]
    pub(super) fn box_distance(&self, node: usize, probe: &Probe) -> f32 {
        let sides = &self.boxes[node * 2 * self.padded..][..2 * self.padded];
        let (low, high) = sides.split_at(self.padded);
        let row = probe.values().as_chunks::<BOX_LANES>().0;
        let sides = low
            .as_chunks::<BOX_LANES>()
            .0
            .iter()
            .zip(high.as_chunks::<BOX_LANES>().0);
        let mut sums = [0.0_f32; BOX_LANES];
        for ((low, high), row) in sides.zip(row) {
            for i in 0..BOX_LANES {
                let outside = (low[i] - row[i]).max(row[i] - high[i]).max(0.0);
                sums[i] += outside * outside;
            }
        }
        let mut half = BOX_LANES / 2;
        while half > 0 {
            for i in 0..half {
                sums[i] += sums[i + half];
            }
            half /= 2;
        }
        sums[0]
    }

    /// Squared distances from the rows of a block.
    #[inline(always)]
    pub(super) fn block_distances<S: Simd>(
        &self,
        simd: S,
        block: u32,
        probe: &Probe,
    ) -> [f32; LANES] {
        let size = LANES * self.dims;
        let parts = LANES / S::F32_LANES;
        let (block, _) = S::as_simd_f32s(&self.blocks[block as usize * size..][..size]);
        let mut distances = [0.0; LANES];
        for (part, out) in S::as_mut_simd_f32s(&mut distances).0.iter_mut().enumerate() {
            let mut sum = simd.splat_f32s(0.0);
            for (lanes, value) in block[part..].iter().step_by(parts).zip(probe.values()) {
                let difference = simd.sub_f32s(*lanes, simd.splat_f32s(*value));
                sum = simd.mul_add_e_f32s(difference, difference, sum);
            }
            *out = sum;
        }
        distances
    }
}
