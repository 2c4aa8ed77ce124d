//! One version with its tags and aliases, in one statement: what a scorer asks all day.

use std::sync::LazyLock;

use mlflow_api::types::{KeyValue, ModelVersion};

use super::db::{Conn, query};
use super::model_versions::{COLUMNS, Row, no_version};
use super::{Result, Store, StoreError};

/// The version itself, a tag of it, or an alias.
#[derive(sqlx::FromRow)]
struct Part {
    what: i64,
    #[sqlx(flatten)]
    row: Row,
}

const TAG: i64 = 1;
const ALIAS: i64 = 2;

/// The parts of the version that a row of `table`, called `w`, names. A tag stands in the columns of
/// (name, description), an alias in that of the name.
fn parts(table: &str, condition: &str) -> String {
    // As many columns as `COLUMNS` has, in its order.
    let rest = "NULL, '', '', NULL, NULL, NULL, '', NULL, 0, 0";
    format!(
        "SELECT CAST(0 AS BIGINT) AS what, {COLUMNS} FROM {table} w \
         JOIN model_versions r ON r.name = w.name AND r.version = w.version WHERE {condition} \
         UNION ALL SELECT {TAG}, t.key, t.version, t.value, {rest} FROM {table} w \
         JOIN model_version_tags t ON t.name = w.name AND t.version = w.version WHERE {condition} \
         UNION ALL SELECT {ALIAS}, a.alias, a.version, NULL, {rest} FROM {table} w \
         JOIN model_aliases a ON a.name = w.name AND a.version = w.version WHERE {condition}",
    )
}

static BY_VERSION: LazyLock<String> =
    LazyLock::new(|| parts("model_versions", "w.name = $1 AND w.version = $2"));
static BY_ALIAS: LazyLock<String> =
    LazyLock::new(|| parts("model_aliases", "w.name = $1 AND w.alias = $2"));

/// The version of that number.
pub(super) async fn load(conn: &mut Conn, name: &str, version: i64) -> Result<ModelVersion> {
    let parts = query(BY_VERSION.as_str())
        .bind(name)
        .bind(version)
        .fetch_all(conn)
        .await?;
    assemble(parts).ok_or_else(|| no_version(name, version))
}

impl Store {
    /// The version that an alias names.
    ///
    /// # Errors
    /// When there is no such model or alias.
    pub async fn get_by_alias(&self, name: &str, alias: &str) -> Result<ModelVersion> {
        let mut conn = self.pools.lookup().await?;
        let parts = query(BY_ALIAS.as_str())
            .bind(name)
            .bind(alias)
            .fetch_all(&mut conn)
            .await?;
        if let Some(version) = assemble(parts) {
            return Ok(version);
        }
        super::registered_models::require(&mut conn, name).await?;
        // MLflow calls this a wrong parameter, not a missing thing, and its clients rely on it.
        Err(StoreError::Invalid(format!(
            "Registered model alias {alias} not found."
        )))
    }
}

fn assemble(parts: Vec<Part>) -> Option<ModelVersion> {
    let mut version = None;
    let (mut tags, mut aliases) = (Vec::new(), Vec::new());
    for part in parts {
        match part.what {
            TAG => tags.push(KeyValue::new(
                part.row.name,
                part.row.description.unwrap_or_default(),
            )),
            ALIAS => aliases.push(part.row.name),
            _ => version = Some(part.row),
        }
    }
    tags.sort_by(|a, b| a.key.cmp(&b.key));
    aliases.sort_unstable();
    version.map(|row| row.into_version(tags, aliases))
}
