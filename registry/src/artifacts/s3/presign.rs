//! URLs by which clients go to the bucket themselves.

use std::time::Duration;

use object_store::multipart::{MultipartStore, PartId};
use rusty_s3::{Credentials, S3Action};

use super::errors::failed;
use super::settings::MAX_LIFETIME;
use super::{S3Store, call, timed_out};
use crate::artifacts::multipart::{
    CompletedPart, MultipartUpload, PART_URL_LIFETIME, PresignedDownload,
};
use crate::artifacts::{ArtifactError, ArtifactPath, attachment};

/// How long the bucket may take to put the parts together.
const COMPLETE: Duration = Duration::from_secs(600);

impl S3Store {
    /// The keys of now: those of a role change every few hours.
    async fn credentials(&self) -> Result<Credentials, ArtifactError> {
        let provider = self.client().credentials();
        let found = match tokio::time::timeout(super::CALL, provider.get_credential()).await {
            Ok(found) => found.map_err(|error| failed(error, ""))?,
            Err(_) => return Err(timed_out()),
        };
        Ok(match &found.token {
            Some(token) => Credentials::new_with_token(&found.key_id, &found.secret_key, token),
            None => Credentials::new(&found.key_id, &found.secret_key),
        })
    }

    pub(crate) async fn presign_download(
        &self,
        path: &ArtifactPath,
        lifetime: Option<Duration>,
    ) -> Result<PresignedDownload, ArtifactError> {
        if path.is_root() {
            return Err(ArtifactError::InvalidPath);
        }
        let info = self.head(path).await?;
        let key = self.key(path)?;
        let credentials = self.credentials().await?;
        let settings = &self.0.settings;
        let mut action = settings.urls.get_object(Some(&credentials), key.as_ref());
        // A browser that is sent there saves the file and does not show it.
        let name = path.names().last().map_or("", String::as_str);
        action
            .query_mut()
            .insert("response-content-disposition", attachment(name));
        let lifetime = lifetime.unwrap_or(settings.lifetime).min(MAX_LIFETIME);
        Ok(PresignedDownload {
            url: action.sign(lifetime).into(),
            size: info.size,
        })
    }

    pub(crate) async fn presign_upload(
        &self,
        path: &ArtifactPath,
        content_type: &str,
        lifetime: Duration,
    ) -> Result<String, ArtifactError> {
        if path.is_root() {
            return Err(ArtifactError::InvalidPath);
        }
        let key = self.key(path)?;
        let credentials = self.credentials().await?;
        let mut action = self
            .0
            .settings
            .urls
            .put_object(Some(&credentials), key.as_ref());
        action
            .headers_mut()
            .insert("content-type", content_type.to_owned());
        Ok(action.sign(lifetime.min(MAX_LIFETIME)).into())
    }

    pub(crate) async fn create_multipart(
        &self,
        path: &ArtifactPath,
        parts: u16,
    ) -> Result<MultipartUpload, ArtifactError> {
        if path.is_root() {
            return Err(ArtifactError::InvalidPath);
        }
        let key = self.key(path)?;
        let credentials = self.credentials().await?;
        let id = call(&key, self.client().create_multipart(&key)).await?;
        let url = |number| {
            let urls = &self.0.settings.urls;
            let action = urls.upload_part(Some(&credentials), key.as_ref(), number, &id);
            action.sign(PART_URL_LIFETIME).into()
        };
        let part_urls = Some((1..=parts).map(url).collect());
        Ok(MultipartUpload { part_urls, id })
    }

    pub(crate) async fn complete_multipart(
        &self,
        path: &ArtifactPath,
        id: &str,
        parts: Vec<CompletedPart>,
    ) -> Result<(), ArtifactError> {
        let key = self.key(path)?;
        // They are all of them and in order, which is how the library numbers them.
        let parts = parts.into_iter().map(|part| PartId {
            content_id: part.e_tag,
        });
        let id = id.to_owned();
        let work = self.client().complete_multipart(&key, &id, parts.collect());
        match tokio::time::timeout(COMPLETE, work).await {
            Ok(Ok(_)) => Ok(()),
            Ok(Err(error)) => Err(no_upload(failed(error, key.as_ref()))),
            Err(_) => Err(timed_out()),
        }
    }

    pub(crate) async fn abort_multipart(
        &self,
        path: &ArtifactPath,
        id: &str,
    ) -> Result<(), ArtifactError> {
        let key = self.key(path)?;
        let id = id.to_owned();
        call(&key, self.client().abort_multipart(&key, &id))
            .await
            .map_err(no_upload)
    }
}

/// What is missing in a call about an upload is the upload.
fn no_upload(error: ArtifactError) -> ArtifactError {
    match error {
        ArtifactError::NotFound(_) => ArtifactError::NoSuchUpload,
        other => other,
    }
}
