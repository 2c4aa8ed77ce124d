//! All instructions give the same scores, bit for bit.

#![allow(clippy::unwrap_used, missing_docs)] // A test may stop at its first failure.

mod common;

use common::uniform_table;
use linfa::ParamGuard;
use linfa_isolation::{Form, IsolationForest, Missing, Scoring, Simd};
use ndarray::{Array2, Axis, concatenate, s};
use proptest::prelude::*;

fn bits(values: ndarray::Array1<f64>) -> Vec<u64> {
    values.into_iter().map(f64::to_bits).collect()
}

/// Checks every instruction set of this processor against the portable code, and rows alone against
/// tables.
fn check(forest: &IsolationForest, records: &Array2<f64>) {
    let portable = forest.clone().with_simd(Simd::Portable).unwrap();
    let scores = bits(portable.score_samples(records.view()).unwrap());
    let lengths = bits(portable.path_lengths(records.view()).unwrap());
    let why = portable.contributions(records.view()).unwrap();
    for (sum, score) in why.total().sum_axis(Axis(1)).iter().zip(&why.scores) {
        assert!((sum - score).abs() < 1e-12, "{sum} of {score}");
    }
    let column_major = records.t().as_standard_layout().reversed_axes().to_owned();
    // Every other column of every other row of a larger table, rows backwards: no layout at all.
    let mut spread = Array2::from_elem((2 * records.nrows(), 2 * records.ncols()), f64::NAN);
    spread.slice_mut(s![..;2, ..;2]).assign(records);
    spread.invert_axis(Axis(0));
    let strided = spread.slice(s![..;-2, ..;2]);
    for simd in Simd::ALL.into_iter().filter(|simd| simd.is_available()) {
        let vectors = forest.clone().with_simd(simd).unwrap();
        assert_eq!(vectors.simd(), simd);
        let layouts = [
            ("by rows", records.view()),
            ("by columns", column_major.view()),
            ("strided", strided),
        ];
        for (layout, records) in layouts {
            let actual = bits(vectors.score_samples(records).unwrap());
            assert!(actual == scores, "scores with {simd}, {layout}");
            let actual = bits(vectors.path_lengths(records).unwrap());
            assert!(actual == lengths, "path lengths with {simd}, {layout}");
        }
        let actual = vectors.contributions(records.view()).unwrap();
        assert!(actual == why, "contributions with {simd}");
        for (row, &score) in records.rows().into_iter().zip(&scores) {
            let actual = vectors.score_one(&row.to_vec()).unwrap().to_bits();
            assert_eq!(actual, score, "{row} alone with {simd}");
        }
    }
}

/// Divides sizes under Miri, which is slow.
const SHARE: usize = if cfg!(miri) { 12 } else { 1 };

/// A forest, and some tables for it to score.
#[derive(Debug, Clone)]
struct Case {
    form: Form,
    scoring: Scoring,
    missing: bool,
    n_columns: usize,
    n_trees: usize,
    sample_size: usize,
    max_depth: Option<usize>,
    /// Steps between values: few make many equal ones, which are thresholds, too.
    n_steps: f64,
    n_rows: usize,
    seed: u64,
}

fn cases() -> impl Strategy<Value = Case> {
    let form = prop_oneof![
        3 => Just(Form::Classic),
        2 => Just(Form::Extended { extension_level: 1 }),
        1 => Just(Form::Extended { extension_level: 2 }),
        1 => Just(Form::SciForest),
        1 => Just(Form::FairCut),
    ];
    let scoring = prop_oneof![
        2 => Just(Scoring::PathLength),
        1 => Just(Scoring::AdjustedDepth),
        1 => Just(Scoring::Density),
    ];
    let n_columns = prop_oneof![5 => 1_usize..20, 3 => 20_usize..70, 1 => Just(300 / SHARE)];
    let max_depth = prop_oneof![4 => Just(None), 1 => (1_usize..13).prop_map(Some)];
    let n_steps = prop_oneof![Just(3.0), Just(50.0), Just(1e15)];
    (
        (form, scoring, any::<bool>(), n_columns),
        (1..2 + 39 / SHARE, 2..600 / SHARE, max_depth, n_steps),
        (1..600 / SHARE, any::<u64>()),
    )
        .prop_map(
            |(
                (form, scoring, missing, n_columns),
                (n_trees, sample_size, max_depth, n_steps),
                (n_rows, seed),
            )| Case {
                form: match form {
                    Form::Extended { extension_level } => Form::Extended {
                        extension_level: extension_level.min(n_columns - 1),
                    },
                    form => form,
                },
                scoring,
                missing,
                n_columns,
                n_trees,
                sample_size,
                max_depth,
                n_steps,
                n_rows,
                seed,
            },
        )
}

impl Case {
    fn table(&self, n_rows: usize, seed: u64) -> Array2<f64> {
        let mut table = uniform_table(n_rows, self.n_columns, seed);
        let n_steps = self.n_steps;
        table.mapv_inplace(|value| (value * n_steps).floor() / n_steps - 0.25);
        if self.missing {
            for (value, odds) in table
                .iter_mut()
                .zip(&uniform_table(n_rows, self.n_columns, !seed))
            {
                if *odds < 0.01 {
                    *value = f64::NAN;
                }
            }
        }
        table
    }

    fn check(&self) {
        let training = self.table(600 / SHARE, self.seed);
        let mut params = IsolationForest::params(self.seed)
            .form(self.form)
            .scoring(self.scoring)
            .n_trees(self.n_trees)
            .sample_size(self.sample_size);
        if self.missing {
            params = params.missing(Missing::BothWays);
        }
        if let Some(max_depth) = self.max_depth {
            params = params.max_depth(max_depth);
        }
        let forest = params.check().unwrap().fit_view(training.view()).unwrap();
        // Rows like those of training, rows of training, and rows of extremes.
        let mut extremes = self.table(20, !self.seed);
        let values = [
            0.0,
            -0.0,
            5e-324,
            -5e-324,
            1e-310,
            1e308,
            -1e308,
            f64::MAX,
            f64::MIN,
            1e-30,
            1e30,
            0.25,
        ];
        for (idx, value) in extremes.iter_mut().enumerate() {
            if idx % 3 != 0 {
                *value = values[(idx / 2) % values.len()];
            }
        }
        let table = self.table(self.n_rows, self.seed ^ 1);
        let own = training.slice(s![..20, ..]);
        let all = concatenate(Axis(0), &[table.view(), own, extremes.view()]).unwrap();
        check(&forest, &all);
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(if cfg!(miri) { 2 } else { 96 }))]

    #[test]
    fn all_instructions_agree(case in cases()) {
        case.check();
    }

    /// Thresholds are midpoints of these, or close by.
    #[test]
    fn all_instructions_agree_on_extreme_training_data(
        values in prop::collection::vec(any::<f64>(), 10..400 / SHARE),
        n_columns in 1_usize..6,
        oblique: bool,
    ) {
        let values: Vec<f64> = values.into_iter().filter(|value| value.is_finite()).collect();
        let n_rows = values.len() / n_columns;
        prop_assume!(n_rows > 1);
        let values = values[..n_rows * n_columns].to_vec();
        let records = Array2::from_shape_vec((n_rows, n_columns), values).unwrap();
        let mut params = IsolationForest::params(3).n_trees(13);
        if oblique {
            params = params.form(Form::Extended { extension_level: 1.min(n_columns - 1) });
        }
        let forest = params.check().unwrap().fit_view(records.view()).unwrap();
        check(&forest, &records);
    }
}

/// Values equal to thresholds and their neighbours, for every threshold of a forest.
#[test]
#[cfg_attr(miri, ignore = "takes long")]
fn all_instructions_agree_on_thresholds() {
    let training = uniform_table(300, 3, 5);
    let forest = IsolationForest::params(8)
        .n_trees(11)
        .check()
        .unwrap()
        .fit_view(training.view())
        .unwrap();
    let value = serde_json::to_value(&forest).unwrap();
    let mut rows = Vec::new();
    for nodes in value["trees"].as_array().unwrap() {
        for node in nodes.as_array().unwrap() {
            if let Some(inner) = node.get("inner") {
                let threshold = inner["threshold"].as_f64().unwrap();
                rows.extend([threshold; 3]);
                rows.extend([threshold.next_up(); 3]);
                rows.extend([threshold.next_down(); 3]);
            }
        }
    }
    let records = Array2::from_shape_vec((rows.len() / 3, 3), rows).unwrap();
    check(&forest, &records);
}

/// Blocks are 256 rows at most, tasks 4096, groups 32, 16 and 8.
#[test]
#[cfg_attr(miri, ignore = "takes long")]
fn all_instructions_agree_on_every_number_of_rows() {
    let records = uniform_table(4_200, 5, 5);
    for form in [Form::Classic, Form::Extended { extension_level: 1 }] {
        let forest = IsolationForest::params(8)
            .form(form)
            .n_trees(7)
            .check()
            .unwrap()
            .fit_view(records.view())
            .unwrap();
        for n_rows in (1..70).chain([255, 256, 257, 289, 4_095, 4_096, 4_097, 4_200]) {
            check(&forest, &records.slice(s![..n_rows, ..]).to_owned());
        }
    }
}

/// Every number of columns up to those that 16-bit codes are used for, and some beyond.
#[test]
#[cfg_attr(miri, ignore = "takes long")]
fn all_instructions_agree_on_every_number_of_columns() {
    for n_columns in (1..=66).chain([127, 128, 129, 255, 256, 257]) {
        let records = uniform_table(300, n_columns, 5);
        for form in [Form::Classic, Form::SciForest] {
            let forest = IsolationForest::params(8)
                .form(form)
                .n_trees(6)
                .check()
                .unwrap()
                .fit_view(records.view())
                .unwrap();
            check(&forest, &records.slice(s![..40, ..]).to_owned());
        }
    }
}

/// Trees that aren't padded, over single columns, sums of two and sums of three.
#[test]
#[cfg_attr(miri, ignore = "takes long")]
fn all_instructions_agree_on_deep_trees() {
    let mut records = uniform_table(400, 4, 5).mapv(|value| (value * 40.0).exp());
    for form in [
        Form::Classic,
        Form::SciForest,
        Form::Extended { extension_level: 2 },
    ] {
        let forest = IsolationForest::params(8)
            .form(form)
            .n_trees(9)
            .max_depth(300)
            .missing(Missing::BothWays)
            .check()
            .unwrap()
            .fit_view(records.view())
            .unwrap();
        assert!(forest.depth() > 12, "{}", forest.depth());
        check(&forest, &records.slice(s![..70, ..]).to_owned());
        records[[3, 1]] = f64::NAN;
        check(&forest, &records.slice(s![..70, ..]).to_owned());
        records[[3, 1]] = 1.0;
    }
}

#[test]
fn instructions_that_are_missing_are_refused() {
    let records = uniform_table(30, 2, 5);
    let params = IsolationForest::params(8).n_trees(3).check().unwrap();
    let forest = params.fit_view(records.view()).unwrap();
    assert!(forest.simd().is_available());
    for simd in Simd::ALL {
        assert_eq!(
            forest.clone().with_simd(simd).is_ok(),
            simd.is_available(),
            "{simd}"
        );
    }
}
