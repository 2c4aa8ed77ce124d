//! Watching the rows that a model scores for drift, exactly once.
//!
//! A [`DriftMonitor`] is a function of the rows that it was shown since its model came into force. By its layout it
//! holds about 17 kB with 20 symbols and 16 features, and 70 kB with 1,000 symbols; it changes with nearly every row, so
//! writing it with each of ten transactions a second would be more than all that is said. What is written there is only *since when* the rows of *which* model are watched
//! ([`Began`]), which changes when the model does. The monitor itself goes into the snapshots, although a model had a
//! say in it, because it can be computed again: a new model has a new monitor, so whatever is in a monitor was scored by
//! the one model that it belongs to. [`restore`](crate::restore()) takes a snapshot of the same watch, or one from before
//! it began, and shows the monitor the rows between there and the commit, scored by that model once more. Where another
//! model is in force by then, nothing of it is needed: its watch begins at the commit.
//!
//! The alternatives: the monitor in every transaction (too much), now and then in a record of its own (which adds
//! a second place to find and to keep in step, and no exactness), or reading the `features` topic back (whose partitions
//! need not be those of the source).

use std::sync::Arc;

use detectors::drift::{DriftMonitor, DriftPolicy, DriftVerdict, Observation};
use detectors::{DriftBaseline, FormatError};
use market::FeatureRow;
use serde::{Deserialize, Serialize};

use crate::judge::{Judge, ModelId, Score};
use crate::wire::Drift;

/// Since when the rows of which model are watched.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Began {
    /// The model.
    pub model: ModelId,
    /// Tells its baseline from others; 0 where it has none, and nothing is watched.
    pub baseline: u64,
    /// The offset of the first record whose rows it scored.
    pub offset: i64,
}

impl Began {
    fn now(judge: &dyn Judge, offset: i64) -> Self {
        Self {
            model: judge.model().clone(),
            baseline: fingerprint(judge),
            offset,
        }
    }

    /// Whether this is a watch of this model.
    pub(crate) fn is_of(&self, judge: &dyn Judge) -> bool {
        self.model == *judge.model() && self.baseline == fingerprint(judge)
    }
}

fn fingerprint(judge: &dyn Judge) -> u64 {
    judge.drift_baseline().map_or(0, |of| of.fingerprint())
}

/// A watch as a snapshot holds it.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct StoredWatch {
    pub(crate) began: Began,
    /// `None` where the model has no baseline.
    monitor: Option<Vec<u8>>,
}

impl StoredWatch {
    /// Brings it back for the model that it is of.
    pub(crate) fn open(
        self,
        judge: &dyn Judge,
        policy: DriftPolicy,
    ) -> Result<DriftWatch, FormatError> {
        let monitor = match (judge.drift_baseline(), self.monitor) {
            (Some(baseline), Some(bytes)) => Some(DriftMonitor::restore(
                Arc::clone(baseline),
                shown(judge.model()),
                policy,
                &bytes,
            )?),
            _ => None,
        };
        Ok(DriftWatch {
            began: Some(self.began),
            monitor,
            ..DriftWatch::default()
        })
    }
}

/// The drift of one partition.
#[derive(Debug, Default)]
pub(crate) struct DriftWatch {
    pub(crate) began: Option<Began>,
    monitor: Option<DriftMonitor>,
    /// Whether `began` is another than what was written last.
    pub(crate) changed: bool,
    /// Rows that the monitor could not take.
    n_refused: u64,
    /// Reused by every row.
    verdicts: Vec<DriftVerdict>,
}

impl DriftWatch {
    /// The watch of a model that begins at this offset, as it was committed before.
    pub(crate) fn resumed(judge: &dyn Judge, began: Began, policy: DriftPolicy) -> Self {
        Self {
            began: Some(began),
            monitor: monitor(judge, policy),
            ..Self::default()
        }
    }

    /// No watch, where this one was written last.
    pub(crate) fn remembered(began: Option<Began>) -> Self {
        Self {
            began,
            ..Self::default()
        }
    }

    /// Takes note of the model in force: another one than before has a watch of its own, from `offset` on.
    pub(crate) fn follow(&mut self, judge: &dyn Judge, offset: i64, policy: Option<DriftPolicy>) {
        let Some(policy) = policy else {
            self.changed |= self.began.take().is_some();
            self.monitor = None;
            return;
        };
        if self.began.as_ref().is_some_and(|began| began.is_of(judge)) {
            return;
        }
        self.began = Some(Began::now(judge, offset));
        self.monitor = monitor(judge, policy);
        self.changed = true;
    }

    /// Shows it a closed row that was scored; what it says of it.
    pub(crate) fn observe<'a>(
        &'a mut self,
        partition: i32,
        symbol: &str,
        row: &FeatureRow,
        features: &[f64],
        (score, threshold): (&Score, f64),
    ) -> impl Iterator<Item = Drift> + use<'a> {
        self.verdicts.clear();
        if let Some(monitor) = &mut self.monitor {
            let observation = Observation {
                symbol,
                features,
                score: score.score,
                // By the model alone: limits beside it may be others when this is computed again.
                flagged: score.score > threshold,
                event_time: row.candle.open_time,
                filled: row.filled,
                n_trades: row.candle.trade_count,
            };
            if monitor.observe(&observation, &mut self.verdicts).is_err() {
                self.n_refused += 1;
            }
        }
        let windows = self.monitor.as_ref().map_or(0, |m| m.counts().windows);
        let model = self.began.as_ref().map(|began| &began.model);
        let verdicts = self.verdicts.drain(..);
        verdicts.filter_map(move |verdict| Some(Drift::new(model?, partition, windows, verdict)))
    }

    pub(crate) fn monitor(&self) -> Option<&DriftMonitor> {
        self.monitor.as_ref()
    }

    pub(crate) fn n_refused(&self) -> u64 {
        self.n_refused
    }

    /// What it is now, for as long as it takes to write it.
    pub(crate) fn freeze(&self) -> Option<FrozenWatch> {
        Some(FrozenWatch {
            began: self.began.clone()?,
            monitor: self.monitor.clone(),
        })
    }
}

/// A watch as it was at one offset.
#[derive(Debug)]
pub(crate) struct FrozenWatch {
    began: Began,
    monitor: Option<DriftMonitor>,
}

impl FrozenWatch {
    pub(crate) fn into_stored(self) -> StoredWatch {
        StoredWatch {
            began: self.began,
            monitor: self.monitor.as_ref().map(DriftMonitor::to_bytes),
        }
    }
}

fn monitor(judge: &dyn Judge, policy: DriftPolicy) -> Option<DriftMonitor> {
    let baseline: &Arc<DriftBaseline> = judge.drift_baseline()?;
    let model = shown(judge.model());
    Some(DriftMonitor::new(Arc::clone(baseline), model, policy))
}

fn shown(model: &ModelId) -> String {
    format!("{}/{}", model.name, model.version)
}
