//! What folders hold.

use std::fs::{self, Metadata};
use std::io::{self, ErrorKind};
use std::path::Path;

use futures::stream::{self, BoxStream};
use futures::{StreamExt, TryStreamExt};

use super::{LocalStore, PRIVATE_PREFIX, blocking};
use crate::artifacts::{ArtifactError, ArtifactPath, FoundFile};

/// The files and folders of a folder; links, devices and what the store keeps for itself are left
/// out.
pub(super) fn read_folder(folder: &Path) -> io::Result<Vec<(String, Metadata)>> {
    let mut entries = Vec::new();
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        // Names that are no UTF-8 were not written here and can't be asked for.
        let Ok(name) = entry.file_name().into_string() else {
            continue;
        };
        if name.starts_with(PRIVATE_PREFIX) {
            continue;
        }
        match entry.metadata() {
            Ok(found) if found.is_dir() || found.is_file() => entries.push((name, found)),
            Ok(_) => {}
            // Deleted meanwhile.
            Err(error) if error.kind() == ErrorKind::NotFound => {}
            Err(error) => return Err(error),
        }
    }
    Ok(entries)
}

/// Every file below a folder, one folder after the other.
pub(super) fn walk(
    store: LocalStore,
    path: ArtifactPath,
) -> BoxStream<'static, Result<FoundFile, ArtifactError>> {
    let folders = stream::try_unfold((store, vec![path]), |(store, mut waiting)| async move {
        let Some(folder) = waiting.pop() else {
            return Ok(None);
        };
        let here = store.clone();
        let (files, folders) = blocking(move || here.read_one(&folder)).await?;
        waiting.extend(folders);
        let files = stream::iter(files.into_iter().map(Ok));
        Ok::<_, ArtifactError>(Some((files, (store, waiting))))
    });
    folders.try_flatten().boxed()
}

impl LocalStore {
    /// The files and the folders directly in a folder.
    fn read_one(
        &self,
        folder: &ArtifactPath,
    ) -> Result<(Vec<FoundFile>, Vec<ArtifactPath>), ArtifactError> {
        let (mut files, mut folders) = (Vec::new(), Vec::new());
        let entries = match self.find(folder)? {
            Some((place, found)) if found.is_dir() => match read_folder(&place) {
                // Deleted meanwhile.
                Err(error) if error.kind() == ErrorKind::NotFound => Vec::new(),
                other => other?,
            },
            _ => Vec::new(),
        };
        for (name, found) in entries {
            let Ok(path) = ArtifactPath::parse(&name).map(|name| folder.join(&name)) else {
                continue;
            };
            if found.is_dir() {
                folders.push(path);
            } else {
                files.push(FoundFile {
                    path,
                    size: found.len(),
                    modified: found.modified().ok(),
                });
            }
        }
        Ok((files, folders))
    }
}
