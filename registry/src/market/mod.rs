//! The follower: brings what scorers and feeds write to Kafka into the database.
//!
//! A thread polls the consumer ([`reader`]) and hands batches to a task ([`writer`]), which writes
//! rows and offsets in one transaction. A partition begins where the database says, not where Kafka
//! does, and a transaction that finds another offset than the one it began at writes nothing. So
//! each row is there once, whatever is killed, and whoever else reads: replicas share a consumer
//! group, whose name is drawn once for each database.

mod batch;
mod consumer;
mod options;
mod reader;
mod records;
mod state;
mod writer;

use std::fmt;
use std::time::Duration;

use rdkafka::config::ClientConfig;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

pub use options::MarketOptions;
pub(crate) use state::State;

use crate::store::{MarketHistory, Store, StoreError};
use reader::Reader;

/// How often what is old is forgotten.
const UPKEEP: Duration = Duration::from_secs(3600);
/// How long after a failure it is tried again.
const UPKEEP_AGAIN: Duration = Duration::from_secs(60);
/// How long leaving the group may take.
const LEAVING: Duration = Duration::from_secs(10);

/// Why Kafka can't be followed: a property is refused.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct FollowError(String);

/// What is ready to follow Kafka.
pub(crate) struct Follower {
    store: Store,
    history: MarketHistory,
    config: ClientConfig,
    prefix: String,
    state: State,
}

/// Without the properties, which may be secrets.
impl fmt::Debug for Follower {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Follower").finish_non_exhaustive()
    }
}

impl Follower {
    /// Checks the options; no broker is asked yet.
    ///
    /// # Errors
    /// When a property is refused, or the database fails.
    pub(crate) async fn prepare(
        store: Store,
        options: &MarketOptions,
    ) -> Result<Self, crate::ServeError> {
        let group = group(&store, &options.topic_prefix).await?;
        let config = consumer::config(options, &group);
        let state = State::new();
        // Whatever librdkafka refuses, it refuses now. To close a consumer takes a moment.
        let (checked, context) = (config.clone(), {
            let (ask, _) = mpsc::channel(1);
            consumer::Context::new(ask, state.clone())
        });
        tokio::task::spawn_blocking(move || consumer::create(&checked, context).map(drop))
            .await
            .map_err(|error| FollowError(error.to_string()))??;
        Ok(Self {
            history: MarketHistory::new(store.clone(), options.retention),
            store,
            config,
            prefix: options.topic_prefix.clone(),
            state,
        })
    }

    pub(crate) fn state(&self) -> &State {
        &self.state
    }

    /// Follows until `stop`, and then until what was read is written.
    pub(crate) async fn run(self, stop: CancellationToken) {
        let (ask, asks) = mpsc::channel(1);
        let reader = Reader {
            config: self.config,
            prefix: self.prefix,
            ask,
            state: self.state.clone(),
            stop: stop.clone(),
        };
        let thread = std::thread::Builder::new()
            .name("market-reader".to_owned())
            .spawn(move || reader.run());
        if let Err(error) = thread {
            tracing::error!(%error, "Kafka is not followed: no thread can be started");
            return;
        }
        // Ends when the thread does, whose end of the channel goes with it.
        let answering = writer::answer(self.store, self.history.clone(), self.state, asks);
        let upkeep = tokio::spawn(keep_up(self.history, stop.clone()));
        tokio::select! {
            () = answering => {}
            () = async { stop.cancelled().await; tokio::time::sleep(LEAVING).await } => {
                tracing::warn!("the end of what was read from Kafka is read again by whoever is next");
            }
        }
        upkeep.abort();
    }
}

/// The consumer group of all servers over one database. Another database has another: half of the
/// partitions would be nothing to either.
async fn group(store: &Store, prefix: &str) -> Result<String, StoreError> {
    let fresh = uuid::Uuid::new_v4();
    let key = store
        .server_key("kafka-group", &fresh.as_bytes()[..8])
        .await?;
    let hex: String = key.iter().map(|byte| format!("{byte:02x}")).collect();
    Ok(format!("{prefix}foreshock-registry-{hex}"))
}

async fn keep_up(history: MarketHistory, stop: CancellationToken) {
    while !stop.is_cancelled() {
        let pause = match history.keep_up(now()).await {
            Ok(deleted) => {
                tracing::debug!(deleted, "old history was forgotten");
                UPKEEP
            }
            Err(error) => {
                tracing::warn!(
                    error = &error as &dyn std::error::Error,
                    "old history can't be forgotten"
                );
                UPKEEP_AGAIN
            }
        };
        tokio::select! {
            () = stop.cancelled() => {}
            () = tokio::time::sleep(pause) => {}
        }
    }
}

/// Now, in µs since the epoch.
fn now() -> i64 {
    jiff::Timestamp::now().as_microsecond()
}
