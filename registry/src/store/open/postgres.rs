//! Databases of a PostgreSQL server.

use std::str::FromStr;
use std::time::Duration;

use sqlx::postgres::{PgConnectOptions, PgPoolOptions};

use super::super::db::PgPool;
use super::{Dialect, OpenStoreError, Pools, migrate, without_password};

/// How long a server that is about to start is waited for, and a connection while all are at work.
const PATIENCE: Duration = Duration::from_secs(30);

pub(super) fn is_uri(uri: &str) -> bool {
    uri.split_once("://").is_some_and(|(scheme, _)| {
        let scheme = scheme.split('+').next().unwrap_or_default();
        matches!(scheme, "postgresql" | "postgres")
    })
}

pub(super) async fn open(uri: &str) -> Result<(Pools, String), OpenStoreError> {
    let database = without_password(uri);
    let options = options(uri)?;
    let open_error = |source| OpenStoreError::Open {
        database: database.clone(),
        source,
    };
    let pool = PgPool::connect(options.clone(), PATIENCE)
        .await
        .map_err(open_error)?;
    // sqlx migrates by a pool of its own.
    let upgraded = match PgPoolOptions::new()
        .max_connections(1)
        .connect_with(options)
        .await
    {
        Ok(one) => {
            let upgraded = migrate(&one, Dialect::Postgres, &database).await;
            one.close().await;
            upgraded
        }
        Err(error) => Err(open_error(error)),
    };
    if let Err(error) = upgraded {
        pool.close().await;
        return Err(error);
    }
    Ok((Pools::Postgres(pool), database))
}

fn options(uri: &str) -> Result<PgConnectOptions, OpenStoreError> {
    let refuse = |reason: &str| OpenStoreError::Uri {
        uri: without_password(uri),
        reason: reason.to_owned(),
    };
    // `postgresql+psycopg2://` names a driver of Python's.
    let rest = uri.split_once("://").map_or("", |(_, rest)| rest);
    let options = PgConnectOptions::from_str(&format!("postgresql://{rest}"))
        .map_err(|_| refuse("it can't be read; write postgresql://user:password@host/database"))?;
    if options.get_database().is_none() {
        return Err(refuse("it names no database"));
    }
    Ok(options
        .application_name("foreshock-registry")
        // Compiling a plan takes longer than any search here runs.
        .options([("jit", "off"), ("timezone", "UTC")]))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn why_a_server_is_not_reached_is_told() {
        let nobody = options("postgresql://u:p@127.0.0.1:1/d").unwrap();
        let error = PgPool::connect(nobody, Duration::from_millis(200))
            .await
            .unwrap_err();
        assert!(matches!(error, sqlx::Error::Io(_)), "{error}");
    }

    #[test]
    fn the_schemes_of_sqlalchemy_are_known() {
        for good in [
            "postgresql://h/d",
            "postgres://u:p@h:1/d",
            "postgresql+psycopg2://u@h/d",
        ] {
            assert!(is_uri(good), "{good}");
            assert!(options(good).is_ok(), "{good}");
        }
        assert!(!is_uri("sqlite:///postgresql"));
        let error = options("postgresql://u:secret@h:port/d").unwrap_err();
        assert!(!error.to_string().contains("secret"), "{error}");
    }
}
