//! Datasets and logged models that runs read.

use std::collections::HashMap;

use mlflow_api::types::{Dataset, DatasetInput, DatasetSummary, KeyValue, ModelInput};

use super::db::{Conn, QueryBuilder, Tx, query};
use super::runs::active_run;
use super::tags::CHUNK;
use super::{Result, Store, experiment_number};
use crate::filter::Clause;

/// What a dataset was read for.
const CONTEXT: &str = "mlflow.data.context";
/// As many as MLflow shows.
const MAX_SUMMARIES: i64 = 1000;

impl Store {
    /// Notes what an active run read. A dataset that it read already stays as it was noted.
    ///
    /// # Errors
    /// When there is no such run or it is deleted.
    pub async fn log_inputs(
        &self,
        run_id: &str,
        datasets: &[(Dataset, Vec<KeyValue>)],
        models: &[ModelInput],
    ) -> Result<()> {
        let mut tx = self.write().await?;
        let experiment = active_run(&mut tx, run_id).await?;
        write_inputs(&mut tx, experiment, run_id, datasets, models).await?;
        tx.commit().await?;
        Ok(())
    }

    /// The datasets that runs of experiments read, once per context.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn search_datasets(&self, experiment_ids: &[String]) -> Result<Vec<DatasetSummary>> {
        let experiments: Vec<i64> = experiment_ids
            .iter()
            .filter_map(|id| experiment_number(id))
            .collect();
        if experiments.is_empty() {
            return Ok(Vec::new());
        }
        let mut connection = self.read().await?;
        let mut query = QueryBuilder::new(
            &connection,
            "SELECT DISTINCT d.experiment_id, d.name, d.digest, t.value FROM datasets d \
             JOIN run_datasets i ON i.dataset_id = d.dataset_id \
             LEFT JOIN run_dataset_tags t ON t.run_id = i.run_id \
             AND t.dataset_id = i.dataset_id AND t.key = ",
        );
        query.push_bind(CONTEXT.to_owned());
        query.push(" WHERE d.experiment_id");
        query.push_in(&experiments);
        query.push(" ORDER BY d.experiment_id, d.name, d.digest, t.value LIMIT ");
        query.push_bind(MAX_SUMMARIES);
        let rows: Vec<(i64, String, String, Option<String>)> =
            query.build().fetch_all(&mut connection).await?;
        Ok(rows
            .into_iter()
            .map(|(experiment, name, digest, context)| DatasetSummary {
                experiment_id: experiment.to_string(),
                name,
                digest,
                context,
            })
            .collect())
    }
}

/// Writes what a run read after what it read before; of a dataset that it has already, nothing
/// changes.
pub(super) async fn write_inputs(
    tx: &mut Tx,
    experiment: i64,
    run_id: &str,
    datasets: &[(Dataset, Vec<KeyValue>)],
    models: &[ModelInput],
) -> Result<()> {
    let (mut next,): (i64,) =
        query("SELECT COALESCE(MAX(position), -1) + 1 FROM run_datasets WHERE run_id = $1")
            .bind(run_id)
            .fetch_one(tx)
            .await?;
    let mut ids = HashMap::new();
    // Sorted: one order of rows for all writers.
    let mut sorted: Vec<&Dataset> = datasets.iter().map(|(dataset, _)| dataset).collect();
    sorted.sort_by(|a, b| (&a.name, &a.digest).cmp(&(&b.name, &b.digest)));
    sorted.dedup_by(|a, b| (&a.name, &a.digest) == (&b.name, &b.digest));
    for dataset in sorted {
        let id = ensure(tx, experiment, dataset).await?;
        ids.insert((&dataset.name, &dataset.digest), id);
    }
    for (dataset, tags) in datasets {
        let Some(dataset_id) = ids.get(&(&dataset.name, &dataset.digest)) else {
            continue;
        };
        let added = query(
            "INSERT INTO run_datasets (run_id, dataset_id, position) VALUES ($1, $2, $3) \
             ON CONFLICT DO NOTHING",
        )
        .bind(run_id)
        .bind(dataset_id)
        .bind(next)
        .execute(tx)
        .await?;
        if added == 0 {
            continue;
        }
        next += 1;
        for tag in tags {
            query(
                "INSERT INTO run_dataset_tags (run_id, dataset_id, key, value) \
                 VALUES ($1, $2, $3, $4) \
                 ON CONFLICT (run_id, dataset_id, key) DO UPDATE SET value = excluded.value",
            )
            .bind(run_id)
            .bind(dataset_id)
            .bind(&tag.key)
            .bind(&tag.value)
            .execute(tx)
            .await?;
        }
    }
    for model in models {
        query("INSERT INTO run_inputs (run_id, model_id) VALUES ($1, $2) ON CONFLICT DO NOTHING")
            .bind(run_id)
            .bind(&model.model_id)
            .execute(tx)
            .await?;
    }
    Ok(())
}

/// The id of a dataset of an experiment, which is added where it is missing.
async fn ensure(connection: &mut Conn, experiment: i64, dataset: &Dataset) -> Result<String> {
    query(
        "INSERT INTO datasets (dataset_id, experiment_id, name, digest, source_type, source, \
         schema, profile) VALUES ($1, $2, $3, $4, $5, $6, $7, $8) ON CONFLICT DO NOTHING",
    )
    .bind(uuid::Uuid::new_v4().simple().to_string())
    .bind(experiment)
    .bind(&dataset.name)
    .bind(&dataset.digest)
    .bind(&dataset.source_type)
    .bind(&dataset.source)
    .bind(&dataset.schema)
    .bind(&dataset.profile)
    .execute(connection)
    .await?;
    let (id,): (String,) = query(
        "SELECT dataset_id FROM datasets WHERE experiment_id = $1 AND name = $2 AND digest = $3",
    )
    .bind(experiment)
    .bind(&dataset.name)
    .bind(&dataset.digest)
    .fetch_one(connection)
    .await?;
    Ok(id)
}

#[derive(sqlx::FromRow)]
struct Row {
    run_id: String,
    dataset_id: String,
    name: String,
    digest: String,
    source_type: String,
    source: String,
    schema: Option<String>,
    profile: Option<String>,
}

/// The datasets that runs read, in the order in which they did.
pub(super) async fn datasets_of(
    connection: &mut Conn,
    run_ids: &[String],
) -> Result<HashMap<String, Vec<DatasetInput>>> {
    let mut found: HashMap<String, Vec<DatasetInput>> = HashMap::new();
    for chunk in run_ids.chunks(CHUNK) {
        let mut query = QueryBuilder::new(
            connection,
            "SELECT i.run_id, d.dataset_id, d.name, d.digest, d.source_type, d.source, d.schema, \
             d.profile FROM run_datasets i JOIN datasets d ON d.dataset_id = i.dataset_id \
             WHERE i.run_id",
        );
        query.push_in(chunk);
        query.push(" ORDER BY i.run_id, i.position, d.name, d.digest");
        let rows: Vec<Row> = query.build().fetch_all(connection).await?;
        let mut tags = tags_of(connection, chunk).await?;
        for row in rows {
            let input = DatasetInput {
                tags: tags
                    .remove(&(row.run_id.clone(), row.dataset_id))
                    .unwrap_or_default(),
                dataset: Some(Dataset {
                    name: row.name,
                    digest: row.digest,
                    source_type: row.source_type,
                    source: row.source,
                    schema: row.schema,
                    profile: row.profile,
                }),
            };
            found.entry(row.run_id).or_default().push(input);
        }
    }
    Ok(found)
}

async fn tags_of(
    connection: &mut Conn,
    run_ids: &[String],
) -> Result<HashMap<(String, String), Vec<KeyValue>>> {
    let mut query = QueryBuilder::new(
        connection,
        "SELECT run_id, dataset_id, key, value FROM run_dataset_tags WHERE run_id",
    );
    query.push_in(run_ids);
    query.push(" ORDER BY run_id, dataset_id, key");
    let rows: Vec<(String, String, String, String)> = query.build().fetch_all(connection).await?;
    let mut found: HashMap<(String, String), Vec<KeyValue>> = HashMap::new();
    for (run_id, dataset_id, key, value) in rows {
        found
            .entry((run_id, dataset_id))
            .or_default()
            .push(KeyValue { key, value });
    }
    Ok(found)
}

/// Appends that a run `r` read a dataset of that name, digest or context.
pub(super) fn push_comparison(query: &mut QueryBuilder, key: &'static str, clause: &Clause) {
    if key == "context" {
        query.push(
            "EXISTS (SELECT 1 FROM run_dataset_tags f WHERE f.run_id = r.run_id AND f.key = ",
        );
        query.push_bind(CONTEXT.to_owned());
        query.push(" AND ");
        super::search::push_comparison(query, "f.value", clause.op, &clause.value);
    } else {
        query.push(
            "EXISTS (SELECT 1 FROM run_datasets i JOIN datasets f \
             ON f.dataset_id = i.dataset_id WHERE i.run_id = r.run_id AND ",
        );
        super::search::push_comparison(query, &format!("f.{key}"), clause.op, &clause.value);
    }
    query.push(")");
}
