//! `/mlflow-artifacts/artifacts`: the store as it is.

use axum::Json;
use axum::extract::{Path, Request, State};
use axum::response::Response;
use mlflow_api::types::{Empty, FileInfo, ListArtifactsResponse, ListStoreArtifacts};

use super::transfer::{self, Reading};
use crate::Registry;
use crate::api::Answer;
use crate::api::error::ApiError;
use crate::api::extract::Rpc;
use crate::artifacts::{ArtifactPath, Entry};

pub(in crate::api) async fn list(
    State(registry): State<Registry>,
    Rpc(request): Rpc<ListStoreArtifacts>,
) -> Answer<ListArtifactsResponse> {
    let path = ArtifactPath::parse(request.path.as_deref().unwrap_or_default())?;
    let entries = registry.artifacts().list(&path).await?;
    let files = infos(entries, &ArtifactPath::root());
    Ok(Json(ListArtifactsResponse {
        files,
        ..Default::default()
    }))
}

pub(in crate::api) async fn download(
    State(registry): State<Registry>,
    Path(path): Path<String>,
    reading: Reading,
) -> Result<Response, ApiError> {
    transfer::send(&registry, &ArtifactPath::parse(&path)?, &reading).await
}

pub(in crate::api) async fn upload(
    State(registry): State<Registry>,
    Path(path): Path<String>,
    request: Request,
) -> Answer<Empty> {
    transfer::receive(request, async |size, body| {
        let path = ArtifactPath::parse(&path)?;
        registry.artifacts().put(&path, size, body).await?;
        Ok(Json(Empty {}))
    })
    .await
}

pub(in crate::api) async fn delete(
    State(registry): State<Registry>,
    Path(path): Path<String>,
) -> Answer<Empty> {
    registry
        .artifacts()
        .delete(&ArtifactPath::parse(&path)?)
        .await?;
    Ok(Json(Empty {}))
}

/// The entries of a folder, named from the root that was asked for.
pub(super) fn infos(entries: Vec<Entry>, folder: &ArtifactPath) -> Vec<FileInfo> {
    let prefix = if folder.is_root() {
        String::new()
    } else {
        format!("{folder}/")
    };
    entries
        .into_iter()
        .map(|entry| FileInfo {
            path: format!("{prefix}{}", entry.name),
            is_dir: entry.size.is_none(),
            file_size: entry.size.and_then(|size| i64::try_from(size).ok()),
        })
        .collect()
}
