//! Artifacts in a local folder.

use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use bytes::Bytes;
use futures::{Stream, StreamExt};
use tokio::fs::{self, File};
use tokio::io::AsyncWriteExt;

use super::path::PARTIAL_PREFIX;
use super::{ArtifactError, ArtifactPath};

/// What is written at once.
const BUFFER: usize = 256 * 1024;

/// The folder of all artifacts. Cheap to clone.
#[derive(Debug, Clone)]
pub struct ArtifactStore {
    root: PathBuf,
}

/// A file or a folder.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// Its name, without the folder's path.
    pub name: String,
    /// Its size in bytes; `None` for folders.
    pub size: Option<u64>,
}

impl ArtifactStore {
    /// Opens the folder, creating it where it is missing, and tries to write to it.
    ///
    /// # Errors
    /// When it can't be created or written.
    pub async fn open(root: &Path) -> std::io::Result<Self> {
        fs::create_dir_all(root).await?;
        // The root itself may be a link; nothing below it may.
        let root = fs::canonicalize(root).await?;
        let store = Self { root };
        store.check_writable().await?;
        Ok(store)
    }

    /// Whether artifacts can be written now.
    pub(crate) async fn check_writable(&self) -> std::io::Result<()> {
        let probe = self.root.join(partial_name());
        File::create_new(&probe).await?;
        fs::remove_file(&probe).await
    }

    /// Writes a file, replacing what is there; it appears when all of it is on disk.
    ///
    /// # Errors
    /// When the body breaks off, the disk is full or fails; then nothing is left behind.
    pub async fn put<S, E>(&self, path: &ArtifactPath, body: S) -> Result<u64, ArtifactError>
    where
        S: Stream<Item = Result<Bytes, E>> + Unpin,
    {
        let Some((name, folders)) = path.names().split_last() else {
            return Err(ArtifactError::InvalidPath);
        };
        let mut created = CreatedFolders(Vec::new());
        let (folder, partial, file) = self.create_partial(folders, &mut created).await?;
        let target = folder.join(name);
        match fs::symlink_metadata(&target).await {
            Ok(found) if found.is_file() => {}
            // A folder, or a link, which is none of ours.
            Ok(_) => return Err(ArtifactError::Conflict(path.to_string())),
            Err(error) if error.kind() == ErrorKind::NotFound => {}
            Err(error) => return Err(error.into()),
        }
        let written = write_all(file, body).await?;
        fs::rename(&partial.0, &target).await?;
        partial.done();
        created.0.clear();
        // The rename is on disk when the folder is.
        File::open(&folder).await?.sync_all().await?;
        Ok(written)
    }

    /// Creates the folders and the file that is to be renamed.
    async fn create_partial(
        &self,
        folders: &[String],
        created: &mut CreatedFolders,
    ) -> Result<(PathBuf, Partial, File), ArtifactError> {
        // Another upload that failed may take an empty folder away again: try once more.
        for last_try in [false, true] {
            let folder = self.create_folders(folders, created).await?;
            let partial = Partial(folder.join(partial_name()));
            match File::create_new(&partial.0).await {
                Ok(file) => return Ok((folder, partial, file)),
                Err(error) if error.kind() == ErrorKind::NotFound && !last_try => {}
                Err(error) => return Err(error.into()),
            }
        }
        Err(ArtifactError::Io(ErrorKind::NotFound.into()))
    }

    async fn create_folders(
        &self,
        names: &[String],
        created: &mut CreatedFolders,
    ) -> Result<PathBuf, ArtifactError> {
        let mut folder = self.root.clone();
        for name in names {
            folder.push(name);
            match fs::create_dir(&folder).await {
                Ok(()) => created.0.push(folder.clone()),
                Err(error) if error.kind() == ErrorKind::AlreadyExists => {
                    // A link is no folder here, wherever it leads.
                    if !fs::symlink_metadata(&folder).await?.is_dir() {
                        return Err(ArtifactError::Conflict(name.clone()));
                    }
                }
                Err(error) => return Err(error.into()),
            }
        }
        Ok(folder)
    }

    /// Opens a file for reading, and tells its size.
    ///
    /// # Errors
    /// When there is no such file.
    pub async fn get(&self, path: &ArtifactPath) -> Result<(File, u64), ArtifactError> {
        let missing = || ArtifactError::NotFound(path.to_string());
        let place = self.find(path).await?.ok_or_else(missing)?;
        let file = File::open(&place).await?;
        let found = file.metadata().await?;
        if !found.is_file() {
            return Err(missing());
        }
        Ok((file, found.len()))
    }

    /// What a folder holds, by name; nothing when it is a file or is not there.
    ///
    /// # Errors
    /// When the file system fails.
    pub async fn list(&self, path: &ArtifactPath) -> Result<Vec<Entry>, ArtifactError> {
        let Some(place) = self.find(path).await? else {
            return Ok(Vec::new());
        };
        if !fs::metadata(&place).await?.is_dir() {
            return Ok(Vec::new());
        }
        let mut entries = Vec::new();
        let mut found = fs::read_dir(&place).await?;
        while let Some(entry) = found.next_entry().await? {
            // Names that are no UTF-8 were not written here and can't be asked for.
            let Ok(name) = entry.file_name().into_string() else {
                continue;
            };
            if name.starts_with(PARTIAL_PREFIX) {
                continue;
            }
            match entry.metadata().await {
                Ok(found) if found.is_dir() => entries.push(Entry { name, size: None }),
                Ok(found) if found.is_file() => {
                    entries.push(Entry {
                        name,
                        size: Some(found.len()),
                    });
                }
                // Links and devices are not shown.
                Ok(_) => {}
                // Deleted meanwhile.
                Err(error) if error.kind() == ErrorKind::NotFound => {}
                Err(error) => return Err(error.into()),
            }
        }
        entries.sort_by(|a, b| a.name.cmp(&b.name));
        Ok(entries)
    }

    /// Deletes a file, or a folder with all that it holds; what is not there is deleted already.
    ///
    /// # Errors
    /// When the file system fails, or for the root.
    pub async fn delete(&self, path: &ArtifactPath) -> Result<(), ArtifactError> {
        if path.is_root() {
            return Err(ArtifactError::InvalidPath);
        }
        let Some(place) = self.find(path).await? else {
            return Ok(());
        };
        let result = if fs::symlink_metadata(&place).await?.is_dir() {
            fs::remove_dir_all(&place).await
        } else {
            fs::remove_file(&place).await
        };
        match result {
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(()),
            other => Ok(other?),
        }
    }

    /// Where a path is, when nothing on the way there is a link.
    async fn find(&self, path: &ArtifactPath) -> Result<Option<PathBuf>, ArtifactError> {
        let mut place = self.root.clone();
        for name in path.names() {
            place.push(name);
            match fs::symlink_metadata(&place).await {
                Ok(found) if found.is_symlink() => return Ok(None),
                Ok(_) => {}
                Err(error)
                    if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory) =>
                {
                    return Ok(None);
                }
                Err(error) => return Err(error.into()),
            }
        }
        Ok(Some(place))
    }
}

async fn write_all<S, E>(file: File, mut body: S) -> Result<u64, ArtifactError>
where
    S: Stream<Item = Result<Bytes, E>> + Unpin,
{
    let mut out = tokio::io::BufWriter::with_capacity(BUFFER, file);
    let mut written = 0;
    while let Some(chunk) = body.next().await {
        let chunk = chunk.map_err(|_| ArtifactError::Interrupted)?;
        out.write_all(&chunk).await?;
        written += chunk.len() as u64;
    }
    out.flush().await?;
    out.into_inner().sync_all().await?;
    Ok(written)
}

fn partial_name() -> String {
    format!("{PARTIAL_PREFIX}{}.tmp", uuid::Uuid::new_v4().simple())
}

/// A file under way; it is deleted unless it is done, also when the request is dropped.
struct Partial(PathBuf);

impl Partial {
    fn done(self) {
        let mut done = std::mem::ManuallyDrop::new(self);
        drop(std::mem::take(&mut done.0));
    }
}

impl Drop for Partial {
    fn drop(&mut self) {
        if let Err(error) = std::fs::remove_file(&self.0) {
            tracing::warn!(%error, "an unfinished upload can't be removed");
        }
    }
}

/// Folders that an upload created; those that are empty when it fails are taken away again.
struct CreatedFolders(Vec<PathBuf>);

impl Drop for CreatedFolders {
    fn drop(&mut self) {
        for folder in self.0.iter().rev() {
            // Somebody else's file keeps it.
            if std::fs::remove_dir(folder).is_err() {
                break;
            }
        }
    }
}
