//! The autoencoder, in `f32` and in the network's own order of sums.

use super::Scored;
use super::columns::scaled;
use super::gaussian::over_score;
use super::graph::{Graph, Kind, Setting, Value};
use crate::autoencoder::{Activation, Autoencoder};

pub(super) fn emit(graph: &mut Graph, rows: &Value, detector: &Autoencoder) -> Scored {
    let wanted = scaled(graph, rows, detector.scaler());
    let wanted = graph.cast(&wanted, Kind::Float);
    let mut values = wanted.clone();
    for layer in detector.dense_layers() {
        values = dense(graph, &values, layer.weights, layer.biases, layer.n_in);
        if !layer.is_last {
            values = activation(graph, &values, detector.activation());
        }
    }
    let error = graph.sub(&wanted, &values);
    let error = graph.cast(&error, Kind::Double);
    let per_unit = detector.per_unit();
    let units = graph.doubles(per_unit, &[per_unit.len()]);
    let error = graph.mul(&error, &units);
    let squares = graph.mul(&error, &error);
    let sum = graph.sum_in_order(&squares);
    let mean = graph.over(&sum, per_unit.len() as f64);
    let score = graph.op("Sqrt", &[&mean]);
    let score = graph.at_most(&score, f64::MAX);
    let squares = graph.over(&squares, per_unit.len() as f64);
    let parts = over_score(graph, &squares, &score);
    Scored {
        raw: score,
        parts: Some(parts),
    }
}

/// A layer's sums: the bias, then input by input; a `MatMul` would add in another order.
fn dense(graph: &mut Graph, values: &Value, weights: &[f32], biases: &[f32], n_in: usize) -> Value {
    let n_out = biases.len();
    let n_rows = graph.n_rows(values);
    let width = graph.list(&[n_out as i64]);
    let shape = graph.op_with(
        "Concat",
        &[&n_rows, &width],
        vec![("axis", Setting::Int(0))],
    );
    let biases = graph.floats(biases, &[n_out]);
    let start = graph.op("Expand", &[&biases, &shape]);
    let by_input: Vec<f32> = (0..n_in * n_out)
        .map(|i| weights[i % n_out * n_in + i / n_out])
        .collect();
    let by_input = graph.floats(&by_input, &[n_in, n_out]);
    let inputs = graph.op_with(
        "Transpose",
        &[values],
        vec![("perm", Setting::Ints(vec![1, 0]))],
    );
    let float = Kind::Float;
    let body = graph.body(&[float, float, float], 0, &[float], |graph, inputs| {
        let value = graph.unsqueeze(&inputs[1], 1);
        let product = graph.mul(&inputs[2], &value);
        vec![graph.add(&inputs[0], &product)]
    });
    let settings = vec![
        ("body", Setting::Body(body)),
        ("num_scan_inputs", Setting::Int(2)),
    ];
    graph.op_with("Scan", &[&start, &inputs, &by_input], settings)
}

fn activation(graph: &mut Graph, values: &Value, activation: Activation) -> Value {
    let zero = graph.float(0.0);
    match activation {
        Activation::Tanh => tanh(graph, values),
        Activation::Relu => graph.op("Max", &[values, &zero]),
        Activation::LeakyRelu => {
            let leak = graph.float(Activation::LEAK);
            let leaked = graph.mul(values, &leak);
            let negative = graph.op("Less", &[values, &zero]);
            graph.select(&negative, &leaked, values)
        }
    }
}

/// The network's own quotient of polynomials.
fn tanh(graph: &mut Graph, x: &Value) -> Value {
    let (limit, top, bottom) = Autoencoder::tanh_parts();
    let (low, high) = (graph.float(-limit), graph.float(limit));
    let x = graph.op("Max", &[x, &low]);
    let x = graph.op("Min", &[&x, &high]);
    let square = graph.mul(&x, &x);
    let mut polynomial = |coefficients: &[f32]| {
        let mut sum: Option<Value> = None;
        for coefficient in coefficients {
            let coefficient = graph.float(*coefficient);
            sum = Some(match sum {
                None => coefficient,
                Some(sum) => {
                    let grown = graph.mul(&sum, &square);
                    graph.add(&grown, &coefficient)
                }
            });
        }
        sum.unwrap_or_else(|| square.clone())
    };
    let (top, bottom) = (polynomial(top), polynomial(bottom));
    let top = graph.mul(&x, &top);
    graph.div(&top, &bottom)
}
