//! What `trainer run` prints.

use std::collections::BTreeMap;

use detectors::evaluation::{Evaluation, Metric, OperatingPoint};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::report_data::alert_budget;
use crate::config::SplitMethod;
use crate::output::{self, Render};
use crate::pipeline::{Fold, Outcome};
use crate::tracking::Tracking;

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
    pub(super) table: Vec<Vec<String>>,
    /// The candidates' best trials, the best on validation data first, the baseline last.
    #[serde(default)]
    pub leaderboard: Vec<Value>,
    /// The share of resampled test data on which another candidate does better than the winner.
    #[serde(default)]
    pub flip_probability: Option<f64>,
    /// Trials that failed, and why.
    #[serde(default)]
    pub failed: Vec<String>,
    /// Features that seem to know events before they begin.
    #[serde(default)]
    pub suspicions: Vec<String>,
    /// The leaderboard as text, where there are several candidates.
    #[serde(skip_serializing_if = "Vec::is_empty", default)]
    pub(super) leader_rows: Vec<Vec<String>>,
    /// The same fold by fold, where the run walked forward: fold, what it tested, events, average precision.
    #[serde(skip_serializing_if = "Vec::is_empty", default)]
    pub(super) folds: Vec<Vec<String>>,
}

impl RunSummary {
    /// Fills in what only the registry knew.
    pub(super) fn set_published(&mut self, tracking: &Tracking, model: Option<(String, String)>) {
        tracking.uri().clone_into(&mut self.tracking_uri);
        self.report = tracking.locate(&self.report);
        (self.model_name, self.model_version) = model.unzip();
    }
}

/// The metrics that people look at first, candidates side by side.
pub(super) fn table(outcome: &Outcome) -> Vec<Vec<String>> {
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
pub(super) fn fold_rows(folds: &[Fold], interval_us: i64) -> Vec<Vec<String>> {
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
        // Of many candidates, the metrics side by side are wider than any terminal.
        let shown = match self.leader_rows.is_empty() {
            true => &self.table,
            false => &self.leader_rows,
        };
        if let Some((header, rows)) = shown.split_first() {
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
        for line in self.failed.iter().chain(&self.suspicions) {
            text.push_str(&format!("\n{line}"));
        }
        if let Some(chance) = self.flip_probability {
            text.push_str(&format!(
                "\nanother candidate does better than the winner on {:.0} % of resampled test data",
                chance * 100.0
            ));
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
            map.remove("leader_rows");
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
            leaderboard: Vec::new(),
            flip_probability: None,
            failed: Vec::new(),
            suspicions: Vec::new(),
            leader_rows: Vec::new(),
            folds: rows,
        };
        let text = summary.render_table();
        let (line, verdict) = (text.find("1 of 1").unwrap(), text.find("the verdict"));
        assert!(line < verdict.unwrap(), "{text}");
        assert!(summary.render_json().unwrap().get("folds").is_none());
    }
}
