//! Bytes in and out.

use std::convert::Infallible;
use std::time::Duration;

use axum::body::{Body, BodyDataStream};
use axum::extract::{FromRequestParts, Request};
use axum::http::header::{
    ACCEPT_RANGES, CONTENT_DISPOSITION, CONTENT_LENGTH, CONTENT_RANGE, CONTENT_TYPE, ETAG,
    HeaderName, HeaderValue, IF_NONE_MATCH, IF_RANGE, LAST_MODIFIED, RANGE,
};
use axum::http::request::Parts;
use axum::http::{HeaderMap, Method, StatusCode};
use axum::response::{IntoResponse, Response};
use futures::StreamExt;

use super::{media_type, range};
use crate::Registry;
use crate::api::error::ApiError;
use crate::artifacts::{ArtifactError, ArtifactInfo, ArtifactPath, Wanted, attachment};

/// How long the rest of a refused upload is read.
const DRAIN: Duration = Duration::from_secs(30);

/// What a request says of how it reads an artifact.
#[derive(Debug)]
pub(in crate::api) struct Reading {
    /// The bytes are not wanted.
    head: bool,
    wanted: Wanted,
    /// The states that the client has already.
    known: Option<String>,
}

impl<S: Sync> FromRequestParts<S> for Reading {
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Infallible> {
        let header = |name: HeaderName| {
            let value = parts.headers.get(name)?;
            value.to_str().ok().map(str::to_owned)
        };
        // Several headers are several ranges.
        let is_one = parts.headers.get_all(RANGE).iter().count() == 1;
        Ok(Self {
            head: parts.method == Method::HEAD,
            wanted: Wanted {
                range: header(RANGE)
                    .filter(|_| is_one)
                    .and_then(|text| range::parse(&text)),
                if_range: header(IF_RANGE),
            },
            known: header(IF_NONE_MATCH),
        })
    }
}

impl Reading {
    /// Whether the client has the artifact already.
    fn knows(&self, info: &ArtifactInfo) -> bool {
        let opaque = |tag: &str| tag.trim().trim_start_matches("W/").to_owned();
        match (&self.known, &info.e_tag) {
            (Some(known), Some(e_tag)) => {
                known.trim() == "*" || known.split(',').any(|known| opaque(known) == opaque(e_tag))
            }
            _ => false,
        }
    }
}

/// Sends an artifact, or the part of it that is wanted.
pub(super) async fn send(
    registry: &Registry,
    path: &ArtifactPath,
    reading: &Reading,
) -> Result<Response, ApiError> {
    if reading.head {
        let info = registry.artifacts().head(path).await?;
        let mut headers = headers(path, &info);
        if reading.knows(&info) {
            return Ok((StatusCode::NOT_MODIFIED, headers).into_response());
        }
        headers.insert(CONTENT_LENGTH, HeaderValue::from(info.size));
        return Ok((headers, Body::empty()).into_response());
    }
    let found = match registry.artifacts().get(path, &reading.wanted).await {
        Err(error @ ArtifactError::Range(size)) => {
            let mut answer = ApiError::from(error).into_response();
            insert(
                answer.headers_mut(),
                CONTENT_RANGE,
                &format!("bytes */{size}"),
            );
            return Ok(answer);
        }
        other => other?,
    };
    let mut headers = headers(path, &found.info);
    if reading.knows(&found.info) {
        return Ok((StatusCode::NOT_MODIFIED, headers).into_response());
    }
    let (size, range) = (found.info.size, &found.range);
    headers.insert(CONTENT_LENGTH, HeaderValue::from(range.end - range.start));
    let mut status = StatusCode::OK;
    if *range != (0..size) || (reading.wanted.range.is_some() && reading.wanted.if_range.is_none())
    {
        status = StatusCode::PARTIAL_CONTENT;
        let content = format!(
            "bytes {}-{}/{size}",
            range.start,
            range.end.saturating_sub(1)
        );
        insert(&mut headers, CONTENT_RANGE, &content);
    }
    Ok((status, headers, Body::from_stream(found.body)).into_response())
}

fn headers(path: &ArtifactPath, info: &ArtifactInfo) -> HeaderMap {
    let name = path.names().last().map_or("", String::as_str);
    let mut headers = HeaderMap::new();
    headers.insert(ACCEPT_RANGES, HeaderValue::from_static("bytes"));
    insert(&mut headers, CONTENT_TYPE, media_type::of_download(name));
    insert(&mut headers, CONTENT_DISPOSITION, &attachment(name));
    if let Some(e_tag) = &info.e_tag {
        insert(&mut headers, ETAG, e_tag);
    }
    if let Some(modified) = info.modified {
        insert(
            &mut headers,
            LAST_MODIFIED,
            &httpdate::fmt_http_date(modified),
        );
    }
    headers
}

fn insert(headers: &mut HeaderMap, name: HeaderName, value: &str) {
    // A bucket's ETag could be anything.
    if let Ok(value) = HeaderValue::from_str(value) {
        headers.insert(name, value);
    }
}

/// Gives a body, and its size where that is known, to what takes it. What is refused is read to its
/// end, for a while: a client that is still sending would see a reset connection and no answer.
pub(super) async fn receive<T>(
    request: Request,
    take: impl AsyncFnOnce(Option<u64>, &mut BodyDataStream) -> Result<T, ApiError>,
) -> Result<T, ApiError> {
    let size = request
        .headers()
        .get(CONTENT_LENGTH)
        .and_then(|value| value.to_str().ok())
        .and_then(|value| value.parse().ok());
    let mut body = request.into_body().into_data_stream();
    let result = take(size, &mut body).await;
    if result.is_err() {
        let rest = async { while let Some(Ok(_)) = body.next().await {} };
        tokio::time::timeout(DRAIN, rest).await.ok();
    }
    result
}
