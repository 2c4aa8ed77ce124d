//! Autoencoder: what can't be rebuilt through a narrow middle.

mod config;
mod kernel;
mod net;
mod train;

use ndarray::ArrayView2;
use pulp::{Arch, Simd};

use crate::bytes::{Reader, Writer};
use crate::error::{Error, FormatError, Result};
use crate::observer::FitObserver;
use crate::random::Random;
use crate::sample::{rows_drawn, sample};
use crate::scaler::{Scaler, Scaling};
use crate::scorer::Scorer;
use crate::threshold::quantile_of;
use crate::vectors::vectorized;
pub use config::AutoencoderConfig;
use kernel::LANES;
pub use net::Activation;
use net::{Net, RowNet};
use train::{Failure, Plan, Rows};

/// Neurons of a layer at most, and layers of the encoder.
const MAX_WIDTH: usize = 4_096;
const MAX_LAYERS: usize = 8;
/// Rows that are scored side by side.
const BLOCK: usize = 64;
/// Columns that are scaled side by side.
const SIDE_BY_SIDE: usize = 64;
/// Rows that the units of errors come from.
const UNIT_ROWS: usize = 50_000;
/// The least unit of a feature's error, in its standard deviations: a feature that is rebuilt almost
/// exactly would otherwise cry out at every tremor.
const LEAST_UNIT: f64 = 0.02;

/// A dense symmetric autoencoder (Hinton and Salakhutdinov, Science 2006; with noise, Vincent et al.
/// 2008) on columns in standard units.
///
/// The score is the root of the mean squared reconstruction error, each feature's error in units of its
/// own: the median absolute error in training, times 1.4826. A feature's part is its squared error over
/// the number of features and the score: parts sum to the score.
///
/// Weights and sums are `f32`; training runs on one thread, so a seed gives the same weights on any
/// machine, whatever its vector instructions.
#[derive(Debug, Clone)]
pub struct Autoencoder {
    scaler: Scaler,
    net: Net,
    /// One over the unit of each feature's error.
    per_unit: Vec<f64>,
    row_net: RowNet,
    arch: Arch,
}

/// A layer of the network.
pub(crate) struct DenseLayer<'a> {
    pub(crate) n_in: usize,
    /// Output after output.
    pub(crate) weights: &'a [f32],
    pub(crate) biases: &'a [f32],
    pub(crate) is_last: bool,
}

impl Autoencoder {
    pub(crate) fn fit(
        config: &AutoencoderConfig,
        rows: ArrayView2<'_, f64>,
        seed: u64,
        observer: &mut dyn FitObserver,
    ) -> Result<Self> {
        let dims = rows.ncols();
        if dims > MAX_WIDTH {
            return Err(Error::invalid("columns", dims, "at most 4096 are possible"));
        }
        let scaler = Scaler::fit(rows, Scaling::Standard);
        let kept = sample(rows, config.max_rows, seed, 0x6165_0000);
        let scaled = scaler.scale_rows(kept.view());
        // Rows held out are drawn, not the last: symbols may follow each other.
        let n = kept.nrows();
        let held_out = ((n as f64 * config.validation) as usize).min(n - 1);
        let mut is_held_out = vec![false; n];
        for row in rows_drawn(n, held_out, seed, 0x6165_0001) {
            is_held_out[row] = true;
        }
        let (mut train, mut validation) = (Vec::new(), Vec::new());
        for (row, held_out) in scaled.chunks_exact(dims).zip(&is_held_out) {
            let into = if *held_out {
                &mut validation
            } else {
                &mut train
            };
            into.extend(row.iter().map(|v| *v as f32));
        }
        drop(scaled);
        let rows_of = |values| Rows { values, dims };
        let mut random = Random::new(seed, 0x6165_0002);
        let net = Net::new(config.all_widths(dims), config.activation, &mut random);
        let plan = Plan {
            batch_size: config.batch_size.min(n),
            learning_rate: config.learning_rate as f32,
            weight_decay: config.weight_decay as f32,
            max_epochs: config.max_epochs,
            patience: config.patience,
            noise: config.noise as f32,
        };
        let trained = train::train(
            net,
            rows_of(&train),
            rows_of(&validation),
            plan,
            &mut random,
            observer,
        )
        .map_err(|failure| match failure {
            Failure::Stopped => Error::Stopped,
            Failure::Diverged { epoch, loss } => Error::fit(
                "autoencoder",
                format!(
                    "training diverged in epoch {epoch} (loss {loss}): a smaller \
                     `learning_rate` than {} is needed",
                    config.learning_rate
                ),
            ),
        })?;
        observer.fact("autoencoder.epochs", trained.epochs as f64);
        observer.fact("autoencoder.best_epoch", trained.best_epoch as f64);
        observer.fact("autoencoder.loss", trained.best_loss);
        let mut autoencoder = Self::new(scaler, trained.net, vec![1.0; dims]);
        autoencoder.per_unit = autoencoder.units(sample(rows, UNIT_ROWS, seed, 0x6165_0003).view());
        Ok(autoencoder)
    }

    fn new(scaler: Scaler, net: Net, per_unit: Vec<f64>) -> Self {
        Self {
            scaler,
            row_net: RowNet::new(&net),
            net,
            per_unit,
            arch: Arch::new(),
        }
    }

    /// One over 1.4826 times the median absolute error of each feature.
    fn units(&self, rows: ArrayView2<'_, f64>) -> Vec<f64> {
        let dims = self.n_features();
        let mut errors: Vec<Vec<f64>> = vec![Vec::with_capacity(rows.nrows()); dims];
        crate::scorer::each_row(rows, |_, row| {
            self.errors(row, |feature, error| errors[feature].push(error.abs()));
        });
        errors
            .iter_mut()
            .map(|errors| 1.0 / (quantile_of(errors, 0.5) * 1.4826).max(LEAST_UNIT))
            .collect()
    }

    /// Neurons of each layer, the input first.
    #[must_use]
    pub fn widths(&self) -> &[usize] {
        &self.net.widths
    }

    pub(crate) fn scaler(&self) -> &Scaler {
        &self.scaler
    }

    pub(crate) fn per_unit(&self) -> &[f64] {
        &self.per_unit
    }

    pub(crate) fn activation(&self) -> Activation {
        self.net.activation
    }

    /// The layers after the input.
    pub(crate) fn dense_layers(&self) -> impl Iterator<Item = DenseLayer<'_>> {
        self.net.layers().map(|layer| DenseLayer {
            n_in: layer.n_in,
            weights: &self.net.parameters[layer.weights..layer.biases],
            biases: &self.net.parameters[layer.biases..][..layer.n_out],
            is_last: layer.is_last,
        })
    }

    /// How the hyperbolic tangent is computed: where x is cut, and the polynomials in x², the highest
    /// power first, whose quotient times x it is.
    pub(crate) fn tanh_parts() -> (f32, &'static [f32], &'static [f32]) {
        (kernel::TANH_LIMIT, &kernel::TANH_TOP, &kernel::TANH_BOTTOM)
    }

    /// Calls `each` with every feature and its error, in units.
    fn errors(&self, row: &[f64], mut each: impl FnMut(usize, f64)) {
        let widest = self.row_net.widest();
        let mut work = |values: &mut [f32], room: &mut [f32]| {
            for (feature, (value, out)) in row.iter().zip(&mut *values).enumerate() {
                *out = self.scaler.scaled(feature, *value) as f32;
            }
            vectorized!(
                           self.arch,
            simd,
                           <'a> (
                               net: &'a RowNet = &self.row_net,
                               values: &'a mut [f32] = values,
                               room: &'a mut [f32] = room,
                           ) -> () { net.forward(simd, values, room) }
                       );
            for (feature, (value, gave)) in row.iter().zip(&*values).enumerate() {
                let wanted = self.scaler.scaled(feature, *value) as f32;
                each(feature, self.error(feature, wanted, *gave));
            }
        };
        if widest <= 64 {
            work(&mut [0.0; 64][..widest], &mut [0.0; 64][..widest]);
        } else {
            work(&mut vec![0.0; widest], &mut vec![0.0; widest]);
        }
    }

    /// A feature's error, in its units.
    #[inline(always)]
    fn error(&self, feature: usize, wanted: f32, gave: f32) -> f64 {
        f64::from(wanted - gave) * self.per_unit[feature]
    }

    /// The score of summed squared errors.
    #[inline(always)]
    fn root(&self, sum: f64) -> f64 {
        (sum / self.per_unit.len() as f64).sqrt().min(f64::MAX)
    }

    #[inline(always)]
    fn score_block<S: Simd>(
        &self,
        simd: S,
        rows: ArrayView2<'_, f64>,
        panels: &mut [Vec<f32>],
        out: &mut [f64],
    ) {
        let dims = rows.ncols();
        for (place, row) in rows.rows().into_iter().enumerate() {
            // As one slice the divisions are done side by side.
            if let (Some(row), true) = (row.as_slice(), dims <= SIDE_BY_SIDE) {
                let scaled = &mut [0.0; SIDE_BY_SIDE][..dims];
                self.scaler.scale_row(row, scaled);
                for (line, value) in panels[0].chunks_exact_mut(BLOCK).zip(scaled) {
                    line[place] = *value as f32;
                }
            } else {
                for (feature, value) in row.iter().enumerate() {
                    panels[0][feature * BLOCK + place] = self.scaler.scaled(feature, *value) as f32;
                }
            }
        }
        self.net.forward(simd, BLOCK, panels);
        let (Some(wanted), Some(gave)) = (panels.first(), panels.last()) else {
            return;
        };
        let mut sums = [0.0_f64; BLOCK];
        let lines = wanted.chunks_exact(BLOCK).zip(gave.chunks_exact(BLOCK));
        for (feature, (wanted, gave)) in lines.enumerate() {
            for (sum, (wanted, gave)) in sums.iter_mut().zip(wanted.iter().zip(gave)) {
                let error = self.error(feature, *wanted, *gave);
                *sum += error * error;
            }
        }
        for (out, sum) in out.iter_mut().zip(sums) {
            *out = self.root(sum);
        }
    }

    pub(crate) fn write(&self, out: &mut Writer) {
        self.scaler.write(out);
        self.net.write(out);
        out.f64s(&self.per_unit);
    }

    pub(crate) fn read(from: &mut Reader<'_>) -> Result<Self, FormatError> {
        let scaler = Scaler::read(from)?;
        let net = Net::read(from)?;
        let per_unit = from.f64s("autoencoder units")?;
        let dims = scaler.n_features();
        let units = |unit: &f64| *unit > 0.0 && *unit <= 1.0 / LEAST_UNIT;
        if net.widths[0] != dims || per_unit.len() != dims || !per_unit.iter().all(units) {
            return Err(FormatError::content(
                "autoencoder",
                "its scaler, network and units are not for the same columns",
            ));
        }
        Ok(Self::new(scaler, net, per_unit))
    }
}

impl PartialEq for Autoencoder {
    fn eq(&self, other: &Self) -> bool {
        (&self.scaler, &self.net, &self.per_unit) == (&other.scaler, &other.net, &other.per_unit)
    }
}

impl Scorer for Autoencoder {
    fn n_features(&self) -> usize {
        self.scaler.n_features()
    }

    fn score_row(&self, row: &[f64]) -> f64 {
        let mut sum = 0.0;
        self.errors(row, |_, error| sum += error * error);
        self.root(sum)
    }

    fn explain_row(&self, row: &[f64], parts: &mut [f64]) -> f64 {
        let mut sum = 0.0;
        self.errors(row, |feature, error| {
            parts[feature] = error * error;
            sum += error * error;
        });
        let score = self.root(sum);
        let per = score * parts.len() as f64;
        for part in parts {
            *part = if per > 0.0 { *part / per } else { 0.0 };
        }
        score
    }

    fn score_rows(&self, rows: ArrayView2<'_, f64>, out: &mut [f64]) {
        let mut panels = self.net.panels(BLOCK);
        let blocks = rows.axis_chunks_iter(ndarray::Axis(0), BLOCK);
        for (rows, out) in blocks.zip(out.chunks_mut(BLOCK)) {
            vectorized!(
                           self.arch,
            simd,
                           <'a, 'r> (
                               of: &'a Autoencoder = self,
                               rows: ArrayView2<'r, f64> = rows,
                               panels: &'a mut [Vec<f32>] = &mut panels,
                               out: &'a mut [f64] = out,
                           ) -> () { of.score_block(simd, rows, panels, out) }
                       );
        }
    }
}

const _: () = assert!(BLOCK.is_multiple_of(LANES));

#[cfg(test)]
mod tests {
    use super::*;
    use crate::observer::FitRecord;
    use ndarray::Array2;

    /// Four columns that two numbers make.
    fn plane(n: usize, seed: u64) -> Array2<f64> {
        let mut random = Random::new(seed, 1);
        let mut rows = Array2::zeros((n, 4));
        for mut row in rows.rows_mut() {
            let (a, b) = (random.normal(), random.normal());
            for (value, of) in row.iter_mut().zip([a, b, a + b, a - b]) {
                *value = of + 0.02 * random.normal();
            }
        }
        rows
    }

    fn config() -> AutoencoderConfig {
        AutoencoderConfig {
            widths: Some(vec![8, 2]),
            max_epochs: 60,
            learning_rate: 0.01,
            ..AutoencoderConfig::default()
        }
    }

    #[test]
    fn learns_what_rows_have_in_common_and_says_how_it_went() {
        let rows = plane(4_000, 1);
        let mut record = FitRecord::default();
        let autoencoder = Autoencoder::fit(&config(), rows.view(), 1, &mut record).unwrap();
        assert_eq!(autoencoder.widths(), [4, 8, 2, 8, 4]);
        let losses: Vec<f64> = record
            .epochs
            .iter()
            .filter_map(|e| e.validation_loss)
            .collect();
        assert!(losses.len() > 3);
        assert!(losses[losses.len() - 1] < 0.1 * losses[0], "{losses:?}");
        // Each value is ordinary, together they are not of the plane.
        let of_plane = autoencoder.score_row(&[1.0, 1.0, 2.0, 0.0]);
        let off = autoencoder.score_row(&[1.0, 1.0, -2.0, 0.0]);
        assert!(off > 10.0 * of_plane, "{off} {of_plane}");
        let mut parts = [0.0; 4];
        let score = autoencoder.explain_row(&[1.0, 1.0, -2.0, 0.0], &mut parts);
        assert!((parts.iter().sum::<f64>() / score - 1.0).abs() < 1e-12);
        assert!(autoencoder.score_row(&[f64::MAX; 4]).is_finite());
    }

    #[test]
    fn noise_is_learned_away_and_the_same_seed_gives_the_same_network() {
        let rows = plane(1_000, 2);
        let config = AutoencoderConfig {
            noise: 0.2,
            max_epochs: 5,
            activation: Activation::LeakyRelu,
            ..config()
        };
        let fit = |seed| Autoencoder::fit(&config, rows.view(), seed, &mut ()).unwrap();
        assert_eq!(fit(1), fit(1));
        assert_ne!(fit(1), fit(2));
    }

    #[test]
    fn a_divergence_is_a_clear_error() {
        let rows = plane(2_000, 3);
        let config = AutoencoderConfig {
            learning_rate: 1.0,
            activation: Activation::Relu,
            batch_size: 4,
            widths: Some(vec![64, 64, 64, 64]),
            ..config()
        };
        let error = Autoencoder::fit(&config, rows.view(), 1, &mut ()).unwrap_err();
        assert!(error.to_string().contains("diverged in epoch"), "{error}");
    }

    #[test]
    fn whoever_looks_on_may_end_it() {
        struct Impatient;
        impl FitObserver for Impatient {
            fn should_stop(&mut self) -> bool {
                true
            }
        }
        let rows = plane(100, 4);
        let error = Autoencoder::fit(&config(), rows.view(), 1, &mut Impatient).unwrap_err();
        assert_eq!(error, Error::Stopped);
    }
}
