//! Aliases: `/mlflow/registered-models/alias` with ETag and long poll, and their history under
//! `/foreshock/registered-models/…`.

use std::time::Duration;

use axum::Json;
use axum::extract::{Extension, FromRequestParts, State};
use axum::http::header::{CACHE_CONTROL, CONTENT_TYPE, ETAG, HeaderValue, IF_NONE_MATCH};
use axum::http::request::Parts;
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use mlflow_api::types::{
    AliasHistoryResponse, AliasRef, Empty, GetAliasHistory, ModelVersion, ModelVersionResponse,
    RollbackAlias, RollbackAliasResponse, SetAlias,
};
use sha2::{Digest, Sha256};
use tokio::sync::broadcast::error::RecvError;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::Answer;
use super::actor::Author;
use super::error::ApiError;
use super::extract::Rpc;
use super::validate;
use crate::Registry;

const PAGE: i64 = 100;
const MAX_PAGE: i64 = 1000;
/// The longest that a request is held; proxies give up at 60 s.
pub(crate) const LONGEST_WAIT: Duration = Duration::from_secs(55);

/// Cancelled when the server stops; what is held open must end then.
#[derive(Debug, Clone, Default)]
pub(crate) struct Stopping(pub(crate) CancellationToken);

pub(super) async fn set(
    State(registry): State<Registry>,
    author: Author,
    Rpc(request): Rpc<SetAlias>,
) -> Answer<Empty> {
    validate::model_name(&request.name)?;
    validate::new_alias(&request.alias)?;
    let version = validate::version(&request.version)?;
    let note = author.note(request.reason)?;
    registry
        .store()
        .set_alias(&request.name, &request.alias, version, &note)
        .await?;
    registry.alias_events().wake();
    registry
        .webhooks()
        .alias(&request.name, &request.alias, Some(version))
        .await;
    Ok(Json(Empty {}))
}

pub(super) async fn delete(
    State(registry): State<Registry>,
    author: Author,
    Rpc(request): Rpc<AliasRef>,
) -> Answer<Empty> {
    validate::model_name(&request.name)?;
    validate::alias(&request.alias)?;
    let note = author.note(request.reason)?;
    registry
        .store()
        .delete_alias(&request.name, &request.alias, &note)
        .await?;
    registry.alias_events().wake();
    registry
        .webhooks()
        .alias(&request.name, &request.alias, None)
        .await;
    Ok(Json(Empty {}))
}

pub(super) async fn rollback(
    State(registry): State<Registry>,
    author: Author,
    Rpc(request): Rpc<RollbackAlias>,
) -> Answer<RollbackAliasResponse> {
    validate::model_name(&request.name)?;
    validate::alias(&request.alias)?;
    let note = author.note(request.reason)?;
    let change = registry
        .store()
        .rollback_alias(&request.name, &request.alias, &note)
        .await?;
    registry.alias_events().wake();
    let version = change.to_version.as_ref().and_then(|v| v.parse().ok());
    registry
        .webhooks()
        .alias(&request.name, &request.alias, version)
        .await;
    Ok(Json(RollbackAliasResponse { change }))
}

pub(super) async fn history(
    State(registry): State<Registry>,
    Rpc(request): Rpc<GetAliasHistory>,
) -> Answer<AliasHistoryResponse> {
    validate::model_name(&request.name)?;
    let size = validate::max_results(request.max_results, PAGE, MAX_PAGE)?;
    let page = registry
        .store()
        .alias_history(
            &request.name,
            request.alias.as_deref().filter(|alias| !alias.is_empty()),
            size,
            request.page_token.as_deref(),
        )
        .await?;
    Ok(Json(AliasHistoryResponse {
        changes: page.items,
        next_page_token: page.next_page_token,
    }))
}

/// What the asker knows already, and how long it waits for something else.
#[derive(Debug)]
pub(super) struct Condition {
    known: Vec<String>,
    any: bool,
    wait: Duration,
}

impl Condition {
    fn is_met_by(&self, tag: &str) -> bool {
        self.any || self.known.iter().any(|known| known == tag)
    }
}

impl<S: Send + Sync> FromRequestParts<S> for Condition {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, ApiError> {
        let tags = texts(&parts.headers, IF_NONE_MATCH.as_str());
        let known = tags
            .iter()
            .map(|tag| tag.trim_start_matches("W/").to_owned())
            .collect();
        Ok(Self {
            known,
            any: tags.iter().any(|tag| tag == "*"),
            wait: wait(parts)?,
        })
    }
}

/// `?wait=30` or `Prefer: wait=30`, in seconds.
fn wait(parts: &Parts) -> Result<Duration, ApiError> {
    let from_query = parts
        .uri
        .query()
        .into_iter()
        .flat_map(|query| query.split('&'))
        .find_map(|pair| pair.strip_prefix("wait="));
    let seconds = match from_query {
        Some(text) => text.parse().map_err(|_| {
            ApiError::invalid("Parameter 'wait' must be a whole number of seconds.")
        })?,
        // A preference that can't be read is not one.
        None => texts(&parts.headers, "prefer")
            .iter()
            .find_map(|preference| preference.strip_prefix("wait=")?.trim().parse().ok())
            .unwrap_or(0),
    };
    Ok(Duration::from_secs(seconds).min(LONGEST_WAIT))
}

/// The members of a header that is a list.
fn texts(headers: &HeaderMap, name: &str) -> Vec<String> {
    headers
        .get_all(name)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .map(|member| member.trim().to_owned())
        .collect()
}

pub(super) async fn get(
    State(registry): State<Registry>,
    stopping: Option<Extension<Stopping>>,
    condition: Condition,
    Rpc(request): Rpc<AliasRef>,
) -> Result<Response, ApiError> {
    validate::model_name(&request.name)?;
    validate::alias(&request.alias)?;
    let first = Tagged::read(&registry, &request).await?;
    if !condition.is_met_by(&first.tag) {
        return Ok(first.into_response());
    }
    if condition.wait.is_zero() {
        return Ok(first.not_modified());
    }
    let stopping = stopping
        .map(|Extension(stopping)| stopping)
        .unwrap_or_default();
    let end = Instant::now() + condition.wait;
    let mut changes = registry.alias_events().listen().await?;
    loop {
        // Read after listening: what changes in between is told.
        let now = Tagged::read(&registry, &request).await?;
        if !condition.is_met_by(&now.tag) {
            return Ok(now.into_response());
        }
        loop {
            let change = tokio::select! {
                change = changes.recv() => change,
                () = tokio::time::sleep_until(end) => return Ok(now.not_modified()),
                () = stopping.0.cancelled() => return Ok(now.not_modified()),
            };
            match change {
                // `latest` moves with versions, which nobody tells of.
                Ok(change) if change.name == request.name && change.alias == request.alias => break,
                Ok(_) => {}
                Err(RecvError::Lagged(_)) => break,
                Err(RecvError::Closed) => return Ok(now.not_modified()),
            }
        }
    }
}

/// An answer and the tag that names its content.
struct Tagged {
    body: Vec<u8>,
    tag: String,
}

impl Tagged {
    async fn read(registry: &Registry, request: &AliasRef) -> Result<Self, ApiError> {
        let model_version = find(registry, request).await?;
        let body = serde_json::to_vec(&ModelVersionResponse { model_version })
            .map_err(|error| ApiError::internal("the version can't be written", error))?;
        let digest = Sha256::digest(&body);
        let mut tag = String::with_capacity(34);
        tag.push('"');
        for byte in &digest[..16] {
            tag.push_str(&format!("{byte:02x}"));
        }
        tag.push('"');
        Ok(Self { body, tag })
    }

    fn into_response(self) -> Response {
        let mut response = self.body.clone().into_response();
        response
            .headers_mut()
            .insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        self.tagged(response)
    }

    fn not_modified(self) -> Response {
        let response = StatusCode::NOT_MODIFIED.into_response();
        self.tagged(response)
    }

    fn tagged(&self, mut response: Response) -> Response {
        // Hexadecimal digits in quotes are a header's value.
        if let Ok(tag) = HeaderValue::from_str(&self.tag) {
            response.headers_mut().insert(ETAG, tag);
        }
        response
            .headers_mut()
            .insert(CACHE_CONTROL, HeaderValue::from_static("no-cache"));
        response
    }
}

async fn find(registry: &Registry, request: &AliasRef) -> Result<ModelVersion, ApiError> {
    let store = registry.store();
    if request.alias.eq_ignore_ascii_case("latest") {
        let newest = store.latest_versions(&request.name, &[]).await?;
        return newest
            .into_iter()
            .max_by_key(|version| version.version.parse::<i64>().unwrap_or(0))
            .ok_or_else(|| ApiError::invalid("Registered model alias latest not found."));
    }
    Ok(store.get_by_alias(&request.name, &request.alias).await?)
}
