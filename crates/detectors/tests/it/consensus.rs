//! Members that vote, and what becomes of their scores.

use detectors::{Confidence, Detector, DetectorParams};
use ndarray::{Array2, s};
use serde_json::json;

use crate::kinds::table;

fn fit(combination: &str, vote_tail_probability: f64) -> Detector {
    let params = json!({
        "detector": "consensus",
        "combination": combination,
        "vote_tail_probability": vote_tail_probability,
        "members": [
            {"detector": "knn"},
            {"detector": "ecod"},
            {"detector": "mahalanobis", "scatter": "covariance"},
            {"detector": "knn", "n_neighbors": 9},
        ],
    });
    let params: DetectorParams = serde_json::from_value(params).unwrap();
    let rows = table(6_000);
    let mut detector = Detector::fit(&params, rows.slice(s![..2_000, ..]), 3).unwrap();
    // On rows of its own: those of training are their own neighbours.
    detector.calibrate(rows.slice(s![2_000.., ..])).unwrap();
    detector
}

/// Tails of a row in all members, as votes give them.
fn tails(detector: &Detector, row: &[f64]) -> Vec<f64> {
    let Detector::Consensus(consensus) = detector else {
        panic!("not a consensus");
    };
    let votes = consensus.votes(row).unwrap();
    votes.iter().map(|vote| vote.neg_log10_tail).collect()
}

#[test]
fn members_vote_beyond_their_tail_probability_and_votes_make_confidence() {
    let detector = fit("fisher", 0.01);
    let Detector::Consensus(consensus) = &detector else {
        panic!("not a consensus");
    };
    let names: Vec<&str> = consensus.members().map(|(name, _)| name).collect();
    assert_eq!(names, ["knn_1", "ecod", "mahalanobis", "knn_2"]);
    let mut seen = [0; 5];
    for row in table(4_000).rows() {
        let row = row.to_vec();
        let votes = consensus.votes(&row).unwrap();
        for vote in &votes {
            // One row in a hundred.
            assert_eq!(vote.flagged, vote.neg_log10_tail > 2.0);
        }
        let n = votes.iter().filter(|vote| vote.flagged).count();
        seen[n] += 1;
        let expected = [None, Some(Confidence::Low), Some(Confidence::Medium)];
        let expected = expected.get(n).copied().unwrap_or(Some(Confidence::High));
        assert_eq!(consensus.confidence(&row).unwrap(), expected);
        assert_eq!(expected.is_some_and(Confidence::is_confirmed), n >= 2);
    }
    assert!(seen[0] > 3_800 && seen[1] > 0 && seen[2] > 0, "{seen:?}");
    assert_eq!(
        consensus.confidence(&[50.0; 3]).unwrap(),
        Some(Confidence::High)
    );
    assert_eq!(
        serde_json::to_string(&Confidence::High).unwrap(),
        "\"HIGH\""
    );
}

#[test]
fn scores_are_combined_as_they_say() {
    let rows = [[0.1, 0.2, -0.1], [2.0, -2.0, 0.0], [9.0, 9.0, -9.0]];
    for row in &rows {
        let of = |name| {
            let detector = fit(name, 0.001);
            let score = detector.score_one(row).unwrap();
            (score, tails(&detector, row))
        };
        let (fisher, tails) = of("fisher");
        let mean = tails.iter().sum::<f64>() / 4.0;
        assert!((fisher - mean).abs() < 1e-12 * mean, "{fisher} {mean}");
        let largest = tails.iter().copied().fold(0.0, f64::max);
        assert_eq!(of("max").0, largest);
        // Beyond all 4,000 rows of the calibration ranks go on rising.
        let within = tails.iter().all(|t| *t <= 4_001_f64.log10());
        let ranks = tails.iter().map(|t| 1.0 - 10f64.powf(-t)).sum::<f64>() / 4.0;
        let (average, _) = of("rank_average");
        assert_eq!((average - ranks).abs() < 1e-12, within, "{average} {ranks}");
        assert!(average >= ranks - 1e-12);
    }
}

#[test]
fn members_are_calibrated_anew_on_rows_they_have_not_seen() {
    let mut detector = fit("fisher", 0.01);
    let row = [3.0, 3.0, 3.0];
    let before = detector.score_one(&row).unwrap();
    // In a wilder market the same row is less of an event.
    let wild: Array2<f64> = table(2_000) * 3.0;
    detector.calibrate(wild.view()).unwrap();
    let after = detector.score_one(&row).unwrap();
    assert!(after < before / 1.5, "{before} {after}");
    assert!(detector.calibrate(Array2::zeros((0, 3)).view()).is_err());
}

#[test]
fn sets_that_make_no_sense_are_refused_by_member() {
    for (members, expected) in [
        (json!([{"detector": "ecod"}]), "`members` is `1`"),
        (
            json!([{"detector": "ecod"}, {"detector": "knn", "n_neighbors": 0}]),
            "members[1] `n_neighbors` is `0`, expected 1 to 64",
        ),
        (
            json!([{"detector": "ecod"}, {"detector": "consensus"}]),
            "`members[1].detector` is `consensus`",
        ),
    ] {
        let params = json!({"detector": "consensus", "members": members});
        let params: DetectorParams = serde_json::from_value(params).unwrap();
        let error = params.check().unwrap_err().to_string();
        assert!(error.contains(expected), "{error}");
    }
    let typo = json!({"detector": "consensus", "members": [{"detector": "knn", "neighbors": 3}]});
    assert!(serde_json::from_value::<DetectorParams>(typo).is_err());
}
