//! Connections to PostgreSQL.
//!
//! Not `sqlx::Pool`: it sends a round trip after every use of a connection and takes all of them in
//! turn, which together cost a look-up more than its statement does. Here the connection that was
//! used last goes first, and only one that was left in the middle of something is looked after.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use deadpool::Runtime;
use deadpool::managed::{
    self, Metrics, Object, PoolConfig, PoolError, QueueMode, RecycleError, RecycleResult, Timeouts,
};
use sqlx::postgres::{PgConnectOptions, PgConnection};
use sqlx::{Connection, Executor};

/// Connections of one process; requests beyond wait for their turn.
const CONNECTIONS: usize = 16;
/// Those for look-ups: each takes a fraction of a millisecond.
const LOOKUPS: usize = 4;
/// A connection's memory in the server grows with what it has seen.
const LIFETIME: Duration = Duration::from_secs(1800);
/// How long a statement that nobody waits for any more may go on before its connection is closed.
const CLEANING: Duration = Duration::from_secs(30);
/// How long closing waits for connections at work.
const CLOSING: Duration = Duration::from_secs(10);

/// The connections to a PostgreSQL database.
#[derive(Debug, Clone)]
pub(in crate::store) struct PgPool {
    sessions: managed::Pool<Manager>,
    lookups: managed::Pool<Manager>,
}

impl PgPool {
    /// A pool that has connected once, or waited for `patience` until the server was there.
    pub(in crate::store) async fn connect(
        options: PgConnectOptions,
        patience: Duration,
    ) -> sqlx::Result<Self> {
        // Look-ups go by keys. Their plans are made once and never scan a table, whatever the
        // statistics of a table that has just been filled pretend.
        let lookups = options
            .clone()
            .options([("plan_cache_mode", "force_generic_plan")])
            .options([("enable_seqscan", "off"), ("enable_bitmapscan", "off")]);
        let pool = Self {
            sessions: Manager::pool(options, CONNECTIONS, patience)?,
            lookups: Manager::pool(lookups, LOOKUPS, patience)?,
        };
        pool.session().await?;
        Ok(pool)
    }

    /// A connection for anything.
    pub(super) async fn session(&self) -> sqlx::Result<Session> {
        take(&self.sessions).await
    }

    /// A connection for short statements that find rows by their keys.
    pub(super) async fn lookup(&self) -> sqlx::Result<Session> {
        take(&self.lookups).await
    }

    /// How many connections are at work, and how many are idle.
    pub(super) fn connections(&self) -> (usize, usize) {
        [&self.sessions, &self.lookups]
            .into_iter()
            .fold((0, 0), |(busy, idle), pool| {
                let status = pool.status();
                (
                    busy + status.size.saturating_sub(status.available),
                    idle + status.available,
                )
            })
    }

    pub(in crate::store) fn is_closed(&self) -> bool {
        self.sessions.is_closed()
    }

    /// Says farewell to the server, once what is at work has ended.
    pub(in crate::store) async fn close(&self) {
        let all = [&self.sessions, &self.lookups];
        for pool in all {
            // What is idle is taken out first: closing would drop it without a word.
            let idle = pool.retain(|_, _| false).removed;
            pool.close();
            for connection in idle {
                connection.inner.close().await.ok();
            }
        }
        let at_work = async {
            while all.iter().any(|pool| pool.status().size > 0) {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        tokio::time::timeout(CLOSING, at_work).await.ok();
    }
}

async fn take(pool: &managed::Pool<Manager>) -> sqlx::Result<Session> {
    match pool.get().await {
        Ok(connection) => Ok(Session {
            connection: Some(connection),
            state: State::Clean,
            in_transaction: false,
        }),
        Err(PoolError::Backend(error)) => Err(error),
        Err(PoolError::Timeout(_)) => Err(sqlx::Error::PoolTimedOut),
        Err(_) => Err(sqlx::Error::PoolClosed),
    }
}

/// Makes connections.
#[derive(Debug)]
struct Manager {
    options: PgConnectOptions,
    patience: Duration,
    /// Counts the connections that broke. Those that are older than the last one are doubted.
    broken: AtomicU64,
}

/// A connection and how many had broken when it was last known to be well.
#[derive(Debug)]
struct Pooled {
    inner: PgConnection,
    broken: u64,
}

impl Manager {
    fn pool(
        options: PgConnectOptions,
        size: usize,
        patience: Duration,
    ) -> sqlx::Result<managed::Pool<Self>> {
        let manager = Self {
            options,
            patience,
            broken: AtomicU64::new(0),
        };
        let config = PoolConfig {
            timeouts: Timeouts {
                wait: Some(patience),
                // Connecting knows its own patience, and says what went wrong.
                create: None,
                recycle: Some(patience),
            },
            queue_mode: QueueMode::Lifo,
            ..PoolConfig::new(size)
        };
        managed::Pool::builder(manager)
            .config(config)
            .runtime(Runtime::Tokio1)
            .build()
            .map_err(|error| sqlx::Error::Configuration(Box::new(error)))
    }
}

impl managed::Manager for Manager {
    type Type = Pooled;
    type Error = sqlx::Error;

    /// Connects, for as long as there is patience with a server that is about to start.
    async fn create(&self) -> sqlx::Result<Pooled> {
        let began = tokio::time::Instant::now();
        let mut pause = Duration::from_millis(20);
        loop {
            let broken = self.broken.load(Ordering::Acquire);
            match PgConnection::connect_with(&self.options).await {
                Ok(inner) => return Ok(Pooled { inner, broken }),
                Err(error) if may_pass(&error) && began.elapsed() + pause < self.patience => {
                    tokio::time::sleep(pause).await;
                    pause = (pause * 2).min(Duration::from_secs(1));
                }
                Err(error) => return Err(error),
            }
        }
    }

    async fn recycle(&self, pooled: &mut Pooled, metrics: &Metrics) -> RecycleResult<sqlx::Error> {
        if metrics.age() > LIFETIME {
            return Err(RecycleError::message("it is old"));
        }
        let broken = self.broken.load(Ordering::Acquire);
        if pooled.broken != broken {
            pooled.inner.ping().await?;
            pooled.broken = broken;
        }
        Ok(())
    }
}

/// Whether connecting may succeed a little later: nobody listens yet, the server is starting or
/// stopping, or it has too many clients.
fn may_pass(error: &sqlx::Error) -> bool {
    match error {
        sqlx::Error::Io(error) => error.kind() == std::io::ErrorKind::ConnectionRefused,
        sqlx::Error::Database(error) => error
            .code()
            .is_some_and(|code| matches!(&*code, "57P01" | "57P02" | "57P03" | "53300")),
        _ => false,
    }
}

/// Whether an error ends the connection: only answers of the server leave it usable, and of those
/// not the ones by which it says farewell.
fn breaks(error: &sqlx::Error) -> bool {
    match error {
        sqlx::Error::Io(_) | sqlx::Error::Tls(_) | sqlx::Error::Protocol(_) => true,
        sqlx::Error::Database(error) => error.code().is_some_and(|code| {
            code.starts_with("57P") || code.starts_with("08") || code == "25P03"
        }),
        _ => false,
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Clean,
    /// A statement was begun, and nobody read its answer to the end.
    Busy,
    Broken,
}

/// A connection on loan.
#[derive(Debug)]
pub(super) struct Session {
    /// There until it is dropped.
    connection: Option<Object<Manager>>,
    state: State,
    in_transaction: bool,
}

impl Session {
    /// The connection, for one statement; [`Self::end`] is told how it went.
    pub(super) fn start(&mut self) -> sqlx::Result<&mut PgConnection> {
        // A future that is dropped while it waits leaves it so.
        self.state = State::Busy;
        match self.connection.as_mut() {
            Some(connection) => Ok(&mut connection.inner),
            None => Err(sqlx::Error::PoolClosed),
        }
    }

    /// Notes how a statement ended.
    pub(super) fn end<T>(&mut self, outcome: &sqlx::Result<T>) {
        self.state = match outcome {
            Ok(_) => State::Clean,
            Err(error) if breaks(error) => State::Broken,
            Err(sqlx::Error::Database(_)) => State::Clean,
            Err(_) => State::Busy,
        };
    }

    pub(super) async fn begin(&mut self) -> sqlx::Result<()> {
        self.in_transaction = true;
        self.command("BEGIN").await
    }

    pub(super) async fn commit(mut self) -> sqlx::Result<()> {
        self.command("COMMIT").await?;
        self.in_transaction = false;
        Ok(())
    }

    async fn command(&mut self, text: &'static str) -> sqlx::Result<()> {
        let outcome = self.start()?.execute(sqlx::raw_sql(text)).await;
        self.end(&outcome);
        outcome.map(drop)
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        let Some(mut connection) = self.connection.take() else {
            return;
        };
        if self.state == State::Broken {
            if let Some(pool) = Object::pool(&connection) {
                pool.manager().broken.fetch_add(1, Ordering::AcqRel);
            }
            drop(Object::take(connection));
            return;
        }
        if self.state == State::Clean && !self.in_transaction {
            return;
        }
        // What a dropped transaction has locked must not stay so until the connection is used again.
        let in_transaction = self.in_transaction;
        let Ok(runtime) = tokio::runtime::Handle::try_current() else {
            drop(Object::take(connection));
            return;
        };
        runtime.spawn(async move {
            let inner = &mut connection.inner;
            let cleaned = tokio::time::timeout(CLEANING, async {
                if in_transaction {
                    inner.execute(sqlx::raw_sql("ROLLBACK")).await.map(drop)
                } else {
                    inner.ping().await
                }
            });
            if !matches!(cleaned.await, Ok(Ok(()))) {
                drop(Object::take(connection));
            }
        });
    }
}

#[cfg(test)]
mod tests {
    use std::str::FromStr;

    use test_stack::PostgresServer;

    use super::*;

    const SOON: Duration = Duration::from_secs(20);

    async fn pool(server: &PostgresServer) -> PgPool {
        let uri = server.create_database().unwrap();
        let options = PgConnectOptions::from_str(&uri).unwrap();
        PgPool::connect(options, SOON).await.unwrap()
    }

    async fn run(session: &mut Session, sql: &'static str) -> sqlx::Result<()> {
        let outcome = session.start()?.execute(sqlx::raw_sql(sql)).await;
        session.end(&outcome);
        outcome.map(drop)
    }

    async fn number(session: &mut Session, sql: &'static str) -> sqlx::Result<i32> {
        let outcome = sqlx::query_scalar(sql).fetch_one(session.start()?).await;
        session.end(&outcome);
        outcome
    }

    #[tokio::test]
    async fn a_dropped_transaction_never_was_and_locks_nothing() {
        let server = PostgresServer::start().unwrap();
        let pool = pool(&server).await;
        let mut other = pool.session().await.unwrap();
        run(&mut other, "CREATE TABLE t AS SELECT 1 AS x")
            .await
            .unwrap();
        let mut dropped = pool.session().await.unwrap();
        dropped.begin().await.unwrap();
        run(&mut dropped, "UPDATE t SET x = 2").await.unwrap();
        drop(dropped);
        run(&mut other, "SET lock_timeout = '20s'").await.unwrap();
        run(&mut other, "UPDATE t SET x = x + 10").await.unwrap();
        assert_eq!(number(&mut other, "SELECT x FROM t").await.unwrap(), 11);
        pool.close().await;
    }

    #[tokio::test]
    async fn an_answer_that_nobody_waited_for_is_given_to_nobody_else() {
        let server = PostgresServer::start().unwrap();
        let pool = pool(&server).await;
        for i in 0..20 {
            let mut session = pool.session().await.unwrap();
            let slow = number(&mut session, "SELECT 7 FROM pg_sleep(0.3)");
            tokio::time::timeout(Duration::from_millis(i), slow)
                .await
                .ok();
            drop(session);
            let mut next = pool.session().await.unwrap();
            assert_eq!(number(&mut next, "SELECT 1").await.unwrap(), 1);
        }
        pool.close().await;
    }

    #[tokio::test]
    async fn one_statement_at_most_fails_after_the_server_was_gone() {
        let mut server = PostgresServer::start().unwrap();
        let pool = pool(&server).await;
        let mut sessions = Vec::new();
        for _ in 0..CONNECTIONS {
            let mut session = pool.session().await.unwrap();
            run(&mut session, "SELECT 1").await.unwrap();
            sessions.push(session);
        }
        drop(sessions);
        assert_eq!(pool.connections().1, CONNECTIONS);
        server.kill().unwrap();
        server.restart().unwrap();
        let mut failures = 0;
        for _ in 0..3 * CONNECTIONS {
            let mut session = pool.session().await.unwrap();
            failures += usize::from(run(&mut session, "SELECT 1").await.is_err());
        }
        assert!(failures <= 1, "{failures} statements failed");
        pool.close().await;
        assert!(pool.session().await.is_err());
    }

    #[tokio::test]
    async fn a_server_that_is_about_to_start_is_waited_for() {
        let mut server = PostgresServer::start().unwrap();
        let uri = server.create_database().unwrap();
        server.kill().unwrap();
        let options = PgConnectOptions::from_str(&uri).unwrap();
        let connecting = tokio::spawn(PgPool::connect(options, SOON));
        // Long enough to have been refused, if it is not patient.
        tokio::time::sleep(Duration::from_millis(100)).await;
        server.restart().unwrap();
        connecting.await.unwrap().unwrap().close().await;
    }
}
