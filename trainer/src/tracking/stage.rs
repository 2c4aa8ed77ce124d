//! What a run made, on disk, until the registry has all of it.
//!
//! `foreshock/staging/KEY/` holds `state.json` (which run), `artifacts/` (the
//! files to upload) and, once the work is done, `bundle.json`; it is written
//! last, by a rename, so that its presence says that everything else is there.

use std::collections::BTreeMap;
use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};

use anyhow::Context;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::config::Register;
use crate::exit::Environment;
use crate::pipeline::shelf::Shelf;

/// Which run a stage belongs to.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RunState {
    /// The run.
    pub run_id: String,
    /// Its name.
    pub run_name: String,
    /// Its experiment.
    pub experiment_id: String,
    /// Where its artifacts go.
    pub artifact_uri: String,
}

/// Everything that is published besides the files.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Bundle {
    /// Parameters.
    pub params: BTreeMap<String, String>,
    /// Tags.
    pub tags: BTreeMap<String, String>,
    /// Metrics; an undefined one is absent here and has a tag that says why.
    pub metrics: BTreeMap<String, f64>,
    /// Metrics that have a value at each of several steps.
    #[serde(default)]
    pub points: Vec<Point>,
    /// The trials, each a run below this one.
    #[serde(default)]
    pub trials: Vec<TrialRun>,
    /// The model to register, made of the artifacts below `model/`.
    pub register: Option<Register>,
    /// Tags of the model version.
    pub version_tags: BTreeMap<String, String>,
    /// What the command prints in the end.
    pub summary: serde_json::Value,
}

/// A metric's value at a step.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Point {
    /// The metric.
    pub name: String,
    /// The step.
    pub step: i64,
    /// The value; finite.
    pub value: f64,
}

/// A trial as a run of its own.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct TrialRun {
    /// Its number among the trials of the run; 0 for the baseline.
    pub number: usize,
    /// Its name.
    pub name: String,
    /// Whether it failed.
    pub failed: bool,
    /// How long it took.
    pub seconds: f64,
    /// Parameters.
    pub params: BTreeMap<String, String>,
    /// Tags.
    pub tags: BTreeMap<String, String>,
    /// Metrics.
    pub metrics: BTreeMap<String, f64>,
    /// Metrics by step.
    pub points: Vec<Point>,
}

/// A stage on disk.
#[derive(Debug)]
pub struct Stage {
    folder: PathBuf,
}

impl Stage {
    /// The stage of a run that is described by `parts` (the experiment's text, overrides, the registry).
    pub fn locate(root: &Path, parts: &[&str]) -> Self {
        let mut hash = Sha256::new();
        for part in parts {
            hash.update(part.len().to_le_bytes());
            hash.update(part.as_bytes());
        }
        let digest = hash.finalize();
        let key: String = digest
            .iter()
            .take(12)
            .map(|byte| format!("{byte:02x}"))
            .collect();
        Self {
            folder: root.join("staging").join(key),
        }
    }

    /// Keeps other processes from working in this stage until the lock is dropped.
    ///
    /// # Errors
    /// When another process holds it, or the folder can't be written.
    pub fn lock(&self) -> anyhow::Result<fs::File> {
        let path = self.folder.with_extension("lock");
        let open = || -> std::io::Result<fs::File> {
            if let Some(folder) = path.parent() {
                fs::create_dir_all(folder)?;
            }
            fs::File::create(&path)
        };
        let file =
            open().with_context(|| Environment(format!("can't write `{}`", path.display())))?;
        match file.try_lock() {
            Ok(()) => Ok(file),
            Err(fs::TryLockError::WouldBlock) => {
                Err(
                    anyhow::anyhow!("`{}` is locked", path.display()).context(Environment(
                        "another run of this experiment is under way in this folder".to_owned(),
                    )),
                )
            }
            Err(fs::TryLockError::Error(error)) => {
                Err(error).with_context(|| Environment(format!("can't lock `{}`", path.display())))
            }
        }
    }

    /// Empties the stage and remembers `state`.
    ///
    /// # Errors
    /// When the folder can't be written.
    pub fn begin(&self, state: &RunState) -> anyhow::Result<()> {
        self.clear()?;
        self.write("state.json", &serde_json::to_vec_pretty(state)?)
    }

    /// Removes what an earlier attempt made, the mark that it is complete first.
    ///
    /// # Errors
    /// When something is there and can't be removed.
    pub fn clear_work(&self) -> anyhow::Result<()> {
        let bundle = self.folder.join("bundle.json");
        match fs::remove_file(&bundle) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                return Err(error)
                    .with_context(|| Environment(format!("can't remove `{}`", bundle.display())));
            }
            _ => {}
        }
        remove_folder(&self.folder.join("artifacts"))
    }

    /// The run that was begun here, if any.
    ///
    /// # Errors
    /// When what is there can't be read.
    pub fn state(&self) -> anyhow::Result<Option<RunState>> {
        self.read_json("state.json")
    }

    /// What the work made, if it was done.
    ///
    /// # Errors
    /// When what is there can't be read.
    pub fn bundle(&self) -> anyhow::Result<Option<Bundle>> {
        self.read_json("bundle.json")
    }

    /// Writes an artifact; `path` is relative, with `/`.
    ///
    /// # Errors
    /// When it can't be written; the message names the file.
    pub fn write_artifact(&self, path: &str, content: &[u8]) -> anyhow::Result<()> {
        self.write(&format!("artifacts/{path}"), content)
    }

    /// Where an artifact lies, for writers that need a path; its folder is made.
    ///
    /// # Errors
    /// When the folder can't be made.
    pub fn artifact_path(&self, path: &str) -> anyhow::Result<PathBuf> {
        let path = self.folder.join("artifacts").join(path);
        if let Some(folder) = path.parent() {
            fs::create_dir_all(folder)
                .with_context(|| format!("can't create the folder `{}`", folder.display()))?;
        }
        Ok(path)
    }

    /// Where the run keeps its fitted trials until it is done.
    #[must_use]
    pub fn shelf(&self) -> Shelf {
        Shelf::at(self.folder.join("trials"))
    }

    /// Marks the work as done.
    ///
    /// # Errors
    /// When it can't be written.
    pub fn complete(&self, bundle: &Bundle) -> anyhow::Result<()> {
        self.write("bundle.json", &serde_json::to_vec_pretty(bundle)?)
    }

    /// The artifacts as (path relative to the run's artifact folder, file), sorted.
    ///
    /// # Errors
    /// When the folder can't be listed.
    pub fn artifacts(&self) -> anyhow::Result<Vec<(String, PathBuf)>> {
        let root = self.folder.join("artifacts");
        let mut files = Vec::new();
        let mut folders = vec![root.clone()];
        while let Some(folder) = folders.pop() {
            let entries = fs::read_dir(&folder)
                .with_context(|| format!("can't list `{}`", folder.display()))?;
            for entry in entries {
                let path = entry
                    .with_context(|| format!("can't list `{}`", folder.display()))?
                    .path();
                if path.is_dir() {
                    folders.push(path);
                } else {
                    let relative = path.strip_prefix(&root).unwrap_or(&path);
                    let parts: Vec<_> =
                        relative.iter().map(|part| part.to_string_lossy()).collect();
                    files.push((parts.join("/"), path));
                }
            }
        }
        files.sort();
        Ok(files)
    }

    /// Removes the stage.
    ///
    /// # Errors
    /// When it is there and can't be removed.
    pub fn clear(&self) -> anyhow::Result<()> {
        remove_folder(&self.folder)
    }

    fn write(&self, path: &str, content: &[u8]) -> anyhow::Result<()> {
        let path = self.folder.join(path);
        let write = || -> std::io::Result<()> {
            if let Some(folder) = path.parent() {
                fs::create_dir_all(folder)?;
            }
            let mut partial = path.clone().into_os_string();
            partial.push(".partial");
            let mut file = fs::File::create(&partial)?;
            file.write_all(content)?;
            file.sync_all()?;
            fs::rename(&partial, &path)
        };
        write().with_context(|| Environment(format!("can't write `{}`", path.display())))
    }

    fn read_json<T: serde::de::DeserializeOwned>(&self, name: &str) -> anyhow::Result<Option<T>> {
        let path = self.folder.join(name);
        match fs::read(&path) {
            Ok(bytes) => {
                let value = serde_json::from_slice(&bytes)
                    .with_context(|| format!("can't read `{}`", path.display()))?;
                Ok(Some(value))
            }
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error).with_context(|| format!("can't read `{}`", path.display())),
        }
    }
}

fn remove_folder(folder: &Path) -> anyhow::Result<()> {
    match fs::remove_dir_all(folder) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            Err(error).with_context(|| Environment(format!("can't remove `{}`", folder.display())))
        }
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bundle_is_there_only_once_it_is_complete() {
        let root = tempfile::tempdir().unwrap();
        let stage = Stage::locate(root.path(), &["experiment", "seed=1"]);
        assert!(stage.state().unwrap().is_none());
        let state = RunState {
            run_id: "r".to_owned(),
            run_name: "n".to_owned(),
            experiment_id: "1".to_owned(),
            artifact_uri: "mlflow-artifacts:/1/r/artifacts".to_owned(),
        };
        stage.begin(&state).unwrap();
        stage.write_artifact("model/a.bin", b"a").unwrap();
        stage.write_artifact("report.html", b"b").unwrap();
        assert_eq!(stage.state().unwrap(), Some(state.clone()));
        assert!(stage.bundle().unwrap().is_none());
        let names: Vec<String> = stage
            .artifacts()
            .unwrap()
            .into_iter()
            .map(|(name, _)| name)
            .collect();
        assert_eq!(names, ["model/a.bin", "report.html"]);
        stage.begin(&state).unwrap();
        assert!(!root.path().join("staging").join("artifacts").is_dir());
        stage.clear().unwrap();
        stage.clear().unwrap();
        assert!(stage.state().unwrap().is_none());
    }

    #[test]
    fn different_experiments_have_different_stages() {
        let root = Path::new("x");
        let one = Stage::locate(root, &["ab", "c"]);
        let other = Stage::locate(root, &["a", "bc"]);
        assert_ne!(one.folder, other.folder);
    }
}
