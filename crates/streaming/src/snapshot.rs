//! Snapshots: a partition, and what has been counted of drift, at one offset.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::bytes::{Frame, StoredError};
use crate::drift::{DriftWatch, FrozenWatch, StoredWatch};
use crate::partition::{FrozenPartition, Partition, PartitionView, StoredPartition};
use crate::settings::Settings;

/// What is read from a snapshot.
#[derive(Debug)]
pub(crate) struct Snapshot {
    pub(crate) partition: Partition,
    pub(crate) watch: Option<StoredWatch>,
}

const SNAPSHOT: Frame = Frame {
    what: "snapshot",
    magic: *b"FSHP",
    version: 2,
};

/// Version 1 was the partition alone.
const PARTITION: Frame = Frame {
    version: 1,
    ..SNAPSHOT
};

#[derive(Serialize)]
struct View {
    partition: PartitionView,
    watch: Option<StoredWatch>,
}

/// A pipeline as it was at one offset, to be made a snapshot of, on whatever thread.
#[derive(Debug)]
pub struct Frozen {
    partition: FrozenPartition,
    watch: Option<FrozenWatch>,
}

impl Frozen {
    pub(crate) fn new(partition: &Partition, watch: &DriftWatch) -> Self {
        Self {
            partition: partition.freeze(),
            watch: watch.freeze(),
        }
    }

    /// One more than the offset of the last record that it has seen.
    #[must_use]
    pub fn next_offset(&self) -> i64 {
        self.partition.next_offset()
    }

    /// The snapshot: the same state gives the same bytes.
    ///
    /// # Errors
    /// When memory for them is lacking; nothing else can go wrong.
    pub fn into_bytes(self) -> Result<Vec<u8>, StoredError> {
        SNAPSHOT.write(&View {
            partition: self.partition.into_view(),
            watch: self.watch.map(FrozenWatch::into_stored),
        })
    }
}

#[derive(Deserialize)]
struct Content {
    partition: StoredPartition,
    watch: Option<StoredWatch>,
}

impl Snapshot {
    /// Reads what [`Frozen::into_bytes`] gave, in this version of the program or the one before.
    pub(crate) fn read(settings: Arc<Settings>, bytes: &[u8]) -> Result<Self, StoredError> {
        let Content { partition, watch } = match PARTITION.begins(bytes) {
            true => Content {
                partition: PARTITION.read(bytes)?,
                watch: None,
            },
            false => SNAPSHOT.read(bytes)?,
        };
        Ok(Self {
            partition: Partition::of_stored(settings, partition)?,
            watch,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use market::{FeatureConfig, Interval};

    #[test]
    fn the_version_before_is_read() {
        let settings = Settings::new(FeatureConfig::new(Interval::MINUTE).check().unwrap());
        let settings = Arc::new(settings);
        let partition = Partition::new(Arc::clone(&settings));
        let old = PARTITION.write(&partition.freeze().into_view()).unwrap();
        let read = Snapshot::read(Arc::clone(&settings), &old).unwrap();
        assert_eq!(read.partition.next_offset(), 0);
        assert!(read.watch.is_none());
        let new = Frozen::new(&partition, &DriftWatch::default())
            .into_bytes()
            .unwrap();
        assert!(Snapshot::read(settings, &new).is_ok());
    }
}
