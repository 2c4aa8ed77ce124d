//! One Gaussian of a mixture.

use serde::{Deserialize, Serialize};

use crate::bytes::{Reader, Writer};
use crate::error::FormatError;
use crate::linalg::{cholesky, dot, invert_lower};

/// What a component's covariance may be.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum CovarianceForm {
    /// Any: columns may correlate within a component.
    #[default]
    Full,
    /// Variances alone.
    Diagonal,
}

impl CovarianceForm {
    /// Numbers of a covariance.
    pub(super) fn size(self, dims: usize) -> usize {
        match self {
            Self::Full => dims * dims,
            Self::Diagonal => dims,
        }
    }

    /// Adds the products of a row's distances from the mean; of the full form, below the diagonal.
    pub(super) fn add_products(self, share: f64, from_mean: &[f64], sums: &mut [f64]) {
        match self {
            Self::Full => {
                let lines = sums.chunks_exact_mut(from_mean.len());
                for (i, (line, a)) in lines.zip(from_mean).enumerate() {
                    let a = share * a;
                    for (sum, b) in line[..=i].iter_mut().zip(from_mean) {
                        *sum += a * b;
                    }
                }
            }
            Self::Diagonal => {
                for (sum, value) in sums.iter_mut().zip(from_mean) {
                    *sum += share * value * value;
                }
            }
        }
    }

    /// The covariance of summed products.
    pub(super) fn covariance(
        self,
        sums: &[f64],
        weight: f64,
        regularization: f64,
        dims: usize,
    ) -> Vec<f64> {
        let mut covariance: Vec<f64> = sums.iter().map(|sum| sum / weight).collect();
        let step = match self {
            Self::Full => dims + 1,
            Self::Diagonal => 1,
        };
        for variance in covariance.iter_mut().step_by(step) {
            *variance += regularization;
        }
        if self == Self::Full {
            for i in 0..dims {
                for j in i + 1..dims {
                    covariance[i * dims + j] = covariance[j * dims + i];
                }
            }
        }
        covariance
    }
}

/// A weight, a mean and a covariance, in the form that densities need.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Component {
    form: CovarianceForm,
    /// ln weight − ½ ln |2π Σ|.
    pub(crate) log_scale: f64,
    pub(crate) mean: Vec<f64>,
    /// Full: the inverse W of the lower Cholesky factor, so that the squared distance is |W(x − mean)|².
    /// Diagonal: one over each standard deviation.
    pub(crate) whitening: Vec<f64>,
}

impl Component {
    /// `None` where the covariance isn't positive definite.
    pub(super) fn new(
        weight: f64,
        mean: Vec<f64>,
        covariance: Vec<f64>,
        form: CovarianceForm,
    ) -> Option<Self> {
        let dims = mean.len();
        let whitening = match form {
            CovarianceForm::Full => invert_lower(&cholesky(&covariance, dims)?, dims),
            CovarianceForm::Diagonal => covariance.iter().map(|v| 1.0 / v.sqrt()).collect(),
        };
        let step = match form {
            CovarianceForm::Full => dims + 1,
            CovarianceForm::Diagonal => 1,
        };
        let half_log_det: f64 = whitening.iter().step_by(step).map(|w| -w.ln()).sum();
        let log_2pi = std::f64::consts::TAU.ln();
        let log_scale = weight.ln() - half_log_det - dims as f64 / 2.0 * log_2pi;
        let finite = log_scale.is_finite() && whitening.iter().all(|w| w.is_finite());
        finite.then_some(Self {
            form,
            log_scale,
            mean,
            whitening,
        })
    }

    /// ln (weight · density) of a row; `room` is as long.
    #[inline]
    pub(super) fn log_density(&self, row: &[f64], room: &mut [f64]) -> f64 {
        for ((out, value), mean) in room.iter_mut().zip(row).zip(&self.mean) {
            *out = value - mean;
        }
        let square = match self.form {
            CovarianceForm::Full => {
                let lines = self.whitening.chunks_exact(row.len()).enumerate();
                lines
                    .map(|(i, line)| dot(&line[..=i], &room[..=i]).powi(2))
                    .sum()
            }
            CovarianceForm::Diagonal => {
                let pairs = room.iter().zip(&self.whitening);
                pairs.map(|(d, w)| (d * w).powi(2)).sum::<f64>()
            }
        };
        self.log_scale - square / 2.0
    }

    /// Adds `share` times half of each column's part of the squared distance.
    pub(super) fn add_parts(&self, share: f64, row: &[f64], parts: &mut [f64]) {
        let dims = row.len();
        let from_mean = |j: usize| row[j] - self.mean[j];
        match self.form {
            CovarianceForm::Full => {
                // d (WᵀW d), column by column.
                for line in 0..dims {
                    let weights = &self.whitening[line * dims..][..=line];
                    let white: f64 = weights
                        .iter()
                        .enumerate()
                        .map(|(j, w)| w * from_mean(j))
                        .sum();
                    for (j, weight) in weights.iter().enumerate() {
                        parts[j] += share / 2.0 * white * weight * from_mean(j);
                    }
                }
            }
            CovarianceForm::Diagonal => {
                for (j, part) in parts.iter_mut().enumerate() {
                    *part += share / 2.0 * (from_mean(j) * self.whitening[j]).powi(2);
                }
            }
        }
    }

    pub(super) fn write(&self, out: &mut Writer) {
        out.f64(self.log_scale);
        out.f64s(&self.mean);
        out.f64s(&self.whitening);
    }

    pub(super) fn read(
        from: &mut Reader<'_>,
        form: CovarianceForm,
        dims: usize,
    ) -> Result<Self, FormatError> {
        let log_scale = from.f64("mixture")?;
        let mean = from.f64s("mixture mean")?;
        let whitening = from.f64s("mixture covariance")?;
        let finite = mean.iter().chain(&whitening).all(|v| v.is_finite());
        let sizes = mean.len() == dims && whitening.len() == form.size(dims);
        if !(log_scale.is_finite() && finite && sizes) {
            return Err(FormatError::content(
                "mixture",
                "a component needs a finite weight, mean and covariance for each column",
            ));
        }
        Ok(Self {
            form,
            log_scale,
            mean,
            whitening,
        })
    }
}
