//! The REST API: extract, ask the store, map the answer. One file per resource; [`routes`] is the
//! table of them all.

mod actor;
mod aliases;
mod artifacts;
mod error;
mod events;
mod experiments;
mod extract;
mod landing;
mod logged_models;
mod meta;
mod metrics;
mod model_versions;
mod names;
mod registered_models;
pub mod routes;
mod runs;
mod security;
mod validate;

use axum::Json;

pub(crate) use aliases::Stopping;
use error::ApiError;

/// What a handler answers.
type Answer<T> = Result<Json<T>, ApiError>;
