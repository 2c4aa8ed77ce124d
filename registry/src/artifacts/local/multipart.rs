//! Uploads in parts to a folder.
//!
//! An upload is a folder of the staging folder: `target` says which artifact it will be, and each
//! part is a file whose name holds its number, its ETag and its size. Any replica on the same
//! folder can take any part.

use std::fs::{self, File};
use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};

use bytes::Bytes;
use futures::Stream;

use super::partial::Partial;
use super::{LocalStore, blocking, writer};
use crate::artifacts::{ArtifactError, ArtifactPath, CompletedPart};

const TARGET: &str = "target";

impl LocalStore {
    pub(crate) async fn create_multipart(
        &self,
        path: &ArtifactPath,
    ) -> Result<String, ArtifactError> {
        let (store, path) = (self.clone(), path.clone());
        blocking(move || {
            if path.is_root() {
                return Err(ArtifactError::InvalidPath);
            }
            store.check_place(&path)?;
            let id = uuid::Uuid::new_v4().simple().to_string();
            let folder = store.staging().join(&id);
            fs::create_dir(&folder)?;
            fs::write(folder.join(TARGET), path.to_string())?;
            Ok(id)
        })
        .await
    }

    pub(crate) async fn put_part<S, E>(
        &self,
        id: &str,
        number: u16,
        size: Option<u64>,
        body: S,
    ) -> Result<String, ArtifactError>
    where
        S: Stream<Item = Result<Bytes, E>> + Unpin,
    {
        let (store, upload) = (self.clone(), self.folder_of(id)?);
        let folder = upload.clone();
        let partial = blocking(move || {
            read_target(&folder)?;
            Ok(Partial::create(&store.staging())?)
        })
        .await?;
        let written = writer::write(&partial.file(), body).await?;
        if size.is_some_and(|size| size != written) {
            return Err(ArtifactError::Interrupted);
        }
        blocking(move || {
            let e_tag = uuid::Uuid::new_v4().simple().to_string();
            let place = upload.join(part_name(number, &e_tag, written));
            match fs::rename(partial.path(), place) {
                // Aborted or completed meanwhile.
                Err(error) if error.kind() == ErrorKind::NotFound => {
                    return Err(ArtifactError::NoSuchUpload);
                }
                other => other?,
            }
            partial.done();
            Ok(format!("\"{e_tag}\""))
        })
        .await
    }

    pub(crate) async fn complete_multipart(
        &self,
        path: &ArtifactPath,
        id: &str,
        parts: Vec<CompletedPart>,
    ) -> Result<(), ArtifactError> {
        let (store, path, folder) = (self.clone(), path.clone(), self.folder_of(id)?);
        blocking(move || {
            check_target(&folder, &path)?;
            let files = find_parts(&folder, &parts)?;
            // The parts stay until the artifact is there: a client may ask again.
            let whole = Partial::create(&store.staging())?;
            for (file, size) in files {
                let copied = io::copy(&mut &File::open(file)?, &mut &*whole.file())?;
                if copied != size {
                    return Err(invalid("it is not as long as it was"));
                }
            }
            store.publish_now(whole, &path)?;
            if let Err(error) = fs::remove_dir_all(&folder) {
                tracing::warn!(%error, "the parts of an upload can't be removed");
            }
            Ok(())
        })
        .await
    }

    pub(crate) async fn abort_multipart(
        &self,
        path: &ArtifactPath,
        id: &str,
    ) -> Result<(), ArtifactError> {
        let (path, folder) = (path.clone(), self.folder_of(id)?);
        blocking(move || {
            check_target(&folder, &path)?;
            match fs::remove_dir_all(&folder) {
                Err(error) if error.kind() == ErrorKind::NotFound => Ok(()),
                other => Ok(other?),
            }
        })
        .await
    }

    fn folder_of(&self, id: &str) -> Result<PathBuf, ArtifactError> {
        // As they are made here, so that no id is a path.
        if id.len() == 32 && id.bytes().all(|byte| byte.is_ascii_hexdigit()) {
            Ok(self.staging().join(id))
        } else {
            Err(ArtifactError::NoSuchUpload)
        }
    }
}

fn read_target(folder: &Path) -> Result<String, ArtifactError> {
    match fs::read_to_string(folder.join(TARGET)) {
        Ok(target) => Ok(target),
        Err(error) if error.kind() == ErrorKind::NotFound => Err(ArtifactError::NoSuchUpload),
        Err(error) => Err(error.into()),
    }
}

/// An id is good for its own path only: a client may write elsewhere, or nowhere.
fn check_target(folder: &Path, path: &ArtifactPath) -> Result<(), ArtifactError> {
    if read_target(folder)? == path.to_string() {
        Ok(())
    } else {
        Err(ArtifactError::NoSuchUpload)
    }
}

fn part_name(number: u16, e_tag: &str, size: u64) -> String {
    format!("{number:05}-{e_tag}-{size}")
}

/// The files of the parts that a client names, and their sizes.
fn find_parts(
    folder: &Path,
    parts: &[CompletedPart],
) -> Result<Vec<(PathBuf, u64)>, ArtifactError> {
    let mut sizes = std::collections::HashMap::new();
    for entry in fs::read_dir(folder)? {
        let name = entry?.file_name();
        if let Some((part, size)) = name.to_str().and_then(|name| name.rsplit_once('-'))
            && let Ok(size) = size.parse()
        {
            sizes.insert(part.to_owned(), size);
        }
    }
    let find = |part: &CompletedPart| {
        let e_tag = part.e_tag.trim_matches('"');
        let size = *sizes
            .get(&format!("{:05}-{e_tag}", part.number))
            .ok_or_else(|| invalid(&format!("part {} was not sent", part.number)))?;
        Ok((folder.join(part_name(part.number, e_tag, size)), size))
    };
    parts.iter().map(find).collect()
}

fn invalid(reason: &str) -> ArtifactError {
    ArtifactError::InvalidPart(reason.to_owned())
}
