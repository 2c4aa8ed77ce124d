//! Registered models with their versions.

use mlflow_api::types::ModelVersion;

use super::files::ArtifactTarget;
use super::{Import, Place, note, place_below};
use crate::store::{Kind, Known, StoreError};
use crate::transfer::source::{Model, Owner, Version};
use crate::transfer::{Report, Result, Source, TransferError, fingerprint, hex};

impl Import<'_> {
    pub(super) async fn models(&self, places: &[Place], report: &mut Report) -> Result<()> {
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
            Some(name) => Err(TransferError::NotThere(format!(
                "registered model `{name}`"
            ))),
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
            let files = files.or_else(|| version.source.clone()).unwrap_or_default();
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
            root: format!(
                "mlflow-artifacts:/model-versions/{folder}/{}",
                version.version
            ),
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
}

fn is_prompt(version: &ModelVersion) -> bool {
    version
        .tags
        .iter()
        .any(|tag| tag.key == "mlflow.prompt.is_prompt")
}
