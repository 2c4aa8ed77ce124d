//! From an outcome to what is registered and what is printed.

use std::collections::BTreeMap;

use detectors::evaluation::{Evaluation, Metric};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::report_data::{RunLabel, report_data, verdict};
use crate::config::{ExperimentFile, SplitMethod};
use crate::output::{self, Render};
use crate::pipeline::{Outcome, judge};
use crate::report::{render_html, render_pngs};
use crate::tracking::model_folder::{self, ModelFolder};
use crate::tracking::{Bundle, RunState, Stage, Tracking};

/// The report's name among the run's artifacts.
const REPORT: &str = "report/report.html";

/// What `trainer run` prints.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct RunSummary {
    /// The run's id.
    pub run_id: String,
    /// Its name.
    pub run_name: String,
    /// Its experiment's id.
    pub experiment_id: String,
    /// The registered model, if one was registered.
    pub model_name: Option<String>,
    /// Its new version.
    pub model_version: Option<String>,
    /// The candidate that won.
    pub candidate: String,
    /// Metrics by name; one that doesn't exist is `{"undefined": reason}`.
    pub metrics: BTreeMap<String, Metric>,
    /// Where the report is: a file where the registry is embedded, an artifact URI elsewhere.
    pub report: String,
    /// The registry, as it was given.
    pub tracking_uri: String,
    /// The result in one sentence.
    pub verdict: String,
    /// The table of the metrics: (name, per column: value and interval as text).
    #[serde(skip_serializing_if = "Vec::is_empty", default)]
    table: Vec<Vec<String>>,
}

impl RunSummary {
    /// Fills in what only the registry knew.
    pub(super) fn set_published(&mut self, tracking: &Tracking, model: Option<(String, String)>) {
        tracking.uri().clone_into(&mut self.tracking_uri);
        self.report = tracking.locate(&self.report);
        (self.model_name, self.model_version) = model.unzip();
    }
}

/// Tags that come of the work: where the data are from, what is undefined and why.
pub(super) fn tags(outcome: &Outcome) -> BTreeMap<String, String> {
    let mut tags = BTreeMap::new();
    tags.insert(
        "foreshock.data.sha256".to_owned(),
        outcome.fingerprint.hash.clone(),
    );
    tags.insert(
        "foreshock.data.files".to_owned(),
        outcome.fingerprint.objects.len().to_string(),
    );
    for (name, metric) in metrics(outcome) {
        if let Some(reason) = metric.reason() {
            tags.insert(format!("undefined.{name}"), reason.to_owned());
        }
    }
    tags
}

/// Every metric of the run: of the winner on validation and test data, and of the baseline.
pub(super) fn metrics(outcome: &Outcome) -> BTreeMap<String, Metric> {
    let (_, validation, test) = judge::parts(&outcome.prepared);
    let mut metrics = BTreeMap::new();
    let winner = outcome.tested_winner();
    add_metrics(&mut metrics, test.as_str(), &winner.evaluation);
    let baseline = outcome.tested_baseline();
    if baseline.trial != winner.trial {
        add_metrics(
            &mut metrics,
            &format!("baseline_{test}"),
            &baseline.evaluation,
        );
    }
    if validation != test {
        add_metrics(
            &mut metrics,
            "validation",
            &outcome.validated[outcome.winner].validation,
        );
    }
    for (fold, number) in outcome.folds.iter().zip(1..) {
        for (prefix, evaluation) in [
            (test.as_str().to_owned(), &fold.winner),
            (format!("baseline_{test}"), &fold.baseline),
        ] {
            for (name, metric) in [
                ("roc_auc", &evaluation.roc_auc),
                ("average_precision", &evaluation.average_precision),
                ("event_recall", &evaluation.event_recall),
                (
                    "false_alerts_per_symbol_day",
                    &evaluation.false_alerts_per_symbol_day,
                ),
            ] {
                metrics.insert(format!("{prefix}_{name}.fold_{number}"), metric.clone());
            }
        }
    }
    metrics.insert(
        "threshold".to_owned(),
        Metric::Value(outcome.model.threshold.neg_log10_tail),
    );
    metrics
}

fn add_metrics(metrics: &mut BTreeMap<String, Metric>, prefix: &str, evaluation: &Evaluation) {
    let mut add = |name: &str, metric: &Metric| {
        metrics.insert(format!("{prefix}_{name}"), metric.clone());
    };
    add("roc_auc", &evaluation.roc_auc);
    add("average_precision", &evaluation.average_precision);
    add("precision", &evaluation.precision);
    add("recall", &evaluation.recall);
    add("f1", &evaluation.f1);
    #[expect(clippy::cast_precision_loss, reason = "row counts are far below 2^53")]
    let count = |count: u64| Metric::Value(count as f64);
    add("rows", &count(evaluation.n_rows));
    add("labelled_rows", &count(evaluation.n_labelled_rows));
    add("flagged_rows", &count(evaluation.n_flagged_rows));
    if evaluation.symbol_days.value().is_some() {
        add("event_recall", &evaluation.event_recall);
        add("events", &count(evaluation.n_events));
        add(
            "false_alerts_per_symbol_day",
            &evaluation.false_alerts_per_symbol_day,
        );
        add(
            "false_episodes_per_symbol_day",
            &evaluation.false_episodes_per_symbol_day,
        );
        let delay = match &evaluation.median_delay_us {
            Metric::Value(delay) => Metric::Value(delay / 1e6),
            undefined => undefined.clone(),
        };
        add("median_delay_seconds", &delay);
        if let Some(budget) = &evaluation.at_budget {
            add("recall_at_budget", &budget.rows.row_recall);
            add("event_recall_at_budget", &budget.rows.event_recall);
        }
    }
    for group in &evaluation.by_kind {
        add(&format!("event_recall.{}", group.name), &group.event_recall);
    }
    if let Some(intervals) = &evaluation.intervals {
        let all = [
            ("roc_auc", &intervals.roc_auc),
            ("average_precision", &intervals.average_precision),
            ("precision", &intervals.precision),
            ("recall", &intervals.recall),
            ("f1", &intervals.f1),
            ("event_recall", &intervals.event_recall),
            (
                "false_alerts_per_symbol_day",
                &intervals.false_alerts_per_symbol_day,
            ),
        ];
        for (name, interval) in all {
            if let Some((low, high)) = interval.bounds() {
                add(&format!("{name}.low"), &Metric::Value(low));
                add(&format!("{name}.high"), &Metric::Value(high));
            }
        }
    }
}

/// Parameters of the run: what the experiment says, flat, and the winner's own.
fn params(file: &ExperimentFile, outcome: &Outcome) -> anyhow::Result<BTreeMap<String, String>> {
    let mut params = BTreeMap::new();
    let mut sections = serde_json::to_value(&file.experiment)?;
    if let Some(sections) = sections.as_object_mut() {
        sections.remove("candidates");
    }
    flatten("", &sections, &mut params);
    let mut params = as_in_the_file(params, file);
    let trial = &outcome.validated[outcome.winner].trial;
    params.insert("candidate".to_owned(), trial.candidate.clone());
    params.insert("scope".to_owned(), trial.scope.as_str().to_owned());
    flatten("", &serde_json::to_value(&trial.params)?, &mut params);
    Ok(params)
}

/// Gives parameters the keys and the units of the experiment file.
fn as_in_the_file(
    params: BTreeMap<String, String>,
    file: &ExperimentFile,
) -> BTreeMap<String, String> {
    const RENAMED: [(&str, &str); 8] = [
        ("name", "experiment.name"),
        ("seed", "experiment.seed"),
        ("features.engine", "features.use"),
        ("features.columns", "features.use"),
        (
            "evaluate.threshold.alerts_per_symbol_day",
            "evaluate.alerts_per_symbol_day",
        ),
        ("evaluate.threshold.quantile", "evaluate.threshold_quantile"),
        ("split.purge.duration", "split.purge"),
        ("features.config.interval", "data.interval"),
    ];
    const MOVED: [(&str, &str); 2] = [
        ("features.config.", "features."),
        ("data.simulate.", "simulate."),
    ];
    const INSTANTS: [&str; 4] = [
        "data.from",
        "data.to",
        "split.train_until",
        "split.validation_until",
    ];
    const DURATIONS: [&str; 4] = [
        "features.allowed_lateness",
        "features.macro_window",
        "features.macro_baseline",
        "split.purge",
    ];
    let interval_us = file.experiment.data.interval.map(market::Interval::micros);
    let mut named = BTreeMap::new();
    for (key, value) in params {
        let renamed = RENAMED.iter().find(|(from, _)| *from == key);
        let moved = MOVED
            .iter()
            .find_map(|(from, to)| Some(format!("{to}{}", key.strip_prefix(from)?)));
        let key = match renamed {
            Some((_, to)) => (*to).to_owned(),
            None => moved.unwrap_or(key),
        };
        let number: Option<i64> = value.parse().ok();
        let value = match (key.as_str(), number, interval_us) {
            // Counted in candles, written as a time.
            ("features.max_gap", Some(candles), Some(interval)) => {
                duration_text(candles.saturating_mul(interval))
            }
            (key, Some(us), _) if INSTANTS.contains(&key) => {
                jiff::Timestamp::from_microsecond(us).map_or(value, |instant| instant.to_string())
            }
            (key, Some(us), _) if DURATIONS.contains(&key) => duration_text(us),
            _ => value,
        };
        // An empty list stands for a key that isn't there.
        if value != "[]" {
            named.insert(key, value);
        }
    }
    named
}

/// A duration as an experiment file says it, in the largest unit that keeps it whole.
fn duration_text(us: i64) -> String {
    const UNITS: [(&str, i64); 5] = [
        ("d", 86_400_000_000),
        ("h", 3_600_000_000),
        ("m", 60_000_000),
        ("s", 1_000_000),
        ("ms", 1_000),
    ];
    UNITS
        .iter()
        .find(|(_, size)| us != 0 && us % size == 0)
        .map_or_else(
            || format!("{us}us"),
            |(unit, size)| format!("{}{unit}", us / size),
        )
}

fn flatten(prefix: &str, value: &Value, params: &mut BTreeMap<String, String>) {
    match value {
        Value::Object(map) => {
            for (key, value) in map {
                let path = if prefix.is_empty() {
                    key.clone()
                } else {
                    format!("{prefix}.{key}")
                };
                flatten(&path, value, params);
            }
        }
        Value::Null => {}
        Value::String(text) => {
            params.insert(prefix.to_owned(), text.clone());
        }
        other => {
            params.insert(prefix.to_owned(), other.to_string());
        }
    }
}

/// Writes every artifact into `stage` and says what else is to be published.
///
/// # Errors
/// When a file can't be written or a chart can't be drawn.
pub(super) fn stage(
    file: &ExperimentFile,
    outcome: &Outcome,
    state: &RunState,
    stage: &Stage,
    tags: BTreeMap<String, String>,
) -> anyhow::Result<Bundle> {
    let params = params(file, outcome)?;
    let now = jiff::Timestamp::now();
    let label = RunLabel {
        run_id: &state.run_id,
        run_name: &state.run_name,
        created: now.as_microsecond(),
        parameters: params
            .iter()
            .map(|(key, value)| (key.clone(), value.clone()))
            .collect(),
        tags: &tags,
    };
    let report = report_data(file, outcome, &label);
    stage.write_artifact(REPORT, render_html(&report).as_bytes())?;
    for (name, bytes) in render_pngs(&report)? {
        stage.write_artifact(&format!("report/{name}"), &bytes)?;
    }
    let tested: Vec<Value> = outcome
        .tested
        .iter()
        .map(|tested| json!({ "candidate": outcome.validated[tested.trial].trial.candidate, "test": tested.evaluation }))
        .collect();
    let folds: Vec<Value> = outcome
        .folds
        .iter()
        .map(|fold| {
            json!({
                "from_us": fold.from,
                "to_us": fold.to,
                "winner": fold.winner,
                "baseline": fold.baseline,
            })
        })
        .collect();
    let trials: Vec<Value> = outcome
        .validated
        .iter()
        .map(|trial| {
            json!({
                "candidate": trial.trial.candidate,
                "scope": trial.trial.scope,
                "params": trial.trial.params,
                "validation_average_precision": trial.validation.average_precision,
                "validation_roc_auc": trial.validation.roc_auc,
            })
        })
        .collect();
    let pretty = |value: &Value| serde_json::to_vec_pretty(value);
    stage.write_artifact(
        "evaluation.json",
        &pretty(&json!({ "tested": tested, "folds": folds, "trials": trials }))?,
    )?;
    stage.write_artifact(
        "data.json",
        &pretty(&serde_json::to_value(&outcome.fingerprint)?)?,
    )?;
    stage.write_artifact("experiment.toml", file.text.as_bytes())?;

    let native = outcome.model.to_bytes()?;
    let folder = ModelFolder {
        run_id: &state.run_id,
        detector: outcome.validated[outcome.winner].trial.params.name(),
        features: &outcome.model.feature_names,
        example: &outcome.example,
        native: &native,
        engine: &outcome.model.engine,
        baseline: &serde_json::to_value(&outcome.model.baseline)?,
        threshold: &serde_json::to_value(outcome.model.threshold)?,
        created: &now.strftime("%Y-%m-%d %H:%M:%S.%6f").to_string(),
        model_uuid: &uuid::Uuid::new_v4().simple().to_string(),
    };
    for (name, bytes) in model_folder::files(&folder)? {
        stage.write_artifact(&format!("model/{name}"), &bytes)?;
    }

    let all = metrics(outcome);
    let summary = RunSummary {
        run_id: state.run_id.clone(),
        run_name: state.run_name.clone(),
        experiment_id: state.experiment_id.clone(),
        model_name: None,
        model_version: None,
        candidate: outcome.validated[outcome.winner].trial.candidate.clone(),
        metrics: all.clone(),
        report: format!("{}/{REPORT}", state.artifact_uri),
        tracking_uri: String::new(),
        verdict: verdict(file, outcome).sentence(),
        table: table(outcome),
    };
    let mut version_tags = BTreeMap::new();
    for key in [
        "foreshock.data.sha256",
        "foreshock.seed",
        "mlflow.source.git.commit",
    ] {
        if let Some(value) = tags.get(key) {
            version_tags.insert(key.to_owned(), value.clone());
        }
    }
    version_tags.insert("foreshock.detector".to_owned(), folder.detector.to_owned());
    Ok(Bundle {
        params,
        tags,
        metrics: all
            .into_iter()
            .filter_map(|(name, metric)| metric.value().map(|value| (name, value)))
            .collect(),
        register: file.experiment.register.clone(),
        version_tags,
        summary: serde_json::to_value(&summary)?,
    })
}

/// The metrics that people look at first, candidates side by side.
fn table(outcome: &Outcome) -> Vec<Vec<String>> {
    type Get = for<'e> fn(&'e Evaluation) -> (&'e Metric, Option<(f64, f64)>);
    let has_time = outcome.prepared.interval_us.is_some();
    let mut rows: Vec<(&str, Get)> = vec![
        ("average precision", |e| {
            (
                &e.average_precision,
                e.intervals
                    .as_ref()
                    .and_then(|i| i.average_precision.bounds()),
            )
        }),
        ("ROC AUC", |e| {
            (
                &e.roc_auc,
                e.intervals.as_ref().and_then(|i| i.roc_auc.bounds()),
            )
        }),
        ("precision", |e| {
            (
                &e.precision,
                e.intervals.as_ref().and_then(|i| i.precision.bounds()),
            )
        }),
        ("recall", |e| {
            (
                &e.recall,
                e.intervals.as_ref().and_then(|i| i.recall.bounds()),
            )
        }),
        ("F1", |e| {
            (&e.f1, e.intervals.as_ref().and_then(|i| i.f1.bounds()))
        }),
    ];
    if has_time {
        rows.push(("events caught", |e| {
            (
                &e.event_recall,
                e.intervals.as_ref().and_then(|i| i.event_recall.bounds()),
            )
        }));
        rows.push(("false alerts per symbol and day", |e| {
            (
                &e.false_alerts_per_symbol_day,
                e.intervals
                    .as_ref()
                    .and_then(|i| i.false_alerts_per_symbol_day.bounds()),
            )
        }));
    }
    let header = outcome
        .tested
        .iter()
        .map(|tested| outcome.validated[tested.trial].trial.candidate.clone());
    let mut table = vec![
        std::iter::once(String::new())
            .chain(header)
            .collect::<Vec<String>>(),
    ];
    for (name, get) in rows {
        let cells = outcome
            .tested
            .iter()
            .map(|tested| match get(&tested.evaluation) {
                (Metric::Value(value), Some((low, high))) => {
                    format!("{value:.3} [{low:.3}, {high:.3}]")
                }
                (Metric::Value(value), None) => format!("{value:.3}"),
                (Metric::Undefined { reason }, _) => format!("undefined: {reason}"),
            });
        table.push(std::iter::once(name.to_owned()).chain(cells).collect());
    }
    table
}

impl Render for RunSummary {
    fn render_table(&self) -> String {
        let mut text = String::new();
        if let Some((header, rows)) = self.table.split_first() {
            let header: Vec<&str> = header.iter().map(String::as_str).collect();
            text.push_str(&output::table(&header, rows));
        }
        text.push_str(&format!("\n\n{}\n\n", self.verdict));
        let model = match (&self.model_name, &self.model_version) {
            (Some(name), Some(version)) => format!("{name}, version {version}"),
            _ => "not registered".to_owned(),
        };
        for (name, value) in [
            ("model", &model),
            ("run", &format!("{} ({})", self.run_name, self.run_id)),
            ("report", &self.report),
            ("registry", &self.tracking_uri),
        ] {
            text.push_str(&format!("{name:<9} {value}\n"));
        }
        text
    }

    fn render_json(&self) -> anyhow::Result<Value> {
        let mut value = serde_json::to_value(self)?;
        if let Some(map) = value.as_object_mut() {
            map.remove("table");
        }
        Ok(value)
    }
}

/// How the split is said in words.
pub(super) fn split_words(method: SplitMethod) -> &'static str {
    match method {
        SplitMethod::Time => "in event time",
        SplitMethod::WalkForward => "in event time, walking forward",
        SplitMethod::InSample => "in sample: the same rows are fitted, scored and judged",
    }
}
