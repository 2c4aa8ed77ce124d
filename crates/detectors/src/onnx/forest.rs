//! Isolation forests.

use linfa_isolation::{IsolationForest, Missing, NodeView, Scoring};

use super::Scored;
use super::graph::{Graph, Kind, Setting, Value};
use super::trees::Trees;
use crate::error::{Error, Result};

pub(super) fn emit(graph: &mut Graph, rows: &Value, forest: &IsolationForest) -> Result<Scored> {
    if forest.missing() != Missing::Refuse {
        return Err(Error::NotExportable {
            what: "`isolation_forest`".to_owned(),
            reason: "it scores rows with missing values by walking both ways".to_owned(),
        });
    }
    let view = forest.view();
    let values = match view.frame {
        None => along_columns(graph, rows, &view.trees)?,
        Some(frame) => along_sums(graph, rows, &view.trees, frame, forest.depth()),
    };
    let sum = graph.sum_in_order(&values);
    Ok(Scored {
        raw: score_of_sum(graph, &sum, forest),
        parts: None,
    })
}

fn along_columns(graph: &mut Graph, rows: &Value, trees: &[Vec<NodeView<'_>>]) -> Result<Value> {
    let mut all = Trees::default();
    for tree in trees {
        all.begin_tree();
        for (i, node) in tree.iter().enumerate() {
            match node {
                NodeView::Axis {
                    column,
                    threshold,
                    left,
                } => {
                    let left = *left as usize;
                    all.inner(i, *column, *threshold, "BRANCH_LEQ", [left, left + 1]);
                }
                NodeView::Leaf { value } => all.leaf(i, *value),
                _ => return Err(unknown_node()),
            }
        }
    }
    all.values(graph, rows)
}

fn unknown_node() -> Error {
    Error::NotExportable {
        what: "`isolation_forest`".to_owned(),
        reason: "a node of its trees is of a kind that isn't known here".to_owned(),
    }
}

/// All rows walk down all trees at once, level by level; a leaf is its own child.
fn along_sums(
    graph: &mut Graph,
    rows: &Value,
    trees: &[Vec<NodeView<'_>>],
    (centres, scales): (&[f64], &[f64]),
    depth: usize,
) -> Value {
    let n_features = centres.len();
    let n_terms = trees
        .iter()
        .flatten()
        .filter_map(|node| match node {
            NodeView::Oblique { columns, .. } => Some(columns.len()),
            _ => None,
        })
        .max()
        .unwrap_or(1);
    let n_nodes = trees.iter().map(Vec::len).sum();
    let mut columns = vec![Vec::with_capacity(n_nodes); n_terms];
    let mut weights = vec![Vec::with_capacity(n_nodes); n_terms];
    let (mut thresholds, mut limits) = (Vec::new(), Vec::new());
    let (mut left, mut leaf_values, mut roots) = (Vec::new(), Vec::new(), Vec::new());
    for tree in trees {
        let root = left.len() as i64;
        roots.push(root);
        for node in tree {
            let own = left.len() as i64;
            let (of_columns, of_weights): (&[u32], &[f32]) = match node {
                NodeView::Oblique {
                    columns, weights, ..
                } => (columns, weights),
                _ => (&[], &[]),
            };
            for term in 0..n_terms {
                columns[term].push(i64::from(of_columns.get(term).copied().unwrap_or(0)));
                weights[term].push(of_weights.get(term).copied().unwrap_or(0.0));
            }
            let (threshold, limit, next, value) = match node {
                NodeView::Oblique {
                    threshold,
                    limit,
                    left,
                    ..
                } => (
                    *threshold,
                    limit.unwrap_or(f32::INFINITY),
                    root + i64::from(*left),
                    0.0,
                ),
                NodeView::Leaf { value } => (f32::INFINITY, f32::INFINITY, own, *value),
                _ => (f32::INFINITY, f32::INFINITY, own, 0.0),
            };
            thresholds.push(threshold);
            limits.push(limit);
            left.push(next);
            leaf_values.push(value);
        }
    }

    let centres = graph.doubles(centres, &[n_features]);
    let scales = graph.doubles(scales, &[n_features]);
    let framed = graph.sub(rows, &centres);
    let framed = graph.mul(&framed, &scales);
    let framed = graph.cast(&framed, Kind::Float);
    let largest = (1_u64 << 63) as f32;
    let (low, high) = (graph.float(-largest), graph.float(largest));
    let framed = graph.op("Max", &[&framed, &low]);
    let framed = graph.op("Min", &[&framed, &high]);

    let columns: Vec<Value> = columns.iter().map(|c| graph.list(c)).collect();
    let weights: Vec<Value> = weights
        .iter()
        .map(|w| graph.floats(w, &[w.len()]))
        .collect();
    let thresholds = graph.floats(&thresholds, &[n_nodes]);
    let limits = graph.floats(&limits, &[n_nodes]);
    let left = graph.list(&left);
    let leaf_values = graph.doubles(&leaf_values, &[n_nodes]);
    let roots = graph.list(&roots);

    let n_rows = graph.n_rows(rows);
    let n_trees = graph.list(&[trees.len() as i64]);
    let shape = graph.op_with(
        "Concat",
        &[&n_rows, &n_trees],
        vec![("axis", Setting::Int(0))],
    );
    let start = graph.op("Expand", &[&roots, &shape]);
    let penalty = graph.filled(&shape, Kind::Double, 0.0);
    let body = graph.body(
        &[Kind::Int, Kind::Bool, Kind::Int, Kind::Double],
        2,
        &[Kind::Bool, Kind::Int, Kind::Double],
        |graph, inputs| {
            let (go_on, node, penalty) = (&inputs[1], &inputs[2], &inputs[3]);
            let mut projection: Option<Value> = None;
            for (columns, weights) in columns.iter().zip(&weights) {
                let column = graph.gather(columns, node, 0);
                let axis = vec![("axis", Setting::Int(1))];
                let value = graph.op_with("GatherElements", &[&framed, &column], axis);
                projection = Some(match projection {
                    // The first weight is 1.
                    None => value,
                    Some(so_far) => {
                        let weight = graph.gather(weights, node, 0);
                        let product = graph.mul(&weight, &value);
                        graph.add(&so_far, &product)
                    }
                });
            }
            let projection = projection.unwrap_or_else(|| framed.clone());
            let threshold = graph.gather(&thresholds, node, 0);
            let limit = graph.gather(&limits, node, 0);
            let right = graph.op("Greater", &[&projection, &threshold]);
            let right = graph.cast(&right, Kind::Int);
            let left = graph.gather(&left, node, 0);
            let next = graph.add(&left, &right);
            let distance = graph.sub(&projection, &threshold);
            let distance = graph.op("Abs", &[&distance]);
            let outside = graph.op("Greater", &[&distance, &limit]);
            let outside = graph.cast(&outside, Kind::Double);
            let penalty = graph.add(penalty, &outside);
            vec![go_on.clone(), next, penalty]
        },
    );
    let trips = graph.int(depth as i64);
    let always = graph.truth();
    let settings = vec![("body", Setting::Body(body))];
    let (node, penalty) = graph.pair("Loop", &[&trips, &always, &start, &penalty], settings);
    let values = graph.gather(&leaf_values, &node, 0);
    graph.sub(&values, &penalty)
}

/// As the forest makes a score of the sum of its leaves' values.
fn score_of_sum(graph: &mut Graph, sum: &Value, forest: &IsolationForest) -> Value {
    let n_trees = forest.n_trees();
    let score = if forest.scoring() == Scoring::Density {
        let mean = graph.over(sum, n_trees as f64);
        let mean = graph.clamp(&mean, -1000.0, 1000.0);
        let size = graph.op("Abs", &[&mean]);
        let small = exp2_of_negative(graph, &size);
        let (zero, one) = (graph.double(0.0), graph.double(1.0));
        let dense = graph.op("GreaterOrEqual", &[&mean, &zero]);
        let top = graph.select(&dense, &small, &one);
        let bottom = graph.plus(&small, 1.0);
        graph.div(&top, &bottom)
    } else {
        // Added up as the forest adds it up.
        let divisor: f64 = (0..n_trees).map(|_| forest.offset()).sum();
        if divisor > 0.0 {
            let mean = graph.over(sum, divisor);
            let score = exp2_of_negative(graph, &mean);
            graph.at_least(&score, f64::MIN_POSITIVE)
        } else {
            let half = graph.times(sum, 0.0);
            graph.plus(&half, 0.5)
        }
    };
    graph.at_most(&score, 1.0 - f64::EPSILON / 2.0)
}

/// 2^(−x) for x ≥ 0 by the forest's own series, whose last bits are the same everywhere.
fn exp2_of_negative(graph: &mut Graph, x: &Value) -> Value {
    let x = graph.clamp(x, 0.0, 1022.0);
    let whole = graph.op("Round", &[&x]);
    let rest = graph.sub(&whole, &x);
    let y = graph.times(&rest, std::f64::consts::LN_2);
    // 1/k! for k = 13 down to 2.
    let mut factorial = 6_227_020_800.0;
    let mut series = graph.double(1.0 / factorial);
    for k in (3..=13).rev() {
        factorial /= f64::from(k);
        let grown = graph.mul(&series, &y);
        series = graph.plus(&grown, 1.0 / factorial);
    }
    let square = graph.mul(&y, &y);
    let rise = graph.mul(&square, &series);
    let rise = graph.add(&y, &rise);
    let mantissa = graph.plus(&rise, 1.0);
    let powers: Vec<f64> = (0..=1022).map(|k| 2.0_f64.powi(-k)).collect();
    let powers = graph.doubles(&powers, &[powers.len()]);
    let whole = graph.cast(&whole, Kind::Int);
    let power = graph.gather(&powers, &whole, 0);
    graph.mul(&mantissa, &power)
}
