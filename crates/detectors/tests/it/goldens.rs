//! Metrics against scikit-learn's, from `fixtures/ranking_goldens.py`.

use detectors::evaluation::{EvaluationOptions, Labels, Scored, evaluate};
use serde::Deserialize;

#[derive(Deserialize)]
struct Goldens {
    cases: Vec<Case>,
}

#[derive(Deserialize)]
struct Case {
    name: String,
    score: Vec<f64>,
    positive: Vec<bool>,
    threshold: f64,
    roc_auc: f64,
    average_precision: f64,
    precision: f64,
    recall: f64,
    f1: f64,
}

#[test]
fn metrics_equal_scikit_learns() {
    let goldens: Goldens =
        serde_json::from_str(include_str!("../fixtures/ranking_goldens.json")).unwrap();
    assert_eq!(goldens.cases.len(), 14);
    for case in &goldens.cases {
        let symbols = ["only".to_owned()];
        let flag: Vec<bool> = case.score.iter().map(|s| *s > case.threshold).collect();
        let evaluation = evaluate(
            &Scored {
                time: None,
                interval_us: None,
                symbol: &vec![0; case.score.len()],
                symbols: &symbols,
                score: &case.score,
                flag: &flag,
                labels: Labels::Rows(&case.positive),
            },
            &EvaluationOptions::default(),
        )
        .unwrap();
        for (metric, ours, theirs) in [
            ("roc_auc", &evaluation.roc_auc, case.roc_auc),
            (
                "average_precision",
                &evaluation.average_precision,
                case.average_precision,
            ),
            ("precision", &evaluation.precision, case.precision),
            ("recall", &evaluation.recall, case.recall),
            ("f1", &evaluation.f1, case.f1),
        ] {
            // Sums of at most 600 terms below 1 in another order.
            let ours = ours.value().unwrap();
            assert!(
                (ours - theirs).abs() < 1e-13,
                "{}: {metric} is {ours}, scikit-learn has {theirs}",
                case.name
            );
        }
    }
}
