//! Tables for the tests, from a small generator of their own.

use ndarray::Array2;

/// Uniform values in [0, 1): SplitMix64.
pub(crate) fn uniform_table(n_rows: usize, n_columns: usize, seed: u64) -> Array2<f64> {
    let mut state = seed;
    Array2::from_shape_simple_fn((n_rows, n_columns), || {
        state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let z = (state ^ (state >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((z ^ (z >> 31)) >> 11) as f64 * 0.5_f64.powi(53)
    })
}
