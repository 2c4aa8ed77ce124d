//! A model's bytes: exact, the same each time, refused when touched, read by later versions.

use std::collections::BTreeMap;

use detectors::drift::{
    DriftBaseline, DriftConfig, DriftMonitor, DriftPolicy, FeatureReference, Observation,
    ScoreReference,
};
use detectors::{
    AlertBudget, Baseline, Calibrators, Detector, DetectorParams, DetectorSet, Error, External,
    ForestForm, ForestScoring, FormatError, Golden, GoldenError, IsolationForestConfig, MaxZConfig,
    Model,
};
use ndarray::Array2;
use proptest::prelude::*;

use crate::market::Xorshift;

fn rows() -> Array2<f64> {
    let mut random = Xorshift(99);
    // Eighths, so that the fixture holds on any machine.
    Array2::from_shape_fn((200, 2), |_| (random.uniform() * 64.0).floor() / 8.0)
}

fn model(per_symbol: bool) -> Model {
    let rows = rows();
    let forest = DetectorParams::IsolationForest(IsolationForestConfig {
        n_trees: 5,
        sample_size: 16,
        ..IsolationForestConfig::default()
    });
    let forest = Detector::fit(&forest, rows.view(), 42).unwrap();
    let max_z = DetectorParams::MaxZ(MaxZConfig {});
    let max_z = Detector::fit(&max_z, rows.view(), 42).unwrap();
    let scores = forest.score(rows.view()).unwrap();
    let symbols: Vec<u32> = (0..200).map(|i| i % 2).collect();
    let names = ["BTCUSD".to_owned(), "ETHUSD".to_owned()];
    Model {
        feature_names: vec!["return".into(), "volume_zscore".into()],
        detectors: if per_symbol {
            DetectorSet::PerSymbol {
                by_symbol: BTreeMap::from([("BTCUSD".into(), forest), ("ETHUSD".into(), max_z)]),
                fallback: None,
            }
        } else {
            DetectorSet::Global(forest)
        },
        calibrators: Calibrators::fit(&scores, &symbols, &names).unwrap(),
        threshold: AlertBudget {
            alerts_per_symbol_day: 4.0,
        }
        .threshold(1_440.0)
        .unwrap(),
        engine: serde_json::json!({"window": 60, "use": ["return"], "alpha": 0.1, "b": {"z": 1, "a": null}}),
        metadata: BTreeMap::from([("seed".into(), "42".into())]),
        baseline: Baseline::fit(rows.view()).unwrap(),
        golden: Golden::default(),
    }
}

#[test]
fn bytes_bring_it_back_exactly_and_are_the_same_each_time() {
    for per_symbol in [false, true] {
        let model = model(per_symbol);
        let bytes = model.to_bytes().unwrap();
        assert_eq!(bytes, self::model(per_symbol).to_bytes().unwrap());
        let back = Model::from_bytes(&bytes).unwrap();
        assert_eq!(back.to_bytes().unwrap(), bytes);
        assert_eq!(back.engine, model.engine);
        assert_eq!(back.calibrators, model.calibrators);
        assert_eq!(back.baseline, model.baseline);
        assert_eq!(back.threshold, model.threshold);
        assert_eq!(back.metadata, model.metadata);
        for row in rows().rows() {
            let row = row.to_vec();
            assert_eq!(
                back.score_one("ETHUSD", &row).unwrap(),
                model.score_one("ETHUSD", &row).unwrap()
            );
        }
    }
}

#[test]
fn forests_of_every_form_are_brought_back_exactly() {
    let rows = rows();
    for form in ForestForm::ALL {
        for scoring in [
            ForestScoring::PathLength,
            ForestScoring::AdjustedDepth,
            ForestScoring::Density,
        ] {
            let params = DetectorParams::IsolationForest(IsolationForestConfig {
                n_trees: 5,
                form: *form,
                scoring,
                ..IsolationForestConfig::default()
            });
            let forest = Detector::fit(&params, rows.view(), 42).unwrap();
            let mut model = model(false);
            model.detectors = DetectorSet::Global(forest.clone());
            let bytes = model.to_bytes().unwrap();
            let back = Model::from_bytes(&bytes).unwrap();
            assert_eq!(back.to_bytes().unwrap(), bytes, "{params:?}");
            let DetectorSet::Global(back) = back.detectors else {
                panic!("{params:?} came back as another kind of set");
            };
            assert_eq!(
                back.score(rows.view()).unwrap(),
                forest.score(rows.view()).unwrap(),
                "{params:?}"
            );
        }
    }
}

/// Written by version 1 of the format. Later versions must go on reading it and give the same
/// scores.
#[test]
fn reads_the_file_that_version_1_wrote() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures/model-v1.bin");
    let bytes = std::fs::read(path).unwrap();
    let model = Model::from_bytes(&bytes).unwrap();
    assert_eq!(model.feature_names, ["return", "volume_zscore"]);
    let ordinary = model.score_one("BTCUSD", &[4.0, 4.0]).unwrap();
    let extreme = model.score_one("BTCUSD", &[40.0, -40.0]).unwrap();
    // As version 1 scored them; the last digits may differ with the platform's exp and log.
    for (found, written) in [
        (ordinary.raw, 0.368_209_332_147_624_75),
        (ordinary.neg_log10_tail, 0.004_321_373_782_642_574),
        (extreme.raw, 0.684_892_168_090_758_5),
        (extreme.neg_log10_tail, 1.548_030_868_087_112_2),
    ] {
        assert!((found - written).abs() < 1e-12, "{found} was {written}");
    }
    assert!(
        !ordinary.flagged && !extreme.flagged,
        "{ordinary:?} {extreme:?}"
    );
}

/// With a drift baseline and golden rows.
fn whole_model() -> Model {
    let mut model = model(false);
    let mut random = Xorshift(7);
    let n = 1_200;
    let rows = Array2::from_shape_fn((n, 2), |_| (random.uniform() * 64.0).floor() / 8.0);
    let score: Vec<f64> = (0..n).map(|i| (i % 97) as f64 / 32.0).collect();
    let flagged: Vec<bool> = (0..n).map(|i| i % 97 == 96).collect();
    let symbol = vec![0; n];
    let drift = DriftBaseline::fit(
        &FeatureReference {
            time: None,
            symbol: &symbol,
            rows: rows.view(),
        },
        &model.feature_names,
        &ScoreReference {
            time: None,
            symbol: &symbol,
            score: &score,
            flagged: &flagged,
        },
        &["BTCUSD".to_owned()],
        &DriftConfig {
            windows: vec![100],
            run_length: 100.0,
            ..DriftConfig::default()
        },
    );
    model.baseline.drift = Some(std::sync::Arc::new(drift.unwrap()));
    let rows = [[4.0, 4.0], [40.0, -40.0]];
    let rows = rows.iter().zip(["BTCUSD", "DOGE"]);
    model.golden = Golden::of(&model, rows.map(|(row, symbol)| (symbol, row.as_slice()))).unwrap();
    model
}

/// Written by version 2; with `UPDATE_FIXTURES=1` in the environment the test writes it anew.
#[test]
fn reads_the_file_that_version_2_wrote() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures/model-v2.bin");
    if std::env::var_os("UPDATE_FIXTURES").is_some() {
        std::fs::write(path, whole_model().to_bytes().unwrap()).unwrap();
    }
    let model = Model::from_bytes(&std::fs::read(path).unwrap()).unwrap();
    model.verify().unwrap();
    let drift = model.baseline.drift.as_ref().unwrap();
    assert!(drift.remarks().is_empty());
    assert_eq!(drift.statistics().count(), 3 + 4);
    assert_eq!(drift.limits().map(|of| of.len()), [2, 2]);
    assert_eq!(model.golden.rows().len(), 2);
}

#[test]
fn drift_baseline_and_golden_rows_come_back_exactly() {
    let model = whole_model();
    let bytes = model.to_bytes().unwrap();
    assert_eq!(bytes, whole_model().to_bytes().unwrap());
    let back = Model::from_bytes(&bytes).unwrap();
    assert_eq!(back.to_bytes().unwrap(), bytes);
    assert_eq!(back.baseline, model.baseline);
    assert_eq!(back.golden, model.golden);
    back.verify().unwrap();
}

#[test]
fn a_model_that_scores_otherwise_than_at_training_is_refused_with_row_and_scores() {
    assert_eq!(model(false).verify(), Err(GoldenError::None));
    let mut wrong = whole_model();
    let forest = DetectorParams::IsolationForest(IsolationForestConfig {
        n_trees: 5,
        sample_size: 16,
        ..IsolationForestConfig::default()
    });
    wrong.detectors = DetectorSet::Global(Detector::fit(&forest, rows().view(), 43).unwrap());
    let error = wrong.verify().unwrap_err().to_string();
    assert!(
        error.contains("golden row 0 (`BTCUSD`): `raw score` was 0.368"),
        "{error}"
    );
    let mut wrong = whole_model();
    wrong.calibrators.by_symbol.remove("BTCUSD");
    let error = wrong.verify().unwrap_err().to_string();
    assert!(error.contains("`neg_log10_tail` was"), "{error}");
    let mut wrong = whole_model();
    wrong.threshold.neg_log10_tail = 0.0;
    let error = wrong.verify().unwrap_err().to_string();
    assert!(
        error.contains("`flag` was false at training and is true"),
        "{error}"
    );
    let mut wrong = whole_model();
    wrong.detectors = DetectorSet::PerSymbol {
        by_symbol: BTreeMap::new(),
        fallback: None,
    };
    assert!(matches!(
        wrong.verify(),
        Err(GoldenError::Refused { row: 0, .. })
    ));
}

#[test]
fn a_drift_baseline_of_other_features_is_refused() {
    let mut wrong = whole_model();
    wrong.feature_names[0] = "momentum".into();
    let error = wrong.to_bytes().unwrap_err().to_string();
    assert!(error.contains("drift baseline"), "{error}");
}

#[test]
fn an_unseen_symbol_gets_the_pooled_calibrator_or_is_refused() {
    let global = model(false);
    let row = [7.9, 0.0];
    let raw = global.score_one("DOGE", &row).unwrap().raw;
    assert_eq!(
        global.score_one("DOGE", &row).unwrap().neg_log10_tail,
        global.calibrators.pooled.neg_log10_tail(raw)
    );
    let per_symbol = model(true);
    let error = per_symbol.score_one("DOGE", &row).unwrap_err().to_string();
    assert!(error.contains("`DOGE`"), "{error}");
    let mut out = vec![0.0; 200];
    per_symbol
        .score_into("ETHUSD", rows().view(), &mut out)
        .unwrap();
    let alone = per_symbol
        .score_one("ETHUSD", &rows().row(5).to_vec())
        .unwrap();
    assert_eq!(out[5].to_bits(), alone.neg_log10_tail.to_bits());
}

#[test]
fn parts_that_do_not_fit_are_refused() {
    let mut wrong = model(false);
    wrong.feature_names.push("momentum".into());
    assert!(wrong.to_bytes().is_err());
    let mut wrong = model(false);
    wrong.feature_names[1] = "return".into();
    assert!(wrong.to_bytes().is_err());
    let mut wrong = model(false);
    wrong.threshold.neg_log10_tail = f64::NAN;
    assert!(wrong.to_bytes().is_err());
    let mut wrong = model(false);
    wrong.baseline.features.pop();
    assert!(wrong.to_bytes().is_err());
}

#[test]
fn touched_bytes_are_refused() {
    let bytes = model(false).to_bytes().unwrap();
    for at in (0..bytes.len()).step_by(7) {
        let mut touched = bytes.clone();
        touched[at] ^= 1;
        assert!(Model::from_bytes(&touched).is_err(), "byte {at}");
    }
    for cut in [0, 7, 8, 12, 16, 40, bytes.len() / 2, bytes.len() - 1] {
        assert!(Model::from_bytes(&bytes[..cut]).is_err(), "cut at {cut}");
    }
    let mut later = bytes;
    later[8] = 3;
    assert!(matches!(
        Model::from_bytes(&later),
        Err(FormatError::Version { found: 3, .. })
    ));
}

/// As a hostile writer would: the content is changed and the checksum made anew.
pub(crate) fn resealed(mut bytes: Vec<u8>, change: impl FnOnce(&mut Vec<u8>)) -> Vec<u8> {
    use sha2::{Digest, Sha256};
    bytes.truncate(bytes.len() - 32);
    change(&mut bytes);
    let sum = Sha256::digest(&bytes);
    bytes.extend_from_slice(&sum);
    bytes
}

/// Whatever a baseline holds, watching by it never panics.
fn watch_a_little(drift: std::sync::Arc<DriftBaseline>) {
    let mut monitor = DriftMonitor::new(drift, "hostile", DriftPolicy::default());
    let mut verdicts = Vec::new();
    for i in 0..350 {
        let row = Observation {
            symbol: "BTCUSD",
            features: &[f64::from(i % 8), 1.0],
            score: 1.0,
            flagged: i % 2 == 0,
            event_time: 0,
            filled: false,
            n_trades: None,
        };
        if monitor.observe(&row, &mut verdicts).is_err() {
            return;
        }
    }
}

fn hostile_target() -> Model {
    Model {
        baseline: whole_model().baseline,
        golden: whole_model().golden,
        ..model(true)
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]
    #[test]
    fn hostile_bytes_never_panic(
        changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..6),
        cut in prop::option::of(any::<prop::sample::Index>()),
    ) {
        static BYTES: std::sync::OnceLock<Vec<u8>> = std::sync::OnceLock::new();
        let bytes = BYTES.get_or_init(|| hostile_target().to_bytes().unwrap()).clone();
        let hostile = resealed(bytes, |bytes| {
            for (at, value) in &changes {
                let at = at.index(bytes.len());
                bytes[at] = *value;
            }
            if let Some(cut) = cut {
                bytes.truncate(cut.index(bytes.len()));
            }
        });
        if let Ok(model) = Model::from_bytes(&hostile) {
            let score = model.score_one("ETHUSD", &[1.0, 2.0]);
            prop_assert!(score.is_err() || score.unwrap().neg_log10_tail.is_finite());
            let verified = model.verify();
            prop_assert!(verified.is_ok() || verified.is_err());
            if let Some(drift) = model.baseline.drift {
                watch_a_little(drift);
            }
        }
    }
}

#[test]
fn a_model_may_stand_for_a_file_that_scores() {
    let mut model = whole_model();
    let external = External::of(b"a graph", 2);
    assert!(external.is(b"a graph") && !external.is(b"another graph"));
    model.detectors = DetectorSet::External(external);
    let scored = |symbol: &str, row: &[f64]| (symbol.to_owned(), row.to_vec(), row[0] - row[1]);
    model.golden = Golden::of_scored(
        &model,
        [scored("BTCUSD", &[1.0, 3.0]), scored("ETHUSD", &[7.5, 0.0])],
    );
    let back = Model::from_bytes(&model.to_bytes().unwrap()).unwrap();
    let DetectorSet::External(found) = back.detectors else {
        panic!("{:?}", back.detectors);
    };
    assert_eq!(found, external);
    assert_eq!(back.golden, model.golden);
    assert!(matches!(
        back.score_one("BTCUSD", &[1.0, 3.0]),
        Err(Error::External)
    ));
    assert!(back.to_onnx().is_err());
    back.verify_external(|_, row| Ok((row[0] - row[1]) * (1.0 + 5e-6)))
        .unwrap();
    let error = back.verify_external(|_, row| Ok(row[0] - row[1] + 1e-3));
    let error = error.unwrap_err().to_string();
    assert!(
        error.contains("golden row 0 (`BTCUSD`): `raw score` was -2"),
        "{error}"
    );
    let error = back.verify_external(|_, _| Err("no such operator".to_owned()));
    assert!(error.unwrap_err().to_string().contains("no such operator"));

    model.detectors = DetectorSet::External(External::of(b"a graph", 3));
    assert!(
        model
            .to_bytes()
            .unwrap_err()
            .to_string()
            .contains("expected 2")
    );
}
