//! Training: mini-batches, Adam, early stopping. On one thread, in one order.

use pulp::{Arch, Simd};

use super::kernel::{LANES, Weights, line_sum, multiply, products};
use super::net::{Layer, Net};
use crate::observer::{Epoch, FitObserver};
use crate::random::Random;
use crate::vectors::vectorized;

/// How a network is trained.
#[derive(Debug, Clone, Copy)]
pub(super) struct Plan {
    pub(super) batch_size: usize,
    pub(super) learning_rate: f32,
    pub(super) weight_decay: f32,
    pub(super) max_epochs: usize,
    pub(super) patience: usize,
    pub(super) noise: f32,
}

/// What training came to.
#[derive(Debug)]
pub(super) struct Trained {
    pub(super) net: Net,
    pub(super) epochs: usize,
    pub(super) best_epoch: usize,
    pub(super) best_loss: f64,
}

/// Why it came to nothing.
#[derive(Debug)]
pub(super) enum Failure {
    Diverged { epoch: usize, loss: f64 },
    Stopped,
}

/// A loss that is so many times what zeros for every row would give is a divergence.
const DIVERGED: f64 = 1e3;
/// An epoch that lowers the loss by less than this share doesn't count as better.
const LEAST_GAIN: f64 = 1e-4;

/// Rows, row after row.
#[derive(Debug, Clone, Copy)]
pub(super) struct Rows<'a> {
    pub(super) values: &'a [f32],
    pub(super) dims: usize,
}

impl Rows<'_> {
    pub(super) fn len(self) -> usize {
        self.values.len() / self.dims
    }

    /// Puts the rows of `numbers` side by side into `panel`; places beyond them become 0.
    #[inline(always)]
    fn gather(self, numbers: &[u32], width: usize, panel: &mut [f32]) {
        for (place, number) in numbers.iter().enumerate() {
            let row = &self.values[*number as usize * self.dims..][..self.dims];
            for (line, value) in panel.chunks_exact_mut(width).zip(row) {
                line[place] = *value;
            }
        }
        for line in panel.chunks_exact_mut(width) {
            line[numbers.len()..].fill(0.0);
        }
    }
}

/// Trains `net` on `train`, until the loss on `validation` (on `train`, where it is empty) has not been
/// better for as many epochs as the plan is patient; the best epoch's weights are kept.
pub(super) fn train(
    mut net: Net,
    train: Rows<'_>,
    validation: Rows<'_>,
    plan: Plan,
    random: &mut Random,
    observer: &mut dyn FitObserver,
) -> Result<Trained, Failure> {
    let mut trainer = Trainer::new(&net, plan);
    let mut order: Vec<u32> = (0..train.len() as u32).collect();
    let mut best = net.parameters.clone();
    let (mut best_loss, mut best_epoch) = (f64::INFINITY, 0);
    let squares: f64 = train.values.iter().map(|v| f64::from(*v).powi(2)).sum();
    let limit = DIVERGED * (squares / train.values.len() as f64).max(1.0);
    let mut epoch = 0;
    while epoch < plan.max_epochs && epoch < best_epoch + plan.patience {
        epoch += 1;
        random.shuffle(&mut order);
        let mut sum = 0.0;
        for (i, numbers) in order.chunks(plan.batch_size).enumerate() {
            if i % 256 == 0 && observer.should_stop() {
                return Err(Failure::Stopped);
            }
            sum += trainer.step(&mut net, train, numbers, random);
        }
        let train_loss = sum / train.values.len() as f64;
        let validation_loss = (validation.len() > 0).then(|| trainer.loss(&net, validation));
        let loss = validation_loss.unwrap_or(train_loss);
        observer.epoch(&Epoch {
            number: epoch,
            train_loss,
            validation_loss,
        });
        // Written so that NaN is one.
        if !(train_loss <= limit && loss.is_finite()) {
            return Err(Failure::Diverged {
                epoch,
                loss: train_loss,
            });
        }
        if loss < best_loss * (1.0 - LEAST_GAIN) {
            best_loss = loss;
            best_epoch = epoch;
            best.copy_from_slice(&net.parameters);
        }
    }
    net.parameters = best;
    Ok(Trained {
        net,
        epochs: epoch,
        best_epoch,
        best_loss,
    })
}

/// Room for a batch, and the state of Adam (Kingma and Ba 2015).
struct Trainer {
    arch: Arch,
    plan: Plan,
    layers: Vec<Layer>,
    width: usize,
    /// What the neurons of each layer give; the first holds the batch, with noise where there is some.
    panels: Vec<Vec<f32>>,
    /// The batch as it is.
    clean: Vec<f32>,
    /// The loss's slope at the neurons of each layer.
    slopes: Vec<Vec<f32>>,
    gradient: Vec<f32>,
    mean: Vec<f32>,
    square: Vec<f32>,
    steps: i32,
}

impl Trainer {
    const BETA1: f32 = 0.9;
    const BETA2: f32 = 0.999;
    const EPSILON: f32 = 1e-8;

    fn new(net: &Net, plan: Plan) -> Self {
        let width = plan.batch_size.next_multiple_of(LANES);
        let zeros = || vec![0.0; net.parameters.len()];
        Self {
            arch: Arch::new(),
            plan,
            layers: net.layers().collect(),
            width,
            panels: net.panels(width),
            clean: vec![0.0; net.widths[0] * width],
            slopes: net.panels(width),
            gradient: zeros(),
            mean: zeros(),
            square: zeros(),
            steps: 0,
        }
    }

    /// One step on the rows of `numbers`; gives the sum of their squared errors before it.
    fn step(&mut self, net: &mut Net, rows: Rows<'_>, numbers: &[u32], random: &mut Random) -> f64 {
        let arch = self.arch;
        // A last batch of few rows needs few places.
        let width = numbers.len().next_multiple_of(LANES).min(self.width);
        rows.gather(numbers, width, &mut self.clean[..rows.dims * width]);
        self.panels[0].copy_from_slice(&self.clean);
        if self.plan.noise > 0.0 {
            for value in &mut self.panels[0][..rows.dims * width] {
                *value += self.plan.noise * random.normal() as f32;
            }
        }
        vectorized!(
                   arch,
        simd,
                   <'a> (
                       trainer: &'a mut Trainer = self,
                       net: &'a mut Net = net,
                       width: usize = width,
                       n_rows: usize = numbers.len(),
                   ) -> f64 {
                       net.forward(simd, width, &mut trainer.panels);
                       let sum = trainer.error(width, n_rows);
                       trainer.backward(simd, net, width);
                       trainer.adam(net);
                       sum
                   }
               )
    }

    /// The sum of squared errors, and their slopes at the last layer.
    #[inline(always)]
    fn error(&mut self, width: usize, n_rows: usize) -> f64 {
        let (Some(gave), Some(slopes)) = (self.panels.last(), self.slopes.last_mut()) else {
            return 0.0;
        };
        let dims = self.layers[0].n_in;
        let scale = 2.0 / (n_rows * dims) as f32;
        let mut sum = 0.0;
        for line in 0..dims {
            let line = line * width..(line + 1) * width;
            let slopes = &mut slopes[line.clone()];
            let both = gave[line.clone()].iter().zip(&self.clean[line]);
            for (slope, (gave, wanted)) in slopes.iter_mut().zip(both) {
                *slope = gave - wanted;
            }
            // Places beyond the rows say nothing.
            slopes[n_rows..].fill(0.0);
            let mut squares = [0.0_f32; LANES];
            for lanes in slopes.as_chunks_mut::<LANES>().0 {
                for (square, slope) in squares.iter_mut().zip(lanes) {
                    *square += *slope * *slope;
                    *slope *= scale;
                }
            }
            sum += f64::from(line_sum(&squares));
        }
        sum
    }

    #[inline(always)]
    fn backward<S: Simd>(&mut self, simd: S, net: &Net, width: usize) {
        for (i, layer) in self.layers.iter().enumerate().rev() {
            let (before, after) = self.slopes.split_at_mut(i + 1);
            let slopes = &after[0][..layer.n_out * width];
            let inputs = &self.panels[i][..layer.n_in * width];
            let of_weights = &mut self.gradient[layer.weights..layer.biases];
            products(simd, slopes, inputs, width, layer.n_in, of_weights);
            let of_biases = &mut self.gradient[layer.biases..][..layer.n_out];
            for (bias, line) in of_biases.iter_mut().zip(slopes.chunks_exact(width)) {
                *bias = line_sum(line);
            }
            if i > 0 {
                let weights = Weights {
                    values: &net.parameters[layer.weights..layer.biases],
                    result_step: 1,
                    term_step: layer.n_in,
                    n_results: layer.n_in,
                    n_terms: layer.n_out,
                };
                let below = &mut before[i][..layer.n_in * width];
                multiply(simd, weights, None, slopes, width, below);
                net.activation.slope(inputs, below);
            }
        }
    }

    #[inline(always)]
    fn adam(&mut self, net: &mut Net) {
        self.steps = self.steps.saturating_add(1);
        let correct = |beta: f32| (1.0 - f64::from(beta).powi(self.steps)) as f32;
        let (of_mean, of_square) = (correct(Self::BETA1), correct(Self::BETA2));
        let rate = self.plan.learning_rate / of_mean;
        let decay = 1.0 - self.plan.learning_rate * self.plan.weight_decay;
        let moments = self.mean.iter_mut().zip(&mut self.square);
        let both = net.parameters.iter_mut().zip(&self.gradient);
        for ((parameter, gradient), (mean, square)) in both.zip(moments) {
            *mean = Self::BETA1 * *mean + (1.0 - Self::BETA1) * gradient;
            *square = Self::BETA2 * *square + (1.0 - Self::BETA2) * gradient * gradient;
            let step = rate * *mean / ((*square / of_square).sqrt() + Self::EPSILON);
            *parameter = *parameter * decay - step;
        }
    }

    /// The mean squared error on `rows`, without noise.
    fn loss(&mut self, net: &Net, rows: Rows<'_>) -> f64 {
        let arch = self.arch;
        let numbers: Vec<u32> = (0..rows.len() as u32).collect();
        let mut sum = 0.0;
        for numbers in numbers.chunks(self.width) {
            let width = numbers.len().next_multiple_of(LANES).min(self.width);
            rows.gather(numbers, width, &mut self.clean[..rows.dims * width]);
            self.panels[0].copy_from_slice(&self.clean);
            sum += vectorized!(
                           arch,
            simd,
                           <'a> (
                               trainer: &'a mut Trainer = self,
                               net: &'a Net = net,
                               width: usize = width,
                               n_rows: usize = numbers.len(),
                           ) -> f64 {
                               net.forward(simd, width, &mut trainer.panels);
                               trainer.error(width, n_rows)
                           }
                       );
        }
        sum / rows.values.len() as f64
    }
}
