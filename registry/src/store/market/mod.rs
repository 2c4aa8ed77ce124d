//! What was followed from Kafka: alerts, drift verdicts, candles and scores.
//!
//! Rows and the offsets they were read at are one transaction, so whatever is read again is written
//! once. In PostgreSQL the tables are partitioned by event time ([`partitions`]); in SQLite they are
//! plain ones.

mod calendar;
mod partitions;
mod retention;
mod rows;
mod search;
mod write;

use std::collections::HashSet;
use std::sync::{Arc, Mutex};

pub use retention::HistoryRetention;
pub use rows::{AlertRow, DriftRow, HistoryRows, ScoreRow};
pub use search::{Cursor, HistoryField, HistoryItem, HistorySearch};
pub use write::{Position, Written};

use super::Store;
use calendar::Slot;

/// What there is a history of.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum HistoryKind {
    /// Alerts.
    Alerts,
    /// Verdicts of the drift detector.
    Drift,
    /// Closed candles.
    Candles,
    /// Rows of features, with their scores where they have them.
    Scores,
}

impl HistoryKind {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Alerts, Self::Drift, Self::Candles, Self::Scores];

    /// `alerts`, `drift`, `candles` or `scores`.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Alerts => "alerts",
            Self::Drift => "drift",
            Self::Candles => "candles",
            Self::Scores => "scores",
        }
    }

    fn table(self) -> &'static str {
        match self {
            Self::Drift => "drift_verdicts",
            _ => self.as_str(),
        }
    }
}

/// The history as somebody sees it who writes it.
#[derive(Debug, Clone)]
pub struct MarketHistory {
    store: Store,
    retention: HistoryRetention,
    /// Partitions that are known to be there.
    known: Arc<Mutex<HashSet<(HistoryKind, Slot)>>>,
}

impl MarketHistory {
    /// The history in `store`, kept as long as `retention` says.
    #[must_use]
    pub fn new(store: Store, retention: HistoryRetention) -> Self {
        Self {
            store,
            retention,
            known: Arc::default(),
        }
    }
}
