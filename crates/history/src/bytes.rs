//! Small files as a whole: manifests and the like.

use std::fs;
use std::io::{self, Write};
use std::path::Path;

use object_store::path::Path as Key;
use object_store::{ObjectStoreExt, PutPayload};

use crate::error::{HistoryError, Result};
use crate::location::split_s3_uri;
use crate::storage::{Storage, block_on};
use crate::write::folder_of;

/// The content of a path or an `s3://` URI; `None` if there is no such file.
///
/// # Errors
/// When it can't be read.
pub fn read_bytes(storage: &Storage, uri: &str) -> Result<Option<Vec<u8>>> {
    let Some((bucket, key)) = split_s3_uri(uri) else {
        return match fs::read(uri) {
            Ok(content) => Ok(Some(content)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(HistoryError::io(uri, "read", error)),
        };
    };
    let client = storage.bucket(bucket, uri)?;
    let key = Key::from(key);
    let got = block_on(async move { client.get(&key).await?.bytes().await })?;
    match got.map_err(|source| HistoryError::store(uri, "read", source)) {
        Ok(content) => Ok(Some(content.to_vec())),
        Err(HistoryError::NotFound { .. }) => Ok(None),
        Err(error) => Err(error),
    }
}

/// Writes a path or an `s3://` URI, whole or not at all; missing local folders are made.
///
/// # Errors
/// When it can't be written.
pub fn write_bytes(storage: &Storage, uri: &str, content: &[u8]) -> Result<()> {
    let Some((bucket, key)) = split_s3_uri(uri) else {
        let failed = |error| HistoryError::io(uri, "write", error);
        let folder = folder_of(Path::new(uri));
        fs::create_dir_all(&folder).map_err(failed)?;
        let mut file = tempfile::Builder::new()
            .prefix(".")
            .suffix(".tmp")
            .tempfile_in(&folder)
            .map_err(failed)?;
        file.write_all(content).map_err(failed)?;
        file.as_file().sync_all().map_err(failed)?;
        return file
            .persist(uri)
            .map(drop)
            .map_err(|error| failed(error.error));
    };
    let client = storage.bucket(bucket, uri)?;
    let (key, payload) = (Key::from(key), PutPayload::from(content.to_vec()));
    block_on(async move { client.put(&key, payload).await })?
        .map(drop)
        .map_err(|source| HistoryError::store(uri, "write", source))
}
