//! The forest against a slow recursive reading of the paper, node by node. The reference sees the
//! trees through their serde form only.

#![allow(clippy::unwrap_used, missing_docs)] // A test may stop at its first failure.

mod common;

use common::uniform_table;
use linfa::ParamGuard;
use linfa_isolation::{IsolationForest, SampleSize};
use ndarray::{Array2, ArrayView2};
use serde_json::Value;

/// A tree with real links, built from the breadth-first list.
enum Reference {
    Inner {
        feature: usize,
        threshold: f64,
        left: Box<Reference>,
        right: Box<Reference>,
    },
    Leaf {
        n_rows: usize,
    },
}

fn reference_trees(forest: &IsolationForest) -> Vec<Reference> {
    let value = serde_json::to_value(forest).unwrap();
    value["trees"]
        .as_array()
        .unwrap()
        .iter()
        .map(|nodes| {
            let nodes = nodes.as_array().unwrap();
            let n_inner_before: Vec<usize> = nodes
                .iter()
                .scan(0, |count, node| {
                    let before = *count;
                    *count += usize::from(node.get("inner").is_some());
                    Some(before)
                })
                .collect();
            link(nodes, &n_inner_before, 0)
        })
        .collect()
}

fn link(nodes: &[Value], n_inner_before: &[usize], at: usize) -> Reference {
    if let Some(leaf) = nodes[at].get("leaf") {
        let n_rows = leaf["n_rows"].as_u64().unwrap() as usize;
        return Reference::Leaf { n_rows };
    }
    let inner = &nodes[at]["inner"];
    let left = 2 * n_inner_before[at] + 1;
    Reference::Inner {
        feature: inner["feature"].as_u64().unwrap() as usize,
        threshold: inner["threshold"].as_f64().unwrap(),
        left: Box::new(link(nodes, n_inner_before, left)),
        right: Box::new(link(nodes, n_inner_before, left + 1)),
    }
}

/// c(n) from the harmonic number's definition.
fn c(n: usize) -> f64 {
    if n < 2 {
        return 0.0;
    }
    let harmonic: f64 = (1..n).map(|i| 1.0 / i as f64).sum();
    2.0 * harmonic - 2.0 * (n - 1) as f64 / n as f64
}

/// Algorithm 3 of the paper.
fn path_length(tree: &Reference, row: &[f64], depth: usize) -> f64 {
    match tree {
        Reference::Leaf { n_rows } => depth as f64 + c(*n_rows),
        Reference::Inner {
            feature,
            threshold,
            left,
            right,
        } => {
            let side = if row[*feature] <= *threshold {
                left
            } else {
                right
            };
            path_length(side, row, depth + 1)
        }
    }
}

/// Follows the training rows down and checks that each node is what algorithm 2 allows there.
fn check_growth(tree: &Reference, rows: &[Vec<f64>], depth: usize, max_depth: usize) {
    match tree {
        Reference::Leaf { n_rows } => {
            assert_eq!(*n_rows, rows.len(), "rows of a leaf at depth {depth}");
            let all_equal = rows.iter().all(|row| *row == rows[0]);
            assert!(rows.len() == 1 || depth == max_depth || all_equal);
        }
        Reference::Inner {
            feature,
            threshold,
            left,
            right,
        } => {
            assert!(depth < max_depth);
            let (low, high): (Vec<_>, Vec<_>) = rows
                .iter()
                .cloned()
                .partition(|row| row[*feature] <= *threshold);
            assert!(!low.is_empty() && !high.is_empty(), "a split of nothing");
            check_growth(left, &low, depth + 1, max_depth);
            check_growth(right, &high, depth + 1, max_depth);
        }
    }
}

fn check_path_lengths(forest: &IsolationForest, records: ArrayView2<'_, f64>) {
    let trees = reference_trees(forest);
    let lengths = forest.path_lengths(records).unwrap();
    let scores = forest.score_samples(records).unwrap();
    for (i, row) in records.rows().into_iter().enumerate() {
        let row = row.to_vec();
        let sum: f64 = trees.iter().map(|tree| path_length(tree, &row, 0)).sum();
        let mean = sum / trees.len() as f64;
        assert!((lengths[i] - mean).abs() < 1e-12, "row {i}");
        let score = (-mean / c(forest.sample_size())).exp2();
        assert!((scores[i] - score).abs() < 1e-14, "row {i}");
        assert_eq!(forest.score_one(&row).unwrap(), scores[i], "row {i}");
    }
}

#[test]
#[cfg_attr(miri, ignore = "takes long")]
fn path_lengths_agree_with_the_recursive_walk() {
    let training = uniform_table(2_000, 7, 1);
    // Wider than the training range, so that all sides are walked; not a multiple of any block.
    let scored = uniform_table(517, 7, 2) * 3.0 - 1.0;
    // The default depth, the last that the padded kernel takes, and two that it does not.
    for (sample_size, max_depth) in [(256, None), (64, None), (1_024, None), (2_000, Some(40))] {
        let forest = IsolationForest::params(3)
            .n_trees(30)
            .sample_size(sample_size)
            .max_depth(max_depth)
            .check()
            .unwrap()
            .fit_view(training.view())
            .unwrap();
        check_path_lengths(&forest, scored.view());
        check_path_lengths(&forest, training.view());
    }
}

#[test]
#[cfg_attr(miri, ignore = "takes long")]
fn a_value_equal_to_a_threshold_goes_left() {
    let training = uniform_table(2_000, 3, 1);
    for sample_size in [256, 1_024] {
        let forest = IsolationForest::params(3)
            .n_trees(30)
            .sample_size(sample_size)
            .check()
            .unwrap()
            .fit_view(training.view())
            .unwrap();
        // Every tree's root meets a row that lies exactly on its threshold.
        let mut scored = uniform_table(30, 3, 2);
        for (i, tree) in reference_trees(&forest).into_iter().enumerate() {
            if let Reference::Inner {
                feature, threshold, ..
            } = tree
            {
                scored[[i, feature]] = threshold;
            }
        }
        check_path_lengths(&forest, scored.view());
    }
}

#[test]
#[cfg_attr(miri, ignore = "takes long")]
fn nearly_constant_tables_agree_too() {
    // Trees far from full, which are not padded.
    let mut training = Array2::from_elem((300, 3), 1.0);
    training[[17, 1]] = 2.0;
    let forest = IsolationForest::params(3)
        .check()
        .unwrap()
        .fit_view(training.view())
        .unwrap();
    check_path_lengths(&forest, training.view());
}

#[test]
#[cfg_attr(miri, ignore = "takes long")]
fn every_node_is_what_the_paper_grows() {
    // Values on a coarse grid, so that duplicates and constant columns occur within nodes.
    let records = uniform_table(200, 4, 5).mapv(|value| (value * 6.0).floor());
    for max_depth in [3, 8, 30] {
        let forest = IsolationForest::params(8)
            .n_trees(20)
            // All rows: the reference then knows each tree's sample.
            .sample_size(SampleSize::Fraction(1.0))
            .max_depth(max_depth)
            .check()
            .unwrap()
            .fit_view(records.view())
            .unwrap();
        let rows: Vec<Vec<f64>> = records.rows().into_iter().map(|row| row.to_vec()).collect();
        for tree in reference_trees(&forest) {
            check_growth(&tree, &rows, 0, max_depth);
        }
        check_path_lengths(&forest, records.view());
    }
}

#[test]
#[cfg_attr(miri, ignore = "takes long")]
fn mean_path_length_of_uniform_data_is_near_the_expected_one() {
    // For one uniform column the tree is a random search tree up to the choice of threshold; within
    // a sample, the mean depth without limit is close to c(n) (a little above, as thresholds are
    // drawn by width, not by rank).
    let records = uniform_table(256, 1, 9);
    let forest = IsolationForest::params(1)
        .max_depth(256)
        .check()
        .unwrap()
        .fit_view(records.view())
        .unwrap();
    let mean = forest.path_lengths(records.view()).unwrap().mean().unwrap();
    let ratio = mean / forest.offset();
    assert!((0.95..1.25).contains(&ratio), "ratio {ratio}");
}
