//! The task that writes what the thread reads.

use std::collections::HashMap;
use std::sync::Arc;

use tokio::sync::{mpsc, oneshot};

use super::now;
use super::state::State;
use crate::store::{HistoryRows, MarketHistory, Position, Store, StoreError, Written};

type Reply<T> = oneshot::Sender<Result<T, StoreError>>;

/// What the thread asks for.
pub(super) enum Ask {
    /// Where reading goes on.
    Offsets {
        cluster: Arc<str>,
        reply: Reply<HashMap<(String, i32), i64>>,
    },
    /// To make rows durable.
    Write {
        cluster: Arc<str>,
        positions: Vec<Position>,
        rows: HistoryRows,
        reply: Reply<Written>,
    },
}

/// Answers until the thread has ended.
pub(super) async fn answer(
    store: Store,
    history: MarketHistory,
    state: State,
    mut asks: mpsc::Receiver<Ask>,
) {
    while let Some(ask) = asks.recv().await {
        // Whoever asked may be gone.
        match ask {
            Ask::Offsets { cluster, reply } => {
                reply.send(store.kafka_offsets(&cluster).await).ok();
            }
            Ask::Write {
                cluster,
                positions,
                rows,
                reply,
            } => {
                let written = write(&history, &state, &cluster, &positions, rows).await;
                reply.send(written).ok();
            }
        }
    }
}

/// Writes rows. Where the database refuses a text in them, it writes the others: what is written
/// twice is there once, so the rows can come before their places.
async fn write(
    history: &MarketHistory,
    state: &State,
    cluster: &str,
    positions: &[Position],
    rows: HistoryRows,
) -> Result<Written, StoreError> {
    let refused = match history.write(cluster, positions, rows.clone(), now()).await {
        Err(StoreError::Invalid(why)) => why,
        done => return done,
    };
    tracing::debug!(refused, "the database refuses a row");
    let mut waiting = vec![rows];
    while let Some(mut rows) = waiting.pop() {
        match history.write(cluster, &[], rows.clone(), now()).await {
            Ok(_) => {}
            Err(StoreError::Invalid(why)) if rows.len() > 1 => {
                tracing::debug!(why, rows = rows.len(), "looking for the row");
                waiting.push(rows.split_half());
                waiting.push(rows);
            }
            Err(StoreError::Invalid(why)) => state.refused(&rows, &why),
            Err(error) => return Err(error),
        }
    }
    history
        .write(cluster, positions, HistoryRows::default(), now())
        .await
}
