//! What training data looked like.

use std::sync::Arc;

use ndarray::ArrayView2;
use serde::{Deserialize, Serialize};

use crate::bytes::{Reader, Writer};
use crate::detector::check_finite;
use crate::drift::DriftBaseline;
use crate::error::{Error, FormatError, Result};
use crate::max_z::mean_and_sd;

/// Quantiles come from at most this many rows, evenly spaced over all.
const QUANTILE_ROWS: usize = 500_000;
/// Number of intervals between quantiles: 0 %, 1 %, …, 100 %.
const STEPS: usize = 100;

/// Summary of the training rows, one entry a feature.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Baseline {
    /// Number of training rows.
    pub n_rows: u64,
    /// One entry a feature, in column order.
    pub features: Vec<FeatureBaseline>,
    /// What drift is judged by, where it was computed; not part of the JSON.
    #[serde(skip)]
    pub drift: Option<Arc<DriftBaseline>>,
}

/// Summary of one feature over the training rows.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FeatureBaseline {
    /// Mean.
    pub mean: f64,
    /// Population standard deviation.
    pub sd: f64,
    /// The 0 %, 1 %, …, 100 % quantiles, ascending; the ends are the smallest and the largest
    /// value of all rows.
    pub quantiles: Vec<f64>,
}

impl Baseline {
    /// Summarizes `rows`, (n_samples, n_features). Means, deviations and extremes are of all rows;
    /// the quantiles between are of at most 500,000 rows at even distances.
    ///
    /// # Errors
    /// No rows, or a value that is not finite.
    pub fn fit(rows: ArrayView2<'_, f64>) -> Result<Self> {
        use rayon::prelude::*;
        if rows.is_empty() {
            return Err(Error::Empty {
                what: "training rows",
            });
        }
        check_finite("training rows", rows)?;
        let features = (0..rows.ncols())
            .into_par_iter()
            .map(|feature| {
                // Side by side: the column is gone through several times.
                let column: Vec<f64> = rows.column(feature).to_vec();
                let (mean, sd) = mean_and_sd(column.as_slice().into());
                let stride = rows.nrows().div_ceil(QUANTILE_ROWS);
                let mut values: Vec<f64> = column.iter().step_by(stride).copied().collect();
                values.sort_unstable_by(f64::total_cmp);
                let last = (values.len() - 1) as f64;
                let mut quantiles: Vec<f64> = (0..=STEPS)
                    .map(|step| {
                        let at = last * step as f64 / STEPS as f64;
                        let (low, share) = (at.floor() as usize, at.fract());
                        let high = (low + 1).min(values.len() - 1);
                        let value = values[low] * (1.0 - share) + values[high] * share;
                        value.clamp(values[low], values[high])
                    })
                    .collect();
                quantiles[0] = column.iter().copied().fold(f64::INFINITY, f64::min);
                quantiles[STEPS] = column.iter().copied().fold(f64::NEG_INFINITY, f64::max);
                FeatureBaseline {
                    mean,
                    sd,
                    quantiles,
                }
            })
            .collect();
        Ok(Self {
            n_rows: rows.nrows() as u64,
            features,
            drift: None,
        })
    }

    pub(super) fn write(&self, out: &mut Writer) {
        out.u64(self.n_rows);
        out.u64(self.features.len() as u64);
        for feature in &self.features {
            out.f64(feature.mean);
            out.f64(feature.sd);
            out.f64s(&feature.quantiles);
        }
    }

    pub(super) fn read(from: &mut Reader<'_>) -> Result<Self, FormatError> {
        let n_rows = from.u64("baseline")?;
        let n_features = from.count("baseline features", 24)?;
        let features = (0..n_features)
            .map(|_| {
                let feature = FeatureBaseline {
                    mean: from.f64("baseline")?,
                    sd: from.f64("baseline")?,
                    quantiles: from.f64s("baseline quantiles")?,
                };
                let sound = feature.mean.is_finite()
                    && feature.sd.is_finite()
                    && feature.sd >= 0.0
                    && feature.quantiles.len() == STEPS + 1
                    && feature.quantiles.iter().all(|q| q.is_finite())
                    && feature.quantiles.is_sorted();
                if sound {
                    Ok(feature)
                } else {
                    Err(FormatError::content(
                        "baseline",
                        "it needs a finite mean and deviation and 101 ascending quantiles",
                    ))
                }
            })
            .collect::<Result<_, _>>()?;
        Ok(Self {
            n_rows,
            features,
            drift: None,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use ndarray::Array2;

    #[test]
    fn quantiles_of_an_even_grid_are_the_grid() {
        let rows = Array2::from_shape_fn((101, 2), |(i, j)| (100 - i) as f64 * (j as f64 + 1.0));
        let baseline = Baseline::fit(rows.view()).unwrap();
        assert_eq!(baseline.n_rows, 101);
        let second = &baseline.features[1];
        assert_eq!(second.mean, 100.0);
        for (step, value) in second.quantiles.iter().enumerate() {
            assert!((value - 2.0 * step as f64).abs() < 1e-12);
        }
    }

    #[test]
    fn thinned_quantiles_keep_the_extremes() {
        let mut rows = Array2::from_shape_fn((1_200_001, 1), |(i, _)| (i % 1_000) as f64);
        rows[(1_234, 0)] = 1e6;
        rows[(1_235, 0)] = -1e6;
        let baseline = Baseline::fit(rows.view()).unwrap();
        let quantiles = &baseline.features[0].quantiles;
        assert_eq!((quantiles[0], quantiles[100]), (-1e6, 1e6));
        assert!((quantiles[50] - 499.5).abs() < 2.0, "{}", quantiles[50]);
        assert!(quantiles.is_sorted());
    }

    #[test]
    fn refuses_nothing_and_nonsense() {
        assert!(Baseline::fit(Array2::zeros((0, 3)).view()).is_err());
        let mut rows = Array2::zeros((3, 2));
        rows[(1, 1)] = f64::NAN;
        let error = Baseline::fit(rows.view()).unwrap_err().to_string();
        assert!(error.contains("row 1, column 1"), "{error}");
    }
}
