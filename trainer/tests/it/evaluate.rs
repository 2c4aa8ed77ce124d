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
