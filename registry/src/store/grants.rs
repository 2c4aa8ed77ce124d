//! What users may do with single experiments and models, and which experiment things belong to.

use super::db::{QueryBuilder, query};
use super::tags::CHUNK;
use super::users::{find, role, touch};
use super::{Result, Store, StoreError, experiment_number, no_experiment};
use crate::auth::{Grants, Role};

/// What a grant is about.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Granted {
    /// An experiment, by its id.
    Experiment(String),
    /// A registered model, by its name.
    Model(String),
}

/// A grant.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GrantRecord {
    /// Who has it.
    pub user: String,
    /// What it is about.
    pub on: Granted,
    /// What they may do with it.
    pub role: Role,
}

/// What belongs to an experiment.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Owned {
    /// An experiment itself, by its name.
    ExperimentName,
    Run,
    LoggedModel,
    Trace,
}

impl Store {
    pub(crate) async fn grants_of(&self, user_id: i64) -> Result<Grants> {
        let mut connection = self.read().await?;
        let experiments: Vec<(i64, String)> =
            query("SELECT experiment_id, role FROM experiment_grants WHERE user_id = $1")
                .bind(user_id)
                .fetch_all(&mut connection)
                .await?;
        let models: Vec<(String, String)> =
            query("SELECT name, role FROM model_grants WHERE user_id = $1")
                .bind(user_id)
                .fetch_all(&mut connection)
                .await?;
        Ok(Grants {
            experiments: experiments
                .into_iter()
                .map(|(id, text)| (id, role(&text)))
                .collect(),
            models: models
                .into_iter()
                .map(|(name, text)| (name, role(&text)))
                .collect(),
        })
    }

    /// The grants of one user, or of all.
    ///
    /// # Errors
    /// When there is no user of that name.
    pub async fn list_grants(&self, user: Option<&str>) -> Result<Vec<GrantRecord>> {
        let mut connection = self.read().await?;
        if let Some(name) = user {
            find(&mut connection, name).await?;
        }
        let experiments: Vec<(String, i64, String)> = query(
            "SELECT u.name, g.experiment_id, g.role FROM experiment_grants g \
             JOIN users u ON u.user_id = g.user_id WHERE $1 IS NULL OR u.name = $1 \
             ORDER BY u.name, g.experiment_id",
        )
        .bind(user)
        .fetch_all(&mut connection)
        .await?;
        let models: Vec<(String, String, String)> = query(
            "SELECT u.name, g.name, g.role FROM model_grants g \
             JOIN users u ON u.user_id = g.user_id WHERE $1 IS NULL OR u.name = $1 \
             ORDER BY u.name, g.name",
        )
        .bind(user)
        .fetch_all(&mut connection)
        .await?;
        let experiments = experiments.into_iter().map(|(user, id, text)| GrantRecord {
            user,
            on: Granted::Experiment(id.to_string()),
            role: role(&text),
        });
        let models = models.into_iter().map(|(user, name, text)| GrantRecord {
            user,
            on: Granted::Model(name),
            role: role(&text),
        });
        Ok(experiments.chain(models).collect())
    }

    /// Says what a user may do with one thing, whatever their role elsewhere.
    ///
    /// # Errors
    /// When there is no such user or thing.
    pub async fn grant(&self, user: &str, on: &Granted, role: Role) -> Result<()> {
        let mut tx = self.write().await?;
        touch(&mut tx).await?;
        let user_id = find(&mut tx, user).await?.user_id;
        let changed = match on {
            Granted::Experiment(id) => {
                let number = experiment_number(id).ok_or_else(|| no_experiment(id))?;
                query(
                    "INSERT INTO experiment_grants (user_id, experiment_id, role) \
                     SELECT $1, experiment_id, $3 FROM experiments WHERE experiment_id = $2 \
                     ON CONFLICT (user_id, experiment_id) DO UPDATE SET role = excluded.role",
                )
                .bind(user_id)
                .bind(number)
            }
            Granted::Model(name) => query(
                "INSERT INTO model_grants (user_id, name, role) \
                 SELECT $1, name, $3 FROM registered_models WHERE name = $2 \
                 ON CONFLICT (user_id, name) DO UPDATE SET role = excluded.role",
            )
            .bind(user_id)
            .bind(name),
        }
        .bind(role.as_str())
        .execute(&mut tx)
        .await?;
        if changed == 0 {
            return Err(match on {
                Granted::Experiment(id) => no_experiment(id),
                Granted::Model(name) => {
                    StoreError::NotFound(format!("Registered Model with name={name} not found"))
                }
            });
        }
        Ok(tx.commit().await?)
    }

    /// Takes a grant back, so that the user's role holds again; whether there was one.
    ///
    /// # Errors
    /// When there is no such user.
    pub async fn revoke_grant(&self, user: &str, on: &Granted) -> Result<bool> {
        let mut tx = self.write().await?;
        touch(&mut tx).await?;
        let user_id = find(&mut tx, user).await?.user_id;
        let changed = match on {
            Granted::Experiment(id) => {
                query("DELETE FROM experiment_grants WHERE user_id = $1 AND experiment_id = $2")
                    .bind(user_id)
                    .bind(experiment_number(id).ok_or_else(|| no_experiment(id))?)
            }
            Granted::Model(name) => {
                query("DELETE FROM model_grants WHERE user_id = $1 AND name = $2")
                    .bind(user_id)
                    .bind(name)
            }
        }
        .execute(&mut tx)
        .await?;
        tx.commit().await?;
        Ok(changed > 0)
    }

    /// The experiment that something belongs to.
    pub(crate) async fn experiment_of(&self, kind: Owned, id: &str) -> Result<Option<i64>> {
        let found: Option<(i64,)> = query(match kind {
            Owned::ExperimentName => "SELECT experiment_id FROM experiments WHERE name = $1",
            Owned::Run => "SELECT experiment_id FROM runs WHERE run_id = $1",
            Owned::LoggedModel => "SELECT experiment_id FROM logged_models WHERE model_id = $1",
            Owned::Trace => "SELECT experiment_id FROM traces WHERE trace_id = $1",
        })
        .bind(id)
        .fetch_optional(&mut self.read().await?)
        .await?;
        Ok(found.map(|(experiment,)| experiment))
    }

    /// Where these experiments keep their artifacts.
    pub(crate) async fn artifact_locations(&self, ids: Vec<i64>) -> Result<Vec<(i64, String)>> {
        let mut found = Vec::new();
        let mut connection = self.read().await?;
        for chunk in ids.chunks(CHUNK) {
            let mut query = QueryBuilder::new(
                &connection,
                "SELECT experiment_id, artifact_location FROM experiments WHERE experiment_id",
            );
            query.push_in(chunk);
            let rows: Vec<(i64, String)> = query.build().fetch_all(&mut connection).await?;
            found.extend(rows);
        }
        Ok(found)
    }

    /// The experiments that keep their artifacts in one of these folders, each within the one
    /// before it.
    pub(crate) async fn experiments_kept_at(&self, folders: &[String]) -> Result<Vec<i64>> {
        /// Deeper than that nobody keeps artifacts; a longer path must not make a longer query.
        const DEEPEST: usize = 16;
        let mut places = Vec::new();
        let mut path = String::new();
        for folder in folders.iter().take(DEEPEST) {
            path.push('/');
            path.push_str(folder);
            for end in ["", "/"] {
                // All of these mean the same place.
                places.push(format!("mlflow-artifacts:{path}{end}"));
                places.push(format!("mlflow-artifacts://{path}{end}"));
                places.push(format!("mlflow-artifacts:{}{end}", &path[1..]));
            }
        }
        if places.is_empty() {
            return Ok(Vec::new());
        }
        let mut connection = self.read().await?;
        let mut query = QueryBuilder::new(
            &connection,
            "SELECT experiment_id FROM experiments WHERE artifact_location",
        );
        query.push_in(&places);
        let found: Vec<(i64,)> = query.build().fetch_all(&mut connection).await?;
        Ok(found.into_iter().map(|(experiment,)| experiment).collect())
    }
}
