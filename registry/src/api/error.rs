//! The one place where errors become MLflow's error answers.
//!
//! What a client reads and what the log keeps are apart: no SQL, no path of this machine and no
//! cause inside ever reaches a client.

use std::error::Error;
use std::time::Duration;

use axum::Json;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use mlflow_api::{ErrorBody, ErrorCode};

use crate::artifacts::ArtifactError;
use crate::filter::FilterError;
use crate::http::current_request_id;
use crate::store::StoreError;

/// An error answer.
#[derive(Debug)]
pub(crate) struct ApiError {
    code: ErrorCode,
    status: u16,
    /// For the client.
    message: String,
    /// For the log.
    cause: Option<Box<dyn Error + Send + Sync>>,
}

impl ApiError {
    pub(crate) fn new(code: ErrorCode, message: impl Into<String>) -> Self {
        Self {
            code,
            status: code.status(),
            message: message.into(),
            cause: None,
        }
    }

    pub(crate) fn invalid(message: impl Into<String>) -> Self {
        Self::new(ErrorCode::InvalidParameterValue, message)
    }

    /// A parameter that must be there is not.
    pub(crate) fn missing(parameter: &str) -> Self {
        Self::invalid(format!(
            "Missing value for required parameter '{parameter}'. See the API docs for more \
             information about request parameters."
        ))
    }

    /// What the client reads.
    pub(crate) fn message(&self) -> &str {
        &self.message
    }

    /// The user may not do this.
    pub(crate) fn denied() -> Self {
        Self::new(ErrorCode::PermissionDenied, "Permission denied")
    }

    /// The body broke off, or grew too large on the way.
    pub(crate) fn unreadable_body() -> Self {
        Self::new(
            ErrorCode::BadRequest,
            "The body can't be read, or is larger than this server takes.",
        )
        .with_status(413)
    }

    /// The body says of itself that it is too large.
    pub(crate) fn too_large(most: u64) -> Self {
        Self::new(
            ErrorCode::BadRequest,
            format!("The body is larger than {most} bytes."),
        )
        .with_status(413)
    }

    /// The handler took too long.
    pub(crate) fn too_slow(patience: Duration) -> Self {
        Self::new(
            ErrorCode::TemporarilyUnavailable,
            format!("The request took longer than {} s.", patience.as_secs()),
        )
    }

    /// A fault of the server itself; the cause is for the log.
    pub(crate) fn internal(message: &str, cause: impl Into<Box<dyn Error + Send + Sync>>) -> Self {
        Self::new(ErrorCode::InternalError, message).caused_by(cause)
    }

    pub(crate) fn with_status(mut self, status: u16) -> Self {
        self.status = status;
        self
    }

    fn caused_by(mut self, cause: impl Into<Box<dyn Error + Send + Sync>>) -> Self {
        self.cause = Some(cause.into());
        self
    }
}

impl From<StoreError> for ApiError {
    fn from(error: StoreError) -> Self {
        match error {
            StoreError::NotFound(message) => Self::new(ErrorCode::ResourceDoesNotExist, message),
            StoreError::Exists(message) => Self::new(ErrorCode::ResourceAlreadyExists, message),
            StoreError::Invalid(message) => Self::invalid(message),
            StoreError::State(message) => Self::new(ErrorCode::InvalidState, message),
            StoreError::Filter(error) => error.into(),
            error @ StoreError::Database(_) if error.is_transient() => Self::new(
                ErrorCode::TemporarilyUnavailable,
                "The database is busy. Try again later.",
            )
            .caused_by(error),
            // 507 is not repeated by MLflow's clients, which would look like a hang.
            error @ StoreError::Database(_) if error.is_full() => Self::new(
                ErrorCode::InternalError,
                "The database's disk has no space left.",
            )
            .with_status(507)
            .caused_by(error),
            error @ StoreError::Database(_) => Self::new(
                ErrorCode::InternalError,
                "The database failed; the server's log says why.",
            )
            .caused_by(error),
        }
    }
}

impl From<FilterError> for ApiError {
    fn from(error: FilterError) -> Self {
        Self::invalid(error.0)
    }
}

impl From<ArtifactError> for ApiError {
    fn from(error: ArtifactError) -> Self {
        let message = error.to_string();
        match error {
            ArtifactError::InvalidPath
            | ArtifactError::Conflict(_)
            | ArtifactError::InvalidPart(_) => Self::invalid(message),
            ArtifactError::NotFound(_) | ArtifactError::NoSuchUpload => {
                Self::new(ErrorCode::ResourceDoesNotExist, message)
            }
            ArtifactError::Interrupted => Self::new(ErrorCode::BadRequest, message),
            ArtifactError::TooLarge => Self::new(ErrorCode::BadRequest, message).with_status(413),
            ArtifactError::Range(_) => Self::invalid(message).with_status(416),
            ArtifactError::Unsupported(_) => Self::new(ErrorCode::NotImplemented, message),
            ArtifactError::Full(_) => Self::new(
                ErrorCode::InternalError,
                "The artifact store has no space left; nothing was written.",
            )
            .with_status(507)
            .caused_by(error),
            // Not 500: a client would try for minutes what only the operator can change.
            ArtifactError::Refused(_) => Self::new(
                ErrorCode::PermissionDenied,
                "The artifact store refused the server; the server's log says why.",
            )
            .caused_by(error),
            ArtifactError::Unavailable(_) => Self::new(
                ErrorCode::TemporarilyUnavailable,
                "The artifact store can't be reached. Try again later.",
            )
            .caused_by(error),
            ArtifactError::Io(_) | ArtifactError::Remote(_) => Self::new(
                ErrorCode::InternalError,
                "The artifact store failed; the server's log says why.",
            )
            .caused_by(error),
        }
    }
}

impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        let status = StatusCode::from_u16(self.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        if let Some(cause) = &self.cause {
            let mut chain = cause.to_string();
            let mut next = cause.source();
            while let Some(error) = next {
                chain.push_str(": ");
                chain.push_str(&error.to_string());
                next = error.source();
            }
            tracing::error!(code = self.code.as_str(), cause = chain, "request failed");
        }
        let mut message = self.message;
        // What is left out on purpose is no failure.
        if status.is_server_error() && status != StatusCode::NOT_IMPLEMENTED {
            // By it the log's lines are found.
            current_request_id(|id| message.push_str(&format!(" (request {id})")));
        }
        let body = ErrorBody {
            error_code: self.code.as_str().to_owned(),
            message,
        };
        (status, Json(body)).into_response()
    }
}
