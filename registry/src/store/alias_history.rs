//! The history of aliases, written in the transaction of each change.
//!
//! The number of a change comes from a counter whose row is locked until the writer commits. So
//! numbers become visible in their order and without gaps, also in PostgreSQL, where a sequence's
//! would not: a reader who remembers the last number it saw never skips one. To take that lock last
//! is what keeps two writers from waiting for each other; see [`record`].

use mlflow_api::types::AliasChange;

use super::db::{Conn, QueryBuilder, query};
use super::{Page, Result, Store, StoreError, now};

/// Who changes something, and why.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Note {
    /// The user's name.
    pub user: String,
    /// Why, where they said so.
    pub reason: Option<String>,
}

/// How a change of an alias came about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Cause {
    Set,
    Deleted,
    VersionDeleted,
    ModelDeleted,
    RolledBack,
    Imported,
}

impl Cause {
    fn as_str(self) -> &'static str {
        match self {
            Self::Set => "set",
            Self::Deleted => "deleted",
            Self::VersionDeleted => "version_deleted",
            Self::ModelDeleted => "model_deleted",
            Self::RolledBack => "rolled_back",
            Self::Imported => "imported",
        }
    }
}

/// An alias and the versions that it named and names.
#[derive(Debug, Clone)]
pub(super) struct Move {
    pub(super) alias: String,
    pub(super) from: Option<i64>,
    pub(super) to: Option<i64>,
}

#[derive(sqlx::FromRow)]
struct Row {
    sequence: i64,
    name: String,
    alias: String,
    from_version: Option<i64>,
    to_version: Option<i64>,
    user_name: String,
    time: i64,
    reason: Option<String>,
    cause: String,
}

impl From<Row> for AliasChange {
    fn from(row: Row) -> Self {
        Self {
            sequence: row.sequence,
            name: row.name,
            alias: row.alias,
            from_version: row.from_version.map(|version| version.to_string()),
            to_version: row.to_version.map(|version| version.to_string()),
            user: row.user_name,
            time: row.time,
            reason: row.reason,
            cause: row.cause,
        }
    }
}

const COLUMNS: &str = "SELECT sequence, name, alias, from_version, to_version, user_name, time, \
                       reason, cause FROM alias_history WHERE ";

/// Records changes of one model's aliases; those that change nothing are left out.
///
/// Call it last in a transaction: it takes the lock that all writers of aliases share, and who
/// holds it must not wait for anything else.
pub(super) async fn record(
    conn: &mut Conn,
    name: &str,
    moves: &[Move],
    cause: Cause,
    note: &Note,
) -> Result<Option<i64>> {
    let moves: Vec<&Move> = moves.iter().filter(|m| m.from != m.to).collect();
    let Some(count) = i64::try_from(moves.len()).ok().filter(|count| *count > 0) else {
        return Ok(None);
    };
    let (last,): (i64,) = query(
        "UPDATE counters SET value = value + $1 WHERE name = 'alias_history' RETURNING value",
    )
    .bind(count)
    .fetch_one(conn)
    .await?;
    let time = now();
    for (sequence, change) in (last - count + 1..).zip(moves) {
        query(
            "INSERT INTO alias_history (sequence, name, alias, from_version, to_version, \
             user_name, time, reason, cause) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9)",
        )
        .bind(sequence)
        .bind(name)
        .bind(&change.alias)
        .bind(change.from)
        .bind(change.to)
        .bind(&note.user)
        .bind(time)
        .bind(&note.reason)
        .bind(cause.as_str())
        .execute(conn)
        .await?;
    }
    Ok(Some(last))
}

/// The aliases of a model, or of one of its versions, as moves to nowhere.
pub(super) async fn departures(
    conn: &mut Conn,
    name: &str,
    version: Option<i64>,
) -> Result<Vec<Move>> {
    let mut find = QueryBuilder::new(
        conn,
        "SELECT alias, version FROM model_aliases WHERE name = ",
    );
    find.push_bind(name);
    if let Some(version) = version {
        find.push(" AND version = ").push_bind(version);
    }
    find.push(" ORDER BY alias");
    let rows: Vec<(String, i64)> = find.build().fetch_all(conn).await?;
    Ok(rows
        .into_iter()
        .map(|(alias, version)| Move {
            alias,
            from: Some(version),
            to: None,
        })
        .collect())
}

/// Lets an alias name a version, and records it; the model is locked already.
pub(super) async fn move_alias(
    conn: &mut Conn,
    name: &str,
    alias: &str,
    version: i64,
    cause: Cause,
    note: &Note,
) -> Result<Option<i64>> {
    let from: Option<(i64,)> =
        query("SELECT version FROM model_aliases WHERE name = $1 AND alias = $2")
            .bind(name)
            .bind(alias)
            .fetch_optional(conn)
            .await?;
    query(
        "INSERT INTO model_aliases (name, alias, version) VALUES ($1, $2, $3) \
         ON CONFLICT (name, alias) DO UPDATE SET version = excluded.version",
    )
    .bind(name)
    .bind(alias)
    .bind(version)
    .execute(conn)
    .await?;
    let change = Move {
        alias: alias.to_owned(),
        from: from.map(|(version,)| version),
        to: Some(version),
    };
    record(conn, name, &[change], cause, note).await
}

/// Takes a renamed model's history along.
pub(super) async fn rename(conn: &mut Conn, name: &str, new_name: &str) -> Result<()> {
    query("UPDATE alias_history SET name = $1 WHERE name = $2")
        .bind(new_name)
        .bind(name)
        .execute(conn)
        .await?;
    Ok(())
}

impl Store {
    /// The number of the newest change; 0 before the first.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn alias_sequence(&self) -> Result<i64> {
        let mut conn = self.read().await?;
        let (value,): (i64,) = query("SELECT value FROM counters WHERE name = 'alias_history'")
            .fetch_one(&mut conn)
            .await?;
        Ok(value)
    }

    /// Changes after a number, in their order, at most `limit`.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn alias_changes_after(
        &self,
        sequence: i64,
        name: Option<&str>,
        alias: Option<&str>,
        limit: i64,
    ) -> Result<Vec<AliasChange>> {
        let mut conn = self.read().await?;
        let mut find = QueryBuilder::new(&conn, COLUMNS);
        find.push("sequence > ").push_bind(sequence);
        push_which(&mut find, name, alias);
        find.push(" ORDER BY sequence LIMIT ").push_bind(limit);
        let rows: Vec<Row> = find.build().fetch_all(&mut conn).await?;
        Ok(rows.into_iter().map(AliasChange::from).collect())
    }

    /// Changes of a model's aliases, or of one, the newest first. The token is the number of the
    /// last one shown, so that changes meanwhile move nothing from page to page.
    ///
    /// # Errors
    /// When the token is not one that a page gave, or when there is neither such a model nor a
    /// history of one.
    pub async fn alias_history(
        &self,
        name: &str,
        alias: Option<&str>,
        max_results: i64,
        token: Option<&str>,
    ) -> Result<Page<AliasChange>> {
        let mut conn = self.read().await?;
        let mut find = QueryBuilder::new(&conn, COLUMNS);
        find.push("1 = 1");
        let token = token.filter(|token| !token.is_empty());
        if let Some(token) = token {
            let before = i64::from_str_radix(token, 16)
                .ok()
                .filter(|before| *before > 0 && token.len() == 16)
                .ok_or_else(|| StoreError::Invalid("Invalid page token".to_owned()))?;
            find.push(" AND sequence < ").push_bind(before);
        }
        push_which(&mut find, Some(name), alias);
        find.push(" ORDER BY sequence DESC LIMIT ")
            .push_bind(max_results.saturating_add(1));
        let rows: Vec<Row> = find.build().fetch_all(&mut conn).await?;
        if rows.is_empty() && token.is_none() {
            super::registered_models::require(&mut conn, name).await?;
        }
        let mut items: Vec<AliasChange> = rows.into_iter().map(AliasChange::from).collect();
        let fits = usize::try_from(max_results).unwrap_or(usize::MAX);
        let more = items.len() > fits;
        items.truncate(fits);
        let next_page_token = items
            .last()
            .filter(|_| more)
            .map(|change| format!("{:016x}", change.sequence));
        Ok(Page {
            items,
            next_page_token,
        })
    }

    /// Undoes an alias's last change: it names the version again that it named before.
    ///
    /// # Errors
    /// When there is no such alias, nothing before its last change, or when the version has been
    /// deleted since.
    pub async fn rollback_alias(
        &self,
        name: &str,
        alias: &str,
        note: &Note,
    ) -> Result<AliasChange> {
        let mut tx = self.write().await?;
        super::registered_models::lock(&mut tx, name).await?;
        let last: Option<(Option<i64>,)> = query(
            "SELECT from_version FROM alias_history WHERE name = $1 AND alias = $2 \
             ORDER BY sequence DESC LIMIT 1",
        )
        .bind(name)
        .bind(alias)
        .fetch_optional(&mut tx)
        .await?;
        let (before,) = last.ok_or_else(|| {
            StoreError::Invalid(format!("Registered model alias {alias} has no history."))
        })?;
        let before = before.ok_or_else(|| {
            StoreError::Invalid(format!(
                "Registered model alias {alias} named no version before."
            ))
        })?;
        super::model_versions::require(&mut tx, name, before).await?;
        let sequence = move_alias(&mut tx, name, alias, before, Cause::RolledBack, note).await?;
        let sequence = sequence.ok_or_else(|| {
            StoreError::Invalid(format!(
                "Registered model alias {alias} names version {before} already."
            ))
        })?;
        let mut find = QueryBuilder::new(&tx, COLUMNS);
        find.push("sequence = ").push_bind(sequence);
        let row: Row = find.build().fetch_one(&mut tx).await?;
        tx.commit().await?;
        Ok(row.into())
    }
}

fn push_which(find: &mut QueryBuilder, name: Option<&str>, alias: Option<&str>) {
    if let Some(name) = name {
        find.push(" AND name = ").push_bind(name);
    }
    if let Some(alias) = alias {
        find.push(" AND alias = ").push_bind(alias);
    }
}
