//! Why a request failed.

use crate::error::ErrorCode;

/// Why a request failed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ClientError {
    /// The tracking URI is not an http(s) URL.
    #[error("tracking uri `{uri}`: {reason}")]
    InvalidUri {
        /// The URI, without credentials.
        uri: String,
        /// What is wrong with it.
        reason: String,
    },
    /// No answer came: the server is down, the name does not resolve, the time ran out.
    #[error("can't reach the tracking server at `{server}`")]
    Unreachable {
        /// The server's base URL, without credentials.
        server: String,
        /// The cause.
        source: reqwest::Error,
    },
    /// The server answered with an error.
    #[error("the tracking server refused: {message} ({error_code}, status {status})")]
    Refused {
        /// The HTTP status.
        status: u16,
        /// MLflow's error code, or `HTTP_<status>` where the answer has none.
        error_code: String,
        /// The server's message.
        message: String,
    },
    /// The server answered with something that is not the MLflow dialect.
    #[error("the tracking server at `{server}` gave an answer that can't be read: {reason}")]
    Unreadable {
        /// The server's base URL, without credentials.
        server: String,
        /// What is wrong with the answer.
        reason: String,
    },
    /// The artifact URI is of a kind that is not reached through the tracking server.
    #[error("artifact uri `{uri}`: {reason}")]
    ArtifactUri {
        /// The URI.
        uri: String,
        /// What is wrong with it.
        reason: String,
    },
    /// A local file of an upload or a download failed.
    #[error("`{path}`")]
    File {
        /// The file.
        path: String,
        /// The cause.
        source: std::io::Error,
    },
}

impl ClientError {
    /// The server's error code, where it sent one that MLflow knows.
    #[must_use]
    pub fn code(&self) -> Option<ErrorCode> {
        match self {
            Self::Refused { error_code, .. } => ErrorCode::from_name(error_code),
            _ => None,
        }
    }

    /// Whether waiting may help: nobody answered, or the server is busy or out of order.
    #[must_use]
    pub fn is_passing(&self) -> bool {
        match self {
            Self::Unreachable { .. } | Self::Unreadable { .. } => true,
            Self::Refused { status, .. } => matches!(status, 408 | 429 | 500..=599),
            _ => false,
        }
    }

    /// Whether no server answered, as opposed to one that said no.
    #[must_use]
    pub fn is_unreachable(&self) -> bool {
        matches!(self, Self::Unreachable { .. })
    }

    /// Whether the server said that the thing does not exist.
    #[must_use]
    pub fn is_not_found(&self) -> bool {
        self.code() == Some(ErrorCode::ResourceDoesNotExist)
    }
}
