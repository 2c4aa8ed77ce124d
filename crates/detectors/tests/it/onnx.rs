//! What of a graph can be told without running it; real runs are `tests/mlflow_client/test_onnx.py`.

use std::collections::BTreeMap;

use detectors::{
    AlertBudget, Baseline, Calibrators, Detector, DetectorSet, Error, Model, OnnxKind,
};

use crate::kinds::{quick, table};

fn model(detectors: DetectorSet, names: [&str; 3], symbols: &[&str]) -> Model {
    let validation = table(90);
    let (mut scores, mut of) = (Vec::new(), Vec::new());
    for (i, symbol) in symbols.iter().enumerate() {
        let rows = validation.slice(ndarray::s![i * 30.., ..]);
        let scored = detectors.get(symbol).unwrap().score(rows).unwrap();
        of.extend(vec![i as u32; scored.len()]);
        scores.extend(scored);
    }
    let symbols: Vec<String> = symbols.iter().map(|s| (*s).to_owned()).collect();
    let budget = AlertBudget {
        alerts_per_symbol_day: 1.0,
    };
    Model {
        feature_names: names.map(str::to_owned).into(),
        detectors,
        calibrators: Calibrators::fit(&scores, &of, &symbols).unwrap(),
        threshold: budget.threshold(1_440.0).unwrap(),
        engine: serde_json::Value::Null,
        metadata: BTreeMap::new(),
        baseline: Baseline::fit(validation.view()).unwrap(),
        golden: detectors::Golden::default(),
    }
}

fn ecod() -> Detector {
    let params = serde_json::from_value(serde_json::json!({"detector": "ecod"})).unwrap();
    Detector::fit(&params, table(400).view(), 1).unwrap()
}

#[test]
fn every_kind_has_a_graph_and_the_same_model_the_same_bytes() {
    for params in quick() {
        let detector = Detector::fit(&params, table(400).view(), 7).unwrap();
        let model = model(DetectorSet::Global(detector), ["a", "b", "c"], &["X", "Y"]);
        let onnx = model.to_onnx().unwrap();
        let again = Model::from_bytes(&model.to_bytes().unwrap()).unwrap();
        assert_eq!(again.to_onnx().unwrap(), onnx, "{params:?}");
        let names: Vec<&str> = onnx.outputs.iter().map(|o| o.name.as_str()).collect();
        assert_eq!(names[..4], ["score", "raw_score", "flag", "threshold"]);
        assert!(names.len() == 4 || names.len() == 7, "{names:?}");
        assert_eq!(onnx.outputs[2].kind, OnnxKind::Flag);
    }
}

#[test]
fn the_symbol_is_asked_for_only_where_the_answer_depends_on_it() {
    let asks = |detectors, symbols: &[&str]| {
        let onnx = model(detectors, ["a", "b", "c"], symbols)
            .to_onnx()
            .unwrap();
        let names: Vec<String> = onnx.inputs.into_iter().map(|input| input.name).collect();
        assert_eq!(names[..3], ["a", "b", "c"]);
        names.get(3).map(String::as_str) == Some("symbol")
    };
    let global = || DetectorSet::Global(ecod());
    assert!(!asks(global(), &["X"]));
    assert!(asks(global(), &["X", "Y"]));
    let by_symbol = BTreeMap::from([("X".to_owned(), ecod())]);
    let fallback = None;
    assert!(asks(
        DetectorSet::PerSymbol {
            by_symbol,
            fallback
        },
        &["X"]
    ));
}

#[test]
fn what_has_no_graph_is_refused_with_the_reason() {
    let refused = |names, symbols: &[&str]| {
        let model = model(DetectorSet::Global(ecod()), names, symbols);
        let error = model.to_onnx().unwrap_err();
        assert!(matches!(error, Error::NotExportable { .. }));
        error.to_string()
    };
    assert!(refused(["a", "flag", "c"], &["X"]).contains("`flag`"));
    assert!(refused(["a", "contribution_a", "c"], &["X"]).contains("`contribution_a`"));
    assert!(refused(["symbol", "b", "c"], &["X", "Y"]).contains("`symbol`"));
    assert!(refused(["a", "b", "/1"], &["X"]).contains("`/1`"));
    let names = ["symbol", "contribution_x", "c"];
    assert!(
        model(DetectorSet::Global(ecod()), names, &["X"])
            .to_onnx()
            .is_ok()
    );

    let params = serde_json::json!({"detector": "knn", "max_rows": 2_000_000});
    let rows = ndarray::Array2::from_shape_fn((1_700_000, 3), |(i, j)| (i * (j + 1)) as f64);
    let knn = Detector::fit(&serde_json::from_value(params).unwrap(), rows.view(), 1).unwrap();
    let model = model(DetectorSet::Global(knn), ["a", "b", "c"], &["X"]);
    let error = model.to_onnx().unwrap_err().to_string();
    assert!(
        error.contains("1700000 rows of 3 columns") && error.contains("max_rows"),
        "{error}"
    );

    let by_symbol = (0..65).map(|i| (format!("S{i}"), ecod())).collect();
    let fallback = None;
    let many = DetectorSet::PerSymbol {
        by_symbol,
        fallback,
    };
    let error = self::model(many, ["a", "b", "c"], &["S1"])
        .to_onnx()
        .unwrap_err();
    assert!(error.to_string().contains("65 detectors"), "{error}");
}
