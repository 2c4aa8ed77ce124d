//! How many thresholds of a column lie below a value.

/// Most cells of a grid.
const MAX_CELLS: usize = 4096;

/// Values that are ranked together.
const LANES: usize = 16;

/// Thresholds that vector instructions compare at once.
const LINE: usize = 8;

/// From here to its double, floating-point numbers are the integers.
const INTEGERS: f64 = (1_u64 << 52) as f64;

/// Ranks values among the sorted thresholds of a column.
///
/// A grid of equal cells over the range of the thresholds says how many lie in the cells below; those
/// in the value's own cell are searched by halving. Where thresholds lie evenly, a cell has few; in
/// the worst case, all in one cell, the search is a plain one. The cell of a value never falls as the
/// value grows, however floating-point numbers are rounded: so thresholds in lower cells are smaller
/// and those in higher cells larger, and ranks are exact.
#[derive(Debug, Clone)]
pub(super) struct Ranker {
    low: f64,
    cells_per_unit: f64,
    last_cell: f64,
    /// Thresholds in the cells below each cell.
    starts: Vec<u32>,
    /// Steps of the search within a cell: more than log2 of the thresholds in the fullest.
    n_steps: u32,
    /// Ascending, then +∞, `2^n_steps` times and at least [`LINE`] times.
    cuts: Vec<f64>,
}

impl Ranker {
    /// For `cuts`, finite and ascending.
    pub(super) fn new(mut cuts: Vec<f64>) -> Self {
        let n_cells = (2 * cuts.len()).next_power_of_two().clamp(1, MAX_CELLS);
        let low = cuts.first().copied().unwrap_or(0.0);
        let width = cuts.last().map_or(0.0, |last| last - low);
        let cells_per_unit = n_cells as f64 / width;
        let mut ranker = Self {
            low,
            cells_per_unit: if cells_per_unit.is_finite() {
                cells_per_unit
            } else {
                0.0
            },
            last_cell: (n_cells - 1) as f64,
            starts: vec![0; n_cells],
            n_steps: 0,
            cuts: Vec::new(),
        };
        for &cut in &cuts {
            let cell = ranker.cell(cut);
            if let Some(above) = ranker.starts.get_mut(cell + 1) {
                *above += 1;
            }
        }
        for cell in 1..n_cells {
            ranker.starts[cell] += ranker.starts[cell - 1];
        }
        let ends = ranker.starts[1..]
            .iter()
            .copied()
            .chain([cuts.len() as u32]);
        let fullest = ranker
            .starts
            .iter()
            .zip(ends)
            .map(|(&start, end)| end - start)
            .max();
        ranker.n_steps = u32::BITS - fullest.unwrap_or(0).leading_zeros();
        cuts.resize(cuts.len() + LINE.max(1 << ranker.n_steps), f64::INFINITY);
        ranker.cuts = cuts;
        ranker
    }

    /// A NaN lies in cell 0.
    #[inline(always)]
    fn cell(&self, value: f64) -> usize {
        let cell = (value - self.low) * self.cells_per_unit;
        // So written, NaN becomes 0, and each line is one instruction.
        let cell = if cell > 0.0 { cell } else { 0.0 };
        let cell = if cell < self.last_cell {
            cell
        } else {
            self.last_cell
        };
        // The last bits of such a sum are the nearest integer: quicker than a checked conversion.
        (cell + INTEGERS).to_bits() as u32 as usize
    }

    /// Thresholds below `value`; 0 for NaN.
    #[inline]
    pub(super) fn rank(&self, value: f64) -> usize {
        let mut rank = self.starts[self.cell(value)] as usize;
        for step in (0..self.n_steps).rev() {
            let half = 1 << step;
            rank += half * usize::from(self.cuts[rank + half - 1] < value);
        }
        rank
    }

    /// Calls `keep` with the position and rank of each of `values`, a multiple of [`LANES`] of them.
    #[inline(always)]
    pub(super) fn rank_all(&self, values: &[f64], mut keep: impl FnMut(usize, usize)) {
        for (chunk_idx, values) in values.as_chunks::<LANES>().0.iter().enumerate() {
            let mut ranks = values.map(|value| self.starts[self.cell(value)] as usize);
            for step in (0..self.n_steps).rev() {
                let half = 1 << step;
                for (rank, &value) in ranks.iter_mut().zip(values) {
                    *rank += half * usize::from(self.cuts[*rank + half - 1] < value);
                }
            }
            for (lane, rank) in ranks.into_iter().enumerate() {
                keep(chunk_idx * LANES + lane, rank);
            }
        }
    }
}

#[cfg(target_arch = "x86_64")]
mod avx512 {
    #![allow(unsafe_code)]

    use std::arch::x86_64::*;

    use super::{LINE, Ranker};

    impl Ranker {
        /// As `rank_all`, for a multiple of 8 values and less than 2^16 thresholds: the cells of 8
        /// values are found at once, and the last three steps of a search are one comparison with 8
        /// thresholds. `keep` is called with the position of each 8 values, counted in eights.
        #[inline]
        #[target_feature(enable = "avx512f,avx512bw,popcnt")]
        pub(in super::super) fn rank_all_avx512(
            &self,
            values: &[f64],
            mut keep: impl FnMut(usize, [u16; 8]),
        ) {
            let low = _mm512_set1_pd(self.low);
            let cells_per_unit = _mm512_set1_pd(self.cells_per_unit);
            let last_cell = _mm512_set1_pd(self.last_cell);
            for (chunk_idx, values) in values.as_chunks::<8>().0.iter().enumerate() {
                // SAFETY: 64 readable bytes.
                let chunk = unsafe { _mm512_loadu_pd(values.as_ptr()) };
                let cell = _mm512_mul_pd(_mm512_sub_pd(chunk, low), cells_per_unit);
                // Of a NaN and a number, the instruction takes the second: a NaN lies in cell 0.
                let cell = _mm512_min_pd(_mm512_max_pd(cell, _mm512_setzero_pd()), last_cell);
                let mut cells = [0_i32; 8];
                // SAFETY: 32 writable bytes.
                unsafe {
                    _mm256_storeu_si256(cells.as_mut_ptr().cast(), _mm512_cvtpd_epi32(cell));
                }
                let mut ranks = [0; 8];
                for ((kept, &cell), &value) in ranks.iter_mut().zip(&cells).zip(values) {
                    // SAFETY: a cell is between 0 and `last_cell`, which is the last of `starts`.
                    let mut rank = unsafe { *self.starts.get_unchecked(cell as usize) } as usize;
                    for step in (3..self.n_steps).rev() {
                        let half = 1 << step;
                        rank += half * usize::from(self.cuts[rank + half - 1] < value);
                    }
                    debug_assert!(rank + LINE <= self.cuts.len());
                    // SAFETY: the rank is at most the number of thresholds, and at least 8 numbers
                    // follow the last of them.
                    let line = unsafe { _mm512_loadu_pd(self.cuts.as_ptr().add(rank)) };
                    let below = _mm512_cmp_pd_mask::<_CMP_LT_OQ>(line, _mm512_set1_pd(value));
                    *kept = (rank + below.count_ones() as usize) as u16;
                }
                keep(chunk_idx, ranks);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn check(cuts: Vec<f64>, values: &[f64]) {
        let ranker = Ranker::new(cuts.clone());
        let mut padded = values.to_vec();
        padded.resize(values.len().next_multiple_of(LANES), f64::NAN);
        let mut ranks = vec![usize::MAX; padded.len()];
        ranker.rank_all(&padded, |row, rank| ranks[row] = rank);
        for (&value, rank) in padded.iter().zip(ranks) {
            let expected = cuts.iter().filter(|&&cut| cut < value).count();
            assert_eq!(rank, expected, "{value} among {cuts:?}");
            assert_eq!(ranker.rank(value), expected);
        }
        #[cfg(target_arch = "x86_64")]
        if crate::Simd::Avx512.is_available() {
            let mut vector_ranks = vec![usize::MAX; padded.len()];
            // SAFETY: the processor has AVX-512.
            #[allow(unsafe_code)]
            unsafe {
                ranker.rank_all_avx512(&padded, |chunk, ranks| {
                    for (lane, rank) in ranks.into_iter().enumerate() {
                        vector_ranks[chunk * 8 + lane] = usize::from(rank);
                    }
                });
            }
            for (value, rank) in padded.iter().zip(vector_ranks) {
                assert_eq!(rank, ranker.rank(*value), "{value} among {cuts:?}");
            }
        }
    }

    #[test]
    fn extremes_are_ranked() {
        let values = [f64::MIN, -1.0, -0.0, 0.0, 5e-324, 1.0, f64::MAX, f64::NAN];
        let sets: [&[f64]; 8] = [
            &[],
            &[0.0],
            &[f64::MIN, f64::MAX],
            &[-5e-324, 0.0, 5e-324],
            &[f64::MIN, -1.0, 0.0, 1e-300, 1.0, 1e300, f64::MAX],
            &[1.0, 1.0 + f64::EPSILON],
            &[-1e308, 1e308],
            &[1e15, 1e15 + 1.0, 1e15 + 2.0],
        ];
        for cuts in sets {
            check(cuts.to_vec(), &values);
            check(cuts.to_vec(), cuts);
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(if cfg!(miri) { 4 } else { 256 }))]

        #[test]
        fn ranks_are_counts(
            mut cuts in prop::collection::vec(any::<f64>(), 0..300),
            values in prop::collection::vec(any::<f64>(), 1..50),
            scale in prop_oneof![Just(1.0), Just(1e-3), Just(1e200)],
        ) {
            cuts = cuts.into_iter().map(|cut| (cut / scale).clamp(-1e308, 1e308) + 0.0).collect();
            cuts.retain(|cut| cut.is_finite());
            cuts.sort_by(f64::total_cmp);
            cuts.dedup();
            let mut values: Vec<f64> = values.into_iter().filter(|value| value.is_finite()).collect();
            values.extend(cuts.iter().take(40));
            values.extend(cuts.iter().take(40).map(|cut| cut.next_up()));
            values.retain(|value| value.is_finite());
            check(cuts, &values);
        }

        #[test]
        fn even_cuts_are_counted(n in 1_usize..if cfg!(miri) { 200 } else { 5000 }, values in prop::collection::vec(-0.2..1.2, 1..64)) {
            let cuts: Vec<f64> = (0..n).map(|i| i as f64 / n as f64).collect();
            check(cuts, &values);
        }
    }
}
