//! `registry backup` and `registry restore`.

use std::path::PathBuf;

use anyhow::anyhow;
use clap::Args as ClapArgs;
use registry::store::backup::{BackupError, copy, database_file, put_back};
use serde_json::json;

use super::place::{print, size};
use super::{Database, Failure, Output};

const BACKUP: &str = "Write a consistent copy of a SQLite database into a new file, and check it.

A server may run meanwhile and is not held up. Nothing is overwritten. Artifacts are files of their
own: copy their folder after the database, so that everything the copy names is there.

For PostgreSQL use pg_dump, which does the same.";

const RESTORE: &str = "Put a backup of a SQLite database back in its place.

The backup is checked first. A database that is there already is only replaced with --force, and is
kept beside it under another name. Stop the servers first: while one has the database open, nothing
is done.";

#[derive(Debug, ClapArgs)]
#[command(long_about = BACKUP)]
pub(super) struct BackupArgs {
    /// The file to write, which must not be there.
    file: PathBuf,
    #[command(flatten)]
    database: Database,
}

#[derive(Debug, ClapArgs)]
#[command(long_about = RESTORE)]
pub(super) struct RestoreArgs {
    /// The backup.
    file: PathBuf,
    #[command(flatten)]
    database: Database,
    /// Replace the database that is there; it is kept beside it.
    #[arg(long)]
    force: bool,
}

/// The file of a SQLite database.
fn file(database: &Database, tool: &str) -> Result<PathBuf, Failure> {
    if database.backend_store_uri.starts_with("postgres") {
        return Err(Failure::Environment(anyhow!(
            "this is for SQLite; for PostgreSQL use {tool}"
        )));
    }
    database_file(&database.backend_store_uri).map_err(failure)
}

fn failure(error: BackupError) -> Failure {
    match error {
        BackupError::Uri(_) | BackupError::File { .. } => Failure::Environment(error.into()),
        error => Failure::Work(error.into()),
    }
}

pub(super) async fn backup(args: BackupArgs, output: Output) -> Result<(), Failure> {
    let from = file(&args.database, "pg_dump")?;
    if tokio::fs::metadata(&from).await.is_err() {
        return Err(Failure::Environment(anyhow!(
            "there is no database `{}`; name it with --backend-store-uri",
            from.display()
        )));
    }
    let bytes = copy(&from, &args.file).await.map_err(failure)?;
    let file = args.file.display().to_string();
    print(output, &json!({ "file": file, "bytes": bytes }), |_| {
        format!("{file}: {}, checked", size(bytes))
    })
}

pub(super) async fn restore(args: RestoreArgs, output: Output) -> Result<(), Failure> {
    let to = file(&args.database, "psql or pg_restore")?;
    let aside = put_back(&args.file, &to, args.force)
        .await
        .map_err(failure)?;
    let aside = aside.map(|aside| aside.display().to_string());
    let file = to.display().to_string();
    print(
        output,
        &json!({ "file": file, "kept": aside }),
        |_| match &aside {
            Some(aside) => format!("restored {file}; what was there is now {aside}"),
            None => format!("restored {file}"),
        },
    )
}
