//! What scores are worth: metrics that say when they are undefined, events, intervals, importance.
//!
//! Everything works on plain slices, sorts once (O(n log n)), and gives the same numbers on any
//! number of threads.

mod bootstrap;
mod episodes;
mod groups;
mod importance;
mod input;
mod metric;
mod ranking;
mod report;

use serde::{Deserialize, Serialize};

pub use bootstrap::BootstrapOptions;
pub use importance::{
    FeatureImportance, Importance, ImportanceMeasure, ImportanceOptions, permutation_importance,
    permutation_importance_by,
};
pub use input::{EventInfo, Labels, Scored};
pub use metric::{Interval, Metric};
pub use ranking::{average_precision, roc_auc};
pub use report::{
    AtBudget, Confusion, Evaluation, EventEvaluation, GroupEvaluation, Intervals, OperatingPoint,
    SymbolEvaluation,
};

use crate::error::{Error, Result};
use episodes::Gap;
use groups::EventTable;
use input::BySymbol;
use ranking::{NO_POSITIVES, Ranking};

const DAY_US: f64 = 86_400e6;
const NO_INTERVAL: &str = "no times or no interval between rows";
const NO_EVENTS: &str = "no events with rows";
const NONE_CAUGHT: &str = "no event was caught";
const NONE_FLAGGED: &str = "no row was flagged";

/// How to evaluate.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct EvaluationOptions {
    /// False alerts of one symbol whose candles open at most this far apart, µs, are one episode.
    /// Default: ten intervals; adjacent rows for tables without time.
    pub episode_gap_us: Option<i64>,
    /// Budget for [`Evaluation::at_budget`].
    pub alerts_per_symbol_day: Option<f64>,
    /// Ascending edges between bands of magnitude. Default 5, 10, 20: below 5, 5 to 10, 10 to 20,
    /// 20 and more. Events without a magnitude are in no band.
    pub magnitude_edges: Vec<f64>,
    /// Intervals are drawn where this is given.
    pub bootstrap: Option<BootstrapOptions>,
}

impl Default for EvaluationOptions {
    fn default() -> Self {
        Self {
            episode_gap_us: None,
            alerts_per_symbol_day: None,
            magnitude_edges: vec![5.0, 10.0, 20.0],
            bootstrap: None,
        }
    }
}

impl EvaluationOptions {
    fn check(&self) -> Result<()> {
        if let Some(gap) = self.episode_gap_us
            && gap < 0
        {
            return Err(Error::invalid(
                "episode_gap_us",
                gap,
                "at least 0 is needed",
            ));
        }
        if let Some(budget) = self.alerts_per_symbol_day
            && !(budget > 0.0 && budget.is_finite())
        {
            return Err(Error::invalid(
                "alerts_per_symbol_day",
                budget,
                "a positive number is needed",
            ));
        }
        let edges = &self.magnitude_edges;
        if edges.iter().any(|e| !e.is_finite()) || !edges.is_sorted_by(|a, b| a < b) {
            return Err(Error::invalid(
                "magnitude_edges",
                format!("{edges:?}"),
                "finite, strictly ascending numbers are needed",
            ));
        }
        self.bootstrap
            .as_ref()
            .map_or(Ok(()), BootstrapOptions::check)
    }
}

/// Evaluates scored rows against their labels. O(n log n); two million rows take well below a
/// second without intervals.
///
/// # Errors
/// No rows, slices of different lengths, a score that is not finite, indices out of range, times
/// that do not ascend within a symbol, options out of range.
pub fn evaluate(scored: &Scored<'_>, options: &EvaluationOptions) -> Result<Evaluation> {
    options.check()?;
    let by_symbol = scored.check()?;
    let ranking = Ranking::new(scored.score);
    let gap = match (options.episode_gap_us, scored.interval_us) {
        _ if scored.time.is_none() => Gap::Rows(1),
        (Some(gap), _) => Gap::Time(gap),
        (None, Some(interval)) => Gap::Time(interval.saturating_mul(10)),
        (None, None) => Gap::Rows(10),
    };
    let table = EventTable::new(scored, &by_symbol);
    let episode_starts = episodes::starts(scored, &by_symbol, gap);

    let confusion = confusion(scored);
    let n_labelled = confusion.true_positives + confusion.false_negatives;
    let n_unlabelled = scored.len() as u64 - n_labelled;
    let n_flagged = confusion.true_positives + confusion.false_positives;
    let symbol_days = match row_days(scored) {
        Some(days) => Metric::Value(days * n_unlabelled as f64),
        None => Metric::undefined(NO_INTERVAL),
    };
    let n_episodes = episode_starts.iter().filter(|s| **s).count();
    let groups = groups::evaluate(scored, &ranking, &table, &options.magnitude_edges);
    let (roc_auc, average_precision) = groups.all.metrics(n_unlabelled as f64);
    let labelled_only = |metric: Metric| {
        if n_labelled == 0 {
            Metric::undefined(NO_POSITIVES)
        } else {
            metric
        }
    };
    let true_positives = confusion.true_positives as f64;
    let mut evaluation = Evaluation {
        n_rows: scored.len() as u64,
        n_labelled_rows: n_labelled,
        n_flagged_rows: n_flagged,
        n_symbols: by_symbol.groups().filter(|rows| !rows.is_empty()).count() as u64,
        n_events: table.n_with_rows() as u64,
        n_events_without_rows: (scored.events().len() - table.n_with_rows()) as u64,
        roc_auc,
        average_precision,
        confusion,
        precision: labelled_only(Metric::ratio(
            true_positives,
            n_flagged as f64,
            NONE_FLAGGED,
        )),
        recall: Metric::ratio(true_positives, n_labelled as f64, NO_POSITIVES),
        f1: Metric::ratio(
            2.0 * true_positives,
            (n_flagged + n_labelled) as f64,
            NO_POSITIVES,
        ),
        event_recall: table.recall(|_| true),
        median_delay_us: table.median_delay(|_| true),
        false_alerts_per_symbol_day: per_day(confusion.false_positives, &symbol_days),
        false_episodes_per_symbol_day: per_day(n_episodes as u64, &symbol_days),
        at_budget: options.alerts_per_symbol_day.map(|budget| {
            at_budget(
                scored,
                &by_symbol,
                &ranking,
                &table,
                gap,
                budget,
                &symbol_days,
            )
        }),
        symbol_days,
        by_kind: groups.by_kind,
        by_magnitude: groups.by_magnitude,
        by_symbol: by_symbol_table(scored, &by_symbol, &table, &episode_starts),
        events: table.report(scored),
        intervals: None,
    };
    evaluation.f1 = labelled_only(evaluation.f1);
    if let Some(options) = &options.bootstrap {
        let events = table.for_bootstrap();
        evaluation.intervals = Some(bootstrap::intervals(
            scored,
            &by_symbol,
            &ranking,
            &events,
            &episode_starts,
            &evaluation,
            options,
        ));
    }
    Ok(evaluation)
}

/// Average precision on each of the resamples that intervals are drawn from, `None` where it is
/// undefined. Detectors that scored the same rows are compared resample by resample: with the same
/// options, all of them see the same blocks.
///
/// # Errors
/// As [`evaluate`].
pub fn resampled_average_precision(
    scored: &Scored<'_>,
    options: &BootstrapOptions,
) -> Result<Vec<Option<f64>>> {
    options.check()?;
    let by_symbol = scored.check()?;
    let ranking = Ranking::new(scored.score);
    let table = EventTable::new(scored, &by_symbol);
    let events = table.for_bootstrap();
    Ok(bootstrap::average_precisions(
        scored, &by_symbol, &ranking, &events, options,
    ))
}

/// Days that one row stands for, where times and their interval are known.
fn row_days(scored: &Scored<'_>) -> Option<f64> {
    scored.time?;
    scored.interval_us.map(|us| us as f64 / DAY_US)
}

fn per_day(count: u64, days: &Metric) -> Metric {
    match days {
        Metric::Value(days) => Metric::ratio(count as f64, *days, ranking::NO_NEGATIVES),
        undefined => undefined.clone(),
    }
}

fn confusion(scored: &Scored<'_>) -> Confusion {
    let mut counts = Confusion::default();
    for (row, flagged) in scored.flag.iter().enumerate() {
        let count = match (scored.is_labelled(row), flagged) {
            (true, true) => &mut counts.true_positives,
            (true, false) => &mut counts.false_negatives,
            (false, true) => &mut counts.false_positives,
            (false, false) => &mut counts.true_negatives,
        };
        *count += 1;
    }
    counts
}

fn by_symbol_table(
    scored: &Scored<'_>,
    by_symbol: &BySymbol,
    table: &EventTable<'_>,
    episode_starts: &[bool],
) -> Vec<SymbolEvaluation> {
    let mut symbols: Vec<SymbolEvaluation> = scored
        .symbols
        .iter()
        .zip(by_symbol.ranges())
        .map(|(symbol, range)| {
            let rows = &by_symbol.rows()[range.clone()];
            let labelled = |row: &&u32| scored.is_labelled(**row as usize);
            let n_labelled = rows.iter().filter(labelled).count() as u64;
            let n_rows = rows.len() as u64;
            let n_false_alerts = rows
                .iter()
                .filter(|row| scored.flag[**row as usize] && !labelled(row))
                .count() as u64;
            let n_false_episodes = episode_starts[range].iter().filter(|s| **s).count() as u64;
            let days = match row_days(scored) {
                Some(days) => Metric::Value(days * (n_rows - n_labelled) as f64),
                None => Metric::undefined(NO_INTERVAL),
            };
            SymbolEvaluation {
                symbol: symbol.clone(),
                n_rows,
                n_labelled_rows: n_labelled,
                n_events: 0,
                n_events_caught: 0,
                n_false_alerts,
                n_false_episodes,
                false_alerts_per_day: per_day(n_false_alerts, &days),
                false_episodes_per_day: per_day(n_false_episodes, &days),
            }
        })
        .collect();
    for (event, caught) in table.with_rows() {
        let symbol = &mut symbols[event.symbol as usize];
        symbol.n_events += 1;
        symbol.n_events_caught += u64::from(caught);
    }
    symbols
}

fn at_budget(
    scored: &Scored<'_>,
    by_symbol: &BySymbol,
    ranking: &Ranking,
    table: &EventTable<'_>,
    gap: Gap,
    budget: f64,
    symbol_days: &Metric,
) -> AtBudget {
    let point = |threshold: &dyn Fn(u64) -> Option<f64>| {
        let Some(days) = symbol_days.value() else {
            return OperatingPoint {
                threshold: symbol_days.clone(),
                row_recall: symbol_days.clone(),
                event_recall: symbol_days.clone(),
            };
        };
        // A hair is added because 0.1 × 30 is a hair below 3.
        let allowed = (budget * days * (1.0 + 1e-12)).floor() as u64;
        let threshold = threshold(allowed);
        let above = |score: f64| threshold.is_none_or(|threshold| score > threshold);
        let (mut caught, mut labelled) = (0u64, 0u64);
        for (row, score) in scored.score.iter().enumerate() {
            if scored.is_labelled(row) {
                labelled += 1;
                caught += u64::from(above(*score));
            }
        }
        OperatingPoint {
            threshold: threshold.map_or_else(
                || Metric::undefined("the budget is not used up with every row flagged"),
                Metric::Value,
            ),
            row_recall: Metric::ratio(caught as f64, labelled as f64, NO_POSITIVES),
            event_recall: table.recall_by(|event| event.peak.is_some_and(above)),
        }
    };
    AtBudget {
        alerts_per_symbol_day: budget,
        rows: point(&|allowed| {
            let mut n_false = 0;
            ranking.blocks().find_map(|block| {
                let labelled = block
                    .iter()
                    .filter(|(_, row)| scored.is_labelled(*row as usize));
                n_false += (block.len() - labelled.count()) as u64;
                (n_false > allowed).then(|| scored.score[block[0].1 as usize])
            })
        }),
        episodes: point(&|allowed| {
            episodes::threshold_for(scored, by_symbol, ranking, gap, allowed)
        }),
    }
}
