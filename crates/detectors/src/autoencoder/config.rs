//! What may be set.

use serde::{Deserialize, Serialize};

use super::{Activation, MAX_LAYERS, MAX_WIDTH};
use crate::params::Checks;

/// Parameters of the autoencoder.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct AutoencoderConfig {
    /// Neurons of the encoder's layers, the middle last; the decoder mirrors them. 1 to 8 layers of 1
    /// to 4,096. Default: one and a half times the columns, then two fifths of them.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub widths: Option<Vec<usize>>,
    /// Of all layers but the last, which is linear. Default tanh.
    pub activation: Activation,
    /// Adam's step, above 0 and at most 1. Default 0.003.
    pub learning_rate: f64,
    /// Share of a weight that a step at rate 1 takes off, 0 to 1. Default 0.
    pub weight_decay: f64,
    /// Rows of a step, 1 to 65,536. Default 256.
    pub batch_size: usize,
    /// Passes over the rows at most, 1 to 100,000. Default 200.
    pub max_epochs: usize,
    /// Epochs without a better loss after which training ends, 1 to 100,000. Default 10.
    pub patience: usize,
    /// Share of the rows held out to stop by, 0 to 0.5; with 0 the training loss decides. Default 0.1.
    pub validation: f64,
    /// Standard deviation of noise added to inputs in training, in units of the columns', 0 to 10:
    /// the network learns to take it away. Default 0.
    pub noise: f64,
    /// Rows that it learns from, 2 to 100,000,000; of more, a seeded sample. Default 200,000.
    pub max_rows: usize,
}

impl Default for AutoencoderConfig {
    fn default() -> Self {
        Self {
            widths: None,
            activation: Activation::Tanh,
            learning_rate: 3e-3,
            weight_decay: 0.0,
            batch_size: 256,
            max_epochs: 200,
            patience: 10,
            validation: 0.1,
            noise: 0.0,
            max_rows: 200_000,
        }
    }
}

impl AutoencoderConfig {
    /// The keys of an experiment file.
    pub const KEYS: &'static [&'static str] = &[
        "widths",
        "activation",
        "learning_rate",
        "weight_decay",
        "batch_size",
        "max_epochs",
        "patience",
        "validation",
        "noise",
        "max_rows",
    ];

    pub(crate) fn violations(&self) -> Vec<String> {
        let mut checks = Checks::default();
        if let Some(widths) = &self.widths {
            let fits = (1..=MAX_LAYERS).contains(&widths.len())
                && widths.iter().all(|w| (1..=MAX_WIDTH).contains(w));
            let shown = format!("{widths:?}");
            checks.that("widths", shown, fits, "1 to 8 numbers from 1 to 4096");
        }
        checks
            .above("learning_rate", self.learning_rate, 0.0, 1.0)
            .within("weight_decay", self.weight_decay, 0.0..=1.0)
            .within("batch_size", self.batch_size, 1..=65_536)
            .within("max_epochs", self.max_epochs, 1..=100_000)
            .within("patience", self.patience, 1..=100_000)
            .within("validation", self.validation, 0.0..=0.5)
            .within("noise", self.noise, 0.0..=10.0)
            .within("max_rows", self.max_rows, 2..=100_000_000)
            .done()
    }

    /// Of all layers, the input and the output among them.
    pub(super) fn all_widths(&self, dims: usize) -> Vec<usize> {
        let encoder = self.widths.clone().unwrap_or_else(|| {
            let wide = (3 * dims).div_ceil(2).clamp(2, MAX_WIDTH);
            vec![wide, (2 * dims).div_ceil(5).clamp(1, MAX_WIDTH)]
        });
        let down = std::iter::once(dims).chain(encoder.iter().copied());
        let up = encoder.iter().rev().skip(1).copied();
        down.chain(up).chain(std::iter::once(dims)).collect()
    }
}
