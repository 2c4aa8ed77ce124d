//! Copies of a SQLite database, taken beside a living server, and what is needed to put one back.
//! Nothing here upgrades a database, so a backup can come before an upgrade.

use std::path::{Path, PathBuf};
use std::time::Duration;

use sqlx::sqlite::{SqliteConnectOptions, SqliteConnection};
use sqlx::{ConnectOptions, Connection};

use super::open::{OpenStoreError, known_schema, lock_file, sqlite_path};

/// What is wrong with a database, or with what is wanted of it.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum BackupError {
    /// It is not SQLite, or no URI.
    #[error(transparent)]
    Uri(#[from] OpenStoreError),
    /// A file can't be read or written.
    #[error("`{path}`")]
    File {
        /// The file.
        path: String,
        /// The cause.
        source: std::io::Error,
    },
    /// The database failed.
    #[error("database `{path}`")]
    Database {
        /// The file.
        path: String,
        /// The cause.
        source: sqlx::Error,
    },
    /// It is not as it should be; the message says how.
    #[error("{0}")]
    Refused(String),
}

type Result<T> = std::result::Result<T, BackupError>;

fn file(path: &Path) -> impl FnOnce(std::io::Error) -> BackupError {
    let path = path.display().to_string();
    move |source| BackupError::File { path, source }
}

fn database(path: &Path) -> impl FnOnce(sqlx::Error) -> BackupError {
    let path = path.display().to_string();
    move |source| BackupError::Database { path, source }
}

fn options(path: &Path) -> SqliteConnectOptions {
    SqliteConnectOptions::new()
        .filename(path)
        .create_if_missing(false)
        .busy_timeout(Duration::from_secs(30))
        .disable_statement_logging()
}

/// The file of a SQLite database.
///
/// # Errors
/// When the URI is of another kind.
pub fn database_file(uri: &str) -> Result<PathBuf> {
    Ok(sqlite_path(uri)?)
}

/// Writes a consistent copy of the database `from` into `to`, checks it, and returns its size.
/// Others may read and write meanwhile.
///
/// # Errors
/// When `to` is there already, or either can't be read or written.
pub async fn copy(from: &Path, to: &Path) -> Result<u64> {
    if tokio::fs::symlink_metadata(to).await.is_ok() {
        return Err(BackupError::Refused(format!(
            "`{}` is there already; nothing is overwritten",
            to.display()
        )));
    }
    let partial = beside(to, &format!(".partial-{}", uuid::Uuid::new_v4().simple()));
    let result = copy_into(from, &partial).await;
    let result = match result {
        // Unlike a rename, a link refuses what came there meanwhile.
        Ok(size) => tokio::fs::hard_link(&partial, to)
            .await
            .map_err(file(to))
            .map(|()| size),
        Err(error) => Err(error),
    };
    if let Err(error) = tokio::fs::remove_file(&partial).await
        && error.kind() != std::io::ErrorKind::NotFound
    {
        tracing::warn!(%error, "`{}` can't be removed", partial.display());
    }
    let size = result?;
    sync_folder(to).await?;
    Ok(size)
}

async fn copy_into(from: &Path, partial: &Path) -> Result<u64> {
    let text = partial
        .to_str()
        .ok_or_else(|| BackupError::Refused(format!("`{}` is no UTF-8", partial.display())))?;
    let mut source = options(from).connect().await.map_err(database(from))?;
    let copied = sqlx::query("VACUUM INTO $1")
        .bind(text)
        .execute(&mut source)
        .await
        .map_err(database(from));
    source.close().await.map_err(database(from))?;
    copied?;
    check(partial).await?;
    let copy = tokio::fs::File::open(partial)
        .await
        .map_err(file(partial))?;
    copy.sync_all().await.map_err(file(partial))?;
    Ok(copy.metadata().await.map_err(file(partial))?.len())
}

/// Checks that a file is a whole database of a registry that this program knows; returns its schema.
///
/// # Errors
/// When it is not.
pub async fn check(path: &Path) -> Result<i64> {
    let mut connection = options(path).connect().await.map_err(database(path))?;
    let checked = check_connection(&mut connection, path).await;
    connection.close().await.map_err(database(path))?;
    checked
}

async fn check_connection(connection: &mut SqliteConnection, path: &Path) -> Result<i64> {
    let refuse = |what: String| Err(BackupError::Refused(format!("`{}` {what}", path.display())));
    let (verdict,): (String,) = sqlx::query_as("PRAGMA integrity_check(1)")
        .fetch_one(&mut *connection)
        .await
        .map_err(database(path))?;
    if verdict != "ok" {
        return refuse(format!("is damaged: {verdict}"));
    }
    let strays: Vec<(String,)> = sqlx::query_as("SELECT \"table\" FROM pragma_foreign_key_check")
        .fetch_all(&mut *connection)
        .await
        .map_err(database(path))?;
    if let Some((table,)) = strays.first() {
        return refuse(format!("has rows in `{table}` that belong to nothing"));
    }
    let schema: std::result::Result<(Option<i64>,), _> =
        sqlx::query_as("SELECT MAX(version) FROM _sqlx_migrations WHERE success")
            .fetch_one(&mut *connection)
            .await;
    match schema {
        Ok((Some(schema),)) if schema <= known_schema() => Ok(schema),
        Ok((Some(schema),)) => refuse(format!(
            "has schema {schema}, and this program knows schemas up to {}",
            known_schema()
        )),
        Ok((None,)) | Err(_) => refuse("is no database of a registry".to_owned()),
    }
}

/// Puts the copy `from` at the place `to`; returns where what was there lies now.
///
/// # Errors
/// When `from` is no whole database, when `to` is there and `replace` is false, or when somebody has
/// `to` open: whatever they write would be lost.
pub async fn put_back(from: &Path, to: &Path, replace: bool) -> Result<Option<PathBuf>> {
    check(from).await?;
    if let Some(folder) = to.parent().filter(|folder| !folder.as_os_str().is_empty()) {
        tokio::fs::create_dir_all(folder)
            .await
            .map_err(file(folder))?;
    }
    // Whoever opens the database waits until this is done.
    let _turn = lock_file(to).await.map_err(file(to))?;
    let there = tokio::fs::symlink_metadata(to).await.is_ok();
    if there && !replace {
        return Err(BackupError::Refused(format!(
            "`{}` is there already; --force puts it aside",
            to.display()
        )));
    }
    if there {
        ensure_unused(to).await?;
    }
    let partial = beside(to, ".restoring");
    tokio::fs::copy(from, &partial)
        .await
        .map_err(file(&partial))?;
    let copy = tokio::fs::File::open(&partial)
        .await
        .map_err(file(&partial))?;
    copy.sync_all().await.map_err(file(&partial))?;
    let aside = if there {
        let aside = beside(to, &format!(".before-restore-{}", super::now()));
        // Its log and index belong to it; SQLite would apply them to the restored one.
        for suffix in ["", "-wal", "-shm"] {
            let old = beside(to, suffix);
            match tokio::fs::rename(&old, beside(&aside, suffix)).await {
                Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
                moved => moved.map_err(file(&old))?,
            }
        }
        Some(aside)
    } else {
        None
    };
    tokio::fs::rename(&partial, to).await.map_err(file(to))?;
    sync_folder(to).await?;
    Ok(aside)
}

/// Whether nobody else has a database open. In the write-ahead mode every connection keeps a lock
/// for as long as it is open.
async fn ensure_unused(path: &Path) -> Result<()> {
    let in_use = || {
        BackupError::Refused(format!(
            "a server has `{}` open; stop it first",
            path.display()
        ))
    };
    let exclusive = options(path)
        .busy_timeout(Duration::ZERO)
        .locking_mode(sqlx::sqlite::SqliteLockingMode::Exclusive);
    let mut connection = match exclusive.connect().await {
        Ok(connection) => connection,
        Err(error) if is_busy(&error) => return Err(in_use()),
        // What is no database has no server either, and is put aside as it is.
        Err(sqlx::Error::Database(_)) => return Ok(()),
        Err(error) => return Err(database(path)(error)),
    };
    let result = sqlx::query("BEGIN EXCLUSIVE")
        .execute(&mut connection)
        .await;
    connection.close().await.ok();
    match result {
        Err(error) if is_busy(&error) => Err(in_use()),
        _ => Ok(()),
    }
}

fn is_busy(error: &sqlx::Error) -> bool {
    matches!(error, sqlx::Error::Database(cause)
        if cause.code().and_then(|code| code.parse::<i64>().ok()).is_some_and(|code| matches!(code & 0xff, 5 | 6)))
}

/// A name with something behind it.
fn beside(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(suffix);
    PathBuf::from(name)
}

async fn sync_folder(of: &Path) -> Result<()> {
    let folder = of
        .parent()
        .filter(|folder| !folder.as_os_str().is_empty())
        .unwrap_or_else(|| Path::new("."));
    let folder_file = tokio::fs::File::open(folder).await.map_err(file(folder))?;
    folder_file.sync_all().await.map_err(file(folder))
}
