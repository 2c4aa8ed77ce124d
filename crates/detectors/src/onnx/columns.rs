//! Detectors that look at each column for itself, and scaling.

use super::Scored;
use super::graph::{Graph, Kind, Setting, Value};
use super::ops::{padded, padded_width};
use crate::ecod::Ecod;
use crate::hbos::Hbos;
use crate::max_z::MaxZ;
use crate::scaler::Scaler;
use crate::statistics::{CandleZ, SlidingWindow};

/// (x − center) / scale of every column, halved meanwhile, as the detectors compute it.
fn standardized(graph: &mut Graph, rows: &Value, center: &[f64], scale: &[f64]) -> Value {
    let half_center: Vec<f64> = center.iter().map(|c| c / 2.0).collect();
    let half_center = graph.doubles(&half_center, &[center.len()]);
    let scale = graph.doubles(scale, &[scale.len()]);
    let half = graph.over(rows, 2.0);
    let distance = graph.sub(&half, &half_center);
    let units = graph.div(&distance, &scale);
    graph.times(&units, 2.0)
}

/// Rows as a [`Scaler`] has them.
pub(super) fn scaled(graph: &mut Graph, rows: &Value, scaler: &Scaler) -> Value {
    let (center, scale) = scaler.parts();
    let z = standardized(graph, rows, center, scale);
    graph.clamp(&z, -MaxZ::LIMIT, MaxZ::LIMIT)
}

/// |z| of every column of `rows`, as [`MaxZ`] has it.
fn z_sizes(graph: &mut Graph, rows: &Value, mean: &[f64], sd: &[f64]) -> Value {
    let usable: Vec<f64> = sd
        .iter()
        .map(|sd| if *sd > 0.0 { *sd } else { 1.0 })
        .collect();
    let z = standardized(graph, rows, mean, &usable);
    let z = graph.clamp(&z, -MaxZ::LIMIT, MaxZ::LIMIT);
    let size = graph.op("Abs", &[&z]);
    if sd.iter().all(|sd| *sd > 0.0) {
        return size;
    }
    // A column without a spread: anything but its mean is as far out as can be.
    let means = graph.doubles(mean, &[mean.len()]);
    let is_mean = graph.op("Equal", &[rows, &means]);
    let (zero, limit) = (graph.double(0.0), graph.double(MaxZ::LIMIT));
    let constant = graph.select(&is_mean, &zero, &limit);
    let spread: Vec<f64> = sd.iter().map(|sd| f64::from(u8::from(*sd > 0.0))).collect();
    let spread = graph.doubles(&spread, &[spread.len()]);
    let spread = graph.cast(&spread, Kind::Bool);
    graph.select(&spread, &size, &constant)
}

fn largest(graph: &mut Graph, parts: &Value) -> Value {
    let largest = graph.reduce("ReduceMax", parts, 1);
    graph.at_least(&largest, 0.0)
}

/// Parts of some columns, ascending, as parts of all: the others have none.
fn spread_out(graph: &mut Graph, rows: &Value, parts: &Value, of: &[usize], n: usize) -> Value {
    let n_rows = graph.n_rows(rows);
    let one = graph.list(&[1]);
    let axis = |axis| vec![("axis", Setting::Int(axis))];
    let shape = graph.op_with("Concat", &[&n_rows, &one], axis(0));
    let none = graph.filled(&shape, Kind::Double, 0.0);
    let with_none = graph.op_with("Concat", &[parts, &none], axis(1));
    let place = |column| of.iter().position(|c| *c == column).unwrap_or(of.len());
    let places: Vec<usize> = (0..n).map(place).collect();
    graph.columns(&with_none, &places)
}

pub(super) fn max_z(graph: &mut Graph, rows: &Value, detector: &MaxZ) -> Scored {
    let parts = z_sizes(graph, rows, detector.mean(), detector.sd());
    Scored {
        raw: largest(graph, &parts),
        parts: Some(parts),
    }
}

pub(super) fn candle_z(graph: &mut Graph, rows: &Value, detector: &CandleZ) -> Scored {
    let (mut columns, mut mean, mut sd, mut limit) = (vec![], vec![], vec![], vec![]);
    for (column, of) in detector.judged() {
        columns.push(column);
        mean.push(of.mean);
        sd.push(of.sd);
        limit.push(of.limit);
    }
    let judged = graph.columns(rows, &columns);
    let sizes = z_sizes(graph, &judged, &mean, &sd);
    let limits = graph.doubles(&limit, &[limit.len()]);
    let shares = graph.div(&sizes, &limits);
    let shares = graph.at_most(&shares, f64::MAX);
    Scored {
        raw: largest(graph, &shares),
        parts: Some(spread_out(
            graph,
            rows,
            &shares,
            &columns,
            detector.n_columns(),
        )),
    }
}

pub(super) fn sliding_window(graph: &mut Graph, rows: &Value, detector: &SlidingWindow) -> Scored {
    let (mut columns, mut half_typical, mut span) = (vec![], vec![], vec![]);
    for (column, of) in detector.judged() {
        columns.push(column);
        half_typical.push(of.typical / 2.0);
        span.push((of.limit / 2.0 - of.typical / 2.0).max(f64::MIN_POSITIVE));
    }
    let judged = graph.columns(rows, &columns);
    let half = graph.over(&judged, 2.0);
    let half_typical = graph.doubles(&half_typical, &[columns.len()]);
    let span = graph.doubles(&span, &[columns.len()]);
    let way = graph.sub(&half, &half_typical);
    let way = graph.div(&way, &span);
    let way = graph.clamp(&way, 0.0, f64::MAX);
    Scored {
        raw: largest(graph, &way),
        parts: Some(spread_out(
            graph,
            rows,
            &way,
            &columns,
            detector.n_columns(),
        )),
    }
}

pub(super) fn ecod(graph: &mut Graph, rows: &Value, detector: &Ecod) -> Scored {
    let columns = detector.columns();
    let n = columns.len();
    let of = |value: fn(&crate::ecod::Column) -> f64| -> Vec<f64> {
        columns.iter().map(value).collect()
    };
    let tables = columns.iter().map(|column| column.values.as_slice());
    let width = padded_width(tables.clone());
    let values = padded(tables, f64::INFINITY, width);
    let left = padded(columns.iter().map(|c| c.left.as_slice()), 0.0, width);
    let right = padded(columns.iter().map(|c| c.right.as_slice()), 0.0, width);
    let values = graph.doubles(&values, &[values.len()]);
    let left = graph.doubles(&left, &[left.len()]);
    let right = graph.doubles(&right, &[right.len()]);
    let base: Vec<i64> = (0..n).map(|column| (column * width) as i64).collect();
    let base = graph.ints(&base, &[1, n]);

    let above = graph.rank(rows, &base, &values, width, false);
    let minus_one = graph.int(-1);
    let at = graph.add(&above, &minus_one);
    let at = graph.op("Max", &[&at, &base]);
    let knot = graph.gather(&values, &at, 0);
    let is_knot = graph.op("Equal", &[&knot, rows]);
    // Between two knots the rows from the upper one on are those at or above the value.
    let from = graph.select(&is_knot, &at, &above);
    let left = graph.gather(&left, &at, 0);
    let right = graph.gather(&right, &from, 0);

    // Outside the range.
    let half = graph.over(rows, 2.0);
    let first = of(|c| c.values[0]);
    let last = of(|c| c.values[c.values.len() - 1]);
    let halves = |ends: &[f64]| -> Vec<f64> { ends.iter().map(|end| end / 2.0).collect() };
    let half_first = graph.doubles(&halves(&first), &[n]);
    let half_last = graph.doubles(&halves(&last), &[n]);
    let outside = graph.doubles(&of(|c| c.outside), &[n]);
    let low_scale = graph.doubles(&of(|c| c.low_scale), &[n]);
    let high_scale = graph.doubles(&of(|c| c.high_scale), &[n]);
    let beyond = |graph: &mut Graph, distance: &Value, scale: &Value| {
        let units = graph.div(distance, scale);
        let units = graph.times(&units, 2.0);
        let tail = graph.add(&outside, &units);
        graph.at_most(&tail, 1e300)
    };
    let under = graph.sub(&half_first, &half);
    let under = beyond(graph, &under, &low_scale);
    let over = graph.sub(&half, &half_last);
    let over = beyond(graph, &over, &high_scale);
    let first = graph.doubles(&first, &[n]);
    let last = graph.doubles(&last, &[n]);
    let is_under = graph.op("Less", &[rows, &first]);
    let is_over = graph.op("Greater", &[rows, &last]);
    let zero = graph.double(0.0);
    let left = graph.select(&is_over, &zero, &left);
    let left = graph.select(&is_under, &under, &left);
    let right = graph.select(&is_under, &zero, &right);
    let right = graph.select(&is_over, &over, &right);

    let skew = graph.doubles(&of(|c| f64::from(c.skew)), &[n]);
    let to_right = graph.op("Greater", &[&skew, &zero]);
    let none = graph.op("Equal", &[&skew, &zero]);
    let both = graph.add(&left, &right);
    let skewed = graph.select(&none, &both, &left);
    let skewed = graph.select(&to_right, &right, &skewed);
    let tail = graph.op("Max", &[&left, &right, &skewed]);
    let sum = graph.sum_in_order(&tail);
    Scored {
        raw: graph.at_most(&sum, f64::MAX),
        parts: Some(tail),
    }
}

pub(super) fn hbos(graph: &mut Graph, rows: &Value, detector: &Hbos) -> Scored {
    let (tolerance, columns) = detector.columns();
    let n = columns.len();
    let of = |value: &dyn Fn(&crate::hbos::Column) -> f64| -> Vec<f64> {
        columns.iter().map(value).collect()
    };
    let tables = columns.iter().map(|column| column.edges.as_slice());
    let width = padded_width(tables.clone());
    let edges = padded(tables, f64::INFINITY, width);
    let parts = padded(columns.iter().map(|c| c.parts.as_slice()), 0.0, width);
    let edges = graph.doubles(&edges, &[edges.len()]);
    let parts = graph.doubles(&parts, &[parts.len()]);
    let base: Vec<i64> = (0..n).map(|column| (column * width) as i64).collect();
    let base = graph.ints(&base, &[1, n]);
    let bin = graph.rank(rows, &base, &edges, width, true);
    let minus_one = graph.int(-1);
    let at = graph.add(&bin, &minus_one);
    let at = graph.op("Max", &[&at, &base]);
    let inside = graph.gather(&parts, &at, 0);

    let last = |c: &crate::hbos::Column| c.edges.len() - 1;
    let mut row = |values: Vec<f64>| graph.doubles(&values, &[n]);
    let first_edge = row(of(&|c| c.edges[0]));
    let last_edge = row(of(&|c| c.edges[last(c)]));
    let first_reach = row(of(&|c| (c.edges[1] - c.edges[0]) * tolerance));
    let last_reach = row(of(&|c| {
        (c.edges[last(c)] - c.edges[last(c) - 1]) * tolerance
    }));
    let first_part = row(of(&|c| c.parts[0]));
    let last_part = row(of(&|c| c.parts[last(c) - 1]));
    let outside = row(of(&|c| c.outside));
    let under = graph.sub(&first_edge, rows);
    let is_near = graph.op("LessOrEqual", &[&under, &first_reach]);
    let under = graph.select(&is_near, &first_part, &outside);
    let over = graph.sub(rows, &last_edge);
    let is_near = graph.op("LessOrEqual", &[&over, &last_reach]);
    let over = graph.select(&is_near, &last_part, &outside);
    // A value on the first edge lies below the first bin, as PyOD has it.
    let is_under = graph.op("LessOrEqual", &[rows, &first_edge]);
    let is_over = graph.op("Greater", &[rows, &last_edge]);
    let part = graph.select(&is_over, &over, &inside);
    let part = graph.select(&is_under, &under, &part);
    Scored {
        raw: graph.sum_in_order(&part),
        parts: Some(part),
    }
}
