mod candidates;

use std::path::Path;

use serde_json::{Value, json};

use super::*;

const MINIMAL: &str = r#"
[experiment]
name = "x"
[data]
source = "a.parquet"
kind = "candles"
interval = "1m"
[[candidates]]
detector = "isolation_forest"
"#;

fn load_text(text: &str, overrides: &[&str]) -> Result<Experiment, String> {
    let overrides: Vec<String> = overrides.iter().map(|text| (*text).to_owned()).collect();
    parse(Path::new("x.toml"), text.to_owned(), &overrides)
        .map(|file| file.experiment)
        .map_err(|error| error.to_string())
}

/// Asserts that `text` is refused with a line that has all of `parts`.
fn refused(text: &str, overrides: &[&str], parts: &[&str]) {
    let report = load_text(text, overrides).expect_err("it must be refused");
    let found = report
        .lines()
        .any(|line| parts.iter().all(|part| line.contains(part)));
    assert!(found, "no line with all of {parts:?} in:\n{report}");
}

/// The values of a key of the first candidate.
fn values<'e>(experiment: &'e Experiment, key: &str) -> &'e [Value] {
    experiment.candidates[0]
        .detector
        .values(key)
        .unwrap_or_default()
}

#[test]
fn a_minimal_file_has_documented_defaults() {
    let experiment = load_text(MINIMAL, &[]).unwrap();
    assert_eq!(experiment.seed, 42);
    assert_eq!(experiment.split.method, SplitMethod::Time);
    assert_eq!(
        (experiment.split.train, experiment.split.validation),
        (0.6, 0.2)
    );
    assert_eq!(
        experiment.evaluate.threshold,
        ThresholdRule::AlertsPerSymbolDay(1.0)
    );
    assert_eq!(experiment.features.config.unwrap().window, 60);
    assert!(experiment.inject.is_none() && experiment.register.is_none());
}

#[test]
fn every_violation_is_reported_at_once_with_its_line() {
    let text = r#"[experiment]
nam = "x"
[data]
source = "a.parquet"
kind = "candels"
interval = "7 parsecs"
from = 2018-03-01
to = 2018-01-01
[split]
method = "random"
train = 0.9
validation = 0.3
[[candidates]]
detector = "isolation_forest"
n_trees = 0
sample_size = "many"
[evaluate]
alert_per_symbol_day = 1.0
[registr]
model = "m"
"#;
    refused(
        text,
        &[],
        &["x.toml:2:", "`experiment.nam`", "did you mean `name`"],
    );
    refused(text, &[], &["x.toml:1:", "`experiment.name`", "is missing"]);
    refused(
        text,
        &[],
        &["x.toml:5:", "`candels`", "did you mean `candles`"],
    );
    refused(text, &[], &["x.toml:6:", "`data.interval`"]);
    refused(text, &[], &["x.toml:8:", "`data.to`", "empty"]);
    refused(text, &[], &["x.toml:10:", "future"]);
    refused(text, &[], &["x.toml:11:", "nothing is left to test"]);
    refused(
        text,
        &[],
        &["x.toml:15:", "`candidates[0].n_trees`", "is 0"],
    );
    refused(
        text,
        &[],
        &["x.toml:16:", "`candidates[0].sample_size`", "`many`"],
    );
    refused(
        text,
        &[],
        &["x.toml:18:", "did you mean `alerts_per_symbol_day`"],
    );
    refused(
        text,
        &[],
        &["x.toml:19:", "`registr`", "did you mean `register`"],
    );
}

#[test]
fn a_budget_of_every_row_is_refused() {
    refused(
        &format!("{MINIMAL}[evaluate]\nalerts_per_symbol_day = 1440\n"),
        &[],
        &["`evaluate.alerts_per_symbol_day`", "is 1440", "1440 rows"],
    );
}

#[test]
fn a_key_like_no_other_is_told_which_there_are() {
    let text = format!("{MINIMAL}[evaluate]\nquantile = 0.5\nx = 1\n");
    refused(
        &text,
        &[],
        &["`evaluate.quantile`", "did you mean `threshold_quantile`"],
    );
    refused(&text, &[], &["`evaluate.x`", "there are `", "`resamples`"]);
}

#[test]
fn arguments_change_values_and_are_named_when_they_are_wrong() {
    let experiment = load_text(
        MINIMAL,
        &[
            "experiment.seed=7",
            "candidates.0.n_trees=[10, 20]",
            "register.model=m",
        ],
    )
    .unwrap();
    assert_eq!(experiment.seed, 7);
    assert_eq!(values(&experiment, "n_trees"), [10, 20]);
    assert_eq!(experiment.register.unwrap().model, "m");
    let named = format!("{MINIMAL}name = \"forest\"\n");
    let experiment = load_text(&named, &["candidates.forest.sample_size=64"]).unwrap();
    assert_eq!(values(&experiment, "sample_size"), [64]);
    refused(
        MINIMAL,
        &["experiment.seed=-1"],
        &["--set experiment.seed=-1:", "is -1"],
    );
    refused(
        MINIMAL,
        &["experiment.sed=1"],
        &["--set experiment.sed=1:", "did you mean `seed`"],
    );
    refused(
        MINIMAL,
        &["candidates.5.n_trees=1"],
        &["no `5` among the 1"],
    );
    refused(MINIMAL, &["nonsense"], &["has no `=`"]);
    refused(
        MINIMAL,
        &["experiment.name.x=1"],
        &["`experiment.name` is a string"],
    );
}

#[test]
fn a_syntax_error_names_its_line() {
    refused(
        "[experiment]\nname = \n",
        &[],
        &["x.toml:2:", "can't be parsed"],
    );
}

#[test]
fn tables_without_time_fit_and_score_the_same_rows_and_have_no_budget() {
    let table = "[experiment]\nname = \"x\"\n[data]\nsource = \"t.csv\"\nkind = \"features\"\nlabel = \"y\"\n[[candidates]]\ndetector = \"isolation_forest\"\n";
    let experiment = load_text(table, &[]).unwrap();
    assert_eq!(experiment.split.method, SplitMethod::InSample);
    assert_eq!(experiment.evaluate.threshold, ThresholdRule::Quantile(0.95));
    refused(
        table,
        &["evaluate.alerts_per_symbol_day=1"],
        &["needs time"],
    );
    refused(table, &["split.method=time"], &["no time column"]);
    refused(table, &["features.window=60"], &["has no effect"]);
    refused(
        table,
        &["inject.events_per_symbol_day=1"],
        &["before features are computed"],
    );
    refused(table, &["data.from=2020-01-01"], &["needs `data.time`"]);
    refused(
        table,
        &["data.time=t", "data.symbol_column=s", "data.events=e.csv"],
        &["`data.events`", "`data.label`"],
    );
    let timed = load_text(table, &["data.time=t"]).unwrap();
    assert_eq!(timed.split.method, SplitMethod::Time);
    refused(
        table,
        &["data.time=t", "split.method=in_sample"],
        &["tables without time"],
    );
}

#[test]
fn an_alias_or_name_that_mlflow_refuses_is_refused_here() {
    refused(MINIMAL, &["register.model=a/b"], &["register.model"]);
    refused(
        MINIMAL,
        &["register.model=m", "register.alias=v1"],
        &["register.alias"],
    );
    refused(
        MINIMAL,
        &["register.model=m", "register.alias=latest"],
        &["register.alias"],
    );
    refused(
        MINIMAL,
        &["experiment.name="],
        &["experiment.name", "is empty"],
    );
}

#[test]
fn unknown_features_and_kinds_are_named_with_the_nearest_one() {
    refused(
        MINIMAL,
        &["features.use=[\"volume_zscor\"]"],
        &["did you mean `volume_zscore`"],
    );
    refused(
        MINIMAL,
        &["inject.kinds=[\"flash_crsh\"]"],
        &["did you mean `flash_crash`"],
    );
    refused(
        MINIMAL,
        &["inject.magnitude=[30, 3]"],
        &["the smaller first"],
    );
    refused(
        MINIMAL,
        &["inject.magnitude=[nan, 3]"],
        &["inject.magnitude"],
    );
}

#[test]
fn a_feature_is_named_once_and_is_not_the_label_the_time_or_the_symbol() {
    let table = MINIMAL.replace(
        "kind = \"candles\"\ninterval = \"1m\"",
        "kind = \"features\"\nlabel = \"bad\"\ntime = \"at\"\nsymbol_column = \"s\"",
    );
    load_text(&table, &["features.use=[\"a\", \"b\"]"]).unwrap();
    for (name, key) in [
        ("bad", "`data.label`"),
        ("at", "`data.time`"),
        ("s", "`data.symbol_column`"),
    ] {
        let used = format!("features.use=[\"a\", \"{name}\"]");
        refused(&table, &[&used], &["`features.use`", name, key]);
    }
    let twice = &["`features.use` names `a` twice"];
    refused(&table, &["features.use=[\"a\", \"b\", \"a\"]"], twice);
    refused(
        MINIMAL,
        &["features.use=[\"return\", \"return\"]"],
        &["`features.use` names `return` twice"],
    );
}

#[test]
fn durations_and_instants_are_read_as_people_write_them() {
    assert_eq!(section::parse_duration_us("90s"), Some(90_000_000));
    assert_eq!(section::parse_duration_us("1.5h"), Some(5_400_000_000));
    assert_eq!(section::parse_duration_us("1 fortnight"), None);
    assert_eq!(parse_instant_us("2018-01-01"), Some(1_514_764_800_000_000));
    assert_eq!(
        parse_instant_us("2018-01-01T01:00:00+01:00"),
        Some(1_514_764_800_000_000)
    );
    assert_eq!(parse_instant_us("yesterday"), None);
}
