//! Columns and rows of numbers: metrics with their intervals, by kind, fold and symbol.

use detectors::evaluation::{Evaluation, Interval, Metric as Measured, OperatingPoint};
use detectors::{DetectorParams, ForestForm};

use super::detector_words;
use crate::pipeline::{Fold, Outcome, Tested};
use crate::report::{
    Column, Estimate, FoldRow, Group, GroupCell, Metric, SymbolRow, TimeRange, Unit,
};

pub(super) fn column(outcome: &Outcome, tested: &Tested) -> Column {
    let trial = &outcome.validated[tested.trial].trial;
    let detail = match &trial.params {
        DetectorParams::IsolationForest(config) => {
            let trees = format!("{} trees of {} rows", config.n_trees, config.sample_size);
            match config.form {
                ForestForm::Extended => format!("extended, {trees}"),
                ForestForm::SciForest => format!("SCiForest, {trees}"),
                ForestForm::FairCut => format!("fair-cut, {trees}"),
                ForestForm::Classic => trees,
            }
        }
        DetectorParams::MaxZ(_) => "against training mean and deviation".to_owned(),
        DetectorParams::Consensus(config) => {
            let members: Vec<&str> = config
                .members
                .iter()
                .map(|member| detector_words(member.name()))
                .collect();
            format!("of {}", members.join(", "))
        }
        other => detector_words(other.name()).to_owned(),
    };
    Column {
        name: trial.candidate.clone(),
        detail,
        baseline: tested.trial + 1 == outcome.validated.len(),
        reported: tested.trial == outcome.winner,
    }
}

fn estimate(measured: &Measured, interval: Option<&Interval>) -> Estimate {
    match measured {
        Measured::Value(value) => Estimate::Value {
            value: *value,
            interval: interval.and_then(Interval::bounds),
        },
        Measured::Undefined { reason } => Estimate::undefined(reason.clone()),
    }
}

pub(super) fn metrics(outcome: &Outcome) -> Vec<Metric> {
    type Get = for<'e> fn(&'e Evaluation) -> (&'e Measured, Option<&'e Interval>);
    let mut rows: Vec<(&str, &str, Unit, Get)> = vec![
        (
            "Average precision",
            "area under the precision–recall curve, over rows",
            Unit::Score,
            |e| {
                (
                    &e.average_precision,
                    e.intervals.as_ref().map(|i| &i.average_precision),
                )
            },
        ),
        (
            "ROC AUC",
            "the chance that an anomalous row outranks a normal one",
            Unit::Score,
            |e| (&e.roc_auc, e.intervals.as_ref().map(|i| &i.roc_auc)),
        ),
        (
            "Precision",
            "flagged rows that are anomalous",
            Unit::Percent,
            |e| (&e.precision, e.intervals.as_ref().map(|i| &i.precision)),
        ),
        (
            "Recall",
            "anomalous rows that are flagged",
            Unit::Percent,
            |e| (&e.recall, e.intervals.as_ref().map(|i| &i.recall)),
        ),
        (
            "F1",
            "harmonic mean of precision and recall",
            Unit::Score,
            |e| (&e.f1, e.intervals.as_ref().map(|i| &i.f1)),
        ),
    ];
    if outcome.tested_winner().evaluation.n_events > 0 {
        rows.push((
            "Events caught",
            "events with at least one alert",
            Unit::Percent,
            |e| {
                (
                    &e.event_recall,
                    e.intervals.as_ref().map(|i| &i.event_recall),
                )
            },
        ));
    }
    if outcome.prepared.interval_us.is_some() {
        rows.push((
            "False alerts",
            "flagged rows outside of every event",
            Unit::PerSymbolDay,
            |e| {
                (
                    &e.false_alerts_per_symbol_day,
                    e.intervals.as_ref().map(|i| &i.false_alerts_per_symbol_day),
                )
            },
        ));
        rows.push((
            "False episodes",
            "runs of such rows",
            Unit::PerSymbolDay,
            |e| {
                (
                    &e.false_episodes_per_symbol_day,
                    e.intervals
                        .as_ref()
                        .map(|i| &i.false_episodes_per_symbol_day),
                )
            },
        ));
    }
    rows.into_iter()
        .map(|(name, help, unit, get)| Metric {
            name: name.to_owned(),
            help: help.to_owned(),
            unit,
            values: outcome
                .tested
                .iter()
                .map(|tested| {
                    let (value, interval) = get(&tested.evaluation);
                    estimate(value, interval)
                })
                .collect(),
        })
        .chain(at_budget(outcome))
        .collect()
}

/// What every model would catch at the same number of false alerts; empty without a budget.
fn at_budget(outcome: &Outcome) -> Vec<Metric> {
    let Some(budget) = alert_budget(outcome) else {
        return Vec::new();
    };
    let row = |name: &str, of: fn(&OperatingPoint) -> &Measured| Metric {
        name: name.to_owned(),
        help: format!(
            "with each threshold moved until the test data have {budget} false alerts per symbol and day"
        ),
        unit: Unit::Percent,
        values: outcome
            .tested
            .iter()
            .map(|tested| match &tested.evaluation.at_budget {
                Some(at_budget) => estimate(of(&at_budget.rows), None),
                None => Estimate::undefined("no alert budget"),
            })
            .collect(),
    };
    let mut rows = Vec::new();
    if outcome.tested_winner().evaluation.n_events > 0 {
        rows.push(row("Event recall at the alert budget", |point| {
            &point.event_recall
        }));
    }
    rows.push(row("Recall at the alert budget", |point| &point.row_recall));
    rows
}

/// The alert budget, where there is one and the data have time.
pub(in crate::commands) fn alert_budget(outcome: &Outcome) -> Option<f64> {
    let evaluation = &outcome.tested_winner().evaluation;
    evaluation.symbol_days.value()?;
    let at_budget = evaluation.at_budget.as_ref()?;
    Some(at_budget.alerts_per_symbol_day)
}

pub(super) fn groups(
    outcome: &Outcome,
    of: impl Fn(&Evaluation) -> &Vec<detectors::evaluation::GroupEvaluation>,
) -> Vec<Group> {
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        clippy::cast_precision_loss,
        reason = "a count of events"
    )]
    let cell = |group: &detectors::evaluation::GroupEvaluation| GroupCell {
        caught: (group.event_recall.value().unwrap_or(0.0) * group.n_events as f64).round() as u64,
        recall: estimate(&group.event_recall, None),
        median_delay: group.median_delay_us.value().map(|delay| delay / 1e6),
    };
    of(&outcome.tested_winner().evaluation)
        .iter()
        .map(|group| Group {
            label: group.name.clone(),
            events: group.n_events,
            cells: outcome
                .tested
                .iter()
                .map(|tested| {
                    let same = of(&tested.evaluation)
                        .iter()
                        .find(|other| other.name == group.name);
                    same.map(cell).unwrap_or_default()
                })
                .collect(),
        })
        .collect()
}

pub(super) fn folds(outcome: &Outcome) -> Vec<FoldRow> {
    let interval = outcome.prepared.interval_us.unwrap_or(0);
    let row = |fold: &Fold| FoldRow {
        range: TimeRange {
            start: fold.from,
            end: fold.to + interval,
        },
        events: fold.winner.n_events,
        caught: fold
            .winner
            .events
            .iter()
            .filter(|event| event.caught)
            .count() as u64,
        average_precision: estimate(&fold.winner.average_precision, None),
        roc_auc: estimate(&fold.winner.roc_auc, None),
        false_alerts: estimate(&fold.winner.false_alerts_per_symbol_day, None),
        baseline: estimate(&fold.baseline.average_precision, None),
    };
    outcome.folds.iter().map(row).collect()
}

pub(super) fn symbols(evaluation: &Evaluation) -> Vec<SymbolRow> {
    evaluation
        .by_symbol
        .iter()
        .map(|symbol| SymbolRow {
            symbol: symbol.symbol.clone(),
            rows: symbol.n_rows,
            events: symbol.n_events,
            caught: symbol.n_events_caught,
            false_alerts: symbol.n_false_alerts,
            false_alerts_per_day: estimate(&symbol.false_alerts_per_day, None),
            threshold: None,
        })
        .collect()
}
