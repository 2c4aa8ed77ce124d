//! What belongs to a run, a version or a logged model.

use axum::Json;
use axum::body::Bytes;
use axum::extract::{Path, Query, Request, State};
use axum::response::Response;
use futures::StreamExt;
use mlflow_api::ErrorCode;
use mlflow_api::types::{
    Empty, GetArtifact, GetLoggedModelArtifact, ListArtifacts, ListArtifactsResponse,
    ListLoggedModelArtifacts, UploadArtifact,
};

use super::place;
use super::proxy::infos;
use super::transfer::{self, Reading};
use crate::Registry;
use crate::api::Answer;
use crate::api::error::ApiError;
use crate::api::extract::Rpc;
use crate::api::validate::{self, required};
use crate::artifacts::ArtifactPath;

/// The largest upload through the page of a run, as in MLflow.
const MAX_UPLOAD: usize = 10 * 1024 * 1024;

/// The artifact URI of a run.
pub(super) async fn uri_of_run(
    registry: &Registry,
    run_id: &str,
) -> Result<Option<String>, ApiError> {
    Ok(registry.store().get_run_info(run_id).await?.artifact_uri)
}

/// The artifact URI of a logged model.
pub(super) async fn uri_of_model(
    registry: &Registry,
    model_id: &str,
) -> Result<Option<String>, ApiError> {
    let model = registry.store().get_logged_model(model_id).await?;
    Ok(model.info.artifact_uri)
}

pub(in crate::api) async fn list_of_run(
    State(registry): State<Registry>,
    Rpc(request): Rpc<ListArtifacts>,
) -> Answer<ListArtifactsResponse> {
    let run_id = validate::run_id(request.run_id, request.run_uuid)?;
    let root_uri = uri_of_run(&registry, &run_id).await?;
    list_below(&registry, root_uri, request.path).await
}

pub(in crate::api) async fn list_of_model(
    State(registry): State<Registry>,
    Path(model_id): Path<String>,
    Rpc(request): Rpc<ListLoggedModelArtifacts>,
) -> Answer<ListArtifactsResponse> {
    let root_uri = uri_of_model(&registry, &model_id).await?;
    list_below(&registry, root_uri, request.artifact_directory_path).await
}

async fn list_below(
    registry: &Registry,
    root_uri: Option<String>,
    path: Option<String>,
) -> Answer<ListArtifactsResponse> {
    let relative = ArtifactPath::parse(path.as_deref().unwrap_or_default())?;
    let folder = place(registry, root_uri.as_deref())?.join(&relative);
    let entries = registry.artifacts().list(&folder).await?;
    let files = infos(entries, &relative);
    Ok(Json(ListArtifactsResponse {
        root_uri,
        files,
        next_page_token: None,
    }))
}

/// Sends the artifact `path` below the artifact URI `root`.
async fn send_below(
    registry: &Registry,
    root: Option<&str>,
    path: &str,
    reading: &Reading,
) -> Result<Response, ApiError> {
    let path = place(registry, root)?.join(&ArtifactPath::parse(path)?);
    transfer::send(registry, &path, reading).await
}

pub(in crate::api) async fn get_of_run(
    State(registry): State<Registry>,
    reading: Reading,
    Rpc(request): Rpc<GetArtifact>,
) -> Result<Response, ApiError> {
    let run_id = validate::run_id(request.run_id, request.run_uuid)?;
    required("path", &request.path)?;
    let root = uri_of_run(&registry, &run_id).await?;
    send_below(&registry, root.as_deref(), &request.path, &reading).await
}

pub(in crate::api) async fn get_of_version(
    State(registry): State<Registry>,
    reading: Reading,
    Rpc(request): Rpc<GetArtifact>,
) -> Result<Response, ApiError> {
    required("name", &request.name)?;
    required("path", &request.path)?;
    let version = validate::version(&request.version)?;
    let root = registry
        .store()
        .download_uri(&request.name, version)
        .await?;
    send_below(&registry, Some(&root), &request.path, &reading).await
}

pub(in crate::api) async fn get_of_model(
    State(registry): State<Registry>,
    Path(model_id): Path<String>,
    reading: Reading,
    Rpc(request): Rpc<GetLoggedModelArtifact>,
) -> Result<Response, ApiError> {
    let path = request.artifact_file_path.filter(|path| !path.is_empty());
    let path = path.ok_or_else(|| {
        ApiError::new(
            ErrorCode::BadRequest,
            "Request must include the \"artifact_file_path\" query parameter.",
        )
    })?;
    let root = uri_of_model(&registry, &model_id).await?;
    send_below(&registry, root.as_deref(), &path, &reading).await
}

pub(in crate::api) async fn upload_to_run(
    State(registry): State<Registry>,
    Query(target): Query<UploadArtifact>,
    request: Request,
) -> Answer<Empty> {
    transfer::receive(request, async |size, body| {
        let run_id = target.run_uuid.or(target.run_id).unwrap_or_default();
        if run_id.is_empty() {
            return Err(ApiError::invalid("Request must specify run_uuid."));
        }
        if target.path.is_empty() {
            return Err(ApiError::invalid("Request must specify path."));
        }
        let relative = ArtifactPath::parse(&target.path)?;
        let too_large = || ApiError::invalid("Artifact size is too large. Max size is 10MB.");
        if size.is_some_and(|size| size > MAX_UPLOAD as u64) {
            return Err(too_large());
        }
        let mut data = Vec::new();
        while let Some(piece) = body.next().await {
            let piece = piece.map_err(|_| {
                ApiError::new(ErrorCode::BadRequest, "The upload ended before its end.")
            })?;
            if data.len() + piece.len() > MAX_UPLOAD {
                return Err(too_large());
            }
            data.extend_from_slice(&piece);
        }
        if data.is_empty() {
            return Err(ApiError::invalid("Request must specify data."));
        }
        let root = uri_of_run(&registry, &run_id).await?;
        let path = place(&registry, root.as_deref())?.join(&relative);
        let size = data.len() as u64;
        let data = futures::stream::iter([Ok::<_, std::convert::Infallible>(Bytes::from(data))]);
        registry.artifacts().put(&path, Some(size), data).await?;
        Ok(Json(Empty {}))
    })
    .await
}
