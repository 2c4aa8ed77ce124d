//! From a stage to the registry, step by step; each step can be repeated.

use mlflow_api::ArtifactContent;
use mlflow_api::types::{KeyValue, Metric, RunStatus};

use super::connect::now_ms;
use super::{Bundle, RunState, Stage, Tracking};
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
    let phase = progress.phase("register", artifacts.len() as u64 + 2);
    let run_id = state.run_id.as_str();
    let timestamp = now_ms();
    // A resumed run may have metrics already: what is there is not logged again under another time.
    let run = tracking.call(|client| async move { client.get_run(run_id).await })?;
    let is_known = |key: &str, value: f64| {
        let mut known = run.data.metrics.iter();
        known.any(|metric| metric.key == key && metric.value.to_bits() == value.to_bits())
    };
    let metrics: Vec<Metric> = bundle
        .metrics
        .iter()
        .filter(|(key, value)| !is_known(key, **value))
        .map(|(key, value)| Metric {
            key: key.clone(),
            value: *value,
            timestamp,
            ..Metric::default()
        })
        .collect();
    let pairs = |map: &std::collections::BTreeMap<String, String>| -> Vec<KeyValue> {
        map.iter()
            .map(|(key, value)| KeyValue {
                key: key.clone(),
                value: value.clone(),
            })
            .collect()
    };
    let (params, tags) = (pairs(&bundle.params), pairs(&bundle.tags));
    tracking
        .call(|client| async move { client.log_batch(run_id, &metrics, &params, &tags).await })?;
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
