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
mod dialect;
pub(crate) mod harness;
mod metrics;
mod models;
mod replay;
mod routes;
mod server;
mod tracking;
