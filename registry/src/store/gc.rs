//! Purging what was deleted.
//!
//! A row goes in one transaction with a note of where its files are (`purged_artifacts`); the files
//! go after it, and the note last. So no file is ever left that nobody knows of, nothing that was
//! restored meanwhile is purged, and an interrupted purge is finished by the next.

use super::db::{Conn, QueryBuilder, Tx, query};
use super::{Result, Store, experiment_number, no_experiment, now};

/// What may be purged.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Purgeable {
    /// A deleted run.
    Run {
        /// Its id.
        run_id: String,
        /// Its files.
        artifact_uri: String,
    },
    /// A deleted logged model.
    LoggedModel {
        /// Its id.
        model_id: String,
        /// Its files.
        artifact_uri: String,
    },
    /// A deleted experiment, whose runs and models are purged before it.
    Experiment {
        /// Its id.
        experiment_id: i64,
        /// Its name, which can be used again afterwards.
        name: String,
    },
}

/// What is asked for; everything that is deleted when all are empty.
#[derive(Debug, Clone, Default)]
pub struct PurgeFilter {
    /// Deleted before this time only, ms since the epoch.
    pub before: Option<i64>,
    /// These experiments only, with all that they hold.
    pub experiment_ids: Vec<String>,
    /// These runs only.
    pub run_ids: Vec<String>,
}

impl PurgeFilter {
    fn is_all(&self) -> bool {
        self.experiment_ids.is_empty() && self.run_ids.is_empty()
    }
}

impl Store {
    /// What a filter finds: runs and logged models first, then experiments. Experiment 0 stays.
    ///
    /// # Errors
    /// When an experiment or a run that is named is not there or not deleted.
    pub async fn purgeable(&self, filter: &PurgeFilter) -> Result<Vec<Purgeable>> {
        let mut conn = self.read().await?;
        let experiments = deleted_experiments(&mut conn, filter).await?;
        let numbers: Vec<i64> = experiments.iter().map(|(number, _)| *number).collect();
        let mut found = Vec::new();
        for (run_id, artifact_uri) in deleted_runs(&mut conn, filter, &numbers).await? {
            found.push(Purgeable::Run {
                run_id,
                artifact_uri,
            });
        }
        for (model_id, artifact_uri) in deleted_models(&mut conn, filter, &numbers).await? {
            found.push(Purgeable::LoggedModel {
                model_id,
                artifact_uri,
            });
        }
        for (experiment_id, name) in experiments {
            found.push(Purgeable::Experiment {
                experiment_id,
                name,
            });
        }
        Ok(found)
    }

    /// The registered versions whose files are below a URI, as `name/version`.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn versions_below(&self, artifact_uri: &str) -> Result<Vec<String>> {
        let mut conn = self.read().await?;
        versions_below(&mut conn, artifact_uri).await
    }

    /// Removes the rows of what is still deleted, and notes where its files are. With `keep`, what
    /// a registered version needs stays. Whether it was removed.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn purge(&self, thing: &Purgeable, keep: bool) -> Result<bool> {
        let mut tx = self.write().await?;
        let removed = match thing {
            Purgeable::Run {
                run_id,
                artifact_uri,
            } => {
                if keep && !versions_below(&mut tx, artifact_uri).await?.is_empty() {
                    return Ok(false);
                }
                // Folding takes points out of the log and then looks for their run, which would be
                // the other way round than here.
                super::metrics::hold_folding(&mut tx).await?;
                // What is restored meanwhile is not deleted any more.
                let removed = query(
                    "DELETE FROM runs WHERE run_id = $1 AND (lifecycle_stage = 'deleted' OR \
                     experiment_id IN (SELECT experiment_id FROM experiments \
                     WHERE lifecycle_stage = 'deleted'))",
                )
                .bind(run_id)
                .execute(&mut tx)
                .await?;
                // The log has no reference to runs.
                query("DELETE FROM metric_log WHERE run_id = $1")
                    .bind(run_id)
                    .execute(&mut tx)
                    .await?;
                forget(&mut tx, "run", run_id).await?;
                remember(&mut tx, artifact_uri, removed).await?;
                removed
            }
            Purgeable::LoggedModel {
                model_id,
                artifact_uri,
            } => {
                if keep && !versions_below(&mut tx, artifact_uri).await?.is_empty() {
                    return Ok(false);
                }
                let removed = query(
                    "DELETE FROM logged_models WHERE model_id = $1 AND \
                     (lifecycle_stage = 'deleted' OR experiment_id IN \
                     (SELECT experiment_id FROM experiments WHERE lifecycle_stage = 'deleted'))",
                )
                .bind(model_id)
                .execute(&mut tx)
                .await?;
                forget(&mut tx, "logged_model", model_id).await?;
                remember(&mut tx, artifact_uri, removed).await?;
                removed
            }
            Purgeable::Experiment { experiment_id, .. } => {
                // One that still holds something (kept for a version, or new) stays.
                let removed = query(
                    "DELETE FROM experiments WHERE experiment_id = $1 AND experiment_id <> 0 \
                     AND lifecycle_stage = 'deleted' \
                     AND NOT EXISTS (SELECT 1 FROM runs r \
                     WHERE r.experiment_id = experiments.experiment_id) \
                     AND NOT EXISTS (SELECT 1 FROM logged_models m \
                     WHERE m.experiment_id = experiments.experiment_id)",
                )
                .bind(*experiment_id)
                .execute(&mut tx)
                .await?;
                forget(&mut tx, "experiment", &experiment_id.to_string()).await?;
                removed
            }
        };
        if removed == 0 {
            return Ok(false);
        }
        tx.commit().await?;
        Ok(true)
    }

    /// The URIs of purged things whose files are still to be deleted.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn purged_artifacts(&self) -> Result<Vec<String>> {
        let mut conn = self.read().await?;
        let rows: Vec<(String,)> = query("SELECT uri FROM purged_artifacts ORDER BY uri")
            .fetch_all(&mut conn)
            .await?;
        Ok(rows.into_iter().map(|(uri,)| uri).collect())
    }

    /// Notes that the files below a URI are deleted.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn artifacts_are_gone(&self, uri: &str) -> Result<()> {
        let mut tx = self.write().await?;
        query("DELETE FROM purged_artifacts WHERE uri = $1")
            .bind(uri)
            .execute(&mut tx)
            .await?;
        tx.commit().await?;
        Ok(())
    }
}

async fn deleted_experiments(conn: &mut Conn, filter: &PurgeFilter) -> Result<Vec<(i64, String)>> {
    let mut wanted = Vec::new();
    for id in &filter.experiment_ids {
        let number = experiment_number(id).ok_or_else(|| no_experiment(id))?;
        let found: Option<(String,)> =
            query("SELECT lifecycle_stage FROM experiments WHERE experiment_id = $1")
                .bind(number)
                .fetch_optional(conn)
                .await?;
        let (stage,) = found.ok_or_else(|| no_experiment(id))?;
        if stage != "deleted" {
            return Err(super::StoreError::Invalid(format!(
                "Experiment {id} is not deleted: only deleted ones are purged."
            )));
        }
        wanted.push(number);
    }
    if wanted.is_empty() && !filter.is_all() {
        return Ok(Vec::new());
    }
    let mut find = QueryBuilder::new(
        conn,
        "SELECT experiment_id, name FROM experiments \
         WHERE lifecycle_stage = 'deleted' AND experiment_id <> 0",
    );
    if let Some(before) = filter.before {
        find.push(" AND last_update_time < ").push_bind(before);
    }
    if !wanted.is_empty() {
        find.push(" AND experiment_id").push_in(&wanted);
    }
    find.push(" ORDER BY experiment_id");
    Ok(find.build().fetch_all(conn).await?)
}

async fn deleted_runs(
    conn: &mut Conn,
    filter: &PurgeFilter,
    experiments: &[i64],
) -> Result<Vec<(String, String)>> {
    for id in &filter.run_ids {
        let found: Option<(String,)> = query("SELECT lifecycle_stage FROM runs WHERE run_id = $1")
            .bind(id)
            .fetch_optional(conn)
            .await?;
        match found {
            Some((stage,)) if stage == "deleted" => {}
            Some(_) => {
                return Err(super::StoreError::Invalid(format!(
                    "Run {id} is not deleted: only deleted ones are purged."
                )));
            }
            None => {
                return Err(super::StoreError::NotFound(format!(
                    "Run with id={id} not found"
                )));
            }
        }
    }
    let mut runs: Vec<(String, String)> = Vec::new();
    if !experiments.is_empty() {
        let mut find = QueryBuilder::new(
            conn,
            "SELECT run_id, artifact_uri FROM runs WHERE experiment_id",
        );
        find.push_in(experiments).push(" ORDER BY run_id");
        runs.extend(find.build().fetch_all::<(String, String)>(conn).await?);
    }
    if filter.is_all() || !filter.run_ids.is_empty() {
        let mut find = QueryBuilder::new(
            conn,
            "SELECT run_id, artifact_uri FROM runs WHERE lifecycle_stage = 'deleted'",
        );
        if let Some(before) = filter.before {
            find.push(" AND deleted_time < ").push_bind(before);
        }
        if !filter.run_ids.is_empty() {
            find.push(" AND run_id").push_in(&filter.run_ids);
        }
        find.push(" ORDER BY run_id");
        runs.extend(find.build().fetch_all::<(String, String)>(conn).await?);
    }
    runs.sort_unstable();
    runs.dedup();
    Ok(runs)
}

async fn deleted_models(
    conn: &mut Conn,
    filter: &PurgeFilter,
    experiments: &[i64],
) -> Result<Vec<(String, String)>> {
    let mut models: Vec<(String, String)> = Vec::new();
    if !experiments.is_empty() {
        let mut find = QueryBuilder::new(
            conn,
            "SELECT model_id, artifact_uri FROM logged_models WHERE experiment_id",
        );
        find.push_in(experiments).push(" ORDER BY model_id");
        models.extend(find.build().fetch_all::<(String, String)>(conn).await?);
    }
    if filter.is_all() {
        let mut find = QueryBuilder::new(
            conn,
            "SELECT model_id, artifact_uri FROM logged_models WHERE lifecycle_stage = 'deleted'",
        );
        if let Some(before) = filter.before {
            find.push(" AND last_updated_timestamp_ms < ")
                .push_bind(before);
        }
        find.push(" ORDER BY model_id");
        models.extend(find.build().fetch_all::<(String, String)>(conn).await?);
    }
    models.sort_unstable();
    models.dedup();
    Ok(models)
}

async fn versions_below(conn: &mut Conn, artifact_uri: &str) -> Result<Vec<String>> {
    let root = artifact_uri.trim_end_matches('/');
    let below = format!("{root}/");
    let rows: Vec<(String, i64)> = query(
        "SELECT name, version FROM model_versions WHERE storage_location = $1 \
         OR SUBSTR(storage_location, 1, CAST($2 AS INTEGER)) = $3 ORDER BY name, version",
    )
    .bind(root)
    .bind(i64::try_from(below.chars().count()).unwrap_or(i64::MAX))
    .bind(&below)
    .fetch_all(conn)
    .await?;
    Ok(rows
        .into_iter()
        .map(|(name, version)| format!("{name}/{version}"))
        .collect())
}

/// An import may bring it again.
async fn forget(tx: &mut Tx, kind: &str, id: &str) -> Result<()> {
    query("DELETE FROM import_ledger WHERE kind = $1 AND local_id = $2")
        .bind(kind)
        .bind(id)
        .execute(tx)
        .await?;
    Ok(())
}

async fn remember(tx: &mut Tx, uri: &str, removed: u64) -> Result<()> {
    if removed == 0 {
        return Ok(());
    }
    query("INSERT INTO purged_artifacts (uri, purged_time) VALUES ($1, $2) ON CONFLICT DO NOTHING")
        .bind(uri)
        .bind(now())
        .execute(tx)
        .await?;
    Ok(())
}
