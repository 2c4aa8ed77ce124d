//! The names of the topics that the programs share.

use std::fmt;

/// A topic's place in the platform; its name has the prefix that the deployment chose.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Topic {
    /// Every trade: what the scorer reads.
    RawTrades,
    /// Aggregate trades, where single trades are in [`Topic::RawTrades`].
    AggTrades,
    /// Ids of trades that could not be had.
    Gaps,
    /// Where a feed of an exchange stands: the last id of each symbol and stream, compacted.
    FeedPositions,
    /// Closed candles of ten seconds.
    Kline10s,
    /// Closed candles of one minute.
    Kline1m,
    /// Rows of features with their scores.
    Features,
    /// Alerts.
    Alerts,
    /// What drifted.
    Drift,
    /// Trades that came too late for their candle.
    LateTrades,
    /// What a scorer's partitions remember of what they said: written with what they say.
    ScorerState,
}

impl Topic {
    /// Every topic.
    pub const ALL: [Topic; 11] = [
        Topic::RawTrades,
        Topic::AggTrades,
        Topic::Gaps,
        Topic::FeedPositions,
        Topic::Kline10s,
        Topic::Kline1m,
        Topic::Features,
        Topic::Alerts,
        Topic::Drift,
        Topic::LateTrades,
        Topic::ScorerState,
    ];

    /// The name without a prefix.
    pub fn as_str(self) -> &'static str {
        match self {
            Topic::RawTrades => "raw-trades",
            Topic::AggTrades => "agg-trades",
            Topic::Gaps => "gaps",
            Topic::FeedPositions => "feed-positions",
            Topic::Kline10s => "kline-10s",
            Topic::Kline1m => "kline-1m",
            Topic::Features => "features",
            Topic::Alerts => "alerts",
            Topic::Drift => "drift",
            Topic::LateTrades => "late-trades",
            Topic::ScorerState => "scorer-state",
        }
    }

    /// The name under a prefix: `raw-trades`, `test.raw-trades`.
    pub fn name(self, prefix: &str) -> String {
        format!("{prefix}{}", self.as_str())
    }

    /// The topic beside this one for what can't be read: `raw-trades.dlq`.
    pub fn dead_letters(self, prefix: &str) -> String {
        format!("{prefix}{}.dlq", self.as_str())
    }
}

impl fmt::Display for Topic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}
