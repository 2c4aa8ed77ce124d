//! Opening a database: creating, upgrading, refusing a newer one.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::time::Duration;

use sqlx::Connection;
use sqlx::migrate::{MigrateError, Migrator};
use sqlx::sqlite::{SqliteConnectOptions, SqliteJournalMode, SqlitePoolOptions, SqliteSynchronous};

use super::{Store, now};

static MIGRATIONS: Migrator = sqlx::migrate!("../migrations");

/// How long a writer waits for another process's.
const BUSY: Duration = Duration::from_secs(30);
const READERS: u32 = 8;

/// Why a database can't be opened.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum OpenStoreError {
    /// The URI is not of a kind that is served.
    #[error("backend store uri `{uri}`: {reason}")]
    Uri {
        /// The URI.
        uri: String,
        /// What is wrong with it.
        reason: &'static str,
    },
    /// The folder of the database can't be created or written.
    #[error("database `{path}` can't be written")]
    Folder {
        /// The database's file.
        path: PathBuf,
        /// The cause.
        source: std::io::Error,
    },
    /// The file is no database, or can't be opened.
    #[error("database `{path}` can't be opened")]
    Open {
        /// The database's file.
        path: PathBuf,
        /// The cause.
        source: sqlx::Error,
    },
    /// A newer program has upgraded it.
    #[error(
        "database `{path}` has schema {found}, and this program knows schemas up to {known}: \
         use the newer program that upgraded it"
    )]
    Newer {
        /// The database's file.
        path: PathBuf,
        /// Its schema.
        found: i64,
        /// The newest schema that is known here.
        known: i64,
    },
    /// It can't be upgraded.
    #[error("database `{path}` can't be upgraded")]
    Migrate {
        /// The database's file.
        path: PathBuf,
        /// The cause.
        source: MigrateError,
    },
}

impl Store {
    /// Opens the database at `uri` (`sqlite:///relative`, `sqlite:////absolute`), creating or
    /// upgrading it; processes that open it at once take turns.
    ///
    /// # Errors
    /// When it can't be used; nothing is changed in a database that is refused.
    pub async fn open(uri: &str) -> Result<Self, OpenStoreError> {
        let path = sqlite_path(uri)?;
        let folder_error = |source| OpenStoreError::Folder {
            path: path.clone(),
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
        // Held until this function returns: SQLite has no lock that spans several migrations, and
        // the switch to the write-ahead log fails when two processes attempt it at once.
        let _turn = lock(&path).await.map_err(folder_error)?;
        let open_error = |source| OpenStoreError::Open {
            path: path.clone(),
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
        if let Err(error) = migrate(&writes).await {
            writes.close().await;
            return Err(match error {
                MigrateError::VersionMissing(found) | MigrateError::VersionTooNew(found, _) => {
                    let known = MIGRATIONS.iter().map(|m| m.version).max().unwrap_or(0);
                    OpenStoreError::Newer { path, found, known }
                }
                source => OpenStoreError::Migrate { path, source },
            });
        }
        let reads = SqlitePoolOptions::new()
            .max_connections(READERS)
            .connect_with(options)
            .await
            .map_err(open_error)?;
        let store = Self { reads, writes };
        store
            .ensure_default_experiment(now())
            .await
            .map_err(open_error)?;
        Ok(store)
    }

    /// Closes all connections, so that the write-ahead log is folded into the database.
    pub async fn close(&self) {
        self.reads.close().await;
        self.writes.close().await;
    }
}

/// Whether a transaction can begin. After a commit that failed (a full disk) SQLite has none any
/// more, but the connection counts one for ever: it must be replaced, or no write succeeds again.
async fn can_begin(connection: &mut sqlx::SqliteConnection) -> sqlx::Result<bool> {
    match connection.begin_with("BEGIN DEFERRED").await {
        Ok(transaction) => transaction.rollback().await.map(|()| true),
        Err(_) => Ok(false),
    }
}

async fn migrate(pool: &sqlx::Pool<super::Db>) -> Result<(), MigrateError> {
    MIGRATIONS.run(pool).await
}

/// The file that a URI names, as SQLAlchemy reads it.
fn sqlite_path(uri: &str) -> Result<PathBuf, OpenStoreError> {
    let refuse = |reason| OpenStoreError::Uri {
        uri: without_password(uri),
        reason,
    };
    let Some(path) = uri.strip_prefix("sqlite:///") else {
        return Err(refuse(
            "only sqlite:///relative/path and sqlite:////absolute/path are supported",
        ));
    };
    if path.is_empty() || path == ":memory:" {
        return Err(refuse("a database in memory would be lost; name a file"));
    }
    Ok(PathBuf::from(path))
}

/// A URI that may be shown.
fn without_password(uri: &str) -> String {
    match (uri.split_once("://"), uri.rsplit_once('@')) {
        (Some((scheme, _)), Some((_, host))) => format!("{scheme}://…@{host}"),
        _ => uri.to_owned(),
    }
}

/// Waits for the file beside the database that processes which open it hold in turn.
async fn lock(database: &Path) -> std::io::Result<File> {
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
        assert_eq!(
            sqlite_path("sqlite:///a/b.db").unwrap(),
            Path::new("a/b.db")
        );
        assert_eq!(
            sqlite_path("sqlite:////a/b.db").unwrap(),
            Path::new("/a/b.db")
        );
        for bad in [
            "sqlite://",
            "sqlite:///",
            "sqlite:///:memory:",
            "postgresql://u:p@h/d",
        ] {
            let error = sqlite_path(bad).unwrap_err().to_string();
            assert!(!error.contains("u:p"), "{error}");
        }
    }
}
