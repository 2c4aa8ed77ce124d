//! Bringing everything that a source has.
//!
//! Of a run or a logged model its row comes first, as begun; then points and files; then the ledger
//! says that it is complete. A registered model comes in one transaction, after the files of its
//! versions. Whatever is interrupted is done again from its beginning, which changes nothing that
//! arrived before.

use std::collections::{HashMap, HashSet};

use futures::{StreamExt, TryStreamExt};
use mlflow_api::types::{Experiment, LoggedModel, Metric, ModelVersion, Run};

use super::source::{Model, Owner, Version};
use super::{Report, Result, Selection, Source, TransferError, fingerprint, hex};
use crate::Registry;
use crate::artifacts::ArtifactPath;
use crate::store::{Kind, Known, Origin, StoreError};

/// Runs that are copied at once.
const AT_ONCE: usize = 4;
/// Points that are written at once.
const POINTS: usize = 5000;
/// What is told of progress.
const PROGRESS: u64 = 100;

/// How an import goes.
#[derive(Debug, Clone, Default)]
pub struct ImportOptions {
    /// What is copied.
    pub selection: Selection,
    /// Put before the names of experiments and registered models.
    pub rename_prefix: String,
    /// Whether only what would be copied is found out.
    pub dry_run: bool,
}

/// Copies what a source has into this registry.
///
/// May be stopped at any point; the same call goes on, and changes nothing where all is there. What
/// concerns one thing only (a file that is missing in the source, a name that is taken) is in the
/// report, and the rest is copied.
///
/// # Errors
/// When the source can't be reached, or this registry's database or disk fails.
pub async fn import(
    registry: &Registry,
    source: &Source,
    options: &ImportOptions,
) -> Result<Report> {
    let import = Import {
        registry,
        source,
        options,
    };
    let mut report = Report {
        dry_run: options.dry_run,
        ..Report::default()
    };
    let places = import.experiments(&mut report).await?;
    import.models(&places, &mut report).await?;
    Ok(report)
}

/// Where an imported experiment's artifacts were, and are.
struct Place {
    from: String,
    to: String,
    /// Of which experiment, there.
    experiment: String,
}

struct Import<'a> {
    registry: &'a Registry,
    source: &'a Source,
    options: &'a ImportOptions,
}

/// Whether an error is about one thing, so that the others may be copied.
fn is_local(error: &TransferError) -> bool {
    match error {
        TransferError::Remote(error) => !error.is_unreachable(),
        TransferError::Store(error) => !matches!(error, StoreError::Database(_)),
        TransferError::Artifact(error) => !matches!(
            error,
            crate::artifacts::ArtifactError::Full(_) | crate::artifacts::ArtifactError::Io(_)
        ),
        TransferError::NotThere(_) => true,
        TransferError::File { .. } | TransferError::Folder(_) => false,
    }
}

/// Puts what concerns `what` alone into the report.
fn note(report: &mut Report, what: &str, result: Result<Report>) -> Result<()> {
    match result {
        Ok(part) => report.add(part),
        Err(TransferError::Store(StoreError::Exists(message))) => {
            report.conflicts.push(format!("{what}: {message}"));
        }
        Err(error) if is_local(&error) => {
            report.failures.push(format!("{what}: {}", chain(&error)));
        }
        Err(error) => return Err(error),
    }
    Ok(())
}

fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut next = error.source();
    while let Some(cause) = next {
        text.push_str(": ");
        text.push_str(&cause.to_string());
        next = cause.source();
    }
    text
}

impl Import<'_> {
    fn origin<'s>(&'s self, kind: Kind, id: &'s str) -> Origin<'s> {
        Origin {
            source: self.source.id(),
            kind,
            id,
        }
    }

    fn renamed(&self, name: &str) -> String {
        format!("{}{name}", self.options.rename_prefix)
    }

    async fn experiments(&self, report: &mut Report) -> Result<Vec<Place>> {
        let selection = &self.options.selection;
        let mut places = Vec::new();
        let mut missing = selection.experiments.clone();
        let mut token = None;
        loop {
            let part = self.source.experiments(token.as_deref()).await?;
            for experiment in part.items {
                let (id, name) = (&experiment.experiment_id, &experiment.name);
                if !selection.has_experiment(id, name) {
                    continue;
                }
                missing.retain(|wanted| wanted != id && wanted != name);
                let what = format!("experiment `{name}`");
                let result = self.experiment(&experiment, &mut places).await;
                note(report, &what, result)?;
            }
            token = part.next;
            if token.is_none() {
                break;
            }
        }
        match missing.first() {
            Some(name) => Err(TransferError::NotThere(format!("experiment `{name}`"))),
            None => Ok(places),
        }
    }

    async fn experiment(
        &self,
        experiment: &Experiment,
        places: &mut Vec<Place>,
    ) -> Result<Report> {
        let id = &experiment.experiment_id;
        let name = self.renamed(&experiment.name);
        let origin = self.origin(Kind::Experiment, id);
        let print = fingerprint(&(experiment, &name));
        let store = self.registry.store();
        let mut report = Report::default();
        let known = store.import_known(origin, &name).await?;
        let same = matches!(&known, Known::Complete { fingerprint, .. } if *fingerprint == print);
        if known == Known::Taken {
            return Err(StoreError::Exists(format!(
                "the name `{name}` is taken by an experiment that did not come from there; \
                 --rename-prefix gives it another"
            ))
            .into());
        }
        let (number, location) = match (&known, self.options.dry_run) {
            (Known::Complete { local_id, .. }, _) if same => {
                let here = store.get_experiment(local_id).await?;
                (
                    local_id.parse().unwrap_or_default(),
                    here.artifact_location.unwrap_or_default(),
                )
            }
            (_, true) => (-1, String::new()),
            _ => {
                store
                    .import_experiment(self.source.id(), experiment, &name)
                    .await?
            }
        };
        if same {
            report.unchanged += 1;
        } else {
            report.experiments += 1;
        }
        places.push(Place {
            from: experiment.artifact_location.clone().unwrap_or_default(),
            to: location.clone(),
            experiment: id.clone(),
        });
        tracing::info!("experiment `{name}`");
        let here = (number, location.as_str());
        let runs = self.runs(id, here, &mut report).await?;
        self.logged_models(id, here, &mut report).await?;
        if self.options.dry_run {
            return Ok(report);
        }
        let stored = store.count_runs(number).await?;
        let failed = report.failures.len() + report.conflicts.len();
        if failed == 0 && stored < runs {
            report.failures.push(format!(
                "experiment `{name}`: {runs} runs in the source, {stored} here"
            ));
        }
        if !same && report.is_complete() {
            store.import_complete(origin, &print).await?;
        }
        Ok(report)
    }

    /// Copies the runs of an experiment, and returns how many the source has.
    async fn runs(&self, id: &str, here: (i64, &str), report: &mut Report) -> Result<i64> {
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
                if report.runs > 0 && report.runs % PROGRESS == 0 {
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
        let print = fingerprint(&sorted);
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
                missing.extend(same.iter().filter(|point| !here.1.contains(&identity(point))).cloned());
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

    async fn logged_models(&self, id: &str, here: (i64, &str), report: &mut Report) -> Result<()> {
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

    async fn models(&self, places: &[Place], report: &mut Report) -> Result<()> {
        let selection = &self.options.selection;
        if !selection.is_all() && selection.models.is_empty() {
            return Ok(());
        }
        let mut missing = selection.models.clone();
        let mut token = None;
        loop {
            let part = self.source.models(token.as_deref()).await?;
            for model in part.items {
                let name = model.model.name.clone();
                if !selection.has_model(&name) {
                    continue;
                }
                missing.retain(|wanted| *wanted != name);
                let result = self.model(model, places).await;
                note(report, &format!("registered model `{name}`"), result)?;
            }
            token = part.next;
            if token.is_none() {
                break;
            }
        }
        match missing.first() {
            Some(name) => Err(TransferError::NotThere(format!("registered model `{name}`"))),
            None => Ok(()),
        }
    }

    async fn model(&self, mut model: Model, places: &[Place]) -> Result<Report> {
        let name = self.renamed(&model.model.name);
        model.model.tags.sort_by(|a, b| a.key.cmp(&b.key));
        let origin_name = model.model.name.clone();
        let origin = self.origin(Kind::RegisteredModel, &origin_name);
        let print = fingerprint(&(&model, &name));
        let store = self.registry.store();
        let mut report = Report::default();
        match store.import_known(origin, &name).await? {
            Known::Taken => {
                return Err(StoreError::Exists(format!(
                    "the name `{name}` is taken by a model that did not come from there; \
                     --rename-prefix gives it another"
                ))
                .into());
            }
            Known::Complete { fingerprint, .. } if fingerprint == print => {
                report.unchanged += 1;
                return Ok(report);
            }
            Known::New | Known::Begun { .. } | Known::Complete { .. } => {}
        }
        report.registered_models += 1;
        report.versions += model.versions.len() as u64;
        report.aliases += model.model.aliases.len() as u64;
        let mut versions: Vec<(ModelVersion, String)> = Vec::with_capacity(model.versions.len());
        for Version { version, files } in model.versions {
            let files = files
                .or_else(|| version.source.clone())
                .unwrap_or_default();
            let (source, files) = self
                .version_files(&name, &version, &files, places, &mut report)
                .await?;
            let version = ModelVersion {
                source: Some(source),
                ..version
            };
            versions.push((version, files));
        }
        if self.options.dry_run {
            return Ok(report);
        }
        store
            .import_registered_model(self.source.id(), &model.model, &name, &versions, &print)
            .await?;
        let stored = store.count_versions(&name).await?;
        if usize::try_from(stored).is_ok_and(|stored| stored < versions.len()) {
            report.failures.push(format!(
                "registered model `{name}`: {} versions in the source, {stored} here",
                versions.len()
            ));
        }
        Ok(report)
    }

    /// The source and the place of a version's files here; those that came with no run or logged
    /// model are copied.
    async fn version_files(
        &self,
        name: &str,
        version: &ModelVersion,
        files: &str,
        places: &[Place],
        report: &mut Report,
    ) -> Result<(String, String)> {
        let source = version.source.clone().unwrap_or_default();
        let rewritten = |files: &str| {
            if source.trim_end_matches('/') == files.trim_end_matches('/') {
                None
            } else {
                // `models:/…` and `runs:/…` mean the same here, under the model's new name.
                Some(match source.strip_prefix("models:/") {
                    Some(rest) if rest.contains('/') => {
                        format!("models:/{}", self.renamed(rest))
                    }
                    _ => source.clone(),
                })
            }
        };
        if let Some(here) = self.moved(files, places).await? {
            let source = rewritten(files).unwrap_or_else(|| here.clone());
            return Ok((source, here));
        }
        let what = || format!("version {} of `{name}`", version.version);
        if !files.starts_with("mlflow-artifacts:") && !matches!(self.source, Source::Folder(_)) {
            if !files.is_empty() && !files.starts_with("models:/") && !is_prompt(version) {
                report.notes.push(format!(
                    "{}: its files stay at `{files}`, which its server does not give out",
                    what()
                ));
            }
            return Ok((source, files.to_owned()));
        }
        let owner = Owner::Version {
            name: &version.name,
            version: &version.version,
            uri: files,
        };
        let folder = {
            use sha2::Digest;
            hex(&sha2::Sha256::digest(name.as_bytes())[..16])
        };
        let target = ArtifactTarget {
            root: format!("mlflow-artifacts:/model-versions/{folder}/{}", version.version),
            keep: true,
        };
        let before = report.files;
        let to = (!self.options.dry_run).then_some(&target);
        self.files(owner, to, report).await?;
        if report.files == before && matches!(self.source, Source::Folder(_)) {
            // The folder has none of them: they stayed where they were.
            return Ok((source, files.to_owned()));
        }
        let source = rewritten(files).unwrap_or_else(|| target.root.clone());
        Ok((source, target.root))
    }

    /// Where files are here that came with a run or a logged model.
    async fn moved(&self, uri: &str, places: &[Place]) -> Result<Option<String>> {
        let store = self.registry.store();
        for place in places {
            let Some(rest) = place_below(uri, &place.from) else {
                continue;
            };
            let mut parts = rest.split('/');
            let first = parts.next().unwrap_or_default();
            let (kind, id) = match first {
                "models" => (Kind::LoggedModel, parts.next().unwrap_or_default()),
                run => (Kind::Run, run),
            };
            if self.options.dry_run {
                return Ok(Some(String::new()));
            }
            let known = store.import_known(self.origin(kind, id), id).await?;
            if matches!(known, Known::Complete { .. } | Known::Begun { .. }) {
                let root = place.to.trim_end_matches('/');
                return Ok(Some(format!("{root}/{rest}")));
            }
            tracing::debug!(experiment = place.experiment, id, "files of something else");
        }
        Ok(None)
    }

    /// Copies all files of an owner; without a target they are only counted.
    async fn files(
        &self,
        owner: Owner<'_>,
        target: Option<&ArtifactTarget>,
        report: &mut Report,
    ) -> Result<()> {
        let mut folders = vec![String::new()];
        while let Some(folder) = folders.pop() {
            let here: HashMap<String, u64> = match target {
                Some(target) if target.keep => {
                    let entries = self.registry.artifacts().list(&target.place(&folder)?).await?;
                    entries
                        .into_iter()
                        .filter_map(|entry| Some((entry.name, entry.size?)))
                        .collect()
                }
                _ => HashMap::new(),
            };
            for entry in self.source.list(owner, &folder).await? {
                let path = if folder.is_empty() {
                    entry.name.clone()
                } else {
                    format!("{folder}/{}", entry.name)
                };
                let Some(size) = entry.size else {
                    folders.push(path);
                    continue;
                };
                report.files += 1;
                report.bytes += size;
                let Some(target) = target else { continue };
                if here.get(&entry.name) == Some(&size) {
                    continue;
                }
                let mut content = self.source.open(owner, &path).await?;
                // The stream's own error says more than that it ended.
                let mut broken = None;
                let body = content.by_ref().map_err(|error| broken = Some(error));
                let written = self
                    .registry
                    .artifacts()
                    .put(&target.place(&path)?, body)
                    .await;
                if let Some(error) = broken {
                    return Err(error);
                }
                if written? != size && size > 0 {
                    return Err(TransferError::NotThere(format!(
                        "whole file `{path}`: it should have {size} bytes"
                    )));
                }
            }
        }
        Ok(())
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

/// Where files are written.
struct ArtifactTarget {
    /// An `mlflow-artifacts:` URI.
    root: String,
    /// Whether a file of the right size is the right one.
    keep: bool,
}

impl ArtifactTarget {
    fn place(&self, path: &str) -> Result<ArtifactPath> {
        let root = self.root.trim_start_matches("mlflow-artifacts:");
        let root = ArtifactPath::parse(root.trim_start_matches('/'))?;
        Ok(root.join(&ArtifactPath::parse(path)?))
    }
}

fn is_prompt(version: &ModelVersion) -> bool {
    version
        .tags
        .iter()
        .any(|tag| tag.key == "mlflow.prompt.is_prompt")
}

/// What of a URI is below another.
pub(super) fn place_below<'u>(uri: &'u str, root: &str) -> Option<&'u str> {
    let rest = uri.strip_prefix(root.trim_end_matches('/'))?;
    rest.strip_prefix('/').filter(|rest| !rest.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_below_is_below() {
        let root = "mlflow-artifacts:/1";
        assert_eq!(place_below("mlflow-artifacts:/1/r/a", root), Some("r/a"));
        assert_eq!(place_below("mlflow-artifacts:/1/r/a", "mlflow-artifacts:/1/"), Some("r/a"));
        assert_eq!(place_below("mlflow-artifacts:/12/r", root), None);
        assert_eq!(place_below("mlflow-artifacts:/1", root), None);
    }
}
