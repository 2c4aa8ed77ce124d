//! Runs.

use std::collections::HashMap;

use mlflow_api::types::{KeyValue, ModelOutput, Run, RunInfo, RunStatus};

use super::db::{Conn, QueryBuilder, Tx, query};
use super::run_data::load;
use super::tags::{RUN_PARAMS, RUN_TAGS};
use super::{Result, Store, StoreError, now};

pub(super) const RUN_NAME: &str = "mlflow.runName";

pub(super) const COLUMNS: &str = "r.run_id, r.experiment_id, r.run_name, r.user_id, r.status, \
                                  r.start_time, r.end_time, r.lifecycle_stage, r.artifact_uri";

#[derive(sqlx::FromRow)]
pub(super) struct Row {
    pub(super) run_id: String,
    pub(super) experiment_id: i64,
    pub(super) run_name: String,
    pub(super) user_id: String,
    pub(super) status: String,
    pub(super) start_time: Option<i64>,
    pub(super) end_time: Option<i64>,
    pub(super) lifecycle_stage: String,
    pub(super) artifact_uri: String,
}

impl Row {
    pub(super) fn into_info(self) -> RunInfo {
        RunInfo {
            run_uuid: self.run_id.clone(),
            run_id: self.run_id,
            experiment_id: self.experiment_id.to_string(),
            run_name: Some(self.run_name),
            user_id: Some(self.user_id),
            status: RunStatus::from_name(&self.status),
            start_time: self.start_time,
            end_time: self.end_time,
            artifact_uri: Some(self.artifact_uri),
            lifecycle_stage: Some(self.lifecycle_stage),
        }
    }
}

/// What changes of a run; `None` leaves a field as it was.
#[derive(Debug, Clone, Default)]
pub struct RunChange {
    /// The new status.
    pub status: Option<RunStatus>,
    /// When it ended, ms since the epoch.
    pub end_time: Option<i64>,
    /// The new name.
    pub run_name: Option<String>,
}

pub(super) fn no_run(id: &str) -> StoreError {
    StoreError::NotFound(format!("Run with id={id} not found"))
}

impl Store {
    /// The run of that id, deleted or not.
    ///
    /// # Errors
    /// When there is none.
    pub async fn get_run(&self, run_id: &str) -> Result<Run> {
        let mut connection = self.pools.lookup().await?;
        load(&mut connection, run_id).await
    }

    /// What a run is, without what it logged.
    ///
    /// # Errors
    /// When there is none.
    pub async fn get_run_info(&self, run_id: &str) -> Result<RunInfo> {
        let mut connection = self.read().await?;
        Ok(find(&mut connection, run_id).await?.into_info())
    }

    /// Changes an active run.
    ///
    /// # Errors
    /// When there is none or it is deleted.
    pub async fn update_run(&self, run_id: &str, change: RunChange) -> Result<RunInfo> {
        let mut tx = self.write().await?;
        active_run(&mut tx, run_id).await?;
        query(
            "UPDATE runs SET status = COALESCE($1, status), end_time = COALESCE($2, end_time), \
             run_name = COALESCE($3, run_name) WHERE run_id = $4",
        )
        .bind(change.status.map(RunStatus::as_str))
        .bind(change.end_time)
        .bind(change.run_name.as_deref())
        .bind(run_id)
        .execute(&mut tx)
        .await?;
        if let Some(name) = change.run_name {
            let tag = KeyValue::new(RUN_NAME, name);
            RUN_TAGS.set(&mut tx, &run_id.to_owned(), &[tag]).await?;
        }
        let info = find(&mut tx, run_id).await?.into_info();
        tx.commit().await?;
        Ok(info)
    }

    /// Deletes or restores a run.
    ///
    /// # Errors
    /// When there is none.
    pub async fn set_run_deleted(&self, run_id: &str, deleted: bool) -> Result<()> {
        let mut tx = self.write().await?;
        find(&mut tx, run_id).await?;
        query("UPDATE runs SET lifecycle_stage = $1, deleted_time = $2 WHERE run_id = $3")
            .bind(if deleted { "deleted" } else { "active" })
            .bind(deleted.then(now))
            .bind(run_id)
            .execute(&mut tx)
            .await?;
        tx.commit().await?;
        Ok(())
    }

    /// Deletes a tag of an active run.
    ///
    /// # Errors
    /// When there is none, it is deleted, or it has no such tag.
    pub async fn delete_run_tag(&self, run_id: &str, key: &str) -> Result<()> {
        let mut tx = self.write().await?;
        active_run(&mut tx, run_id).await?;
        if !RUN_TAGS.delete(&mut tx, &run_id.to_owned(), key).await? {
            return Err(StoreError::NotFound(format!(
                "No tag with name: {key} in run with id {run_id}"
            )));
        }
        tx.commit().await?;
        Ok(())
    }

    /// Notes logged models that an active run made.
    ///
    /// # Errors
    /// When there is no such run or it is deleted.
    pub async fn log_outputs(&self, run_id: &str, models: &[ModelOutput]) -> Result<()> {
        let mut tx = self.write().await?;
        active_run(&mut tx, run_id).await?;
        for model in models {
            query(
                "INSERT INTO run_outputs (run_id, model_id, step) VALUES ($1, $2, $3) \
                 ON CONFLICT (run_id, model_id) DO UPDATE SET step = excluded.step",
            )
            .bind(run_id)
            .bind(&model.model_id)
            .bind(model.step)
            .execute(&mut tx)
            .await?;
        }
        tx.commit().await?;
        Ok(())
    }
}

async fn find(connection: &mut Conn, run_id: &str) -> Result<Row> {
    let mut query = QueryBuilder::new(connection, "SELECT ");
    query
        .push(COLUMNS)
        .push(" FROM runs r WHERE r.run_id = ")
        .push_bind(run_id.to_owned());
    query
        .build()
        .fetch_optional(connection)
        .await?
        .ok_or_else(|| no_run(run_id))
}

/// The experiment of a run, which must be active; nobody else changes the run until the transaction
/// ends.
pub(super) async fn active_run(tx: &mut Tx, run_id: &str) -> Result<i64> {
    let found: Option<(i64, String)> = tx
        .pick(
            "SELECT experiment_id, lifecycle_stage FROM runs WHERE run_id = $1",
            "SELECT experiment_id, lifecycle_stage FROM runs WHERE run_id = $1 FOR NO KEY UPDATE",
        )
        .bind(run_id)
        .fetch_optional(tx)
        .await?;
    match found {
        None => Err(no_run(run_id)),
        Some((experiment, stage)) if stage == "active" => Ok(experiment),
        Some((_, stage)) => Err(StoreError::Invalid(format!(
            "The run {run_id} must be in the 'active' state. Current state is {stage}."
        ))),
    }
}

/// Sets tags; the run's name is one of them.
pub(super) async fn set_run_tags(tx: &mut Tx, run_id: &str, tags: &[KeyValue]) -> Result<()> {
    RUN_TAGS.set(tx, &run_id.to_owned(), tags).await?;
    if let Some(name) = tags.iter().rev().find(|tag| tag.key == RUN_NAME) {
        query("UPDATE runs SET run_name = $1 WHERE run_id = $2")
            .bind(&name.value)
            .bind(run_id)
            .execute(tx)
            .await?;
    }
    Ok(())
}

/// Adds parameters; one that has another value already is refused.
pub(super) async fn add_params(
    connection: &mut Conn,
    run_id: &str,
    params: &[KeyValue],
) -> Result<()> {
    let run_id = run_id.to_owned();
    let added = RUN_PARAMS.add(connection, &run_id, params).await?;
    if usize::try_from(added).is_ok_and(|added| added == params.len()) {
        return Ok(());
    }
    let stored = RUN_PARAMS
        .of(connection, std::slice::from_ref(&run_id))
        .await?;
    let stored: HashMap<&str, &str> = stored
        .values()
        .flatten()
        .map(|p| (p.key.as_str(), p.value.as_str()))
        .collect();
    for param in params {
        let old = stored.get(param.key.as_str()).copied().unwrap_or_default();
        if old != param.value {
            return Err(StoreError::Invalid(format!(
                "Changing param values is not allowed. Param with key='{}' was already logged \
                 with value='{old}' for run ID='{run_id}'. Attempted logging new value '{}'.",
                param.key, param.value
            )));
        }
    }
    Ok(())
}
