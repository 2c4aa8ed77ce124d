//! Experiments.

use mlflow_api::types::{Experiment, KeyValue, ViewType};

use super::db::{Conn, QueryBuilder, query};
use super::error::unique;
use super::search::{Tables, push_filter, push_order};
use super::tags::EXPERIMENT_TAGS;
use super::{
    Page, PageRequest, Result, Store, StoreError, experiment_number, no_experiment, now, numbered,
};
use crate::filter::{Clause, Field, Order, Value};

const TABLES: Tables = Tables {
    owner: "experiment_id",
    tags: "experiment_tags",
    params: "",
    metrics: "",
};

const COLUMNS: &str = "r.experiment_id, r.name, r.artifact_location, r.lifecycle_stage, \
                       r.creation_time, r.last_update_time";

/// There is one, of this name.
const WORKSPACE: &str = "default";

#[derive(sqlx::FromRow)]
struct Row {
    experiment_id: i64,
    name: String,
    artifact_location: String,
    lifecycle_stage: String,
    creation_time: i64,
    last_update_time: i64,
}

impl Row {
    fn into_experiment(self, tags: Vec<KeyValue>) -> Experiment {
        Experiment {
            experiment_id: self.experiment_id.to_string(),
            name: self.name,
            artifact_location: Some(self.artifact_location),
            lifecycle_stage: self.lifecycle_stage,
            last_update_time: Some(self.last_update_time),
            creation_time: Some(self.creation_time),
            tags,
            workspace: Some(WORKSPACE.to_owned()),
        }
    }
}

/// `AND …` for what a view shows.
pub(super) fn push_view(query: &mut QueryBuilder, view: ViewType) {
    query.push(match view {
        ViewType::ActiveOnly => " AND r.lifecycle_stage = 'active'",
        ViewType::DeletedOnly => " AND r.lifecycle_stage = 'deleted'",
        ViewType::All => "",
    });
}

impl Store {
    pub(super) async fn ensure_default_experiment(&self, now: i64) -> sqlx::Result<()> {
        query(
            "INSERT INTO experiments (experiment_id, name, artifact_location, lifecycle_stage, \
             creation_time, last_update_time) \
             VALUES (0, 'Default', 'mlflow-artifacts:/0', 'active', $1, $1) ON CONFLICT DO NOTHING",
        )
        .bind(now)
        .execute(&mut self.pools.autocommit().await?)
        .await?;
        Ok(())
    }

    /// Creates an experiment and returns its id.
    ///
    /// # Errors
    /// When one of that name exists, deleted ones included.
    pub async fn create_experiment(
        &self,
        name: &str,
        artifact_location: Option<&str>,
        tags: &[KeyValue],
    ) -> Result<String> {
        let mut tx = self.write().await?;
        let (id,): (i64,) = query(
            "UPDATE counters SET value = value + 1 WHERE name = 'experiment' RETURNING value",
        )
        .fetch_one(&mut tx)
        .await?;
        let location =
            artifact_location.map_or_else(|| format!("mlflow-artifacts:/{id}"), str::to_owned);
        query(
            "INSERT INTO experiments (experiment_id, name, artifact_location, lifecycle_stage, \
             creation_time, last_update_time) VALUES ($1, $2, $3, 'active', $4, $4)",
        )
        .bind(id)
        .bind(name)
        .bind(location)
        .bind(now())
        .execute(&mut tx)
        .await
        .map_err(|error| unique(error, || format!("Experiment(name={name}) already exists.")))?;
        EXPERIMENT_TAGS.set(&mut tx, &id, tags).await?;
        tx.commit().await?;
        Ok(id.to_string())
    }

    /// The experiment of that id, deleted or not.
    ///
    /// # Errors
    /// When there is none.
    pub async fn get_experiment(&self, id: &str) -> Result<Experiment> {
        let number = numbered(id)?;
        let mut connection = self.read().await?;
        let row = find(&mut connection, number)
            .await?
            .ok_or_else(|| no_experiment(id))?;
        Ok(with_tags(&mut connection, vec![row]).await?.remove(0))
    }

    /// The experiment of that name, deleted or not.
    ///
    /// # Errors
    /// When there is none.
    pub async fn get_experiment_by_name(&self, name: &str) -> Result<Experiment> {
        let mut connection = self.read().await?;
        let mut query = QueryBuilder::new(&connection, "SELECT ");
        query
            .push(COLUMNS)
            .push(" FROM experiments r WHERE r.name = ")
            .push_bind(name.to_owned());
        let row: Option<Row> = query.build().fetch_optional(&mut connection).await?;
        let row = row.ok_or_else(|| {
            StoreError::NotFound(format!("Could not find experiment with name '{name}'"))
        })?;
        Ok(with_tags(&mut connection, vec![row]).await?.remove(0))
    }

    /// The experiments that match.
    ///
    /// # Errors
    /// When the filter compares an id with what is none.
    pub async fn search_experiments(
        &self,
        view: ViewType,
        clauses: &[Clause],
        orders: &[Order],
        page: PageRequest,
    ) -> Result<Page<Experiment>> {
        let clauses = clauses
            .iter()
            .map(numeric_ids)
            .collect::<Result<Vec<_>>>()?;
        let mut connection = self.read().await?;
        let mut query = QueryBuilder::new(&connection, "SELECT ");
        query.push(COLUMNS).push(" FROM experiments r WHERE 1 = 1");
        push_view(&mut query, view);
        for clause in &clauses {
            match clause {
                Ok(clause) => push_filter(&mut query, &TABLES, std::slice::from_ref(clause)),
                Err((negated, ids)) => {
                    query.push(if *negated {
                        " AND NOT r.experiment_id"
                    } else {
                        " AND r.experiment_id"
                    });
                    query.push_in(ids);
                }
            }
        }
        let by_id = orders
            .iter()
            .any(|o| o.field == Field::Attribute("experiment_id"));
        push_order(
            &mut query,
            orders,
            match (orders.is_empty(), by_id) {
                (true, _) => "r.creation_time DESC, r.experiment_id ASC",
                (false, false) => "r.experiment_id DESC",
                (false, true) => "r.name",
            },
        );
        query.push(" LIMIT ").push_bind(page.limit());
        query.push(" OFFSET ").push_bind(page.offset());
        let rows: Vec<Row> = query.build().fetch_all(&mut connection).await?;
        Ok(page.page(with_tags(&mut connection, rows).await?))
    }

    /// Deletes or restores an experiment, and its runs with it.
    ///
    /// # Errors
    /// When there is none in the other state.
    pub async fn set_experiment_deleted(&self, id: &str, deleted: bool) -> Result<()> {
        let number = numbered(id)?;
        let (from, to) = if deleted {
            ("active", "deleted")
        } else {
            ("deleted", "active")
        };
        let mut tx = self.write().await?;
        let changed = query(
            "UPDATE experiments SET lifecycle_stage = $1, last_update_time = $2 \
             WHERE experiment_id = $3 AND lifecycle_stage = $4",
        )
        .bind(to)
        .bind(now())
        .bind(number)
        .bind(from)
        .execute(&mut tx)
        .await?;
        if changed == 0 {
            return Err(no_experiment(id));
        }
        query(
            "UPDATE runs SET lifecycle_stage = $1, deleted_time = $2 \
             WHERE experiment_id = $3 AND lifecycle_stage = $4",
        )
        .bind(to)
        .bind(deleted.then(now))
        .bind(number)
        .bind(from)
        .execute(&mut tx)
        .await?;
        tx.commit().await?;
        Ok(())
    }

    /// Renames an active experiment.
    ///
    /// # Errors
    /// When there is none, when it is deleted, or when the name is taken.
    pub async fn rename_experiment(&self, id: &str, name: &str) -> Result<()> {
        let mut tx = self.write().await?;
        let number = numbered(id)?;
        let row = find(&mut tx, number)
            .await?
            .ok_or_else(|| no_experiment(id))?;
        if row.lifecycle_stage != "active" {
            return Err(StoreError::State(
                "Cannot rename a non-active experiment.".to_owned(),
            ));
        }
        query("UPDATE experiments SET name = $1, last_update_time = $2 WHERE experiment_id = $3")
            .bind(name)
            .bind(now())
            .bind(number)
            .execute(&mut tx)
            .await
            .map_err(|error| {
                unique(error, || format!("Experiment(name={name}) already exists."))
            })?;
        tx.commit().await?;
        Ok(())
    }

    /// Sets a tag of an active experiment.
    ///
    /// # Errors
    /// When there is none or it is deleted.
    pub async fn set_experiment_tag(&self, id: &str, tag: KeyValue) -> Result<()> {
        let mut tx = self.write().await?;
        let number = active_experiment(&mut tx, id).await?.experiment_id;
        EXPERIMENT_TAGS.set(&mut tx, &number, &[tag]).await?;
        tx.commit().await?;
        Ok(())
    }

    /// Deletes a tag of an active experiment.
    ///
    /// # Errors
    /// When there is none, it is deleted, or it has no such tag.
    pub async fn delete_experiment_tag(&self, id: &str, key: &str) -> Result<()> {
        let mut tx = self.write().await?;
        let number = active_experiment(&mut tx, id).await?.experiment_id;
        if !EXPERIMENT_TAGS.delete(&mut tx, &number, key).await? {
            return Err(StoreError::NotFound(format!(
                "No tag with name: {key} in experiment with id {id}"
            )));
        }
        tx.commit().await?;
        Ok(())
    }
}

/// What is needed of an experiment to put something into it.
pub(super) struct ActiveExperiment {
    pub(super) experiment_id: i64,
    pub(super) artifact_location: String,
}

/// The experiment of that id, which must be active.
pub(super) async fn active_experiment(connection: &mut Conn, id: &str) -> Result<ActiveExperiment> {
    let number = numbered(id)?;
    let row = find(connection, number)
        .await?
        .ok_or_else(|| no_experiment(id))?;
    if row.lifecycle_stage != "active" {
        return Err(StoreError::Invalid(format!(
            "The experiment {id} must be in the 'active' state. Current state is deleted."
        )));
    }
    Ok(ActiveExperiment {
        experiment_id: number,
        artifact_location: row.artifact_location,
    })
}

async fn find(connection: &mut Conn, number: i64) -> Result<Option<Row>> {
    let mut query = QueryBuilder::new(connection, "SELECT ");
    query
        .push(COLUMNS)
        .push(" FROM experiments r WHERE r.experiment_id = ")
        .push_bind(number);
    Ok(query.build().fetch_optional(connection).await?)
}

async fn with_tags(connection: &mut Conn, rows: Vec<Row>) -> Result<Vec<Experiment>> {
    let ids: Vec<i64> = rows.iter().map(|row| row.experiment_id).collect();
    let mut tags = EXPERIMENT_TAGS.of(connection, &ids).await?;
    Ok(rows
        .into_iter()
        .map(|row| {
            let tags = tags.remove(&row.experiment_id).unwrap_or_default();
            row.into_experiment(tags)
        })
        .collect())
}

/// A clause as it is, or (negated, ids) where it compares the id, which is a number in the
/// database and a text in the filter.
#[allow(clippy::type_complexity, reason = "a private pair of either")]
fn numeric_ids(clause: &Clause) -> Result<std::result::Result<Clause, (bool, Vec<i64>)>> {
    use crate::filter::Op;
    if clause.field != Field::Attribute("experiment_id") {
        return Ok(Ok(clause.clone()));
    }
    let texts = match &clause.value {
        Value::Text(text) => std::slice::from_ref(text),
        Value::List(texts) => texts,
        Value::None | Value::Int(_) | Value::Float(_) => &[],
    };
    let ids = texts
        .iter()
        .map(|text| {
            experiment_number(text)
                .ok_or_else(|| StoreError::Invalid(format!("Invalid experiment ID: '{text}'")))
        })
        .collect::<Result<Vec<_>>>()?;
    Ok(Err((matches!(clause.op, Op::Ne | Op::NotIn), ids)))
}
