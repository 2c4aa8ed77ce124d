//! Tags and parameters: each resource has a table of (owner, key, value).

use std::collections::HashMap;

use mlflow_api::types::KeyValue;

use super::Result;
use super::db::{Conn, Element, QueryBuilder, Record};

/// Rows of one insert, and ids of one look-up: far below SQLite's limit of bound values.
pub(super) const CHUNK: usize = 4000;

/// A table of keys and texts.
#[derive(Debug, Clone, Copy)]
pub(super) struct Texts {
    table: &'static str,
    owner: &'static str,
}

pub(super) const RUN_TAGS: Texts = Texts {
    table: "run_tags",
    owner: "run_id",
};
pub(super) const RUN_PARAMS: Texts = Texts {
    table: "run_params",
    owner: "run_id",
};
pub(super) const EXPERIMENT_TAGS: Texts = Texts {
    table: "experiment_tags",
    owner: "experiment_id",
};
pub(super) const LOGGED_MODEL_TAGS: Texts = Texts {
    table: "logged_model_tags",
    owner: "model_id",
};
pub(super) const LOGGED_MODEL_PARAMS: Texts = Texts {
    table: "logged_model_params",
    owner: "model_id",
};
pub(super) const TRACE_TAGS: Texts = Texts {
    table: "trace_tags",
    owner: "trace_id",
};
pub(super) const TRACE_METADATA: Texts = Texts {
    table: "trace_metadata",
    owner: "trace_id",
};
pub(super) const REGISTERED_MODEL_TAGS: Texts = Texts {
    table: "registered_model_tags",
    owner: "name",
};

/// An owner's id: a number or a text.
pub(super) trait Owner: Element + Send + Sync {}
impl Owner for i64 {}
impl Owner for String {}

impl Texts {
    /// Sets keys; what they had before is replaced. The last of equal keys wins.
    pub(super) async fn set<O: Owner>(
        self,
        connection: &mut Conn,
        owner: &O,
        pairs: &[KeyValue],
    ) -> Result<()> {
        let conflict = format!(
            " ON CONFLICT ({}, key) DO UPDATE SET value = excluded.value",
            self.owner
        );
        self.insert(connection, owner, &last_of_each(pairs), &conflict)
            .await?;
        Ok(())
    }

    /// Adds keys; what is there stays. Returns how many were new.
    pub(super) async fn add<O: Owner>(
        self,
        connection: &mut Conn,
        owner: &O,
        pairs: &[KeyValue],
    ) -> Result<u64> {
        self.insert(
            connection,
            owner,
            &last_of_each(pairs),
            " ON CONFLICT DO NOTHING",
        )
        .await
    }

    async fn insert<O: Owner>(
        self,
        connection: &mut Conn,
        owner: &O,
        pairs: &[&KeyValue],
        conflict: &str,
    ) -> Result<u64> {
        let mut rows = 0;
        for chunk in pairs.chunks(CHUNK) {
            let mut query = QueryBuilder::new(
                connection,
                format!("INSERT INTO {} ({}, key, value)", self.table, self.owner),
            );
            query.push_values(chunk, |pair| {
                [
                    owner.clone().into(),
                    (&pair.key).into(),
                    (&pair.value).into(),
                ]
            });
            query.push(conflict);
            rows += query.build().execute(connection).await?;
        }
        Ok(rows)
    }

    /// Deletes a key; whether it was there.
    pub(super) async fn delete<O: Owner>(
        self,
        connection: &mut Conn,
        owner: &O,
        key: &str,
    ) -> Result<bool> {
        let mut query = QueryBuilder::new(connection, format!("DELETE FROM {} WHERE ", self.table));
        query.push(self.owner).push(" = ").push_bind(owner.clone());
        query.push(" AND key = ").push_bind(key.to_owned());
        Ok(query.build().execute(connection).await? > 0)
    }

    /// What owners have, by key.
    pub(super) async fn of<O>(
        self,
        connection: &mut Conn,
        owners: &[O],
    ) -> Result<HashMap<O, Vec<KeyValue>>>
    where
        O: Owner + Eq + std::hash::Hash,
        (O, String, String): Record,
    {
        let mut found: HashMap<O, Vec<KeyValue>> = HashMap::new();
        for chunk in owners.chunks(CHUNK) {
            let mut query = QueryBuilder::new(
                connection,
                format!(
                    "SELECT {0}, key, value FROM {1} WHERE {0}",
                    self.owner, self.table
                ),
            );
            query.push_in(chunk);
            query.push(format!(" ORDER BY {}, key", self.owner));
            let rows: Vec<(O, String, String)> = query.build().fetch_all(connection).await?;
            for (owner, key, value) in rows {
                found
                    .entry(owner)
                    .or_default()
                    .push(KeyValue { key, value });
            }
        }
        Ok(found)
    }
}

/// Each key once, the last of equal ones, in the order of the keys.
pub(super) fn last_of_each(pairs: &[KeyValue]) -> Vec<&KeyValue> {
    let mut at: HashMap<&str, usize> = HashMap::with_capacity(pairs.len());
    let mut kept: Vec<&KeyValue> = Vec::with_capacity(pairs.len());
    for pair in pairs {
        match at.get(pair.key.as_str()) {
            Some(&index) => kept[index] = pair,
            None => {
                at.insert(&pair.key, kept.len());
                kept.push(pair);
            }
        }
    }
    // One order of rows for all writers: PostgreSQL locks row by row.
    kept.sort_by(|a, b| a.key.cmp(&b.key));
    kept
}
