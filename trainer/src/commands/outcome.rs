//! From an outcome to what is registered and what is printed.

use std::collections::BTreeMap;

use detectors::evaluation::{Evaluation, Metric, OperatingPoint};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::report_data::{RunLabel, alert_budget, report_data, verdict};
use crate::config::{ExperimentFile, SplitMethod};
use crate::output::{self, Render};
use crate::pipeline::{Fold, Outcome, judge};
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
    /// The same fold by fold, where the run walked forward: fold, what it tested, events, average precision.
    #[serde(skip_serializing_if = "Vec::is_empty", default)]
    folds: Vec<Vec<String>>,
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
        folds: fold_rows(&outcome.folds, outcome.prepared.interval_us.unwrap_or(0)),
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
                (metric, _) => plain(metric),
            });
        table.push(std::iter::once(name.to_owned()).chain(cells).collect());
    }
    if let Some(budget) = alert_budget(outcome) {
        let evaluations: Vec<&Evaluation> = outcome
            .tested
            .iter()
            .map(|tested| &tested.evaluation)
            .collect();
        table.extend(budget_rows(budget, &evaluations));
    }
    table
}

/// A metric without interval, or why there is none.
fn plain(metric: &Metric) -> String {
    match metric {
        Metric::Value(value) => format!("{value:.3}"),
        Metric::Undefined { reason } => format!("undefined: {reason}"),
    }
}

/// What each model would catch if its false alerts on the test data were as many as the budget allows.
fn budget_rows(budget: f64, evaluations: &[&Evaluation]) -> Vec<Vec<String>> {
    let row = |name: String, of: fn(&OperatingPoint) -> &Metric| {
        let cells = evaluations
            .iter()
            .map(|evaluation| match &evaluation.at_budget {
                Some(at_budget) => plain(of(&at_budget.rows)),
                None => "undefined: no alert budget".to_owned(),
            });
        std::iter::once(name).chain(cells).collect()
    };
    let of_budget = format!("at the alert budget of {budget}");
    vec![
        row(format!("event recall {of_budget}"), |point| {
            &point.event_recall
        }),
        row(format!("recall {of_budget}"), |point| &point.row_recall),
    ]
}

/// One row per fold: what it tested, and how the winner and the baseline did there.
fn fold_rows(folds: &[Fold], interval_us: i64) -> Vec<Vec<String>> {
    let minute = |micros: i64| match jiff::Timestamp::from_microsecond(micros) {
        Ok(time) => time.strftime("%Y-%m-%d %H:%M").to_string(),
        Err(_) => format!("{micros} µs"),
    };
    folds
        .iter()
        .zip(1..)
        .map(|(fold, number)| {
            let n_caught = fold.winner.events.iter().filter(|event| event.caught);
            vec![
                format!("{number}"),
                format!("{} to {}", minute(fold.from), minute(fold.to + interval_us)),
                format!("{} of {}", n_caught.count(), fold.winner.n_events),
                plain(&fold.winner.average_precision),
                plain(&fold.baseline.average_precision),
            ]
        })
        .collect()
}

impl Render for RunSummary {
    fn render_table(&self) -> String {
        let mut text = String::new();
        if let Some((header, rows)) = self.table.split_first() {
            let header: Vec<&str> = header.iter().map(String::as_str).collect();
            text.push_str(&output::table(&header, rows));
        }
        if !self.folds.is_empty() {
            let header = [
                "fold",
                "tested (UTC)",
                "events caught",
                "average precision",
                "largest |z|",
            ];
            text.push_str(&format!("\n\n{}", output::table(&header, &self.folds)));
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
            map.remove("folds");
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

#[cfg(test)]
mod tests {
    use detectors::evaluation::{EvaluationOptions, EventInfo, Labels, Scored, evaluate};

    use super::*;

    /// A day of minutes, the first four labelled as one event, of which the model ranks `n_found` on top and flags
    /// them.
    fn evaluation(n_found: usize) -> Evaluation {
        let n = 1440_usize;
        let time: Vec<i64> = (0..1440).map(|minute| minute * 60_000_000).collect();
        let rank = |row: usize| if row < n_found { row + 10_000 } else { row };
        let score: Vec<f64> = (0..n).map(|row| rank(row) as f64).collect();
        let event: Vec<u32> = (0..n).map(|row| u32::from(row < 4)).collect();
        let events = [EventInfo {
            kind: "pump".to_owned(),
            start: 0,
            end: time[4],
            magnitude: None,
            symbol: 0,
        }];
        let flag: Vec<bool> = (0..n).map(|row| row < n_found).collect();
        let scored = Scored {
            time: Some(&time),
            interval_us: Some(60_000_000),
            symbol: &vec![0; n],
            symbols: &["A".to_owned()],
            score: &score,
            flag: &flag,
            labels: Labels::Events {
                event: &event,
                events: &events,
            },
        };
        let options = EvaluationOptions {
            alerts_per_symbol_day: Some(2.0),
            ..EvaluationOptions::default()
        };
        evaluate(&scored, &options).unwrap()
    }

    #[test]
    fn models_are_compared_at_the_same_number_of_false_alerts() {
        let rows = budget_rows(2.0, &[&evaluation(4), &evaluation(2), &evaluation(0)]);
        assert_eq!(
            rows,
            [
                [
                    "event recall at the alert budget of 2",
                    "1.000",
                    "1.000",
                    "0.000"
                ],
                ["recall at the alert budget of 2", "1.000", "0.500", "0.000"]
            ]
        );
    }

    #[test]
    fn folds_are_told_one_by_one() {
        let fold = Fold {
            from: 86_400_000_000,
            to: 2 * 86_400_000_000 - 60_000_000,
            winner: evaluation(4),
            baseline: evaluation(0),
        };
        let rows = fold_rows(&[fold], 60_000_000);
        assert_eq!(
            rows[0][..4],
            [
                "1",
                "1970-01-02 00:00 to 1970-01-03 00:00",
                "1 of 1",
                "1.000"
            ]
        );
        let baseline: f64 = rows[0][4].parse().unwrap();
        assert!(baseline < 0.01, "{baseline}");
        let summary = RunSummary {
            run_id: String::new(),
            run_name: String::new(),
            experiment_id: String::new(),
            model_name: None,
            model_version: None,
            candidate: String::new(),
            metrics: BTreeMap::new(),
            report: String::new(),
            tracking_uri: String::new(),
            verdict: "the verdict".to_owned(),
            table: Vec::new(),
            folds: rows,
        };
        let text = summary.render_table();
        let (line, verdict) = (text.find("1 of 1").unwrap(), text.find("the verdict"));
        assert!(line < verdict.unwrap(), "{text}");
        assert!(summary.render_json().unwrap().get("folds").is_none());
    }
}
