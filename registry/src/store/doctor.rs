//! What of a database can be checked against itself, and put right.

use super::db::{Conn, query};
use super::{Result, Store};

/// Something whose files should be somewhere.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reference {
    /// What it is, for people.
    pub what: String,
    /// Where its files should be.
    pub uri: String,
    /// Whether there must be some.
    pub needed: bool,
}

impl Store {
    /// The counters that would give a number twice, with what they should at least be.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn wrong_counters(&self) -> Result<Vec<(String, i64)>> {
        wrong_counters(&mut self.read().await?).await
    }

    /// Puts counters right.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn fix_counters(&self) -> Result<()> {
        let mut tx = self.write().await?;
        for (name, value) in wrong_counters(&mut tx).await? {
            match name.strip_prefix("model ") {
                Some(model) => query(
                    "UPDATE registered_models SET last_version = $1 \
                     WHERE name = $2 AND last_version < $3",
                )
                .bind(value)
                .bind(model)
                .bind(value),
                None => query("UPDATE counters SET value = $1 WHERE name = $2 AND value < $3")
                    .bind(value)
                    .bind(&name)
                    .bind(value),
            }
            .execute(&mut tx)
            .await?;
        }
        tx.commit().await?;
        Ok(())
    }

    /// Aliases that name no version, as `model@alias`.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn dangling_aliases(&self) -> Result<Vec<String>> {
        let rows: Vec<(String, String)> = query(
            "SELECT a.name, a.alias FROM model_aliases a LEFT JOIN model_versions v \
             ON v.name = a.name AND v.version = a.version WHERE v.name IS NULL \
             ORDER BY a.name, a.alias",
        )
        .fetch_all(&mut self.read().await?)
        .await?;
        Ok(rows
            .into_iter()
            .map(|(name, alias)| format!("{name}@{alias}"))
            .collect())
    }

    /// Where files of runs, logged models and versions should be.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn artifact_references(&self) -> Result<Vec<Reference>> {
        let mut conn = self.read().await?;
        let mut found = Vec::new();
        let runs: Vec<(String, String)> = query("SELECT run_id, artifact_uri FROM runs")
            .fetch_all(&mut conn)
            .await?;
        found.extend(runs.into_iter().map(|(id, uri)| Reference {
            what: format!("run {id}"),
            uri,
            needed: false,
        }));
        // Clients may put the spans and the attachments of traces there.
        let experiments: Vec<(i64, String)> =
            query("SELECT experiment_id, artifact_location FROM experiments")
                .fetch_all(&mut conn)
                .await?;
        found.extend(experiments.into_iter().map(|(id, location)| Reference {
            what: format!("traces of experiment {id}"),
            uri: format!("{}/traces", location.trim_end_matches('/')),
            needed: false,
        }));
        let models: Vec<(String, String, String)> =
            query("SELECT model_id, artifact_uri, status FROM logged_models")
                .fetch_all(&mut conn)
                .await?;
        found.extend(models.into_iter().map(|(id, uri, status)| Reference {
            what: format!("logged model {id}"),
            uri,
            needed: status == "LOGGED_MODEL_READY",
        }));
        let versions: Vec<(String, i64, String, Option<String>)> = query(
            "SELECT v.name, v.version, v.storage_location, t.value FROM model_versions v \
             LEFT JOIN model_version_tags t ON t.name = v.name AND t.version = v.version \
             AND t.key = 'mlflow.prompt.is_prompt'",
        )
        .fetch_all(&mut conn)
        .await?;
        found.extend(
            versions
                .into_iter()
                .map(|(name, version, uri, prompt)| Reference {
                    what: format!("version {version} of `{name}`"),
                    uri,
                    needed: prompt.is_none(),
                }),
        );
        Ok(found)
    }

    /// Sources whose import was not finished, with how many things are half there.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn unfinished_imports(&self) -> Result<Vec<(String, i64)>> {
        Ok(query(
            "SELECT source, COUNT(*) FROM import_ledger WHERE fingerprint IS NULL \
             GROUP BY source ORDER BY source",
        )
        .fetch_all(&mut self.read().await?)
        .await?)
    }

    /// The newest time that this server itself wrote, ms since the epoch.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn newest_time(&self) -> Result<Option<i64>> {
        let (time,): (Option<i64>,) = query(
            "SELECT MAX(time) FROM (SELECT MAX(last_update_time) AS time FROM experiments \
             UNION ALL SELECT MAX(last_updated_timestamp) FROM registered_models \
             UNION ALL SELECT MAX(time) FROM alias_history) t",
        )
        .fetch_one(&mut self.read().await?)
        .await?;
        Ok(time)
    }
}

async fn wrong_counters(conn: &mut Conn) -> Result<Vec<(String, i64)>> {
    let mut wrong: Vec<(String, i64)> = query(
        "SELECT c.name, m.largest FROM counters c JOIN \
         (SELECT 'experiment' AS name, MAX(experiment_id) AS largest FROM experiments \
         UNION ALL SELECT 'alias_history', MAX(sequence) FROM alias_history) m \
         ON m.name = c.name WHERE c.value < m.largest ORDER BY c.name",
    )
    .fetch_all(conn)
    .await?;
    let models: Vec<(String, i64)> = query(
        "SELECT r.name, MAX(v.version) FROM registered_models r JOIN model_versions v \
         ON v.name = r.name GROUP BY r.name, r.last_version \
         HAVING MAX(v.version) > r.last_version ORDER BY r.name",
    )
    .fetch_all(conn)
    .await?;
    wrong.extend(
        models
            .into_iter()
            .map(|(name, version)| (format!("model {name}"), version)),
    );
    Ok(wrong)
}
