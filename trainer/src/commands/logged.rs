//! What the registry is told of a run: tags, metrics, parameters.

use std::collections::BTreeMap;
use std::time::Duration;

use detectors::evaluation::{Evaluation, Metric};
use serde_json::Value;

use crate::config::ExperimentFile;
use crate::pipeline::fit::{Record, Trial};
use crate::pipeline::{Outcome, judge};
use crate::tracking::{Point, TrialRun};

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
    if !outcome.suspicions.is_empty() {
        let names: Vec<&str> = outcome
            .suspicions
            .iter()
            .map(|s| s.feature.as_str())
            .collect();
        tags.insert("foreshock.suspicious_features".to_owned(), names.join(", "));
    }
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
    let record = &outcome.validated[outcome.winner].record;
    for (name, value) in facts(record) {
        metrics.insert(name, Metric::Value(value));
    }
    metrics.insert(
        "threshold".to_owned(),
        Metric::Value(outcome.model.threshold.neg_log10_tail),
    );
    metrics
}

/// What was found while fitting, by name; of several of a name, as the members of a consensus
/// have them, the later ones are numbered.
pub(super) fn facts(record: &Record) -> Vec<(String, f64)> {
    let mut seen: BTreeMap<&str, usize> = BTreeMap::new();
    let facts = record.facts.iter().filter(|(_, value)| value.is_finite());
    facts
        .map(|(name, value)| {
            let n = seen.entry(name).or_default();
            *n += 1;
            (numbered(name, *n), *value)
        })
        .collect()
}

/// The losses epoch by epoch. Where several networks were trained, one after the other, those of the
/// later ones are numbered.
pub(super) fn losses(record: &Record) -> Vec<Point> {
    let (mut points, mut n_networks, mut last) = (Vec::new(), 1, 0);
    for epoch in &record.epochs {
        if epoch.number <= last {
            n_networks += 1;
        }
        last = epoch.number;
        let losses = [
            ("train_loss", Some(epoch.train_loss)),
            ("validation_loss", epoch.validation_loss),
        ];
        for (name, loss) in losses {
            if let Some(value) = loss.filter(|loss| loss.is_finite()) {
                points.push(Point {
                    name: numbered(name, n_networks),
                    step: i64::try_from(last).unwrap_or(i64::MAX),
                    value,
                });
            }
        }
    }
    points
}

fn numbered(name: &str, n: usize) -> String {
    match n {
        1 => name.to_owned(),
        n => format!("{name}.{n}"),
    }
}

/// Every trial as a run of its own below the run; none where there was but one and it succeeded.
pub(super) fn trial_runs(outcome: &Outcome) -> anyhow::Result<Vec<TrialRun>> {
    let n_tried = outcome.validated.len() - 1;
    if n_tried == 1 && outcome.failed.is_empty() && outcome.dropped.is_empty() {
        return Ok(Vec::new());
    }
    let mut runs = Vec::new();
    let (_, _, test) = judge::parts(&outcome.prepared);
    for (at, validated) in outcome.validated.iter().enumerate() {
        let trial = &validated.trial;
        let mut run = trial_run(trial, &validated.record, validated.spent)?;
        let mut metrics = BTreeMap::new();
        add_metrics(&mut metrics, "validation", &validated.validation);
        if let Some(tested) = outcome.tested.iter().find(|tested| tested.trial == at) {
            add_metrics(&mut metrics, test.as_str(), &tested.evaluation);
        }
        let threshold = Metric::Value(validated.threshold.neg_log10_tail);
        metrics.insert("threshold".to_owned(), threshold);
        for (name, metric) in metrics {
            match metric {
                Metric::Value(value) => drop(run.metrics.insert(name, value)),
                Metric::Undefined { reason } => {
                    drop(run.tags.insert(format!("undefined.{name}"), reason))
                }
            }
        }
        if at == outcome.winner {
            run.tags
                .insert("foreshock.winner".to_owned(), "true".to_owned());
        }
        runs.push(run);
    }
    for failed in &outcome.failed {
        let mut run = trial_run(&failed.trial, &failed.record, failed.spent)?;
        run.failed = true;
        run.tags
            .insert("foreshock.error".to_owned(), failed.reason.clone());
        runs.push(run);
    }
    for dropped in &outcome.dropped {
        let mut run = trial_run(&dropped.trial, &dropped.record, dropped.spent)?;
        run.tags
            .insert("foreshock.dropped".to_owned(), dropped.reason.clone());
        if let Some(value) = dropped.average_precision.value() {
            let name = "validation_average_precision".to_owned();
            run.metrics.insert(name, value);
        }
        runs.push(run);
    }
    runs.sort_by_key(|run| run.number);
    // A candidate that failed in a later fold was tried before: it failed.
    runs.dedup_by(|later, first| {
        let same = later.number == first.number;
        if same && later.failed {
            first.failed = true;
            first.tags.append(&mut later.tags);
        }
        same
    });
    Ok(runs)
}

fn trial_run(trial: &Trial, record: &Record, spent: Duration) -> anyhow::Result<TrialRun> {
    let mut params = BTreeMap::new();
    params.insert("candidate".to_owned(), trial.candidate.clone());
    params.insert("scope".to_owned(), trial.scope.as_str().to_owned());
    flatten("", &serde_json::to_value(&trial.params)?, &mut params);
    let name = match trial.number {
        0 => "baseline".to_owned(),
        number => format!("{} {number}", trial.candidate),
    };
    let mut metrics = BTreeMap::from_iter(facts(record));
    metrics.insert("seconds".to_owned(), spent.as_secs_f64());
    Ok(TrialRun {
        number: trial.number,
        name,
        failed: false,
        seconds: spent.as_secs_f64(),
        params,
        tags: BTreeMap::from([(
            "foreshock.detector".to_owned(),
            trial.params.name().to_owned(),
        )]),
        metrics,
        points: losses(record),
    })
}

/// Adds what `evaluation` measured, each name after `prefix`.
pub(super) fn add_metrics(
    metrics: &mut BTreeMap<String, Metric>,
    prefix: &str,
    evaluation: &Evaluation,
) {
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
pub(super) fn params(
    file: &ExperimentFile,
    outcome: &Outcome,
) -> anyhow::Result<BTreeMap<String, String>> {
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
