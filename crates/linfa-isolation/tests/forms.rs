//! What every form of forest owes its users.

#![allow(clippy::unwrap_used, missing_docs)] // A test may stop at its first failure.

mod common;

use common::uniform_table;
use linfa::traits::Fit;
use linfa::{Dataset, DatasetBase, ParamGuard};
use linfa_isolation::{
    Error, Form, IsolationForest, IsolationForestParams, Missing, Scoring, quantile_threshold,
};
use ndarray::{Array1, Array2, ArrayView2, Axis, array, concatenate, s};
use proptest::prelude::*;

const EXTENDED: Form = Form::Extended { extension_level: 1 };
const FORMS: [Form; 5] = [
    Form::Classic,
    EXTENDED,
    Form::Extended { extension_level: 2 },
    Form::SciForest,
    Form::FairCut,
];
const SCORINGS: [Scoring; 3] = [
    Scoring::PathLength,
    Scoring::AdjustedDepth,
    Scoring::Density,
];

fn fit(params: IsolationForestParams, records: ArrayView2<'_, f64>) -> IsolationForest {
    params.check().unwrap().fit_view(records).unwrap()
}

fn params(form: Form, seed: u64) -> IsolationForestParams {
    IsolationForest::params(seed)
        .form(form)
        .n_trees(25)
        .sample_size(64)
}

fn scores(forest: &IsolationForest, records: ArrayView2<'_, f64>) -> Vec<f64> {
    forest.score_samples(records).unwrap().to_vec()
}

/// Two clouds, with two rows far from both, one of them between in each column: only a look at the
/// columns together tells it apart.
fn clouds(seed: u64) -> Array2<f64> {
    let uniform = uniform_table(602, 6, seed);
    let mut records = Array2::from_shape_fn((602, 2), |(row, column)| {
        let sum: f64 = uniform.row(row).iter().skip(3 * column).take(3).sum();
        let centre = if row % 2 == 0 { -4.0 } else { 4.0 };
        centre + sum - 1.5
    });
    records.row_mut(600).assign(&array![12.0, -12.0]);
    records.row_mut(601).assign(&array![4.0, -4.0]);
    records
}

fn forms() -> impl Strategy<Value = Form> {
    prop::sample::select(FORMS.to_vec())
}

fn scorings() -> impl Strategy<Value = Scoring> {
    prop::sample::select(SCORINGS.to_vec())
}

/// Tables with duplicates, constant columns, and values of very different sizes.
fn tables() -> impl Strategy<Value = Array2<f64>> {
    let value = prop_oneof![
        3 => -1e3..1e3,
        2 => (-4_i32..4).prop_map(f64::from),
        1 => prop::num::f64::NORMAL | prop::num::f64::SUBNORMAL | prop::num::f64::ZERO,
    ];
    (1_usize..120, 3_usize..20).prop_flat_map(move |(n_rows, n_columns)| {
        prop::collection::vec(value.clone(), n_rows * n_columns)
            .prop_map(move |values| Array2::from_shape_vec((n_rows, n_columns), values).unwrap())
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(if cfg!(miri) { 2 } else { 96 }))]

    #[test]
    fn scores_lie_strictly_between_0_and_1(
        records in tables(), form in forms(), scoring in scorings(), seed: u64,
    ) {
        let forest = fit(params(form, seed).scoring(scoring), records.view());
        let far = records.mapv(|value| (value * 1e3).clamp(-1e300, 1e300));
        for score in scores(&forest, records.view()).into_iter().chain(scores(&forest, far.view())) {
            prop_assert!(0.0 < score && score < 1.0, "{score}");
        }
    }

    #[test]
    fn scoring_knows_no_order_of_rows(
        (records, order) in tables().prop_flat_map(|records| {
            let order: Vec<usize> = (0..records.nrows()).collect();
            (Just(records), Just(order).prop_shuffle())
        }),
        form in forms(),
        seed: u64,
    ) {
        let forest = fit(params(form, seed), records.view());
        let straight = scores(&forest, records.view());
        let shuffled = scores(&forest, records.select(Axis(0), &order).view());
        for (position, &row) in order.iter().enumerate() {
            prop_assert_eq!(shuffled[position], straight[row]);
        }
    }

    #[test]
    fn all_ways_to_score_agree(
        records in tables(), form in forms(), scoring in scorings(), seed: u64,
    ) {
        let forest = fit(params(form, seed).scoring(scoring), records.view());
        let row_major = scores(&forest, records.view());
        let column_major = records.t().as_standard_layout().reversed_axes().to_owned();
        prop_assert_eq!(&scores(&forest, column_major.view()), &row_major);
        let backwards = scores(&forest, records.slice(s![..;-1, ..]));
        for (row, values) in records.rows().into_iter().enumerate() {
            prop_assert_eq!(forest.score_one(&values.to_vec()).unwrap(), row_major[row]);
            prop_assert_eq!(backwards[records.nrows() - 1 - row], row_major[row]);
        }
        let again = IsolationForest::from_bytes(&forest.to_bytes()).unwrap();
        prop_assert_eq!(&scores(&again, records.view()), &row_major);
        prop_assert!(again.to_bytes() == forest.to_bytes());
    }

    #[test]
    fn the_same_seed_gives_the_same_bytes_on_any_number_of_threads(
        records in tables(), form in forms(), scoring in scorings(), seed: u64,
    ) {
        let on_threads = |n_threads| {
            let pool = rayon::ThreadPoolBuilder::new().num_threads(n_threads).build().unwrap();
            pool.install(|| {
                let forest = fit(params(form, seed).scoring(scoring), records.view());
                (forest.to_bytes(), scores(&forest, records.view()))
            })
        };
        let (bytes, scores) = on_threads(1);
        for n_threads in [2, 5] {
            let (other_bytes, other_scores) = on_threads(n_threads);
            prop_assert!(other_bytes == bytes);
            prop_assert_eq!(&other_scores, &scores);
        }
    }

    #[test]
    fn contributions_sum_to_the_score(
        records in tables(), form in forms(), scoring in scorings(), seed: u64,
    ) {
        let forest = fit(params(form, seed).scoring(scoring), records.view());
        let why = forest.contributions(records.view()).unwrap();
        prop_assert_eq!(&why.scores, &forest.score_samples(records.view()).unwrap());
        let (mut high, mut low) = (vec![0.0; records.ncols()], vec![0.0; records.ncols()]);
        for (row, values) in records.rows().into_iter().enumerate() {
            let sum = why.total().row(row).sum();
            prop_assert!((sum - why.scores[row]).abs() < 1e-12, "{sum} of {}", why.scores[row]);
            let score = forest.contributions_one(&values.to_vec(), &mut high, &mut low).unwrap();
            prop_assert_eq!(score, why.scores[row]);
            prop_assert_eq!(why.too_high.row(row).to_vec(), high.clone());
            prop_assert_eq!(why.too_low.row(row).to_vec(), low.clone());
            prop_assert!(high.iter().chain(&low).all(|&part| part >= 0.0));
        }
    }

    /// Powers of two are exact in the frame, too.
    #[test]
    fn scaling_by_a_power_of_two_changes_nothing(
        seed: u64, table_seed: u64, exponent in -40_i32..40, form in forms(),
    ) {
        let records = uniform_table(200, 4, table_seed) - 0.5;
        let mut scaled = records.clone();
        scaled.column_mut(2).mapv_inplace(|value| value * 2.0_f64.powi(exponent));
        prop_assert_eq!(
            scores(&fit(params(form, seed), records.view()), records.view()),
            scores(&fit(params(form, seed), scaled.view()), scaled.view())
        );
    }

    /// Nearly exact: the frame rounds elsewhere, which may send a row that lies within rounding of a
    /// threshold the other way, or let another of two candidates of equal gain win.
    #[test]
    fn stretching_and_shifting_a_column_changes_little(
        seed: u64, table_seed: u64, factor in 0.01..100.0, shift in -1e4..1e4, form in forms(),
    ) {
        let records = uniform_table(200, 4, table_seed);
        let mut moved = records.clone();
        moved.column_mut(1).mapv_inplace(|value| value * factor + shift);
        let before = scores(&fit(params(form, seed), records.view()), records.view());
        let after = scores(&fit(params(form, seed), moved.view()), moved.view());
        let off = before.iter().zip(&after).filter(|(a, b)| (*a - *b).abs() > 1e-9).count();
        prop_assert!(off <= 10, "{off} of 200 rows");
    }

    #[test]
    fn what_is_not_finite_is_refused_with_its_place(
        records in tables(),
        form in forms(),
        place in any::<(prop::sample::Index, prop::sample::Index)>(),
        bad in prop::sample::select(vec![f64::NAN, f64::INFINITY, f64::NEG_INFINITY]),
    ) {
        let forest = fit(params(form, 1), records.view());
        let (bad_row, bad_column) = (place.0.index(records.nrows()), place.1.index(records.ncols()));
        let mut broken = records.clone();
        broken[[bad_row, bad_column]] = bad;
        let is_named = |result: Result<(), Error>, expected_row: usize| {
            matches!(result, Err(Error::NonFinite { row, column, .. })
                if row == expected_row && column == bad_column)
        };
        let checked = params(form, 1).check().unwrap();
        prop_assert!(is_named(checked.fit_view(broken.view()).map(drop), bad_row));
        // All rows are drawn here, so looking at those alone finds it, too.
        let drawn = params(form, 1).sample_size(120).check_all_rows(false).check().unwrap();
        prop_assert!(is_named(drawn.fit_view(broken.view()).map(drop), bad_row));
        prop_assert!(is_named(forest.score_samples(broken.view()).map(drop), bad_row));
        prop_assert!(is_named(forest.contributions(broken.view()).map(drop), bad_row));
        prop_assert!(is_named(forest.score_one(&broken.row(bad_row).to_vec()).map(drop), 0));
    }

    #[test]
    fn missing_values_go_both_ways(
        records in tables(),
        form in forms(),
        scoring in scorings(),
        places in prop::collection::vec(any::<(prop::sample::Index, prop::sample::Index)>(), 1..40),
        seed: u64,
    ) {
        let mut holed = records.clone();
        for (row, column) in &places {
            holed[[row.index(records.nrows()), column.index(records.ncols())]] = f64::NAN;
        }
        let params = params(form, seed).scoring(scoring).missing(Missing::BothWays);
        let forest = fit(params.clone(), holed.view());
        let found = scores(&forest, holed.view());
        for (row, values) in holed.rows().into_iter().enumerate() {
            prop_assert!(0.0 < found[row] && found[row] < 1.0);
            prop_assert_eq!(forest.score_one(&values.to_vec()).unwrap(), found[row]);
        }
        let why = forest.contributions(holed.view()).unwrap();
        for (row, sum) in why.total().sum_axis(Axis(1)).iter().enumerate() {
            prop_assert!((sum - found[row]).abs() < 1e-12);
        }
        // Where nothing is missing, the choice changes nothing.
        let whole = fit(params, records.view());
        let strict = fit(
            IsolationForest::params(seed).form(form).scoring(scoring).n_trees(25).sample_size(64),
            records.view(),
        );
        prop_assert_eq!(scores(&whole, records.view()), scores(&strict, records.view()));
    }

    #[test]
    fn equal_rows_score_equally(records in tables(), form in forms(), seed: u64) {
        let doubled = concatenate(Axis(0), &[records.view(), records.view()]).unwrap();
        let all = scores(&fit(params(form, seed), doubled.view()), doubled.view());
        let (first, second) = all.split_at(records.nrows());
        prop_assert_eq!(first, second);
    }
}

#[test]
#[cfg_attr(miri, ignore = "takes long")]
fn every_form_and_scoring_finds_the_outlier() {
    for form in [Form::Classic, EXTENDED, Form::SciForest, Form::FairCut] {
        for scoring in SCORINGS {
            let records = clouds(3);
            let params = IsolationForest::params(7).form(form).scoring(scoring);
            let all = scores(&fit(params, records.view()), records.view());
            let largest = all[..600].iter().copied().fold(0.0, f64::max);
            assert!(
                all[600] > largest,
                "{form:?} {scoring:?}: {} and {largest}",
                all[600]
            );
        }
    }
}

/// What the forms are for: the classic forest sees nothing between the clouds that is far in no
/// single column; slopes do.
#[test]
#[cfg_attr(miri, ignore = "takes long")]
fn slopes_see_what_single_columns_hide() {
    let records = clouds(5);
    let rank = |form| {
        let params = IsolationForest::params(11).form(form).n_trees(400);
        let all = scores(&fit(params, records.view()), records.view());
        all[..600]
            .iter()
            .filter(|&&score| score >= all[601])
            .count()
    };
    assert!(rank(Form::Classic) > 0);
    assert_eq!(rank(EXTENDED), 0);
    assert_eq!(rank(Form::SciForest), 0);
}

#[test]
#[cfg_attr(miri, ignore = "takes long")]
fn contributions_name_the_column_and_the_direction() {
    let records = uniform_table(1_000, 6, 3);
    for form in [Form::Classic, EXTENDED, Form::SciForest, Form::FairCut] {
        let forest = fit(IsolationForest::params(3).form(form), records.view());
        for column in 0..6 {
            for (value, too_high) in [(4.0, true), (-3.0, false)] {
                let mut row = vec![0.5; 6];
                row[column] = value;
                let why = forest
                    .contributions(ArrayView2::from_shape((1, 6), &row).unwrap())
                    .unwrap();
                let (part, rest) = if too_high {
                    (&why.too_high, &why.too_low)
                } else {
                    (&why.too_low, &why.too_high)
                };
                let largest = part.iter().chain(rest).copied().fold(0.0, f64::max);
                assert_eq!(
                    part[[0, column]],
                    largest,
                    "{form:?} {column} {value}: {why:?}"
                );
            }
        }
    }
}

#[test]
fn one_row_and_one_column_are_enough() {
    let one_row = array![[1.0, 2.0, 3.0]];
    let one_column =
        Array2::from_shape_fn((50, 1), |(i, _)| if i == 49 { 100.0 } else { i as f64 });
    let constant = Array2::from_elem((30, 4), 7.0);
    for form in [Form::Classic, Form::SciForest, Form::FairCut] {
        let forest = fit(params(form, 1), one_row.view());
        assert_eq!(scores(&forest, one_row.view()), [0.5]);
        assert_eq!(
            scores(&fit(params(form, 1), constant.view()), constant.view()),
            [0.5; 30]
        );
        let forest = fit(params(form, 1), one_column.view());
        let all = scores(&forest, one_column.view());
        assert!(all[..49].iter().all(|&score| score < all[49]), "{form:?}");
        let why = forest.contributions(one_column.view()).unwrap();
        assert!((why.too_high[[49, 0]] - all[49]).abs() < 1e-12);
    }
    let why = fit(params(EXTENDED, 1), constant.view())
        .contributions(constant.view())
        .unwrap();
    assert!((why.total().row(3).sum() - 0.5).abs() < 1e-12);
}

#[test]
#[cfg_attr(miri, ignore = "takes long")]
fn a_row_far_outside_scores_higher_with_the_range_penalty() {
    let records = uniform_table(500, 3, 2);
    let far = array![[50.0, -50.0, 50.0]];
    let with = |penalize| {
        let params = IsolationForest::params(4)
            .form(Form::SciForest)
            .penalize_range(penalize);
        fit(params, records.view())
            .score_samples(far.view())
            .unwrap()[0]
    };
    assert!(
        with(true) > with(false) + 0.05,
        "{} {}",
        with(true),
        with(false)
    );
}

#[test]
#[cfg_attr(miri, ignore = "takes long")]
fn extension_level_0_is_the_classic_forest() {
    let records = uniform_table(300, 5, 2);
    let level_0 = fit(
        params(Form::Extended { extension_level: 0 }, 9),
        records.view(),
    );
    let classic = fit(params(Form::Classic, 9), records.view());
    assert_eq!(
        scores(&level_0, records.view()),
        scores(&classic, records.view())
    );
}

#[test]
#[cfg_attr(miri, ignore = "takes long")]
fn weights_are_odds_of_being_drawn() {
    // The first half of the rows lies at 0..1, the second at 100..101.
    let mut records = uniform_table(2_000, 2, 8);
    records
        .slice_mut(s![1_000.., ..])
        .mapv_inplace(|value| value + 100.0);
    let mut weights = Array1::from_elem(2_000, 1.0_f32);
    weights.slice_mut(s![1_000..]).fill(0.0);
    for form in [Form::Classic, EXTENDED] {
        let dataset = Dataset::from(records.clone()).with_weights(weights.clone());
        let forest = params(form, 1).check().unwrap().fit(&dataset).unwrap();
        let all = scores(&forest, records.view());
        let mean = |rows: &[f64]| rows.iter().sum::<f64>() / rows.len() as f64;
        assert!(mean(&all[1_000..]) > mean(&all[..1_000]) + 0.05, "{form:?}");
        // Without weights both halves look alike.
        let even = params(form, 1).check().unwrap();
        let even = even.fit(&DatasetBase::from(records.clone())).unwrap();
        let all = scores(&even, records.view());
        assert!(
            (mean(&all[1_000..]) - mean(&all[..1_000])).abs() < 0.05,
            "{form:?}"
        );
    }
    let few = params(Form::Classic, 1).check().unwrap();
    let mut weights = vec![0.0_f32; 2_000];
    weights[3..13].fill(2.0);
    assert_eq!(
        few.fit_weighted(records.view(), &weights)
            .unwrap()
            .sample_size(),
        10
    );
}

#[test]
fn bad_weights_are_refused() {
    let records = uniform_table(4, 2, 8);
    let checked = params(Form::Classic, 1).check().unwrap();
    let refused = |weights: &[f32]| {
        checked
            .fit_weighted(records.view(), weights)
            .unwrap_err()
            .to_string()
    };
    assert_eq!(refused(&[1.0; 3]), "there are 3 weights for 4 rows");
    assert_eq!(
        refused(&[1.0, 2.0, -1.0, f32::NAN]),
        "the weight `-1` of row 2 is negative or not finite"
    );
    assert_eq!(refused(&[0.0; 4]), "no weight is positive");
}

#[test]
fn impossible_combinations_are_named() {
    let records = uniform_table(20, 3, 8);
    let refused = |params: IsolationForestParams| {
        let error = params
            .check()
            .and_then(|params| params.fit_view(records.view()))
            .unwrap_err();
        error.to_string()
    };
    let extended = |extension_level| params(Form::Extended { extension_level }, 1);
    assert_eq!(
        refused(extended(3)),
        "`extension_level` is `3`, but must be below the number of columns"
    );
    assert!(refused(extended(usize::MAX)).contains("extension_level"));
    assert!(refused(extended(1).n_candidates(3)).contains("n_candidates"));
    assert!(refused(params(Form::Classic, 1).hyperplane_columns(2)).contains("hyperplane_columns"));
    assert!(refused(params(Form::FairCut, 1).hyperplane_columns(4)).contains("hyperplane_columns"));
    assert!(refused(params(Form::FairCut, 1).n_candidates(0)).contains("n_candidates"));
    assert!(refused(params(Form::Classic, 1).penalize_range(true)).contains("penalize_range"));
    let density = params(Form::SciForest, 1).scoring(Scoring::Density);
    assert!(refused(density.penalize_range(true)).contains("penalize_range"));
    let adjusted = params(Form::SciForest, 1).scoring(Scoring::AdjustedDepth);
    assert!(refused(adjusted.penalize_range(true)).contains("penalize_range"));
}

#[test]
#[cfg_attr(miri, ignore = "takes long")]
fn a_missing_value_says_nothing_about_the_row() {
    let records = clouds(9);
    for form in [Form::Classic, Form::FairCut] {
        let params = IsolationForest::params(2)
            .form(form)
            .missing(Missing::BothWays);
        let forest = fit(params, records.view());
        let scored = forest
            .score_samples(array![[12.0, -12.0], [f64::NAN, -4.0], [-4.0, -4.0]].view())
            .unwrap();
        assert!(scored[0] > scored[1], "{form:?}: {scored}");
        assert!((scored[1] - scored[2]).abs() < 0.1, "{form:?}: {scored}");
    }
}

#[test]
#[cfg_attr(miri, ignore = "takes long")]
fn a_quantile_of_the_scores_is_a_threshold() {
    let all: Vec<f64> = (0..100)
        .map(|i| f64::from((i * 37) % 100) / 100.0)
        .collect();
    assert_eq!(quantile_threshold(&all, 0.95).unwrap(), 0.94);
    assert_eq!(quantile_threshold(&all, 1.0).unwrap(), 0.99);
    assert_eq!(quantile_threshold(&all, 0.001).unwrap(), 0.0);
    assert!(quantile_threshold(&all, 0.0).is_err());
    assert!(quantile_threshold(&all, 1.1).is_err());
    assert!(quantile_threshold(&[], 0.5).is_err());
}
