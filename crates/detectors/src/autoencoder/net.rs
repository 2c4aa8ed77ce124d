//! A dense network from rows to themselves, through a narrow middle.

use pulp::Simd;
use serde::{Deserialize, Serialize};

use super::kernel::{LANES, Weights, multiply, tanh};
use crate::bytes::{Reader, Writer};
use crate::error::FormatError;
use crate::random::Random;

/// What neurons but the last do with their sums.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Activation {
    /// Hyperbolic tangent: what lies far out can't be copied through.
    #[default]
    Tanh,
    /// max(0, x).
    Relu,
    /// x, and x / 100 below 0.
    LeakyRelu,
}

impl Activation {
    pub(crate) const LEAK: f32 = 0.01;

    #[inline(always)]
    fn of(self, line: &mut [f32]) {
        match self {
            Self::Tanh => {
                for value in line {
                    *value = tanh(*value);
                }
            }
            // Written so that NaN stays.
            Self::Relu => {
                for value in line {
                    *value = if *value < 0.0 { 0.0 } else { *value };
                }
            }
            Self::LeakyRelu => {
                for value in line {
                    *value = if *value < 0.0 {
                        *value * Self::LEAK
                    } else {
                        *value
                    };
                }
            }
        }
    }

    /// Multiplies gradients by the slope at what the neurons gave.
    #[inline(always)]
    pub(super) fn slope(self, gave: &[f32], gradient: &mut [f32]) {
        let both = gradient.iter_mut().zip(gave);
        match self {
            Self::Tanh => {
                for (gradient, gave) in both {
                    *gradient *= 1.0 - gave * gave;
                }
            }
            Self::Relu => {
                for (gradient, gave) in both {
                    *gradient = if *gave > 0.0 { *gradient } else { 0.0 };
                }
            }
            Self::LeakyRelu => {
                for (gradient, gave) in both {
                    *gradient = if *gave < 0.0 {
                        *gradient * Self::LEAK
                    } else {
                        *gradient
                    };
                }
            }
        }
    }
}

/// Weights, line by line of a layer's outputs, then its biases; layer after layer.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Net {
    /// Neurons of each layer, the input first.
    pub(super) widths: Vec<usize>,
    pub(super) activation: Activation,
    pub(super) parameters: Vec<f32>,
}

/// Where a layer's parameters are.
#[derive(Debug, Clone, Copy)]
pub(super) struct Layer {
    pub(super) n_in: usize,
    pub(super) n_out: usize,
    pub(super) weights: usize,
    pub(super) biases: usize,
    pub(super) is_last: bool,
}

impl Net {
    /// Weights drawn uniformly within ±√(6 / (inputs + outputs)) (Glorot and Bengio 2010), biases 0.
    pub(super) fn new(widths: Vec<usize>, activation: Activation, random: &mut Random) -> Self {
        let n = count(&widths);
        let mut net = Self {
            widths,
            activation,
            parameters: vec![0.0; n],
        };
        let layers: Vec<Layer> = net.layers().collect();
        for layer in layers {
            let bound = (6.0 / (layer.n_in + layer.n_out) as f64).sqrt();
            for weight in &mut net.parameters[layer.weights..layer.biases] {
                *weight = ((2.0 * random.uniform() - 1.0) * bound) as f32;
            }
        }
        net
    }

    pub(super) fn layers(&self) -> impl Iterator<Item = Layer> + '_ {
        let mut at = 0;
        let n = self.widths.len() - 1;
        self.widths.windows(2).enumerate().map(move |(i, widths)| {
            let (n_in, n_out) = (widths[0], widths[1]);
            let layer = Layer {
                n_in,
                n_out,
                weights: at,
                biases: at + n_in * n_out,
                is_last: i + 1 == n,
            };
            at += n_in * n_out + n_out;
            layer
        })
    }

    /// Fills every panel but the first, which is the input.
    #[inline(always)]
    pub(super) fn forward<S: Simd>(&self, simd: S, width: usize, panels: &mut [Vec<f32>]) {
        for (i, layer) in self.layers().enumerate() {
            let (before, after) = panels.split_at_mut(i + 1);
            let weights = Weights {
                values: &self.parameters[layer.weights..layer.biases],
                result_step: layer.n_in,
                term_step: 1,
                n_results: layer.n_out,
                n_terms: layer.n_in,
            };
            let bias = &self.parameters[layer.biases..][..layer.n_out];
            multiply(simd, weights, Some(bias), &before[i], width, &mut after[0]);
            if !layer.is_last {
                self.activation.of(&mut after[0][..layer.n_out * width]);
            }
        }
    }

    /// A panel for each layer, `width` rows wide.
    pub(super) fn panels(&self, width: usize) -> Vec<Vec<f32>> {
        self.widths.iter().map(|n| vec![0.0; n * width]).collect()
    }

    pub(super) fn write(&self, out: &mut Writer) {
        out.u64(self.widths.len() as u64);
        for width in &self.widths {
            out.u64(*width as u64);
        }
        out.u8(match self.activation {
            Activation::Tanh => 0,
            Activation::Relu => 1,
            Activation::LeakyRelu => 2,
        });
        for value in &self.parameters {
            out.raw(&value.to_le_bytes());
        }
    }

    pub(super) fn read(from: &mut Reader<'_>) -> Result<Self, FormatError> {
        let refuse = |reason| Err(FormatError::content("autoencoder", reason));
        let n = from.count("autoencoder layers", 8)?;
        let mut widths = Vec::new();
        for _ in 0..n {
            let width = from.u64("autoencoder layer")?;
            if !(1..=super::MAX_WIDTH as u64).contains(&width) {
                return refuse("a layer has no neuron, or too many");
            }
            widths.push(width as usize);
        }
        if !(3..=2 * super::MAX_LAYERS + 1).contains(&n) || widths.first() != widths.last() {
            return refuse("it needs as many outputs as inputs, and layers between");
        }
        let activation = match from.u8("autoencoder activation")? {
            0 => Activation::Tanh,
            1 => Activation::Relu,
            2 => Activation::LeakyRelu,
            _ => return refuse("the activation is not known"),
        };
        let bytes = from.raw("autoencoder weights", 4 * count(&widths))?;
        let parameters: Vec<f32> = bytes
            .as_chunks()
            .0
            .iter()
            .map(|b| f32::from_le_bytes(*b))
            .collect();
        if parameters.iter().any(|v| !v.is_finite()) {
            return refuse("a weight is not finite");
        }
        Ok(Self {
            widths,
            activation,
            parameters,
        })
    }
}

/// Parameters of a network.
fn count(widths: &[usize]) -> usize {
    widths.windows(2).map(|w| w[0] * w[1] + w[1]).sum()
}

/// The same network for one row: a layer's outputs lie side by side.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct RowNet {
    activation: Activation,
    layers: Vec<RowLayer>,
}

#[derive(Debug, Clone, PartialEq)]
struct RowLayer {
    /// Outputs, a whole number of [`LANES`]; those beyond the layer's are 0.
    width: usize,
    biases: Vec<f32>,
    /// Input after input.
    weights: Vec<f32>,
    is_last: bool,
}

impl RowNet {
    pub(super) fn new(net: &Net) -> Self {
        let layers = net.layers().map(|layer| {
            let width = layer.n_out.next_multiple_of(LANES);
            let mut biases = net.parameters[layer.biases..][..layer.n_out].to_vec();
            biases.resize(width, 0.0);
            let mut weights = vec![0.0; layer.n_in * width];
            for i in 0..layer.n_in {
                for o in 0..layer.n_out {
                    weights[i * width + o] = net.parameters[layer.weights + o * layer.n_in + i];
                }
            }
            RowLayer {
                width,
                biases,
                weights,
                is_last: layer.is_last,
            }
        });
        Self {
            activation: net.activation,
            layers: layers.collect(),
        }
    }

    /// Neurons of the widest layer, a whole number of [`LANES`].
    pub(super) fn widest(&self) -> usize {
        self.layers
            .iter()
            .map(|layer| layer.width)
            .max()
            .unwrap_or(0)
    }

    /// Replaces the row in `values` by what the network makes of it; both slices are
    /// [`widest`](Self::widest) long.
    #[inline(always)]
    pub(super) fn forward<S: Simd>(&self, simd: S, values: &mut [f32], room: &mut [f32]) {
        let (mut values, mut room) = (values, room);
        for layer in &self.layers {
            let step = layer.width / S::F32_LANES;
            let (biases, _) = S::as_simd_f32s(&layer.biases);
            let (weights, _) = S::as_simd_f32s(&layer.weights);
            let (out, _) = S::as_mut_simd_f32s(&mut room[..layer.width]);
            for (at, (out, bias)) in out.iter_mut().zip(biases).enumerate() {
                let mut sum = *bias;
                // As many values count as the layer has inputs.
                for (value, weight) in values.iter().zip(weights[at..].iter().step_by(step)) {
                    let value = simd.splat_f32s(*value);
                    sum = simd.add_f32s(sum, simd.mul_f32s(*weight, value));
                }
                *out = sum;
            }
            if !layer.is_last {
                self.activation.of(&mut room[..layer.width]);
            }
            std::mem::swap(&mut values, &mut room);
        }
        // After an odd number of layers the result lies in the other slice.
        if self.layers.len() % 2 == 1 {
            room.copy_from_slice(values);
        }
    }
}
