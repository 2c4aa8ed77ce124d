//! One way to speak to SQLite and to PostgreSQL: a connection that is one of either, and statements
//! whose text both understand (`$1` for values; where they differ, [`Conn::dialect`] tells which
//! one listens).
//!
//! `sqlx::Any` is not used: it knows no arrays, decodes each value twice and takes the names of
//! columns as texts.

mod postgres;
mod query;

use sqlx::pool::PoolConnection;
use sqlx::{Pool, Sqlite, SqliteConnection, Transaction};

pub(super) use postgres::PgPool;
use postgres::Session;
pub(super) use query::{Element, Query, QueryBuilder, Record, Value, query};

/// Which database listens.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Dialect {
    Sqlite,
    Postgres,
}

/// The connections to a database.
#[derive(Debug, Clone)]
pub(super) enum Pools {
    /// SQLite lets one writer in at a time, so all writes of a process share one connection.
    Sqlite {
        reads: Pool<Sqlite>,
        writes: Pool<Sqlite>,
    },
    Postgres(PgPool),
}

impl Pools {
    pub(super) fn dialect(&self) -> Dialect {
        match self {
            Self::Sqlite { .. } => Dialect::Sqlite,
            Self::Postgres(_) => Dialect::Postgres,
        }
    }

    /// A connection to read with.
    pub(super) async fn read(&self) -> sqlx::Result<Conn> {
        Ok(Conn(match self {
            Self::Sqlite { reads, .. } => Inner::Sqlite(reads.acquire().await?),
            Self::Postgres(pool) => Inner::Postgres(pool.session().await?),
        }))
    }

    /// A connection to find a few rows by their keys with, for no longer than that takes.
    pub(super) async fn lookup(&self) -> sqlx::Result<Conn> {
        match self {
            Self::Sqlite { .. } => self.read().await,
            Self::Postgres(pool) => Ok(Conn(Inner::Postgres(pool.lookup().await?))),
        }
    }

    /// A connection whose statements are each a transaction of their own.
    pub(super) async fn autocommit(&self) -> sqlx::Result<Conn> {
        Ok(Conn(match self {
            Self::Sqlite { writes, .. } => Inner::Sqlite(writes.acquire().await?),
            Self::Postgres(pool) => Inner::Postgres(pool.session().await?),
        }))
    }

    /// Begins a transaction. SQLite's begins with the write lock in hand: no lock is ever upgraded,
    /// which is what "database is locked" comes from.
    pub(super) async fn write(&self) -> sqlx::Result<Tx> {
        Ok(Tx(Conn(match self {
            Self::Sqlite { writes, .. } => {
                Inner::SqliteTx(writes.begin_with("BEGIN IMMEDIATE").await?)
            }
            Self::Postgres(pool) => {
                let mut session = pool.session().await?;
                session.begin().await?;
                Inner::Postgres(session)
            }
        })))
    }

    /// How many connections are at work, and how many are idle.
    pub(super) fn connections(&self) -> (usize, usize) {
        fn of(pool: &Pool<Sqlite>) -> (usize, usize) {
            let all = usize::try_from(pool.size()).unwrap_or(usize::MAX);
            let idle = pool.num_idle();
            (all.saturating_sub(idle), idle)
        }
        match self {
            Self::Sqlite { reads, writes } => {
                let (reads, writes) = (of(reads), of(writes));
                (reads.0 + writes.0, reads.1 + writes.1)
            }
            Self::Postgres(pool) => pool.connections(),
        }
    }

    pub(super) async fn close(&self) {
        match self {
            Self::Sqlite { reads, writes } => {
                reads.close().await;
                writes.close().await;
            }
            Self::Postgres(pool) => pool.close().await,
        }
    }
}

/// A connection to either database, perhaps within a transaction.
#[derive(Debug)]
pub(super) struct Conn(Inner);

#[derive(Debug)]
enum Inner {
    Sqlite(PoolConnection<Sqlite>),
    SqliteTx(Transaction<'static, Sqlite>),
    Postgres(Session),
}

enum Raw<'c> {
    Sqlite(&'c mut SqliteConnection),
    Postgres(&'c mut Session),
}

impl Conn {
    pub(super) fn dialect(&self) -> Dialect {
        match &self.0 {
            Inner::Sqlite(_) | Inner::SqliteTx(_) => Dialect::Sqlite,
            Inner::Postgres(_) => Dialect::Postgres,
        }
    }

    /// The statement that its database understands.
    pub(super) fn pick(&self, sqlite: &'static str, postgres: &'static str) -> Query {
        query(match self.dialect() {
            Dialect::Sqlite => sqlite,
            Dialect::Postgres => postgres,
        })
    }

    fn raw(&mut self) -> Raw<'_> {
        match &mut self.0 {
            Inner::Sqlite(connection) => Raw::Sqlite(connection),
            Inner::SqliteTx(transaction) => Raw::Sqlite(transaction),
            Inner::Postgres(session) => Raw::Postgres(session),
        }
    }
}

/// A transaction; dropped without [`Tx::commit`], it never was.
#[derive(Debug)]
pub(super) struct Tx(Conn);

impl Tx {
    pub(super) async fn commit(self) -> sqlx::Result<()> {
        match self.0.0 {
            Inner::SqliteTx(transaction) => transaction.commit().await,
            Inner::Postgres(session) => session.commit().await,
            // A `Tx` is never made of this.
            Inner::Sqlite(_) => Ok(()),
        }
    }
}

impl std::ops::Deref for Tx {
    type Target = Conn;

    fn deref(&self) -> &Conn {
        &self.0
    }
}

impl std::ops::DerefMut for Tx {
    fn deref_mut(&mut self) -> &mut Conn {
        &mut self.0
    }
}
