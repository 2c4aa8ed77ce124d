//! The REST API: extract, ask the store, map the answer. One file per resource; [`routes`] is the
//! table of them all.

mod artifacts;
mod datasets;
mod error;
mod experiments;
mod extract;
mod graphql;
mod graphql_schema;
mod graphql_select;
mod landing;
mod logged_models;
mod meta;
mod metrics;
mod model_versions;
mod names;
mod openapi;
pub mod refused;
mod registered_models;
pub mod routes;
mod runs;
mod security;
mod traces;
mod traces_assessments;
mod traces_otlp;
mod traces_v2;
mod validate;
mod webhooks;

use axum::Json;

use error::ApiError;

/// What a handler answers.
type Answer<T> = Result<Json<T>, ApiError>;
