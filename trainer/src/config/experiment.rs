//! What an experiment file says, checked. Only this type is accepted by a run.

use market::{AnomalyKind, Feature, FeatureConfig, Interval};
use serde::{Deserialize, Serialize};

use super::space::DetectorSpace;

/// A checked experiment file.
#[derive(Debug, Clone, Serialize)]
pub struct Experiment {
    /// The MLflow experiment that the run belongs to.
    pub name: String,
    /// The seed from which every random choice of the run derives.
    pub seed: u64,
    /// `[data]`
    pub data: Data,
    /// `[features]`
    pub features: Features,
    /// `[inject]`, where anomalies are injected.
    pub inject: Option<Inject>,
    /// `[split]`
    pub split: Split,
    /// `[[candidates]]`, at least one.
    pub candidates: Vec<Candidate>,
    /// `[search]`
    pub search: Search,
    /// `[evaluate]`
    pub evaluate: Evaluate,
    /// `[drift]`
    pub drift: Drift,
    /// `[register]`, where the model is to be registered.
    pub register: Option<Register>,
}

/// What the data are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, clap::ValueEnum)]
#[serde(rename_all = "snake_case")]
pub enum DataKind {
    /// Single trades; candles and features are computed.
    Trades,
    /// Candles; features are computed.
    Candles,
    /// A numeric table, market or not.
    Features,
}

impl DataKind {
    /// Its name in an experiment file.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Trades => "trades",
            Self::Candles => "candles",
            Self::Features => "features",
        }
    }
}

/// `[data]`: what is read.
#[derive(Debug, Clone, Serialize)]
pub struct Data {
    /// Files, folders, globs or `s3://` URIs.
    pub source: Vec<String>,
    /// What they hold.
    pub kind: DataKind,
    /// The candles' interval; absent for tables.
    pub interval: Option<Interval>,
    /// The symbols to read; all when absent.
    pub symbols: Option<Vec<String>>,
    /// The symbol of files that name none.
    pub symbol: Option<String>,
    /// First instant, µs since the epoch, inclusive.
    pub from: Option<i64>,
    /// Last instant, µs since the epoch, exclusive.
    pub to: Option<i64>,
    /// `kind = "features"`: the label column.
    pub label: Option<String>,
    /// `kind = "features"`: the time column.
    pub time: Option<String>,
    /// `kind = "features"`: the symbol column.
    pub symbol_column: Option<String>,
    /// `kind = "features"`: the column that says how the engine computed each row's features, as scorers archive them.
    pub engine: Option<String>,
    /// A CSV file of known events (`symbol,start,end,kind`).
    pub events: Option<String>,
    /// `[simulate]`: a market to make up instead of reading one.
    pub simulate: Option<Simulate>,
    /// How many training rows are kept, at most; beyond, a seeded uniform sample of this size is fitted on.
    pub max_train_rows: usize,
}

/// `[simulate]`: a made-up market, for users without data and for tests.
#[derive(Debug, Clone, Serialize)]
pub struct Simulate {
    /// How long it lasts, days.
    pub days: f64,
    /// Mean number of trades per symbol and second.
    pub trades_per_second: f64,
    /// Standard deviation of an hour's log return.
    pub hourly_volatility: f64,
    /// The seed; the experiment's when absent.
    pub seed: Option<u64>,
}

/// `[features]`: what is computed.
#[derive(Debug, Clone, Serialize)]
pub struct Features {
    /// The engine's configuration, checked; `None` for tables that don't say that it computed them.
    pub config: Option<FeatureConfig>,
    /// The engine's features, in model order; empty where there is no `config`.
    pub engine: Vec<Feature>,
    /// `kind = "features"`: the columns; all numeric ones when absent.
    pub columns: Option<Vec<String>>,
}

/// `[inject]`: anomalies put into the history before features are computed.
#[derive(Debug, Clone, Serialize)]
pub struct Inject {
    /// Which kinds.
    pub kinds: Vec<AnomalyKind>,
    /// Expected events per symbol and day.
    pub events_per_symbol_day: f64,
    /// Smallest and largest magnitude, in standard deviations of the symbol's own moves.
    pub magnitude: (f64, f64),
    /// The seed; the experiment's when absent.
    pub seed: Option<u64>,
    /// Whether training data get anomalies too; validation and test data always do.
    pub into_train: bool,
}

/// `[split]`: which rows train, validate and test.
#[derive(Debug, Clone, Serialize)]
pub struct Split {
    /// How.
    pub method: SplitMethod,
    /// Share of the rows, in time order, that trains.
    pub train: f64,
    /// Share that validates; the rest tests.
    pub validation: f64,
    /// Training ends here instead of at a share, µs since the epoch.
    pub train_until: Option<i64>,
    /// Validation ends here instead of at a share, µs since the epoch.
    pub validation_until: Option<i64>,
    /// Walk-forward: how many test blocks follow one another, each judged by a model that is
    /// fitted on everything before it; 1 for the other methods.
    pub folds: usize,
    /// What lies between two parts and belongs to none.
    pub purge: Purge,
    /// Whether boundaries are instants common to all symbols or each symbol's own.
    pub boundaries: Boundaries,
}

/// How rows are split.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum SplitMethod {
    /// In event time: train, purge, validation, purge, test.
    Time,
    /// In event time, again and again: each test block is judged by a model that is fitted on
    /// everything before it.
    WalkForward,
    /// Fit and score the same rows: labelled tables without time only.
    InSample,
}

/// Whose boundaries.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Boundaries {
    /// One instant for all symbols.
    Common,
    /// Each symbol's own rows are split.
    PerSymbol,
}

/// The purge between parts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Purge {
    /// As long as the longest feature window; nothing for tables.
    Auto,
    /// So many µs.
    Duration(i64),
}

/// One `[[candidates]]` table: a detector and its search space.
#[derive(Debug, Clone, Serialize)]
pub struct Candidate {
    /// Its name, unique.
    pub name: String,
    /// Its scope.
    pub scope: Scope,
    /// The detector with every parameter's values; more than one value spans a grid.
    pub detector: DetectorSpace,
}

/// Whether a candidate is fitted on all symbols together or on each apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Scope {
    /// One model for all symbols.
    Global,
    /// One model per symbol.
    PerSymbol,
}

impl Scope {
    /// Its name in an experiment file.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Global => "global",
            Self::PerSymbol => "per_symbol",
        }
    }
}

/// `[search]`: how candidates' spaces are walked, and how much work that may be.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Search {
    /// How.
    pub method: SearchMethod,
    /// Trials, at most: a larger grid is refused, the other methods draw so many.
    pub max_trials: usize,
    /// No trial begins later than so many µs after the first.
    pub max_time: Option<i64>,
    /// A trial that takes longer, µs, has failed.
    pub trial_limit: Option<i64>,
    /// Trials that are fitted at once, and threads for them; as many as the process has by default.
    pub threads: Option<usize>,
    /// Halving: one trial in so many stays from one round to the next, on so many times the rows.
    pub reduction: usize,
}

/// How search spaces are walked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum SearchMethod {
    /// Every point.
    Grid,
    /// Points drawn by the seed.
    Random,
    /// Points drawn by the seed, tried on few rows; the best of each candidate go on to more
    /// (Jamieson and Talwalkar 2016).
    Halving,
}

/// Where the threshold comes from. Labels are never used.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum ThresholdRule {
    /// So many alerts per symbol and day are expected on validation data.
    AlertsPerSymbolDay(f64),
    /// This quantile of the validation scores.
    Quantile(f64),
}

/// `[evaluate]`
#[derive(Debug, Clone, Serialize)]
pub struct Evaluate {
    /// The threshold's rule.
    pub threshold: ThresholdRule,
    /// Bootstrap resamples; 0 for no intervals.
    pub resamples: usize,
    /// Level of the intervals.
    pub confidence: f64,
    /// Rows per bootstrap block; a rule of thumb when absent.
    pub block: Option<usize>,
    /// Flagged rows at most so many rows apart belong to one episode.
    pub episode_gap: usize,
    /// Rows per permutation when feature importance is computed; 0 for none.
    pub importance_rows: usize,
}

/// `[drift]`: what the baseline that goes with the model is asked for.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Drift {
    /// Windows between two false alarms, on average.
    pub run_length: f64,
    /// Rows of a window, over all symbols, ascending.
    pub windows: Vec<usize>,
    /// How long, µs, all symbols may be silent before that is an outage; by the interval when absent.
    pub silence: Option<i64>,
}

/// `[register]`
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Register {
    /// The registered model's name.
    pub model: String,
    /// The alias that the new version gets.
    pub alias: Option<String>,
}
