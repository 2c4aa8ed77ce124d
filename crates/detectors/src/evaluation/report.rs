//! What an evaluation says.

use serde::{Deserialize, Serialize};

use super::metric::{Interval, Metric};

/// Counts of flagged and labelled rows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Confusion {
    /// Labelled rows that were flagged.
    pub true_positives: u64,
    /// Unlabelled rows that were flagged.
    pub false_positives: u64,
    /// Unlabelled rows that were not flagged.
    pub true_negatives: u64,
    /// Labelled rows that were not flagged.
    pub false_negatives: u64,
}

/// What a set of scores and flags is worth, against its labels.
///
/// *Labelled* rows are the positives. All others are *unlabelled*: in a real market some of them
/// are anomalies that nobody marked, so false alerts are an upper bound.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Evaluation {
    /// Rows evaluated.
    pub n_rows: u64,
    /// Labelled rows among them.
    pub n_labelled_rows: u64,
    /// Rows flagged.
    pub n_flagged_rows: u64,
    /// Symbols with at least one row.
    pub n_symbols: u64,
    /// Events with at least one row here; only these can be caught.
    pub n_events: u64,
    /// Events given that have no row here (outside the range, or within a warm-up): not counted.
    pub n_events_without_rows: u64,
    /// Unlabelled rows × interval, in days, over all symbols; undefined without an interval.
    pub symbol_days: Metric,

    /// Area under the ROC curve, ties counted half (scikit-learn's `roc_auc_score`).
    pub roc_auc: Metric,
    /// Average precision (scikit-learn's `average_precision_score`).
    pub average_precision: Metric,
    /// Counts at the flags.
    pub confusion: Confusion,
    /// Flagged rows that are labelled, of all flagged rows.
    pub precision: Metric,
    /// Labelled rows that are flagged, of all labelled rows.
    pub recall: Metric,
    /// Harmonic mean of precision and recall.
    pub f1: Metric,
    /// Events with at least one flagged row, of all events with rows.
    pub event_recall: Metric,
    /// Median over caught events of the delay from the event's start to the end of the first
    /// flagged candle, µs.
    pub median_delay_us: Metric,
    /// Flagged unlabelled rows per symbol and day.
    pub false_alerts_per_symbol_day: Metric,
    /// Runs of flagged unlabelled rows, at most the episode gap apart, per symbol and day.
    pub false_episodes_per_symbol_day: Metric,
    /// Recall if the threshold were lowered or raised until the alert budget is used up on these
    /// rows; `None` where no budget was given.
    pub at_budget: Option<AtBudget>,

    /// One entry a kind of event, sorted by kind.
    pub by_kind: Vec<GroupEvaluation>,
    /// One entry a band of magnitude, ascending.
    pub by_magnitude: Vec<GroupEvaluation>,
    /// One entry a symbol, in the order of the symbol indices.
    pub by_symbol: Vec<SymbolEvaluation>,
    /// One entry an event, in the order given.
    pub events: Vec<EventEvaluation>,
    /// Bootstrap intervals; `None` where none were asked for.
    pub intervals: Option<Intervals>,
}

/// Recall where the threshold is set on the evaluated rows themselves, so that false alerts use up
/// the budget: what the ranking could do, apart from how well the threshold was chosen.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct AtBudget {
    /// The budget, per symbol and day.
    pub alerts_per_symbol_day: f64,
    /// The budget counts flagged unlabelled rows.
    pub rows: OperatingPoint,
    /// The budget counts episodes of flagged unlabelled rows.
    pub episodes: OperatingPoint,
}

/// A threshold and what it catches.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct OperatingPoint {
    /// Rows strictly above this score are flagged.
    pub threshold: Metric,
    /// Labelled rows above it, of all.
    pub row_recall: Metric,
    /// Events with a row above it, of all with rows.
    pub event_recall: Metric,
}

/// One kind of event, or one band of magnitude.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct GroupEvaluation {
    /// The kind, or the band, such as `5 to 10`.
    pub name: String,
    /// Events of the group with rows.
    pub n_events: u64,
    /// Labelled rows of the group.
    pub n_rows: u64,
    /// Of the group's rows against all unlabelled rows.
    pub roc_auc: Metric,
    /// Of the group's rows against all unlabelled rows.
    pub average_precision: Metric,
    /// Flagged rows of the group, of its rows.
    pub row_recall: Metric,
    /// Caught events of the group, of its events.
    pub event_recall: Metric,
    /// Median delay of its caught events, µs.
    pub median_delay_us: Metric,
}

/// One symbol.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct SymbolEvaluation {
    /// Its name.
    pub symbol: String,
    /// Its rows.
    pub n_rows: u64,
    /// Its labelled rows.
    pub n_labelled_rows: u64,
    /// Its events with rows.
    pub n_events: u64,
    /// Those caught.
    pub n_events_caught: u64,
    /// Flagged unlabelled rows.
    pub n_false_alerts: u64,
    /// Episodes of flagged unlabelled rows.
    pub n_false_episodes: u64,
    /// Flagged unlabelled rows per day.
    pub false_alerts_per_day: Metric,
    /// Episodes of flagged unlabelled rows per day.
    pub false_episodes_per_day: Metric,
}

/// One event.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct EventEvaluation {
    /// Its index in the events given.
    pub index: usize,
    /// Its kind.
    pub kind: String,
    /// Name of its symbol.
    pub symbol: String,
    /// Its start, µs since the epoch.
    pub start: i64,
    /// Its end, µs since the epoch.
    pub end: i64,
    /// Its magnitude, where known.
    pub magnitude: Option<f64>,
    /// Its rows here; with none it cannot be caught and counts nowhere.
    pub n_rows: u64,
    /// Whether any of its rows was flagged.
    pub caught: bool,
    /// From its start to the *end* of the first flagged candle (before it, nobody can know), µs;
    /// `None` where it was not caught or there is no time or interval.
    pub delay_us: Option<i64>,
    /// Highest score of its rows; `None` without rows.
    pub peak_score: Option<f64>,
}

/// Percentile intervals by circular block bootstrap over time, within each symbol; those of event
/// recall, precision and recall are widened where these are 0 or 1 (see [`Interval`]).
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Intervals {
    /// Coverage, such as 0.95.
    pub level: f64,
    /// Resamples drawn.
    pub n_resamples: usize,
    /// Seed.
    pub seed: u64,
    /// Longest block used, in rows (symbols differ where they have different numbers of rows).
    pub block_length: usize,
    /// Of [`Evaluation::roc_auc`].
    pub roc_auc: Interval,
    /// Of [`Evaluation::average_precision`].
    pub average_precision: Interval,
    /// Of [`Evaluation::precision`].
    pub precision: Interval,
    /// Of [`Evaluation::recall`].
    pub recall: Interval,
    /// Of [`Evaluation::f1`].
    pub f1: Interval,
    /// Of [`Evaluation::event_recall`].
    pub event_recall: Interval,
    /// Of [`Evaluation::false_alerts_per_symbol_day`].
    pub false_alerts_per_symbol_day: Interval,
    /// Of [`Evaluation::false_episodes_per_symbol_day`].
    pub false_episodes_per_symbol_day: Interval,
}
