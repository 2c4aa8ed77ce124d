//! The registry through real HTTP: its own client, and raw requests where a client would not go.
//!
//! These tests run twice: here against SQLite, and as `tests/postgres.rs` against PostgreSQL.
#![allow(clippy::unwrap_used, missing_docs, reason = "tests")]

mod artifacts;
mod artifacts_http;
mod artifacts_program;
mod artifacts_s3;
mod concurrency;
mod crash;
mod datasets;
mod dialect;
mod graphql;
pub(crate) mod harness;
mod metrics;
mod models;
mod replay;
mod routes;
mod server;
mod traces;
mod tracking;
mod webhooks;
