//! Logged models.

use mlflow_api::types::{
    KeyValue, LoggedModel, LoggedModelData, LoggedModelInfo, LoggedModelStatus,
};

use super::db::{Conn, QueryBuilder, query};
use super::experiments::active_experiment;
use super::metrics::of_models;
use super::tags::{LOGGED_MODEL_PARAMS, LOGGED_MODEL_TAGS};
use super::{Result, Store, StoreError, now};

pub(super) const COLUMNS: &str = "r.model_id, r.experiment_id, r.name, r.artifact_uri, r.status, \
                       r.status_message, r.model_type, r.source_run_id, \
                       r.creation_timestamp_ms, r.last_updated_timestamp_ms";

#[derive(sqlx::FromRow)]
pub(super) struct Row {
    model_id: String,
    experiment_id: i64,
    name: String,
    artifact_uri: String,
    status: String,
    status_message: Option<String>,
    model_type: Option<String>,
    source_run_id: Option<String>,
    creation_timestamp_ms: i64,
    last_updated_timestamp_ms: i64,
}

/// A logged model to be created.
#[derive(Debug, Clone)]
pub struct NewLoggedModel {
    /// Its id.
    pub model_id: String,
    /// Its experiment.
    pub experiment_id: String,
    /// Its name.
    pub name: String,
    /// What kind of model it is.
    pub model_type: Option<String>,
    /// The run that makes it.
    pub source_run_id: Option<String>,
    /// Parameters.
    pub params: Vec<KeyValue>,
    /// Tags.
    pub tags: Vec<KeyValue>,
}

fn no_model(model_id: &str) -> StoreError {
    StoreError::NotFound(format!("Logged model with ID '{model_id}' not found."))
}

impl Store {
    /// Creates a logged model in an active experiment.
    ///
    /// # Errors
    /// When the experiment is not there or deleted.
    pub async fn create_logged_model(&self, new: NewLoggedModel) -> Result<LoggedModel> {
        let mut tx = self.write().await?;
        let experiment = active_experiment(&mut tx, &new.experiment_id).await?;
        let location = experiment.artifact_location.trim_end_matches('/');
        query(
            "INSERT INTO logged_models (model_id, experiment_id, name, artifact_uri, status, \
             model_type, source_run_id, lifecycle_stage, creation_timestamp_ms, \
             last_updated_timestamp_ms) VALUES ($1, $2, $3, $4, $5, $6, $7, 'active', $8, $8)",
        )
        .bind(&new.model_id)
        .bind(experiment.experiment_id)
        .bind(&new.name)
        .bind(format!("{location}/models/{}/artifacts", new.model_id))
        .bind(LoggedModelStatus::Pending.as_str())
        .bind(&new.model_type)
        .bind(&new.source_run_id)
        .bind(now())
        .execute(&mut tx)
        .await?;
        LOGGED_MODEL_PARAMS
            .set(&mut tx, &new.model_id, &new.params)
            .await?;
        LOGGED_MODEL_TAGS
            .set(&mut tx, &new.model_id, &new.tags)
            .await?;
        let model = load(&mut tx, &new.model_id).await?;
        tx.commit().await?;
        Ok(model)
    }

    /// The logged model of that id.
    ///
    /// # Errors
    /// When there is none or it is deleted.
    pub async fn get_logged_model(&self, model_id: &str) -> Result<LoggedModel> {
        let mut connection = self.read().await?;
        load(&mut connection, model_id).await
    }

    /// Sets the status.
    ///
    /// # Errors
    /// When there is no such model.
    pub async fn finalize_logged_model(
        &self,
        model_id: &str,
        status: LoggedModelStatus,
    ) -> Result<LoggedModel> {
        let mut tx = self.write().await?;
        query(
            "UPDATE logged_models SET status = $1, last_updated_timestamp_ms = $2 \
             WHERE model_id = $3 AND lifecycle_stage = 'active'",
        )
        .bind(status.as_str())
        .bind(now())
        .bind(model_id)
        .execute(&mut tx)
        .await?;
        let model = load(&mut tx, model_id).await?;
        tx.commit().await?;
        Ok(model)
    }

    /// Deletes a logged model; its files stay.
    ///
    /// # Errors
    /// When there is none.
    pub async fn delete_logged_model(&self, model_id: &str) -> Result<()> {
        let mut tx = self.write().await?;
        let deleted = query(
            "UPDATE logged_models SET lifecycle_stage = 'deleted', \
             last_updated_timestamp_ms = $1 WHERE model_id = $2 AND lifecycle_stage = 'active'",
        )
        .bind(now())
        .bind(model_id)
        .execute(&mut tx)
        .await?;
        if deleted == 0 {
            return Err(no_model(model_id));
        }
        tx.commit().await?;
        Ok(())
    }

    /// Sets tags.
    ///
    /// # Errors
    /// When there is no such model.
    pub async fn set_logged_model_tags(
        &self,
        model_id: &str,
        tags: &[KeyValue],
    ) -> Result<LoggedModel> {
        let mut tx = self.write().await?;
        load(&mut tx, model_id).await?;
        LOGGED_MODEL_TAGS
            .set(&mut tx, &model_id.to_owned(), tags)
            .await?;
        let model = load(&mut tx, model_id).await?;
        tx.commit().await?;
        Ok(model)
    }

    /// Deletes a tag.
    ///
    /// # Errors
    /// When there is no such model or tag.
    pub async fn delete_logged_model_tag(&self, model_id: &str, key: &str) -> Result<()> {
        let mut tx = self.write().await?;
        load(&mut tx, model_id).await?;
        if !LOGGED_MODEL_TAGS
            .delete(&mut tx, &model_id.to_owned(), key)
            .await?
        {
            return Err(StoreError::NotFound(format!(
                "No tag with key '{key}' found for model with ID '{model_id}'."
            )));
        }
        tx.commit().await?;
        Ok(())
    }

    /// Adds parameters.
    ///
    /// # Errors
    /// When there is no such model.
    pub async fn log_logged_model_params(&self, model_id: &str, params: &[KeyValue]) -> Result<()> {
        let mut tx = self.write().await?;
        load(&mut tx, model_id).await?;
        LOGGED_MODEL_PARAMS
            .set(&mut tx, &model_id.to_owned(), params)
            .await?;
        tx.commit().await?;
        Ok(())
    }
}

async fn load(connection: &mut Conn, model_id: &str) -> Result<LoggedModel> {
    let mut query = QueryBuilder::new(connection, "SELECT ");
    query
        .push(COLUMNS)
        .push(" FROM logged_models r WHERE r.lifecycle_stage = 'active'");
    query
        .push(" AND r.model_id = ")
        .push_bind(model_id.to_owned());
    let row: Option<Row> = query.build().fetch_optional(connection).await?;
    let row = row.ok_or_else(|| no_model(model_id))?;
    Ok(with_data(connection, vec![row]).await?.remove(0))
}

pub(super) async fn with_data(connection: &mut Conn, rows: Vec<Row>) -> Result<Vec<LoggedModel>> {
    let ids: Vec<String> = rows.iter().map(|row| row.model_id.clone()).collect();
    let mut tags = LOGGED_MODEL_TAGS.of(connection, &ids).await?;
    let mut params = LOGGED_MODEL_PARAMS.of(connection, &ids).await?;
    let mut metrics = of_models(connection, &ids).await?;
    Ok(rows
        .into_iter()
        .map(|row| LoggedModel {
            data: LoggedModelData {
                params: params.remove(&row.model_id).unwrap_or_default(),
                metrics: metrics.remove(&row.model_id).unwrap_or_default(),
            },
            info: LoggedModelInfo {
                tags: tags.remove(&row.model_id).unwrap_or_default(),
                model_id: row.model_id,
                experiment_id: row.experiment_id.to_string(),
                name: row.name,
                creation_timestamp_ms: Some(row.creation_timestamp_ms),
                last_updated_timestamp_ms: Some(row.last_updated_timestamp_ms),
                artifact_uri: Some(row.artifact_uri),
                status: LoggedModelStatus::from_name(&row.status),
                status_message: row.status_message,
                model_type: Some(row.model_type.unwrap_or_default()),
                source_run_id: Some(row.source_run_id.unwrap_or_default()),
            },
        })
        .collect())
}
