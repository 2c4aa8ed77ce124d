//! Bringing a pipeline back to exactly where the last commit left it.

use std::sync::Arc;

use thiserror::Error;

use crate::bytes::StoredError;
use crate::incidents::Incidents;
use crate::partition::Partition;
use crate::pipeline::Pipeline;
use crate::record::Record;
use crate::settings::Settings;

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
    Incidents(#[source] StoredError),
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
}

/// Restores the pipeline of a partition whose next record is `committed`, with what was committed beside that offset.
///
/// The newest snapshot that is not ahead of the commit is taken; what can't be used is passed over. The records after it
/// are replayed in silence, since what they said is out.
///
/// # Errors
/// The outside fails, or `incidents` is damaged; never a snapshot, which can be done without.
pub fn restore<L: Log>(
    settings: &Arc<Settings>,
    committed: i64,
    incidents: Option<&[u8]>,
    log: &mut L,
) -> Result<Restored, RestoreError<L::Error>> {
    let incidents = match incidents {
        Some(bytes) => Incidents::from_bytes(bytes).map_err(RestoreError::Incidents)?,
        None => Incidents::default(),
    };
    let mut snapshots = log.snapshots().map_err(RestoreError::Log)?;
    // A snapshot ahead of the commit is of a transaction that never was.
    snapshots.retain(|stored| stored.next_offset <= committed);
    snapshots.sort_by_key(|stored| std::cmp::Reverse(stored.next_offset));
    let mut unusable = Vec::new();
    let mut found = None;
    for stored in snapshots {
        let bytes = log.snapshot(&stored).map_err(RestoreError::Log)?;
        match Partition::from_snapshot(Arc::clone(settings), &bytes) {
            Ok(partition) if partition.next_offset() == stored.next_offset => {
                found = Some((stored, partition));
                break;
            }
            Ok(partition) => {
                let reason = format!("it ends at offset {}", partition.next_offset());
                unusable.push((stored, reason));
            }
            Err(error) => unusable.push((stored, error.to_string())),
        }
    }
    let (snapshot, mut partition) = match found {
        Some((stored, partition)) => (Some(stored), partition),
        None => (None, Partition::new(Arc::clone(settings))),
    };
    let first = log.first_offset().map_err(RestoreError::Log)?;
    let from = partition.next_offset();
    let missing = match snapshot {
        Some(_) => first.min(committed).saturating_sub(from).max(0),
        None => 0,
    };
    let mut replayed = 0;
    if from < committed {
        log.read(from.max(first), committed, &mut |record| {
            partition.replay(record);
            replayed += 1;
        })
        .map_err(RestoreError::Log)?;
    }
    Ok(Restored {
        pipeline: Pipeline::of(partition, incidents),
        snapshot,
        replayed,
        unusable,
        missing: missing.unsigned_abs(),
    })
}
