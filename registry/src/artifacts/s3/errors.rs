//! What the protocol's errors mean.

use std::error::Error;

use object_store::client::{HttpError, HttpErrorKind};

use crate::artifacts::ArtifactError;

/// The error of a call about a key.
pub(super) fn failed(error: object_store::Error, key: &str) -> ArtifactError {
    use object_store::Error as E;
    let code = code_of(&error);
    match (code.as_deref(), &error) {
        (Some("NoSuchUpload"), _) => ArtifactError::NoSuchUpload,
        (Some("NoSuchBucket"), _) => ArtifactError::Remote(error.into()),
        (Some(code @ ("InvalidPart" | "InvalidPartOrder" | "EntityTooSmall")), _) => {
            ArtifactError::InvalidPart(code.to_owned())
        }
        (Some("SlowDown" | "ServiceUnavailable" | "RequestTimeout"), _) => {
            ArtifactError::Unavailable(error.into())
        }
        (_, E::NotFound { .. }) => ArtifactError::NotFound(key.to_owned()),
        (_, E::PermissionDenied { .. } | E::Unauthenticated { .. }) => {
            ArtifactError::Refused(error.into())
        }
        _ if is_unreachable(&error) => ArtifactError::Unavailable(error.into()),
        _ => ArtifactError::Remote(error.into()),
    }
}

pub(super) fn timed_out() -> ArtifactError {
    ArtifactError::Unavailable("the bucket did not answer in time".into())
}

/// The code in the body of an error answer, which is XML. The client library keeps the body in its
/// message only.
pub(super) fn code_of(error: &dyn Error) -> Option<String> {
    let text = error.to_string();
    let (_, rest) = text.split_once("<Code>")?;
    let (code, _) = rest.split_once("</Code>")?;
    Some(code.to_owned())
}

/// Whether there was no answer at all.
pub(super) fn is_unreachable(error: &(dyn Error + 'static)) -> bool {
    let mut next = Some(error);
    while let Some(error) = next {
        if let Some(http) = error.downcast_ref::<HttpError>() {
            return matches!(
                http.kind(),
                HttpErrorKind::Connect
                    | HttpErrorKind::Timeout
                    | HttpErrorKind::Interrupted
                    | HttpErrorKind::Request
            );
        }
        next = error.source();
    }
    false
}
