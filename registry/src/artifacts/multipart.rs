//! Uploads in parts, as MLflow's clients make of large files.

use std::time::Duration;

use bytes::Bytes;
use futures::Stream;

use super::store::Backend;
use super::{ArtifactError, ArtifactPath, ArtifactStore};

/// How long the URLs of parts are good for: a day's half, as a client never asks for new ones.
pub const PART_URL_LIFETIME: Duration = Duration::from_secs(12 * 60 * 60);

/// The parts that an upload can have, as on S3.
pub const MAX_PARTS: u16 = 10_000;

/// An upload in parts that has begun.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MultipartUpload {
    /// Its name.
    pub id: String,
    /// Where the parts go, in order; `None` where they come to this server.
    pub part_urls: Option<Vec<String>>,
}

/// A part that was sent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CompletedPart {
    /// Its number, from 1.
    pub number: u16,
    /// What the answer to it said.
    pub e_tag: String,
}

/// A URL by which a client goes to the bucket itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PresignedDownload {
    /// The URL.
    pub url: String,
    /// The artifact's size in bytes.
    pub size: u64,
}

const DOWNLOAD: ArtifactError = ArtifactError::Unsupported("Presigned download");
const UPLOAD: ArtifactError = ArtifactError::Unsupported("Presigned upload");
const PART: ArtifactError = ArtifactError::Unsupported("Upload of parts");

impl ArtifactStore {
    /// Begins an upload of `parts` parts.
    ///
    /// # Errors
    /// When no file can be there, or the store fails.
    pub async fn create_multipart(
        &self,
        path: &ArtifactPath,
        parts: u16,
    ) -> Result<MultipartUpload, ArtifactError> {
        match &self.backend {
            Backend::Local(local) => Ok(MultipartUpload {
                id: local.create_multipart(path).await?,
                part_urls: None,
            }),
            Backend::S3(s3) => s3.create_multipart(path, parts).await,
        }
    }

    /// Takes a part, replacing one of the same number; returns its ETag.
    ///
    /// # Errors
    /// When there is no such upload, the body breaks off, or parts don't come to this server.
    pub async fn put_part<S, E>(
        &self,
        upload_id: &str,
        number: u16,
        size: Option<u64>,
        body: S,
    ) -> Result<String, ArtifactError>
    where
        S: Stream<Item = Result<Bytes, E>> + Unpin,
    {
        match &self.backend {
            Backend::Local(local) => local.put_part(upload_id, number, size, body).await,
            Backend::S3(_) => Err(PART),
        }
    }

    /// Makes the artifact of its parts, which are in order; it appears whole.
    ///
    /// # Errors
    /// When there is no such upload for the path, or a part is missing.
    pub async fn complete_multipart(
        &self,
        path: &ArtifactPath,
        upload_id: &str,
        parts: Vec<CompletedPart>,
    ) -> Result<(), ArtifactError> {
        let is_whole = (1..)
            .zip(&parts)
            .all(|(number, part)| part.number == number);
        if parts.is_empty() || !is_whole {
            let reason = "the parts must be all of them, in order".to_owned();
            return Err(ArtifactError::InvalidPart(reason));
        }
        match &self.backend {
            Backend::Local(local) => local.complete_multipart(path, upload_id, parts).await,
            Backend::S3(s3) => s3.complete_multipart(path, upload_id, parts).await,
        }
    }

    /// Gives an upload up, with its parts.
    ///
    /// # Errors
    /// When there is no such upload for the path.
    pub async fn abort_multipart(
        &self,
        path: &ArtifactPath,
        upload_id: &str,
    ) -> Result<(), ArtifactError> {
        match &self.backend {
            Backend::Local(local) => local.abort_multipart(path, upload_id).await,
            Backend::S3(s3) => s3.abort_multipart(path, upload_id).await,
        }
    }

    /// A URL to read an artifact by; its lifetime is the server's own when `None`.
    ///
    /// # Errors
    /// When there is no such artifact, or the store is a folder.
    pub async fn presign_download(
        &self,
        path: &ArtifactPath,
        lifetime: Option<Duration>,
    ) -> Result<PresignedDownload, ArtifactError> {
        match &self.backend {
            Backend::Local(_) => Err(DOWNLOAD),
            Backend::S3(s3) => s3.presign_download(path, lifetime).await,
        }
    }

    /// A URL to write an artifact by, with a PUT that has the given content type.
    ///
    /// # Errors
    /// When the store is a folder.
    pub async fn presign_upload(
        &self,
        path: &ArtifactPath,
        content_type: &str,
        lifetime: Duration,
    ) -> Result<String, ArtifactError> {
        match &self.backend {
            Backend::Local(_) => Err(UPLOAD),
            Backend::S3(s3) => s3.presign_upload(path, content_type, lifetime).await,
        }
    }
}
