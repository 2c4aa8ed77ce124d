//! Runs.

use std::collections::HashMap;

use mlflow_api::types::{
    KeyValue, Metric, ModelOutput, Run, RunData, RunInfo, RunInputs, RunOutputs, RunStatus,
};

use super::db::{Conn, QueryBuilder, Tx, query};
use super::experiments::active_experiment;
use super::metrics::latest_of;
use super::tags::{CHUNK, RUN_PARAMS, RUN_TAGS};
use super::{Result, Store, StoreError, now};

const RUN_NAME: &str = "mlflow.runName";

pub(super) const COLUMNS: &str = "r.run_id, r.experiment_id, r.run_name, r.user_id, r.status, \
                                  r.start_time, r.end_time, r.lifecycle_stage, r.artifact_uri";

#[derive(sqlx::FromRow)]
pub(super) struct Row {
    run_id: String,
    experiment_id: i64,
    run_name: String,
    user_id: String,
    status: String,
    start_time: Option<i64>,
    end_time: Option<i64>,
    lifecycle_stage: String,
    artifact_uri: String,
}

impl Row {
    fn into_info(self) -> RunInfo {
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

/// A run to be created.
#[derive(Debug, Clone)]
pub struct NewRun {
    /// Its id.
    pub run_id: String,
    /// Its experiment.
    pub experiment_id: String,
    /// Its name.
    pub run_name: String,
    /// Who starts it.
    pub user_id: String,
    /// When it started, ms since the epoch.
    pub start_time: Option<i64>,
    /// Tags to begin with.
    pub tags: Vec<KeyValue>,
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

fn no_run(id: &str) -> StoreError {
    StoreError::NotFound(format!("Run with id={id} not found"))
}

impl Store {
    /// Creates a run in an active experiment.
    ///
    /// # Errors
    /// When the experiment is not there or deleted.
    pub async fn create_run(&self, run: NewRun) -> Result<Run> {
        let mut tx = self.write().await?;
        let experiment = active_experiment(&mut tx, &run.experiment_id).await?;
        let location = experiment.artifact_location.trim_end_matches('/');
        query(
            "INSERT INTO runs (run_id, experiment_id, run_name, user_id, status, start_time, \
             lifecycle_stage, artifact_uri) VALUES ($1, $2, $3, $4, 'RUNNING', $5, 'active', $6)",
        )
        .bind(&run.run_id)
        .bind(experiment.experiment_id)
        .bind(&run.run_name)
        .bind(&run.user_id)
        .bind(run.start_time)
        .bind(format!("{location}/{}/artifacts", run.run_id))
        .execute(&mut tx)
        .await?;
        let mut tags = run.tags;
        tags.retain(|tag| tag.key != RUN_NAME);
        tags.push(KeyValue::new(RUN_NAME, run.run_name));
        RUN_TAGS.set(&mut tx, &run.run_id, &tags).await?;
        let created = load(&mut tx, &run.run_id).await?;
        tx.commit().await?;
        Ok(created)
    }

    /// The run of that id, deleted or not.
    ///
    /// # Errors
    /// When there is none.
    pub async fn get_run(&self, run_id: &str) -> Result<Run> {
        let mut connection = self.read().await?;
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

    /// Logs points, parameters and tags of an active run: all or nothing.
    ///
    /// # Errors
    /// When there is none, it is deleted, or a parameter has another value already.
    pub async fn log_batch(
        &self,
        run_id: &str,
        metrics: &[Metric],
        params: &[KeyValue],
        tags: &[KeyValue],
    ) -> Result<()> {
        let owner = run_id.to_owned();
        let mut tx = self.write().await?;
        let experiment = active_run(&mut tx, run_id).await?;
        if !params.is_empty() {
            add_params(&mut tx, &owner, params).await?;
        }
        if !metrics.is_empty() {
            super::metrics::log(&mut tx, experiment, run_id, metrics).await?;
        }
        if !tags.is_empty() {
            RUN_TAGS.set(&mut tx, &owner, tags).await?;
            if let Some(name) = tags.iter().rev().find(|tag| tag.key == RUN_NAME) {
                query("UPDATE runs SET run_name = $1 WHERE run_id = $2")
                    .bind(&name.value)
                    .bind(run_id)
                    .execute(&mut tx)
                    .await?;
            }
        }
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

/// Adds parameters; one that has another value already is refused.
async fn add_params(connection: &mut Conn, run_id: &String, params: &[KeyValue]) -> Result<()> {
    let added = RUN_PARAMS.add(connection, run_id, params).await?;
    if usize::try_from(added).is_ok_and(|added| added == params.len()) {
        return Ok(());
    }
    let stored = RUN_PARAMS
        .of(connection, std::slice::from_ref(run_id))
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

async fn load(connection: &mut Conn, run_id: &str) -> Result<Run> {
    let row = find(connection, run_id).await?;
    Ok(with_data(connection, vec![row]).await?.remove(0))
}

/// Adds what runs logged, with one query per kind of thing for all of them.
pub(super) async fn with_data(connection: &mut Conn, rows: Vec<Row>) -> Result<Vec<Run>> {
    let ids: Vec<String> = rows.iter().map(|row| row.run_id.clone()).collect();
    let mut metrics = latest_of(connection, &ids).await?;
    let mut params = RUN_PARAMS.of(connection, &ids).await?;
    let mut tags = RUN_TAGS.of(connection, &ids).await?;
    let mut outputs = outputs_of(connection, &ids).await?;
    Ok(rows
        .into_iter()
        .map(|row| Run {
            data: RunData {
                metrics: metrics.remove(&row.run_id).unwrap_or_default(),
                params: params.remove(&row.run_id).unwrap_or_default(),
                tags: tags.remove(&row.run_id).unwrap_or_default(),
            },
            inputs: RunInputs::default(),
            outputs: RunOutputs {
                model_outputs: outputs.remove(&row.run_id).unwrap_or_default(),
            },
            info: row.into_info(),
        })
        .collect())
}

async fn outputs_of(
    connection: &mut Conn,
    run_ids: &[String],
) -> Result<HashMap<String, Vec<ModelOutput>>> {
    let mut found: HashMap<String, Vec<ModelOutput>> = HashMap::new();
    for chunk in run_ids.chunks(CHUNK) {
        let mut query = QueryBuilder::new(
            connection,
            "SELECT run_id, model_id, step FROM run_outputs WHERE run_id",
        );
        query.push_in(chunk);
        query.push(" ORDER BY run_id, step, model_id");
        let rows: Vec<(String, String, i64)> = query.build().fetch_all(connection).await?;
        for (run_id, model_id, step) in rows {
            found
                .entry(run_id)
                .or_default()
                .push(ModelOutput { model_id, step });
        }
    }
    Ok(found)
}
