//! URLs by which clients go to the bucket themselves.

use std::collections::BTreeMap;
use std::time::Duration;

use axum::Json;
use axum::extract::{Path, State};
use mlflow_api::types::{
    CreatePresignedDownloadUrl, CreatePresignedUploadUrl, PresignedDownloadUrl, PresignedUrl,
};

use super::owned::{uri_of_model, uri_of_run};
use super::{media_type, place};
use crate::Registry;
use crate::api::Answer;
use crate::api::error::ApiError;
use crate::api::extract::Rpc;
use crate::api::validate::required;
use crate::artifacts::{ArtifactError, ArtifactPath};

/// How long a URL to write by lives, as in MLflow.
const UPLOAD_LIFETIME: i64 = 900;

/// What S3 allows: a week.
const MAX_LIFETIME: i64 = 604_800;

pub(in crate::api) async fn presign(
    State(registry): State<Registry>,
    Path(path): Path<String>,
) -> Answer<PresignedDownloadUrl> {
    let path = ArtifactPath::parse(&path)?;
    if !registry.artifacts().is_presigned() {
        return Err(ArtifactError::Unsupported("Multipart download").into());
    }
    let found = registry.artifacts().presign_download(&path, None).await?;
    Ok(Json(PresignedDownloadUrl {
        url: found.url,
        headers: BTreeMap::new(),
        file_size: found.size,
    }))
}

pub(in crate::api) async fn presign_download(
    State(registry): State<Registry>,
    Rpc(request): Rpc<CreatePresignedDownloadUrl>,
) -> Answer<PresignedUrl> {
    let run_id = request.run_id.unwrap_or_default();
    required("run_id", &run_id)?;
    required("path", &request.path)?;
    let path = ArtifactPath::parse(&request.path)?;
    let lifetime = request.expiration.map(lifetime).transpose()?;
    let root = uri_of_run(&registry, &run_id).await?;
    let path = bucket_place(&registry, root.as_deref(), "download")?.join(&path);
    let found = registry
        .artifacts()
        .presign_download(&path, lifetime)
        .await?;
    Ok(Json(PresignedUrl {
        presigned_url: found.url,
        headers: BTreeMap::new(),
        file_size: i64::try_from(found.size).ok(),
    }))
}

pub(in crate::api) async fn presign_upload(
    State(registry): State<Registry>,
    Rpc(request): Rpc<CreatePresignedUploadUrl>,
) -> Answer<PresignedUrl> {
    let some = |id: Option<String>| id.filter(|id| !id.is_empty());
    required("path", &request.path)?;
    let path = ArtifactPath::parse(&request.path)?;
    let root = match (some(request.run_id), some(request.model_id)) {
        (Some(run_id), None) => uri_of_run(&registry, &run_id).await?,
        (None, Some(model_id)) => uri_of_model(&registry, &model_id).await?,
        _ => {
            return Err(ApiError::invalid(
                "Exactly one of run_id and model_id must be provided.",
            ));
        }
    };
    let lifetime = lifetime(request.expiration.unwrap_or(UPLOAD_LIFETIME))?;
    let content_type = media_type::of_upload(path.names().last().map_or("", String::as_str));
    let path = bucket_place(&registry, root.as_deref(), "upload")?.join(&path);
    let url = registry
        .artifacts()
        .presign_upload(&path, content_type, lifetime)
        .await?;
    // It is signed, so the client must send it.
    let headers = [("Content-Type".to_owned(), content_type.to_owned())];
    Ok(Json(PresignedUrl {
        presigned_url: url,
        headers: headers.into(),
        file_size: None,
    }))
}

/// The place of an artifact URI in the bucket. MLflow refuses URIs of the proxy even where a bucket
/// is behind it; here they are the same place.
fn bucket_place(
    registry: &Registry,
    uri: Option<&str>,
    what: &str,
) -> Result<ArtifactPath, ApiError> {
    let scheme = uri
        .and_then(|uri| uri.split_once(':'))
        .map_or("", |(scheme, _)| scheme);
    if !registry.artifacts().is_presigned()
        && matches!(scheme, "http" | "https" | "mlflow-artifacts")
    {
        return Err(ApiError::invalid(format!(
            "Presigned {what} is not supported for proxied artifact storage (artifact URI scheme: \
             {scheme}). This endpoint requires a direct cloud storage artifact URI."
        )));
    }
    place(registry, uri)
}

fn lifetime(seconds: i64) -> Result<Duration, ApiError> {
    u64::try_from(seconds)
        .ok()
        .filter(|_| (1..=MAX_LIFETIME).contains(&seconds))
        .map(Duration::from_secs)
        .ok_or_else(|| {
            ApiError::invalid(format!(
                "expiration must be between 1 and {MAX_LIFETIME} seconds (got {seconds})."
            ))
        })
}
