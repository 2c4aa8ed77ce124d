//! Data and experiment files that can't be used as they are.

use history::Table;
use serde_json::Value;

use crate::lab::{Finished, Lab, TABLE, bell, table_lab, table_rows};

const CANDLES: &str = r#"
[experiment]
name = "candles"
[data]
source = "candles.csv"
kind = "candles"
interval = "1m"
symbol = "X"
[features]
use = ["return", "log_return_zscore", "volume_zscore", "price_range"]
[[candidates]]
detector = "isolation_forest"
n_trees = 10
[evaluate]
resamples = 10
"#;

fn candle_rows() -> Vec<String> {
    let moves = bell(1000, 7);
    let mut price = 100.0;
    let mut rows = vec!["time,open,high,low,close,volume".to_owned()];
    for (row, change) in moves.iter().enumerate() {
        let (open, close): (f64, f64) = (price, price + 0.01 * change);
        let (high, low) = (open.max(close), open.min(close));
        let time = 1_704_067_200_000_u64 + row as u64 * 60_000;
        let volume = 5.0 + change.abs();
        rows.push(format!("{time},{open},{high},{low},{close},{volume}"));
        price = close;
    }
    rows
}

/// A run on `data` (CSV rows), expected to end with `code`.
fn run_on(experiment: &str, data: &[String], code: i32) -> Finished {
    let lab = Lab::new();
    lab.write("x.toml", experiment);
    lab.write("bad.csv", &(data.join("\n") + "\n"));
    lab.run(&["run", "x.toml", "--data", "bad.csv"], code)
}

/// `rows` with the field `column` of line `line` (1-based, as an editor counts) replaced.
fn with_field(mut rows: Vec<String>, line: usize, column: usize, value: &str) -> Vec<String> {
    let mut fields: Vec<&str> = rows[line - 1].split(',').collect();
    fields[column] = value;
    rows[line - 1] = fields.join(",");
    rows
}

#[test]
fn missing_data_are_named_before_anything_begins() {
    let lab = table_lab();
    for (source, said) in [
        ("tabel.csv", "did you mean `table.csv`"),
        ("*.parquet", "matches no file"),
        ("nowhere/", "does not exist"),
    ] {
        lab.run(&["run", "x.toml", "--data", source], 1)
            .says(&[source.trim_end_matches('/'), said]);
        lab.run(&["check", "x.toml", "--data", source], 1)
            .says(&[said]);
    }
    lab.run(&["run", "y.toml"], 1)
        .says(&["y.toml", "No such file"]);
    assert!(!lab.path("foreshock").exists());
}

#[test]
fn a_column_that_is_missing_or_of_the_wrong_type_is_named_with_its_file() {
    let lab = Lab::new();
    lab.write("x.toml", TABLE);
    let times = || (0..100).map(|row| row * 60_000_000).collect();
    let symbols = || (0..100).map(|_| Some("X"));
    let table = || {
        Table::new()
            .time("open_time", times())
            .text("symbol", symbols())
            .number("a", bell(100, 7))
    };
    lab.write_table("no_label.parquet", table());
    lab.run(&["run", "x.toml", "--data", "no_label.parquet"], 1)
        .says(&[
            "no_label.parquet` has no column `label`",
            "`open_time`",
            "`a`",
        ]);
    let labels: Vec<Option<&str>> = (0..100).map(|_| None).collect();
    lab.write_table(
        "text.parquet",
        table()
            .text("b", symbols())
            .text("label", labels.into_iter()),
    );
    let wanted = "features.use=[\"a\", \"b\"]";
    lab.run(
        &["run", "x.toml", "--data", "text.parquet", "--set", wanted],
        1,
    )
    .says(&["text.parquet` column `b` is", "needed"]);
    let wanted = "features.use=[\"a\", \"c\"]";
    lab.run(
        &["run", "x.toml", "--data", "text.parquet", "--set", wanted],
        1,
    )
    .says(&["text.parquet` has no column `c`", "`a`"]);

    let without_close: Vec<String> = candle_rows()
        .iter()
        .map(|row| row.split(',').take(4).collect::<Vec<_>>().join(","))
        .collect();
    run_on(CANDLES, &without_close, 1).says(&["bad.csv` has no column `close`", "`open`"]);
}

#[test]
fn a_value_that_is_no_finite_number_is_refused_by_file_row_and_column() {
    for value in ["NaN", "inf", "-inf", "1.2.3", ""] {
        let said = run_on(TABLE, &with_field(table_rows(), 5, 3, value), 1);
        said.says(&["bad.csv` row 5: b ", value]);
        let said = run_on(CANDLES, &with_field(candle_rows(), 9, 4, value), 1);
        said.says(&["bad.csv` row 9: close ", value]);
    }
    let lab = Lab::new();
    lab.write("x.toml", TABLE);
    for (value, said) in [(f64::NAN, "NaN"), (f64::INFINITY, "inf")] {
        let mut values = bell(100, 7);
        values[41] = value;
        let table = Table::new()
            .time("open_time", (0..100).map(|row| row * 60_000_000).collect())
            .text("symbol", (0..100).map(|_| Some("X")))
            .number("a", values)
            .text("label", (0..100).map(|_| None));
        lab.write_table("t.parquet", table);
        lab.run(&["run", "x.toml", "--data", "t.parquet"], 1)
            .says(&["t.parquet` row 42: a ", said]);
    }
}

#[test]
fn broken_files_are_refused_by_name() {
    let lab = table_lab();
    let whole = Table::new()
        .time("open_time", (0..5000).map(|row| row * 60_000_000).collect())
        .number("a", bell(5000, 7));
    lab.write_table("whole.parquet", whole);
    let bytes = std::fs::read(lab.path("whole.parquet")).unwrap();
    std::fs::write(lab.path("cut.parquet"), &bytes[..bytes.len() / 2]).unwrap();
    // The footer is well, the data are not.
    let mut torn = bytes.clone();
    torn[4..2000].fill(0xa5);
    std::fs::write(lab.path("torn.parquet"), torn).unwrap();
    lab.write("garbage.parquet", "this is no Parquet file at all");
    lab.write("empty.parquet", "");
    lab.write("empty.csv", "");
    let mut binary = b"open_time,symbol,a,b,label\n".to_vec();
    binary.extend((0..2000_u32).map(|byte| (byte.wrapping_mul(2_654_435_761) >> 24) as u8));
    std::fs::write(lab.path("binary.csv"), binary).unwrap();
    let rows = table_rows();
    lab.write("cut.csv", &format!("{}\n{}\n1704", rows[0], rows[1]));
    for file in [
        "cut.parquet",
        "torn.parquet",
        "garbage.parquet",
        "empty.parquet",
        "empty.csv",
        "binary.csv",
        "cut.csv",
    ] {
        let arguments = ["run", "x.toml", "--data", file, "--set", "data.label=\"a\""];
        lab.run(&arguments, 1).says(&[file]);
    }
    lab.run(&["run", "x.toml", "--data", "cut.csv"], 1)
        .says(&["cut.csv` row 3", "1 fields"]);
}

#[test]
fn times_that_go_back_or_stand_still_are_refused() {
    for (experiment, rows, line) in [
        (TABLE, table_rows(), "data row 10"),
        (CANDLES, candle_rows(), "row 11"),
    ] {
        let mut swapped = rows.clone();
        swapped.swap(9, 10);
        run_on(experiment, &swapped, 1).says(&["bad.csv", line, "00:08:00Z", "before"]);
        let mut doubled = rows.clone();
        doubled.insert(10, rows[9].clone());
        run_on(experiment, &doubled, 1).says(&["bad.csv", line, "00:08:00Z", "time"]);
    }
}

#[test]
fn too_little_data_is_said_so() {
    run_on(TABLE, &table_rows()[..2], 1).says(&["one row"]);
    run_on(CANDLES, &candle_rows()[..2], 1).says(&["1 candle can't fill"]);
    run_on(TABLE, &table_rows()[..1], 1).says(&["no rows"]);
    let lab = table_lab();
    let later = "data.from=2030-01-01T00:00:00Z";
    lab.run(&["run", "x.toml", "--set", later], 1).says(&[
        "no rows in the time range",
        "from 2024-01-01T00:00:00Z to 2024-01-01T09:59:00Z",
    ]);
    lab.write("c.toml", CANDLES);
    lab.write("candles.csv", &candle_rows().join("\n"));
    lab.run(&["run", "c.toml", "--set", later], 1).says(&[
        "no candles in the time range",
        "from 2024-01-01T00:00:00Z to 2024-01-01T16:39:00Z",
    ]);
    let symbols = "data.symbols=[\"X\"]";
    lab.run(&["run", "c.toml", "--set", later, "--set", symbols], 1)
        .says(&["no candles in the time range"]);
    let off = with_field(candle_rows(), 5, 0, "1704067381000");
    run_on(CANDLES, &off, 1).says(&[
        "bad.csv` row 5",
        "candle at `2024-01-01T00:03:01Z` does not start on a whole `1m`",
    ]);
}

#[test]
fn constant_data_have_a_z_of_zero_and_give_figures_without_nan() {
    let table: Vec<String> = table_rows()
        .iter()
        .enumerate()
        .map(|(row, text)| {
            let fields: Vec<&str> = text.split(',').collect();
            match row {
                0 => text.clone(),
                _ => format!("{},X,1,2,{}", fields[0], fields[4]),
            }
        })
        .collect();
    let candles: Vec<String> = candle_rows()
        .iter()
        .enumerate()
        .map(|(row, text)| match (row, text.split_once(',')) {
            (0, _) | (_, None) => text.clone(),
            (_, Some((time, _))) => format!("{time},10,10,10,10,5"),
        })
        .collect();
    for (experiment, rows) in [(TABLE, table), (CANDLES, candles)] {
        let lab = Lab::new();
        lab.write("x.toml", experiment);
        lab.write("flat.csv", &rows.join("\n"));
        let summary = lab.run_json("x.toml", &["--data", "flat.csv", "--scores", "s.parquet"]);
        assert_defined_or_explained(&summary);
        assert_eq!(summary["metrics"]["test_flagged_rows"], 0.0, "{summary:#}");
    }
}

/// Every metric is a number, or says why it is none.
fn assert_defined_or_explained(summary: &Value) {
    for (name, metric) in summary["metrics"].as_object().unwrap() {
        let is_explained = metric["undefined"]
            .as_str()
            .is_some_and(|reason| !reason.is_empty());
        assert!(metric.is_f64() || is_explained, "{name}: {metric}");
    }
}

#[test]
fn without_positives_in_the_test_range_metrics_are_undefined_for_a_reason() {
    let rows: Vec<String> = table_rows()
        .iter()
        .enumerate()
        .map(|(row, text)| match text.rsplit_once(',') {
            Some((rest, _)) if row > 400 => format!("{rest},0"),
            _ => text.clone(),
        })
        .collect();
    let lab = table_lab();
    lab.write("quiet.csv", &rows.join("\n"));
    let summary = lab.run_json("x.toml", &["--data", "quiet.csv"]);
    assert_defined_or_explained(&summary);
    for name in [
        "roc_auc",
        "average_precision",
        "recall",
        "f1",
        "event_recall",
    ] {
        let metric = &summary["metrics"][format!("test_{name}")];
        let reason = metric["undefined"].as_str().unwrap();
        assert!(reason.starts_with("no "), "{name}: {reason}");
    }
    assert!(summary["metrics"]["validation_recall"].is_f64());
    let text = lab.run(&["run", "x.toml", "--data", "quiet.csv"], 0).stdout;
    assert!(text.contains("undefined: no labelled rows"), "{text}");
    assert!(!text.contains("NaN"), "{text}");
}

#[test]
fn every_mistake_of_an_experiment_file_is_reported_at_once_before_any_work() {
    let lab = table_lab();
    lab.write(
        "wrong.toml",
        r#"[experiment]
name = "wrong"
sead = 7
[data]
source = "table.csv"
kind = "candels"
interval = "1m"
from = 2024-01-02T00:00:00Z
to = 2024-01-02T00:00:00Z
[split]
train = 1.5
[[candidates]]
detector = "isolation_forest"
n_trees = "many"
sample_sise = 64
[evaluate]
resamples = -1
[regster]
model = "m"
"#,
    );
    for command in ["run", "check"] {
        let refused = lab.run(
            &[command, "wrong.toml", "--set", "split.validation=\"x\""],
            1,
        );
        refused.says(&[
            "`wrong.toml` has",
            "wrong.toml:3: `experiment.sead`",
            "`seed`",
            "wrong.toml:6: `data.kind`",
            "`candles`",
            "wrong.toml:9: `data.to`",
            "empty",
            "wrong.toml:11: `split.train`",
            "wrong.toml:14: `candidates[0].n_trees`",
            "wrong.toml:15: `candidates[0].sample_sise`",
            "`sample_size`",
            "wrong.toml:17: `evaluate.resamples`",
            "wrong.toml:18: `regster`",
            "`register`",
            "--set split.validation=\"x\": `split.validation`",
        ]);
        assert!(!lab.path("foreshock").exists());
    }
    lab.write("broken.toml", "[experiment]\nname = \"x\"\nname == 3\n");
    lab.run(&["run", "broken.toml"], 1).says(&["broken.toml:3"]);
}

#[test]
fn labels_never_reach_training() {
    let rows = table_rows();
    let labels: Vec<&str> = rows[1..]
        .iter()
        .map(|row| row.rsplit_once(',').unwrap().1)
        .collect();
    // As many in every part as before, but on other rows.
    let permuted: Vec<String> = rows
        .iter()
        .enumerate()
        .map(|(row, text)| match (row, text.rsplit_once(',')) {
            (0, _) | (_, None) => text.clone(),
            (_, Some((rest, _))) => format!("{rest},{}", labels[(row + 20) % labels.len()]),
        })
        .collect();
    assert_ne!(rows, permuted);
    let model = |rows: &[String]| {
        let lab = table_lab();
        lab.write("table.csv", &rows.join("\n"));
        let summary = lab.run_json("x.toml", &[]);
        let bytes = std::fs::read(&lab.artifacts("model.foreshock")[0]).unwrap();
        (bytes, summary)
    };
    let (first, summary) = model(&rows);
    let (second, other) = model(&permuted);
    assert_ne!(
        summary["metrics"], other["metrics"],
        "the labels were looked at"
    );
    assert!(first == second, "the model isn't the same, byte for byte");
}

#[test]
fn the_number_of_threads_changes_no_byte() {
    let lab = table_lab();
    let scores = |threads: &str| {
        let file = format!("scores-{threads}.parquet");
        lab.run_json("x.toml", &["--threads", threads, "--scores", &file]);
        std::fs::read(lab.path(&file)).unwrap()
    };
    assert_eq!(scores("1"), scores("3"));
    let models = lab.artifacts("model.foreshock");
    assert_eq!(models.len(), 2);
    assert_eq!(
        std::fs::read(&models[0]).unwrap(),
        std::fs::read(&models[1]).unwrap()
    );
    lab.run(&["run", "x.toml", "--threads", "0"], 2)
        .says(&["`--threads` is 0"]);
}

#[test]
fn runs_that_are_not_known_and_data_that_changed_are_said_so() {
    let lab = table_lab();
    let summary = lab.run_json("x.toml", &[]);
    let run_id = summary["run_id"].as_str().unwrap();
    lab.run(&["compare", run_id, "no-such-run"], 1)
        .says(&["no-such-run", "not found"]);
    lab.run(&["reproduce", "no-such-run"], 1)
        .says(&["no-such-run", "not found"]);

    let changed = with_field(table_rows(), 30, 2, "0.5");
    lab.write("table.csv", &changed.join("\n"));
    let reproduced = lab.run(&["reproduce", run_id], 1);
    reproduced.says(&["the model differs, and so do the data"]);
    assert!(reproduced.stdout.contains("data   DIFFERENT"));
    std::fs::remove_file(lab.path("table.csv")).unwrap();
    lab.run(&["reproduce", run_id], 1)
        .says(&["table.csv", "--data"]);
}
