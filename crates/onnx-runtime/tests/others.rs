//! Models as scikit-learn and PyTorch export them; `fixtures/make.py` and `fixtures/make_torch.py` wrote
//! them.

#![allow(missing_docs, clippy::unwrap_used, reason = "a test")]

use ndarray::Array2;
use onnx_runtime::{Error, ScoreRule, ScoringModel, Signature};
use serde_json::Value;

const IFOREST: &[u8] = include_bytes!("fixtures/sklearn_iforest.onnx");
const AUTOENCODER: &[u8] = include_bytes!("fixtures/autoencoder.onnx");
const COLUMNS: &[u8] = include_bytes!("fixtures/columns.onnx");

fn columns(names: &[&str]) -> Signature {
    let column = |name: &&str| serde_json::json!({"type": "double", "name": name});
    let columns: Vec<Value> = names.iter().map(column).collect();
    Signature::from_json(&Value::from(columns).to_string()).unwrap()
}

fn four() -> Signature {
    columns(&["a", "b", "c", "d"])
}

const EXPECTED: &str = include_str!("fixtures/expected.json");
const EXPECTED_TORCH: &str = include_str!("fixtures/expected_torch.json");

fn numbers(of: &str, name: &str) -> Vec<f64> {
    let all: Value = serde_json::from_str(of).unwrap();
    let numbers = all[name].as_array().unwrap().iter();
    numbers.map(|v| v.as_f64().unwrap()).collect()
}

fn expected(name: &str) -> Vec<f64> {
    numbers(EXPECTED, name)
}

fn rows_of(text: &str) -> Array2<f64> {
    let all: Value = serde_json::from_str(text).unwrap();
    let rows = all["rows"].as_array().unwrap();
    Array2::from_shape_fn((rows.len(), 4), |(i, j)| rows[i][j].as_f64().unwrap())
}

fn rows() -> Array2<f64> {
    rows_of(EXPECTED)
}

fn load(bytes: &[u8], signature: &Signature) -> Result<ScoringModel, Error> {
    ScoringModel::load(bytes, signature, &ScoreRule::default())
}

#[test]
fn an_isolation_forest_of_scikit_learn_scores_as_there_with_higher_worse() {
    let model = load(IFOREST, &four()).unwrap();
    let scores = model.score(rows().view()).unwrap();
    for (ours, theirs) in scores.iter().zip(expected("sklearn_iforest")) {
        assert!((ours - theirs).abs() < 1e-6, "{ours} {theirs}");
    }
    let worst = scores[40..].iter().copied().fold(f64::INFINITY, f64::min);
    assert!(worst > scores[..20].iter().sum::<f64>() / 20.0);
    // A signature of one tensor says the same.
    let tensor = r#"[{"type": "tensor", "tensor-spec": {"dtype": "float32", "shape": [-1, 4]}}]"#;
    let again = load(IFOREST, &Signature::from_json(tensor).unwrap()).unwrap();
    assert_eq!(again.score(rows().view()).unwrap(), scores);
    assert!(
        model
            .score(Array2::zeros((0, 4)).view())
            .unwrap()
            .is_empty()
    );
    let many = ndarray::concatenate(ndarray::Axis(0), &[rows().view(); 150]).unwrap();
    assert_eq!(model.score(many.view()).unwrap()[60 * 149..], scores);
}

#[test]
fn of_an_autoencoder_the_error_of_what_it_rebuilds_is_the_score() {
    let model = load(AUTOENCODER, &four()).unwrap();
    let scores = model.score(rows().view()).unwrap();
    for (ours, theirs) in scores.iter().zip(expected("autoencoder")) {
        assert!((ours / theirs - 1.0).abs() < 1e-5, "{ours} {theirs}");
    }
    let rule = ScoreRule {
        reconstruction: Some(false),
        ..ScoreRule::default()
    };
    let error = ScoringModel::load(AUTOENCODER, &four(), &rule).unwrap_err();
    assert!(
        error.to_string().contains("expected one number a row"),
        "{error}"
    );
}

#[test]
fn models_that_pytorch_exported_score_as_there() {
    let rows = rows_of(EXPECTED_TORCH);
    for (name, bytes) in [
        (
            "rebuilt",
            include_bytes!("fixtures/torch_rebuilt_traced.onnx").as_slice(),
        ),
        (
            "rebuilt",
            include_bytes!("fixtures/torch_rebuilt_dynamo.onnx"),
        ),
        (
            "rebuilt",
            include_bytes!("fixtures/torch_rebuilt_default.onnx"),
        ),
        (
            "scored",
            include_bytes!("fixtures/torch_scored_traced.onnx"),
        ),
        (
            "scored",
            include_bytes!("fixtures/torch_scored_dynamo.onnx"),
        ),
        (
            "scored",
            include_bytes!("fixtures/torch_scored_default.onnx"),
        ),
    ] {
        let model = load(bytes, &four()).unwrap();
        let scores = model.score(rows.view()).unwrap();
        for (ours, theirs) in scores.iter().zip(numbers(EXPECTED_TORCH, name)) {
            assert!(
                (ours / theirs - 1.0).abs() < 1e-4,
                "{name}: {ours} {theirs}"
            );
        }
        // One row at a time, as a graph of any number of rows must take it.
        let alone = model.score(rows.slice(ndarray::s![7..8, ..])).unwrap();
        assert!((alone[0] / scores[7] - 1.0).abs() < 1e-5, "{name}");
        let error = load(bytes, &columns(&["a", "b"])).unwrap_err().to_string();
        assert!(
            error.contains("expected 2") && error.contains("found 4"),
            "{error}"
        );
    }
}

#[test]
fn columns_go_in_by_name() {
    let model = load(COLUMNS, &columns(&["a", "b"])).unwrap();
    let rows = ndarray::array![[1.0, 10.0], [2.0, 1e300]];
    assert_eq!(model.score(rows.view()).unwrap(), [21.0, 2e300]);
    let rule = ScoreRule {
        sign: Some(-1),
        ..ScoreRule::default()
    };
    let down = ScoringModel::load(COLUMNS, &columns(&["a", "b"]), &rule).unwrap();
    assert_eq!(down.score(rows.view()).unwrap()[0], -21.0);
    let infinite = ndarray::array![[1.0, 10.0], [2.0, f64::MAX]];
    let error = model.score(infinite.view()).unwrap_err();
    assert_eq!(
        error.to_string(),
        "the score of row 1 is inf; only finite numbers are scores"
    );
    assert!(model.score(ndarray::array![[1.0]].view()).is_err());
}

#[test]
fn what_does_not_fit_is_refused_with_what_was_expected_and_found() {
    let refused =
        |bytes: &[u8], signature: &Signature| load(bytes, signature).unwrap_err().to_string();
    for (bytes, signature, parts) in [
        (COLUMNS, columns(&["a", "c"]), ["`a`, `c`", "`b`, `a`"]),
        (
            COLUMNS,
            columns(&["a", "b", "c"]),
            ["`a`, `b`, `c`", "found `b`, `a`"],
        ),
        (IFOREST, columns(&["a", "b"]), ["expected 2", "found 4"]),
        (
            include_bytes!("fixtures/opset_25.onnx"),
            columns(&["a", "b"]),
            ["opset of ai.onnx: expected 9 to 21", "found 25"],
        ),
        (
            include_bytes!("fixtures/changed_operator.onnx"),
            four(),
            ["for the operator `Pad`: expected at most 18", "found 20"],
        ),
        (
            include_bytes!("fixtures/text.onnx"),
            columns(&["name"]),
            ["expected a tensor of float or double", "found string"],
        ),
        (
            include_bytes!("fixtures/unknown_operator.onnx"),
            four(),
            ["operators", "found `Unique`"],
        ),
        (b"no graph", four(), ["the model can't be read", ""]),
        (
            b"",
            four(),
            ["the model can't be read: it has no graph", ""],
        ),
    ] {
        let error = refused(bytes, &signature);
        assert!(
            parts.iter().all(|part| error.contains(part)),
            "{parts:?}: {error}"
        );
    }
    let text = Signature::from_json(r#"[{"type": "string", "name": "name"}]"#).unwrap();
    assert!(refused(COLUMNS, &text).contains("expected a number, found `string`"));
    // Bytes from anywhere are refused or score; nothing panics.
    for cut in (0..IFOREST.len()).step_by(1 + IFOREST.len() / 60) {
        let mut damaged = IFOREST.to_vec();
        damaged[cut] ^= 0x15;
        drop(load(&damaged, &four()));
        drop(load(&IFOREST[..cut], &four()));
    }
}
