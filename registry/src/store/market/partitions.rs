//! Partitions of PostgreSQL's tables: made when the first row of their time comes (and a day ahead),
//! dropped when all of them is older than is kept.
//!
//! Only times that are kept get one, so a history that is replayed, or a broken clock, makes none:
//! their rows go to the table named `…_other`.

use std::collections::BTreeSet;
use std::sync::PoisonError;

use super::calendar::Slot;
use super::{HistoryKind, MarketHistory};
use crate::store::db::{Conn, QueryBuilder, Tx, query};
use crate::store::{Result, StoreError};

/// One replica at a time makes or drops partitions.
const LOCK: &str = "SELECT pg_advisory_xact_lock(4640293171)";

/// Where rows are that no partition is for.
pub(super) fn other(kind: HistoryKind) -> String {
    format!("{}_other", kind.table())
}

impl MarketHistory {
    /// Makes the partitions of those event times that have none yet.
    pub(super) async fn ensure_partitions(
        &self,
        kind: HistoryKind,
        times: impl IntoIterator<Item = i64>,
        now: i64,
    ) -> Result<()> {
        let window = self.retention.window(kind, now);
        let missing: BTreeSet<Slot> = {
            let known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
            times
                .into_iter()
                .filter(|time| window.start <= *time && *time <= window.end)
                .filter_map(|time| Slot::of(kind, time))
                .filter(|slot| !known.contains(&(kind, *slot)))
                .collect()
        };
        for slot in missing {
            let mut tx = self.store.write().await?;
            query(LOCK).execute(&mut tx).await?;
            if !attached(&mut tx, kind).await?.contains(&slot) {
                attach(&mut tx, kind, slot).await?;
            }
            tx.commit().await?;
            self.known
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .insert((kind, slot));
        }
        Ok(())
    }

    /// Looks which partitions there are: another replica may have made or dropped some.
    pub(super) async fn learn_partitions(&self, kind: HistoryKind) -> Result<()> {
        let found = attached(&mut self.store.read().await?, kind).await?;
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        known.retain(|(of, _)| *of != kind);
        known.extend(found.into_iter().map(|slot| (kind, slot)));
        Ok(())
    }

    /// Drops the partitions that end before a time.
    pub(super) async fn drop_partitions(&self, kind: HistoryKind, before: i64) -> Result<()> {
        let found = attached(&mut self.store.read().await?, kind).await?;
        for slot in found.into_iter().filter(|slot| slot.until <= before) {
            let table = slot.table(kind);
            match self.drop_partition(kind, slot, &table).await {
                Ok(()) => tracing::info!(table, "a partition of the history was dropped"),
                // It waits for the next time, and nobody waits for it.
                Err(error) if error.is_transient() || is_locked(&error) => {
                    tracing::info!(table, "a partition is in use and stays for now");
                }
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    async fn drop_partition(&self, kind: HistoryKind, slot: Slot, table: &str) -> Result<()> {
        let mut tx = self.store.write().await?;
        // Dropping locks the whole table: readers must not queue behind somebody who waits.
        query("SET LOCAL lock_timeout = '2s'")
            .execute(&mut tx)
            .await?;
        query(LOCK).execute(&mut tx).await?;
        // Another replica may have been quicker.
        if attached(&mut tx, kind).await?.contains(&slot) {
            statement(&mut tx, format!("DROP TABLE {table}")).await?;
        }
        tx.commit().await?;
        self.known
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .remove(&(kind, slot));
        Ok(())
    }
}

/// The partitions there are.
async fn attached(conn: &mut Conn, kind: HistoryKind) -> Result<BTreeSet<Slot>> {
    let tables: Vec<(String,)> = query(
        "SELECT CAST(c.relname AS TEXT) FROM pg_inherits i JOIN pg_class c ON c.oid = i.inhrelid \
         WHERE i.inhparent = CAST(CAST($1 AS TEXT) AS regclass)",
    )
    .bind(kind.table())
    .fetch_all(conn)
    .await?;
    Ok(tables
        .iter()
        .filter_map(|(table,)| Slot::of_table(kind, table))
        .collect())
}

/// Makes a partition. Rows of its time that lie in the default partition move, which PostgreSQL
/// does not do by itself: it would refuse.
async fn attach(tx: &mut Tx, kind: HistoryKind, slot: Slot) -> Result<()> {
    let (parent, other, table) = (kind.table(), other(kind), slot.table(kind));
    let (from, until) = (slot.from, slot.until);
    for text in [
        format!("LOCK TABLE {other} IN ACCESS EXCLUSIVE MODE"),
        // What stands there under that name is what an operator detached.
        format!("CREATE TABLE {table} (LIKE {parent} INCLUDING ALL)"),
        format!(
            "WITH moved AS (DELETE FROM {other} WHERE event_time >= {from} \
             AND event_time < {until} RETURNING *) INSERT INTO {table} SELECT * FROM moved"
        ),
        format!(
            "ALTER TABLE {parent} ATTACH PARTITION {table} FOR VALUES FROM ({from}) TO ({until})"
        ),
    ] {
        statement(tx, text).await?;
    }
    Ok(())
}

/// A statement that takes no values, made of names and numbers of ours.
async fn statement(conn: &mut Conn, text: String) -> Result<()> {
    QueryBuilder::new(conn, text).build().execute(conn).await?;
    Ok(())
}

/// Whether a lock was waited for long enough.
fn is_locked(error: &StoreError) -> bool {
    let StoreError::Database(error) = error else {
        return false;
    };
    matches!(&**error, sqlx::Error::Database(error) if error.code().as_deref() == Some("55P03"))
}
