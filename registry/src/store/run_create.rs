//! Creating runs.

use mlflow_api::types::{KeyValue, Run, RunData, RunInfo, RunInputs, RunOutputs, RunStatus};

use super::db::{Dialect, query};
use super::experiments::active_experiment;
use super::runs::RUN_NAME;
use super::tags::{RUN_TAGS, last_of_each};
use super::{Result, Store, numbered};

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

impl NewRun {
    /// The tags, among them the name; each once.
    fn all_tags(&self) -> Vec<KeyValue> {
        let mut tags: Vec<KeyValue> = last_of_each(&self.tags).into_iter().cloned().collect();
        tags.retain(|tag| tag.key != RUN_NAME);
        tags.push(KeyValue::new(RUN_NAME, &self.run_name));
        tags.sort_by(|a, b| a.key.cmp(&b.key));
        tags
    }

    fn created(self, artifact_uri: String, tags: Vec<KeyValue>) -> Run {
        Run {
            info: RunInfo {
                run_uuid: self.run_id.clone(),
                run_id: self.run_id,
                experiment_id: self.experiment_id,
                run_name: Some(self.run_name),
                user_id: Some(self.user_id),
                status: Some(RunStatus::Running),
                start_time: self.start_time,
                end_time: None,
                artifact_uri: Some(artifact_uri),
                lifecycle_stage: Some("active".to_owned()),
            },
            data: RunData {
                tags,
                ..RunData::default()
            },
            inputs: RunInputs::default(),
            outputs: RunOutputs::default(),
        }
    }
}

impl Store {
    /// Creates a run in an active experiment.
    ///
    /// # Errors
    /// When the experiment is not there or deleted.
    pub async fn create_run(&self, mut run: NewRun) -> Result<Run> {
        let experiment = numbered(&run.experiment_id)?;
        // `07` is the experiment 7.
        run.experiment_id = experiment.to_string();
        let tags = run.all_tags();
        if self.pools.dialect() == Dialect::Postgres
            && let Some(uri) = self.create_run_at_once(&run, experiment, &tags).await?
        {
            return Ok(run.created(uri, tags));
        }
        let mut tx = self.write().await?;
        let experiment = active_experiment(&mut tx, &run.experiment_id).await?;
        let location = experiment.artifact_location.trim_end_matches('/');
        let uri = format!("{location}/{}/artifacts", run.run_id);
        query(
            "INSERT INTO runs (run_id, experiment_id, run_name, user_id, status, start_time, \
             lifecycle_stage, artifact_uri) VALUES ($1, $2, $3, $4, 'RUNNING', $5, 'active', $6)",
        )
        .bind(&run.run_id)
        .bind(experiment.experiment_id)
        .bind(&run.run_name)
        .bind(&run.user_id)
        .bind(run.start_time)
        .bind(&uri)
        .execute(&mut tx)
        .await?;
        RUN_TAGS.set(&mut tx, &run.run_id, &tags).await?;
        tx.commit().await?;
        Ok(run.created(uri, tags))
    }

    /// The same in one statement, as each round trip to PostgreSQL costs as much as the insert;
    /// returns the artifacts' URI, or nothing where the experiment takes no runs.
    async fn create_run_at_once(
        &self,
        run: &NewRun,
        experiment: i64,
        tags: &[KeyValue],
    ) -> Result<Option<String>> {
        let (keys, values): (Vec<String>, Vec<String>) = tags
            .iter()
            .map(|tag| (tag.key.clone(), tag.value.clone()))
            .unzip();
        let created: Option<(String,)> = query(
            "WITH run AS (INSERT INTO runs (run_id, experiment_id, run_name, user_id, status, \
             start_time, lifecycle_stage, artifact_uri) \
             SELECT $1, experiment_id, $3, $4, 'RUNNING', $5, 'active', \
             RTRIM(artifact_location, '/') || '/' || $1 || '/artifacts' \
             FROM experiments WHERE experiment_id = $2 AND lifecycle_stage = 'active' \
             RETURNING artifact_uri), \
             tags AS (INSERT INTO run_tags (run_id, key, value) \
             SELECT $1, t.key, t.value FROM UNNEST($6, $7) AS t (key, value), run) \
             SELECT artifact_uri FROM run",
        )
        .bind(&run.run_id)
        .bind(experiment)
        .bind(&run.run_name)
        .bind(&run.user_id)
        .bind(run.start_time)
        .bind(keys)
        .bind(values)
        .fetch_optional(&mut self.pools.autocommit().await?)
        .await?;
        Ok(created.map(|(uri,)| uri))
    }
}
