//! The one place where errors become MLflow's error answers.
//!
//! What a client reads and what the log keeps are apart: no SQL, no path of this machine and no
//! cause inside ever reaches a client.

use std::error::Error;

use axum::Json;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use mlflow_api::{ErrorBody, ErrorCode};

use crate::artifacts::ArtifactError;
use crate::filter::FilterError;
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
            ArtifactError::InvalidPath | ArtifactError::Conflict(_) => Self::invalid(message),
            ArtifactError::NotFound(_) => Self::new(ErrorCode::ResourceDoesNotExist, message),
            ArtifactError::Interrupted => Self::new(ErrorCode::BadRequest, message),
            ArtifactError::Full(_) => Self::new(
                ErrorCode::InternalError,
                "The artifact store has no space left; nothing was written.",
            )
            .with_status(507)
            .caused_by(error),
            ArtifactError::Io(_) => Self::new(
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
        let body = ErrorBody {
            error_code: self.code.as_str().to_owned(),
            message: self.message,
        };
        (status, Json(body)).into_response()
    }
}
