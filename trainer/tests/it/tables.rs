//! `kind = "features"`: any numeric table, market or not.

use history::Table;
use serde_json::Value;

use crate::lab::{Lab, bell};

const N_ROWS: usize = 6_000;
const MINUTE: i64 = 60_000_000;
const START: i64 = 1_700_000_040_000_000; // 2023-11-14 22:14 UTC

/// Two columns shaped like a bell; every 200th row lies far out and is labelled.
fn columns(n_rows: usize) -> (Vec<f64>, Vec<f64>, Vec<u64>) {
    let (mut first, mut second) = (bell(n_rows, 7_919), bell(n_rows, 6_007));
    let mut label = vec![0; n_rows];
    for row in (150..n_rows).step_by(200) {
        first[row] += 12.0;
        second[row] -= 12.0;
        label[row] = 1;
    }
    (first, second, label)
}

fn plain(rows: std::ops::Range<usize>) -> Table {
    let (first, second, label) = columns(N_ROWS);
    Table::new()
        .number("width", first[rows.clone()].to_vec())
        .number("height", second[rows.clone()].to_vec())
        .integer("outlier", label[rows].to_vec())
}

const PLAIN: &str = r#"
[experiment]
name = "plates"
[data]
source = "plates*.parquet"
kind = "features"
label = "outlier"
[split]
method = "in_sample"
[[candidates]]
name = "iforest"
detector = "isolation_forest"
[evaluate]
threshold_quantile = 0.99
resamples = 50
[register]
model = "plates"
"#;

/// A table of two symbols, a row a minute and symbol.
fn timed(n_minutes: usize) -> Table {
    let (first, second, label) = columns(2 * n_minutes);
    let rows = 0..2 * n_minutes;
    Table::new()
        .time(
            "at",
            rows.clone()
                .map(|row| START + (row / 2) as i64 * MINUTE)
                .collect(),
        )
        .text("plant", rows.map(|row| Some(["north", "south"][row % 2])))
        .number("width", first)
        .number("height", second)
        .integer("outlier", label)
}

const TIMED: &str = r#"
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
"#;

fn metric(summary: &Value, name: &str) -> f64 {
    summary["metrics"][name]
        .as_f64()
        .unwrap_or_else(|| panic!("{name} in {summary:#}"))
}

#[test]
fn a_table_without_time_is_judged_in_sample() {
    let lab = Lab::new();
    lab.write_table("plates.parquet", plain(0..N_ROWS));
    lab.write("x.toml", PLAIN);
    let summary = lab.run_json("x.toml", &[]);
    assert_eq!(metric(&summary, "in_sample_rows"), 6_000.0);
    assert_eq!(metric(&summary, "in_sample_labelled_rows"), 30.0);
    // Far out in both columns at once: hardly a normal row is.
    assert!(metric(&summary, "in_sample_roc_auc") > 0.999);
    assert!(metric(&summary, "in_sample_average_precision") > 0.95);
    assert_eq!(metric(&summary, "in_sample_recall"), 1.0);
    let flagged = metric(&summary, "in_sample_flagged_rows");
    assert!(
        (59.0..=61.0).contains(&flagged),
        "1 % of the rows: {flagged}"
    );
    assert!(
        summary["metrics"].get("in_sample_event_recall").is_none(),
        "rows without time are no events"
    );
    assert_eq!(summary["model_version"], "1");
}

#[test]
fn the_same_rows_in_several_files_give_the_same_model() {
    let (whole, parts) = (Lab::new(), Lab::new());
    whole.write_table("plates.parquet", plain(0..N_ROWS));
    parts.write_table("plates-1.parquet", plain(0..1_001));
    parts.write_table("plates-2.parquet", plain(1_001..N_ROWS));
    let models = [&whole, &parts].map(|lab| {
        lab.write("x.toml", PLAIN);
        // Fewer than there are: the sample must not depend on files or batches either.
        lab.run_json("x.toml", &["--set", "data.max_train_rows=2000"]);
        std::fs::read(&lab.artifacts("model.foreshock")[0]).unwrap()
    });
    assert!(models[0] == models[1]);
    parts.run_json("x.toml", &[]);
    let all = parts.artifacts("model.foreshock");
    assert!(
        std::fs::read(&all[0]).unwrap() != std::fs::read(&all[1]).unwrap(),
        "a model of a sample isn't a model of everything"
    );
}

#[test]
fn a_table_with_time_is_split_in_time_and_judged_by_event() {
    let lab = Lab::new();
    lab.write_table("plants.parquet", timed(3_000));
    lab.write("x.toml", TIMED);
    let summary = lab.run_json("x.toml", &[]);
    assert_eq!(metric(&summary, "test_rows"), 1_200.0);
    assert_eq!(metric(&summary, "test_labelled_rows"), 6.0);
    assert_eq!(metric(&summary, "test_events"), 6.0);
    assert_eq!(metric(&summary, "test_event_recall"), 1.0);
    assert_eq!(metric(&summary, "test_median_delay_seconds"), 60.0);
    // Calibrated per symbol: the other plant's own extremes rank as high as outliers.
    assert!(metric(&summary, "test_roc_auc") > 0.99);
    let evaluation: Value =
        serde_json::from_slice(&std::fs::read(&lab.artifacts("evaluation.json")[0]).unwrap())
            .unwrap();
    assert!(
        evaluation.to_string().contains("\"south\""),
        "judged per symbol too"
    );
}

#[test]
fn only_the_columns_of_features_use_are_read() {
    let lab = Lab::new();
    // A column that isn't numeric is no feature; one that isn't finite is an error, if it is read.
    let (first, second, label) = columns(N_ROWS);
    let table = Table::new()
        .number("width", first)
        .number("height", second.clone())
        .number("broken", second.iter().map(|_| f64::NAN).collect())
        .text("note", (0..N_ROWS).map(|_| Some("a")))
        .integer("outlier", label);
    lab.write_table("plates.parquet", table);
    lab.write("x.toml", PLAIN);
    let refused = lab.run(&["run", "x.toml"], 1);
    refused.says(&["plates.parquet", "row 1", "broken", "`NaN`", "FAILED"]);
    assert!(
        !refused.stderr.contains("--resume"),
        "there is nothing to go on with"
    );
    let summary = lab.run_json("x.toml", &["--set", "features.use=[\"width\", \"height\"]"]);
    assert!(metric(&summary, "in_sample_roc_auc") > 0.999);
}

#[test]
fn splits_that_would_fool_are_refused() {
    let lab = Lab::new();
    lab.write("x.toml", TIMED);
    lab.run(&["check", "x.toml", "--set", "split.method=random"], 1)
        .says(&["split.method", "the future"]);
    lab.run(&["check", "x.toml", "--set", "split.method=in_sample"], 1)
        .says(&["split.method", "tables without time"]);
}

#[test]
fn a_column_that_is_named_like_a_label_becomes_a_feature_only_by_name() {
    let lab = Lab::new();
    let unlabelled = PLAIN.replace("label = \"outlier\"\n", "");
    lab.write("x.toml", &unlabelled);
    for name in ["label", "Is_Anomaly", "y"] {
        let (first, _, label) = columns(N_ROWS);
        let table = Table::new().number("width", first).integer(name, label);
        lab.write_table("plates.parquet", table);
        lab.run(&["run", "x.toml"], 1).says(&[
            &format!("column `{name}`"),
            "plates.parquet",
            "set `data.label` to it",
            "`features.use`",
        ]);
        let wanted = format!("features.use=[\"width\", \"{name}\"]");
        lab.run(&["run", "x.toml", "--set", &wanted], 0);
        lab.run(
            &["run", "x.toml", "--set", &format!("data.label=\"{name}\"")],
            0,
        );
    }
}

#[test]
fn columns_that_are_no_features_are_named() {
    let lab = Lab::new();
    let (first, second, label) = columns(N_ROWS);
    let table = Table::new()
        .number("width", first.clone())
        .text("note", (0..N_ROWS).map(|_| Some("a")))
        .number("height", second)
        .integer("outlier", label)
        .integer("__index_level_0__", (0..N_ROWS as u64).collect());
    lab.write_table("plates.parquet", table);
    lab.write("x.toml", PLAIN);
    lab.run(&["run", "x.toml"], 0).says(&[
        "6000 rows × 2 features from 1 file; left out, not numeric: `note`; left out, an index: `__index_level_0__`",
    ]);
    // Asked for by name, nothing is left out.
    let named = lab.run(&["run", "x.toml", "--set", "features.use=[\"width\"]"], 0);
    named.says(&["6000 rows × 1 feature from 1 file ("]);
    lab.run(
        &[
            "run",
            "x.toml",
            "--set",
            "features.use=[\"__index_level_0__\"]",
        ],
        0,
    );
    let rows = first.iter().map(|width| format!("{width},a\n"));
    lab.write(
        "t.csv",
        &format!("width,note\n{}", rows.collect::<String>()),
    );
    let unlabelled = PLAIN.replace("label = \"outlier\"\n", "");
    lab.write("y.toml", &unlabelled);
    lab.run(&["run", "y.toml", "--data", "t.csv"], 0)
        .says(&["6000 rows × 1 feature from 1 file; left out, not numeric: `note` ("]);
}

#[test]
fn labels_that_leave_no_row_normal_are_refused() {
    let with_labels = |label: &dyn Fn(usize) -> Option<&'static str>| {
        let (first, second, _) = columns(N_ROWS);
        let lab = Lab::new();
        let table = Table::new()
            .number("width", first)
            .number("height", second)
            .text("outlier", (0..N_ROWS).map(label));
        lab.write_table("plates.parquet", table);
        lab.write("x.toml", PLAIN);
        lab
    };
    let is_outlier = |row: usize| (150..N_ROWS).step_by(200).any(|other| other == row);
    let lab = with_labels(&|row| Some(if is_outlier(row) { "fraud" } else { "legit" }));
    lab.run(&["run", "x.toml"], 1).says(&[
        "column `outlier`",
        "plates.parquet",
        "every row an anomaly: it holds `legit`, `fraud`;",
        "`benign`",
    ]);
    let lab = with_labels(&|row| Some(if is_outlier(row) { "fraud" } else { "Normal" }));
    let summary = lab.run_json("x.toml", &[]);
    assert_eq!(metric(&summary, "in_sample_labelled_rows"), 30.0);
    let lab = with_labels(&|_| Some("1"));
    lab.run(&["run", "x.toml"], 1)
        .says(&["`anomaly` (1, or true);"]);
    // Of −1 and 1, tools disagree on which is the anomaly.
    let rows = (0..100).map(|row| format!("{row},{}\n", if row == 7 { 1 } else { -1 }));
    lab.write(
        "t.csv",
        &format!("width,outlier\n{}", rows.collect::<String>()),
    );
    lab.run(&["run", "x.toml", "--data", "t.csv"], 1).says(&[
        "t.csv` row 2: outlier `-1` is neither 0 nor 1",
        "0 for a normal row and 1 for an anomaly",
    ]);
}

#[test]
fn parts_without_a_purge_between_them_are_said_so() {
    let lab = Lab::new();
    lab.write_table("plants.parquet", timed(3_000));
    lab.write("x.toml", TIMED);
    let hint = "no purge between the parts: set `split.purge`";
    lab.run(&["run", "x.toml"], 0).says(&[hint]);
    let purged = lab.run(&["run", "x.toml", "--set", "split.purge=1h"], 0);
    assert!(!purged.stderr.contains(hint), "{}", purged.stderr);
}
