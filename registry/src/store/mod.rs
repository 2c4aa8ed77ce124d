//! What the registry knows, behind one interface: [`Store`]. All SQL is in this module.
//!
//! Every write is one transaction. The SQL is the part that SQLite and PostgreSQL share; where one
//! of them has a better way, `db::Conn::dialect` chooses. In SQLite all writes of a process share
//! one connection, another process's writer is waited for, and reads never wait. In PostgreSQL
//! several replicas write at once: every transaction about a registered model locks the model first,
//! and rows of one statement are written in the order of their keys, so that there is no deadlock.

mod alias_history;
mod assessments;
mod audit;
pub mod backup;
mod datasets;
mod db;
mod doctor;
mod error;
mod experiments;
mod gc;
mod grants;
mod import;
mod logged_model_search;
mod logged_models;
mod market;
mod metrics;
mod model_versions;
mod open;
mod page;
mod registered_models;
mod run_create;
mod run_data;
mod run_search;
mod runs;
mod search;
mod spans;
mod tags;
mod tokens;
mod trace_search;
mod traces;
mod users;
mod version_lookup;
mod webhooks;

use std::sync::Arc;

use db::{Conn, Pools, Tx, query};
use metrics::{Folder, Ingest};

pub use self::market::{
    AlertRow, Cursor, DriftRow, HistoryField, HistoryItem, HistoryKind, HistoryRetention,
    HistoryRows, HistorySearch, MarketHistory, Position, ScoreRow, Written,
};
pub use alias_history::Note;
pub use assessments::AssessmentChange;
pub use audit::{AuditRecord, AuditSearch};
pub use doctor::Reference;
pub use error::StoreError;
pub use gc::{PurgeFilter, Purgeable};
pub(crate) use grants::Owned;
pub use grants::{GrantRecord, Granted};
pub use import::{Kind, Known, Origin};
pub use logged_model_search::LoggedModelSearch;
pub use logged_models::NewLoggedModel;
pub use model_versions::NewModelVersion;
pub use open::OpenStoreError;
pub use page::{Page, PageRequest};
pub use run_create::NewRun;
pub use run_search::RunSearch;
pub use runs::RunChange;
pub(crate) use spans::SPANS_LOCATION;
pub use tokens::TokenRecord;
pub use trace_search::TraceSearch;
pub use traces::TraceDeletion;
pub use users::UserRecord;
pub use webhooks::{Delivery, WebhookChange, WebhookTarget};

/// What the registry knows. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Store {
    pools: Pools,
    ingest: Arc<Ingest>,
    folder: Folder,
}

type Result<T> = std::result::Result<T, StoreError>;

impl Store {
    fn new(pools: Pools) -> Self {
        Self {
            ingest: Arc::new(Ingest::new(pools.clone())),
            folder: Folder::start(pools.clone()),
            pools,
        }
    }

    /// A connection to read with; each statement sees what was committed before it.
    async fn read(&self) -> Result<Conn> {
        Ok(self.pools.read().await?)
    }

    /// Begins a write, waiting for its turn.
    async fn write(&self) -> Result<Tx> {
        Ok(self.pools.write().await?)
    }

    /// How many connections to the database are at work, and how many are idle.
    pub(crate) fn connections(&self) -> (usize, usize) {
        self.pools.connections()
    }

    /// Whether the database has the schema that this program knows, or a newer one.
    pub(crate) async fn check_schema(&self) -> Result<()> {
        let (found,): (Option<i64>,) =
            query("SELECT MAX(version) FROM _sqlx_migrations WHERE success")
                .fetch_one(&mut self.read().await?)
                .await?;
        let known = open::known_schema();
        if found.is_some_and(|found| found >= known) {
            return Ok(());
        }
        Err(StoreError::State(format!(
            "the database has schema {}, and this program needs {known}",
            found.unwrap_or(0)
        )))
    }

    /// Whether the database answers.
    ///
    /// # Errors
    /// When it does not.
    pub async fn ping(&self) -> Result<()> {
        query("SELECT 1").execute(&mut self.read().await?).await?;
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

/// The number of an experiment that is named by itself.
fn numbered(id: &str) -> Result<i64> {
    experiment_number(id).ok_or_else(|| {
        StoreError::Invalid(format!(
            "Invalid experiment ID '{id}': it must be a whole number."
        ))
    })
}

fn no_experiment(id: &str) -> StoreError {
    StoreError::NotFound(format!("No Experiment with id={id} exists"))
}
