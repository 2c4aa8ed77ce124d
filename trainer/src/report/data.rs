//! What a report says, as plain data. The lists may be empty: a section or chart without data is left out.

use serde::Serialize;

use super::verdict::Verdict;

/// Everything that a report shows.
///
/// Per-candidate lists (`Metric::values`, `Group::cells`) have one entry per entry of [`ReportData::columns`], in
/// that order. Times are microseconds since the Unix epoch, UTC.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct ReportData {
    /// What was run, on what, when.
    pub header: Header,
    /// The result in one sentence.
    pub verdict: Verdict,
    /// The models side by side: candidates first, then baselines.
    pub columns: Vec<Column>,
    /// Headline metrics on the test range, one row each.
    pub metrics: Vec<Metric>,
    /// The candidates from the best on validation data down, the baseline last; empty where there is
    /// just one candidate.
    pub leaders: Vec<LeaderRow>,
    /// The share of resampled test data on which another candidate does better than the winner.
    pub flip_probability: Option<f64>,
    /// The test fold by fold, for the reported model; empty where there is just one.
    pub by_fold: Vec<FoldRow>,
    /// Recall by kind of anomaly.
    pub by_kind: Vec<Group>,
    /// Recall by magnitude band, from subtle to gross.
    pub by_magnitude: Vec<Group>,
    /// The test range per symbol, for the reported model; empty where the data has no symbols.
    pub by_symbol: Vec<SymbolRow>,
    /// Labelled events in the test range, injected or real, for the reported model.
    pub events: Vec<Event>,
    /// How the alert threshold came about.
    pub threshold: Option<Threshold>,
    /// Distribution of the test scores of the reported model.
    pub scores: Option<ScoreHistogram>,
    /// Precision–recall and ROC curves, candidates and baselines.
    pub curves: Vec<Curves>,
    /// Feature importance of the reported model, in any order (drawn from large to small).
    pub importance: Vec<Importance>,
    /// Price, score and alerts per symbol, at least over the test range; empty for data without time.
    pub prices: Vec<PriceSeries>,
    /// What it takes to check and repeat the run.
    pub provenance: Provenance,
    /// How much is drawn and listed.
    pub limits: Limits,
}

/// What was run, on what, when.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct Header {
    /// Name of the experiment.
    pub experiment: String,
    /// Name of the run.
    pub run_name: String,
    /// Id of the run in the registry.
    pub run_id: String,
    /// The reported detector in words, such as `Isolation Forest`.
    pub detector: String,
    /// Registered model, where one was registered.
    pub model: Option<RegisteredModel>,
    /// Time range of all data read.
    pub data_range: Option<TimeRange>,
    /// Time range of the test data.
    pub test_range: Option<TimeRange>,
    /// Whether each symbol's rows were split on their own: then the ranges of parts span those of all symbols, and no
    /// symbol need have all of one.
    pub parts_by_symbol: bool,
    /// Symbols, in the order of the experiment.
    pub symbols: Vec<String>,
    /// Candle interval, such as `1m`.
    pub interval: Option<String>,
    /// Seed of the run.
    pub seed: u64,
    /// Git commit of the working directory, where there is one.
    pub git_commit: Option<String>,
    /// Whether the working directory differed from `git_commit`.
    pub git_dirty: bool,
    /// When the report was made, µs since the epoch.
    pub created: i64,
}

/// A version in the registry.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct RegisteredModel {
    /// Model name.
    pub name: String,
    /// Version, such as `3`.
    pub version: String,
    /// Alias given to the version, such as `challenger`.
    pub alias: Option<String>,
}

/// A half-open range of time, µs since the epoch.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct TimeRange {
    /// First instant.
    pub start: i64,
    /// First instant after the range.
    pub end: i64,
}

/// A candidate of a leaderboard.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct LeaderRow {
    /// Its place on validation data; `None` for a baseline.
    pub rank: Option<u64>,
    /// Its name.
    pub candidate: String,
    /// Its best parameters.
    pub params: String,
    /// Trials that came to the end.
    pub trials: u64,
    /// Trials that failed.
    pub failed: u64,
    /// Average precision on validation data.
    pub validation: Estimate,
    /// Average precision on test data.
    pub average_precision: Estimate,
    /// Share of the test events that it caught.
    pub event_recall: Estimate,
    /// False alerts per symbol and day on test data.
    pub false_alerts: Estimate,
    /// Share of resampled test data on which it does better than the winner.
    pub beats_winner: Option<f64>,
    /// What the best trial took.
    pub seconds: f64,
}

/// A model among those that are compared.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Column {
    /// Name, such as `iforest` or `largest |z|`.
    pub name: String,
    /// A few words below the name, such as `100 trees of 256 rows`; may be empty.
    pub detail: String,
    /// A trivial yardstick, not a candidate.
    pub baseline: bool,
    /// The model that the rest of the report is about (at most one).
    pub reported: bool,
}

/// One metric across the models.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct Metric {
    /// Name in words, such as `Average precision`.
    pub name: String,
    /// One short sentence of what it means; may be empty.
    pub help: String,
    /// How values are written.
    pub unit: Unit,
    /// One estimate per column.
    pub values: Vec<Estimate>,
}

/// How a number is written.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Unit {
    /// Three decimals, as for an area under a curve.
    #[default]
    Score,
    /// A fraction of one, written as a percentage.
    Percent,
    /// A number of things.
    Count,
    /// A rate per symbol and day.
    PerSymbolDay,
    /// Seconds, written as a duration.
    Seconds,
}

/// A number with its uncertainty, or the reason why there is none.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Estimate {
    /// A value; written as undefined where it isn't finite.
    Value {
        /// Point estimate.
        value: f64,
        /// Bounds of the confidence interval, low then high.
        interval: Option<(f64, f64)>,
    },
    /// There is no value.
    Undefined {
        /// Why, such as `the test range has no anomalous row`.
        reason: String,
    },
}

impl Default for Estimate {
    fn default() -> Self {
        Self::undefined("not measured")
    }
}

impl Estimate {
    /// A value without an interval.
    #[must_use]
    pub fn exact(value: f64) -> Self {
        Self::Value {
            value,
            interval: None,
        }
    }

    /// A value with its confidence interval.
    #[must_use]
    pub fn with_interval(value: f64, low: f64, high: f64) -> Self {
        Self::Value {
            value,
            interval: Some((low, high)),
        }
    }

    /// No value, because of `reason`.
    #[must_use]
    pub fn undefined(reason: impl Into<String>) -> Self {
        Self::Undefined {
            reason: reason.into(),
        }
    }

    /// The value, where it is defined and finite.
    #[must_use]
    pub fn value(&self) -> Option<f64> {
        match self {
            Self::Value { value, .. } if value.is_finite() => Some(*value),
            _ => None,
        }
    }
}

/// Events that share a kind or a magnitude band.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct Group {
    /// Kind, or band such as `3–5 σ`.
    pub label: String,
    /// Number of events in the test range.
    pub events: u64,
    /// One cell per column.
    pub cells: Vec<GroupCell>,
}

/// How one model did on a group of events.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct GroupCell {
    /// Events with at least one alert.
    pub caught: u64,
    /// `caught / events`, in 0..=1.
    pub recall: Estimate,
    /// Median time from the start of an event to its first alert, in seconds, over the caught.
    pub median_delay: Option<f64>,
}

/// One fold of a walk forward.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct FoldRow {
    /// What it tested.
    pub range: TimeRange,
    /// Labelled events.
    pub events: u64,
    /// Events with at least one alert.
    pub caught: u64,
    /// Average precision.
    pub average_precision: Estimate,
    /// Area under the ROC curve.
    pub roc_auc: Estimate,
    /// False alerts per symbol and day of test data.
    pub false_alerts: Estimate,
    /// Average precision of the baseline.
    pub baseline: Estimate,
}

/// One symbol's test range.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct SymbolRow {
    /// Symbol.
    pub symbol: String,
    /// Scored rows.
    pub rows: u64,
    /// Labelled events.
    pub events: u64,
    /// Events with at least one alert.
    pub caught: u64,
    /// Alerts outside every event.
    pub false_alerts: u64,
    /// False alerts per day of test data.
    pub false_alerts_per_day: Estimate,
    /// Threshold on the score, where it differs by symbol.
    pub threshold: Option<f64>,
}

/// A labelled event, injected or real.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct Event {
    /// Id, unique in the report.
    pub id: String,
    /// Symbol.
    pub symbol: String,
    /// Kind, such as `flash_crash`.
    pub kind: String,
    /// First instant.
    pub start: i64,
    /// First instant after the event.
    pub end: i64,
    /// Size in standard deviations of the symbol's own moves, where it is known.
    pub magnitude: Option<f64>,
    /// What became of it.
    pub outcome: Outcome,
    /// Largest score over its rows.
    pub peak_score: Option<f64>,
}

/// What became of an event.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// At least one alert.
    Caught {
        /// Seconds from its start to the first alert.
        delay: f64,
    },
    /// No alert.
    #[default]
    Missed,
    /// No row of it could be scored.
    NotScored {
        /// Why, such as `features were still warming up`.
        reason: String,
    },
}

/// How the alert threshold came about.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct Threshold {
    /// The wanted number of alerts per symbol and day, where that set it.
    pub alerts_per_symbol_day: Option<f64>,
    /// The quantile of the scores, where that set it.
    pub quantile: Option<f64>,
    /// The threshold on the score; `None` where each symbol has its own.
    pub value: Option<f64>,
    /// The rows that set it, such as `validation rows`.
    pub set_on: String,
    /// Time range of those rows.
    pub range: Option<TimeRange>,
    /// Alerts per symbol and day that it gave on those rows, true and false.
    pub reached: Option<f64>,
    /// Alerts per symbol and day that it gave on the test data, true and false.
    pub observed: Option<f64>,
    /// What the score is, in words, such as `−log10 of the tail probability`; may be empty.
    pub score: String,
    /// Anything else that a reader must know; may be empty.
    pub note: String,
}

/// Counts of scores in bins of equal width; [`ScoreHistogram::from_scores`] makes one.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct ScoreHistogram {
    /// Bin edges, ascending; one more than there are bins.
    pub edges: Vec<f64>,
    /// Rows without label per bin.
    pub normal: Vec<u64>,
    /// Rows with label per bin.
    pub anomalous: Vec<u64>,
    /// Scores that are not finite, and so in no bin.
    pub skipped: u64,
    /// The alert threshold, where there is one for all.
    pub threshold: Option<f64>,
    /// Label of the score axis, such as `anomaly score`.
    pub axis: String,
}

/// One model's curves; either may be empty. Thousands of points are fine, they are thinned where drawn.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct Curves {
    /// Name of the model, as in its column.
    pub name: String,
    /// A trivial yardstick, not a candidate.
    pub baseline: bool,
    /// `(recall, precision)` along falling thresholds.
    pub precision_recall: Vec<(f64, f64)>,
    /// `(false positive rate, true positive rate)` along falling thresholds.
    pub roc: Vec<(f64, f64)>,
    /// Area under the first curve.
    pub average_precision: Option<f64>,
    /// Area under the second.
    pub roc_auc: Option<f64>,
    /// `(recall, precision)` at the alert threshold.
    pub operating_point: Option<(f64, f64)>,
}

/// How much the reported model leans on one feature.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct Importance {
    /// Feature name.
    pub feature: String,
    /// Importance, such as the loss of average precision when the feature is shuffled.
    pub value: f64,
    /// Standard deviation over the repeats, drawn as a whisker on either side.
    pub error: Option<f64>,
    /// What `value` measures, the same for all; the axis label.
    pub measure: String,
}

/// What is drawn over time for one symbol.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct PriceSeries {
    /// Symbol.
    pub symbol: String,
    /// Unit of the price, such as `USD`; may be empty.
    pub unit: String,
    /// Candles by time. Any number: they are down-sampled where drawn, extremes kept.
    pub candles: Vec<Candle>,
    /// Scores of the reported model by time.
    pub scores: Vec<ScorePoint>,
    /// The alert threshold on those scores.
    pub threshold: Option<f64>,
    /// Label of the score axis; may be empty.
    pub score_axis: String,
    /// Alerts outside every event.
    pub false_alerts: Vec<ScorePoint>,
}

impl PriceSeries {
    /// Whether any candle has a volume that can be drawn.
    #[must_use]
    pub fn has_volume(&self) -> bool {
        let mut volumes = self.candles.iter().map(|c| c.volume);
        volumes.any(|volume| volume.is_finite() && volume > 0.0)
    }
}

/// One candle.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize)]
pub struct Candle {
    /// Start of the interval, µs since the epoch.
    pub time: i64,
    /// First price.
    pub open: f64,
    /// Highest price.
    pub high: f64,
    /// Lowest price.
    pub low: f64,
    /// Last price.
    pub close: f64,
    /// Volume traded.
    pub volume: f64,
}

/// A score at a time.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize)]
pub struct ScorePoint {
    /// Start of the candle's interval, µs since the epoch.
    pub time: i64,
    /// Score, higher is more anomalous.
    pub score: f64,
}

/// What it takes to check and repeat a run.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct Provenance {
    /// Files and objects that were read.
    pub objects: Vec<DataObject>,
    /// How the rows were split.
    pub splits: Vec<Split>,
    /// What was counted on the way: late, duplicate, filled rows and their like.
    pub counts: Vec<Count>,
    /// Parameters of the run, name and value.
    pub parameters: Vec<(String, String)>,
    /// Versions of programs and libraries, name and version.
    pub versions: Vec<(String, String)>,
    /// Name of the experiment file.
    pub experiment_file: String,
    /// The experiment file, word for word.
    pub experiment_text: String,
    /// The command that repeats the run.
    pub command: String,
}

/// A file or object that was read.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct DataObject {
    /// Path or URI, without credentials.
    pub name: String,
    /// Size in bytes.
    pub bytes: u64,
    /// SHA-256 in hex.
    pub sha256: String,
}

/// One part of the rows.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Split {
    /// Name, such as `train`.
    pub name: String,
    /// Time range; `None` for data without time.
    pub range: Option<TimeRange>,
    /// Rows ready to be scored.
    pub ready: u64,
    /// Rows that are not, as the features were still warming up.
    pub not_ready: u64,
    /// Labelled events, where they were counted.
    pub events: Option<u64>,
}

/// Something that was counted.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Count {
    /// What, such as `duplicate trades dropped`.
    pub name: String,
    /// How many.
    pub count: u64,
}

/// How much is drawn and listed; what is beyond is said to be.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Limits {
    /// Price charts, one per symbol.
    pub price_charts: usize,
    /// Close-ups of single events.
    pub event_charts: usize,
    /// Rows of a table.
    pub table_rows: usize,
    /// Bars of the importance chart.
    pub features: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            price_charts: 12,
            event_charts: 8,
            table_rows: 500,
            features: 30,
        }
    }
}
