//! Snapshots: a partition, and what has been counted of drift, at one offset.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::bytes::{Frame, StoredError};
use crate::drift::StoredWatch;
use crate::partition::{Partition, PartitionView, StoredPartition};
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
struct View<'a> {
    partition: PartitionView<'a>,
    watch: Option<StoredWatch>,
}

#[derive(Deserialize)]
struct Content {
    partition: StoredPartition,
    watch: Option<StoredWatch>,
}

impl Snapshot {
    pub(crate) fn write(
        partition: &Partition,
        watch: Option<StoredWatch>,
    ) -> Result<Vec<u8>, StoredError> {
        SNAPSHOT.write(&View {
            partition: partition.view(),
            watch,
        })
    }

    /// Reads what [`write`](Self::write) wrote, in this version of the program or the one before.
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
        let old = PARTITION.write(&partition.view()).unwrap();
        let read = Snapshot::read(Arc::clone(&settings), &old).unwrap();
        assert_eq!(read.partition.next_offset(), 0);
        assert!(read.watch.is_none());
        let new = Snapshot::write(&partition, None).unwrap();
        assert!(Snapshot::read(settings, &new).is_ok());
    }
}
