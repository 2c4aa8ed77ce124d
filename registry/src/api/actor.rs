//! Who sends a request, and why.

use std::convert::Infallible;

use axum::extract::FromRequestParts;
use axum::http::request::Parts;

use super::error::ApiError;
use crate::auth::Viewer;
use crate::store::Note;

/// What a request's author may say about a change, where the body has no field for it.
const REASON: &str = "x-foreshock-reason";
/// The longest reason, in characters.
const MAX_REASON: usize = 1000;

/// The author of a change.
#[derive(Debug, Clone)]
pub(crate) struct Author {
    user: String,
    /// From the header.
    reason: Option<String>,
}

impl Author {
    /// What is recorded of a change; `reason`, from the body, wins over the header's.
    pub(crate) fn note(self, reason: Option<String>) -> Result<Note, ApiError> {
        let reason = reason
            .or(self.reason)
            .map(|reason| reason.trim().to_owned())
            .filter(|reason| !reason.is_empty());
        if let Some(reason) = &reason
            && reason.chars().count() > MAX_REASON
        {
            return Err(ApiError::invalid(format!(
                "A reason has at most {MAX_REASON} characters."
            )));
        }
        Ok(Note {
            user: self.user,
            reason,
        })
    }
}

impl<S: Send + Sync> FromRequestParts<S> for Author {
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Infallible> {
        let user = parts
            .extensions
            .get::<Viewer>()
            .and_then(Viewer::principal)
            .map_or_else(|| "anonymous".to_owned(), |user| user.name.clone());
        let reason = parts
            .headers
            .get(REASON)
            .map(|value| String::from_utf8_lossy(value.as_bytes()).into_owned());
        Ok(Self { user, reason })
    }
}
