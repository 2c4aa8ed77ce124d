//! Registered models and their aliases.

use std::collections::HashMap;

use mlflow_api::types::{KeyValue, ModelAlias, ModelVersion, RegisteredModel};

use super::alias_history::{self, Cause, Note};
use super::db::{Conn, QueryBuilder, Tx, query};
use super::error::unique;
use super::search::{EXISTS, EXISTS_END, EXISTS_NOT, Tables, push_filter, push_order};
use super::tags::{CHUNK, REGISTERED_MODEL_TAGS};
use super::{Page, PageRequest, Result, Store, StoreError, now};
use crate::filter::{Clause, Field, Op, Order, Value};

/// What marks a registered model as a prompt.
const IS_PROMPT: &str = "mlflow.prompt.is_prompt";

const TABLES: Tables = Tables {
    owner: "name",
    tags: "registered_model_tags",
    params: "",
    metrics: "",
};

#[derive(sqlx::FromRow)]
struct Row {
    name: String,
    description: Option<String>,
    creation_timestamp: i64,
    last_updated_timestamp: i64,
}

fn no_model(name: &str) -> StoreError {
    StoreError::NotFound(format!("Registered Model with name={name} not found"))
}

impl Store {
    /// Creates a registered model.
    ///
    /// # Errors
    /// When one of that name exists.
    pub async fn create_registered_model(
        &self,
        name: &str,
        description: Option<&str>,
        tags: &[KeyValue],
    ) -> Result<RegisteredModel> {
        let mut tx = self.write().await?;
        query(
            "INSERT INTO registered_models (name, description, last_version, creation_timestamp, \
             last_updated_timestamp) VALUES ($1, $2, 0, $3, $3)",
        )
        .bind(name)
        .bind(description)
        .bind(now())
        .execute(&mut tx)
        .await
        .map_err(|error| {
            unique(error, || {
                format!("Registered Model (name={name}) already exists.")
            })
        })?;
        REGISTERED_MODEL_TAGS
            .set(&mut tx, &name.to_owned(), tags)
            .await?;
        let model = load(&mut tx, name).await?;
        tx.commit().await?;
        Ok(model)
    }

    /// The registered model of that name.
    ///
    /// # Errors
    /// When there is none.
    pub async fn get_registered_model(&self, name: &str) -> Result<RegisteredModel> {
        let mut connection = self.read().await?;
        load(&mut connection, name).await
    }

    /// Changes the description.
    ///
    /// # Errors
    /// When there is no such model.
    pub async fn update_registered_model(
        &self,
        name: &str,
        description: Option<&str>,
    ) -> Result<RegisteredModel> {
        let mut tx = self.write().await?;
        let changed = query(
            "UPDATE registered_models SET description = $1, last_updated_timestamp = $2 \
             WHERE name = $3",
        )
        .bind(description)
        .bind(now())
        .bind(name)
        .execute(&mut tx)
        .await?;
        if changed == 0 {
            return Err(no_model(name));
        }
        let model = load(&mut tx, name).await?;
        tx.commit().await?;
        Ok(model)
    }

    /// Renames a model, and its versions, tags and aliases with it.
    ///
    /// # Errors
    /// When there is none or the name is taken.
    pub async fn rename_registered_model(
        &self,
        name: &str,
        new_name: &str,
    ) -> Result<RegisteredModel> {
        let mut tx = self.write().await?;
        let changed = query(
            "UPDATE registered_models SET name = $1, last_updated_timestamp = $2 WHERE name = $3",
        )
        .bind(new_name)
        .bind(now())
        .bind(name)
        .execute(&mut tx)
        .await
        .map_err(|error| {
            unique(error, || {
                format!("Registered Model (name={new_name}) already exists.")
            })
        })?;
        if changed == 0 {
            return Err(no_model(name));
        }
        query("UPDATE model_versions SET last_updated_timestamp = $1 WHERE name = $2")
            .bind(now())
            .bind(new_name)
            .execute(&mut tx)
            .await?;
        alias_history::rename(&mut tx, name, new_name).await?;
        let model = load(&mut tx, new_name).await?;
        tx.commit().await?;
        Ok(model)
    }

    /// Deletes a model with its versions, tags and aliases.
    ///
    /// # Errors
    /// When there is none.
    pub async fn delete_registered_model(&self, name: &str, note: &Note) -> Result<()> {
        let mut tx = self.write().await?;
        lock(&mut tx, name).await?;
        let gone = alias_history::departures(&mut tx, name, None).await?;
        let deleted = query("DELETE FROM registered_models WHERE name = $1")
            .bind(name)
            .execute(&mut tx)
            .await?;
        if deleted == 0 {
            return Err(no_model(name));
        }
        alias_history::record(&mut tx, name, &gone, Cause::ModelDeleted, note).await?;
        tx.commit().await?;
        Ok(())
    }

    /// The models that match; prompts only when the filter asks for them.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn search_registered_models(
        &self,
        clauses: &[Clause],
        orders: &[Order],
        page: PageRequest,
    ) -> Result<Page<RegisteredModel>> {
        let mut connection = self.read().await?;
        let mut query = QueryBuilder::new(
            &connection,
            "SELECT r.name, r.description, r.creation_timestamp, r.last_updated_timestamp \
             FROM registered_models r WHERE 1 = 1",
        );
        push_prompts(&mut query, "registered_model_tags", clauses);
        push_filter(&mut query, &TABLES, &without_prompts(clauses));
        let by_name = orders
            .iter()
            .any(|order| order.field == Field::Attribute("name"));
        push_order(
            &mut query,
            orders,
            if by_name {
                "r.creation_timestamp"
            } else {
                "r.name"
            },
        );
        query.push(" LIMIT ").push_bind(page.limit());
        query.push(" OFFSET ").push_bind(page.offset());
        let rows: Vec<Row> = query.build().fetch_all(&mut connection).await?;
        let page = page.page(rows);
        Ok(Page {
            items: with_details(&mut connection, page.items).await?,
            next_page_token: page.next_page_token,
        })
    }

    /// The newest version of each stage, or of the given ones.
    ///
    /// # Errors
    /// When there is no such model.
    pub async fn latest_versions(
        &self,
        name: &str,
        stages: &[String],
    ) -> Result<Vec<ModelVersion>> {
        let model = self.get_registered_model(name).await?;
        let mut versions = model.latest_versions;
        if !stages.is_empty() {
            versions.retain(|version| {
                version
                    .current_stage
                    .as_ref()
                    .is_some_and(|stage| stages.contains(stage))
            });
        }
        Ok(versions)
    }

    /// Sets a tag of a model.
    ///
    /// # Errors
    /// When there is no such model.
    pub async fn set_registered_model_tag(&self, name: &str, tag: KeyValue) -> Result<()> {
        let mut tx = self.write().await?;
        require(&mut tx, name).await?;
        REGISTERED_MODEL_TAGS
            .set(&mut tx, &name.to_owned(), &[tag])
            .await?;
        tx.commit().await?;
        Ok(())
    }

    /// Deletes a tag of a model; one that is not there is deleted already.
    ///
    /// # Errors
    /// When there is no such model.
    pub async fn delete_registered_model_tag(&self, name: &str, key: &str) -> Result<()> {
        let mut tx = self.write().await?;
        require(&mut tx, name).await?;
        REGISTERED_MODEL_TAGS
            .delete(&mut tx, &name.to_owned(), key)
            .await?;
        tx.commit().await?;
        Ok(())
    }

    /// Lets an alias name a version; it is moved where it exists.
    ///
    /// # Errors
    /// When there is no such version.
    pub async fn set_alias(
        &self,
        name: &str,
        alias: &str,
        version: i64,
        note: &Note,
    ) -> Result<()> {
        let mut tx = self.write().await?;
        // An unknown model is an unknown version.
        match lock(&mut tx, name).await {
            Ok(()) | Err(StoreError::NotFound(_)) => {}
            Err(error) => return Err(error),
        }
        super::model_versions::require(&mut tx, name, version).await?;
        alias_history::move_alias(&mut tx, name, alias, version, Cause::Set, note).await?;
        tx.commit().await?;
        Ok(())
    }

    /// Deletes an alias; one that is not there is deleted already.
    ///
    /// # Errors
    /// When there is no such model.
    pub async fn delete_alias(&self, name: &str, alias: &str, note: &Note) -> Result<()> {
        let mut tx = self.write().await?;
        lock(&mut tx, name).await?;
        let mut gone = alias_history::departures(&mut tx, name, None).await?;
        gone.retain(|departure| departure.alias == alias);
        query("DELETE FROM model_aliases WHERE name = $1 AND alias = $2")
            .bind(name)
            .bind(alias)
            .execute(&mut tx)
            .await?;
        alias_history::record(&mut tx, name, &gone, Cause::Deleted, note).await?;
        tx.commit().await?;
        Ok(())
    }
}

/// Lets nobody else change the model until the transaction ends; it must be there.
///
/// Every transaction that changes versions or aliases begins so: whoever waits for whom is settled
/// by the model alone. SQLite has one writer anyway.
pub(super) async fn lock(tx: &mut Tx, name: &str) -> Result<()> {
    let found: Option<(i64,)> = tx
        .pick(
            "SELECT CAST(1 AS BIGINT) FROM registered_models WHERE name = $1",
            "SELECT CAST(1 AS BIGINT) FROM registered_models WHERE name = $1 FOR NO KEY UPDATE",
        )
        .bind(name)
        .fetch_optional(tx)
        .await?;
    found.map(|_| ()).ok_or_else(|| no_model(name))
}

pub(super) async fn require(connection: &mut Conn, name: &str) -> Result<()> {
    let found: Option<(i64,)> =
        query("SELECT CAST(1 AS BIGINT) FROM registered_models WHERE name = $1")
            .bind(name)
            .fetch_optional(connection)
            .await?;
    found.map(|_| ()).ok_or_else(|| no_model(name))
}

async fn load(connection: &mut Conn, name: &str) -> Result<RegisteredModel> {
    let row: Option<Row> = query(
        "SELECT name, description, creation_timestamp, last_updated_timestamp \
         FROM registered_models WHERE name = $1",
    )
    .bind(name)
    .fetch_optional(connection)
    .await?;
    let row = row.ok_or_else(|| no_model(name))?;
    Ok(with_details(connection, vec![row]).await?.remove(0))
}

async fn with_details(connection: &mut Conn, rows: Vec<Row>) -> Result<Vec<RegisteredModel>> {
    let names: Vec<String> = rows.iter().map(|row| row.name.clone()).collect();
    let mut tags = REGISTERED_MODEL_TAGS.of(connection, &names).await?;
    let mut aliases = aliases_of(connection, &names).await?;
    let mut latest = super::model_versions::latest_of(connection, &names).await?;
    Ok(rows
        .into_iter()
        .map(|row| RegisteredModel {
            creation_timestamp: Some(row.creation_timestamp),
            last_updated_timestamp: Some(row.last_updated_timestamp),
            user_id: None,
            description: row.description,
            latest_versions: latest.remove(&row.name).unwrap_or_default(),
            tags: tags.remove(&row.name).unwrap_or_default(),
            aliases: aliases.remove(&row.name).unwrap_or_default(),
            name: row.name,
        })
        .collect())
}

/// The aliases of models, by alias.
pub(super) async fn aliases_of(
    connection: &mut Conn,
    names: &[String],
) -> Result<HashMap<String, Vec<ModelAlias>>> {
    let mut found: HashMap<String, Vec<ModelAlias>> = HashMap::new();
    for chunk in names.chunks(CHUNK) {
        let mut query = QueryBuilder::new(
            connection,
            "SELECT name, alias, version FROM model_aliases WHERE name",
        );
        query.push_in(chunk);
        query.push(" ORDER BY name, alias");
        let rows: Vec<(String, String, i64)> = query.build().fetch_all(connection).await?;
        for (name, alias, version) in rows {
            let alias = ModelAlias {
                alias,
                version: version.to_string(),
            };
            found.entry(name).or_default().push(alias);
        }
    }
    Ok(found)
}

fn asks_for_prompts(clause: &Clause) -> Option<bool> {
    let Field::Tag(key) = &clause.field else {
        return None;
    };
    if key != IS_PROMPT {
        return None;
    }
    match (&clause.op, &clause.value) {
        (Op::Eq, Value::Text(text)) => Some(text == "true"),
        (Op::Ne, Value::Text(text)) => Some(text != "true"),
        _ => None,
    }
}

/// The clauses but those that ask for prompts or against them.
pub(super) fn without_prompts(clauses: &[Clause]) -> Vec<Clause> {
    clauses
        .iter()
        .filter(|clause| asks_for_prompts(clause).is_none())
        .cloned()
        .collect()
}

/// Shows prompts only where the filter asks for them. `table` holds the tags, its owner begins
/// with `name`.
pub(super) fn push_prompts(query: &mut QueryBuilder, table: &str, clauses: &[Clause]) {
    let named = |clause: &Clause| matches!(&clause.field, Field::Tag(key) if key == IS_PROMPT);
    let wanted = match clauses.iter().find_map(asks_for_prompts) {
        Some(wanted) => wanted,
        // Another question about the tag is answered by the filter itself.
        None if clauses.iter().any(named) => return,
        None => false,
    };
    let end = if wanted { EXISTS_END } else { EXISTS_NOT };
    let version = if table == "model_version_tags" {
        " AND p.version = r.version"
    } else {
        ""
    };
    query.push(format!(
        " AND {EXISTS}SELECT 1 FROM {table} p WHERE p.name = r.name{version} \
         AND p.key = '{IS_PROMPT}' AND p.value = 'true'{end}"
    ));
}
