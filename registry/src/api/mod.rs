//! The REST API: extract, ask the store, map the answer. One file per resource; [`routes`] is the
//! table of them all.

mod actor;
mod aliases;
mod artifacts;
mod datasets;
mod error;
mod events;
mod experiments;
mod extract;
mod graphql;
mod graphql_schema;
mod graphql_select;
mod landing;
mod logged_models;
mod market;
mod meta;
mod metrics;
mod model_versions;
mod names;
mod openapi;
pub mod refused;
mod registered_models;
pub mod routes;
mod runs;
mod traces;
mod traces_assessments;
mod traces_otlp;
mod traces_v2;
mod users;
mod validate;
mod webhooks;

use axum::Json;

pub(crate) use aliases::{LONGEST_WAIT, Stopping};
pub(crate) use error::ApiError;
pub(crate) use extract::{message_of_body, message_of_query, snake_case_key};
pub(crate) use meta::panicked;

/// What a handler answers.
type Answer<T> = Result<Json<T>, ApiError>;
