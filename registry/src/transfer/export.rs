//! Writing a [folder](super::folder) of everything that a source has.

use std::path::{Path, PathBuf};

use futures::StreamExt;
use serde::Serialize;
use sha2::{Digest, Sha256};
use tokio::fs::{self, File};
use tokio::io::{AsyncWriteExt, BufWriter};

use super::folder::{FORMAT, Manifest, SUMS, file_error, place};
use super::import::place_below;
use super::source::{Owner, Version};
use super::{Report, Result, Selection, Source, TransferError, hex};
use crate::artifacts::ArtifactPath;

/// What is exported, and where to.
#[derive(Debug, Clone)]
pub struct ExportOptions {
    /// What is copied.
    pub selection: Selection,
    /// The folder, which must not be there.
    pub folder: PathBuf,
}

/// Writes what a source has into a new folder, which appears when all of it is on disk.
///
/// # Errors
/// When the folder is there already, can't be written, or when the source fails; then nothing but a
/// folder with `.partial` in its name is left behind.
pub async fn export(source: &Source, options: &ExportOptions) -> Result<Report> {
    let folder = &options.folder;
    if fs::symlink_metadata(folder).await.is_ok() {
        return Err(TransferError::Folder(format!(
            "`{}` is there already; name a folder that is not",
            folder.display()
        )));
    }
    let id = uuid::Uuid::new_v4().simple().to_string();
    let mut partial = folder.as_os_str().to_owned();
    partial.push(format!(".partial-{}", &id[..8]));
    let partial = PathBuf::from(partial);
    fs::create_dir_all(&partial)
        .await
        .map_err(file_error(&partial))?;
    let mut export = Export {
        source,
        options,
        root: partial.clone(),
        sums: Vec::new(),
        locations: Vec::new(),
        report: Report::default(),
    };
    let report = match export.all(id).await {
        Ok(()) => export.report,
        Err(error) => {
            if let Err(error) = fs::remove_dir_all(&partial).await {
                tracing::warn!(%error, "`{}` can't be removed", partial.display());
            }
            return Err(error);
        }
    };
    fs::rename(&partial, folder)
        .await
        .map_err(file_error(folder))?;
    if let Some(parent) = folder
        .parent()
        .filter(|parent| !parent.as_os_str().is_empty())
    {
        sync(parent).await?;
    }
    Ok(report)
}

struct Export<'a> {
    source: &'a Source,
    options: &'a ExportOptions,
    root: PathBuf,
    /// (checksum, name) of every file.
    sums: Vec<(String, String)>,
    /// Where the artifacts of the exported experiments are.
    locations: Vec<String>,
    report: Report,
}

/// A file that is being written, and its checksum.
struct Summed {
    name: String,
    path: PathBuf,
    out: BufWriter<File>,
    digest: Sha256,
}

impl Summed {
    async fn create(root: &Path, name: &str) -> Result<Self> {
        let path = root.join(name);
        if let Some(folder) = path.parent() {
            fs::create_dir_all(folder)
                .await
                .map_err(file_error(folder))?;
        }
        let file = File::create_new(&path).await.map_err(file_error(&path))?;
        Ok(Self {
            name: name.to_owned(),
            path,
            out: BufWriter::with_capacity(256 * 1024, file),
            digest: Sha256::new(),
        })
    }

    async fn write(&mut self, bytes: &[u8]) -> Result<()> {
        self.digest.update(bytes);
        self.out
            .write_all(bytes)
            .await
            .map_err(file_error(&self.path))
    }

    async fn line<T: Serialize>(&mut self, thing: &T) -> Result<()> {
        let mut line = serde_json::to_vec(thing).map_err(|error| {
            TransferError::Folder(format!(
                "a line of `{}` can't be written: {error}",
                self.name
            ))
        })?;
        line.push(b'\n');
        self.write(&line).await
    }

    async fn done(mut self) -> Result<(String, String)> {
        self.out.flush().await.map_err(file_error(&self.path))?;
        self.out
            .into_inner()
            .sync_all()
            .await
            .map_err(file_error(&self.path))?;
        Ok((hex(&self.digest.finalize()), self.name))
    }
}

impl Export<'_> {
    async fn all(&mut self, id: String) -> Result<()> {
        self.experiments().await?;
        self.models().await?;
        let manifest = Manifest {
            format: FORMAT,
            id,
            created_ms: std::time::SystemTime::now()
                .duration_since(std::time::UNIX_EPOCH)
                .ok()
                .and_then(|elapsed| i64::try_from(elapsed.as_millis()).ok())
                .unwrap_or(0),
        };
        let mut file = Summed::create(&self.root, "manifest.json").await?;
        file.line(&manifest).await?;
        self.sums.push(file.done().await?);
        let mut file = Summed::create(&self.root, SUMS).await?;
        for (sum, name) in &self.sums {
            file.write(format!("{sum}  {name}\n").as_bytes()).await?;
        }
        file.done().await?;
        sync(&self.root).await
    }

    async fn experiments(&mut self) -> Result<()> {
        let mut file = Summed::create(&self.root, "experiments.jsonl").await?;
        let mut missing = self.options.selection.experiments.clone();
        let mut token = None;
        loop {
            let part = self.source.experiments(token.as_deref()).await?;
            for experiment in part.items {
                let (id, name) = (&experiment.experiment_id, &experiment.name);
                if !self.options.selection.has_experiment(id, name) {
                    continue;
                }
                missing.retain(|wanted| wanted != id && wanted != name);
                file.line(&experiment).await?;
                self.locations.extend(experiment.artifact_location.clone());
                self.report.experiments += 1;
                tracing::info!("experiment `{name}`");
                self.runs(id).await?;
                self.logged_models(id).await?;
            }
            token = part.next;
            if token.is_none() {
                break;
            }
        }
        self.sums.push(file.done().await?);
        match missing.first() {
            Some(name) => Err(TransferError::NotThere(format!("experiment `{name}`"))),
            None => Ok(()),
        }
    }

    async fn runs(&mut self, experiment: &str) -> Result<()> {
        let mut file = Summed::create(&self.root, &format!("runs/{experiment}.jsonl")).await?;
        let mut token = None;
        loop {
            let part = self.source.runs(experiment, token.as_deref()).await?;
            for run in part.items {
                file.line(&run).await?;
                self.report.runs += 1;
                if !run.data.metrics.is_empty() {
                    let name = format!("points/{}.jsonl", run.info.run_id);
                    let mut points = Summed::create(&self.root, &name).await?;
                    let mut token = None;
                    loop {
                        let part = self.source.points(&run, token.as_deref()).await?;
                        for point in &part.items {
                            points.line(point).await?;
                        }
                        self.report.points += part.items.len() as u64;
                        token = part.next;
                        if token.is_none() {
                            break;
                        }
                    }
                    self.sums.push(points.done().await?);
                }
                self.files(Owner::of_run(&run)).await?;
            }
            token = part.next;
            if token.is_none() {
                break;
            }
        }
        self.sums.push(file.done().await?);
        Ok(())
    }

    async fn logged_models(&mut self, experiment: &str) -> Result<()> {
        let name = format!("logged_models/{experiment}.jsonl");
        let mut file = Summed::create(&self.root, &name).await?;
        let mut token = None;
        loop {
            let part = self
                .source
                .logged_models(experiment, token.as_deref())
                .await?;
            for model in part.items {
                file.line(&model).await?;
                self.report.logged_models += 1;
                self.files(Owner::of_model(&model)).await?;
            }
            token = part.next;
            if token.is_none() {
                break;
            }
        }
        self.sums.push(file.done().await?);
        Ok(())
    }

    async fn models(&mut self) -> Result<()> {
        let selection = self.options.selection.clone();
        let mut file = Summed::create(&self.root, "models.jsonl").await?;
        let mut missing = selection.models.clone();
        let mut token = None;
        while selection.is_all() || !selection.models.is_empty() {
            let part = self.source.models(token.as_deref()).await?;
            for model in part.items {
                let name = &model.model.name;
                if !selection.has_model(name) {
                    continue;
                }
                missing.retain(|wanted| wanted != name);
                file.line(&model).await?;
                self.report.registered_models += 1;
                self.report.versions += model.versions.len() as u64;
                self.report.aliases += model.model.aliases.len() as u64;
                for Version { version, files } in &model.versions {
                    // What a run or a logged model has was exported with it.
                    let elsewhere = |uri: &&str| {
                        let mut locations = self.locations.iter();
                        !locations.any(|location| place_below(uri, location).is_some())
                    };
                    let Some(uri) = files.as_deref().filter(elsewhere) else {
                        continue;
                    };
                    if !uri.starts_with("mlflow-artifacts:") {
                        continue;
                    }
                    let owner = Owner::Version {
                        name,
                        version: &version.version,
                        uri,
                    };
                    self.files(owner).await?;
                }
            }
            token = part.next;
            if token.is_none() {
                break;
            }
        }
        self.sums.push(file.done().await?);
        match missing.first() {
            Some(name) => Err(TransferError::NotThere(format!(
                "registered model `{name}`"
            ))),
            None => Ok(()),
        }
    }

    async fn files(&mut self, owner: Owner<'_>) -> Result<()> {
        let root = place(owner);
        let mut folders = vec![String::new()];
        while let Some(folder) = folders.pop() {
            for entry in self.source.list(owner, &folder).await? {
                let path = if folder.is_empty() {
                    entry.name
                } else {
                    format!("{folder}/{}", entry.name)
                };
                if entry.size.is_none() {
                    folders.push(path);
                    continue;
                }
                // A foreign server may list anything.
                let path = ArtifactPath::parse(&path)?.to_string();
                let mut file = Summed::create(&self.root, &format!("{root}/{path}")).await?;
                let mut content = self.source.open(owner, &path).await?;
                while let Some(chunk) = content.next().await {
                    let chunk = chunk?;
                    self.report.bytes += chunk.len() as u64;
                    file.write(&chunk).await?;
                }
                self.report.files += 1;
                self.sums.push(file.done().await?);
            }
        }
        Ok(())
    }
}

async fn sync(folder: &Path) -> Result<()> {
    File::open(folder)
        .await
        .map_err(file_error(folder))?
        .sync_all()
        .await
        .map_err(file_error(folder))
}
