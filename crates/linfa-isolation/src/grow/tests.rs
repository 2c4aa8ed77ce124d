use linfa::ParamGuard;
use ndarray::{Array2, array};

use crate::IsolationForest;
use crate::model::{Model, Splits};

/// Columns of the splits, and the models' trees, of forests over `records`.
fn grow(records: &Array2<f64>, n_trees: usize, sample_size: usize, max_depth: usize) -> Model {
    IsolationForest::params(5)
        .n_trees(n_trees)
        .sample_size(sample_size)
        .max_depth(max_depth)
        .check()
        .unwrap()
        .fit_view(records.view())
        .unwrap()
        .model()
        .clone()
}

fn columns(model: &Model) -> Vec<u32> {
    match &model.splits {
        Splits::Axis(axis) => {
            let splits = 0..axis.cut_of_split.len() as u32;
            splits.map(|split| axis.split(split).0).collect()
        }
        Splits::Oblique(oblique) => oblique.columns.clone(),
    }
}

#[test]
fn trees_split_every_pair_they_may() {
    // 64 different rows, no depth limit: every leaf holds one row.
    let records = Array2::from_shape_fn((64, 2), |(i, j)| (i * (j + 1)) as f64);
    let model = grow(&records, 1, 64, 64);
    let tree = &model.trees[0];
    assert_eq!(tree.nodes.len(), 127);
    let leaves = tree.nodes.iter().filter(|node| node.is_leaf());
    assert!(leaves.map(|node| node.n_rows).all(|n_rows| n_rows == 1));
    assert_eq!(tree.nodes[0].n_rows, 64);
}

#[test]
fn constant_columns_are_never_split_on() {
    let records = Array2::from_shape_fn((50, 3), |(i, j)| if j == 1 { i as f64 } else { 4.0 });
    let model = grow(&records, 1, 50, 8);
    assert!(model.trees[0].depth > 2);
    assert!(columns(&model).iter().all(|&column| column == 1));
}

#[test]
fn columns_constant_in_a_node_only_are_passed_over_there() {
    // Column 0 tells the halves apart and is constant within them; column 1 goes on splitting.
    let records = array![[0.0, 1.0], [0.0, 2.0], [9.0, 1.0], [9.0, 2.0]];
    for tree in &grow(&records, 50, 4, 4).trees {
        assert_eq!(tree.nodes.len(), 7, "four rows that all differ");
    }
}

#[test]
#[cfg_attr(miri, ignore = "takes long")]
fn the_column_is_drawn_uniformly_among_those_that_vary() {
    // Columns 0 and 3 are constant: 1, 2 and 4 share the root splits.
    let records = Array2::from_shape_fn((32, 5), |(i, j)| match j {
        0 | 3 => 1.0,
        _ => ((i * 7 + j) % 32) as f64,
    });
    let mut hits = [0_i32; 5];
    for column in columns(&grow(&records, 3_000, 32, 1)) {
        hits[column as usize] += 1;
    }
    assert_eq!((hits[0], hits[3]), (0, 0));
    for j in [1, 2, 4] {
        // Standard deviation 26.
        assert!((hits[j] - 1_000).abs() < 120, "{hits:?}");
    }
}
