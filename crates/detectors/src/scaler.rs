//! Bringing columns of different units to one scale before distances are measured.

use ndarray::ArrayView2;
use serde::{Deserialize, Serialize};

use crate::bytes::{Reader, Writer};
use crate::error::FormatError;
use crate::max_z::{MaxZ, mean_and_sd};
use crate::threshold::quantile_of;

/// How columns are brought to one scale.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Scaling {
    /// Left as they are.
    None,
    /// Mean 0 and standard deviation 1 over the training rows.
    #[default]
    Standard,
    /// Median 0, and the distance between the quartiles that of a standard normal distribution:
    /// outliers in the training rows move it little. A column whose quartiles are equal takes its
    /// standard deviation.
    Robust,
}

/// Between the quartiles of a standard normal distribution.
const NORMAL_IQR: f64 = 1.348_979_500_392_163_4;

/// Center and scale of every column.
///
/// A column that was constant in training is centered and otherwise left as it is (scale 1, as
/// scikit-learn's `StandardScaler` does). Scaled values are cut at ±[`MaxZ::LIMIT`], so that squares
/// stay finite.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Scaler {
    center: Vec<f64>,
    scale: Vec<f64>,
}

impl Scaler {
    /// Fits on finite `rows`, (n_samples, n_features), at least one.
    pub(crate) fn fit(rows: ArrayView2<'_, f64>, scaling: Scaling) -> Self {
        use rayon::prelude::*;
        let (center, scale) = (0..rows.ncols())
            .into_par_iter()
            .map(|feature| {
                if scaling == Scaling::None {
                    return (0.0, 1.0);
                }
                let mut column: Vec<f64> = rows.column(feature).to_vec();
                let (mean, sd) = mean_and_sd(column.as_slice().into());
                let usable = |scale: f64| scale > 0.0 && scale.is_finite();
                let sd = if usable(sd) { sd } else { 1.0 };
                if scaling == Scaling::Standard {
                    return (mean, sd);
                }
                let median = quantile_of(&mut column, 0.5);
                let low = quantile_of(&mut column, 0.25);
                let high = quantile_of(&mut column, 0.75);
                let spread = (high / 2.0 - low / 2.0) / NORMAL_IQR * 2.0;
                (median, if usable(spread) { spread } else { sd })
            })
            .unzip();
        Self { center, scale }
    }

    /// Centers and scales.
    pub(crate) fn parts(&self) -> (&[f64], &[f64]) {
        (&self.center, &self.scale)
    }

    pub(crate) fn n_features(&self) -> usize {
        self.center.len()
    }

    /// The scaled value of one feature.
    #[inline]
    pub(crate) fn scaled(&self, feature: usize, value: f64) -> f64 {
        // Halves, because a difference of two values near ±1e308 would overflow.
        let z = (value / 2.0 - self.center[feature] / 2.0) / self.scale[feature] * 2.0;
        z.clamp(-MaxZ::LIMIT, MaxZ::LIMIT)
    }

    /// Scales one row into `out`, both n_features long.
    #[inline(always)]
    pub(crate) fn scale_row(&self, row: &[f64], out: &mut [f64]) {
        let columns = self.center.iter().zip(&self.scale);
        for ((out, value), (center, scale)) in out.iter_mut().zip(row).zip(columns) {
            let z = (value / 2.0 - center / 2.0) / scale * 2.0;
            *out = z.clamp(-MaxZ::LIMIT, MaxZ::LIMIT);
        }
    }

    /// All rows scaled, row after row.
    pub(crate) fn scale_rows(&self, rows: ArrayView2<'_, f64>) -> Vec<f64> {
        let mut out = Vec::with_capacity(rows.len());
        for row in rows.rows() {
            out.extend(row.iter().enumerate().map(|(j, v)| self.scaled(j, *v)));
        }
        out
    }

    pub(crate) fn write(&self, out: &mut Writer) {
        out.f64s(&self.center);
        out.f64s(&self.scale);
    }

    pub(crate) fn read(from: &mut Reader<'_>) -> Result<Self, FormatError> {
        let center = from.f64s("scaler centers")?;
        let scale = from.f64s("scaler scales")?;
        let sound = !center.is_empty()
            && center.len() == scale.len()
            && center.iter().all(|v| v.is_finite())
            && scale.iter().all(|v| v.is_finite() && *v > 0.0);
        if sound {
            Ok(Self { center, scale })
        } else {
            Err(FormatError::content(
                "scaler",
                "it needs as many finite centers as positive finite scales, and at least one",
            ))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use ndarray::array;

    #[test]
    fn scales_by_moments_or_by_quartiles() {
        let rows = array![[0.0, 5.0], [1.0, 5.0], [2.0, 5.0], [3.0, 5.0], [1e6, 5.0]];
        let robust = Scaler::fit(rows.view(), Scaling::Robust);
        assert_eq!(robust.scaled(0, 2.0), 0.0);
        assert!((robust.scaled(0, 4.0) - NORMAL_IQR).abs() < 1e-12);
        assert_eq!(robust.scaled(1, 6.0), 1.0);
        let plain = Scaler::fit(rows.view(), Scaling::None);
        assert_eq!(plain.scale_rows(rows.view())[2], 1.0);
        let standard = Scaler::fit(array![[1.0], [3.0]].view(), Scaling::Standard);
        assert_eq!(standard.scaled(0, 4.0), 2.0);
        assert_eq!(standard.scaled(0, f64::MAX), MaxZ::LIMIT);
    }
}
