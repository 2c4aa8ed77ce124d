//! What the registry knows, behind one interface: [`Store`]. All SQL is in this module.
//!
//! Every write is one transaction. SQLite lets one writer in at a time, so all writes of a process
//! share one connection and begin with the write lock in hand (no lock is ever upgraded, which is
//! what "database is locked" comes from); another process's writer is waited for. Reads have
//! connections of their own and, thanks to the write-ahead log, never wait.
//!
//! The SQL is the part that SQLite and PostgreSQL share.

mod error;
mod experiments;
mod logged_models;
mod metrics;
mod model_versions;
mod open;
mod page;
mod registered_models;
mod run_search;
mod runs;
mod search;
mod tags;

use sqlx::{Pool, Transaction};

pub use error::StoreError;
pub use logged_models::NewLoggedModel;
pub use model_versions::NewModelVersion;
pub use open::OpenStoreError;
pub use page::{Page, PageRequest};
pub use run_search::RunSearch;
pub use runs::{NewRun, RunChange};

/// The database that the SQL is sent to.
type Db = sqlx::Sqlite;

/// What the registry knows. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Store {
    reads: Pool<Db>,
    writes: Pool<Db>,
}

type Result<T> = std::result::Result<T, StoreError>;

impl Store {
    /// Begins a write, waiting for its turn.
    async fn write(&self) -> Result<Transaction<'static, Db>> {
        Ok(self.writes.begin_with("BEGIN IMMEDIATE").await?)
    }

    /// Whether the database answers.
    ///
    /// # Errors
    /// When it does not.
    pub async fn ping(&self) -> Result<()> {
        sqlx::query("SELECT 1").execute(&self.reads).await?;
        Ok(())
    }
}

/// Now, in ms since the epoch.
fn now() -> i64 {
    std::time::SystemTime::now()
        .duration_since(std::time::UNIX_EPOCH)
        .map_or(0, |elapsed| {
            i64::try_from(elapsed.as_millis()).unwrap_or(i64::MAX)
        })
}

/// The number behind an experiment's id; ids are text on the wire.
fn experiment_number(id: &str) -> Option<i64> {
    id.parse().ok().filter(|number| *number >= 0)
}

fn no_experiment(id: &str) -> StoreError {
    StoreError::NotFound(format!("No Experiment with id={id} exists"))
}
