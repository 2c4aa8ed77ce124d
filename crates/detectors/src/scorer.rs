//! What every detector of this crate does with a row; [`Detector`](crate::Detector) checks the input
//! and deals with threads.

use ndarray::ArrayView2;

use crate::scratch::with_zeros;

/// A fitted detector that is handed rows of the right length, all values finite.
pub(crate) trait Scorer: Sync {
    /// Number of columns.
    fn n_features(&self) -> usize;

    /// The score of one row: finite, higher is more anomalous.
    fn score_row(&self, row: &[f64]) -> f64;

    /// The score of one row, and in `parts` what each feature has to do with it.
    fn explain_row(&self, row: &[f64], parts: &mut [f64]) -> f64;

    /// Scores of `rows`, bit for bit those of [`score_row`](Self::score_row).
    fn score_rows(&self, rows: ArrayView2<'_, f64>, out: &mut [f64]) {
        each_row(rows, |i, row| out[i] = self.score_row(row));
    }
}

/// Calls `visit` with every row as a slice; one that isn't in one piece is copied first.
pub(crate) fn each_row(rows: ArrayView2<'_, f64>, mut visit: impl FnMut(usize, &[f64])) {
    with_zeros(rows.ncols(), |copy| {
        for (i, row) in rows.rows().into_iter().enumerate() {
            match row.as_slice() {
                Some(row) => visit(i, row),
                None => {
                    for (copy, value) in copy.iter_mut().zip(row) {
                        *copy = *value;
                    }
                    visit(i, copy);
                }
            }
        }
    });
}
