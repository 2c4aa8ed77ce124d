//! One store over the two places.

use std::time::SystemTime;

use bytes::Bytes;
use futures::Stream;
use futures::stream::BoxStream;

use super::local::LocalStore;
use super::s3::S3Store;
use super::{
    ArtifactError, ArtifactInfo, ArtifactPath, Destination, Download, OpenArtifactsError, Wanted,
    uri,
};

/// The store of all artifacts. Cheap to clone.
#[derive(Debug, Clone)]
pub struct ArtifactStore {
    pub(super) backend: Backend,
}

#[derive(Debug, Clone)]
pub(super) enum Backend {
    Local(LocalStore),
    S3(S3Store),
}

/// Calls the same method of whichever place it is.
macro_rules! either {
    ($store:expr, $place:ident => $call:expr) => {
        match &$store.backend {
            Backend::Local($place) => $call,
            Backend::S3($place) => $call,
        }
    };
}

/// A file or a folder.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// Its name, without the folder's path.
    pub name: String,
    /// Its size in bytes; `None` for folders.
    pub size: Option<u64>,
}

/// A file that [`ArtifactStore::walk`] met.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FoundFile {
    /// Where it is, from the store's root.
    pub path: ArtifactPath,
    /// Its size in bytes.
    pub size: u64,
    /// When it was written.
    pub modified: Option<SystemTime>,
}

impl ArtifactStore {
    /// Opens the place and tries to write to it. A folder is created where it is missing; a
    /// bucket's address and keys come from the usual `AWS_…` variables.
    ///
    /// # Errors
    /// When it can't be written; the message says why.
    pub async fn open(destination: &Destination) -> Result<Self, OpenArtifactsError> {
        let backend = match destination {
            Destination::Folder(folder) => {
                Backend::Local(LocalStore::open(folder).await.map_err(|source| {
                    OpenArtifactsError::Folder {
                        destination: destination.clone(),
                        source,
                    }
                })?)
            }
            Destination::S3 { bucket, prefix } => {
                Backend::S3(S3Store::open(bucket, prefix).await.map_err(|reason| {
                    OpenArtifactsError::Bucket {
                        destination: destination.clone(),
                        reason,
                    }
                })?)
            }
        };
        Ok(Self { backend })
    }

    /// Tries to write, as a readiness check does.
    ///
    /// # Errors
    /// When it can't.
    pub async fn check_writable(&self) -> Result<(), ArtifactError> {
        either!(self, place => place.check_writable().await)
    }

    /// Writes a file, replacing what is there; it appears when all of it is stored for good. `size`
    /// is how large it will be, where that is known. Returns how large it is.
    ///
    /// # Errors
    /// When the body breaks off, or the store is full or fails; then nothing is left behind.
    pub async fn put<S, E>(
        &self,
        path: &ArtifactPath,
        size: Option<u64>,
        body: S,
    ) -> Result<u64, ArtifactError>
    where
        S: Stream<Item = Result<Bytes, E>> + Unpin,
    {
        if path.is_root() {
            return Err(ArtifactError::InvalidPath);
        }
        either!(self, place => place.put(path, size, body).await)
    }

    /// What is known of a file.
    ///
    /// # Errors
    /// When there is no such file.
    pub async fn head(&self, path: &ArtifactPath) -> Result<ArtifactInfo, ArtifactError> {
        not_root(path)?;
        either!(self, place => place.head(path).await)
    }

    /// Reads a file, or a part of it.
    ///
    /// # Errors
    /// When there is no such file, or it has nothing of the range.
    pub async fn get(
        &self,
        path: &ArtifactPath,
        wanted: &Wanted,
    ) -> Result<Download, ArtifactError> {
        not_root(path)?;
        either!(self, place => place.get(path, wanted).await)
    }

    /// What a folder holds, by name; nothing when it is a file or is not there.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn list(&self, path: &ArtifactPath) -> Result<Vec<Entry>, ArtifactError> {
        let mut entries = either!(self, place => place.list(path).await)?;
        // What can't be asked for is not shown.
        entries.retain(|entry| ArtifactPath::parse(&entry.name).is_ok());
        entries.sort_by(|a, b| a.name.cmp(&b.name));
        Ok(entries)
    }

    /// Every file below a folder, in no order; the folders themselves don't count.
    pub fn walk(
        &self,
        path: &ArtifactPath,
    ) -> BoxStream<'static, Result<FoundFile, ArtifactError>> {
        either!(self, place => place.walk(path))
    }

    /// Deletes a file, or a folder with all that it holds; what is not there is deleted already.
    ///
    /// # Errors
    /// When the store fails, or for the root.
    pub async fn delete(&self, path: &ArtifactPath) -> Result<(), ArtifactError> {
        if path.is_root() {
            return Err(ArtifactError::InvalidPath);
        }
        either!(self, place => place.delete(path).await)
    }

    /// The place in this store that a URI names: `mlflow-artifacts:…`, the artifact routes of an
    /// MLflow server, or the address of the store itself. `None` for every other place: this
    /// server reads nothing that it does not keep.
    ///
    /// # Errors
    /// When the URI names this store and its path is none inside it.
    pub fn place_of(&self, uri: &str) -> Result<Option<ArtifactPath>, ArtifactError> {
        let below = either!(self, place => uri::below(uri, &place.address()));
        below.map(|path| ArtifactPath::parse(&path)).transpose()
    }

    /// Whether an experiment's artifacts may have this location: in this store, or in a bucket that
    /// clients go to themselves, and that this server never opens.
    ///
    /// # Errors
    /// When the URI names this store and its path is none inside it.
    pub fn takes_location(&self, uri: &str) -> Result<bool, ArtifactError> {
        Ok(self.place_of(uri)?.is_some() || uri::is_foreign_bucket(uri))
    }

    /// Whether clients may go to the store themselves, by presigned URLs.
    #[must_use]
    pub fn is_presigned(&self) -> bool {
        matches!(self.backend, Backend::S3(_))
    }
}

/// The root is no file; of a bucket it would be the list of its keys.
fn not_root(path: &ArtifactPath) -> Result<(), ArtifactError> {
    if path.is_root() {
        Err(ArtifactError::NotFound(path.to_string()))
    } else {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;
    use std::path::{Path, PathBuf};

    use futures::TryStreamExt;
    use proptest::prelude::*;

    use super::*;

    /// Every file below a folder, as the file system has it.
    fn files(folder: &Path) -> Vec<PathBuf> {
        let mut found = Vec::new();
        for entry in std::fs::read_dir(folder).unwrap() {
            let entry = entry.unwrap();
            if entry.file_type().unwrap().is_dir() {
                found.extend(files(&entry.path()));
            } else {
                found.push(entry.path());
            }
        }
        found
    }

    async fn put_and_find(outer: &Path, path: &ArtifactPath) {
        let root = outer.join("x/y/root");
        let store = ArtifactStore::open(&root.as_path().into()).await.unwrap();
        let body = futures::stream::iter([Ok::<_, Infallible>(Bytes::from_static(b"bytes"))]);
        store.put(path, None, body).await.unwrap();
        let expected: PathBuf = path
            .names()
            .iter()
            .fold(root, |place, name| place.join(name));
        assert_eq!(files(outer), [expected]);
        let walked: Vec<_> = store
            .walk(&ArtifactPath::root())
            .try_collect()
            .await
            .unwrap();
        assert_eq!(walked.len(), 1);
        assert_eq!((&walked[0].path, walked[0].size), (path, 5));
        let read = store.get(path, &Wanted::default()).await.unwrap();
        let read: Vec<Bytes> = read.body.try_collect().await.unwrap();
        assert_eq!(read.concat(), b"bytes");
        store.delete(path).await.unwrap();
        assert_eq!(files(outer), Vec::<PathBuf>::new());
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]
        #[test]
        fn what_is_written_is_inside_and_found_again(text in "([a./%2eE~: ]|[^/\\\\]){1,24}") {
            if let Ok(path) = ArtifactPath::parse(&text) && !path.is_root() {
                let outer = tempfile::tempdir().unwrap();
                let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
                runtime.block_on(put_and_find(outer.path(), &path));
            }
        }
    }
}
