//! `trainer evaluate`: registered models on the footing of candidates.

use history::Table;
use serde_json::Value;

use crate::lab::{Lab, bell};

const START: i64 = 1_700_000_040_000_000; // 2023-11-14 22:14 UTC

/// Two symbols, a row a minute; every 200th row lies far out.
fn lab() -> Lab {
    let n = 6_000;
    let (mut first, mut second) = (bell(n, 7_919), bell(n, 6_007));
    let mut label = vec![0; n];
    for row in (150..n).step_by(200) {
        first[row] += 12.0;
        second[row] -= 12.0;
        label[row] = 1;
    }
    let lab = Lab::new();
    let time = |row: usize| START + (row / 2) as i64 * 60_000_000;
    let table = Table::new()
        .time("at", (0..n).map(time).collect())
        .text("plant", (0..n).map(|row| Some(["north", "south"][row % 2])))
        .number("width", first)
        .number("height", second)
        .integer("outlier", label);
    lab.write_table("plants.parquet", table);
    lab.write("x.toml", EXPERIMENT);
    lab
}

const EXPERIMENT: &str = r#"
[experiment]
name = "plants"
[data]
source = "plants.parquet"
kind = "features"
interval = "1m"
time = "at"
symbol_column = "plant"
label = "outlier"
[[candidates]]
name = "iforest"
detector = "isolation_forest"
[evaluate]
alerts_per_symbol_day = 10.0
resamples = 50
[register]
model = "plants"
alias = "champion"
"#;

#[test]
fn a_model_is_judged_as_the_run_that_made_it_was() {
    let lab = lab();
    let run = lab.run_json("x.toml", &[]);
    for model in ["models:/plants/1", "models:/plants@champion"] {
        let args = ["evaluate", model, "--data", "x.toml", "--output", "json"];
        let found = lab.run(&args, 0).json();
        assert_eq!(found["run_id"], run["run_id"]);
        assert_eq!(found["flavor"], "foreshock");
        let metrics = found["metrics"].as_object().unwrap();
        assert!(metrics.contains_key("test_average_precision"));
        for (name, value) in metrics {
            assert_eq!(*value, run["metrics"][name], "{name}");
        }
        let row = &found["leaderboard"][0];
        assert_eq!(row["candidate"], "plants version 1");
        assert_eq!(
            row["average_precision"],
            run["leaderboard"][0]["average_precision"]
        );
    }
    let shown = lab.run(&["evaluate", "models:/plants/1", "--data", "x.toml"], 0);
    assert!(
        shown.stdout.contains("plants version 1"),
        "{}",
        shown.stdout
    );
}

#[test]
fn what_cannot_be_judged_is_refused() {
    let lab = lab();
    lab.run_json("x.toml", &[]);
    let evaluate = |model: &str, more: &[&str], status| {
        lab.run(
            &[&["evaluate", model, "--data", "x.toml"][..], more].concat(),
            status,
        )
    };
    evaluate("plants/1", &[], 2).says(&["`plants/1`", "models:/NAME/VERSION"]);
    evaluate("models:/plants/7", &[], 1).says(&["no such model version"]);
    evaluate("models:/plants@nobody", &[], 1).says(&["no such model version"]);
    let n = 3_000;
    let table = Table::new()
        .time(
            "at",
            (0..n).map(|row| START + row as i64 * 60_000_000).collect(),
        )
        .text("plant", (0..n).map(|_| Some("north")))
        .number("width", bell(n, 7_919))
        .number("depth", bell(n, 6_007))
        .integer(
            "outlier",
            (0..n).map(|row| u64::from(row % 100 == 7)).collect(),
        );
    lab.write_table("other.parquet", table);
    let other = ["--set", "data.source=\"other.parquet\""];
    evaluate("models:/plants/1", &other, 1).says(&["`height`", "width"]);
}

#[test]
fn a_document_of_the_command_is_json() {
    let lab = lab();
    lab.run_json("x.toml", &[]);
    let args = [
        "evaluate",
        "models:/plants/9",
        "--data",
        "x.toml",
        "--output",
        "json",
    ];
    let error: Value = lab.run(&args, 1).json();
    assert!(
        error["error"]
            .as_str()
            .unwrap()
            .contains("no such model version")
    );
}

/// A minute of real candles, on a market's own features.
const REAL: &str = r#"
[experiment]
name = "real"
[data]
source = "SOURCE"
kind = "candles"
interval = "1m"
from = 2018-01-01T00:00:00Z
to = 2018-01-08T00:00:00Z
[features]
window = 30
use = ["return", "price_range", "volume_zscore"]
[inject]
events_per_symbol_day = 6.0
[[candidates]]
detector = "ecod"
[evaluate]
resamples = 20
importance_rows = 0
[register]
model = "real"
"#;

fn real_candles() -> String {
    format!(
        "{}/../experiments/data/btcusd-1m.parquet",
        env!("CARGO_MANIFEST_DIR")
    )
}

#[test]
fn candles_without_a_file_are_judged_by_the_features_of_the_model() {
    let (lab, source) = (Lab::new(), real_candles());
    let text = REAL.replace("SOURCE", &source);
    lab.write("x.toml", &text);
    lab.run_json("x.toml", &[]);
    let later = [
        "data.from=2018-01-08T00:00:00Z",
        "data.to=2018-01-15T00:00:00Z",
        "data.symbols=[\"BTCUSD\"]",
        "inject.events_per_symbol_day=6.0",
        "evaluate.resamples=20",
    ];
    let set: Vec<&str> = later.iter().flat_map(|set| ["--set", set]).collect();
    let judged = |data: &str, more: &[&str]| {
        let head = [
            "evaluate",
            "models:/real/1",
            "--output",
            "json",
            "--data",
            data,
        ];
        lab.run(&[&head[..], more].concat(), 0).json()
    };
    let found = judged(&source, &set);
    assert_eq!(
        found["features"],
        serde_json::json!(["return", "price_range", "volume_zscore"])
    );
    let precision = found["metrics"]["test_average_precision"].as_f64().unwrap();
    assert!(precision > 0.1, "{precision}");
    // A file that says the same of the same data gives the same.
    let same = text
        .replace("2018-01-08", "2018-01-15")
        .replace("2018-01-01", "2018-01-08")
        .replace(
            "[inject]",
            "[split]\ntrain = 0.02\nvalidation = 0.48\n[inject]",
        );
    lab.write("same.toml", &same);
    assert_eq!(judged("same.toml", &[])["metrics"], found["metrics"]);
    let with = judged(&source, &["--experiment", "same.toml"]);
    assert_eq!(with["metrics"], found["metrics"]);
    // Nothing is injected unless it is asked for: nothing is known of what is an anomaly.
    let unlabelled = judged(&source, &set[..6]);
    let undefined = &unlabelled["metrics"]["test_average_precision"]["undefined"];
    assert!(undefined.is_string(), "{unlabelled}");
}

#[test]
fn a_table_without_a_file_is_judged_by_its_own_columns() {
    let lab = lab();
    lab.run_json("x.toml", &[]);
    let evaluate = |more: &[&str], status| {
        let head = ["evaluate", "models:/plants/1", "--data", "plants.parquet"];
        lab.run(&[&head[..], more].concat(), status)
    };
    let set = [
        "--set",
        "data.symbol_column=plant",
        "--set",
        "data.label=outlier",
        "--set",
        "evaluate.alerts_per_symbol_day=10.0",
        "--output",
        "json",
    ];
    let found = evaluate(&set, 0).json();
    let metrics = &found["metrics"];
    assert!(metrics["test_roc_auc"].as_f64().unwrap() > 0.9, "{metrics}");
    assert!(
        metrics["test_false_alerts_per_symbol_day"].is_number(),
        "{metrics}"
    );
    // What can't be is said.
    lab.write("other.csv", "a,b\n1,2\n3,4\n");
    let head = ["evaluate", "models:/plants/1", "--data"];
    let other =
        |data: &str, more: &[&str], status| lab.run(&[&head[..], &[data], more].concat(), status);
    other("other.csv", &[], 1).says(&["`width`, `height`", "it has `a`, `b`", "--kind"]);
    other("nowhere.parquet", &[], 1).says(&["nowhere.parquet"]);
    other("other.csv", &["--kind", "candles"], 1).says(&["data.interval", "is missing"]);
    other("x.toml", &["--kind", "candles"], 2).says(&["says all that"]);
}

/// The model of the first version, as if it had been logged in Python: the graph that PyTorch wrote alone.
#[test]
fn a_model_that_pytorch_exported_is_judged_from_a_location() {
    let lab = lab();
    let n = 3_000;
    let columns = ["a", "b", "c", "d"].map(|name| (name, bell(n, name.len() + 6_006)));
    let mut table = Table::new().time(
        "at",
        (0..n).map(|row| START + row as i64 * 60_000_000).collect(),
    );
    for (at, (name, mut values)) in columns.into_iter().enumerate() {
        values.rotate_left(at * 700);
        for row in (50..n).step_by(100) {
            values[row] += 30.0;
        }
        table = table.number(name, values);
    }
    let label = (0..n)
        .map(|row| u64::from(row >= 50 && row % 100 == 50))
        .collect();
    lab.write_table("four.parquet", table.integer("label", label));
    lab.run_json("x.toml", &[]);
    let folder = lab.artifacts("MLmodel")[0].parent().unwrap().to_owned();
    let graph =
        include_bytes!("../../../crates/onnx-runtime/tests/fixtures/torch_rebuilt_default.onnx");
    std::fs::write(folder.join("model.onnx"), graph).unwrap();
    let columns = r#"[{"type": "double", "name": "a"}, {"type": "double", "name": "b"}, {"type": "double", "name": "c"}, {"type": "double", "name": "d"}]"#;
    let mlmodel =
        format!("flavors:\n  onnx:\n    data: model.onnx\nsignature:\n  inputs: '{columns}'\n");
    std::fs::write(folder.join("MLmodel"), mlmodel).unwrap();
    let head = ["evaluate", "models:/plants/1", "--data", "four.parquet"];
    let found = lab
        .run(&[&head[..], &["--output", "json"]].concat(), 0)
        .json();
    assert_eq!(found["flavor"], "onnx");
    assert_eq!(found["features"], serde_json::json!(["a", "b", "c", "d"]));
    assert!(
        found["metrics"]["test_roc_auc"].as_f64().unwrap() > 0.9,
        "{found}"
    );
    // A graph of other inputs than its signature says is refused before a row is read.
    let wrong = columns.replace(r#", {"type": "double", "name": "d"}"#, "");
    let mlmodel =
        format!("flavors:\n  onnx:\n    data: model.onnx\nsignature:\n  inputs: '{wrong}'\n");
    std::fs::write(folder.join("MLmodel"), mlmodel).unwrap();
    lab.run(&head, 1).says(&["expected 3", "found 4"]);
}
