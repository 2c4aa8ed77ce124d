//! Bringing a pipeline back to exactly where the last commit left it.

use std::sync::Arc;

use detectors::drift::DriftPolicy;
use thiserror::Error;

use crate::bytes::StoredError;
use crate::drift::{Began, DriftWatch};
use crate::judge::Judge;
use crate::memory::Memory;
use crate::partition::Partition;
use crate::pipeline::Pipeline;
use crate::record::Record;
use crate::settings::Settings;
use crate::snapshot::Snapshot;

/// A snapshot that is somewhere.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stored {
    /// The offset of the first record that is not in it.
    pub next_offset: i64,
    /// How to ask for it.
    pub name: String,
}

/// What restoring asks of the outside, for one partition.
pub trait Log {
    /// What can go wrong outside.
    type Error: std::error::Error + Send + Sync + 'static;

    /// The snapshots that there are, in any order.
    ///
    /// # Errors
    /// They can't be listed.
    fn snapshots(&mut self) -> Result<Vec<Stored>, Self::Error>;

    /// A snapshot's bytes.
    ///
    /// # Errors
    /// They can't be read.
    fn snapshot(&mut self, stored: &Stored) -> Result<Vec<u8>, Self::Error>;

    /// The offset of the first record that is still there.
    ///
    /// # Errors
    /// It can't be told.
    fn first_offset(&mut self) -> Result<i64, Self::Error>;

    /// Hands every committed record from offset `from` on, and before offset `to`, to `visit`, in order.
    ///
    /// # Errors
    /// They can't be read.
    fn read(
        &mut self,
        from: i64,
        to: i64,
        visit: &mut dyn FnMut(&Record<'_>),
    ) -> Result<(), Self::Error>;
}

/// A partition that can't be restored.
#[derive(Debug, Error)]
pub enum RestoreError<E: std::error::Error + 'static> {
    /// The outside failed.
    #[error(transparent)]
    Log(E),
    /// What was committed with the outputs can't be read.
    #[error("what was committed with the last outputs can't be read")]
    Memory(#[source] StoredError),
}

/// Where the last commit left a partition.
#[derive(Debug, Clone, Copy)]
pub struct Committed<'a> {
    /// Which partition it is.
    pub partition: i32,
    /// The offset of its next record.
    pub next_offset: i64,
    /// What was written with the last outputs: [`Pipeline::take_memory`].
    pub memory: Option<&'a [u8]>,
    /// The model that is in force now: the rows that it has scored before are watched on. `None`: they are not.
    pub judge: Option<&'a dyn Judge>,
}

/// A restored pipeline, and how it was done.
#[derive(Debug)]
pub struct Restored {
    /// The pipeline.
    pub pipeline: Pipeline,
    /// The snapshot that it began with; `None` where it began with the first record there is.
    pub snapshot: Option<Stored>,
    /// Records that were replayed.
    pub replayed: u64,
    /// Snapshots that could not be used, and why.
    pub unusable: Vec<(Stored, String)>,
    /// How many records are missing between where it began and the first one that is still there: its windows start
    /// afresh then.
    pub missing: u64,
    /// Why the watch for drift can't go on, where it had begun for this model: it starts afresh.
    pub drift_lost: Option<String>,
}

/// What a pipeline begins with.
struct Base {
    snapshot: Option<Stored>,
    partition: Partition,
    /// `None`: the watch starts afresh with the next rows.
    watch: Option<DriftWatch>,
}

/// Restores the pipeline of a partition.
///
/// The newest snapshot that is not ahead of the commit and fits is taken; what can't be used is passed over. The records
/// after it are replayed in silence, since what they said is out; those that the model in force has scored before are
/// scored once more, for the watch for drift.
///
/// # Errors
/// The outside fails, or the memory is damaged; never a snapshot, which can be done without.
pub fn restore<L: Log>(
    settings: &Arc<Settings>,
    committed: Committed<'_>,
    log: &mut L,
) -> Result<Restored, RestoreError<L::Error>> {
    let memory = match committed.memory {
        Some(bytes) => Memory::from_bytes(bytes).map_err(RestoreError::Memory)?,
        None => Memory::default(),
    };
    let first = log.first_offset().map_err(RestoreError::Log)?;
    let resumed = match (settings.drift, committed.judge, memory.began.clone()) {
        (Some(policy), Some(judge), Some(began)) if began.is_of(judge) => Some(Resumed {
            policy,
            judge,
            began,
        }),
        _ => None,
    };
    let mut search = Search {
        settings,
        resumed: resumed.as_ref(),
        unusable: Vec::new(),
        drift_lost: None,
    };
    let base = search.base(committed.next_offset, first, log)?;
    let (unusable, drift_lost) = (search.unusable, search.drift_lost);

    let from = base.partition.next_offset();
    let missing = match base.snapshot {
        Some(_) => first.min(committed.next_offset).saturating_sub(from).max(0),
        None => 0,
    };
    let resumed = resumed.filter(|_| base.watch.is_some());
    let watch = match (base.watch, settings.drift) {
        (Some(watch), _) => watch,
        (None, Some(_)) => DriftWatch::default(),
        // Nothing is watched: that there was something is still to be forgotten.
        (None, None) => DriftWatch::remembered(memory.began),
    };
    let (number, next_offset) = (committed.partition, committed.next_offset);
    let mut pipeline = Pipeline::of(number, next_offset, base.partition, memory.incidents, watch);
    let mut replayed = 0;
    if from < next_offset {
        log.read(from.max(first), next_offset, &mut |record| {
            replayed += 1;
            match &resumed {
                Some(of) if record.offset >= of.began.offset => pipeline.relive(record, of.judge),
                _ => pipeline.replay(record),
            }
        })
        .map_err(RestoreError::Log)?;
    }
    if let Some(of) = &resumed {
        pipeline.relived(of.judge);
    }
    Ok(Restored {
        pipeline,
        snapshot: base.snapshot,
        replayed,
        unusable,
        missing: missing.unsigned_abs(),
        drift_lost,
    })
}

/// A watch that is to go on.
struct Resumed<'a> {
    policy: DriftPolicy,
    judge: &'a dyn Judge,
    began: Began,
}

impl Resumed<'_> {
    fn afresh(&self) -> DriftWatch {
        DriftWatch::resumed(self.judge, self.began.clone(), self.policy)
    }
}

/// Looks for a snapshot that fits.
struct Search<'a> {
    settings: &'a Arc<Settings>,
    resumed: Option<&'a Resumed<'a>>,
    unusable: Vec<(Stored, String)>,
    drift_lost: Option<String>,
}

impl Search<'_> {
    fn base<L: Log>(
        &mut self,
        committed: i64,
        first: i64,
        log: &mut L,
    ) -> Result<Base, RestoreError<L::Error>> {
        let mut snapshots = log.snapshots().map_err(RestoreError::Log)?;
        // A snapshot ahead of the commit is of a transaction that never was.
        snapshots.retain(|stored| stored.next_offset <= committed);
        snapshots.sort_by_key(|stored| std::cmp::Reverse(stored.next_offset));
        // Sound, but with the watch of a model that never came into force there.
        let mut spare = None;
        for stored in snapshots {
            let bytes = log.snapshot(&stored).map_err(RestoreError::Log)?;
            let Some(Snapshot { partition, watch }) = self.read(&stored, &bytes) else {
                continue;
            };
            let snapshot = Some(stored);
            let Some(resumed) = self.resumed else {
                return Ok(Base {
                    snapshot,
                    partition,
                    watch: None,
                });
            };
            let watch = match watch {
                _ if partition.next_offset() <= resumed.began.offset => Some(resumed.afresh()),
                Some(stored) if stored.began == resumed.began => {
                    let opened = stored.open(resumed.judge, resumed.policy);
                    opened
                        .inspect_err(|error| self.drift_lost = Some(error.to_string()))
                        .ok()
                }
                _ => {
                    spare.get_or_insert((snapshot, partition));
                    continue;
                }
            };
            return Ok(Base {
                snapshot,
                partition,
                watch,
            });
        }
        let began = self.resumed.map(|resumed| resumed.began.offset);
        if let (Some((snapshot, partition)), true) = (spare, first > 0) {
            self.drift_lost = Some("no snapshot holds it".to_owned());
            return Ok(Base {
                snapshot,
                partition,
                watch: None,
            });
        }
        if began.is_some_and(|began| began < first) {
            self.drift_lost = Some("no snapshot holds it, and records are gone".to_owned());
        }
        Ok(Base {
            snapshot: None,
            partition: Partition::new(Arc::clone(self.settings)),
            watch: match (self.resumed, &self.drift_lost) {
                (Some(resumed), None) => Some(resumed.afresh()),
                _ => None,
            },
        })
    }

    /// A snapshot, where it is what it is said to be.
    fn read(&mut self, stored: &Stored, bytes: &[u8]) -> Option<Snapshot> {
        let reason = match Snapshot::read(Arc::clone(self.settings), bytes) {
            Ok(read) if read.partition.next_offset() == stored.next_offset => return Some(read),
            Ok(read) => format!("it ends at offset {}", read.partition.next_offset()),
            Err(error) => error.to_string(),
        };
        self.unusable.push((stored.clone(), reason));
        None
    }
}
