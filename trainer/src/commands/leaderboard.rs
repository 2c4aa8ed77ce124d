//! The candidates' best trials from the best on validation data down, with what test data say of them.

use detectors::evaluation::{Evaluation, Interval, Metric};
use history::Table;
use serde::Serialize;

use crate::pipeline::{Outcome, Tested};
use crate::report::{Estimate, LeaderRow};

/// A candidate's best trial.
#[derive(Debug, Clone, Serialize)]
pub(super) struct Leader {
    /// Its place by average precision on validation data, from 1; `None` for the baseline, which
    /// can't be chosen.
    rank: Option<u64>,
    candidate: String,
    detector: &'static str,
    trial: u64,
    params: String,
    /// Trials of the candidate that were tried to the end, and those that failed.
    trials: u64,
    failed: u64,
    validation_average_precision: Metric,
    average_precision: Metric,
    average_precision_interval: Option<(f64, f64)>,
    roc_auc: Metric,
    roc_auc_interval: Option<(f64, f64)>,
    event_recall: Metric,
    event_recall_interval: Option<(f64, f64)>,
    false_alerts_per_symbol_day: Metric,
    false_alerts_interval: Option<(f64, f64)>,
    median_delay_seconds: Metric,
    /// Share of the resampled test data on which it has a higher average precision than the winner,
    /// ties counted half; `None` for the winner itself and where that can't be told.
    beats_winner: Option<f64>,
    seconds: f64,
}

/// The leaderboard, the winner first and the baseline last.
pub(super) fn leaders(outcome: &Outcome) -> anyhow::Result<Vec<Leader>> {
    let winner = outcome.tested_winner();
    let mut order: Vec<&Tested> = outcome.tested.iter().collect();
    let baseline = order.pop();
    let quality = |tested: &Tested| {
        let precision = &outcome.validated[tested.trial].validation.average_precision;
        precision.value().unwrap_or(f64::NEG_INFINITY)
    };
    // Stable: of equals, the first in the file, as the choice is.
    order.sort_by(|a, b| quality(b).total_cmp(&quality(a)));
    let ranked = order
        .into_iter()
        .zip(1..)
        .map(|(tested, rank)| (tested, Some(rank)));
    let baseline = baseline.into_iter().map(|tested| (tested, None));
    ranked
        .chain(baseline)
        .map(|(tested, rank)| leader(outcome, tested, rank, winner))
        .collect()
}

fn leader(
    outcome: &Outcome,
    tested: &Tested,
    rank: Option<u64>,
    winner: &Tested,
) -> anyhow::Result<Leader> {
    let validated = &outcome.validated[tested.trial];
    let trial = &validated.trial;
    let evaluation = &tested.evaluation;
    let same = |candidate: &str| candidate == trial.candidate;
    let tried = outcome
        .validated
        .iter()
        .filter(|other| same(&other.trial.candidate));
    let failed = outcome
        .failed
        .iter()
        .filter(|other| same(&other.trial.candidate));
    Ok(Leader {
        rank,
        trial: trial.number as u64,
        params: serde_json::to_string(&trial.params)?,
        trials: tried.count() as u64,
        failed: failed.count() as u64,
        beats_winner: (tested.trial != winner.trial)
            .then(|| chance(&tested.resampled, &winner.resampled))
            .flatten(),
        seconds: validated.spent.as_secs_f64(),
        ..row(
            &trial.candidate,
            trial.params.name(),
            &validated.validation,
            evaluation,
        )
    })
}

/// The row of a model that is judged alone.
pub(super) fn row(
    candidate: &str,
    detector: &'static str,
    validation: &Evaluation,
    evaluation: &Evaluation,
) -> Leader {
    let intervals = evaluation.intervals.as_ref();
    let bounds = |interval: Option<&Interval>| interval.and_then(Interval::bounds);
    Leader {
        rank: None,
        candidate: candidate.to_owned(),
        detector,
        trial: 0,
        params: String::new(),
        trials: 1,
        failed: 0,
        validation_average_precision: validation.average_precision.clone(),
        average_precision: evaluation.average_precision.clone(),
        average_precision_interval: bounds(intervals.map(|i| &i.average_precision)),
        roc_auc: evaluation.roc_auc.clone(),
        roc_auc_interval: bounds(intervals.map(|i| &i.roc_auc)),
        event_recall: evaluation.event_recall.clone(),
        event_recall_interval: bounds(intervals.map(|i| &i.event_recall)),
        false_alerts_per_symbol_day: evaluation.false_alerts_per_symbol_day.clone(),
        false_alerts_interval: bounds(intervals.map(|i| &i.false_alerts_per_symbol_day)),
        median_delay_seconds: match &evaluation.median_delay_us {
            Metric::Value(delay) => Metric::Value(delay / 1e6),
            undefined => undefined.clone(),
        },
        beats_winner: None,
        seconds: 0.0,
    }
}

/// The share of pairs in which the first is larger, ties counted half; `None` without a pair.
fn chance(ours: &[Option<f64>], theirs: &[Option<f64>]) -> Option<f64> {
    let mut n_pairs = 0.0;
    let mut n_larger = 0.0;
    for (ours, theirs) in ours.iter().zip(theirs) {
        if let (Some(ours), Some(theirs)) = (ours, theirs) {
            n_pairs += 1.0;
            n_larger += match ours.total_cmp(theirs) {
                std::cmp::Ordering::Greater => 1.0,
                std::cmp::Ordering::Equal => 0.5,
                std::cmp::Ordering::Less => 0.0,
            };
        }
    }
    (n_pairs > 0.0).then(|| n_larger / n_pairs)
}

/// The probability that the ranking would flip: the share of the resampled test data on which some
/// other candidate has a higher average precision than the winner; `None` where that can't be told,
/// or there is no other.
pub(super) fn flip_probability(outcome: &Outcome) -> Option<f64> {
    let winner = outcome.tested_winner();
    let (_, candidates) = outcome.tested.split_last()?;
    let others = candidates
        .iter()
        .filter(|tested| tested.trial != winner.trial);
    let others: Vec<&[Option<f64>]> = others.map(|tested| tested.resampled.as_slice()).collect();
    if others.is_empty() {
        return None;
    }
    let best: Vec<Option<f64>> = (0..winner.resampled.len())
        .map(|at| {
            let values = others.iter().filter_map(|other| other[at]);
            values.max_by(f64::total_cmp)
        })
        .collect();
    chance(&best, &winner.resampled)
}

/// As people read it: the header, then a row for each.
pub(super) fn as_text(leaders: &[Leader]) -> Vec<Vec<String>> {
    let header = [
        "",
        "candidate",
        "validation AP",
        "test AP",
        "ROC AUC",
        "events caught",
        "false alerts / day",
        "delay",
        "beats the winner",
        "trials",
    ];
    let rows = leaders.iter().map(|leader| {
        let failed = match leader.failed {
            0 => String::new(),
            n => format!(", {n} failed"),
        };
        vec![
            leader
                .rank
                .map_or_else(String::new, |rank| rank.to_string()),
            leader.candidate.clone(),
            show(&leader.validation_average_precision, None),
            show(&leader.average_precision, leader.average_precision_interval),
            show(&leader.roc_auc, leader.roc_auc_interval),
            show(&leader.event_recall, leader.event_recall_interval),
            show(
                &leader.false_alerts_per_symbol_day,
                leader.false_alerts_interval,
            ),
            match leader.median_delay_seconds.value() {
                Some(seconds) => format!("{seconds:.0} s"),
                None => "–".to_owned(),
            },
            leader
                .beats_winner
                .map_or_else(|| "–".to_owned(), |chance| format!("{chance:.2}")),
            format!("{}{failed}", leader.trials),
        ]
    });
    std::iter::once(header.map(str::to_owned).to_vec())
        .chain(rows)
        .collect()
}

fn show(metric: &Metric, interval: Option<(f64, f64)>) -> String {
    match (metric, interval) {
        (Metric::Value(value), Some((low, high))) => format!("{value:.3} [{low:.3}, {high:.3}]"),
        (Metric::Value(value), None) => format!("{value:.3}"),
        (Metric::Undefined { .. }, _) => "–".to_owned(),
    }
}

/// As the report shows it.
pub(super) fn as_report(leaders: &[Leader]) -> Vec<LeaderRow> {
    let estimate = |metric: &Metric, interval| match metric {
        Metric::Value(value) => Estimate::Value {
            value: *value,
            interval,
        },
        Metric::Undefined { reason } => Estimate::undefined(reason.clone()),
    };
    leaders
        .iter()
        .map(|leader| LeaderRow {
            rank: leader.rank,
            candidate: leader.candidate.clone(),
            params: leader.params.clone(),
            trials: leader.trials,
            failed: leader.failed,
            validation: estimate(&leader.validation_average_precision, None),
            average_precision: estimate(
                &leader.average_precision,
                leader.average_precision_interval,
            ),
            event_recall: estimate(&leader.event_recall, leader.event_recall_interval),
            false_alerts: estimate(
                &leader.false_alerts_per_symbol_day,
                leader.false_alerts_interval,
            ),
            beats_winner: leader.beats_winner,
            seconds: leader.seconds,
        })
        .collect()
}

/// As a table for programs; what is undefined is null.
pub(super) fn as_table(leaders: &[Leader]) -> Table {
    let numbers = |get: &dyn Fn(&Leader) -> Option<f64>| leaders.iter().map(get).collect();
    let mut table = Table::new()
        .optional_integer("rank", leaders.iter().map(|leader| leader.rank).collect())
        .text(
            "candidate",
            leaders.iter().map(|leader| Some(leader.candidate.as_str())),
        )
        .text(
            "detector",
            leaders.iter().map(|leader| Some(leader.detector)),
        )
        .integer("trial", leaders.iter().map(|leader| leader.trial).collect())
        .text(
            "params",
            leaders.iter().map(|leader| Some(leader.params.as_str())),
        )
        .integer(
            "trials",
            leaders.iter().map(|leader| leader.trials).collect(),
        )
        .integer(
            "failed",
            leaders.iter().map(|leader| leader.failed).collect(),
        )
        .optional_number(
            "validation_average_precision",
            numbers(&|leader| leader.validation_average_precision.value()),
        );
    type Get = fn(&Leader) -> (&Metric, Option<(f64, f64)>);
    let measured: [(&str, Get); 4] = [
        ("average_precision", |leader| {
            (&leader.average_precision, leader.average_precision_interval)
        }),
        ("roc_auc", |leader| {
            (&leader.roc_auc, leader.roc_auc_interval)
        }),
        ("event_recall", |leader| {
            (&leader.event_recall, leader.event_recall_interval)
        }),
        ("false_alerts_per_symbol_day", |leader| {
            (
                &leader.false_alerts_per_symbol_day,
                leader.false_alerts_interval,
            )
        }),
    ];
    for (name, get) in measured {
        table = table
            .optional_number(
                &format!("test_{name}"),
                numbers(&|leader| get(leader).0.value()),
            )
            .optional_number(
                &format!("test_{name}_low"),
                numbers(&|leader| get(leader).1.map(|bounds| bounds.0)),
            )
            .optional_number(
                &format!("test_{name}_high"),
                numbers(&|leader| get(leader).1.map(|bounds| bounds.1)),
            );
    }
    table
        .optional_number(
            "test_median_delay_seconds",
            numbers(&|leader| leader.median_delay_seconds.value()),
        )
        .optional_number("beats_winner", numbers(&|leader| leader.beats_winner))
        .number(
            "seconds",
            leaders.iter().map(|leader| leader.seconds).collect(),
        )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_chance_counts_pairs_and_ties_half() {
        let ours = [Some(0.5), Some(0.7), Some(0.4), None, Some(0.9)];
        let theirs = [Some(0.4), Some(0.7), Some(0.6), Some(0.1), None];
        assert_eq!(chance(&ours, &theirs), Some(0.5));
        assert_eq!(chance(&[None], &[Some(1.0)]), None);
    }
}
