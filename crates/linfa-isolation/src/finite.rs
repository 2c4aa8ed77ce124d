//! Looking for values that a forest doesn't take.

use ndarray::ArrayView2;
use rayon::prelude::*;

use crate::error::{Error, Result};

/// Values that one rayon task looks at.
const CHUNK_LEN: usize = 1 << 17;

/// Whether `value` may be fitted or scored.
#[inline]
pub(crate) fn is_allowed(value: f64, allow_nan: bool) -> bool {
    value.is_finite() || (allow_nan && value.is_nan())
}

/// Refuses the first value in row-major order that is not finite, NaN only unless `allow_nan`. Rows
/// are counted from `first_row`.
pub(crate) fn require_allowed(
    rows: &ArrayView2<'_, f64>,
    first_row: usize,
    allow_nan: bool,
) -> Result<()> {
    // A contiguous table is checked without regard to rows first: that is a plain pass over memory.
    if let Some(values) = rows.as_slice_memory_order() {
        let all_allowed = |values: &[f64]| {
            let bad = values
                .iter()
                .map(|&value| u64::from(!is_allowed(value, allow_nan)));
            bad.sum::<u64>() == 0
        };
        let chunks = values.par_chunks(CHUNK_LEN);
        if chunks.map(all_allowed).reduce(|| true, |a, b| a && b) {
            return Ok(());
        }
    }
    match rows
        .indexed_iter()
        .find(|&(_, &value)| !is_allowed(value, allow_nan))
    {
        Some(((row, column), &value)) => Err(Error::NonFinite {
            row: first_row + row,
            column,
            value,
        }),
        None => Ok(()),
    }
}

/// [`require_allowed`] for the rows `drawn`.
pub(crate) fn require_allowed_rows(
    records: &ArrayView2<'_, f64>,
    drawn: &[usize],
    allow_nan: bool,
) -> Result<()> {
    let mut first: Option<(usize, usize)> = None;
    for &row in drawn {
        let values = records.row(row);
        let column = match values.as_slice() {
            Some(values) if values.iter().all(|&value| is_allowed(value, allow_nan)) => None,
            _ => values
                .iter()
                .position(|&value| !is_allowed(value, allow_nan)),
        };
        if let Some(column) = column {
            first = first.min(Some((row, column))).or(Some((row, column)));
        }
    }
    match first {
        Some((row, column)) => Err(Error::NonFinite {
            row,
            column,
            value: records[[row, column]],
        }),
        None => Ok(()),
    }
}
