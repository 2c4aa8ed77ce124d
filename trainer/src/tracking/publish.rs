//! From a stage to the registry, step by step; each step can be repeated.

use std::collections::BTreeMap;

use mlflow_api::ArtifactContent;
use mlflow_api::types::{KeyValue, Metric, Run, RunStatus};

use super::connect::now_ms;
use super::{Bundle, Point, RunState, Stage, Tracking};
use crate::interrupt::Interrupt;
use crate::progress::Progress;

/// What the registry has now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Published {
    /// The registered model and its new version.
    pub model: Option<(String, String)>,
}

/// Publishes everything, the model version and its alias last, and marks the run FINISHED.
///
/// # Errors
/// When the registry refuses or doesn't answer; what was published stays, and
/// another call goes on from there.
pub fn publish(
    tracking: &Tracking,
    state: &RunState,
    stage: &Stage,
    bundle: &Bundle,
    interrupt: &Interrupt,
    progress: &Progress,
) -> anyhow::Result<Published> {
    let artifacts = stage.artifacts()?;
    let n_steps = artifacts.len() + bundle.trials.len() + 2;
    let phase = progress.phase("register", n_steps as u64);
    let run_id = state.run_id.as_str();
    // A resumed run may have metrics already: what is there is not logged again under another time.
    let run = tracking.call(|client| async move { client.get_run(run_id).await })?;
    let logged = Logged {
        params: &bundle.params,
        tags: &bundle.tags,
        metrics: &bundle.metrics,
        points: &bundle.points,
    };
    logged.log(tracking, &run)?;
    publish_trials(tracking, state, bundle, interrupt, || phase.advance(1))?;
    phase.advance(1);
    for (path, file) in artifacts {
        interrupt.check()?;
        let uri = state.artifact_uri.as_str();
        tracking.call(|client| async move {
            client
                .upload_artifact(uri, &path, ArtifactContent::File(file))
                .await
        })?;
        phase.advance(1);
    }
    interrupt.check()?;
    let model = match &bundle.register {
        None => None,
        Some(register) => Some(register_version(
            tracking,
            state,
            register,
            pairs(&bundle.version_tags),
        )?),
    };
    tracking.call(|client| async move {
        client
            .update_run(run_id, Some(RunStatus::Finished), Some(now_ms()), None)
            .await
    })?;
    phase.done(&match &model {
        Some((name, version)) => format!("{name} version {version}, run {run_id}"),
        None => format!("run {run_id}"),
    });
    Ok(Published { model })
}

/// What is logged to a run.
struct Logged<'a> {
    params: &'a BTreeMap<String, String>,
    tags: &'a BTreeMap<String, String>,
    metrics: &'a BTreeMap<String, f64>,
    points: &'a [Point],
}

impl Logged<'_> {
    /// Logs what `run` doesn't have yet.
    fn log(&self, tracking: &Tracking, run: &Run) -> anyhow::Result<()> {
        let timestamp = now_ms();
        let known = |key: &str| run.data.metrics.iter().find(|metric| metric.key == key);
        let is_known = |key: &str, value: f64| {
            known(key).is_some_and(|metric| metric.value.to_bits() == value.to_bits())
        };
        let single = self
            .metrics
            .iter()
            .filter(|(key, value)| !is_known(key, **value))
            .map(|(key, value)| Metric {
                key: key.clone(),
                value: *value,
                timestamp,
                ..Metric::default()
            });
        let stepped = self
            .points
            .iter()
            .filter(|point| known(&point.name).is_none_or(|metric| metric.step < point.step))
            .map(|point| Metric {
                key: point.name.clone(),
                value: point.value,
                timestamp,
                step: point.step,
                ..Metric::default()
            });
        let metrics: Vec<Metric> = single.chain(stepped).collect();
        let (params, tags) = (pairs(self.params), pairs(self.tags));
        let run_id = run.info.run_id.as_str();
        tracking
            .call(|client| async move { client.log_batch(run_id, &metrics, &params, &tags).await })
    }
}

fn pairs(map: &BTreeMap<String, String>) -> Vec<KeyValue> {
    map.iter()
        .map(|(key, value)| KeyValue {
            key: key.clone(),
            value: value.clone(),
        })
        .collect()
}

/// The tag of a trial's run that has its number.
const TRIAL_TAG: &str = "foreshock.trial";

/// Makes a run below the run for each trial, or takes up the one that an earlier attempt made.
fn publish_trials(
    tracking: &Tracking,
    state: &RunState,
    bundle: &Bundle,
    interrupt: &Interrupt,
    advance: impl Fn(),
) -> anyhow::Result<()> {
    if bundle.trials.is_empty() {
        return Ok(());
    }
    let experiment = [state.experiment_id.clone()];
    let parent = state.run_id.as_str();
    let filter = format!("tags.`mlflow.parentRunId` = '{parent}'");
    let limit = bundle.trials.len() + 1;
    let (ids, filter) = (&experiment, filter.as_str());
    let there =
        tracking.call(|client| async move { client.search_runs(ids, filter, &[], limit).await })?;
    for trial in &bundle.trials {
        interrupt.check()?;
        let number = trial.number.to_string();
        let is_it = |run: &&Run| {
            let mut tags = run.data.tags.iter();
            tags.any(|tag| tag.key == TRIAL_TAG && tag.value == number)
        };
        let run = match there.iter().find(is_it) {
            Some(run) => run.clone(),
            None => {
                let tags = BTreeMap::from([
                    ("mlflow.parentRunId".to_owned(), parent.to_owned()),
                    (TRIAL_TAG.to_owned(), number),
                ]);
                let (id, name) = (state.experiment_id.as_str(), Some(trial.name.as_str()));
                #[expect(
                    clippy::cast_possible_truncation,
                    reason = "a trial takes less than 2^53 ms"
                )]
                let started = now_ms() - (trial.seconds * 1e3) as i64;
                tracking.call(|client| async move {
                    client.create_run(id, name, started, pairs(&tags)).await
                })?
            }
        };
        let logged = Logged {
            params: &trial.params,
            tags: &trial.tags,
            metrics: &trial.metrics,
            points: &trial.points,
        };
        logged.log(tracking, &run)?;
        let status = match trial.failed {
            true => RunStatus::Failed,
            false => RunStatus::Finished,
        };
        let id = run.info.run_id.as_str();
        tracking.call(|client| async move {
            client
                .update_run(id, Some(status), Some(now_ms()), None)
                .await
        })?;
        advance();
    }
    Ok(())
}

fn register_version(
    tracking: &Tracking,
    state: &RunState,
    register: &crate::config::Register,
    tags: Vec<KeyValue>,
) -> anyhow::Result<(String, String)> {
    let name = register.model.as_str();
    let run_id = state.run_id.as_str();
    tracking.call(|client| async move { client.ensure_registered_model(name).await })?;
    let filter = format!("run_id = '{run_id}'");
    let versions =
        tracking.call(|client| async move { client.search_model_versions(&filter).await })?;
    let version = match versions.into_iter().find(|version| version.name == name) {
        Some(existing) => existing.version,
        None => {
            let source = format!("{}/model", state.artifact_uri);
            let created = tracking.call(|client| async move {
                client
                    .create_model_version(name, &source, Some(run_id), tags, None)
                    .await
            })?;
            created.version
        }
    };
    if let Some(alias) = &register.alias {
        let version = version.as_str();
        tracking.call(|client| async move { client.set_alias(name, alias, version).await })?;
    }
    Ok((name.to_owned(), version))
}
