//! Snapshots of partitions, in a folder or on S3.
//!
//! Each partition has a few places that are written in turn, and an index that is written after the place: whoever reads
//! finds whole snapshots only, without listing anything. An index that is behind names a place that has been written
//! over; such a snapshot says itself what it is, and is passed over.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};
use std::thread::JoinHandle;

use history::{HistoryError, Storage, read_bytes, write_bytes};
use serde::{Deserialize, Serialize};
use streaming::{Frozen, Stored};

use crate::telemetry::Telemetry;

/// Places of a partition.
const PLACES: u64 = 3;
/// How a frame of zstd begins (RFC 8878, 3.1.1); no snapshot begins so by itself.
const COMPRESSED: [u8; 4] = [0x28, 0xb5, 0x2f, 0xfd];
/// The quickest: the loop doesn't wait, but a rebalance does.
const LEVEL: i32 = 1;

/// Where snapshots are.
#[derive(Debug, Clone)]
pub struct SnapshotStore {
    storage: Arc<Storage>,
    root: String,
}

/// The snapshots of a partition.
#[derive(Debug, Default, Serialize, Deserialize)]
struct Index {
    written: u64,
    snapshots: Vec<Entry>,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
struct Entry {
    next_offset: i64,
    name: String,
}

impl SnapshotStore {
    /// Those of this group and topic, under a folder or an `s3://` URI.
    #[must_use]
    pub fn new(location: &str, group: &str, topic: &str) -> Self {
        Self {
            storage: Arc::new(Storage::from_env()),
            root: format!("{}/{group}/{topic}", location.trim_end_matches('/')),
        }
    }

    /// Whether it can be written to.
    ///
    /// # Errors
    /// Why it can't.
    pub fn check(&self) -> Result<(), HistoryError> {
        let uri = format!("{}/.check", self.root);
        write_bytes(&self.storage, &uri, b"scorer check\n")
    }

    /// The snapshots of a partition.
    ///
    /// # Errors
    /// They can't be read.
    pub fn list(&self, partition: i32) -> Result<Vec<Stored>, HistoryError> {
        let stored = |entry: Entry| Stored {
            next_offset: entry.next_offset,
            name: entry.name,
        };
        let index = self.index(partition)?;
        Ok(index.snapshots.into_iter().map(stored).collect())
    }

    /// A snapshot's bytes; none where it is gone.
    ///
    /// # Errors
    /// They can't be read.
    pub fn read(&self, partition: i32, stored: &Stored) -> Result<Vec<u8>, HistoryError> {
        let uri = format!("{}/{partition}/{}", self.root, stored.name);
        let stored = read_bytes(&self.storage, &uri)?.unwrap_or_default();
        Ok(match stored.starts_with(&COMPRESSED) {
            // What is damaged is nothing: it is passed over.
            true => zstd::decode_all(&stored[..]).unwrap_or_default(),
            // As versions before this one wrote them.
            false => stored,
        })
    }

    /// Writes a snapshot of the records before `next_offset`.
    ///
    /// # Errors
    /// It can't be written.
    pub fn write(
        &self,
        partition: i32,
        next_offset: i64,
        bytes: &[u8],
    ) -> Result<(), HistoryError> {
        let mut index = self.index(partition)?;
        let name = format!("{}.snapshot", index.written % PLACES);
        let uri = format!("{}/{partition}/{name}", self.root);
        let packed = zstd::encode_all(bytes, LEVEL).map_err(|source| HistoryError::Io {
            uri: uri.clone(),
            action: "compress",
            source,
        })?;
        write_bytes(&self.storage, &uri, &packed)?;
        index.snapshots.retain(|entry| entry.name != name);
        index.snapshots.push(Entry { next_offset, name });
        index.written += 1;
        // Plain data: it can be written.
        let json = serde_json::to_vec_pretty(&index).unwrap_or_default();
        write_bytes(&self.storage, &self.index_uri(partition), &json)
    }

    fn index_uri(&self, partition: i32) -> String {
        format!("{}/{partition}/index.json", self.root)
    }

    /// One that can't be understood counts as none: snapshots can be done without.
    fn index(&self, partition: i32) -> Result<Index, HistoryError> {
        let uri = self.index_uri(partition);
        let bytes = read_bytes(&self.storage, &uri)?;
        Ok(bytes
            .and_then(|bytes| {
                serde_json::from_slice(&bytes)
                    .inspect_err(|error| {
                        tracing::warn!(%error, uri, "the index of snapshots can't be understood");
                    })
                    .ok()
            })
            .unwrap_or_default())
    }
}

struct Job {
    partition: i32,
    frozen: Frozen,
}

/// Makes and writes snapshots on a thread of its own: the loop waits for neither.
#[derive(Debug)]
pub struct SnapshotWriter {
    jobs: Option<SyncSender<Job>>,
    thread: Option<JoinHandle<()>>,
    telemetry: Arc<Telemetry>,
    /// It was said that the thread is gone.
    said: AtomicBool,
}

impl SnapshotWriter {
    /// Starts the thread.
    #[must_use]
    pub fn start(store: SnapshotStore, telemetry: Arc<Telemetry>) -> Self {
        let (jobs, received) = sync_channel(1);
        let counted = Arc::clone(&telemetry);
        let thread = std::thread::spawn(move || write_all(&store, &received, &counted));
        Self {
            jobs: Some(jobs),
            thread: Some(thread),
            telemetry,
            said: AtomicBool::new(false),
        }
    }

    /// Nothing will be written any more: a restart is going to read everything again.
    fn is_gone(&self) {
        self.telemetry.snapshot("failed");
        if !self.said.swap(true, Ordering::Relaxed) {
            tracing::error!(
                "the thread that writes snapshots has panicked: none are written until a restart"
            );
        }
    }

    /// Hands over what a snapshot is to be made of; whether there was room for it.
    pub fn offer(&self, partition: i32, frozen: Frozen) -> bool {
        let job = Job { partition, frozen };
        let Some(jobs) = &self.jobs else { return false };
        match jobs.try_send(job) {
            Ok(()) => true,
            Err(TrySendError::Full(_)) => {
                self.telemetry.snapshot("skipped");
                false
            }
            Err(TrySendError::Disconnected(_)) => {
                self.is_gone();
                // There is no use in asking again before the next one is due.
                true
            }
        }
    }

    /// Hands over what a snapshot is to be made of, and waits for room.
    pub fn insist(&self, partition: i32, frozen: Frozen) {
        let job = Job { partition, frozen };
        if let Some(jobs) = &self.jobs
            && jobs.send(job).is_err()
        {
            self.is_gone();
        }
    }
}

impl Drop for SnapshotWriter {
    /// Waits until what was handed over is written.
    fn drop(&mut self) {
        drop(self.jobs.take());
        if let Some(thread) = self.thread.take()
            && thread.join().is_err()
        {
            self.is_gone();
        }
    }
}

fn write_all(store: &SnapshotStore, jobs: &Receiver<Job>, telemetry: &Telemetry) {
    let mut failed: HashMap<i32, u32> = HashMap::new();
    for Job { partition, frozen } in jobs {
        let next_offset = frozen.next_offset();
        let bytes = match frozen.into_bytes() {
            Ok(bytes) => bytes,
            Err(error) => {
                tracing::error!(%error, partition, "a snapshot can't be made");
                telemetry.snapshot("failed");
                continue;
            }
        };
        match store.write(partition, next_offset, &bytes) {
            Ok(()) => {
                failed.remove(&partition);
                telemetry.snapshot("written");
            }
            Err(error) => {
                let times = failed.entry(partition).or_default();
                *times += 1;
                tracing::error!(%error, partition, times, "a snapshot can't be written: a restart will take longer");
                telemetry.snapshot("failed");
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_few_are_kept_and_a_broken_index_counts_as_none() {
        let folder = tempfile::tempdir().unwrap();
        let location = folder.path().to_string_lossy().into_owned();
        let store = SnapshotStore::new(&location, "g", "t");
        assert!(store.list(0).unwrap().is_empty());
        for next_offset in 1..=5 {
            store.write(0, next_offset, &[next_offset as u8]).unwrap();
        }
        let stored = store.list(0).unwrap();
        let offsets: Vec<i64> = stored.iter().map(|stored| stored.next_offset).collect();
        assert_eq!(offsets, [3, 4, 5]);
        for stored in &stored {
            assert_eq!(store.read(0, stored).unwrap(), [stored.next_offset as u8]);
        }
        // One that is not compressed is read as it is; a damaged one is nothing.
        let place = folder.path().join("g/t/0").join(&stored[0].name);
        std::fs::write(&place, b"FSHP").unwrap();
        assert_eq!(store.read(0, &stored[0]).unwrap(), b"FSHP");
        std::fs::write(&place, COMPRESSED).unwrap();
        assert!(store.read(0, &stored[0]).unwrap().is_empty());
        assert!(store.list(1).unwrap().is_empty());
        std::fs::write(folder.path().join("g/t/0/index.json"), "{").unwrap();
        assert!(store.list(0).unwrap().is_empty());
        store.write(0, 9, b"x").unwrap();
        assert_eq!(store.list(0).unwrap().len(), 1);
    }
}
