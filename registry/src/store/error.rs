//! Why the store refused or failed; it knows no HTTP.

use std::sync::Arc;

use crate::filter::FilterError;

/// Why the store refused or failed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StoreError {
    /// There is no such thing; the message names it.
    #[error("{0}")]
    NotFound(String),
    /// There is one already; the message names it.
    #[error("{0}")]
    Exists(String),
    /// The request makes no sense for what is stored.
    #[error("{0}")]
    Invalid(String),
    /// The thing is in a state that does not allow the request.
    #[error("{0}")]
    State(String),
    /// The filter or the order is not in the language.
    #[error(transparent)]
    Filter(#[from] FilterError),
    /// The database failed; the cause is for the log, not for the client.
    #[error("the database failed")]
    Database(#[source] Arc<sqlx::Error>),
}

impl From<sqlx::Error> for StoreError {
    fn from(error: sqlx::Error) -> Self {
        match &error {
            // PostgreSQL keeps no NUL in a text.
            sqlx::Error::Database(cause) if cause.code().as_deref() == Some("22021") => {
                Self::Invalid("A text must not contain the character NUL.".to_owned())
            }
            // An id or a name that PostgreSQL can't put into an index; SQLite has no such limit.
            sqlx::Error::Database(cause) if cause.code().as_deref() == Some("54000") => {
                Self::Invalid("A text is longer than the database takes there.".to_owned())
            }
            // Looked at and found before, it was deleted by another until it was written to.
            sqlx::Error::Database(cause) if cause.is_foreign_key_violation() => {
                Self::NotFound("What the request is about was deleted meanwhile.".to_owned())
            }
            _ => Self::Database(Arc::new(error)),
        }
    }
}

impl StoreError {
    /// Whether the same request may succeed later: the database is busy, or away.
    #[must_use]
    pub fn is_transient(&self) -> bool {
        let Self::Database(error) = self else {
            return false;
        };
        match &**error {
            sqlx::Error::PoolTimedOut
            | sqlx::Error::PoolClosed
            | sqlx::Error::Io(_)
            | sqlx::Error::Tls(_) => true,
            sqlx::Error::Database(error) => error.code().is_some_and(|code| {
                // SQLITE_BUSY and SQLITE_LOCKED, with their extended codes.
                let sqlite = code.len() < 5
                    && code
                        .parse::<i64>()
                        .is_ok_and(|code| matches!(code & 0xff, 5 | 6));
                // PostgreSQL's classes: connections, rolled back by a conflict, too many of
                // something, an operator who intervenes.
                sqlite
                    || (code.len() == 5
                        && ["08", "40", "53", "57"].contains(&&code[..2])
                        && !self.is_full())
            }),
            _ => false,
        }
    }

    /// Whether the disk has no room left.
    #[must_use]
    pub fn is_full(&self) -> bool {
        let Self::Database(error) = self else {
            return false;
        };
        let sqlx::Error::Database(error) = &**error else {
            return false;
        };
        // SQLITE_FULL, and PostgreSQL's disk_full.
        error.code().is_some_and(|code| {
            code == "53100"
                || (code.len() < 5 && code.parse::<i64>().is_ok_and(|code| code & 0xff == 13))
        })
    }
}

/// Maps a violated uniqueness to `exists`, and anything else to itself.
pub(super) fn unique(error: sqlx::Error, exists: impl FnOnce() -> String) -> StoreError {
    match &error {
        sqlx::Error::Database(cause) if cause.is_unique_violation() => StoreError::Exists(exists()),
        _ => error.into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::Store;
    use crate::store::db::query;

    /// As when the experiment was there a moment ago.
    #[tokio::test]
    async fn what_was_deleted_meanwhile_is_not_found() {
        let folder = tempfile::tempdir().unwrap();
        let uri = format!("sqlite:///{}", folder.path().join("registry.db").display());
        let store = Store::open(&uri).await.unwrap();
        let error =
            query("INSERT INTO experiment_tags (experiment_id, key, value) VALUES (7, '', '')")
                .execute(&mut store.pools.autocommit().await.unwrap())
                .await
                .unwrap_err();
        let error = StoreError::from(error);
        assert!(matches!(error, StoreError::NotFound(_)), "{error:?}");
    }
}
