//! Artifacts in a local folder.
//!
//! What is under way is in one hidden folder of the root, [`STAGING`], so that nothing half is ever
//! beside what is whole, and what a killed server left is found without walking the whole store.

mod multipart;
mod partial;
mod reader;
mod sweep;
mod walk;
mod writer;

use std::fs::{self, File, Metadata};
use std::io::{self, ErrorKind};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::Bytes;
use futures::Stream;
use futures::stream::BoxStream;

use self::partial::Partial;
use super::path::PRIVATE_PREFIX;
use super::{ArtifactError, ArtifactInfo, ArtifactPath, Download, Entry, FoundFile, Wanted};

/// The folder of what is under way. Its name is one that no artifact can have.
const STAGING: &str = ".upload-staging";

/// The folder of all artifacts.
#[derive(Debug, Clone)]
pub(super) struct LocalStore {
    root: Arc<Path>,
}

/// Runs what waits for a disk on a thread that may wait.
async fn blocking<T, F>(work: F) -> Result<T, ArtifactError>
where
    T: Send + 'static,
    F: FnOnce() -> Result<T, ArtifactError> + Send + 'static,
{
    match tokio::task::spawn_blocking(work).await {
        Ok(result) => result,
        Err(error) => Err(ArtifactError::Io(io::Error::other(error))),
    }
}

impl LocalStore {
    pub(super) async fn open(root: &Path) -> io::Result<Self> {
        let root = root.to_owned();
        let open = move || {
            fs::create_dir_all(&root)?;
            // The root itself may be a link; nothing below it may.
            let store = Self {
                root: fs::canonicalize(&root)?.into(),
            };
            store.probe()?;
            if let Err(error) = sweep::sweep(&store.staging()) {
                tracing::warn!(%error, "unfinished uploads of an earlier server can't be removed");
            }
            Ok(store)
        };
        tokio::task::spawn_blocking(open)
            .await
            .unwrap_or_else(|error| Err(io::Error::other(error)))
    }

    /// The root, as artifact URIs name it.
    pub(super) fn address(&self) -> String {
        self.root.to_string_lossy().into_owned()
    }

    fn staging(&self) -> PathBuf {
        self.root.join(STAGING)
    }

    /// Makes the staging folder where it is missing, and writes to it.
    fn probe(&self) -> io::Result<()> {
        let staging = self.staging();
        match fs::create_dir(&staging) {
            Err(error) if error.kind() != ErrorKind::AlreadyExists => return Err(error),
            _ => {}
        }
        if !fs::symlink_metadata(&staging)?.is_dir() {
            return Err(ErrorKind::NotADirectory.into());
        }
        Partial::create(&staging).map(drop)
    }

    pub(super) async fn check_writable(&self) -> Result<(), ArtifactError> {
        let store = self.clone();
        blocking(move || Ok(store.probe()?)).await
    }

    pub(super) async fn put<S, E>(
        &self,
        path: &ArtifactPath,
        size: Option<u64>,
        body: S,
    ) -> Result<u64, ArtifactError>
    where
        S: Stream<Item = Result<Bytes, E>> + Unpin,
    {
        let (store, target) = (self.clone(), path.clone());
        let partial = blocking(move || {
            // A body that can have no place is not read.
            store.check_place(&target)?;
            Ok(Partial::create(&store.staging())?)
        })
        .await?;
        let written = writer::write(&partial.file(), body).await?;
        if size.is_some_and(|size| size != written) {
            return Err(ArtifactError::Interrupted);
        }
        self.publish(partial, path).await?;
        Ok(written)
    }

    /// Gives a file that is written its name, for good.
    async fn publish(&self, partial: Partial, path: &ArtifactPath) -> Result<(), ArtifactError> {
        let (store, path) = (self.clone(), path.clone());
        blocking(move || store.publish_now(partial, &path)).await
    }

    fn publish_now(&self, partial: Partial, path: &ArtifactPath) -> Result<(), ArtifactError> {
        let Some((name, folders)) = path.names().split_last() else {
            return Err(ArtifactError::InvalidPath);
        };
        partial.sync()?;
        let mut created = CreatedFolders(Vec::new());
        // Another upload that failed may take an empty folder away again: try once more.
        let folder = match self.rename_into(&partial, folders, name, path, &mut created) {
            Err(ArtifactError::Io(error)) if error.kind() == ErrorKind::NotFound => {
                self.rename_into(&partial, folders, name, path, &mut created)?
            }
            other => other?,
        };
        partial.done();
        // The new names are on disk when their folders are.
        File::open(&folder)?.sync_all()?;
        for created in std::mem::take(&mut created.0) {
            if let Some(parent) = created.parent() {
                File::open(parent)?.sync_all()?;
            }
        }
        Ok(())
    }

    fn rename_into(
        &self,
        partial: &Partial,
        folders: &[String],
        name: &str,
        path: &ArtifactPath,
        created: &mut CreatedFolders,
    ) -> Result<PathBuf, ArtifactError> {
        let folder = self.create_folders(folders, created)?;
        let target = folder.join(name);
        match fs::symlink_metadata(&target) {
            Ok(found) if found.is_file() => {}
            // A folder, or a link, which is none of ours.
            Ok(_) => return Err(ArtifactError::Conflict(path.to_string())),
            Err(error) if error.kind() == ErrorKind::NotFound => {}
            Err(error) => return Err(error.into()),
        }
        fs::rename(partial.path(), &target)?;
        Ok(folder)
    }

    fn create_folders(
        &self,
        names: &[String],
        created: &mut CreatedFolders,
    ) -> Result<PathBuf, ArtifactError> {
        let mut folder = self.root.to_path_buf();
        for name in names {
            folder.push(name);
            match fs::create_dir(&folder) {
                Ok(()) => created.0.push(folder.clone()),
                Err(error) if error.kind() == ErrorKind::AlreadyExists => {
                    // A link is no folder here, wherever it leads.
                    if !fs::symlink_metadata(&folder)?.is_dir() {
                        return Err(ArtifactError::Conflict(name.clone()));
                    }
                }
                Err(error) => return Err(error.into()),
            }
        }
        Ok(folder)
    }

    /// Whether a file could be put there.
    fn check_place(&self, path: &ArtifactPath) -> Result<(), ArtifactError> {
        let mut place = self.root.to_path_buf();
        let mut names = path.names().iter().peekable();
        while let Some(name) = names.next() {
            place.push(name);
            match fs::symlink_metadata(&place) {
                Ok(found) if names.peek().is_some() && found.is_dir() => {}
                Ok(found) if names.peek().is_none() && found.is_file() => {}
                Ok(_) => return Err(ArtifactError::Conflict(path.to_string())),
                Err(error) if error.kind() == ErrorKind::NotFound => return Ok(()),
                Err(error) => return Err(error.into()),
            }
        }
        Ok(())
    }

    pub(super) async fn head(&self, path: &ArtifactPath) -> Result<ArtifactInfo, ArtifactError> {
        let (store, path) = (self.clone(), path.clone());
        blocking(move || store.open_file(&path).map(|(_, info)| info)).await
    }

    pub(super) async fn get(
        &self,
        path: &ArtifactPath,
        wanted: &Wanted,
    ) -> Result<Download, ArtifactError> {
        let (store, path, wanted) = (self.clone(), path.clone(), wanted.clone());
        blocking(move || {
            let (file, info) = store.open_file(&path)?;
            let range = wanted.resolve(&info)?;
            let body = reader::stream(file, range.clone())?;
            Ok(Download { info, range, body })
        })
        .await
    }

    fn open_file(&self, path: &ArtifactPath) -> Result<(File, ArtifactInfo), ArtifactError> {
        let missing = || ArtifactError::NotFound(path.to_string());
        let (place, found) = self.find(path)?.ok_or_else(missing)?;
        // Before it is opened: a pipe would be waited for.
        if !found.is_file() {
            return Err(missing());
        }
        let file = match File::open(&place) {
            Ok(file) => file,
            Err(error) if error.kind() == ErrorKind::NotFound => return Err(missing()),
            Err(error) => return Err(error.into()),
        };
        let found = file.metadata()?;
        if !found.is_file() {
            return Err(missing());
        }
        let info = ArtifactInfo {
            size: found.len(),
            e_tag: Some(e_tag(&found)),
            modified: found.modified().ok(),
        };
        Ok((file, info))
    }

    pub(super) async fn list(&self, path: &ArtifactPath) -> Result<Vec<Entry>, ArtifactError> {
        let (store, path) = (self.clone(), path.clone());
        blocking(move || {
            let Some((place, found)) = store.find(&path)? else {
                return Ok(Vec::new());
            };
            if !found.is_dir() {
                return Ok(Vec::new());
            }
            let entries = walk::read_folder(&place)?.into_iter();
            Ok(entries
                .map(|(name, found)| Entry {
                    name,
                    size: found.is_file().then_some(found.len()),
                })
                .collect())
        })
        .await
    }

    pub(super) fn walk(
        &self,
        path: &ArtifactPath,
    ) -> BoxStream<'static, Result<FoundFile, ArtifactError>> {
        walk::walk(self.clone(), path.clone())
    }

    pub(super) async fn delete(&self, path: &ArtifactPath) -> Result<(), ArtifactError> {
        let (store, path) = (self.clone(), path.clone());
        blocking(move || {
            let Some((place, found)) = store.find(&path)? else {
                return Ok(());
            };
            let result = if found.is_dir() {
                // Away at once, so that nobody sees half of it.
                let trash = store
                    .staging()
                    .join(uuid::Uuid::new_v4().simple().to_string());
                fs::rename(&place, &trash).and_then(|()| fs::remove_dir_all(&trash))
            } else {
                fs::remove_file(&place)
            };
            match result {
                Err(error) if error.kind() == ErrorKind::NotFound => Ok(()),
                other => Ok(other?),
            }
        })
        .await
    }

    /// What a path is, when nothing on the way there, nor itself, is a link.
    fn find(&self, path: &ArtifactPath) -> Result<Option<(PathBuf, Metadata)>, ArtifactError> {
        let mut place = self.root.to_path_buf();
        let mut found = fs::symlink_metadata(&place)?;
        for name in path.names() {
            place.push(name);
            found = match fs::symlink_metadata(&place) {
                Ok(found) if found.is_symlink() => return Ok(None),
                Ok(found) => found,
                Err(error)
                    if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory) =>
                {
                    return Ok(None);
                }
                Err(error) => return Err(error.into()),
            };
        }
        Ok(Some((place, found)))
    }
}

/// A file is never changed in place, so a new state is another inode or another time.
fn e_tag(found: &Metadata) -> String {
    format!(
        "\"{:x}-{:x}-{:x}{:08x}\"",
        found.ino(),
        found.len(),
        found.mtime(),
        found.mtime_nsec()
    )
}

/// Folders that an upload created; those that are empty when it fails are taken away again.
struct CreatedFolders(Vec<PathBuf>);

impl Drop for CreatedFolders {
    fn drop(&mut self) {
        for folder in self.0.iter().rev() {
            // Somebody else's file keeps it.
            if fs::remove_dir(folder).is_err() {
                break;
            }
        }
    }
}
