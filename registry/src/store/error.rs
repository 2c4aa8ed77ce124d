//! Why the store refused or failed; it knows no HTTP.

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
    Database(#[from] sqlx::Error),
}

impl StoreError {
    /// Whether the same request may succeed later: the database is busy.
    #[must_use]
    pub fn is_transient(&self) -> bool {
        match self {
            Self::Database(sqlx::Error::PoolTimedOut) => true,
            // SQLITE_BUSY and SQLITE_LOCKED, with their extended codes.
            Self::Database(sqlx::Error::Database(error)) => error
                .code()
                .and_then(|code| code.parse::<i64>().ok())
                .is_some_and(|code| matches!(code & 0xff, 5 | 6)),
            _ => false,
        }
    }

    /// Whether the disk has no room left.
    #[must_use]
    pub fn is_full(&self) -> bool {
        // SQLITE_FULL.
        matches!(self, Self::Database(sqlx::Error::Database(error))
            if error.code().and_then(|code| code.parse::<i64>().ok()).is_some_and(|c| c & 0xff == 13))
    }
}

/// Maps a violated uniqueness to `exists`, and anything else to itself.
pub(super) fn unique(error: sqlx::Error, exists: impl FnOnce() -> String) -> StoreError {
    match &error {
        sqlx::Error::Database(cause) if cause.is_unique_violation() => StoreError::Exists(exists()),
        _ => StoreError::Database(error),
    }
}
