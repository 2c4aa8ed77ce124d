//! Telling those who listen of each change of an alias, whichever process made it.
//!
//! While somebody listens, one task per process asks the database every 250 ms for the number of
//! the newest change (one row, by its key) and reads what is new; a change that this process made
//! wakes it at once. The same works in SQLite with several processes on one file and in PostgreSQL
//! with several replicas. Numbers become visible in their order and without gaps (see
//! [`crate::store`]'s alias history), so what is told is complete and in order.

use std::sync::Arc;
use std::time::Duration;

use mlflow_api::types::AliasChange;
use tokio::sync::{Mutex, Notify, broadcast};

use crate::store::{Store, StoreError};

/// How long a change that another process made may go unnoticed.
const POLL: Duration = Duration::from_millis(250);
/// After an error of the database.
const PAUSE: Duration = Duration::from_secs(1);
/// What a listener may have unread; one that is slower is told of a gap.
const BUFFER: usize = 1024;
/// What is read at once.
const CHUNK: i64 = 500;

/// Where changes of aliases are told. Cheap to clone.
#[derive(Debug, Clone)]
pub struct AliasEvents(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    store: Store,
    changes: broadcast::Sender<Arc<AliasChange>>,
    /// Whether the task runs.
    running: Mutex<bool>,
    wake: Notify,
}

/// The changes from now on: at least all that commit after this was made.
pub type Listener = broadcast::Receiver<Arc<AliasChange>>;

impl AliasEvents {
    pub(crate) fn new(store: Store) -> Self {
        Self(Arc::new(Shared {
            store,
            changes: broadcast::channel(BUFFER).0,
            running: Mutex::new(false),
            wake: Notify::new(),
        }))
    }

    /// Listens from now on. What is older is in the store; read it *after* this returned, and
    /// nothing is missed in between.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn listen(&self) -> Result<Listener, StoreError> {
        let mut running = self.0.running.lock().await;
        if !*running {
            // Before the caller reads anything: what commits later is told, what is older is read.
            let last = self.0.store.alias_sequence().await?;
            *running = true;
            tokio::spawn(follow(Arc::clone(&self.0), last));
        }
        Ok(self.0.changes.subscribe())
    }

    /// Tells that this process changed an alias.
    pub fn wake(&self) {
        self.0.wake.notify_one();
    }
}

/// Reads what is new until nobody listens.
async fn follow(shared: Arc<Shared>, mut last: i64) {
    loop {
        // Whoever comes in between finds it running, or starts another.
        {
            let mut running = shared.running.lock().await;
            if shared.changes.receiver_count() == 0 {
                *running = false;
                return;
            }
        }
        let pause = match tell(&shared, &mut last).await {
            Ok(()) => POLL,
            Err(error) => {
                tracing::warn!(%error, "changes of aliases can't be read; trying again");
                PAUSE
            }
        };
        tokio::select! {
            () = tokio::time::sleep(pause) => {}
            () = shared.wake.notified() => {}
        }
    }
}

async fn tell(shared: &Shared, last: &mut i64) -> Result<(), StoreError> {
    while shared.store.alias_sequence().await? > *last {
        let changes = shared
            .store
            .alias_changes_after(*last, None, None, CHUNK)
            .await?;
        if changes.is_empty() {
            // The history was cut, as by restoring an older database.
            *last = shared.store.alias_sequence().await?;
        }
        for change in changes {
            *last = change.sequence;
            // Nobody listens any more: the next turn notices.
            shared.changes.send(Arc::new(change)).ok();
        }
    }
    Ok(())
}
