//! A file under way.

use std::fs::{File, OpenOptions};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// A file in the staging folder; it is deleted unless it is done, also when its request is dropped.
///
/// It is locked while it is written, which tells other replicas on the folder that it is alive.
#[derive(Debug)]
pub(super) struct Partial {
    /// Absent when it has another name by now.
    path: Option<PathBuf>,
    file: Arc<File>,
}

impl Partial {
    pub(super) fn create(staging: &Path) -> io::Result<Self> {
        let path = staging.join(format!("{}.tmp", uuid::Uuid::new_v4().simple()));
        let file = OpenOptions::new()
            .read(true)
            .write(true)
            .create_new(true)
            .open(&path)?;
        let partial = Self {
            path: Some(path),
            file: Arc::new(file),
        };
        match partial.file.lock() {
            // Where there are no locks, age alone tells.
            Err(error) if error.kind() != io::ErrorKind::Unsupported => Err(error),
            _ => Ok(partial),
        }
    }

    pub(super) fn file(&self) -> Arc<File> {
        Arc::clone(&self.file)
    }

    pub(super) fn path(&self) -> &Path {
        self.path.as_deref().unwrap_or(Path::new(""))
    }

    /// Waits until the bytes are on disk.
    pub(super) fn sync(&self) -> io::Result<()> {
        self.file.sync_all()
    }

    /// It has another name now.
    pub(super) fn done(mut self) {
        self.path = None;
    }
}

impl Drop for Partial {
    fn drop(&mut self) {
        if let Some(path) = &self.path
            && let Err(error) = std::fs::remove_file(path)
        {
            tracing::warn!(%error, "an unfinished upload can't be removed");
        }
    }
}
