//! What the server says of itself.

use std::any::Any;

use axum::Json;
use axum::extract::State;
use axum::http::header::{CONTENT_TYPE, HeaderValue};
use axum::response::{IntoResponse, Response};
use mlflow_api::ErrorCode;
use serde_json::{Value, json};

use super::error::ApiError;
use crate::Registry;

/// The version of MLflow whose dialect is spoken.
const MLFLOW_VERSION: &str = "3.17.2";

pub(super) async fn health() -> &'static str {
    "OK"
}

pub(super) async fn version() -> &'static str {
    MLFLOW_VERSION
}

/// What clients ask before they choose how to talk: a SQL store, no workspaces, uploads in parts
/// everywhere, downloads in parts where clients can go to the store themselves.
pub(super) async fn server_info(State(registry): State<Registry>) -> Json<Value> {
    Json(json!({
        "store_type": "SqlStore",
        "workspaces_enabled": false,
        "trace_archival_enabled": false,
        "multipart_uploads_enabled": true,
        "multipart_downloads_enabled": registry.artifacts().is_presigned(),
        // That the fields of the requests are known, whatever the store is.
        "presigned_upload_run_id_supported": true,
        "presigned_upload_model_id_supported": true,
    }))
}

/// A handler's panic: a bug, which must not look like a lost connection.
pub(crate) fn panicked(panic: Box<dyn Any + Send>) -> Response {
    let what = panic
        .downcast_ref::<String>()
        .map(String::as_str)
        .or_else(|| panic.downcast_ref::<&str>().copied())
        .unwrap_or("unknown");
    tracing::error!(panic = what, "a handler panicked");
    let mut response = ApiError::new(
        ErrorCode::InternalError,
        "The server failed; its log says why.",
    )
    .into_response();
    response
        .headers_mut()
        .insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    response
}
