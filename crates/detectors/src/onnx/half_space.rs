//! Half-space trees, as they are at this moment.

use super::Scored;
use super::graph::{Graph, Value};
use super::trees::Trees;
use crate::error::Result;
use crate::half_space::HalfSpaceTrees;

pub(super) fn emit(graph: &mut Graph, rows: &Value, detector: &HalfSpaceTrees) -> Result<Scored> {
    let mut trees = Trees::default();
    for tree in 0..detector.n_trees() {
        trees.begin_tree();
        detector.visit_tree(tree, |node, cut, surprise| match cut {
            Some((column, at)) => {
                let next = [2 * node + 1, 2 * node + 2];
                trees.inner(node, column, at, "BRANCH_LT", next);
            }
            None => trees.leaf(node, surprise),
        });
    }
    let n_trees = detector.n_trees() as f64;
    let values = trees.values(graph, rows)?;
    let surprise = graph.sum_in_order(&values);
    let surprise = graph.over(&surprise, n_trees);

    let (low, width) = detector.ranges();
    let half_low: Vec<f64> = low.iter().map(|low| low / 2.0).collect();
    let half_low = graph.doubles(&half_low, &[low.len()]);
    let width = graph.doubles(width, &[width.len()]);
    let half = graph.over(rows, 2.0);
    let place = graph.sub(&half, &half_low);
    let place = graph.div(&place, &width);
    let place = graph.times(&place, 2.0);
    let under = graph.op("Neg", &[&place]);
    let over = graph.plus(&place, -1.0);
    let distance = graph.op("Max", &[&under, &over]);
    let distance = graph.clamp(&distance, 0.0, f64::MAX);
    let ln = graph.ln_1p(&distance);
    let bits = graph.over(&ln, std::f64::consts::LN_2);
    let outside = graph.sum_in_order(&bits);
    Ok(Scored {
        raw: graph.add(&surprise, &outside),
        parts: None,
    })
}
