//! Opening a database: creating, upgrading, refusing a newer one.

mod postgres;
mod sqlite;

use std::borrow::Cow;

use sqlx::AssertSqlSafe;
use sqlx::migrate::{Migrate, MigrateError, Migration, Migrator};
use sqlx::{Acquire, SqlSafeStr};

use super::db::{Dialect, Pools};
use super::{Store, now};

pub(super) use sqlite::{lock as lock_file, path as sqlite_path};

static MIGRATIONS: Migrator = sqlx::migrate!("../migrations");

/// Why a database can't be opened.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum OpenStoreError {
    /// The URI is not of a kind that is served.
    #[error("backend store uri `{uri}`: {reason}")]
    Uri {
        /// The URI, without its password.
        uri: String,
        /// What is wrong with it.
        reason: String,
    },
    /// The folder of the database can't be created or written.
    #[error("database `{database}` can't be written")]
    Folder {
        /// The database's file.
        database: String,
        /// The cause.
        source: std::io::Error,
    },
    /// It is no database, or can't be reached.
    #[error("database `{database}` can't be opened")]
    Open {
        /// The database's file, or its URI without the password.
        database: String,
        /// The cause.
        source: sqlx::Error,
    },
    /// A newer program has upgraded it.
    #[error(
        "database `{database}` has schema {found}, and this program knows schemas up to {known}: \
         use the newer program that upgraded it"
    )]
    Newer {
        /// The database's file, or its URI without the password.
        database: String,
        /// Its schema.
        found: i64,
        /// The newest schema that is known here.
        known: i64,
    },
    /// It can't be upgraded.
    #[error("database `{database}` can't be upgraded")]
    Migrate {
        /// The database's file, or its URI without the password.
        database: String,
        /// The cause.
        source: MigrateError,
    },
}

/// The newest schema that this program knows.
pub(super) fn known_schema() -> i64 {
    MIGRATIONS.iter().map(|m| m.version).max().unwrap_or(0)
}

impl Store {
    /// Opens the database at `uri`, creating its tables or upgrading them; processes that open it
    /// at once take turns.
    ///
    /// `sqlite:///relative`, `sqlite:////absolute` (the file is created where it is missing), or
    /// `postgresql://user:password@host/database`, with a driver's name as SQLAlchemy has it
    /// (`postgresql+psycopg2://`) or without.
    ///
    /// # Errors
    /// When it can't be used; nothing is changed in a database that is refused.
    pub async fn open(uri: &str) -> Result<Self, OpenStoreError> {
        let (pools, database) = if postgres::is_uri(uri) {
            postgres::open(uri).await?
        } else {
            sqlite::open(uri).await?
        };
        let open_error = |source| OpenStoreError::Open { database, source };
        let store = match pools.move_old_metrics().await {
            Ok(()) => Self::new(pools),
            Err(source) => {
                pools.close().await;
                return Err(open_error(source));
            }
        };
        store
            .ensure_default_experiment(now())
            .await
            .map_err(open_error)?;
        Ok(store)
    }

    /// Closes all connections; a write-ahead log is folded into its database.
    pub async fn close(&self) {
        self.pools.close().await;
    }
}

/// Brings a database to the newest schema.
async fn migrate<'a, A>(
    connection: A,
    dialect: Dialect,
    database: &str,
) -> Result<(), OpenStoreError>
where
    A: Acquire<'a>,
    <A::Connection as std::ops::Deref>::Target: Migrate,
{
    let migrations = match dialect {
        Dialect::Sqlite => MIGRATIONS.iter().cloned().collect::<Vec<_>>(),
        Dialect::Postgres => MIGRATIONS.iter().map(for_postgres).collect(),
    };
    let migrator = Migrator {
        migrations: Cow::Owned(migrations),
        ..Migrator::DEFAULT
    };
    migrator.run(connection).await.map_err(|error| {
        let database = database.to_owned();
        match error {
            MigrateError::VersionMissing(found) | MigrateError::VersionTooNew(found, _) => {
                let known = known_schema();
                OpenStoreError::Newer {
                    database,
                    found,
                    known,
                }
            }
            source => OpenStoreError::Migrate { database, source },
        }
    })
}

/// The same migration with texts that are sorted and compared byte by byte, as SQLite does: the
/// order of a search does not depend on the server's locale, and comparing is a `memcmp`.
///
/// What is for one database alone is marked: `/* postgres: … */` within a line, `-- sqlite` at its end.
fn for_postgres(migration: &Migration) -> Migration {
    let text: String = migration
        .sql
        .as_str()
        .lines()
        .filter(|line| !line.ends_with("-- sqlite"))
        .map(|line| match line.split_once("/* postgres: ") {
            Some((before, after)) => Cow::Owned(before.to_owned() + &after.replacen(" */", "", 1)),
            None => Cow::Borrowed(line),
        })
        .map(|line| {
            // Columns are declared one a line; comments and statements don't have the word so.
            let code = line.split("--").next().unwrap_or_default();
            if code.starts_with("    ") || code.starts_with("ALTER TABLE") {
                code.replacen(" TEXT", " TEXT COLLATE \"C\"", 1) + "\n"
            } else {
                code.to_owned() + "\n"
            }
        })
        .collect();
    Migration {
        sql: AssertSqlSafe(text).into_sql_str(),
        ..migration.clone()
    }
}

/// A URI that may be shown.
fn without_password(uri: &str) -> String {
    // A password may be a parameter, too.
    let uri = uri.split('?').next().unwrap_or_default();
    match (uri.split_once("://"), uri.rsplit_once('@')) {
        (Some((scheme, _)), Some((_, host))) => format!("{scheme}://…@{host}"),
        _ => uri.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_of_postgres_are_compared_by_bytes() {
        for migration in MIGRATIONS.iter() {
            let sql = for_postgres(migration).sql;
            let columns = |sql: &str| {
                sql.lines()
                    .filter(|line| !line.trim_start().starts_with("--"))
                    .filter(|line| line.contains(" TEXT"))
                    .count()
            };
            let collated = sql.as_str().matches("TEXT COLLATE \"C\"").count();
            assert_eq!(
                columns(migration.sql.as_str()),
                collated,
                "{}",
                migration.description
            );
        }
    }

    #[test]
    fn a_password_is_never_shown() {
        assert_eq!(
            without_password("postgresql://u:p@h/d"),
            "postgresql://…@h/d"
        );
        assert_eq!(
            without_password("postgresql://h/d?user=u&password=p@x"),
            "postgresql://h/d"
        );
    }
}
