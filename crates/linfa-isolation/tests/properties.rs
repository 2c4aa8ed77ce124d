//! What holds for every table.

#![allow(clippy::unwrap_used, missing_docs)] // A test may stop at its first failure.

mod common;

use common::uniform_table;
use linfa::ParamGuard;
use linfa_isolation::{Error, IsolationForest};
use ndarray::{Array2, ArrayView2, Axis, concatenate};
use proptest::prelude::*;

fn fit(records: ArrayView2<'_, f64>, seed: u64) -> IsolationForest {
    IsolationForest::params(seed)
        .n_trees(25)
        .sample_size(64)
        .check()
        .unwrap()
        .fit_view(records)
        .unwrap()
}

fn scores(forest: &IsolationForest, records: ArrayView2<'_, f64>) -> Vec<f64> {
    forest.score_samples(records).unwrap().to_vec()
}

/// Tables with duplicates, constant columns, and values of very different sizes.
fn tables() -> impl Strategy<Value = Array2<f64>> {
    let value = prop_oneof![
        3 => -1e3..1e3,
        2 => (-4_i32..4).prop_map(f64::from),
        1 => prop::num::f64::NORMAL | prop::num::f64::SUBNORMAL | prop::num::f64::ZERO,
    ];
    (1_usize..120, 1_usize..20).prop_flat_map(move |(n_rows, n_columns)| {
        prop::collection::vec(value.clone(), n_rows * n_columns)
            .prop_map(move |values| Array2::from_shape_vec((n_rows, n_columns), values).unwrap())
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(if cfg!(miri) { 2 } else { 64 }))]

    #[test]
    fn scores_lie_strictly_between_0_and_1(records in tables(), seed: u64) {
        let forest = fit(records.view(), seed);
        for score in scores(&forest, records.view()) {
            prop_assert!(0.0 < score && score < 1.0, "{score}");
        }
    }

    #[test]
    fn all_ways_to_score_agree(records in tables(), seed: u64) {
        let forest = fit(records.view(), seed);
        let row_major = scores(&forest, records.view());
        // Column-major, then without any contiguous layout.
        let column_major = records.t().as_standard_layout().reversed_axes().to_owned();
        prop_assert_eq!(&scores(&forest, column_major.view()), &row_major);
        let doubled = concatenate(Axis(0), &[records.view(), records.view()]).unwrap();
        let mut backwards = scores(&forest, doubled.slice(ndarray::s![..;-1, ..]));
        backwards.reverse();
        prop_assert_eq!(&backwards[..row_major.len()], &row_major[..]);
        for (row, score) in records.rows().into_iter().zip(&row_major) {
            prop_assert_eq!(forest.score_one(&row.to_vec()).unwrap(), *score);
        }
    }

    #[test]
    fn scoring_knows_no_order_of_rows(
        (records, order) in tables().prop_flat_map(|records| {
            let order: Vec<usize> = (0..records.nrows()).collect();
            (Just(records), Just(order).prop_shuffle())
        }),
        seed: u64,
    ) {
        let forest = fit(records.view(), seed);
        let straight = scores(&forest, records.view());
        let shuffled = scores(&forest, records.select(Axis(0), &order).view());
        for (position, &row) in order.iter().enumerate() {
            prop_assert_eq!(shuffled[position], straight[row]);
        }
    }

    #[test]
    fn equal_rows_score_equally(records in tables(), seed: u64) {
        let doubled = concatenate(Axis(0), &[records.view(), records.view()]).unwrap();
        let forest = fit(doubled.view(), seed);
        let all = scores(&forest, doubled.view());
        let (first, second) = all.split_at(records.nrows());
        prop_assert_eq!(first, second);
    }

    /// Exact: a power of two only changes the exponent of each value and threshold.
    #[test]
    fn scaling_a_column_by_a_power_of_two_changes_nothing(
        seed: u64, table_seed: u64, exponent in -40_i32..40,
    ) {
        let records = uniform_table(200, 4, table_seed) - 0.5;
        let mut scaled = records.clone();
        scaled.column_mut(2).mapv_inplace(|value| value * 2.0_f64.powi(exponent));
        prop_assert_eq!(
            scores(&fit(records.view(), seed), records.view()),
            scores(&fit(scaled.view(), seed), scaled.view())
        );
    }

    /// Nearly exact: thresholds are rounded elsewhere, which could move a row that lies within
    /// rounding of one. That is rare enough that the scores are equal here.
    #[test]
    fn stretching_and_shifting_a_column_changes_nothing(
        seed: u64, table_seed: u64, factor in 0.01..100.0, shift in -100.0..100.0,
    ) {
        let records = uniform_table(200, 4, table_seed);
        let mut moved = records.clone();
        moved.column_mut(1).mapv_inplace(|value| value * factor + shift);
        let before = scores(&fit(records.view(), seed), records.view());
        let after = scores(&fit(moved.view(), seed), moved.view());
        for (before, after) in before.iter().zip(&after) {
            prop_assert!((before - after).abs() < 1e-12);
        }
    }

    #[test]
    fn a_constant_column_more_changes_nothing_if_all_are_candidates(
        records in tables(), constant in -1e9..1e9,
    ) {
        // The column is drawn from those that vary in the sample, so the draws are the same.
        let column = Array2::from_elem((records.nrows(), 1), constant);
        let wider = concatenate(Axis(1), &[records.view(), column.view()]).unwrap();
        prop_assert_eq!(
            scores(&fit(records.view(), 5), records.view()),
            scores(&fit(wider.view(), 5), wider.view())
        );
    }

    #[test]
    fn saved_and_loaded_is_the_same(records in tables(), seed: u64) {
        let forest = fit(records.view(), seed);
        let bytes = forest.to_bytes();
        let loaded = IsolationForest::from_bytes(&bytes).unwrap();
        prop_assert_eq!(loaded.to_bytes(), bytes);
        prop_assert_eq!(scores(&loaded, records.view()), scores(&forest, records.view()));
        let value = serde_json::to_value(&forest).unwrap();
        let read: IsolationForest = serde_json::from_value(value).unwrap();
        prop_assert_eq!(read.to_bytes(), loaded.to_bytes());
    }

    #[test]
    fn what_is_not_finite_is_refused_with_its_place(
        records in tables(), place: prop::sample::Index,
        bad in prop::sample::select(vec![f64::NAN, f64::INFINITY, f64::NEG_INFINITY]),
    ) {
        let (n_rows, n_columns) = records.dim();
        let place = place.index(n_rows * n_columns);
        let expected = (place / n_columns, place % n_columns);
        let forest = fit(records.view(), 1);
        let mut broken = records.clone();
        // A later one must not be reported instead.
        broken[[n_rows - 1, n_columns - 1]] = f64::NAN;
        broken[expected] = bad;
        let column_major = broken.t().as_standard_layout().reversed_axes().to_owned();
        let params = IsolationForest::params(1).check().unwrap();
        let refusals = [
            params.fit_view(broken.view()).map(drop),
            params.fit_view(column_major.view()).map(drop),
            forest.score_samples(broken.view()).map(drop),
            forest.score_samples(column_major.view()).map(drop),
            forest.path_lengths(broken.view()).map(drop),
        ];
        for refusal in refusals {
            match refusal {
                Err(Error::NonFinite { row, column, .. }) => {
                    prop_assert_eq!((row, column), expected);
                }
                other => prop_assert!(false, "{:?}", other),
            }
        }
        let row = broken.row(expected.0).to_vec();
        let refused = matches!(
            forest.score_one(&row),
            Err(Error::NonFinite { row: 0, column, .. }) if column == expected.1
        );
        prop_assert!(refused);
    }
}

#[test]
#[cfg_attr(miri, ignore = "takes long")]
fn the_number_of_threads_changes_no_byte() {
    let records = uniform_table(20_000, 5, 3);
    let on_pool = |n_threads| {
        let pool = rayon::ThreadPoolBuilder::new()
            .num_threads(n_threads)
            .build()
            .unwrap();
        pool.install(|| {
            let forest = IsolationForest::params(77)
                .check()
                .unwrap()
                .fit_view(records.view())
                .unwrap();
            (forest.to_bytes(), scores(&forest, records.view()))
        })
    };
    let alone = on_pool(1);
    assert_eq!(on_pool(4), alone);
    assert_eq!(on_pool(3), alone);
}

#[test]
#[cfg_attr(miri, ignore = "takes long")]
fn the_first_bad_row_is_reported_whichever_thread_finds_it() {
    let mut records = uniform_table(40_000, 3, 3);
    let forest = fit(records.view(), 1);
    for row in [9_000, 9_001, 30_000, 39_999] {
        records[[row, 1]] = f64::NAN;
    }
    for _ in 0..20 {
        match forest.score_samples(records.view()) {
            Err(Error::NonFinite { row, column, .. }) => assert_eq!((row, column), (9_000, 1)),
            other => panic!("{other:?}"),
        }
    }
}
