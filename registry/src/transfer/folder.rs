//! The exported folder.
//!
//! ```text
//! manifest.json               {"format": 1, "id": …, "created_ms": …}
//! experiments.jsonl           an Experiment a line, as MLflow's REST API writes it
//! runs/EXPERIMENT.jsonl       its Runs
//! points/RUN.jsonl            every point of every metric of a run
//! logged_models/EXPERIMENT.jsonl
//! models.jsonl                {"model": RegisteredModel, "versions": [{"version", "files"}]} a line
//! artifacts/run/RUN/…         files, by whom they belong to
//! artifacts/logged_model/ID/…
//! artifacts/version/HASH/VERSION/…   HASH: the SHA-256 of the model's name
//! SHA256SUMS                  of every other file, as `sha256sum -c` reads it
//! ```
//!
//! An export appears whole or not at all: it is written under another name and renamed.

use std::path::{Path, PathBuf};

use futures::{StreamExt, TryStreamExt};
use mlflow_api::types::{Experiment, LoggedModel, Metric, Run};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use tokio::fs::{self, File};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncSeekExt, BufReader, SeekFrom};
use tokio_util::io::ReaderStream;

use super::source::{Content, Entry, Model, Owner, Part};
use super::{Result, TransferError, hex};
use crate::artifacts::{ArtifactError, ArtifactPath};

pub(super) const FORMAT: u32 = 1;
pub(super) const SUMS: &str = "SHA256SUMS";
/// Lines that are read at once.
const LINES: usize = 500;
const BUFFER: usize = 256 * 1024;

/// What `manifest.json` says.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct Manifest {
    pub(super) format: u32,
    /// By which a later import knows the folder again, wherever it lies.
    pub(super) id: String,
    pub(super) created_ms: i64,
}

/// An exported folder whose checksums are right.
#[derive(Debug)]
pub struct Folder {
    root: PathBuf,
    id: String,
}

pub(super) fn file_error(path: &Path) -> impl FnOnce(std::io::Error) -> TransferError {
    let path = path.display().to_string();
    move |source| TransferError::File { path, source }
}

/// Where an owner's files are, from the folder's root.
pub(super) fn place(owner: Owner<'_>) -> String {
    match owner {
        Owner::Run { id, .. } => format!("artifacts/run/{id}"),
        Owner::LoggedModel { id, .. } => format!("artifacts/logged_model/{id}"),
        Owner::Version { name, version, .. } => {
            let name = hex(&Sha256::digest(name.as_bytes()));
            format!("artifacts/version/{name}/{version}")
        }
    }
}

impl Folder {
    /// Opens a folder and checks every file in it against its checksum.
    ///
    /// # Errors
    /// When it is no export, is of a newer format, or a file is missing or damaged.
    pub async fn open(root: &Path) -> Result<Self> {
        let path = root.join("manifest.json");
        let text = fs::read(&path).await.map_err(file_error(&path))?;
        let manifest: Manifest = serde_json::from_slice(&text).map_err(|error| {
            TransferError::Folder(format!("`{}` is no manifest: {error}", path.display()))
        })?;
        if manifest.format > FORMAT {
            return Err(TransferError::Folder(format!(
                "`{}` has format {}, and this program knows formats up to {FORMAT}",
                root.display(),
                manifest.format
            )));
        }
        let folder = Self {
            root: root.to_owned(),
            id: format!("export:{}", manifest.id),
        };
        folder.check().await?;
        Ok(folder)
    }

    async fn check(&self) -> Result<()> {
        let path = self.root.join(SUMS);
        let file = File::open(&path).await.map_err(file_error(&path))?;
        let mut lines = BufReader::new(file).lines();
        while let Some(line) = lines.next_line().await.map_err(file_error(&path))? {
            let damaged =
                || TransferError::Folder(format!("`{}`: `{line}` is no checksum", path.display()));
            let (expected, name) = line.split_once("  ").ok_or_else(damaged)?;
            let relative = ArtifactPath::parse(name).map_err(|_| damaged())?;
            let file = self.root.join(relative.to_string());
            if sum(&file).await? != expected {
                return Err(TransferError::Folder(format!(
                    "`{}` is not what was exported: its checksum differs",
                    file.display()
                )));
            }
        }
        Ok(())
    }

    pub(super) fn id(&self) -> &str {
        &self.id
    }

    pub(super) async fn experiments(&self, token: Option<&str>) -> Result<Part<Experiment>> {
        self.lines("experiments.jsonl".to_owned(), token).await
    }

    pub(super) async fn runs(&self, experiment: &str, token: Option<&str>) -> Result<Part<Run>> {
        self.lines(format!("runs/{experiment}.jsonl"), token).await
    }

    pub(super) async fn points(&self, run: &Run, token: Option<&str>) -> Result<Part<Metric>> {
        self.lines(format!("points/{}.jsonl", run.info.run_id), token)
            .await
    }

    pub(super) async fn logged_models(
        &self,
        experiment: &str,
        token: Option<&str>,
    ) -> Result<Part<LoggedModel>> {
        self.lines(format!("logged_models/{experiment}.jsonl"), token)
            .await
    }

    pub(super) async fn models(&self, token: Option<&str>) -> Result<Part<Model>> {
        self.lines("models.jsonl".to_owned(), token).await
    }

    /// Some lines from where the token, a position in the file, says; a file that is missing is
    /// empty.
    async fn lines<T: DeserializeOwned>(
        &self,
        name: String,
        token: Option<&str>,
    ) -> Result<Part<T>> {
        let name = ArtifactPath::parse(&name)?.to_string();
        let path = self.root.join(&name);
        let mut file = match File::open(&path).await {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                return Ok(Part {
                    items: Vec::new(),
                    next: None,
                });
            }
            file => file.map_err(file_error(&path))?,
        };
        let mut at: u64 = token.and_then(|token| token.parse().ok()).unwrap_or(0);
        file.seek(SeekFrom::Start(at))
            .await
            .map_err(file_error(&path))?;
        let mut reader = BufReader::new(file);
        let mut items = Vec::new();
        let mut line = String::new();
        while items.len() < LINES {
            line.clear();
            let read = reader
                .read_line(&mut line)
                .await
                .map_err(file_error(&path))?;
            if read == 0 {
                return Ok(Part { items, next: None });
            }
            at += read as u64;
            let item = serde_json::from_str(&line).map_err(|error| {
                TransferError::Folder(format!(
                    "`{}` has a line that can't be read: {error}",
                    path.display()
                ))
            })?;
            items.push(item);
        }
        Ok(Part {
            items,
            next: Some(at.to_string()),
        })
    }

    pub(super) async fn list(&self, owner: Owner<'_>, path: &str) -> Result<Vec<Entry>> {
        let folder = self.file(owner, path)?;
        let mut entries = Vec::new();
        let mut found = match fs::read_dir(&folder).await {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(entries),
            found => found.map_err(file_error(&folder))?,
        };
        while let Some(entry) = found.next_entry().await.map_err(file_error(&folder))? {
            let metadata = entry.metadata().await.map_err(file_error(&folder))?;
            if let Ok(name) = entry.file_name().into_string() {
                entries.push(Entry {
                    name,
                    size: metadata.is_file().then_some(metadata.len()),
                });
            }
        }
        entries.sort_by(|a, b| a.name.cmp(&b.name));
        Ok(entries)
    }

    pub(super) async fn open_file(&self, owner: Owner<'_>, path: &str) -> Result<Content> {
        let path = self.file(owner, path)?;
        let file = File::open(&path).await.map_err(file_error(&path))?;
        Ok(ReaderStream::with_capacity(file, BUFFER)
            .map_err(|error| TransferError::Artifact(ArtifactError::from(error)))
            .boxed())
    }

    fn file(&self, owner: Owner<'_>, path: &str) -> Result<PathBuf> {
        // Ids come out of files that anybody may have written.
        let place = ArtifactPath::parse(&place(owner))?.join(&ArtifactPath::parse(path)?);
        Ok(self.root.join(place.to_string()))
    }
}

/// The checksum of a file.
pub(super) async fn sum(path: &Path) -> Result<String> {
    let mut file = File::open(path).await.map_err(file_error(path))?;
    let mut buffer = vec![0; BUFFER];
    let mut digest = Sha256::new();
    loop {
        let read = file.read(&mut buffer).await.map_err(file_error(path))?;
        if read == 0 {
            return Ok(hex(&digest.finalize()));
        }
        digest.update(&buffer[..read]);
    }
}
