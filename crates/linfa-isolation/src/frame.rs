//! Numbers small enough for `f32`.

use ndarray::ArrayView2;

use crate::error::FormatError;

/// Largest magnitude in a frame, 2^63: further out, values are taken as that far out.
pub(crate) const LARGEST_VALUE: f32 = (1_u64 << 63) as f32;

/// Largest magnitude of a weight, 2^50.
pub(crate) const LARGEST_WEIGHT: f32 = (1_u64 << 50) as f32;

/// Most terms of a sum. `f32` can hold every sum of so many products of the largest magnitudes, so
/// projections are always finite.
pub(crate) const MAX_TERMS: usize = 1 << 14;

/// Shifts and scales columns before they are rounded to `f32`.
///
/// Splits along sums of columns are kept and compared in `f32`: a quarter of the work and half of the
/// memory of `f64`. Rounding a raw value such as a time in seconds since 1970 to `f32` would lose
/// what tells rows apart, so a column is first shifted by about its mean and scaled by a power of two
/// (which is exact) to about 1. What is then lost is below 1e-7 of the distance from the mean: a row
/// so close to a split's threshold may go the other way than in exact arithmetic. The training rows
/// are rounded alike, so fitting and scoring agree.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Frame {
    pub(crate) centres: Vec<f64>,
    /// Powers of two.
    pub(crate) scales: Vec<f64>,
}

impl Frame {
    /// A frame for rows like `rows`, shape (n_samples, n_features); NaN values are passed over.
    pub(crate) fn new(records: &ArrayView2<'_, f64>, rows: &[usize]) -> Self {
        let n_features = records.ncols();
        let mut centres = vec![0.0; n_features];
        let mut counts = vec![0_u32; n_features];
        for &row in rows {
            for (column, &value) in records.row(row).iter().enumerate() {
                if !value.is_nan() {
                    counts[column] += 1;
                    // A running mean: a sum may overflow.
                    centres[column] += value / f64::from(counts[column])
                        - centres[column] / f64::from(counts[column]);
                }
            }
        }
        let mut widths = vec![0.0_f64; n_features];
        for &row in rows {
            for (column, &value) in records.row(row).iter().enumerate() {
                let width = (value - centres[column]).abs();
                if width > widths[column] {
                    widths[column] = width;
                }
            }
        }
        let scales = centres
            .iter()
            .zip(&widths)
            .map(|(&centre, &width)| {
                power_of_two_below(if width > 0.0 { width } else { centre.abs() })
            })
            .collect();
        Self { centres, scales }
    }

    /// `value` of `column` in the frame, finite if `value` is, NaN if it is NaN.
    #[inline]
    pub(crate) fn map(&self, column: usize, value: f64) -> f32 {
        map(value, self.centres[column], self.scales[column])
    }

    pub(crate) fn check(&self, n_features: usize) -> Result<(), FormatError> {
        let sound = self.centres.len() == n_features
            && self.scales.len() == n_features
            && self.centres.iter().all(|centre| centre.is_finite())
            && self
                .scales
                .iter()
                .all(|&scale| scale > 0.0 && scale.is_finite());
        if !sound {
            return Err(FormatError::invalid(
                "a column's centre or scale is missing or not finite",
            ));
        }
        Ok(())
    }
}

/// See [`Frame::map`].
#[inline]
pub(crate) fn map(value: f64, centre: f64, scale: f64) -> f32 {
    (((value - centre) * scale) as f32).clamp(-LARGEST_VALUE, LARGEST_VALUE)
}

/// 1 over the power of two in `(width / 2, width]`, within what `f64` can hold.
fn power_of_two_below(width: f64) -> f64 {
    let exponent = (width.to_bits() >> 52) as i64 - 1023;
    f64::from_bits(((1023 - exponent.clamp(-1000, 1000)) as u64) << 52)
}

#[cfg(test)]
mod tests {
    use super::*;
    use ndarray::array;

    #[test]
    fn values_become_small_and_stay_apart() {
        let table = array![
            [1.7e9, 1e-300, 1e308, 5.0, f64::NAN],
            [1.7e9 + 1e-3, 3e-300, -1e308, 5.0, 2.0],
            [1.7e9 + 2e-3, 2e-300, 1e308, 5.0, 4.0],
        ];
        let frame = Frame::new(&table.view(), &[0, 1, 2]);
        frame.check(5).unwrap();
        let column = |column: usize| [0, 1, 2].map(|row| frame.map(column, table[[row, column]]));
        for mapped in [column(0), column(1)] {
            assert!(mapped.iter().all(|value| value.abs() < 2.5), "{mapped:?}");
        }
        let [a, b, c] = column(0);
        assert!(((b - a) / (c - a) - 0.5).abs() < 1e-3, "{a} {b} {c}");
        assert!(column(2).iter().all(|value| value.is_finite()));
        assert_eq!(column(3), [0.0; 3]);
        assert!(column(4)[0].is_nan() && column(4)[1] < column(4)[2]);
        assert_eq!(frame.map(3, f64::MAX), LARGEST_VALUE);
    }
}
