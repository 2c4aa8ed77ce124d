//! The trivial baseline.

use ndarray::{ArrayView1, ArrayView2};
use rayon::prelude::*;

use crate::bytes::{Reader, Writer};
use crate::error::{Error, FormatError, Result};
use crate::scorer::Scorer;

/// The largest |z| over the features, against the mean and standard deviation of training.
///
/// z = (x − mean) / sd, with the population standard deviation. |z| is cut at [`MaxZ::LIMIT`], so
/// that a score is always finite. A column that was constant in training contributes 0 to a row
/// with the same value, and [`MaxZ::LIMIT`] to any other: nothing is known about its spread.
#[derive(Debug, Clone, PartialEq)]
pub struct MaxZ {
    mean: Vec<f64>,
    sd: Vec<f64>,
}

impl MaxZ {
    /// The largest |z| there is: 10⁹ standard deviations.
    pub const LIMIT: f64 = 1e9;

    /// Fits means and deviations of `rows`, (n_samples, n_features), all finite.
    pub fn fit(rows: ArrayView2<'_, f64>) -> Result<Self> {
        if rows.is_empty() {
            return Err(Error::Empty {
                what: "training rows",
            });
        }
        crate::detector::check_finite("training rows", rows)?;
        let (mean, sd) = (0..rows.ncols())
            .into_par_iter()
            .map(|feature| {
                // Side by side: the column is gone through several times.
                let column: Vec<f64> = rows.column(feature).to_vec();
                mean_and_sd(column.as_slice().into())
            })
            .unzip();
        Ok(Self { mean, sd })
    }

    /// Number of columns.
    #[must_use]
    pub fn n_features(&self) -> usize {
        self.mean.len()
    }

    /// Training means, one a feature.
    #[must_use]
    pub fn mean(&self) -> &[f64] {
        &self.mean
    }

    /// Training standard deviations, one a feature; 0 for a constant column.
    #[must_use]
    pub fn sd(&self) -> &[f64] {
        &self.sd
    }

    /// Signed z of one feature's value, within ±[`MaxZ::LIMIT`].
    #[must_use]
    pub fn z(&self, feature: usize, value: f64) -> f64 {
        let (mean, sd) = (self.mean[feature], self.sd[feature]);
        if sd > 0.0 {
            // Halves, because a difference of two values near ±1e308 would overflow.
            let z = (value / 2.0 - mean / 2.0) / sd * 2.0;
            z.clamp(-Self::LIMIT, Self::LIMIT)
        } else if value == mean {
            0.0
        } else {
            Self::LIMIT.copysign(value - mean)
        }
    }

    pub(crate) fn write(&self, out: &mut Writer) {
        out.f64s(&self.mean);
        out.f64s(&self.sd);
    }

    pub(crate) fn read(from: &mut Reader<'_>) -> Result<Self, FormatError> {
        let mean = from.f64s("max_z means")?;
        let sd = from.f64s("max_z deviations")?;
        if mean.is_empty() || mean.len() != sd.len() {
            return Err(FormatError::content(
                "max_z",
                format!("{} means and {} deviations", mean.len(), sd.len()),
            ));
        }
        if mean.iter().any(|v| !v.is_finite()) || sd.iter().any(|v| !(v.is_finite() && *v >= 0.0)) {
            return Err(FormatError::content(
                "max_z",
                "a mean is not finite or a deviation is not a finite number of at least 0",
            ));
        }
        Ok(Self { mean, sd })
    }
}

impl Scorer for MaxZ {
    fn n_features(&self) -> usize {
        self.mean.len()
    }

    fn score_row(&self, row: &[f64]) -> f64 {
        let z = row.iter().enumerate().map(|(j, value)| self.z(j, *value));
        z.fold(0.0, |largest, z| largest.max(z.abs()))
    }

    /// A feature's part is its |z|.
    fn explain_row(&self, row: &[f64], parts: &mut [f64]) -> f64 {
        for (feature, (part, value)) in parts.iter_mut().zip(row).enumerate() {
            *part = self.z(feature, *value).abs();
        }
        self.score_row(row)
    }
}

/// Mean and population standard deviation in two passes over the distances from the first value: a
/// plain sum of squares loses all digits for prices near 1e5 with moves near 1e-4, and a plain mean
/// of a constant column is not always that constant. A constant column gives exactly itself and 0.
///
/// Columns with values beyond 1e150 are scaled first; their squares would overflow.
pub(crate) fn mean_and_sd(column: ArrayView1<'_, f64>) -> (f64, f64) {
    let Some(&first) = column.first() else {
        return (0.0, 0.0);
    };
    let n = column.len() as f64;
    let largest = column.iter().fold(0.0_f64, |m, v| m.max(v.abs()));
    let scale = if largest > 1e150 { largest } else { 1.0 };
    let origin = first / scale;
    let shift = column.iter().map(|v| v / scale - origin).sum::<f64>() / n;
    let squares: f64 = column
        .iter()
        .map(|v| (v / scale - origin - shift).powi(2))
        .sum();
    let sd = (squares / n).sqrt() * scale;
    ((origin + shift) * scale, sd.min(f64::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;
    use ndarray::array;

    #[test]
    fn scores_the_largest_deviation() {
        let train = array![[1.0, 10.0], [3.0, 10.0], [1.0, 14.0], [3.0, 14.0]];
        let z = MaxZ::fit(train.view()).unwrap();
        assert_eq!(z.mean(), [2.0, 12.0]);
        assert_eq!(z.sd(), [1.0, 2.0]);
        assert_eq!(z.score_row(&[2.0, 20.0]), 4.0);
        assert_eq!(z.score_row(&[-3.0, 20.0]), 5.0);
        assert_eq!(z.z(0, -3.0), -5.0);
    }

    #[test]
    fn a_constant_column_is_zero_or_the_limit() {
        let train = array![[0.1], [0.1], [0.1]];
        let z = MaxZ::fit(train.view()).unwrap();
        assert_eq!(z.sd(), [0.0]);
        assert_eq!(z.score_row(&[0.1]), 0.0);
        assert_eq!(z.score_row(&[0.100_000_1]), MaxZ::LIMIT);
        assert_eq!(z.z(0, -4.0), -MaxZ::LIMIT);
    }

    #[test]
    fn huge_values_stay_finite() {
        let train = array![[f64::MAX], [f64::MIN], [0.0]];
        let z = MaxZ::fit(train.view()).unwrap();
        for value in [f64::MAX, f64::MIN, 0.0, f64::MIN_POSITIVE] {
            assert!(z.score_row(&[value]).is_finite());
        }
        assert!(z.sd()[0].is_finite() && z.sd()[0] > 1e307);
    }
}
