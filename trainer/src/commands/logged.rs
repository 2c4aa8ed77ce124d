//! What the registry is told of a run: tags, metrics, parameters.

use std::collections::BTreeMap;

use detectors::evaluation::{Evaluation, Metric};
use serde_json::Value;

use crate::config::ExperimentFile;
use crate::pipeline::{Outcome, judge};

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
