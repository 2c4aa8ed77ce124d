//! Every detector keeps the promises of the type.

use detectors::{Detector, DetectorParams, Error, FitObserver, ForestForm, Training};
use ndarray::{Array2, s};

use crate::market::Xorshift;

/// Every detector, and the isolation forest in every form with every scoring.
fn every() -> Vec<DetectorParams> {
    let read = |params| serde_json::from_value(params).unwrap();
    let mut all: Vec<DetectorParams> = DetectorParams::NAMES
        .iter()
        .map(|name| read(serde_json::json!({ "detector": name })))
        .collect();
    for form in ForestForm::ALL {
        for scoring in ["path_length", "adjusted_depth", "density"] {
            all.push(read(serde_json::json!({
                "detector": "isolation_forest",
                "form": form.name(),
                "scoring": scoring,
            })));
        }
    }
    all
}

fn table(n: usize) -> Array2<f64> {
    let mut random = Xorshift(5);
    Array2::from_shape_fn((n, 4), |_| random.uniform() + random.uniform())
}

#[test]
fn one_row_scores_as_in_a_batch_and_outliers_score_higher() {
    let train = table(1_000);
    let rows = table(20_000);
    for params in every() {
        let detector = Detector::fit(&params, train.view(), 7).unwrap();
        assert_eq!(detector.name(), params.name());
        assert_eq!(detector.n_features(), 4);
        let scores = detector.score(rows.view()).unwrap();
        for row in [0, 1, 8_191, 8_192, 19_999] {
            let alone = detector.score_one(&rows.row(row).to_vec()).unwrap();
            assert_eq!(alone.to_bits(), scores[row].to_bits(), "{params:?}");
        }
        let far = detector.score_one(&[9.0, -9.0, 9.0, -9.0]).unwrap();
        // The density of a leaf knows no distance: the emptiest corner may beat a row beyond another.
        // Nor does that of a bin.
        let by_density = serde_json::to_value(&params).unwrap()["scoring"] == "density";
        let by_density = by_density || params.name() == "hbos";
        let higher = scores.iter().filter(|s| **s >= far).count();
        assert!(
            higher <= usize::from(by_density) * 20,
            "{higher}: {params:?}"
        );
        // Rows of another memory layout are the same rows.
        let strided = Array2::from_shape_fn((8, 20_000), |(j, i)| rows[(i, j / 2)]);
        let view = strided.slice(s![..;2, ..]);
        assert_eq!(detector.score(view.t()).unwrap(), scores);
    }
}

#[test]
fn threads_change_nothing() {
    let train = table(3_000);
    for params in every() {
        let run = |threads| {
            let pool = rayon::ThreadPoolBuilder::new().num_threads(threads);
            pool.build().unwrap().install(|| {
                let detector = Detector::fit(&params, train.view(), 7).unwrap();
                (detector.to_bytes(), detector.score(train.view()).unwrap())
            })
        };
        assert_eq!(run(1), run(5), "{params:?}");
    }
}

#[test]
fn bad_input_is_refused_with_its_place() {
    let train = table(100);
    for params in every() {
        let empty = Array2::<f64>::zeros((0, 4));
        assert!(Detector::fit(&params, empty.view(), 0).is_err());
        assert!(Detector::fit(&params, Array2::zeros((4, 0)).view(), 0).is_err());
        let mut broken = table(20_000);
        broken[(9_000, 2)] = f64::INFINITY;
        let error = Detector::fit(&params, broken.view(), 0).unwrap_err();
        assert!(error.to_string().contains("row 9000, column 2"), "{error}");

        let detector = Detector::fit(&params, train.view(), 0).unwrap();
        let error = detector.score(broken.view()).unwrap_err();
        assert!(error.to_string().contains("row 9000, column 2"), "{error}");
        assert!(detector.score_one(&[0.0; 3]).is_err());
        assert!(detector.score_one(&[0.0, f64::NAN, 0.0, 0.0]).is_err());
        assert!(detector.score(Array2::zeros((2, 5)).view()).is_err());
        assert!(detector.score_into(train.view(), &mut [0.0; 3]).is_err());
        assert_eq!(detector.score(empty.view()).unwrap(), Vec::<f64>::new());
    }
    let bad = serde_json::json!({"detector": "isolation_forest", "n_trees": 0});
    let bad: DetectorParams = serde_json::from_value(bad).unwrap();
    assert!(Detector::fit(&bad, train.view(), 0).is_err());
}

#[test]
fn one_row_and_constant_data_are_fitted_or_refused_with_the_reason() {
    for params in every() {
        for rows in [
            Array2::from_elem((1, 2), 3.0),
            Array2::from_elem((50, 2), 3.0),
        ] {
            match Detector::fit(&params, rows.view(), 0) {
                Ok(detector) => {
                    assert!(detector.score_one(&[3.0, 3.0]).unwrap().is_finite());
                    assert!(detector.score_one(&[4.0, 3.0]).unwrap().is_finite());
                }
                Err(error) => {
                    let known = ["dbscan", "gaussian_mixture"].contains(&params.name());
                    assert!(known, "{params:?}: {error}");
                    assert!(matches!(error, Error::Fit { .. }), "{error}");
                }
            }
        }
    }
}

#[test]
fn values_at_the_ends_of_the_range_give_finite_scores() {
    let mut train = table(200);
    train[(0, 0)] = f64::MAX;
    train[(1, 0)] = f64::MIN;
    for params in every() {
        for rows in [&train, &table(200)] {
            let Ok(detector) = Detector::fit(&params, rows.view(), 0) else {
                assert!(params.name() == "gaussian_mixture", "{params:?}");
                continue;
            };
            for value in [f64::MAX, f64::MIN, f64::MIN_POSITIVE, 0.0] {
                let score = detector.score_one(&[value; 4]).unwrap();
                assert!(score.is_finite(), "{params:?}: {score} of {value}");
            }
        }
    }
}

/// Says stop at a question.
struct StopAt {
    question: usize,
    asked: usize,
}

impl FitObserver for StopAt {
    fn should_stop(&mut self) -> bool {
        self.asked += 1;
        self.asked >= self.question
    }
}

#[test]
fn every_long_fit_can_be_stopped_on_its_way_and_is_the_same_when_it_is_not() {
    let few = table(5_000);
    let many = table(120_000);
    for params in every() {
        let rows = match params.name() {
            // Nothing that could take long.
            "max_z" | "ecod" | "hbos" | "candle_z" | "sliding_window" => continue,
            // Single passes, and a tree that is made in no time of fewer rows.
            "mahalanobis" | "autoencoder" | "gaussian_mixture" | "consensus" => &few,
            _ => &many,
        };
        let mut params = serde_json::to_value(&params).unwrap();
        if ["knn", "dbscan"].contains(&params["detector"].as_str().unwrap()) {
            params["max_rows"] = rows.nrows().into();
        }
        let params: DetectorParams = serde_json::from_value(params).unwrap();
        let training = Training {
            rows: rows.view(),
            names: None,
            seed: 3,
        };
        let fit = |question: usize| {
            let mut observer = StopAt { question, asked: 0 };
            let fitted = Detector::fit_with(&params, training, &mut observer);
            (fitted, observer.asked)
        };
        let (whole, asked) = fit(usize::MAX);
        assert!(asked >= 3, "{params:?} asked {asked} times");
        for question in [1, 2, asked / 2 + 1, asked] {
            let (stopped, n) = fit(question);
            assert_eq!(
                stopped.unwrap_err(),
                Error::Stopped,
                "{params:?} at {question}"
            );
            assert_eq!(n, question, "{params:?} asked again");
        }
        let again = Detector::fit(&params, rows.view(), 3).unwrap();
        assert_eq!(
            whole.unwrap().score_one(&[3.0; 4]),
            again.score_one(&[3.0; 4])
        );
    }
}

#[test]
fn scoring_for_a_calibration_can_be_stopped() {
    let (train, rows) = (table(1_000), table(100_000));
    let members = serde_json::json!([{"detector": "ecod"}, {"detector": "max_z"}]);
    let params = serde_json::json!({"detector": "consensus", "members": members});
    let params: DetectorParams = serde_json::from_value(params).unwrap();
    let mut detector = Detector::fit(&params, train.view(), 0).unwrap();
    let watched =
        |question| detector.score_watched(rows.view(), &mut StopAt { question, asked: 0 });
    assert_eq!(watched(3), Err(Error::Stopped));
    assert_eq!(
        watched(usize::MAX).unwrap(),
        detector.score(rows.view()).unwrap()
    );
    let mut stop = StopAt {
        question: 5,
        asked: 0,
    };
    assert_eq!(
        detector.calibrate_with(rows.view(), &mut stop),
        Err(Error::Stopped)
    );
}
