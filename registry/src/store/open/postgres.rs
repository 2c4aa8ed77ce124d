//! Databases of a PostgreSQL server.

use std::str::FromStr;
use std::time::Duration;

use sqlx::Connection;
use sqlx::postgres::{PgConnectOptions, PgConnection, PgPool, PgPoolOptions};

use super::{Dialect, OpenStoreError, Pools, migrate, without_password};

/// Connections of one process; requests beyond wait for their turn.
const CONNECTIONS: u32 = 16;
const ACQUIRE: Duration = Duration::from_secs(30);
/// How long the attempt may take that tells why there is none.
const LAST: Duration = Duration::from_secs(5);

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
    let pool = connect(options, ACQUIRE).await.map_err(open_error)?;
    if let Err(error) = migrate(&pool, Dialect::Postgres, &database).await {
        pool.close().await;
        return Err(error);
    }
    Ok((Pools::Postgres(pool), database))
}

/// Connects, for as long as `patience`: a server may be about to start.
async fn connect(options: PgConnectOptions, patience: Duration) -> sqlx::Result<PgPool> {
    let connected = PgPoolOptions::new()
        .max_connections(CONNECTIONS)
        .acquire_timeout(patience)
        // A round trip before each statement would double what a look-up costs. A connection that
        // broke shows it to one request, which says that it may be tried again.
        .test_before_acquire(false)
        .idle_timeout(Duration::from_secs(600))
        .connect_with(options.clone())
        .await;
    match connected {
        // Waiting says nothing of what it waited for; one more attempt does.
        Err(sqlx::Error::PoolTimedOut) => {
            let again = tokio::time::timeout(LAST, PgConnection::connect_with(&options));
            match again.await {
                Ok(Err(error)) => Err(error),
                _ => Err(sqlx::Error::PoolTimedOut),
            }
        }
        other => other,
    }
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
        let error = connect(nobody, Duration::from_millis(200))
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
