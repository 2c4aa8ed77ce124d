//! Entries of the log, written in groups.
//!
//! What arrives while a group is being written goes with the next one: a commit costs the same for
//! one request as for fifty, and a request that comes alone waits for nobody. A group is written by
//! a task of its own, so a client that goes away takes nobody else's points with it.

use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::oneshot;

use crate::store::db::{Pools, query};
use crate::store::{Result, StoreError};

/// Groups that are written at once: in PostgreSQL one waits for the disk while the next is made.
const WRITERS_POSTGRES: usize = 2;
/// Entries of a group.
const GROUP: usize = 256;

/// One request's points.
#[derive(Debug)]
struct Entry {
    run_id: String,
    entry: i64,
    points: Vec<u8>,
    /// Whether the run took it: it is there and active.
    done: oneshot::Sender<Result<bool>>,
}

#[derive(Debug, Default)]
struct Queue {
    waiting: Vec<Entry>,
    writers: usize,
}

/// Where points go in.
#[derive(Debug)]
pub(in crate::store) struct Ingest {
    pools: Pools,
    queue: Mutex<Queue>,
}

impl Ingest {
    pub(in crate::store) fn new(pools: Pools) -> Self {
        Self {
            pools,
            queue: Mutex::default(),
        }
    }

    /// Appends an entry; returns once it is durable, with whether there is such an active run.
    pub(super) async fn append(self: &Arc<Self>, run_id: &str, points: Vec<u8>) -> Result<bool> {
        let (done, outcome) = oneshot::channel();
        let most = match &self.pools {
            Pools::Sqlite { .. } => 1,
            Pools::Postgres(_) => WRITERS_POSTGRES,
        };
        let start = {
            let mut queue = self.lock();
            queue.waiting.push(Entry {
                run_id: run_id.to_owned(),
                entry: entry_number(),
                points,
                done,
            });
            let start = queue.writers < most;
            queue.writers += usize::from(start);
            start
        };
        if start {
            tokio::spawn(Arc::clone(self).write());
        }
        // The writer answers everybody, unless the program is stopping.
        outcome
            .await
            .unwrap_or_else(|_| Err(sqlx::Error::PoolClosed.into()))
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Queue> {
        // A queue is consistent between any two statements.
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Writes groups until nothing waits.
    async fn write(self: Arc<Self>) {
        loop {
            let group = {
                let mut queue = self.lock();
                if queue.waiting.is_empty() {
                    queue.writers -= 1;
                    return;
                }
                let count = queue.waiting.len().min(GROUP);
                queue.waiting.drain(..count).collect::<Vec<_>>()
            };
            self.write_group(group).await;
        }
    }

    async fn write_group(&self, mut group: Vec<Entry>) {
        match self.insert(&mut group).await {
            Ok(taken) => {
                for entry in group {
                    let found = taken.contains(&entry.entry);
                    // Nobody listens where the client went away.
                    entry.done.send(Ok(found)).ok();
                }
            }
            // What one request got wrong (a NUL in a run's id) is not the others' fault.
            Err(error) if group.len() > 1 && !error.is_transient() => {
                for entry in group {
                    let mut alone = vec![entry];
                    let outcome = self.insert(&mut alone).await;
                    for entry in alone {
                        entry
                            .done
                            .send(outcome.as_ref().map(|t| !t.is_empty()).map_err(again))
                            .ok();
                    }
                }
            }
            Err(error) => {
                for entry in group {
                    entry.done.send(Err(again(&error))).ok();
                }
            }
        }
    }

    /// Inserts the entries of active runs; returns which.
    async fn insert(&self, group: &mut [Entry]) -> Result<Vec<i64>> {
        match &self.pools {
            Pools::Sqlite { .. } => {
                let mut tx = self.pools.write().await?;
                let mut taken = Vec::with_capacity(group.len());
                for entry in group {
                    let inserted = query(
                        "INSERT INTO metric_log (run_id, entry, points) SELECT run_id, $2, $3 \
                         FROM runs WHERE run_id = $1 AND lifecycle_stage = 'active'",
                    )
                    .bind(&entry.run_id)
                    .bind(entry.entry)
                    .bind(entry.points.as_slice())
                    .execute(&mut tx)
                    .await?;
                    if inserted > 0 {
                        taken.push(entry.entry);
                    }
                }
                tx.commit().await?;
                Ok(taken)
            }
            Pools::Postgres(_) => {
                let run_ids: Vec<String> = group.iter().map(|e| e.run_id.clone()).collect();
                let entries: Vec<i64> = group.iter().map(|e| e.entry).collect();
                let points: Vec<Vec<u8>> = group.iter().map(|e| e.points.clone()).collect();
                let taken: Vec<(i64,)> = query(
                    "INSERT INTO metric_log (run_id, entry, points) \
                     SELECT p.run_id, p.entry, p.points \
                     FROM UNNEST($1, $2, $3) AS p (run_id, entry, points) \
                     JOIN runs r ON r.run_id = p.run_id AND r.lifecycle_stage = 'active' \
                     RETURNING entry",
                )
                .bind(run_ids)
                .bind(entries)
                .bind(points)
                .fetch_all(&mut self.pools.autocommit().await?)
                .await?;
                Ok(taken.into_iter().map(|(entry,)| entry).collect())
            }
        }
    }
}

/// The same refusal for each request of the group.
fn again(error: &StoreError) -> StoreError {
    match error {
        StoreError::Database(cause) => StoreError::Database(Arc::clone(cause)),
        // Inserting refuses nothing else.
        other => StoreError::Invalid(other.to_string()),
    }
}

/// A number that no other entry has.
pub(super) fn entry_number() -> i64 {
    (uuid::Uuid::new_v4().as_u64_pair().1 >> 1).cast_signed()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::{NewRun, Store};

    /// Each request of a group hears why, so that each client is told not to try again.
    #[tokio::test]
    async fn everybody_hears_that_the_disk_is_full() {
        let folder = tempfile::tempdir().unwrap();
        let uri = format!("sqlite:///{}", folder.path().join("registry.db").display());
        let store = Store::open(&uri).await.unwrap();
        let run = NewRun {
            run_id: "r".to_owned(),
            experiment_id: "0".to_owned(),
            run_name: "r".to_owned(),
            user_id: String::new(),
            start_time: None,
            tags: Vec::new(),
        };
        store.create_run(run).await.unwrap();
        // SQLite never grows beyond it, and says the same as on a full disk.
        query("PRAGMA max_page_count = 1")
            .execute(&mut store.pools.autocommit().await.unwrap())
            .await
            .unwrap();
        let points = vec![0; 1 << 20];
        let appends = (0..5).map(|_| store.ingest.append("r", points.clone()));
        for outcome in futures::future::join_all(appends).await {
            let error = outcome.unwrap_err();
            assert!(error.is_full() && !error.is_transient(), "{error:?}");
        }
    }
}
