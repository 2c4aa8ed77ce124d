//! Looking for values that a forest doesn't take.

use ndarray::ArrayView2;

use crate::error::{Error, Result};

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
        let n_bad = values
            .iter()
            .map(|&value| u64::from(!is_allowed(value, allow_nan)))
            .sum::<u64>();
        if n_bad == 0 {
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
    let mut first: Option<Error> = None;
    let mut first_row = usize::MAX;
    for &row in drawn {
        let bad = |value: &f64| !is_allowed(*value, allow_nan);
        if row < first_row
            && let Some(column) = records.row(row).iter().position(bad)
        {
            first_row = row;
            first = Some(Error::NonFinite {
                row,
                column,
                value: records[[row, column]],
            });
        }
    }
    first.map_or(Ok(()), Err)
}
