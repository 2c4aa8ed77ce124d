//! Fitting and scoring from the outside: linfa's traits, edge cases, bad input.

#![allow(clippy::unwrap_used, missing_docs)] // A test may stop at its first failure.

mod common;

use common::uniform_table;
use linfa::traits::{Fit, Predict, PredictInplace};
use linfa::{Dataset, DatasetBase, ParamGuard};
use linfa_isolation::{Error, Form, IsolationForest, SampleSize};
use ndarray::{Array1, Array2, Axis, array, concatenate};

#[test]
#[cfg_attr(miri, ignore = "takes long")]
fn outliers_score_above_inliers() {
    let inliers = uniform_table(1_000, 3, 1);
    let outliers = array![[5.0, 4.0, -3.0], [-4.0, -4.0, 6.0], [3.0, 3.0, 3.0]];
    let records = concatenate(Axis(0), &[inliers.view(), outliers.view()]).unwrap();
    let forest = IsolationForest::params(1)
        .check()
        .unwrap()
        .fit_view(records.view())
        .unwrap();
    let scores = forest.score_samples(records.view()).unwrap().to_vec();
    let highest_inlier = scores[..1_000].iter().copied().fold(0.0, f64::max);
    for score in &scores[1_000..] {
        assert!(
            *score > highest_inlier,
            "{score} is not above {highest_inlier}"
        );
    }
    // The paper's reading: inliers lie well below 0.5 to 0.6, clear outliers above 0.6.
    let mean_inlier = scores[..1_000].iter().sum::<f64>() / 1_000.0;
    assert!(mean_inlier < 0.5, "{mean_inlier}");
}

#[test]
#[cfg_attr(miri, ignore = "takes long")]
fn linfa_traits_give_the_same_scores() {
    let records = uniform_table(300, 4, 2);
    let params = IsolationForest::params(6).n_trees(20);
    let expected = params
        .clone()
        .check()
        .unwrap()
        .fit_view(records.view())
        .unwrap()
        .score_samples(records.view())
        .unwrap();

    // Unchecked and checked parameters, datasets with and without targets, owned and borrowed.
    let labels: Array1<bool> = Array1::from_elem(300, true);
    let forest = params.fit(&Dataset::new(records.clone(), labels)).unwrap();
    assert_eq!(forest.predict(&records), expected);
    let dataset = DatasetBase::from(records.view());
    let forest = params.check_ref().unwrap().fit(&dataset).unwrap();
    assert_eq!(forest.predict(&dataset), expected);
    let mut scores = forest.default_target(&records);
    forest.predict_inplace(&records, &mut scores);
    assert_eq!(scores, expected);
}

#[test]
fn unchecked_parameters_are_checked_by_fit() {
    let dataset = DatasetBase::from(uniform_table(10, 2, 1));
    let error = IsolationForest::params(1)
        .n_trees(0)
        .fit(&dataset)
        .unwrap_err();
    assert_eq!(
        error.to_string(),
        "`n_trees` is `0`, but must be between 1 and 1000000"
    );
}

#[test]
#[cfg_attr(miri, ignore = "takes long")]
fn constant_data_scores_one_half() {
    for (n_rows, n_trees) in [(1, 7), (2, 100), (100, 100), (1_000, 33)] {
        let records = Array2::from_elem((n_rows, 3), 42.0);
        let forest = IsolationForest::params(1)
            .n_trees(n_trees)
            .check()
            .unwrap()
            .fit_view(records.view())
            .unwrap();
        assert_eq!(forest.depth(), 0);
        let anywhere = uniform_table(20, 3, 1);
        for score in forest.score_samples(anywhere.view()).unwrap() {
            assert_eq!(score, 0.5, "{n_rows} rows, {n_trees} trees");
        }
    }
}

#[test]
fn one_column_and_few_rows_work() {
    let records = array![[1.0], [2.0], [3.0], [2.0], [100.0]];
    let forest = IsolationForest::params(1)
        .check()
        .unwrap()
        .fit_view(records.view())
        .unwrap();
    assert_eq!((forest.n_features(), forest.sample_size()), (1, 5));
    let scores = forest.score_samples(records.view()).unwrap();
    assert_eq!(scores[1], scores[3]);
    assert!(scores[4] > scores[0] && scores[4] > scores[1]);
}

#[test]
fn extreme_values_do_not_overflow() {
    let records = array![[f64::MIN], [f64::MAX], [0.0], [5e-324], [-5e-324]];
    let forest = IsolationForest::params(1)
        .max_depth(20)
        .check()
        .unwrap()
        .fit_view(records.view())
        .unwrap();
    for score in forest.score_samples(records.view()).unwrap() {
        assert!(0.0 < score && score < 1.0);
    }
}

#[test]
#[cfg_attr(miri, ignore = "takes long")]
fn each_tree_uses_no_more_columns_than_allowed() {
    let records = uniform_table(500, 6, 4);
    let forest = IsolationForest::params(2)
        .max_features(2)
        .check()
        .unwrap()
        .fit_view(records.view())
        .unwrap();
    let value = serde_json::to_value(&forest).unwrap();
    let mut used_by_any = std::collections::BTreeSet::new();
    for nodes in value["trees"].as_array().unwrap() {
        let used: std::collections::BTreeSet<u64> = nodes
            .as_array()
            .unwrap()
            .iter()
            .filter_map(|node| node.get("inner")?["feature"].as_u64())
            .collect();
        assert!(used.len() <= 2, "{used:?}");
        used_by_any.extend(used);
    }
    assert_eq!(used_by_any.len(), 6, "trees should differ in their columns");
}

#[test]
#[cfg_attr(miri, ignore = "takes long")]
fn different_seeds_give_different_forests() {
    let records = uniform_table(300, 3, 1);
    let bytes = |seed| {
        let params = IsolationForest::params(seed).check().unwrap();
        params.fit_view(records.view()).unwrap().to_bytes()
    };
    assert_eq!(bytes(1), bytes(1));
    assert_ne!(bytes(1), bytes(2));
}

#[test]
fn impossible_tables_are_refused() {
    let params = IsolationForest::params(1).check().unwrap();
    for shape in [(0, 3), (3, 0), (0, 0)] {
        let refused = params.fit_view(Array2::zeros(shape).view());
        assert!(matches!(refused, Err(Error::Empty { .. })), "{shape:?}");
    }
    let wide = IsolationForest::params(1).max_features(4).check().unwrap();
    let error = wide.fit_view(uniform_table(9, 3, 1).view()).unwrap_err();
    assert_eq!(
        error.to_string(),
        "`max_features` is `4`, but must be at most the number of columns"
    );

    let forest = params.fit_view(uniform_table(9, 3, 1).view()).unwrap();
    let error = forest
        .score_samples(Array2::zeros((5, 2)).view())
        .unwrap_err();
    assert_eq!(
        error.to_string(),
        "the table has 2 columns, but the forest was fitted on 3"
    );
    assert!(forest.score_one(&[1.0; 4]).is_err());
    let error = forest
        .score_into(Array2::zeros((5, 3)).view(), &mut [0.0; 4])
        .unwrap_err();
    assert_eq!(
        error.to_string(),
        "the output holds 4 values, but the table has 5 rows"
    );
    // No rows: no scores.
    let none = forest.score_samples(Array2::zeros((0, 3)).view()).unwrap();
    assert!(none.is_empty());
}

#[test]
fn a_forest_tells_what_it_is() {
    let records = uniform_table(1_000, 3, 1);
    let forest = IsolationForest::params(9)
        .n_trees(12)
        .sample_size(SampleSize::Fraction(0.1))
        .check()
        .unwrap()
        .fit_view(records.view())
        .unwrap();
    assert_eq!(forest.n_features(), 3);
    assert_eq!(forest.n_trees(), 12);
    assert_eq!(forest.sample_size(), 100);
    assert_eq!(forest.seed(), 9);
    assert_eq!(forest.depth(), 7);
    assert_eq!(forest.offset(), linfa_isolation::average_path_length(100));
}

#[test]
#[should_panic(expected = "can't predict: the table has 2 columns")]
fn predicting_a_wrong_table_panics_with_the_reason() {
    let params = IsolationForest::params(1).check().unwrap();
    let forest = params.fit_view(uniform_table(9, 3, 1).view()).unwrap();
    let _scores: Array1<f64> = forest.predict(&Array2::zeros((5, 2)));
}

#[test]
#[cfg_attr(miri, ignore = "takes long")]
fn a_fit_that_is_told_to_stop_ends_and_one_that_is_not_is_the_same() {
    let rows = uniform_table(500, 3, 2);
    for form in [Form::Classic, Form::FairCut] {
        let params = IsolationForest::params(3).form(form).n_trees(2_000);
        let params = params.check().unwrap();
        let mut asked = 0;
        let mut stop_at = |n: usize| {
            params.fit_view_until(rows.view(), &mut || {
                asked += 1;
                asked >= n
            })
        };
        assert!(matches!(stop_at(2), Err(Error::Stopped)));
        let whole = stop_at(usize::MAX).unwrap();
        assert!(asked > 3, "{asked}");
        let other = params.fit_view(rows.view()).unwrap();
        let scores = |forest: &IsolationForest| forest.score_samples(rows.view()).unwrap();
        assert_eq!(scores(&whole), scores(&other));
    }
}
