//! Mahalanobis distance: how far out a row lies when the columns' correlations count.

mod estimate;

use ndarray::ArrayView2;
use serde::{Deserialize, Serialize};

use crate::bytes::{Reader, Writer};
use crate::error::{Error, FormatError, Result};
use crate::linalg::{dot, invert_with_ridge, squared_distance};
use crate::observer::FitObserver;
use crate::params::Checks;
use crate::sample::sample;
use crate::scaler::{Scaler, Scaling};
use crate::scorer::Scorer;
use crate::scratch::with_zeros;
use estimate::{Estimate, Rows};

/// Columns at most: the work for a row grows with their square.
const MAX_COLUMNS: usize = 512;

/// How location and scatter are estimated.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Scatter {
    /// The covariance.
    Covariance,
    /// The covariance drawn towards a multiple of the identity (Ledoit and Wolf 2004).
    Shrinkage,
    /// Minimum covariance determinant (Rousseeuw and Van Driessen 1999): outliers in the training rows
    /// move it little.
    #[default]
    Robust,
    /// Exponentially weighted: later rows count more, and it keeps learning.
    Exponential,
}

/// Parameters of the Mahalanobis distance.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct MahalanobisConfig {
    /// How location and scatter are estimated. Default robust.
    pub scatter: Scatter,
    /// Robust only: the share of the rows that is taken for regular, 0.5 to 1. Default 0.75.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub support: Option<f64>,
    /// Exponential only: rows after which a row counts half, 1 to 10⁹. Default 5,000.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub half_life: Option<f64>,
    /// Training rows that are looked at, 2 to 100,000,000; of more, a seeded sample. The exponential
    /// one looks at the last so many. Default 200,000.
    pub max_rows: usize,
}

impl Default for MahalanobisConfig {
    fn default() -> Self {
        Self {
            scatter: Scatter::Robust,
            support: None,
            half_life: None,
            max_rows: 200_000,
        }
    }
}

impl MahalanobisConfig {
    /// The keys of an experiment file.
    pub const KEYS: &'static [&'static str] = &["scatter", "support", "half_life", "max_rows"];

    const SUPPORT: f64 = 0.75;
    const HALF_LIFE: f64 = 5_000.0;

    pub(crate) fn violations(&self) -> Vec<String> {
        let mut checks = Checks::default();
        if let Some(support) = self.support {
            let robust = self.scatter == Scatter::Robust;
            checks.that("support", support, robust, "only with scatter `robust`");
            checks.within("support", support, 0.5..=1.0);
        }
        if let Some(half_life) = self.half_life {
            let exponential = self.scatter == Scatter::Exponential;
            let only = "only with scatter `exponential`";
            checks.that("half_life", half_life, exponential, only);
            checks.within("half_life", half_life, 1.0..=1e9);
        }
        checks
            .within("max_rows", self.max_rows, 2..=100_000_000)
            .done()
    }

    pub(crate) fn resolved(self) -> Self {
        Self {
            support: match self.scatter {
                Scatter::Robust => self.support.or(Some(Self::SUPPORT)),
                _ => self.support,
            },
            half_life: match self.scatter {
                Scatter::Exponential => self.half_life.or(Some(Self::HALF_LIFE)),
                _ => self.half_life,
            },
            ..self
        }
    }
}

/// The Mahalanobis distance from the training rows.
///
/// With z the row less the mean and P the inverse covariance, the score is √(zᵀPz), and a feature's part
/// z·(Pz) / score: parts sum to the score exactly, and one that lies where its correlations expect it
/// may be negative. Columns are brought to standard units first (quartiles with the robust scatter),
/// so that nothing depends on their units. Where columns depend on each other, as little as is needed
/// is added to the diagonal.
#[derive(Debug, Clone, PartialEq)]
pub struct Mahalanobis {
    scaler: Scaler,
    estimate: Estimate,
    /// The inverse covariance.
    precision: Vec<f64>,
    /// Of the exponential one.
    half_life: Option<f64>,
}

impl Mahalanobis {
    pub(crate) fn fit(
        config: &MahalanobisConfig,
        rows: ArrayView2<'_, f64>,
        seed: u64,
        observer: &mut dyn FitObserver,
    ) -> Result<Self> {
        let dims = rows.ncols();
        if dims > MAX_COLUMNS {
            return Err(Error::invalid("columns", dims, "at most 512 are possible"));
        }
        let scaling = match config.scatter {
            Scatter::Robust => Scaling::Robust,
            _ => Scaling::Standard,
        };
        let scaler = Scaler::fit(rows, scaling);
        let values = if config.scatter == Scatter::Exponential {
            let first = rows.nrows().saturating_sub(config.max_rows);
            scaler.scale_rows(rows.slice(ndarray::s![first.., ..]))
        } else {
            scaler.scale_rows(sample(rows, config.max_rows, seed, 0x6d61_6861).view())
        };
        let scaled = Rows {
            values: &values,
            dims,
        };
        let mut half_life = None;
        let estimate = match config.scatter {
            Scatter::Covariance => Some(estimate::plain(scaled)),
            Scatter::Shrinkage => {
                let (estimate, shrinkage) = estimate::ledoit_wolf(scaled);
                observer.fact("mahalanobis.shrinkage", shrinkage);
                Some(estimate)
            }
            Scatter::Robust => {
                let support = config.support.unwrap_or(MahalanobisConfig::SUPPORT);
                let mut stopped = false;
                let found = estimate::mcd(scaled, support, seed, &mut || {
                    stopped = stopped || observer.should_stop();
                    stopped
                });
                if stopped {
                    return Err(Error::Stopped);
                }
                found
            }
            Scatter::Exponential => {
                let life = config.half_life.unwrap_or(MahalanobisConfig::HALF_LIFE);
                half_life = Some(life);
                Some(estimate::exponential(scaled, life))
            }
        };
        let inverse = estimate
            .as_ref()
            .and_then(|e| invert_with_ridge(&e.covariance, dims));
        let (Some(estimate), Some((precision, _))) = (estimate, inverse) else {
            return Err(Error::fit(
                "mahalanobis",
                "the covariance of the training rows can't be inverted",
            ));
        };
        Ok(Self {
            scaler,
            estimate,
            precision,
            half_life,
        })
    }

    /// Whether it learns from [`update`](crate::Detector::update).
    #[must_use]
    pub fn is_streaming(&self) -> bool {
        self.half_life.is_some()
    }

    /// Takes a row into the exponential estimate.
    pub(crate) fn update(&mut self, row: &[f64]) {
        let Some(half_life) = self.half_life else {
            return;
        };
        with_zeros(row.len(), |scaled| {
            self.scaler.scale_row(row, scaled);
            estimate::learn(&mut self.estimate, scaled, half_life);
        });
        if let Some((precision, _)) = invert_with_ridge(&self.estimate.covariance, row.len()) {
            self.precision = precision;
        }
    }

    /// The scaler, the mean and the inverse covariance.
    pub(crate) fn parts(&self) -> (&Scaler, &[f64], &[f64]) {
        (&self.scaler, &self.estimate.mean, &self.precision)
    }

    fn distance(&self, row: &[f64], then: impl FnOnce(&[f64], f64)) -> f64 {
        let dims = row.len();
        with_zeros(2 * dims, |room| {
            let (scaled, z) = room.split_at_mut(dims);
            self.scaler.scale_row(row, scaled);
            let square = squared_distance(scaled, &self.estimate.mean, &self.precision, z);
            let distance = square.sqrt().min(f64::MAX);
            then(z, distance);
            distance
        })
    }

    pub(crate) fn write(&self, out: &mut Writer) {
        self.scaler.write(out);
        out.f64s(&self.estimate.mean);
        out.f64s(&self.estimate.covariance);
        out.f64s(&self.precision);
        out.f64(self.half_life.unwrap_or(0.0));
    }

    pub(crate) fn read(from: &mut Reader<'_>) -> Result<Self, FormatError> {
        let scaler = Scaler::read(from)?;
        let mean = from.f64s("mahalanobis mean")?;
        let covariance = from.f64s("mahalanobis covariance")?;
        let precision = from.f64s("mahalanobis precision")?;
        let half_life = from.f64("mahalanobis half-life")?;
        let dims = scaler.n_features();
        let finite = |values: &[f64]| values.iter().all(|v| v.is_finite());
        let sound = mean.len() == dims
            && dims <= MAX_COLUMNS
            && covariance.len() == dims * dims
            && precision.len() == dims * dims
            && finite(&mean)
            && finite(&covariance)
            && finite(&precision)
            && (half_life == 0.0 || (1.0..=1e9).contains(&half_life));
        if !sound {
            return Err(FormatError::content(
                "mahalanobis",
                "a mean, a covariance and its inverse of one size and finite are needed",
            ));
        }
        Ok(Self {
            scaler,
            estimate: Estimate { mean, covariance },
            precision,
            half_life: (half_life > 0.0).then_some(half_life),
        })
    }
}

impl Scorer for Mahalanobis {
    fn n_features(&self) -> usize {
        self.scaler.n_features()
    }

    fn score_row(&self, row: &[f64]) -> f64 {
        self.distance(row, |_, _| ())
    }

    fn explain_row(&self, row: &[f64], parts: &mut [f64]) -> f64 {
        self.distance(row, |z, distance| {
            let lines = self.precision.chunks_exact(z.len());
            for ((part, line), own) in parts.iter_mut().zip(lines).zip(z) {
                *part = if distance > 0.0 {
                    own * dot(line, z) / distance
                } else {
                    0.0
                };
            }
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::random::Random;
    use ndarray::Array2;

    #[test]
    fn parts_sum_to_the_score_and_correlations_count() {
        let mut random = Random::new(9, 9);
        let rows = Array2::from_shape_fn((3_000, 2), |_| random.normal());
        let rows = rows.dot(&ndarray::array![[1.0, 0.9], [0.0, 0.435_89]]);
        for scatter in [
            Scatter::Covariance,
            Scatter::Shrinkage,
            Scatter::Robust,
            Scatter::Exponential,
        ] {
            let config = MahalanobisConfig {
                scatter,
                ..MahalanobisConfig::default()
            };
            let detector = Mahalanobis::fit(&config, rows.view(), 1, &mut ()).unwrap();
            // Along the correlation, and against it.
            let with = detector.score_row(&[2.0, 2.0]);
            let against = detector.score_row(&[2.0, -2.0]);
            assert!((1.8..2.4).contains(&with), "{scatter:?}: {with}");
            assert!(against > 3.5 * with, "{scatter:?}: {against}");
            let mut parts = [0.0; 2];
            let score = detector.explain_row(&[2.0, -1.0], &mut parts);
            assert!((parts.iter().sum::<f64>() / score - 1.0).abs() < 1e-12);
            assert!(detector.score_row(&[f64::MAX, f64::MIN]).is_finite());
        }
    }

    #[test]
    fn only_the_exponential_one_learns() {
        let rows = Array2::from_shape_fn((500, 1), |(i, _)| (i % 7) as f64);
        for scatter in [Scatter::Robust, Scatter::Exponential] {
            let config = MahalanobisConfig {
                scatter,
                half_life: (scatter == Scatter::Exponential).then_some(50.0),
                ..MahalanobisConfig::default()
            };
            let mut detector = Mahalanobis::fit(&config, rows.view(), 1, &mut ()).unwrap();
            let before = detector.score_row(&[100.0]);
            for i in 0..1_000 {
                detector.update(&[100.0 + f64::from(i % 7)]);
            }
            let after = detector.score_row(&[100.0]);
            if detector.is_streaming() {
                assert!(after < 3.0, "{after}");
            } else {
                assert_eq!(after, before);
            }
        }
    }
}
