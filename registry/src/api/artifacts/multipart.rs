//! `/mlflow-artifacts/mpu/…`: uploads in parts.
//!
//! In a bucket the parts go to the bucket itself, by presigned URLs. In a folder they come back
//! here, by URLs with a signed token in them: MLflow's client sends parts without its credentials.

use std::sync::Arc;

use axum::extract::{Path, Request, State};
use axum::http::HeaderMap;
use axum::http::header::{ETAG, HOST, HeaderName, HeaderValue};
use axum::http::uri::Authority;
use axum::response::{IntoResponse, Response};
use axum::{Extension, Json};
use mlflow_api::ErrorCode;
use mlflow_api::types::{
    AbortMultipartUpload, CompleteMultipartUpload, CreateMultipartUpload,
    CreateMultipartUploadResponse, Empty, MultipartUploadCredential, MultipartUploadPart,
};

use super::transfer;
use crate::Registry;
use crate::api::Answer;
use crate::api::error::ApiError;
use crate::api::extract::Rpc;
use crate::api::validate::required;
use crate::artifacts::{ArtifactPath, CompletedPart, MAX_PARTS, PART_URL_LIFETIME, PartToken};
use crate::http::Gateway;

/// The route of [`upload_part`], before its token.
pub(in crate::api) const PART_ROUTE: &str = "/api/2.0/mlflow-artifacts/mpu/part/";

pub(in crate::api) async fn create_multipart(
    State(registry): State<Registry>,
    Path(folder): Path<String>,
    Extension(gateway): Extension<Arc<Gateway>>,
    headers: HeaderMap,
    Rpc(request): Rpc<CreateMultipartUpload>,
) -> Answer<CreateMultipartUploadResponse> {
    let target = target(&folder, &request.path)?;
    let parts = request
        .num_parts
        .and_then(|parts| u16::try_from(parts).ok())
        .filter(|parts| (1..=MAX_PARTS).contains(parts))
        .ok_or_else(|| {
            ApiError::invalid(format!("num_parts must be between 1 and {MAX_PARTS}."))
        })?;
    // Before anything is begun.
    let base = base_url(&headers, gateway.tls().is_some())?;
    let upload = registry
        .artifacts()
        .create_multipart(&target, parts)
        .await?;
    let urls = upload.part_urls.unwrap_or_else(|| {
        let url = |part| {
            let token = PartToken::new(&upload.id, part, PART_URL_LIFETIME);
            format!("{base}{PART_ROUTE}{}", token.sign(registry.signing_key()))
        };
        (1..=parts).map(url).collect()
    });
    let credentials = (1..)
        .zip(urls)
        .map(|(part_number, url)| MultipartUploadCredential { url, part_number });
    Ok(Json(CreateMultipartUploadResponse {
        upload_id: Some(upload.id),
        credentials: credentials.collect(),
    }))
}

pub(in crate::api) async fn complete_multipart(
    State(registry): State<Registry>,
    Path(folder): Path<String>,
    Rpc(request): Rpc<CompleteMultipartUpload>,
) -> Answer<Empty> {
    let target = target(&folder, &request.path)?;
    required(
        "upload_id",
        request.upload_id.as_deref().unwrap_or_default(),
    )?;
    if request.parts.is_empty() {
        return Err(ApiError::missing("parts"));
    }
    let part = |part: MultipartUploadPart| {
        let number = part
            .part_number
            .and_then(|number| u16::try_from(number).ok());
        let number = number.filter(|number| (1..=MAX_PARTS).contains(number));
        Ok(CompletedPart {
            number: number.ok_or_else(|| ApiError::invalid("Invalid part_number."))?,
            e_tag: part.etag.ok_or_else(|| ApiError::missing("etag"))?,
        })
    };
    let parts = request.parts.into_iter().map(part);
    let parts = parts.collect::<Result<_, ApiError>>()?;
    registry
        .artifacts()
        .complete_multipart(
            &target,
            request.upload_id.as_deref().unwrap_or_default(),
            parts,
        )
        .await?;
    Ok(Json(Empty {}))
}

pub(in crate::api) async fn abort_multipart(
    State(registry): State<Registry>,
    Path(folder): Path<String>,
    Rpc(request): Rpc<AbortMultipartUpload>,
) -> Answer<Empty> {
    let target = target(&folder, &request.path)?;
    let upload_id = request.upload_id.unwrap_or_default();
    required("upload_id", &upload_id)?;
    registry
        .artifacts()
        .abort_multipart(&target, &upload_id)
        .await?;
    Ok(Json(Empty {}))
}

/// Takes one part; the token says whose, and that it may.
pub(in crate::api) async fn upload_part(
    State(registry): State<Registry>,
    Path(token): Path<String>,
    request: Request,
) -> Result<Response, ApiError> {
    transfer::receive(request, async |size, body| {
        let token = PartToken::verify(&token, registry.signing_key()).ok_or_else(|| {
            ApiError::new(
                ErrorCode::PermissionDenied,
                "The URL of this part is not valid, or has expired.",
            )
        })?;
        let e_tag = registry
            .artifacts()
            .put_part(&token.upload_id, token.part, size, body)
            .await?;
        let mut answer = Json(Empty {}).into_response();
        if let Ok(e_tag) = HeaderValue::from_str(&e_tag) {
            answer.headers_mut().insert(ETAG, e_tag);
        }
        Ok(answer)
    })
    .await
}

/// The artifact: a folder, and the name of the client's own file.
fn target(folder: &str, file: &str) -> Result<ArtifactPath, ApiError> {
    required("path", file)?;
    let name = file.rsplit(['/', '\\']).next().unwrap_or_default();
    let name = ArtifactPath::parse(name)?;
    if name.is_root() {
        return Err(ApiError::invalid("Invalid path"));
    }
    Ok(ArtifactPath::parse(folder)?.join(&name))
}

/// How the client reaches this server, by its own words: the `Host`, which was checked, and what a
/// proxy says of itself. What came by TLS goes by TLS: the token in the URL is a secret.
fn base_url(headers: &HeaderMap, tls: bool) -> Result<String, ApiError> {
    let header = |name: &HeaderName| headers.get(name)?.to_str().ok().map(str::trim);
    let forwarded = |name: &'static str| header(&HeaderName::from_static(name));
    let host = header(&HOST)
        .filter(|host| host.parse::<Authority>().is_ok())
        .ok_or_else(|| ApiError::new(ErrorCode::BadRequest, "A Host header is needed."))?;
    let scheme = match forwarded("x-forwarded-proto") {
        _ if tls => "https",
        Some(scheme) if scheme.eq_ignore_ascii_case("https") => "https",
        _ => "http",
    };
    let is_path = |prefix: &&str| {
        let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"/-._~".contains(&byte);
        prefix.starts_with('/') && !prefix.contains("//") && prefix.bytes().all(plain)
    };
    let prefix = forwarded("x-forwarded-prefix")
        .filter(is_path)
        .unwrap_or("");
    Ok(format!("{scheme}://{host}{}", prefix.trim_end_matches('/')))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_target_is_the_clients_file_in_the_folder() {
        for (folder, file, expected) in [
            (
                "1/ab/artifacts",
                "/tmp/x/model.bin",
                "1/ab/artifacts/model.bin",
            ),
            ("1", "model.bin", "1/model.bin"),
            ("1/", "C:\\x\\model.bin", "1/model.bin"),
        ] {
            assert_eq!(target(folder, file).unwrap().to_string(), expected);
        }
        for (folder, file) in [
            ("1", ""),
            ("1", "a/"),
            ("1", "x/.."),
            ("../1", "a"),
            ("1", "%2e%2e"),
        ] {
            assert!(target(folder, file).is_err(), "{folder} {file}");
        }
    }

    #[test]
    fn urls_are_those_that_the_client_uses() {
        for (headers, expected) in [
            (vec![("host", "h:5000")], "http://h:5000"),
            (
                vec![("host", "h"), ("x-forwarded-proto", "https")],
                "https://h",
            ),
            (
                vec![("host", "h"), ("x-forwarded-proto", "javascript")],
                "http://h",
            ),
            (
                vec![("host", "h"), ("x-forwarded-prefix", "/mlflow/")],
                "http://h/mlflow",
            ),
            (
                vec![("host", "h"), ("x-forwarded-prefix", "//evil")],
                "http://h",
            ),
            (
                vec![("host", "h"), ("x-forwarded-prefix", "evil")],
                "http://h",
            ),
        ] {
            let mut map = HeaderMap::new();
            for (name, value) in headers {
                map.insert(name, HeaderValue::from_static(value));
            }
            assert_eq!(base_url(&map, false).unwrap(), expected);
            let secure = expected.replace("http:", "https:");
            assert_eq!(base_url(&map, true).unwrap(), secure);
        }
        assert!(base_url(&HeaderMap::new(), false).is_err());
    }
}
