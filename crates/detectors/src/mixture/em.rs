//! Expectation–maximization, from k-means++ centers.

use rayon::prelude::*;

use super::component::{Component, CovarianceForm};
use crate::observer::FitObserver;
use crate::random::Random;

/// Rows that one task takes; sums over tasks are added in their order.
const TASK_ROWS: usize = 2_048;

/// What is fitted, and how.
#[derive(Debug, Clone, Copy)]
pub(super) struct Plan {
    pub(super) n_components: usize,
    pub(super) form: CovarianceForm,
    pub(super) regularization: f64,
    pub(super) max_iterations: usize,
    pub(super) tolerance: f64,
}

/// A mixture that EM came to.
#[derive(Debug)]
pub(super) struct Fitted {
    pub(super) components: Vec<Component>,
    /// Mean log likelihood of a row.
    pub(super) log_likelihood: f64,
    pub(super) iterations: usize,
    pub(super) converged: bool,
}

/// Why EM came to nothing.
#[derive(Debug)]
pub(super) enum Failure {
    /// What happened to a component.
    Collapsed(String),
    Stopped,
}

/// One run from centers drawn by `random`. `rows` lie row after row, `dims` values each.
pub(super) fn run(
    rows: &[f64],
    dims: usize,
    plan: Plan,
    random: &mut Random,
    observer: &mut dyn FitObserver,
) -> Result<Fitted, Failure> {
    let mut shares = start(rows, dims, plan.n_components, random);
    let mut last = f64::NEG_INFINITY;
    let mut iterations = 0;
    loop {
        if observer.should_stop() {
            return Err(Failure::Stopped);
        }
        let components = maximize(rows, dims, plan, &shares)?;
        let log_likelihood = expect(rows, dims, &components, &mut shares);
        iterations += 1;
        if !log_likelihood.is_finite() {
            return Err(Failure::Collapsed("the likelihood is no number".into()));
        }
        let converged = log_likelihood - last < plan.tolerance;
        if converged || iterations >= plan.max_iterations {
            return Ok(Fitted {
                components,
                log_likelihood,
                iterations,
                converged,
            });
        }
        last = log_likelihood;
    }
}

/// Each row wholly of the nearest of k-means++ centers (Arthur and Vassilvitskii 2007).
fn start(rows: &[f64], dims: usize, k: usize, random: &mut Random) -> Vec<f64> {
    let n = rows.len() / dims;
    let row = |i: usize| &rows[i * dims..][..dims];
    let mut nearest = vec![(f64::INFINITY, 0); n];
    let mut center = random.below(n);
    for component in 0..k {
        let of_center = row(center);
        nearest.par_iter_mut().enumerate().for_each(|(i, nearest)| {
            let pairs = row(i).iter().zip(of_center);
            let square: f64 = pairs.map(|(a, b)| (a - b) * (a - b)).sum();
            if square < nearest.0 {
                *nearest = (square, component);
            }
        });
        let total: f64 = nearest.iter().map(|(square, _)| square).sum();
        let mut left = random.uniform() * total;
        center = nearest
            .iter()
            .position(|(square, _)| {
                left -= square;
                left < 0.0
            })
            .unwrap_or_else(|| random.below(n));
    }
    let mut shares = vec![0.0; n * k];
    for (shares, (_, component)) in shares.chunks_exact_mut(k).zip(&nearest) {
        shares[*component] = 1.0;
    }
    shares
}

/// The components that the shares make.
fn maximize(
    rows: &[f64],
    dims: usize,
    plan: Plan,
    shares: &[f64],
) -> Result<Vec<Component>, Failure> {
    let k = plan.n_components;
    let n = rows.len() / dims;
    let tasks = || {
        let rows = rows.par_chunks(TASK_ROWS * dims);
        rows.zip(shares.par_chunks(TASK_ROWS * k))
    };
    // Weights and weighted sums of the columns.
    let sums = total(tasks().map(|(rows, shares)| {
        let mut sums = vec![0.0; k * (dims + 1)];
        for (row, shares) in rows.chunks_exact(dims).zip(shares.chunks_exact(k)) {
            for (share, sums) in shares.iter().zip(sums.chunks_exact_mut(dims + 1)) {
                sums[0] += share;
                for (sum, value) in sums[1..].iter_mut().zip(row) {
                    *sum += share * value;
                }
            }
        }
        sums
    }));
    let mut means = Vec::new();
    for (i, sums) in sums.chunks_exact(dims + 1).enumerate() {
        if sums[0] < 2.0 {
            return Err(Failure::Collapsed(format!(
                "component {i} is left with {:.3} of {n} rows",
                sums[0]
            )));
        }
        means.push(
            sums[1..]
                .iter()
                .map(|sum| sum / sums[0])
                .collect::<Vec<f64>>(),
        );
    }
    let size = plan.form.size(dims);
    let squares = total(tasks().map(|(rows, shares)| {
        let mut squares = vec![0.0; k * size];
        let mut from_mean = vec![0.0; dims];
        for (row, shares) in rows.chunks_exact(dims).zip(shares.chunks_exact(k)) {
            let components = shares.iter().zip(&means);
            for ((share, mean), squares) in components.zip(squares.chunks_exact_mut(size)) {
                if *share < 1e-12 {
                    continue;
                }
                for ((d, value), mean) in from_mean.iter_mut().zip(row).zip(mean) {
                    *d = value - mean;
                }
                plan.form.add_products(*share, &from_mean, squares);
            }
        }
        squares
    }));
    let mut components = Vec::new();
    for (i, (mean, squares)) in means
        .into_iter()
        .zip(squares.chunks_exact(size))
        .enumerate()
    {
        let weight = sums[i * (dims + 1)];
        let covariance = plan
            .form
            .covariance(squares, weight, plan.regularization, dims);
        let component = Component::new(weight / n as f64, mean, covariance, plan.form);
        components.push(component.ok_or_else(|| {
            Failure::Collapsed(format!(
                "the covariance of component {i} ({weight:.1} of {n} rows) is singular"
            ))
        })?);
    }
    Ok(components)
}

fn total(tasks: impl IndexedParallelIterator<Item = Vec<f64>>) -> Vec<f64> {
    let parts: Vec<Vec<f64>> = tasks.collect();
    let mut parts = parts.into_iter();
    let mut sums = parts.next().unwrap_or_default();
    for part in parts {
        for (sum, part) in sums.iter_mut().zip(part) {
            *sum += part;
        }
    }
    sums
}

/// Sets each row's shares, and gives the mean log likelihood of a row.
fn expect(rows: &[f64], dims: usize, components: &[Component], shares: &mut [f64]) -> f64 {
    let k = components.len();
    let logs: Vec<f64> = rows
        .par_chunks(TASK_ROWS * dims)
        .zip(shares.par_chunks_mut(TASK_ROWS * k))
        .map(|(rows, shares)| {
            let mut room = vec![0.0; dims];
            let mut sum = 0.0;
            for (row, shares) in rows.chunks_exact(dims).zip(shares.chunks_exact_mut(k)) {
                for (share, component) in shares.iter_mut().zip(components) {
                    *share = component.log_density(row, &mut room);
                }
                sum += log_sum_exp(shares);
            }
            sum
        })
        .collect();
    logs.iter().sum::<f64>() / (rows.len() / dims) as f64
}

/// ln Σ exp, and `logs` become each one's share of the sum; the largest is taken out first, so that
/// nothing underflows to a sum of 0.
pub(super) fn log_sum_exp(logs: &mut [f64]) -> f64 {
    let largest = logs.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    let mut sum = 0.0;
    for log in &mut *logs {
        *log = (*log - largest).exp();
        sum += *log;
    }
    for share in logs {
        *share /= sum;
    }
    largest + sum.ln()
}
