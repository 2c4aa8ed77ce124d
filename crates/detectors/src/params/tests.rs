use linfa_isolation::{Form, IsolationForest, Scoring};

use super::*;

#[test]
fn reads_defaults_and_refuses_unknown_keys() {
    let params: DetectorParams =
        serde_json::from_str(r#"{"detector":"isolation_forest","n_trees":50}"#).unwrap();
    let DetectorParams::IsolationForest(config) = &params else {
        panic!("wrong variant");
    };
    assert_eq!((config.n_trees, config.sample_size), (50, 256));
    let error =
        serde_json::from_str::<DetectorParams>(r#"{"detector":"isolation_forest","n_tree":50}"#)
            .unwrap_err()
            .to_string();
    assert!(error.contains("n_tree"), "{error}");
    let error = serde_json::from_str::<DetectorParams>(r#"{"detector":"max_z","window":5}"#)
        .unwrap_err()
        .to_string();
    assert!(error.contains("window"), "{error}");
}

#[test]
fn names_and_keys_agree_with_serde() {
    for name in DetectorParams::NAMES {
        let params: DetectorParams =
            serde_json::from_value(serde_json::json!({ "detector": name })).unwrap();
        assert_eq!(params.name(), *name);
        params.check().unwrap();
        assert!(DetectorParams::keys(name).is_some());
    }
    assert!(DetectorParams::keys("something").is_none());
}

#[test]
fn lists_every_violation() {
    let error = DetectorParams::IsolationForest(IsolationForestConfig {
        n_trees: 0,
        sample_size: 1,
        max_depth: Some(0),
        max_features: Some(0),
        ..IsolationForestConfig::default()
    })
    .check()
    .unwrap_err();
    assert_eq!(error.violations.len(), 4);
    let text = error.to_string();
    assert!(text.contains("`n_trees` is `0`"), "{text}");
    assert!(text.contains("`sample_size` is `1`"), "{text}");
    assert!(text.contains("`max_depth` is `0`"), "{text}");
}

fn forest(config: serde_json::Value) -> DetectorParams {
    let mut config = config;
    config["detector"] = "isolation_forest".into();
    serde_json::from_value(config).unwrap()
}

#[test]
fn a_file_without_a_form_means_the_classic_forest() {
    let DetectorParams::IsolationForest(config) = forest(serde_json::json!({})) else {
        panic!("wrong variant");
    };
    assert_eq!(config.forest(7), IsolationForest::params(7));
}

#[test]
fn every_key_of_a_form_reaches_the_forest() {
    let all = serde_json::json!({
        "form": "fair_cut",
        "n_candidates": 3,
        "hyperplane_columns": 4,
        "penalize_range": true,
    });
    let DetectorParams::IsolationForest(config) = forest(all) else {
        panic!("wrong variant");
    };
    let expected = IsolationForest::params(7)
        .form(Form::FairCut)
        .n_candidates(3)
        .hyperplane_columns(4)
        .penalize_range(true);
    assert_eq!(config.forest(7), expected);
    let adjusted = serde_json::json!({"scoring": "adjusted_depth"});
    let DetectorParams::IsolationForest(config) = forest(adjusted) else {
        panic!("wrong variant");
    };
    let expected = IsolationForest::params(7).scoring(Scoring::AdjustedDepth);
    assert_eq!(config.forest(7), expected);
    let extended = serde_json::json!({"form": "extended", "extension_level": 3});
    let DetectorParams::IsolationForest(config) = forest(extended) else {
        panic!("wrong variant");
    };
    let expected = Form::Extended { extension_level: 3 };
    assert_eq!(config.forest(7), IsolationForest::params(7).form(expected));
    for form in ForestForm::ALL {
        let name = serde_json::json!({ "form": form.name() });
        let DetectorParams::IsolationForest(config) = forest(name) else {
            panic!("wrong variant");
        };
        assert_eq!(config.form, *form);
    }
}

#[test]
fn keys_are_those_of_the_type() {
    let all = IsolationForestConfig {
        max_depth: Some(1),
        max_features: Some(1),
        extension_level: Some(1),
        n_candidates: Some(1),
        hyperplane_columns: Some(1),
        penalize_range: Some(true),
        ..IsolationForestConfig::default()
    };
    let all = serde_json::to_value(all).unwrap();
    let mut written: Vec<&String> = all.as_object().unwrap().keys().collect();
    let mut keys: Vec<&str> = IsolationForestConfig::KEYS.to_vec();
    written.sort();
    keys.sort_unstable();
    assert_eq!(written, keys);
}

#[test]
fn keys_of_another_form_are_refused_by_name() {
    let level = "`extension_level` is `2`, expected only with form `extended`";
    let gain = "expected only with form `sci_forest` or `fair_cut`";
    for (config, expected) in [
        (serde_json::json!({"extension_level": 2}), level),
        (
            serde_json::json!({"form": "sci_forest", "extension_level": 2}),
            level,
        ),
        (
            serde_json::json!({"form": "extended", "extension_level": 16_384}),
            "`extension_level` is `16384`, expected 0 to 16383",
        ),
        (serde_json::json!({"n_candidates": 2}), gain),
        (
            serde_json::json!({"form": "extended", "hyperplane_columns": 2}),
            gain,
        ),
        (
            serde_json::json!({"form": "extended", "penalize_range": true}),
            gain,
        ),
        (
            serde_json::json!({"form": "fair_cut", "scoring": "density", "penalize_range": true}),
            "`penalize_range` is `true`, expected only with scoring `path_length`",
        ),
        (
            serde_json::json!({"form": "fair_cut", "n_candidates": 0}),
            "`n_candidates` is `0`, expected 1 to 10000",
        ),
        (
            serde_json::json!({"form": "sci_forest", "hyperplane_columns": 16_385}),
            "`hyperplane_columns` is `16385`, expected 1 to 16384",
        ),
    ] {
        let error = forest(config.clone()).check().unwrap_err();
        assert_eq!(error.violations.len(), 1, "{config}: {error}");
        assert!(error.violations[0].contains(expected), "{config}: {error}");
    }
}

#[test]
fn what_the_form_decides_is_filled_in() {
    for (config, filled) in [
        (serde_json::json!({}), serde_json::json!({})),
        (
            serde_json::json!({"form": "extended"}),
            serde_json::json!({"extension_level": 1}),
        ),
        (
            serde_json::json!({"form": "sci_forest"}),
            serde_json::json!({"n_candidates": 10, "hyperplane_columns": 2, "penalize_range": true}),
        ),
        (
            serde_json::json!({"form": "sci_forest", "scoring": "density"}),
            serde_json::json!({"n_candidates": 10, "hyperplane_columns": 2}),
        ),
        (
            serde_json::json!({"form": "fair_cut", "hyperplane_columns": 3}),
            serde_json::json!({"n_candidates": 1, "penalize_range": false}),
        ),
    ] {
        let params = forest(config.clone());
        let mut expected = serde_json::to_value(&params).unwrap();
        for (key, value) in filled.as_object().unwrap() {
            expected[key] = value.clone();
        }
        let resolved = params.resolved();
        resolved.check().unwrap();
        assert_eq!(serde_json::to_value(resolved).unwrap(), expected);
    }
}

fn of(detector: &str, keys: serde_json::Value) -> serde_json::Result<DetectorParams> {
    let mut params = serde_json::json!({ "detector": detector });
    for (key, value) in keys.as_object().unwrap() {
        params[key] = value.clone();
    }
    serde_json::from_value(params)
}

#[test]
fn keys_of_every_detector_are_those_of_its_type() {
    for name in DetectorParams::NAMES {
        let keys = DetectorParams::keys(name).unwrap();
        let params = of(name, serde_json::json!({})).unwrap();
        params.check().unwrap();
        params.clone().resolved().check().unwrap();
        for (key, _) in serde_json::to_value(&params).unwrap().as_object().unwrap() {
            assert!(
                key == "detector" || keys.contains(&key.as_str()),
                "{name}: {key}"
            );
        }
        // A key that serde doesn't know would be refused as unknown, not for its type.
        for key in keys {
            let error = of(name, serde_json::json!({ *key: {"no": "such"} })).unwrap_err();
            assert!(
                !error.to_string().contains("unknown field"),
                "{name}: {error}"
            );
        }
        let error = of(name, serde_json::json!({"surely_not": 1})).unwrap_err();
        assert!(error.to_string().contains("surely_not"), "{name}: {error}");
    }
}

#[test]
fn values_out_of_range_are_refused_by_name() {
    for (detector, key, bad) in [
        ("hbos", "n_bins", serde_json::json!(1)),
        ("hbos", "alpha", serde_json::json!(0.0)),
        ("hbos", "tolerance", serde_json::json!(1.5)),
        ("knn", "n_neighbors", serde_json::json!(65)),
        ("knn", "max_rows", serde_json::json!(0)),
        ("dbscan", "eps", serde_json::json!(0.0)),
        ("dbscan", "eps", serde_json::json!(-1.0)),
        ("dbscan", "min_samples", serde_json::json!(0)),
        ("mahalanobis", "support", serde_json::json!(0.4)),
        ("mahalanobis", "half_life", serde_json::json!(10.0)),
        ("gaussian_mixture", "n_components", serde_json::json!(0)),
        (
            "gaussian_mixture",
            "regularization",
            serde_json::json!(-1e-9),
        ),
        ("gaussian_mixture", "n_starts", serde_json::json!(0)),
        ("autoencoder", "widths", serde_json::json!([])),
        ("autoencoder", "widths", serde_json::json!([8, 0])),
        ("autoencoder", "learning_rate", serde_json::json!(0.0)),
        ("autoencoder", "batch_size", serde_json::json!(0)),
        ("autoencoder", "validation", serde_json::json!(0.6)),
        ("autoencoder", "noise", serde_json::json!(-0.1)),
        ("half_space_trees", "depth", serde_json::json!(17)),
        ("half_space_trees", "rate", serde_json::json!(0.0)),
        ("candle_z", "limit", serde_json::json!(0.0)),
        ("candle_z", "features", serde_json::json!([])),
        ("sliding_window", "quantile", serde_json::json!(1.0)),
        ("sliding_window", "quantile", serde_json::json!(0.5)),
        ("consensus", "members", serde_json::json!([])),
        ("consensus", "vote_tail_probability", serde_json::json!(0.6)),
    ] {
        let params = of(detector, serde_json::json!({ key: bad })).unwrap();
        let error = params.check().unwrap_err();
        assert_eq!(error.violations.len(), 1, "{error}");
        let start = format!("`{key}` is `");
        assert!(error.violations[0].starts_with(&start), "{error}");
    }
}
