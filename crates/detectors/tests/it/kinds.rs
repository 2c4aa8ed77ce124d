//! What holds for every kind of detector: bytes, parts, learning.

use detectors::{Detector, DetectorParams, Error, FitObserver, FitRecord, Training};
use ndarray::Array2;
use proptest::prelude::*;

use crate::market::Xorshift;

/// Every detector with quick parameters, and in its other forms.
pub(crate) fn quick() -> Vec<DetectorParams> {
    [
        serde_json::json!({"detector": "isolation_forest", "n_trees": 3, "sample_size": 8}),
        serde_json::json!({"detector": "max_z"}),
        serde_json::json!({"detector": "ecod"}),
        serde_json::json!({"detector": "hbos"}),
        serde_json::json!({"detector": "knn"}),
        serde_json::json!({"detector": "knn", "distance": "mean", "scaling": "none", "max_rows": 30}),
        serde_json::json!({"detector": "dbscan", "eps": 0.7, "min_samples": 4}),
        serde_json::json!({"detector": "mahalanobis"}),
        serde_json::json!({"detector": "mahalanobis", "scatter": "exponential"}),
        serde_json::json!({"detector": "gaussian_mixture", "n_components": 2}),
        serde_json::json!({"detector": "gaussian_mixture", "covariance": "diagonal"}),
        serde_json::json!({"detector": "autoencoder", "max_epochs": 2, "widths": [5, 2]}),
        serde_json::json!({"detector": "half_space_trees", "n_trees": 2, "depth": 3}),
        serde_json::json!({"detector": "candle_z"}),
        serde_json::json!({"detector": "sliding_window"}),
        serde_json::json!({"detector": "consensus", "combination": "rank_average", "members": [
            {"detector": "knn"},
            {"detector": "knn", "n_neighbors": 1},
            {"detector": "half_space_trees", "n_trees": 2, "depth": 3},
        ]}),
    ]
    .map(|params| serde_json::from_value(params).unwrap())
    .into()
}

pub(crate) fn table(n: usize) -> Array2<f64> {
    let mut random = Xorshift(11);
    let mut normal = || (0..6).map(|_| random.uniform() - 0.5).sum::<f64>();
    Array2::from_shape_fn((n, 3), |_| normal())
}

fn fit(params: &DetectorParams) -> Detector {
    Detector::fit(params, table(400).view(), 7).unwrap()
}

#[test]
fn quick_parameters_are_of_every_kind() {
    for name in DetectorParams::NAMES {
        assert!(quick().iter().any(|p| p.name() == *name), "{name}");
    }
}

#[test]
fn bytes_bring_every_detector_back_exactly() {
    let rows = table(50);
    for params in quick() {
        let detector = fit(&params);
        let bytes = detector.to_bytes();
        assert_eq!(bytes, fit(&params).to_bytes(), "{params:?}");
        let back = Detector::from_bytes(&bytes).unwrap();
        assert_eq!(back.to_bytes(), bytes, "{params:?}");
        assert_eq!(
            back.score(rows.view()).unwrap(),
            detector.score(rows.view()).unwrap(),
            "{params:?}"
        );
        for cut in (0..bytes.len()).step_by(1 + bytes.len() / 400) {
            assert!(Detector::from_bytes(&bytes[..cut]).is_err(), "{params:?}");
        }
        let longer = [bytes.as_slice(), &[0]].concat();
        assert!(Detector::from_bytes(&longer).is_err(), "{params:?}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, ..ProptestConfig::default() })]

    /// A model's checksum keeps such bytes away; what reads a detector holds all the same.
    #[test]
    fn damaged_bytes_never_panic(
        kind in 0..quick().len(),
        damage in proptest::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..4),
    ) {
        thread_local! {
            static ALL: Vec<Vec<u8>> = quick().iter().map(|p| fit(p).to_bytes()).collect();
        }
        let mut bytes = ALL.with(|all| all[kind].clone());
        for (at, by) in damage {
            // Most of the structure stands at the front.
            let at = if by % 2 == 0 { at.index(bytes.len()) } else { at.index(bytes.len().min(200)) };
            bytes[at] ^= by;
        }
        if let Ok(detector) = Detector::from_bytes(&bytes) {
            let n = detector.n_features();
            prop_assert!(n > 0);
            if n <= 64 {
                let row = vec![0.5; n];
                let mut parts = vec![0.0; n];
                detector.score_one(&row).unwrap();
                detector.explain(&row, &mut parts).unwrap();
                detector.score(Array2::from_elem((70, n), 0.5).view()).unwrap();
            }
        }
    }
}

#[test]
fn parts_are_of_the_score_and_point_at_the_culprit() {
    for params in quick() {
        let detector = fit(&params);
        for culprit in 0..3 {
            let mut row = [0.05; 3];
            row[culprit] = 30.0;
            let mut parts = [f64::NAN; 3];
            let score = detector.explain(&row, &mut parts).unwrap();
            assert_eq!(score, detector.score_one(&row).unwrap(), "{params:?}");
            assert!(parts.iter().all(|p| p.is_finite()), "{params:?}");
            let shares = detector.shares(&row).unwrap();
            assert!(
                (shares.iter().sum::<f64>() - 1.0).abs() < 1e-12,
                "{params:?}"
            );
            let largest = (0..3).max_by(|a, b| shares[*a].total_cmp(&shares[*b]));
            // Three trees of eight rows know little, and a row beyond all bins is like one in none.
            if !matches!(params.name(), "isolation_forest" | "hbos") {
                assert_eq!(largest, Some(culprit), "{params:?}: {shares:?}");
            }
            let adds_up = matches!(
                params.name(),
                "ecod"
                    | "hbos"
                    | "knn"
                    | "dbscan"
                    | "mahalanobis"
                    | "autoencoder"
                    | "isolation_forest"
            );
            if adds_up {
                let sum: f64 = parts.iter().sum();
                assert!(
                    (sum / score - 1.0).abs() < 1e-9,
                    "{params:?}: {parts:?} {score}"
                );
            }
        }
        assert!(detector.explain(&[0.0; 3], &mut [0.0; 2]).is_err());
    }
}

#[test]
fn only_streaming_detectors_learn_and_bytes_hold_what_they_learned() {
    let rows = table(700);
    for params in quick() {
        let mut detector = fit(&params);
        let before = detector.to_bytes();
        for row in rows.rows() {
            let learned = detector.update(&row.to_vec()).unwrap();
            assert_eq!(learned, detector.is_streaming(), "{params:?}");
        }
        assert_eq!(
            detector.to_bytes() != before,
            detector.is_streaming(),
            "{params:?}"
        );
        let back = Detector::from_bytes(&detector.to_bytes()).unwrap();
        assert_eq!(
            back.score(rows.view()).unwrap(),
            detector.score(rows.view()).unwrap()
        );
        assert!(detector.update(&[0.0; 4]).is_err());
        assert!(detector.update(&[f64::NAN; 3]).is_err());
    }
    let streaming = quick().iter().filter(|p| fit(p).is_streaming()).count();
    assert_eq!(streaming, 3);
}

/// Larger distances score higher without end, but where a detector says that it has one.
#[test]
fn scores_rise_beyond_the_training_range() {
    for params in quick() {
        let detector = fit(&params);
        let scores: Vec<f64> = [5.0, 50.0, 5_000.0]
            .map(|v| detector.score_one(&[v; 3]).unwrap())
            .into();
        if matches!(params.name(), "isolation_forest" | "hbos") {
            assert!(scores[0] <= scores[2], "{params:?}: {scores:?}");
        } else {
            assert!(scores.is_sorted_by(|a, b| a < b), "{params:?}: {scores:?}");
        }
    }
}

#[test]
fn names_choose_columns_and_must_be_as_many() {
    let rows = table(100);
    let names = ["volume", "return", "macro_max_range"].map(str::to_owned);
    let training = |names| Training {
        rows: rows.view(),
        names: Some(names),
        seed: 1,
    };
    for (params, culprit) in [
        (serde_json::json!({"detector": "candle_z"}), 1),
        (serde_json::json!({"detector": "sliding_window"}), 2),
    ] {
        let params: DetectorParams = serde_json::from_value(params).unwrap();
        let detector = Detector::fit_with(&params, training(&names), &mut ()).unwrap();
        assert_eq!(detector.own_limit(), Some(1.0));
        for column in 0..3 {
            let mut row = [0.0; 3];
            row[column] = 40.0;
            let beyond = detector.score_one(&row).unwrap() > 1.0;
            assert_eq!(beyond, column == culprit, "{params:?}");
        }
        assert!(Detector::fit_with(&params, training(&names[..2]), &mut ()).is_err());
    }
}

#[test]
fn an_observer_hears_what_was_found_and_may_end_it() {
    struct Stop;
    impl FitObserver for Stop {
        fn should_stop(&mut self) -> bool {
            true
        }
    }
    let rows = table(400);
    let training = Training {
        rows: rows.view(),
        names: None,
        seed: 7,
    };
    for params in quick() {
        let stopped = Detector::fit_with(&params, training, &mut Stop);
        assert_eq!(stopped.unwrap_err(), Error::Stopped, "{params:?}");
    }
    let dbscan = serde_json::json!({"detector": "dbscan"});
    let dbscan = serde_json::from_value(dbscan).unwrap();
    let mut record = FitRecord::default();
    Detector::fit_with(&dbscan, training, &mut record).unwrap();
    let fact = |name| record.facts.iter().find(|f| f.0 == name).unwrap().1;
    assert_eq!(fact("dbscan.sampled_rows"), 400.0);
    assert_eq!(fact("dbscan.min_samples"), 6.0);
    assert!(fact("dbscan.eps") > 0.0);
}
