//! The configuration file.

mod api;
mod duration;
mod read;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use detectors::drift::DriftPolicy;
use market::{FeatureConfig, Interval};
use serde::Deserialize;
use streaming::Source;

pub use api::{ApiSection, Token, TokenError};
pub use duration::Span;
pub use read::{ConfigError, parse, read};

/// A configuration file, as written; [`read`] checks it.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// Which model judges.
    pub model: ModelSection,
    /// How features are computed; absent: as the model was trained.
    pub features: Option<FeatureConfig>,
    /// What is read and said.
    #[serde(default)]
    pub stream: StreamSection,
    /// Kafka.
    #[serde(default)]
    pub kafka: KafkaSection,
    /// The registry.
    #[serde(default)]
    pub registry: RegistrySection,
    /// Where the state of partitions is kept.
    #[serde(default)]
    pub state: StateSection,
    /// Statistical limits that vote beside the model.
    #[serde(default)]
    pub limits: LimitsSection,
    /// Where scored rows are archived.
    #[serde(default)]
    pub archive: ArchiveSection,
    /// The watch for drift.
    #[serde(default)]
    pub drift: DriftSection,
    /// Records that can't be taken.
    #[serde(default)]
    pub dead_letters: DeadLetterSection,
    /// What is answered by HTTP.
    #[serde(default)]
    pub api: ApiSection,
}

/// `[model]`
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ModelSection {
    /// `models:/NAME@ALIAS`, `models:/NAME/VERSION`, or the path of a model's folder or native file.
    pub uri: String,
    /// The alias of the same registered model that is scored in shadow.
    pub challenger: Option<String>,
    /// How often a registry that does not tell by itself is asked for the alias.
    #[serde(default = "two_seconds")]
    pub poll: Span,
}

/// `[stream]`
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct StreamSection {
    /// What is read: `trades` or `candles`.
    pub source: Source,
    /// When rows are scored.
    pub score_on: ScoreOn,
    /// With `score_on = "trade"`: the shortest time between two looks at a symbol's open candle.
    pub every: Span,
    /// Lengths of the candles that are published.
    pub candles: Vec<Interval>,
    /// After how much event time without a record a symbol is silent.
    pub idle: Span,
    /// How far ahead a trade may be without another one that agrees.
    pub max_jump: Span,
    /// How far apart flagged candles are one incident; absent: five minutes, or three candles where that is longer.
    pub quiet: Option<Span>,
    /// Symbols of one partition at most.
    pub max_symbols: usize,
}

/// When rows are scored.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ScoreOn {
    /// When their candle closes.
    #[default]
    Candle,
    /// Also while it is open, at every trade: earlier warnings.
    Trade,
}

/// `[kafka]`
#[derive(Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct KafkaSection {
    /// The brokers to begin with, `HOST:PORT,…`; `SCORER_BROKERS` overrides it.
    pub brokers: String,
    /// Comes before every topic's name.
    pub topic_prefix: String,
    /// The consumer group.
    pub group: String,
    /// This scorer's name within its group, the same after a restart; absent: the host's name.
    pub instance: Option<String>,
    /// Where a group that has never committed begins.
    pub start: Start,
    /// How long a transaction collects records before it is committed.
    pub transaction_interval: Span,
    /// How many records it collects at most.
    pub transaction_records: usize,
    /// After how long the brokers give up a transaction whose scorer is gone.
    pub transaction_timeout: Span,
    /// Replicas of topics that are created.
    pub replication: i32,
    /// Properties of librdkafka.
    pub properties: BTreeMap<String, String>,
}

/// Where a group that has never committed begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Start {
    /// With the first record that is there.
    #[default]
    Earliest,
    /// With what comes from now on.
    Latest,
}

/// `[registry]`
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct RegistrySection {
    /// Its URL; `MLFLOW_TRACKING_URI` overrides it. Credentials come from MLflow's own variables.
    pub uri: Option<String>,
}

/// `[state]`
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct StateSection {
    /// A folder or an `s3://` URI.
    pub location: String,
    /// How often a snapshot of each partition is written.
    pub every: Span,
}

/// `[limits]`
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct LimitsSection {
    /// The file; absent: the model alone judges.
    pub file: Option<String>,
    /// How often it is looked at.
    pub every: Span,
}

/// `[archive]`
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ArchiveSection {
    /// A folder or an `s3://` URI; absent: nothing is archived.
    pub location: Option<String>,
    /// The age at which collected rows are written.
    pub every: Span,
    /// How many rows are collected at most, in all partitions of this scorer together.
    pub rows: usize,
}

/// `[drift]`; what is watched and by which limits stands in the model.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct DriftSection {
    /// Whether drift is watched at all.
    pub enabled: bool,
    /// The least event time between two requests for a new training; it doubles with each.
    pub cooldown: Span,
    /// It grows no further than this.
    pub max_cooldown: Span,
}

/// `[dead_letters]`
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct DeadLetterSection {
    /// The scorer stops when more than this share of the last records can't be taken.
    pub max_share: f64,
    /// How many records "the last" are.
    pub window: usize,
}

fn two_seconds() -> Span {
    Span(Duration::from_secs(2))
}

impl Default for StreamSection {
    fn default() -> Self {
        let seconds = |seconds| Span(Duration::from_secs(seconds));
        Self {
            source: Source::Trades,
            score_on: ScoreOn::Candle,
            every: seconds(0),
            candles: vec![Interval::TEN_SECONDS, Interval::MINUTE],
            idle: seconds(30),
            max_jump: seconds(24 * 3_600),
            quiet: None,
            max_symbols: 100_000,
        }
    }
}

impl Default for KafkaSection {
    fn default() -> Self {
        Self {
            brokers: "localhost:9092".to_owned(),
            topic_prefix: String::new(),
            group: "scorer".to_owned(),
            instance: None,
            start: Start::Earliest,
            transaction_interval: Span(Duration::from_millis(100)),
            transaction_records: 50_000,
            transaction_timeout: Span(Duration::from_secs(30)),
            replication: 1,
            properties: BTreeMap::new(),
        }
    }
}

impl Default for StateSection {
    fn default() -> Self {
        Self {
            location: "foreshock/scorer-state".to_owned(),
            every: Span(Duration::from_secs(60)),
        }
    }
}

impl Default for LimitsSection {
    fn default() -> Self {
        Self {
            file: None,
            every: two_seconds(),
        }
    }
}

impl Default for ArchiveSection {
    fn default() -> Self {
        Self {
            location: None,
            every: Span(Duration::from_secs(15 * 60)),
            rows: 100_000,
        }
    }
}

impl Default for DriftSection {
    fn default() -> Self {
        let usual = DriftPolicy::default();
        let span = |micros: i64| Span(Duration::from_micros(micros.unsigned_abs()));
        Self {
            enabled: true,
            cooldown: span(usual.cooldown_us),
            max_cooldown: span(usual.max_cooldown_us),
        }
    }
}

impl Default for DeadLetterSection {
    fn default() -> Self {
        Self {
            max_share: 0.1,
            window: 1_000,
        }
    }
}

impl std::fmt::Debug for KafkaSection {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("KafkaSection")
            .field("brokers", &self.brokers)
            .field("group", &self.group)
            // Values may be passwords.
            .field("properties", &self.properties.keys())
            .finish_non_exhaustive()
    }
}

impl Config {
    /// The core's settings, where features are computed like this.
    #[must_use]
    pub fn settings(&self, features: market::ValidFeatureConfig) -> streaming::Settings {
        let usual = streaming::Settings::new(features);
        let stream = &self.stream;
        streaming::Settings {
            source: stream.source,
            candles: match stream.source {
                Source::Trades => stream.candles.clone(),
                Source::Candles => Vec::new(),
            },
            early: match stream.score_on {
                ScoreOn::Candle => None,
                ScoreOn::Trade => Some(stream.every.micros()),
            },
            idle: stream.idle.micros(),
            max_jump: stream.max_jump.micros(),
            quiet: stream.quiet.map_or(usual.quiet, Span::micros),
            max_symbols: stream.max_symbols,
            drift: self.drift.enabled.then(|| DriftPolicy {
                cooldown_us: self.drift.cooldown.micros(),
                max_cooldown_us: self.drift.max_cooldown.micros(),
            }),
            ..usual
        }
    }

    /// Where the file's relative paths begin: its own folder.
    pub(crate) fn relative_to(mut self, folder: &std::path::Path) -> Self {
        let join = |text: &str| {
            let is_local = !text.contains(":/") && PathBuf::from(text).is_relative();
            match is_local {
                true => folder.join(text).to_string_lossy().into_owned(),
                false => text.to_owned(),
            }
        };
        self.state.location = join(&self.state.location);
        self.limits.file = self.limits.file.as_deref().map(join);
        self.archive.location = self.archive.location.as_deref().map(join);
        self.model.uri = join(&self.model.uri);
        if let Some(path) = &mut self.api.token_file {
            *path = join(path);
        }
        self
    }
}
