//! Versions of registered models.

use std::collections::HashMap;

use mlflow_api::types::{KeyValue, ModelVersion, ModelVersionStatus};

use super::alias_history::{self, Cause, Note};
use super::db::{Conn, QueryBuilder, query};
use super::registered_models::{aliases_of, push_prompts, without_prompts};
use super::search::{Tables, push_filter, push_order};
use super::tags::CHUNK;
use super::version_lookup::load;
use super::{Page, PageRequest, Result, Store, StoreError, now};
use crate::filter::{Clause, Field, Order};

const TABLES: Tables = Tables {
    owner: "name, version",
    tags: "model_version_tags",
    params: "",
    metrics: "",
};

pub(super) const COLUMNS: &str = "r.name, r.version, r.description, r.user_id, r.current_stage, r.source, \
                       r.run_id, r.run_link, r.model_id, r.status, r.status_message, \
                       r.creation_timestamp, r.last_updated_timestamp";

#[derive(sqlx::FromRow)]
pub(super) struct Row {
    pub(super) name: String,
    version: i64,
    pub(super) description: Option<String>,
    user_id: Option<String>,
    current_stage: String,
    source: String,
    run_id: Option<String>,
    run_link: Option<String>,
    model_id: Option<String>,
    status: String,
    status_message: Option<String>,
    creation_timestamp: i64,
    last_updated_timestamp: i64,
}

impl Row {
    pub(super) fn into_version(self, tags: Vec<KeyValue>, aliases: Vec<String>) -> ModelVersion {
        ModelVersion {
            tags,
            aliases,
            name: self.name,
            version: self.version.to_string(),
            creation_timestamp: Some(self.creation_timestamp),
            last_updated_timestamp: Some(self.last_updated_timestamp),
            user_id: self.user_id,
            current_stage: Some(self.current_stage),
            // Texts that nobody gave are empty, not absent.
            description: Some(self.description.unwrap_or_default()),
            source: Some(self.source),
            run_id: Some(self.run_id.unwrap_or_default()),
            status: ModelVersionStatus::from_name(&self.status),
            status_message: self.status_message,
            run_link: Some(self.run_link.unwrap_or_default()),
            model_id: self.model_id,
        }
    }
}

/// A version to be created.
#[derive(Debug, Clone)]
pub struct NewModelVersion {
    /// The model.
    pub name: String,
    /// The URI that the client gave.
    pub source: String,
    /// The URI of the files: the source, or what it leads to.
    pub storage_location: String,
    /// The run that made it.
    pub run_id: Option<String>,
    /// A link to that run on another server.
    pub run_link: Option<String>,
    /// The logged model that it was made from.
    pub model_id: Option<String>,
    /// What it is.
    pub description: Option<String>,
    /// Tags to begin with.
    pub tags: Vec<KeyValue>,
}

pub(super) fn no_version(name: &str, version: i64) -> StoreError {
    StoreError::NotFound(format!(
        "Model Version (name={name}, version={version}) not found"
    ))
}

impl Store {
    /// Creates the next version of a model: versions are 1, 2, 3, … and never given twice.
    ///
    /// # Errors
    /// When there is no such model.
    pub async fn create_model_version(&self, new: NewModelVersion) -> Result<ModelVersion> {
        let mut tx = self.write().await?;
        let version: Option<(i64,)> = query(
            "UPDATE registered_models SET last_version = last_version + 1, \
             last_updated_timestamp = $1 WHERE name = $2 RETURNING last_version",
        )
        .bind(now())
        .bind(&new.name)
        .fetch_optional(&mut tx)
        .await?;
        let Some((version,)) = version else {
            return Err(StoreError::NotFound(format!(
                "Registered Model with name={} not found",
                new.name
            )));
        };
        query(
            "INSERT INTO model_versions (name, version, description, current_stage, source, \
             storage_location, run_id, run_link, model_id, status, creation_timestamp, \
             last_updated_timestamp) \
             VALUES ($1, $2, $3, 'None', $4, $5, $6, $7, $8, 'READY', $9, $9)",
        )
        .bind(&new.name)
        .bind(version)
        .bind(&new.description)
        .bind(&new.source)
        .bind(&new.storage_location)
        .bind(&new.run_id)
        .bind(&new.run_link)
        .bind(&new.model_id)
        .bind(now())
        .execute(&mut tx)
        .await?;
        set_tags(&mut tx, &new.name, version, &new.tags).await?;
        let created = load(&mut tx, &new.name, version).await?;
        tx.commit().await?;
        Ok(created)
    }

    /// A version of a model.
    ///
    /// # Errors
    /// When there is none.
    pub async fn get_model_version(&self, name: &str, version: i64) -> Result<ModelVersion> {
        let mut connection = self.read().await?;
        load(&mut connection, name, version).await
    }

    /// The URI of a version's files.
    ///
    /// # Errors
    /// When there is no such version.
    pub async fn download_uri(&self, name: &str, version: i64) -> Result<String> {
        let mut connection = self.read().await?;
        let found: Option<(String,)> =
            query("SELECT storage_location FROM model_versions WHERE name = $1 AND version = $2")
                .bind(name)
                .bind(version)
                .fetch_optional(&mut connection)
                .await?;
        found
            .map(|(uri,)| uri)
            .ok_or_else(|| no_version(name, version))
    }

    /// Changes the description.
    ///
    /// # Errors
    /// When there is no such version.
    pub async fn update_model_version(
        &self,
        name: &str,
        version: i64,
        description: Option<&str>,
    ) -> Result<ModelVersion> {
        let mut tx = self.write().await?;
        require(&mut tx, name, version).await?;
        query(
            "UPDATE model_versions SET description = $1, last_updated_timestamp = $2 \
             WHERE name = $3 AND version = $4",
        )
        .bind(description)
        .bind(now())
        .bind(name)
        .bind(version)
        .execute(&mut tx)
        .await?;
        let changed = load(&mut tx, name, version).await?;
        tx.commit().await?;
        Ok(changed)
    }

    /// Moves a version to a stage, and what is there to `Archived` where that is asked for.
    ///
    /// # Errors
    /// When there is no such version.
    pub async fn transition_stage(
        &self,
        name: &str,
        version: i64,
        stage: &str,
        archive_existing: bool,
    ) -> Result<ModelVersion> {
        let mut tx = self.write().await?;
        touch(&mut tx, name).await?;
        require(&mut tx, name, version).await?;
        if archive_existing {
            query(
                "UPDATE model_versions SET current_stage = 'Archived', \
                 last_updated_timestamp = $1 \
                 WHERE name = $2 AND version <> $3 AND current_stage = $4",
            )
            .bind(now())
            .bind(name)
            .bind(version)
            .bind(stage)
            .execute(&mut tx)
            .await?;
        }
        query(
            "UPDATE model_versions SET current_stage = $1, last_updated_timestamp = $2 \
             WHERE name = $3 AND version = $4",
        )
        .bind(stage)
        .bind(now())
        .bind(name)
        .bind(version)
        .execute(&mut tx)
        .await?;
        let changed = load(&mut tx, name, version).await?;
        tx.commit().await?;
        Ok(changed)
    }

    /// Deletes a version with its tags and aliases.
    ///
    /// # Errors
    /// When there is none.
    pub async fn delete_model_version(&self, name: &str, version: i64, note: &Note) -> Result<()> {
        let mut tx = self.write().await?;
        touch(&mut tx, name).await?;
        require(&mut tx, name, version).await?;
        let gone = alias_history::departures(&mut tx, name, Some(version)).await?;
        query("DELETE FROM model_versions WHERE name = $1 AND version = $2")
            .bind(name)
            .bind(version)
            .execute(&mut tx)
            .await?;
        alias_history::record(&mut tx, name, &gone, Cause::VersionDeleted, note).await?;
        tx.commit().await?;
        Ok(())
    }

    /// The versions that match; those of prompts only when the filter asks for them.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn search_model_versions(
        &self,
        clauses: &[Clause],
        orders: &[Order],
        page: PageRequest,
    ) -> Result<Page<ModelVersion>> {
        let mut connection = self.read().await?;
        let mut query = QueryBuilder::new(&connection, "SELECT ");
        query
            .push(COLUMNS)
            .push(" FROM model_versions r WHERE 1 = 1");
        push_prompts(&mut query, "model_version_tags", clauses);
        push_filter(&mut query, &TABLES, &without_prompts(clauses));
        let sorted = |name| {
            orders
                .iter()
                .any(|order| order.field == Field::Attribute(name))
        };
        let last = match (orders.is_empty(), sorted("name"), sorted("version")) {
            (true, ..) => "r.last_updated_timestamp DESC, r.name ASC, r.version DESC",
            (_, false, false) => "r.name ASC, r.version DESC",
            (_, true, false) => "r.version DESC",
            (_, false, true) => "r.name ASC",
            (_, true, true) => "r.creation_timestamp",
        };
        push_order(&mut query, orders, last);
        query.push(" LIMIT ").push_bind(page.limit());
        query.push(" OFFSET ").push_bind(page.offset());
        let rows: Vec<Row> = query.build().fetch_all(&mut connection).await?;
        let page = page.page(rows);
        Ok(Page {
            items: with_details(&mut connection, page.items).await?,
            next_page_token: page.next_page_token,
        })
    }

    /// Sets a tag of a version.
    ///
    /// # Errors
    /// When there is no such version.
    pub async fn set_model_version_tag(
        &self,
        name: &str,
        version: i64,
        tag: KeyValue,
    ) -> Result<()> {
        let mut tx = self.write().await?;
        require(&mut tx, name, version).await?;
        set_tags(&mut tx, name, version, &[tag]).await?;
        tx.commit().await?;
        Ok(())
    }

    /// Deletes a tag of a version; one that is not there is deleted already.
    ///
    /// # Errors
    /// When there is no such version.
    pub async fn delete_model_version_tag(
        &self,
        name: &str,
        version: i64,
        key: &str,
    ) -> Result<()> {
        let mut tx = self.write().await?;
        require(&mut tx, name, version).await?;
        query("DELETE FROM model_version_tags WHERE name = $1 AND version = $2 AND key = $3")
            .bind(name)
            .bind(version)
            .bind(key)
            .execute(&mut tx)
            .await?;
        tx.commit().await?;
        Ok(())
    }
}

pub(super) async fn require(connection: &mut Conn, name: &str, version: i64) -> Result<()> {
    let found: Option<(i64,)> =
        query("SELECT CAST(1 AS BIGINT) FROM model_versions WHERE name = $1 AND version = $2")
            .bind(name)
            .bind(version)
            .fetch_optional(connection)
            .await?;
    found.map(|_| ()).ok_or_else(|| no_version(name, version))
}

/// Notes that something about a model changed. It comes first in a transaction, as it locks the
/// model (see `registered_models::lock`).
async fn touch(connection: &mut Conn, name: &str) -> Result<()> {
    query("UPDATE registered_models SET last_updated_timestamp = $1 WHERE name = $2")
        .bind(now())
        .bind(name)
        .execute(connection)
        .await?;
    Ok(())
}

pub(super) async fn set_tags(
    connection: &mut Conn,
    name: &str,
    version: i64,
    tags: &[KeyValue],
) -> Result<()> {
    for tag in tags {
        query(
            "INSERT INTO model_version_tags (name, version, key, value) VALUES ($1, $2, $3, $4) \
             ON CONFLICT (name, version, key) DO UPDATE SET value = excluded.value",
        )
        .bind(name)
        .bind(version)
        .bind(&tag.key)
        .bind(&tag.value)
        .execute(connection)
        .await?;
    }
    Ok(())
}

/// The newest version of each stage of models, by stage.
pub(super) async fn latest_of(
    connection: &mut Conn,
    names: &[String],
) -> Result<HashMap<String, Vec<ModelVersion>>> {
    let mut found: HashMap<String, Vec<ModelVersion>> = HashMap::new();
    for chunk in names.chunks(CHUNK) {
        let mut query = QueryBuilder::new(connection, "SELECT ");
        query.push(COLUMNS).push(
            " FROM model_versions r JOIN (SELECT name, current_stage, MAX(version) AS newest \
             FROM model_versions WHERE name",
        );
        query.push_in(chunk);
        query.push(
            " GROUP BY name, current_stage) n ON n.name = r.name AND n.newest = r.version \
             ORDER BY r.name, r.current_stage",
        );
        let rows: Vec<Row> = query.build().fetch_all(connection).await?;
        for version in with_details(connection, rows).await? {
            found.entry(version.name.clone()).or_default().push(version);
        }
    }
    Ok(found)
}

async fn with_details(connection: &mut Conn, rows: Vec<Row>) -> Result<Vec<ModelVersion>> {
    let mut names: Vec<String> = rows.iter().map(|row| row.name.clone()).collect();
    names.sort_unstable();
    names.dedup();
    let mut tags: HashMap<(String, i64), Vec<KeyValue>> = HashMap::new();
    let mut aliases: HashMap<(String, String), Vec<String>> = HashMap::new();
    for chunk in rows.chunks(CHUNK) {
        let mut query = QueryBuilder::new(
            connection,
            "SELECT name, version, key, value FROM model_version_tags WHERE (name, version) IN (",
        );
        query.push_values(chunk, |row| [(&row.name).into(), row.version.into()]);
        query.push(") ORDER BY name, version, key");
        let found: Vec<(String, i64, String, String)> = query.build().fetch_all(connection).await?;
        for (name, version, key, value) in found {
            tags.entry((name, version))
                .or_default()
                .push(KeyValue { key, value });
        }
    }
    for (name, found) in aliases_of(connection, &names).await? {
        for alias in found {
            aliases
                .entry((name.clone(), alias.version))
                .or_default()
                .push(alias.alias);
        }
    }
    Ok(rows
        .into_iter()
        .map(|row| {
            let tags = tags
                .remove(&(row.name.clone(), row.version))
                .unwrap_or_default();
            let aliases = aliases
                .remove(&(row.name.clone(), row.version.to_string()))
                .unwrap_or_default();
            row.into_version(tags, aliases)
        })
        .collect())
}
