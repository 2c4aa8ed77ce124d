//! Databases in a file.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::time::Duration;

use sqlx::Connection;
use sqlx::sqlite::{SqliteConnectOptions, SqliteJournalMode, SqlitePoolOptions, SqliteSynchronous};

use super::{Dialect, OpenStoreError, Pools, migrate, without_password};

/// How long a writer waits for another process's.
const BUSY: Duration = Duration::from_secs(30);
const READERS: u32 = 8;

pub(super) async fn open(uri: &str) -> Result<(Pools, String), OpenStoreError> {
    let path = path(uri)?;
    let database = path.display().to_string();
    let folder_error = |source| OpenStoreError::Folder {
        database: database.clone(),
        source,
    };
    if let Some(folder) = path
        .parent()
        .filter(|folder| !folder.as_os_str().is_empty())
    {
        tokio::fs::create_dir_all(folder)
            .await
            .map_err(folder_error)?;
    }
    // Held until this function returns: SQLite has no lock that spans several migrations, and the
    // switch to the write-ahead log fails when two processes attempt it at once.
    let _turn = lock(&path).await.map_err(folder_error)?;
    let open_error = |source| OpenStoreError::Open {
        database: database.clone(),
        source,
    };

    let options = SqliteConnectOptions::new()
        .filename(&path)
        .create_if_missing(true)
        .busy_timeout(BUSY)
        .foreign_keys(true)
        .journal_mode(SqliteJournalMode::Wal)
        // What was acknowledged survives a power cut.
        .synchronous(SqliteSynchronous::Full)
        // MLflow's LIKE is case-sensitive, as PostgreSQL's is.
        .pragma("case_sensitive_like", "ON");
    let writes = SqlitePoolOptions::new()
        .max_connections(1)
        .acquire_timeout(BUSY * 2)
        .before_acquire(|connection, _| Box::pin(can_begin(connection)))
        .connect_with(options.clone())
        .await
        .map_err(open_error)?;
    if let Err(error) = migrate(&writes, Dialect::Sqlite, &database).await {
        writes.close().await;
        return Err(error);
    }
    let reads = SqlitePoolOptions::new()
        .max_connections(READERS)
        .test_before_acquire(false)
        .connect_with(options)
        .await
        .map_err(open_error)?;
    Ok((Pools::Sqlite { reads, writes }, database))
}

/// Whether a transaction can begin. After a commit that failed (a full disk) SQLite has none any
/// more, but the connection counts one for ever: it must be replaced, or no write succeeds again.
async fn can_begin(connection: &mut sqlx::SqliteConnection) -> sqlx::Result<bool> {
    match connection.begin_with("BEGIN DEFERRED").await {
        Ok(transaction) => transaction.rollback().await.map(|()| true),
        Err(_) => Ok(false),
    }
}

/// The file that a URI names, as SQLAlchemy reads it.
pub(in crate::store) fn path(uri: &str) -> Result<PathBuf, OpenStoreError> {
    let refuse = |reason: &str| OpenStoreError::Uri {
        uri: without_password(uri),
        reason: reason.to_owned(),
    };
    let Some(path) = uri.strip_prefix("sqlite:///") else {
        return Err(refuse(
            "only sqlite:///relative/path, sqlite:////absolute/path and \
             postgresql://user:password@host/database are supported",
        ));
    };
    if path.is_empty() || path == ":memory:" {
        return Err(refuse("a database in memory would be lost; name a file"));
    }
    Ok(PathBuf::from(path))
}

/// Waits for the file beside the database that processes which open it hold in turn.
pub(in crate::store) async fn lock(database: &Path) -> std::io::Result<File> {
    let mut name = database.as_os_str().to_owned();
    name.push("-open.lock");
    tokio::task::spawn_blocking(move || {
        let file = File::options()
            .create(true)
            .truncate(false)
            .write(true)
            .open(name)?;
        file.lock()?;
        Ok(file)
    })
    .await
    .map_err(std::io::Error::other)?
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn uris_are_read_as_sqlalchemy_reads_them() {
        assert_eq!(path("sqlite:///a/b.db").unwrap(), Path::new("a/b.db"));
        assert_eq!(path("sqlite:////a/b.db").unwrap(), Path::new("/a/b.db"));
        for bad in [
            "sqlite://",
            "sqlite:///",
            "sqlite:///:memory:",
            "mysql://u:p@h/d",
        ] {
            let error = path(bad).unwrap_err().to_string();
            assert!(!error.contains("u:p"), "{error}");
        }
    }
}
