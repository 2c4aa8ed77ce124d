//! Who changed what.

use std::time::Duration;

use super::db::{QueryBuilder, query};
use super::{Result, Store, now};

/// One change, or one that was refused.
#[derive(Debug, Clone, PartialEq, Eq, sqlx::FromRow)]
pub struct AuditRecord {
    /// Its place in the log.
    pub id: i64,
    /// When, in ms since the epoch.
    pub time: i64,
    /// Who; absent where nobody has to say.
    pub user_name: Option<String>,
    /// From where.
    pub client: Option<String>,
    /// The request's id.
    pub request_id: Option<String>,
    /// What was asked for: method and route.
    pub action: String,
    /// What it was about.
    pub resource: String,
    /// The HTTP status, or `done`.
    pub outcome: String,
}

/// Which part of the audit log is asked for.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct AuditSearch {
    /// Not before, in ms since the epoch.
    pub since: Option<i64>,
    /// Before, in ms since the epoch.
    pub until: Option<i64>,
    /// Of this user only.
    pub user: Option<String>,
    /// How many at most, the newest.
    pub limit: i64,
}

impl Store {
    /// Adds to the audit log; ids are given here, in order.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn add_audit(&self, records: &[AuditRecord]) -> Result<()> {
        /// A statement takes 65,535 values.
        const AT_ONCE: usize = 1_000;
        if records.is_empty() {
            return Ok(());
        }
        let mut tx = self.write().await?;
        let count = i64::try_from(records.len()).unwrap_or(i64::MAX);
        let (last,): (i64,) =
            query("UPDATE counters SET value = value + $1 WHERE name = 'audit' RETURNING value")
                .bind(count)
                .fetch_one(&mut tx)
                .await?;
        let mut ids = last - count..;
        for records in records.chunks(AT_ONCE) {
            let mut insert = QueryBuilder::new(
                &tx,
                "INSERT INTO audit_log (id, time, user_name, client, request_id, action, \
                 resource, outcome)",
            );
            insert.push_values(records, |record| {
                [
                    ids.next().map_or(last, |id| id + 1).into(),
                    record.time.into(),
                    (&record.user_name).into(),
                    (&record.client).into(),
                    (&record.request_id).into(),
                    (&record.action).into(),
                    (&record.resource).into(),
                    (&record.outcome).into(),
                ]
            });
            insert.build().execute(&mut tx).await?;
        }
        Ok(tx.commit().await?)
    }

    /// Notes a change that was made on this machine, by the command line.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn note_local(&self, action: &str, resource: &str) -> Result<()> {
        self.add_audit(&[AuditRecord {
            id: 0,
            time: now(),
            user_name: None,
            client: Some("command line".to_owned()),
            request_id: None,
            action: action.to_owned(),
            resource: resource.to_owned(),
            outcome: "done".to_owned(),
        }])
        .await
    }

    /// What the audit log has of a time, the oldest first.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn audit(&self, search: &AuditSearch) -> Result<Vec<AuditRecord>> {
        let mut connection = self.read().await?;
        let mut query = QueryBuilder::new(
            &connection,
            "SELECT id, time, user_name, client, request_id, action, resource, outcome \
             FROM audit_log WHERE time >= ",
        );
        query.push_bind(search.since.unwrap_or(i64::MIN));
        query.push(" AND time < ");
        query.push_bind(search.until.unwrap_or(i64::MAX));
        if let Some(user) = &search.user {
            query.push(" AND user_name = ").push_bind(user);
        }
        query.push(" ORDER BY time DESC, id DESC LIMIT ");
        query.push_bind(search.limit);
        let mut found: Vec<AuditRecord> = query.build().fetch_all(&mut connection).await?;
        found.reverse();
        Ok(found)
    }

    /// Forgets what is older than `age`; returns how many records that were.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn forget_audit(&self, age: Duration) -> Result<u64> {
        let before = now().saturating_sub(i64::try_from(age.as_millis()).unwrap_or(i64::MAX));
        let mut tx = self.write().await?;
        let forgotten = query("DELETE FROM audit_log WHERE time < $1")
            .bind(before)
            .execute(&mut tx)
            .await?;
        tx.commit().await?;
        Ok(forgotten)
    }
}
