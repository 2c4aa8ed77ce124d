//! Gaussian mixture: how improbable a row is.

mod component;
mod em;

use ndarray::ArrayView2;
use serde::{Deserialize, Serialize};

use crate::bytes::{Reader, Writer};
use crate::error::{Error, FormatError, Result};
use crate::observer::FitObserver;
use crate::params::Checks;
use crate::random::Random;
use crate::sample::sample;
use crate::scaler::{Scaler, Scaling};
use crate::scorer::Scorer;
use crate::scratch::with_zeros;
use component::Component;
pub use component::CovarianceForm;
use em::{Failure, Fitted, Plan, log_sum_exp};

/// Columns at most: the work for a row grows with their square.
const MAX_COLUMNS: usize = 512;

/// Parameters of the Gaussian mixture.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct GaussianMixtureConfig {
    /// Components, 1 to 256. Default 3.
    pub n_components: usize,
    /// What a component's covariance may be. Default full.
    pub covariance: CovarianceForm,
    /// Added to every variance, on columns of standard deviation 1; 0 to 1. Default 10⁻³.
    pub regularization: f64,
    /// Steps at most, 1 to 10,000. Default 200.
    pub max_iterations: usize,
    /// EM ends where the mean log likelihood of a row rises by less, 0 to 1. Default 10⁻³.
    pub tolerance: f64,
    /// Runs from other centers, of which the likeliest is kept, 1 to 100. Default 3.
    pub n_starts: usize,
    /// Training rows that are looked at, 2 to 10,000,000; of more, a seeded sample. Default 100,000.
    pub max_rows: usize,
}

impl Default for GaussianMixtureConfig {
    fn default() -> Self {
        Self {
            n_components: 3,
            covariance: CovarianceForm::Full,
            regularization: 1e-3,
            max_iterations: 200,
            tolerance: 1e-3,
            n_starts: 3,
            max_rows: 100_000,
        }
    }
}

impl GaussianMixtureConfig {
    /// The keys of an experiment file.
    pub const KEYS: &'static [&'static str] = &[
        "n_components",
        "covariance",
        "regularization",
        "max_iterations",
        "tolerance",
        "n_starts",
        "max_rows",
    ];

    pub(crate) fn violations(&self) -> Vec<String> {
        Checks::default()
            .within("n_components", self.n_components, 1..=256)
            .within("regularization", self.regularization, 0.0..=1.0)
            .within("max_iterations", self.max_iterations, 1..=10_000)
            .within("tolerance", self.tolerance, 0.0..=1.0)
            .within("n_starts", self.n_starts, 1..=100)
            .within("max_rows", self.max_rows, 2..=10_000_000)
            .done()
    }
}

/// A mixture of Gaussians, fitted by expectation–maximization (Dempster, Laird and Rubin 1977) on
/// columns in standard units.
///
/// The score is −ln of the density of the scaled row. A feature's part is its part of half the squared
/// Mahalanobis distance from each component, weighted by how likely the row is of that component:
/// parts sum to the score but for what the components' sizes and weights add.
#[derive(Debug, Clone, PartialEq)]
pub struct GaussianMixture {
    form: CovarianceForm,
    scaler: Scaler,
    components: Vec<Component>,
}

impl GaussianMixture {
    pub(crate) fn fit(
        config: &GaussianMixtureConfig,
        rows: ArrayView2<'_, f64>,
        seed: u64,
        observer: &mut dyn FitObserver,
    ) -> Result<Self> {
        let dims = rows.ncols();
        if dims > MAX_COLUMNS {
            return Err(Error::invalid("columns", dims, "at most 512 are possible"));
        }
        let scaler = Scaler::fit(rows, Scaling::Standard);
        let kept = sample(rows, config.max_rows, seed, 0x676d_6d00);
        let values = scaler.scale_rows(kept.view());
        let plan = Plan {
            n_components: config.n_components,
            form: config.covariance,
            regularization: config.regularization,
            max_iterations: config.max_iterations,
            tolerance: config.tolerance,
        };
        let mut best: Option<Fitted> = None;
        let mut collapsed = String::new();
        for run in 0..config.n_starts {
            let mut random = Random::new(seed, 0x676d_6d01 + run as u64);
            match em::run(&values, dims, plan, &mut random, observer) {
                Ok(found) => {
                    let better = |best: &Fitted| found.log_likelihood > best.log_likelihood;
                    if best.as_ref().is_none_or(better) {
                        best = Some(found);
                    }
                }
                Err(Failure::Collapsed(how)) => collapsed = how,
                Err(Failure::Stopped) => return Err(Error::Stopped),
            }
        }
        let Some(best) = best else {
            return Err(Error::fit(
                "gaussian_mixture",
                format!(
                    "the mixture collapsed in each of {} starts ({collapsed}): fewer components \
                     than {}, a larger `regularization` or more rows are needed",
                    config.n_starts, config.n_components
                ),
            ));
        };
        observer.fact("gaussian_mixture.log_likelihood", best.log_likelihood);
        observer.fact("gaussian_mixture.iterations", best.iterations as f64);
        observer.fact(
            "gaussian_mixture.converged",
            f64::from(u8::from(best.converged)),
        );
        Ok(Self {
            form: config.covariance,
            scaler,
            components: best.components,
        })
    }

    /// Number of components.
    #[must_use]
    pub fn n_components(&self) -> usize {
        self.components.len()
    }

    pub(crate) fn parts(&self) -> (CovarianceForm, &Scaler, &[Component]) {
        (self.form, &self.scaler, &self.components)
    }

    /// Calls `done` with the scaled row and each component's share of it; gives −ln density.
    fn density(&self, row: &[f64], done: impl FnOnce(&[f64], &[f64])) -> f64 {
        let dims = row.len();
        with_zeros(2 * dims + self.components.len(), |room| {
            let (scaled, room) = room.split_at_mut(dims);
            let (room, shares) = room.split_at_mut(dims);
            self.scaler.scale_row(row, scaled);
            for (share, component) in shares.iter_mut().zip(&self.components) {
                *share = component.log_density(scaled, room).max(f64::MIN);
            }
            let log = log_sum_exp(shares);
            done(scaled, shares);
            (-log).min(f64::MAX)
        })
    }

    pub(crate) fn write(&self, out: &mut Writer) {
        out.u8(match self.form {
            CovarianceForm::Full => 0,
            CovarianceForm::Diagonal => 1,
        });
        self.scaler.write(out);
        out.u64(self.components.len() as u64);
        for component in &self.components {
            component.write(out);
        }
    }

    pub(crate) fn read(from: &mut Reader<'_>) -> Result<Self, FormatError> {
        let form = match from.u8("mixture form")? {
            0 => CovarianceForm::Full,
            1 => CovarianceForm::Diagonal,
            form => return Err(FormatError::content("mixture form", format!("`{form}`"))),
        };
        let scaler = Scaler::read(from)?;
        let n = from.count("mixture components", 24)?;
        let components = (0..n)
            .map(|_| Component::read(from, form, scaler.n_features()))
            .collect::<Result<Vec<_>, _>>()?;
        if components.is_empty() {
            return Err(FormatError::content("mixture", "it has no component"));
        }
        Ok(Self {
            form,
            scaler,
            components,
        })
    }
}

impl Scorer for GaussianMixture {
    fn n_features(&self) -> usize {
        self.scaler.n_features()
    }

    fn score_row(&self, row: &[f64]) -> f64 {
        self.density(row, |_, _| ())
    }

    fn explain_row(&self, row: &[f64], parts: &mut [f64]) -> f64 {
        parts.fill(0.0);
        self.density(row, |scaled, shares| {
            for (component, share) in self.components.iter().zip(shares) {
                component.add_parts(*share, scaled, parts);
            }
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use ndarray::Array2;

    /// Two clouds, at −5 and at 5, the second twice as wide in its first column.
    fn clouds() -> Array2<f64> {
        let mut random = Random::new(3, 3);
        Array2::from_shape_fn((2_000, 2), |(i, j)| {
            let side = if i % 4 == 0 { -5.0 } else { 5.0 };
            let width = if side > 0.0 && j == 0 { 2.0 } else { 1.0 };
            side + width * random.normal()
        })
    }

    #[test]
    fn the_score_is_minus_log_density_of_what_was_drawn() {
        let rows = clouds();
        for covariance in [CovarianceForm::Full, CovarianceForm::Diagonal] {
            let config = GaussianMixtureConfig {
                n_components: 2,
                covariance,
                regularization: 1e-6,
                tolerance: 1e-9,
                ..GaussianMixtureConfig::default()
            };
            let mixture = GaussianMixture::fit(&config, rows.view(), 1, &mut ()).unwrap();
            // Scores differ by the ratio of densities: at the centers, weight over width.
            let at = |x: f64| mixture.score_row(&[x, x]);
            let ratio = at(-5.0) - at(5.0);
            let expected = -(0.25_f64 / (0.75 / 2.0)).ln();
            assert!((ratio - expected).abs() < 0.25, "{ratio} {expected}");
            // Between the clouds is further out than within them, though the mean is near.
            assert!(at(0.0) > at(5.0) + 8.0);
            assert!(at(1e300).is_finite() && at(100.0) > at(50.0));
            let mut parts = [0.0; 2];
            mixture.explain_row(&[5.0, 9.0], &mut parts);
            assert!((parts[1] - 8.0).abs() < 1.0 && parts[0] < 0.3, "{parts:?}");
        }
    }

    #[test]
    fn a_collapse_is_a_clear_error() {
        let rows = Array2::from_shape_fn((30, 2), |(i, _)| (i % 2) as f64);
        let config = GaussianMixtureConfig {
            n_components: 6,
            regularization: 0.0,
            ..GaussianMixtureConfig::default()
        };
        let error = GaussianMixture::fit(&config, rows.view(), 1, &mut ())
            .unwrap_err()
            .to_string();
        assert!(error.contains("collapsed in each of 3 starts"), "{error}");
        assert!(error.contains("component"), "{error}");
    }
}
