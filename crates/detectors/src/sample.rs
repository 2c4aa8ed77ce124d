//! A seeded sample of rows, for detectors that keep or compare rows.

use ndarray::{Array2, ArrayView2, Axis, CowArray, Ix2};

use crate::random::Random;

/// Ascending row numbers: all of `n`, or `most` of them drawn by `seed` without replacement, each row
/// with the same chance, so that the density keeps its shape.
pub(crate) fn rows_drawn(n: usize, most: usize, seed: u64, stream: u64) -> Vec<usize> {
    let mut rows: Vec<usize> = (0..n).collect();
    if n <= most {
        return rows;
    }
    let mut random = Random::new(seed, stream);
    for i in 0..most {
        let j = i + random.below(n - i);
        rows.swap(i, j);
    }
    rows.truncate(most);
    rows.sort_unstable();
    rows
}

/// The rows themselves; borrowed where all are taken.
pub(crate) fn sample(
    rows: ArrayView2<'_, f64>,
    most: usize,
    seed: u64,
    stream: u64,
) -> CowArray<'_, f64, Ix2> {
    if rows.nrows() <= most {
        return rows.into();
    }
    let drawn: Array2<f64> = rows.select(Axis(0), &rows_drawn(rows.nrows(), most, seed, stream));
    drawn.into()
}
