//! Artifacts: the store itself, and what belongs to a run, a version or a logged model.

use std::time::Duration;

use axum::Json;
use axum::body::Body;
use axum::extract::{Path, Request, State};
use axum::http::HeaderMap;
use axum::http::header::{CONTENT_DISPOSITION, CONTENT_LENGTH, CONTENT_TYPE, HeaderValue};
use axum::response::Response;
use futures::StreamExt;
use mlflow_api::types::{
    Empty, FileInfo, GetArtifact, ListArtifacts, ListArtifactsResponse, ListStoreArtifacts,
    UploadArtifact,
};
use tokio_util::io::ReaderStream;

use super::Answer;
use super::error::ApiError;
use super::extract::Rpc;
use super::validate::{self, required};
use crate::Registry;
use crate::artifacts::{ArtifactPath, Entry};

/// What is read and sent at once.
const BUFFER: usize = 256 * 1024;

/// How long the rest of a refused upload is read.
const DRAIN: Duration = Duration::from_secs(30);

/// The place in the store of an `mlflow-artifacts:` URI.
fn place(uri: Option<&str>) -> Result<ArtifactPath, ApiError> {
    let path = uri
        .and_then(|uri| uri.strip_prefix("mlflow-artifacts:"))
        .ok_or_else(|| ApiError::invalid("These artifacts are not kept by this server."))?;
    Ok(ArtifactPath::parse(path.trim_start_matches('/'))?)
}

pub(super) async fn list(
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

pub(super) async fn download(
    State(registry): State<Registry>,
    Path(path): Path<String>,
) -> Result<Response, ApiError> {
    stream(&registry, &ArtifactPath::parse(&path)?).await
}

pub(super) async fn upload(
    State(registry): State<Registry>,
    Path(path): Path<String>,
    request: Request,
) -> Answer<Empty> {
    let path = async { Ok(ArtifactPath::parse(&path)?) };
    receive(&registry, path, request).await
}

/// Writes a body to a place that is still to be found.
async fn receive(
    registry: &Registry,
    path: impl Future<Output = Result<ArtifactPath, ApiError>>,
    request: Request,
) -> Answer<Empty> {
    let mut body = request.into_body().into_data_stream();
    let result = match path.await {
        Ok(path) => registry
            .artifacts()
            .put(&path, &mut body)
            .await
            .map_err(ApiError::from),
        Err(error) => Err(error),
    };
    if result.is_err() {
        // A client that is still sending would see a reset connection instead of the answer.
        let rest = async { while let Some(Ok(_)) = body.next().await {} };
        tokio::time::timeout(DRAIN, rest).await.ok();
    }
    result.map(|_| Json(Empty {}))
}

pub(super) async fn delete(
    State(registry): State<Registry>,
    Path(path): Path<String>,
) -> Answer<Empty> {
    registry
        .artifacts()
        .delete(&ArtifactPath::parse(&path)?)
        .await?;
    Ok(Json(Empty {}))
}

pub(super) async fn list_of_run(
    State(registry): State<Registry>,
    Rpc(request): Rpc<ListArtifacts>,
) -> Answer<ListArtifactsResponse> {
    let run_id = validate::run_id(request.run_id, request.run_uuid)?;
    let root_uri = registry.store().get_run_info(&run_id).await?.artifact_uri;
    list_below(&registry, root_uri, request.path).await
}

pub(super) async fn list_of_model(
    State(registry): State<Registry>,
    Path(model_id): Path<String>,
    Rpc(request): Rpc<ListArtifacts>,
) -> Answer<ListArtifactsResponse> {
    let root_uri = registry
        .store()
        .get_logged_model(&model_id)
        .await?
        .info
        .artifact_uri;
    list_below(&registry, root_uri, request.path).await
}

async fn list_below(
    registry: &Registry,
    root_uri: Option<String>,
    path: Option<String>,
) -> Answer<ListArtifactsResponse> {
    let relative = ArtifactPath::parse(path.as_deref().unwrap_or_default())?;
    let entries = registry
        .artifacts()
        .list(&place(root_uri.as_deref())?.join(&relative))
        .await?;
    let files = infos(entries, &relative);
    Ok(Json(ListArtifactsResponse {
        root_uri,
        files,
        next_page_token: None,
    }))
}

pub(super) async fn get_of_run(
    State(registry): State<Registry>,
    Rpc(request): Rpc<GetArtifact>,
) -> Result<Response, ApiError> {
    let run_id = validate::run_id(request.run_id, request.run_uuid)?;
    required("path", &request.path)?;
    let root = place(
        registry
            .store()
            .get_run_info(&run_id)
            .await?
            .artifact_uri
            .as_deref(),
    )?;
    stream(&registry, &root.join(&ArtifactPath::parse(&request.path)?)).await
}

pub(super) async fn get_of_version(
    State(registry): State<Registry>,
    Rpc(request): Rpc<GetArtifact>,
) -> Result<Response, ApiError> {
    required("name", &request.name)?;
    required("path", &request.path)?;
    let version = validate::version(&request.version)?;
    let root = place(Some(
        &registry
            .store()
            .download_uri(&request.name, version)
            .await?,
    ))?;
    stream(&registry, &root.join(&ArtifactPath::parse(&request.path)?)).await
}

pub(super) async fn upload_to_run(
    State(registry): State<Registry>,
    axum::extract::Query(target): axum::extract::Query<UploadArtifact>,
    request: Request,
) -> Answer<Empty> {
    let path = async {
        let run_id = validate::run_id(target.run_id, target.run_uuid)?;
        required("path", &target.path)?;
        let root = place(
            registry
                .store()
                .get_run_info(&run_id)
                .await?
                .artifact_uri
                .as_deref(),
        )?;
        Ok(root.join(&ArtifactPath::parse(&target.path)?))
    };
    receive(&registry, path, request).await
}

fn infos(entries: Vec<Entry>, folder: &ArtifactPath) -> Vec<FileInfo> {
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

async fn stream(registry: &Registry, path: &ArtifactPath) -> Result<Response, ApiError> {
    let (file, size) = registry.artifacts().get(path).await?;
    let name = path.names().last().map_or("", String::as_str);
    let body = Body::from_stream(ReaderStream::with_capacity(file, BUFFER));
    let mut response = Response::new(body);
    *response.headers_mut() = headers(name, size);
    Ok(response)
}

/// An artifact is data that somebody uploaded: a browser saves it and never runs it.
fn headers(name: &str, size: u64) -> HeaderMap {
    let mut headers = HeaderMap::new();
    headers.insert(CONTENT_LENGTH, HeaderValue::from(size));
    headers.insert(
        CONTENT_TYPE,
        HeaderValue::from_static("application/octet-stream"),
    );
    let mut encoded = String::with_capacity(name.len());
    for byte in name.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._".contains(&byte) {
            encoded.push(char::from(byte));
        } else {
            encoded.push_str(&format!("%{byte:02X}"));
        }
    }
    let disposition = format!("attachment; filename*=UTF-8''{encoded}");
    if let Ok(value) = HeaderValue::from_str(&disposition) {
        headers.insert(CONTENT_DISPOSITION, value);
    }
    headers
}
