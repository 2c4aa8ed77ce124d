//! Detectors against scikit-learn's and PyOD's, from `fixtures/detector_goldens.py`.

use detectors::{Detector, DetectorParams, dbscan_labels};
use ndarray::Array2;
use serde::Deserialize;
use serde_json::{Value, json};

#[derive(Deserialize)]
struct Goldens {
    tables: Vec<Table>,
}

#[derive(Deserialize)]
struct Table {
    name: String,
    rows: Vec<Vec<f64>>,
    new_rows: Vec<Vec<f64>>,
    ecod: Vec<f64>,
    hbos: Vec<Hbos>,
    hbos_new: Vec<f64>,
    z: Vec<f64>,
    knn_largest: Vec<f64>,
    knn_mean: Vec<f64>,
    dbscan: Vec<Dbscan>,
    covariance: Option<Vec<f64>>,
    shrinkage: Option<Vec<f64>>,
    mixture_full: Option<Vec<f64>>,
    mixture_diag: Option<Vec<f64>>,
}

#[derive(Deserialize)]
struct Hbos {
    n_bins: usize,
    scores: Vec<f64>,
}

#[derive(Deserialize)]
struct Dbscan {
    eps: f64,
    min_samples: usize,
    labels: Vec<i32>,
}

fn array(rows: &[Vec<f64>]) -> Array2<f64> {
    let values = rows.concat();
    Array2::from_shape_vec((rows.len(), rows[0].len()), values).unwrap()
}

/// `params` fitted on the table's rows and asked about `rows` gives `expected`, within a relative 1e-9.
fn check(table: &Table, params: Value, rows: &[Vec<f64>], expected: &[f64]) {
    let parsed: DetectorParams = serde_json::from_value(params.clone()).unwrap();
    let detector = Detector::fit(&parsed, array(&table.rows).view(), 1).unwrap();
    let found = detector.score(array(rows).view()).unwrap();
    assert_eq!(found.len(), expected.len());
    for (row, (found, expected)) in found.iter().zip(expected).enumerate() {
        assert!(
            (found - expected).abs() <= 1e-9 * expected.abs().max(1.0),
            "{}, {params}: row {row} is {found}, the reference has {expected}",
            table.name
        );
    }
}

#[test]
fn scores_and_labels_are_those_of_the_references() {
    let goldens: Goldens =
        serde_json::from_str(include_str!("../fixtures/detector_goldens.json")).unwrap();
    assert_eq!(goldens.tables.len(), 5);
    let mut n_estimates = 0;
    for table in &goldens.tables {
        check(table, json!({"detector": "ecod"}), &table.rows, &table.ecod);
        for hbos in &table.hbos {
            let params = json!({"detector": "hbos", "n_bins": hbos.n_bins});
            check(table, params, &table.rows, &hbos.scores);
        }
        let params = json!({"detector": "hbos"});
        check(table, params, &table.new_rows, &table.hbos_new);
        // A constant column counts as 0 in both.
        check(table, json!({"detector": "max_z"}), &table.rows, &table.z);
        let z: Vec<f64> = table.z.iter().map(|z| z / 3.0).collect();
        check(table, json!({"detector": "candle_z"}), &table.rows, &z);
        for (distance, expected) in [("largest", &table.knn_largest), ("mean", &table.knn_mean)] {
            let params = json!({"detector": "knn", "distance": distance});
            check(table, params, &table.new_rows, expected);
        }
        for dbscan in &table.dbscan {
            let rows = array(&table.rows);
            let labels = dbscan_labels(rows.view(), dbscan.eps, dbscan.min_samples).unwrap();
            assert_eq!(labels, dbscan.labels, "{}: eps {}", table.name, dbscan.eps);
        }
        for (scatter, expected) in [
            ("covariance", &table.covariance),
            ("shrinkage", &table.shrinkage),
        ] {
            let Some(expected) = expected else { continue };
            n_estimates += 1;
            let params = json!({"detector": "mahalanobis", "scatter": scatter});
            check(table, params, &table.new_rows, expected);
        }
        for (covariance, expected) in [
            ("full", &table.mixture_full),
            ("diagonal", &table.mixture_diag),
        ] {
            let Some(expected) = expected else { continue };
            n_estimates += 1;
            let params = json!({"detector": "gaussian_mixture", "n_components": 1, "covariance": covariance});
            check(table, params, &table.new_rows, expected);
        }
    }
    assert_eq!(n_estimates, 16);
}
