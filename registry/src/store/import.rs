//! Writing what an import brings: things keep their ids, times and states.
//!
//! Each thing is entered into a ledger in the transaction that writes it, and marked as complete
//! when all that belongs to it has arrived. So an import that was stopped goes on where it was, and
//! one that is done changes nothing.

use mlflow_api::types::{Experiment, LoggedModel, Metric, ModelVersion, RegisteredModel, Run};

use super::alias_history::{self, Cause, Note};
use super::datasets::write_inputs;
use super::db::{Conn, Query, QueryBuilder, Tx, query};
use super::tags::{
    EXPERIMENT_TAGS, LOGGED_MODEL_PARAMS, LOGGED_MODEL_TAGS, REGISTERED_MODEL_TAGS, RUN_PARAMS,
    RUN_TAGS,
};
use super::{Result, Store, StoreError, now};

/// An experiment keeps its number where that is free and small; file stores have numbers that would
/// leave little room above them.
const KEPT_NUMBERS: i64 = 1 << 31;

/// What kind of thing the ledger speaks of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// An experiment.
    Experiment,
    /// A run.
    Run,
    /// A logged model.
    LoggedModel,
    /// A registered model with its versions.
    RegisteredModel,
}

impl Kind {
    fn as_str(self) -> &'static str {
        match self {
            Self::Experiment => "experiment",
            Self::Run => "run",
            Self::LoggedModel => "logged_model",
            Self::RegisteredModel => "registered_model",
        }
    }
}

/// Where something comes from.
#[derive(Debug, Clone, Copy)]
pub struct Origin<'a> {
    /// The server or the folder.
    pub source: &'a str,
    /// What it is.
    pub kind: Kind,
    /// Its id there.
    pub id: &'a str,
}

/// What is known here of something to be imported.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Known {
    /// Nothing.
    New,
    /// An earlier import began with it, and was stopped.
    Begun {
        /// Its id here.
        local_id: String,
    },
    /// It was imported whole.
    Complete {
        /// Its id here.
        local_id: String,
        /// What it was then.
        fingerprint: String,
    },
    /// Something of that id or name is here which this source did not bring.
    Taken,
}

impl Store {
    /// What is known of something; `local_id` is the id or the name that it would have here.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn import_known(&self, origin: Origin<'_>, local_id: &str) -> Result<Known> {
        let mut conn = self.read().await?;
        known(&mut conn, origin, local_id).await
    }

    /// Marks something as complete.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn import_complete(&self, origin: Origin<'_>, fingerprint: &str) -> Result<()> {
        let mut tx = self.write().await?;
        query(
            "UPDATE import_ledger SET fingerprint = $1 \
             WHERE source = $2 AND kind = $3 AND source_id = $4",
        )
        .bind(fingerprint)
        .bind(origin.source)
        .bind(origin.kind.as_str())
        .bind(origin.id)
        .execute(&mut tx)
        .await?;
        tx.commit().await?;
        Ok(())
    }

    /// Writes an experiment under `name`, and returns its id and its artifact location here. The
    /// default experiment of the source becomes the one here.
    ///
    /// # Errors
    /// When another one has that name.
    pub async fn import_experiment(
        &self,
        source: &str,
        experiment: &Experiment,
        name: &str,
    ) -> Result<(i64, String)> {
        let origin = Origin {
            source,
            kind: Kind::Experiment,
            id: &experiment.experiment_id,
        };
        let mut tx = self.write().await?;
        let number = match known(&mut tx, origin, name).await? {
            Known::Begun { local_id } | Known::Complete { local_id, .. } => {
                local_id.parse().unwrap_or_default()
            }
            Known::Taken => {
                return Err(StoreError::Exists(format!(
                    "Experiment(name={name}) already exists."
                )));
            }
            Known::New if experiment.experiment_id == "0" && name == experiment.name => 0,
            Known::New => free_number(&mut tx, &experiment.experiment_id).await?,
        };
        query(
            "INSERT INTO experiments (experiment_id, name, artifact_location, lifecycle_stage, \
             creation_time, last_update_time) VALUES ($1, $2, $3, $4, $5, $6) \
             ON CONFLICT (experiment_id) DO UPDATE SET \
             lifecycle_stage = excluded.lifecycle_stage, creation_time = excluded.creation_time, \
             last_update_time = excluded.last_update_time",
        )
        .bind(number)
        .bind(name)
        .bind(format!("mlflow-artifacts:/{number}"))
        .bind(stage(&experiment.lifecycle_stage))
        .bind(experiment.creation_time.unwrap_or_else(now))
        .bind(experiment.last_update_time.unwrap_or_else(now))
        .execute(&mut tx)
        .await?;
        EXPERIMENT_TAGS
            .set(&mut tx, &number, &experiment.tags)
            .await?;
        let (location,): (String,) =
            query("SELECT artifact_location FROM experiments WHERE experiment_id = $1")
                .bind(number)
                .fetch_one(&mut tx)
                .await?;
        enter(&mut tx, origin, &number.to_string()).await?;
        tx.commit().await?;
        Ok((number, location))
    }

    /// Writes a run without its points, as begun.
    ///
    /// # Errors
    /// When one of that id is here that this source did not bring.
    pub async fn import_run(&self, source: &str, run: &Run, experiment: (i64, &str)) -> Result<()> {
        let id = &run.info.run_id;
        let origin = Origin {
            source,
            kind: Kind::Run,
            id,
        };
        let mut tx = self.write().await?;
        if known(&mut tx, origin, id).await? == Known::Taken {
            return Err(StoreError::Exists(format!(
                "Run with id={id} already exists."
            )));
        }
        let deleted = stage(run.info.lifecycle_stage.as_deref().unwrap_or_default());
        query(
            "INSERT INTO runs (run_id, experiment_id, run_name, user_id, status, start_time, \
             end_time, deleted_time, lifecycle_stage, artifact_uri) \
             VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10) \
             ON CONFLICT (run_id) DO UPDATE SET run_name = excluded.run_name, \
             user_id = excluded.user_id, status = excluded.status, \
             start_time = excluded.start_time, end_time = excluded.end_time, \
             deleted_time = excluded.deleted_time, lifecycle_stage = excluded.lifecycle_stage",
        )
        .bind(id)
        .bind(experiment.0)
        .bind(run.info.run_name.as_deref().unwrap_or_default())
        .bind(run.info.user_id.as_deref().unwrap_or_default())
        .bind(run.info.status.map_or("RUNNING", |status| status.as_str()))
        .bind(run.info.start_time)
        // MLflow writes 0 for a run that has not ended.
        .bind(run.info.end_time.filter(|time| *time > 0))
        .bind((deleted == "deleted").then(now))
        .bind(deleted)
        .bind(format!(
            "{}/{id}/artifacts",
            experiment.1.trim_end_matches('/')
        ))
        .execute(&mut tx)
        .await?;
        query("DELETE FROM run_tags WHERE run_id = $1")
            .bind(id)
            .execute(&mut tx)
            .await?;
        RUN_TAGS.set(&mut tx, id, &run.data.tags).await?;
        RUN_PARAMS.set(&mut tx, id, &run.data.params).await?;
        // What the source has forgotten since is forgotten here.
        for table in ["run_datasets", "run_inputs", "run_outputs"] {
            let mut forget = QueryBuilder::new(&tx, "DELETE FROM ");
            forget.push(table).push(" WHERE run_id = ").push_bind(id);
            forget.build().execute(&mut tx).await?;
        }
        let datasets: Vec<_> = run
            .inputs
            .dataset_inputs
            .iter()
            .filter_map(|input| Some((input.dataset.clone()?, input.tags.clone())))
            .collect();
        let models = &run.inputs.model_inputs;
        write_inputs(&mut tx, experiment.0, id, &datasets, models).await?;
        for output in &run.outputs.model_outputs {
            query(
                "INSERT INTO run_outputs (run_id, model_id, step) VALUES ($1, $2, $3) \
                 ON CONFLICT (run_id, model_id) DO UPDATE SET step = excluded.step",
            )
            .bind(id)
            .bind(&output.model_id)
            .bind(output.step)
            .execute(&mut tx)
            .await?;
        }
        enter(&mut tx, origin, id).await?;
        tx.commit().await?;
        Ok(())
    }

    /// Writes points of a run's metrics.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn import_points(
        &self,
        experiment: i64,
        run_id: &str,
        points: &[Metric],
    ) -> Result<()> {
        let mut tx = self.write().await?;
        super::metrics::log(&mut tx, experiment, run_id, points).await?;
        tx.commit().await?;
        self.folder.nudge();
        Ok(())
    }

    /// How many runs, deleted ones included, an experiment has.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn count_runs(&self, experiment: i64) -> Result<i64> {
        self.count(query("SELECT COUNT(*) FROM runs WHERE experiment_id = $1").bind(experiment))
            .await
    }

    /// How many versions a model has.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn count_versions(&self, name: &str) -> Result<i64> {
        self.count(query("SELECT COUNT(*) FROM model_versions WHERE name = $1").bind(name))
            .await
    }

    async fn count(&self, count: Query) -> Result<i64> {
        let mut conn = self.read().await?;
        let (count,): (i64,) = count.fetch_one(&mut conn).await?;
        Ok(count)
    }

    /// Writes a logged model, as begun.
    ///
    /// # Errors
    /// When one of that id is here that this source did not bring.
    pub async fn import_logged_model(
        &self,
        source: &str,
        model: &LoggedModel,
        experiment: (i64, &str),
    ) -> Result<()> {
        let info = &model.info;
        let id = &info.model_id;
        let origin = Origin {
            source,
            kind: Kind::LoggedModel,
            id,
        };
        let mut tx = self.write().await?;
        if known(&mut tx, origin, id).await? == Known::Taken {
            return Err(StoreError::Exists(format!(
                "Logged model with ID '{id}' already exists."
            )));
        }
        let created = info.creation_timestamp_ms.unwrap_or_else(now);
        query(
            "INSERT INTO logged_models (model_id, experiment_id, name, artifact_uri, status, \
             status_message, model_type, source_run_id, lifecycle_stage, creation_timestamp_ms, \
             last_updated_timestamp_ms) \
             VALUES ($1, $2, $3, $4, $5, $6, $7, $8, 'active', $9, $10) \
             ON CONFLICT (model_id) DO UPDATE SET status = excluded.status, \
             status_message = excluded.status_message, \
             last_updated_timestamp_ms = excluded.last_updated_timestamp_ms",
        )
        .bind(id)
        .bind(experiment.0)
        .bind(&info.name)
        .bind(format!(
            "{}/models/{id}/artifacts",
            experiment.1.trim_end_matches('/')
        ))
        .bind(info.status.map_or("LOGGED_MODEL_READY", |s| s.as_str()))
        .bind(&info.status_message)
        .bind(&info.model_type)
        .bind(&info.source_run_id)
        .bind(created)
        .bind(info.last_updated_timestamp_ms.unwrap_or(created))
        .execute(&mut tx)
        .await?;
        LOGGED_MODEL_TAGS.set(&mut tx, id, &info.tags).await?;
        LOGGED_MODEL_PARAMS
            .set(&mut tx, id, &model.data.params)
            .await?;
        super::metrics::log_about_model(&mut tx, experiment.0, id, &model.data.metrics).await?;
        enter(&mut tx, origin, id).await?;
        tx.commit().await?;
        Ok(())
    }

    /// Writes a registered model under `name` with its versions (each with the URI of its files
    /// here) and its aliases, all at once.
    ///
    /// # Errors
    /// When another one has that name.
    pub async fn import_registered_model(
        &self,
        source: &str,
        model: &RegisteredModel,
        name: &str,
        versions: &[(ModelVersion, String)],
        fingerprint: &str,
    ) -> Result<()> {
        let origin = Origin {
            source,
            kind: Kind::RegisteredModel,
            id: &model.name,
        };
        let mut tx = self.write().await?;
        if known(&mut tx, origin, name).await? == Known::Taken {
            return Err(StoreError::Exists(format!(
                "Registered Model (name={name}) already exists."
            )));
        }
        let last = versions
            .iter()
            .filter_map(|(version, _)| version.version.parse::<i64>().ok())
            .max()
            .unwrap_or(0);
        let created = model.creation_timestamp.unwrap_or_else(now);
        query(
            "INSERT INTO registered_models (name, description, last_version, creation_timestamp, \
             last_updated_timestamp) VALUES ($1, $2, $3, $4, $5) \
             ON CONFLICT (name) DO UPDATE SET description = excluded.description, \
             last_version = CASE WHEN registered_models.last_version > excluded.last_version \
             THEN registered_models.last_version ELSE excluded.last_version END, \
             last_updated_timestamp = excluded.last_updated_timestamp",
        )
        .bind(name)
        .bind(&model.description)
        .bind(last)
        .bind(created)
        .bind(model.last_updated_timestamp.unwrap_or(created))
        .execute(&mut tx)
        .await?;
        REGISTERED_MODEL_TAGS
            .set(&mut tx, &name.to_owned(), &model.tags)
            .await?;
        for (version, files) in versions {
            write_version(&mut tx, name, version, files).await?;
        }
        enter(&mut tx, origin, name).await?;
        query(
            "UPDATE import_ledger SET fingerprint = $1 \
             WHERE source = $2 AND kind = $3 AND source_id = $4",
        )
        .bind(fingerprint)
        .bind(origin.source)
        .bind(origin.kind.as_str())
        .bind(origin.id)
        .execute(&mut tx)
        .await?;
        let note = Note {
            user: "import".to_owned(),
            reason: Some(format!("imported from {source}")),
        };
        for alias in &model.aliases {
            let version = alias.version.parse().map_err(|_| {
                StoreError::Invalid(format!("alias {} names no version", alias.alias))
            })?;
            alias_history::move_alias(&mut tx, name, &alias.alias, version, Cause::Imported, &note)
                .await?;
        }
        tx.commit().await?;
        Ok(())
    }
}

async fn write_version(tx: &mut Tx, name: &str, version: &ModelVersion, files: &str) -> Result<()> {
    let number: i64 = version
        .version
        .parse()
        .map_err(|_| StoreError::Invalid(format!("version {} is no number", version.version)))?;
    let created = version.creation_timestamp.unwrap_or_else(now);
    query(
        "INSERT INTO model_versions (name, version, description, user_id, current_stage, source, \
         storage_location, run_id, run_link, model_id, status, status_message, \
         creation_timestamp, last_updated_timestamp) \
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14) \
         ON CONFLICT (name, version) DO UPDATE SET description = excluded.description, \
         current_stage = excluded.current_stage, status = excluded.status, \
         status_message = excluded.status_message, \
         last_updated_timestamp = excluded.last_updated_timestamp",
    )
    .bind(name)
    .bind(number)
    .bind(&version.description)
    .bind(&version.user_id)
    .bind(version.current_stage.as_deref().unwrap_or("None"))
    .bind(version.source.as_deref().unwrap_or_default())
    .bind(files)
    .bind(&version.run_id)
    .bind(&version.run_link)
    .bind(&version.model_id)
    .bind(version.status.map_or("READY", |status| status.as_str()))
    .bind(&version.status_message)
    .bind(created)
    .bind(version.last_updated_timestamp.unwrap_or(created))
    .execute(tx)
    .await?;
    super::model_versions::set_tags(tx, name, number, &version.tags).await
}

async fn known(conn: &mut Conn, origin: Origin<'_>, local_id: &str) -> Result<Known> {
    let entered: Option<(String, Option<String>)> = query(
        "SELECT local_id, fingerprint FROM import_ledger \
         WHERE source = $1 AND kind = $2 AND source_id = $3",
    )
    .bind(origin.source)
    .bind(origin.kind.as_str())
    .bind(origin.id)
    .fetch_optional(conn)
    .await?;
    // What was imported and is gone since is new again.
    let here = |id: &str| match origin.kind {
        Kind::Experiment => {
            query("SELECT name, lifecycle_stage FROM experiments WHERE experiment_id = $1")
                .bind(super::experiment_number(id).unwrap_or(-1))
        }
        Kind::Run => query("SELECT run_id, status FROM runs WHERE run_id = $1").bind(id),
        Kind::LoggedModel => {
            query("SELECT model_id, status FROM logged_models WHERE model_id = $1").bind(id)
        }
        Kind::RegisteredModel => {
            query("SELECT name, name FROM registered_models WHERE name = $1").bind(id)
        }
    };
    if let Some((entered_id, fingerprint)) = entered {
        let there: Option<(String, String)> = here(&entered_id).fetch_optional(conn).await?;
        // Under another prefix it is another thing.
        let same_name = origin.kind != Kind::RegisteredModel || entered_id == local_id;
        if there.is_some() && same_name {
            return Ok(match fingerprint {
                None => Known::Begun {
                    local_id: entered_id,
                },
                Some(fingerprint) => Known::Complete {
                    local_id: entered_id,
                    fingerprint,
                },
            });
        }
    }
    let taken: Option<(String, String)> = if origin.kind == Kind::Experiment {
        // The default experiment is everywhere, and is one.
        if origin.id == "0" && local_id == "Default" {
            return Ok(Known::New);
        }
        query("SELECT name, lifecycle_stage FROM experiments WHERE name = $1")
            .bind(local_id)
            .fetch_optional(conn)
            .await?
    } else {
        here(local_id).fetch_optional(conn).await?
    };
    Ok(taken.map_or(Known::New, |_| Known::Taken))
}

async fn enter(tx: &mut Tx, origin: Origin<'_>, local_id: &str) -> Result<()> {
    query(
        "INSERT INTO import_ledger (source, kind, source_id, local_id, fingerprint) \
         VALUES ($1, $2, $3, $4, NULL) ON CONFLICT (source, kind, source_id) \
         DO UPDATE SET local_id = excluded.local_id, fingerprint = NULL",
    )
    .bind(origin.source)
    .bind(origin.kind.as_str())
    .bind(origin.id)
    .bind(local_id)
    .execute(tx)
    .await?;
    Ok(())
}

/// The source's number where it is free, else the next.
async fn free_number(tx: &mut Tx, wanted: &str) -> Result<i64> {
    // The counter's row is locked first: whoever creates an experiment meanwhile waits.
    let (next,): (i64,) =
        query("UPDATE counters SET value = value + 1 WHERE name = 'experiment' RETURNING value")
            .fetch_one(tx)
            .await?;
    let Some(wanted) = wanted
        .parse()
        .ok()
        .filter(|wanted| (1..KEPT_NUMBERS).contains(wanted))
    else {
        return Ok(next);
    };
    if wanted < next {
        // Given once already, if perhaps purged since.
        return Ok(next);
    }
    query("UPDATE counters SET value = $1 WHERE name = 'experiment'")
        .bind(wanted)
        .execute(tx)
        .await?;
    Ok(wanted)
}

fn stage(lifecycle_stage: &str) -> &'static str {
    if lifecycle_stage == "deleted" {
        "deleted"
    } else {
        "active"
    }
}
