//! What callers read when they are refused: MLflow's error body, and where something is wrong with fields, which.

use std::time::Duration;

use axum::Json;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::Serialize;

/// Fields named in one answer at most.
const MOST_FIELDS: usize = 20;

/// What is wrong with a field.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(super) struct FieldError {
    /// Where it is, such as `rows[3].features.volume_zscore`.
    pub(super) field: String,
    /// What is wrong with it.
    pub(super) message: String,
}

/// A request that is refused.
#[derive(Debug)]
pub(super) struct Refusal {
    status: StatusCode,
    code: &'static str,
    message: String,
    fields: Vec<FieldError>,
    retry_after: Option<Duration>,
}

#[derive(Serialize)]
struct Body<'a> {
    error_code: &'a str,
    message: &'a str,
    #[serde(skip_serializing_if = "<[_]>::is_empty")]
    fields: &'a [FieldError],
}

impl Refusal {
    fn new(status: StatusCode, code: &'static str, message: impl Into<String>) -> Self {
        Self {
            status,
            code,
            message: message.into(),
            fields: Vec::new(),
            retry_after: None,
        }
    }

    /// 400: it can't be read.
    pub(super) fn unreadable(message: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, "BAD_REQUEST", message)
    }

    /// 422: it can be read, but these fields make no sense.
    pub(super) fn fields(mut fields: Vec<FieldError>) -> Self {
        let n_fields = fields.len();
        fields.truncate(MOST_FIELDS);
        let first = fields
            .first()
            .map(|error| format!("`{}`: {}", error.field, error.message))
            .unwrap_or_default();
        let message = match n_fields {
            0 | 1 => first,
            n => format!("{first} (and {} more)", n - 1),
        };
        Self {
            fields,
            ..Self::new(
                StatusCode::UNPROCESSABLE_ENTITY,
                "INVALID_PARAMETER_VALUE",
                message,
            )
        }
    }

    /// 422 for one field.
    pub(super) fn field(field: impl Into<String>, message: impl Into<String>) -> Self {
        Self::fields(vec![FieldError {
            field: field.into(),
            message: message.into(),
        }])
    }

    /// 401: without the token nothing is told.
    pub(super) fn unauthenticated() -> Self {
        Self::new(
            StatusCode::UNAUTHORIZED,
            "UNAUTHENTICATED",
            "a token is needed: `Authorization: Bearer …`",
        )
    }

    /// 404: there is no such thing.
    pub(super) fn absent(message: impl Into<String>) -> Self {
        Self::new(StatusCode::NOT_FOUND, "RESOURCE_DOES_NOT_EXIST", message)
    }

    /// 404: there is no such path.
    pub(super) fn no_route() -> Self {
        Self::new(
            StatusCode::NOT_FOUND,
            "ENDPOINT_NOT_FOUND",
            "there is no such path; /openapi.json lists them",
        )
    }

    /// 405: the path is there, but not for this method.
    pub(super) fn no_method() -> Self {
        Self::new(
            StatusCode::METHOD_NOT_ALLOWED,
            "BAD_REQUEST",
            "this path is not asked with this method; /openapi.json says with which",
        )
    }

    /// 408: the body did not come in time, or the answer took too long.
    pub(super) fn slow(patience: Duration) -> Self {
        Self::new(
            StatusCode::REQUEST_TIMEOUT,
            "TEMPORARILY_UNAVAILABLE",
            format!("the request took longer than {patience:?}"),
        )
    }

    /// 413: the body is too large.
    pub(super) fn too_large(most: usize) -> Self {
        Self::new(
            StatusCode::PAYLOAD_TOO_LARGE,
            "BAD_REQUEST",
            format!("the body is larger than {most} bytes, which `api.max_body` allows"),
        )
    }

    /// 415: of another type than is read.
    pub(super) fn media_type(message: impl Into<String>) -> Self {
        Self::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, "BAD_REQUEST", message)
    }

    /// 429: the caller had enough for now.
    pub(super) fn too_often(wait: Duration) -> Self {
        let mut refusal = Self::new(
            StatusCode::TOO_MANY_REQUESTS,
            "REQUEST_LIMIT_EXCEEDED",
            "more requests than `api.rate_limit` allows",
        );
        refusal.retry_after = Some(wait);
        refusal
    }

    /// 503: not now.
    pub(super) fn unavailable(message: impl Into<String>) -> Self {
        let mut refusal = Self::new(
            StatusCode::SERVICE_UNAVAILABLE,
            "TEMPORARILY_UNAVAILABLE",
            message,
        );
        refusal.retry_after = Some(Duration::from_secs(1));
        refusal
    }

    /// 500: a fault of ours.
    pub(super) fn internal() -> Self {
        Self::new(
            StatusCode::INTERNAL_SERVER_ERROR,
            "INTERNAL_ERROR",
            "the scorer failed to answer; its log says why",
        )
    }

    /// The same as a plain refusal with 400, which is all that MLflow's scoring protocol knows.
    pub(super) fn into_bad_request(mut self) -> Self {
        if self.status == StatusCode::UNPROCESSABLE_ENTITY {
            self.status = StatusCode::BAD_REQUEST;
            self.code = "BAD_REQUEST";
            self.fields.clear();
        }
        self
    }

    #[cfg(test)]
    pub(super) fn said(&self) -> (u16, &str, &[FieldError]) {
        (self.status.as_u16(), &self.message, &self.fields)
    }
}

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        let body = Body {
            error_code: self.code,
            message: &self.message,
            fields: &self.fields,
        };
        let mut response = (self.status, Json(body)).into_response();
        let headers = response.headers_mut();
        if let Some(wait) = self.retry_after {
            let seconds = wait.as_secs_f64().ceil().clamp(1.0, 86_400.0) as u64;
            headers.insert(header::RETRY_AFTER, HeaderValue::from(seconds));
        }
        if self.status == StatusCode::UNAUTHORIZED {
            let scheme = HeaderValue::from_static("Bearer");
            headers.insert(header::WWW_AUTHENTICATE, scheme);
        }
        response
    }
}
