//! Distances and densities that know correlations.

use super::Scored;
use super::columns::scaled;
use super::graph::{Graph, Value};
use crate::mahalanobis::Mahalanobis;
use crate::mixture::{CovarianceForm, GaussianMixture};

/// Columns up to which products are added in the detector's own order: n² numbers a row are held.
const MAX_IN_ORDER: usize = 32;

pub(super) fn mahalanobis(graph: &mut Graph, rows: &Value, detector: &Mahalanobis) -> Scored {
    let (scaler, mean, precision) = detector.parts();
    let n = mean.len();
    let rows = scaled(graph, rows, scaler);
    let mean = graph.doubles(mean, &[n]);
    let z = graph.sub(&rows, &mean);
    let precision = graph.doubles(precision, &[n, n]);
    let weighted = if n <= MAX_IN_ORDER {
        let lines = graph.unsqueeze(&z, 1);
        let products = graph.mul(&precision, &lines);
        dot(graph, &products, n)
    } else {
        // Symmetric.
        graph.op("MatMul", &[&z, &precision])
    };
    let products = graph.mul(&z, &weighted);
    let square = graph.sum_in_order(&products);
    let square = graph.at_least(&square, 0.0);
    let distance = graph.op("Sqrt", &[&square]);
    let distance = graph.at_most(&distance, f64::MAX);
    let parts = over_score(graph, &products, &distance);
    Scored {
        raw: distance,
        parts: Some(parts),
    }
}

/// Parts over their score, 0 where it is 0.
pub(super) fn over_score(graph: &mut Graph, parts: &Value, score: &Value) -> Value {
    let score = graph.unsqueeze(score, 1);
    let zero = graph.double(0.0);
    let shares = graph.div(parts, &score);
    let positive = graph.op("Greater", &[&score, &zero]);
    graph.select(&positive, &shares, &zero)
}

/// The sum over the last axis, `n` long, in four sums side by side, as `linalg::dot` adds.
fn dot(graph: &mut Graph, products: &Value, n: usize) -> Value {
    let whole = n / 4 * 4;
    let take = |graph: &mut Graph, from: usize, to: usize, step: usize| {
        let at: Vec<i64> = (from..to).step_by(step).map(|i| i as i64).collect();
        let at = graph.list(&at);
        let taken = graph.gather(products, &at, -1);
        graph.sum_in_order(&taken)
    };
    let four = (whole > 0).then(|| {
        let [a, b, c, d] = [0, 1, 2, 3].map(|lane| take(graph, lane, whole, 4));
        let (even, odd) = (graph.add(&a, &c), graph.add(&b, &d));
        graph.add(&even, &odd)
    });
    let rest = (whole < n).then(|| take(graph, whole, n, 1));
    match (four, rest) {
        (Some(four), Some(rest)) => graph.add(&four, &rest),
        (Some(sum), None) | (None, Some(sum)) => sum,
        (None, None) => products.clone(),
    }
}

pub(super) fn mixture(graph: &mut Graph, rows: &Value, detector: &GaussianMixture) -> Scored {
    let (form, scaler, components) = detector.parts();
    let n_components = components.len();
    let rows = scaled(graph, rows, scaler);
    let n = scaler.n_features();
    let flat =
        |of: &dyn Fn(usize) -> Vec<f64>| -> Vec<f64> { (0..n_components).flat_map(of).collect() };
    let means = flat(&|c| components[c].mean.clone());
    let means = graph.doubles(&means, &[n_components, 1, n]);
    let scales = flat(&|c| vec![components[c].log_scale]);
    let scales = graph.doubles(&scales, &[n_components, 1]);
    let rows = graph.unsqueeze(&rows, 0);
    // (n_components, n_samples, n_features) from here on.
    let distance = graph.sub(&rows, &means);
    let whitening = flat(&|c| components[c].whitening.clone());
    let (white, back) = match form {
        CovarianceForm::Full => {
            let transposed = flat(&|c| {
                let lines = &components[c].whitening;
                (0..n * n).map(|i| lines[i % n * n + i / n]).collect()
            });
            let transposed = graph.doubles(&transposed, &[n_components, n, n]);
            let white = graph.op("MatMul", &[&distance, &transposed]);
            let whitening = graph.doubles(&whitening, &[n_components, n, n]);
            let back = graph.op("MatMul", &[&white, &whitening]);
            (white, back)
        }
        CovarianceForm::Diagonal => {
            let whitening = graph.doubles(&whitening, &[n_components, 1, n]);
            let white = graph.mul(&distance, &whitening);
            let back = graph.mul(&white, &whitening);
            (white, back)
        }
    };
    let squares = graph.mul(&white, &white);
    let square = graph.sum_in_order(&squares);
    let half = graph.over(&square, 2.0);
    let logs = graph.sub(&scales, &half);
    let logs = graph.at_least(&logs, f64::MIN);
    let largest = graph.reduce("ReduceMax", &logs, 0);
    let below = graph.sub(&logs, &largest);
    let shares = graph.op("Exp", &[&below]);
    let sum = graph.reduce("ReduceSum", &shares, 0);
    let ln = graph.op("Log", &[&sum]);
    let log = graph.add(&largest, &ln);
    let score = graph.op("Neg", &[&log]);
    let score = graph.at_most(&score, f64::MAX);

    let shares = graph.div(&shares, &sum);
    let shares = graph.over(&shares, 2.0);
    let shares = graph.unsqueeze(&shares, 2);
    let parts = graph.mul(&distance, &back);
    let parts = graph.mul(&shares, &parts);
    Scored {
        raw: score,
        parts: Some(graph.reduce("ReduceSum", &parts, 0)),
    }
}
