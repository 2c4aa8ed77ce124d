//! How following goes: for `/metrics`, `/readyz` and the log.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use market::Topic;
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::{Registry, Unit};
use serde_json::{Value, json};

use super::records::Bad;
use crate::store::{HistoryKind, HistoryRows};

/// What the database does not take, whatever is tried.
const REFUSED: &str = "refused";
/// How often one thing is logged.
const AGAIN: Duration = Duration::from_secs(60);

/// What following does at the moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Doing {
    /// It has not reached a broker yet.
    Connecting,
    /// It is in touch with a broker.
    Following,
    /// No broker answers.
    BrokerAway,
    /// The database does not take what was read.
    DatabaseAway,
    /// It is over.
    Stopped,
}

impl Doing {
    fn as_str(self) -> &'static str {
        match self {
            Self::Connecting => "connecting",
            Self::Following => "following",
            Self::BrokerAway => "broker away",
            Self::DatabaseAway => "database away",
            Self::Stopped => "stopped",
        }
    }
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct KindLabels {
    kind: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct BadLabels {
    topic: &'static str,
    reason: &'static str,
}

/// How following goes. Cheap to clone.
#[derive(Debug, Clone)]
pub(crate) struct State(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    doing: Mutex<(Doing, Instant)>,
    logged: Mutex<HashMap<(&'static str, &'static str), Instant>>,
    following: Gauge,
    lag: Gauge,
    rows: Family<KindLabels, Counter>,
    bad: Family<BadLabels, Counter>,
    restarts: Counter,
    written: Gauge,
}

impl State {
    pub(super) fn new() -> Self {
        Self(Arc::new(Inner {
            doing: Mutex::new((Doing::Connecting, Instant::now())),
            logged: Mutex::default(),
            following: Gauge::default(),
            lag: Gauge::default(),
            rows: Family::default(),
            bad: Family::default(),
            restarts: Counter::default(),
            written: Gauge::default(),
        }))
    }

    /// Shows it among the metrics.
    pub(crate) fn register(&self, registry: &mut Registry) {
        let inner = &self.0;
        let registry = registry.sub_registry_with_prefix("market");
        registry.register(
            "following",
            "1 while a Kafka broker is followed",
            inner.following.clone(),
        );
        registry.register(
            "lag_records",
            "Records of this server's partitions that are still to be read",
            inner.lag.clone(),
        );
        registry.register(
            "rows",
            "Rows of the history that were written, by kind; repeated ones count again",
            inner.rows.clone(),
        );
        registry.register(
            "bad_records",
            "Records that were passed over, by topic and reason",
            inner.bad.clone(),
        );
        registry.register(
            "restarts",
            "How often following began anew, after a failure",
            inner.restarts.clone(),
        );
        registry.register_with_unit(
            "last_write_time",
            "When rows were last written, since the epoch",
            Unit::Seconds,
            inner.written.clone(),
        );
    }

    /// For `/readyz`.
    pub(crate) fn details(&self) -> Value {
        let (doing, since) = *locked(&self.0.doing);
        json!({
            "state": doing.as_str(),
            "seconds": since.elapsed().as_secs(),
            "lag_records": self.0.lag.get(),
        })
    }

    pub(super) fn set(&self, doing: Doing) {
        let mut now = locked(&self.0.doing);
        if now.0 == doing {
            return;
        }
        let was = now.0;
        *now = (doing, Instant::now());
        drop(now);
        self.0.following.set(i64::from(doing == Doing::Following));
        if doing == Doing::Following {
            tracing::info!("Kafka is followed");
        } else if was == Doing::Following && doing != Doing::Stopped {
            tracing::warn!(state = doing.as_str(), "Kafka is not followed");
        }
    }

    pub(super) fn lag(&self, records: i64) {
        self.0.lag.set(records);
    }

    pub(super) fn restarted(&self) {
        self.0.restarts.inc();
    }

    pub(super) fn wrote(&self, rows: &Counts, seconds: i64) {
        for (kind, count) in HistoryKind::ALL.into_iter().zip(rows.0) {
            if count > 0 {
                let labels = KindLabels {
                    kind: kind.as_str(),
                };
                self.0.rows.get_or_create(&labels).inc_by(count);
            }
        }
        self.0.written.set(seconds);
    }

    /// Counts a record that is passed over, and logs the first of its reason in a while.
    pub(super) fn bad(&self, topic: Topic, place: (i32, i64), bad: &Bad) {
        let labels = BadLabels {
            topic: topic.as_str(),
            reason: bad.reason,
        };
        self.0.bad.get_or_create(&labels).inc();
        if self.is_new(topic.as_str(), bad.reason) {
            let (partition, offset) = place;
            tracing::warn!(
                %topic, partition, offset, error = %bad,
                "a record was passed over; others like it are only counted for a minute"
            );
        }
    }

    /// Counts the one row that the database refuses.
    pub(super) fn refused(&self, rows: &HistoryRows, why: &str) {
        let kinds = HistoryKind::ALL.into_iter().zip(Counts::of(rows).0);
        for (kind, _) in kinds.filter(|(_, count)| *count > 0) {
            let labels = BadLabels {
                topic: kind.as_str(),
                reason: REFUSED,
            };
            self.0.bad.get_or_create(&labels).inc();
            if self.is_new(kind.as_str(), REFUSED) {
                tracing::warn!(kind = kind.as_str(), why, "the database refused a row");
            }
        }
    }

    /// Whether that was not said within the last minute.
    pub(super) fn is_new(&self, about: &'static str, what: &'static str) -> bool {
        let mut logged = locked(&self.0.logged);
        let last = logged.get(&(about, what));
        let is_new = last.is_none_or(|last| last.elapsed() > AGAIN);
        if is_new {
            logged.insert((about, what), Instant::now());
        }
        is_new
    }
}

/// How many rows of each kind.
#[derive(Debug, Clone, Copy)]
pub(super) struct Counts([u64; HistoryKind::ALL.len()]);

impl Counts {
    pub(super) fn of(rows: &HistoryRows) -> Self {
        let count = |kind| match kind {
            HistoryKind::Alerts => rows.alerts.len(),
            HistoryKind::Drift => rows.drift.len(),
            HistoryKind::Candles => rows.candles.len(),
            HistoryKind::Scores => rows.scores.len(),
        };
        Self(HistoryKind::ALL.map(|kind| count(kind) as u64))
    }
}

pub(super) fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
