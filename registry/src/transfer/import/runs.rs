//! Runs with their points, and logged models.

use std::collections::{HashMap, HashSet};

use futures::StreamExt;
use mlflow_api::types::{Dataset, LoggedModel, Metric, Run};

use super::files::ArtifactTarget;
use super::{Import, note};
use crate::store::{Kind, Known, StoreError};
use crate::transfer::source::Owner;
use crate::transfer::{Report, Result, fingerprint};

/// Runs that are copied at once.
const AT_ONCE: usize = 4;
/// Points that are written at once.
const POINTS: usize = 5000;
/// What is told of progress.
const PROGRESS: u64 = 100;

impl Import<'_> {
    /// Copies the runs of an experiment, and returns how many the source has.
    pub(super) async fn runs(
        &self,
        id: &str,
        here: (i64, &str),
        report: &mut Report,
    ) -> Result<i64> {
        let mut token = None;
        let mut count = 0;
        loop {
            let part = self.source.runs(id, token.as_deref()).await?;
            let mut results = futures::stream::iter(part.items)
                .map(|run| async move {
                    let result = self.run(&run, here).await;
                    (run.info.run_id, result)
                })
                .buffer_unordered(AT_ONCE);
            while let Some((run_id, result)) = results.next().await {
                count += 1;
                note(report, &format!("run {run_id}"), result)?;
                if report.runs > 0 && report.runs.is_multiple_of(PROGRESS) {
                    tracing::info!(
                        "{} runs, {} points, {} files",
                        report.runs,
                        report.points,
                        report.files
                    );
                }
            }
            drop(results);
            token = part.next;
            if token.is_none() {
                return Ok(count);
            }
        }
    }

    async fn run(&self, run: &Run, here: (i64, &str)) -> Result<Report> {
        let id = &run.info.run_id;
        let origin = self.origin(Kind::Run, id);
        let store = self.registry.store();
        let mut sorted = run.clone();
        // A server may list them in any order.
        sorted.data.metrics.sort_by(|a, b| a.key.cmp(&b.key));
        sorted.data.params.sort_by(|a, b| a.key.cmp(&b.key));
        sorted.data.tags.sort_by(|a, b| a.key.cmp(&b.key));
        // The order of inputs is kept, but two answers of a server may differ in it.
        let mut printed = sorted.clone();
        let inputs = &mut printed.inputs.dataset_inputs;
        inputs.sort_by_cached_key(|input| {
            let name = |dataset: &Dataset| (dataset.name.clone(), dataset.digest.clone());
            input.dataset.as_ref().map(name)
        });
        for input in inputs {
            input.tags.sort_by(|a, b| a.key.cmp(&b.key));
        }
        let print = fingerprint(&printed);
        let mut report = Report::default();
        let known = store.import_known(origin, id).await?;
        match &known {
            Known::Taken => {
                return Err(StoreError::Exists(
                    "a run of this id is here that did not come from there".to_owned(),
                )
                .into());
            }
            Known::Complete { fingerprint, .. } if *fingerprint == print => {
                report.unchanged += 1;
                return Ok(report);
            }
            Known::New | Known::Begun { .. } | Known::Complete { .. } => {}
        }
        report.runs += 1;
        let owner = Owner::of_run(run);
        if self.options.dry_run {
            self.files(owner, None, &mut report).await?;
            return Ok(report);
        }
        store.import_run(self.source.id(), &sorted, here).await?;
        let missing = self
            .points(&sorted, here.0, known == Known::New, &mut report)
            .await?;
        if let Some(missing) = missing {
            report.failures.push(missing);
            return Ok(report);
        }
        let target = ArtifactTarget {
            root: format!("{}/{id}/artifacts", here.1.trim_end_matches('/')),
            // What changed since may have changed its files; what was only stopped has whole ones.
            keep: matches!(known, Known::Begun { .. }),
        };
        self.files(owner, Some(&target), &mut report).await?;
        store.import_complete(origin, &print).await?;
        Ok(report)
    }

    /// Copies the points of a run's metrics; returns what is wrong with those that are here then.
    async fn points(
        &self,
        run: &Run,
        experiment: i64,
        is_new: bool,
        report: &mut Report,
    ) -> Result<Option<String>> {
        let id = &run.info.run_id;
        let store = self.registry.store();
        let mut read: HashMap<String, usize> = HashMap::new();
        // What an earlier import brought of the metric that is being read.
        let mut here: (String, HashSet<_>) = (String::new(), HashSet::new());
        let mut token = None;
        loop {
            let part = self.source.points(run, token.as_deref()).await?;
            report.points += part.items.len() as u64;
            let mut missing = Vec::with_capacity(part.items.len());
            for same in part.items.chunk_by(|a, b| a.key == b.key) {
                let key = &same[0].key;
                *read.entry(key.clone()).or_default() += same.len();
                if !is_new && here.0 != *key {
                    let known = store.metric_history(id, key, None).await?.items;
                    here = (key.clone(), known.iter().map(identity).collect());
                }
                missing.extend(
                    same.iter()
                        .filter(|point| !here.1.contains(&identity(point)))
                        .cloned(),
                );
            }
            for points in missing.chunks(POINTS) {
                store.import_points(experiment, id, points).await?;
            }
            token = part.next;
            if token.is_none() {
                break;
            }
        }
        for (key, count) in read {
            let stored = store.metric_history(id, &key, None).await?.items.len();
            if stored < count {
                return Ok(Some(format!(
                    "run {id}: metric `{key}` has {count} points in the source, {stored} here"
                )));
            }
        }
        Ok(None)
    }

    pub(super) async fn logged_models(
        &self,
        id: &str,
        here: (i64, &str),
        report: &mut Report,
    ) -> Result<()> {
        let mut token = None;
        loop {
            let part = self.source.logged_models(id, token.as_deref()).await?;
            for model in part.items {
                let what = format!("logged model {}", model.info.model_id);
                let result = self.logged_model(&model, here).await;
                note(report, &what, result)?;
            }
            token = part.next;
            if token.is_none() {
                return Ok(());
            }
        }
    }

    async fn logged_model(&self, model: &LoggedModel, here: (i64, &str)) -> Result<Report> {
        let id = &model.info.model_id;
        let origin = self.origin(Kind::LoggedModel, id);
        let store = self.registry.store();
        let mut sorted = model.clone();
        sorted.data.params.sort_by(|a, b| a.key.cmp(&b.key));
        sorted.info.tags.sort_by(|a, b| a.key.cmp(&b.key));
        sorted
            .data
            .metrics
            .sort_by(|a, b| (&a.key, a.timestamp, a.step).cmp(&(&b.key, b.timestamp, b.step)));
        let print = fingerprint(&sorted);
        let mut report = Report::default();
        let known = store.import_known(origin, id).await?;
        match &known {
            Known::Taken => {
                return Err(StoreError::Exists(
                    "a logged model of this id is here that did not come from there".to_owned(),
                )
                .into());
            }
            Known::Complete { fingerprint, .. } if *fingerprint == print => {
                report.unchanged += 1;
                return Ok(report);
            }
            Known::New | Known::Begun { .. } | Known::Complete { .. } => {}
        }
        report.logged_models += 1;
        let owner = Owner::of_model(model);
        if self.options.dry_run {
            self.files(owner, None, &mut report).await?;
            return Ok(report);
        }
        store
            .import_logged_model(self.source.id(), &sorted, here)
            .await?;
        let target = ArtifactTarget {
            root: format!("{}/models/{id}/artifacts", here.1.trim_end_matches('/')),
            keep: matches!(known, Known::Begun { .. }),
        };
        self.files(owner, Some(&target), &mut report).await?;
        store.import_complete(origin, &print).await?;
        Ok(report)
    }
}

/// What tells a point of a metric from the others, in the form in which it is stored.
fn identity(point: &Metric) -> (i64, i64, u64) {
    let value = if point.value.is_nan() {
        f64::NAN
    } else {
        point.value.clamp(-f64::MAX, f64::MAX) + 0.0
    };
    (point.timestamp, point.step, value.to_bits())
}
