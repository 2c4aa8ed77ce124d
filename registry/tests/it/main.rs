//! The registry through real HTTP: its own client, and raw requests where a client would not go.
//!
//! These tests run twice: here against SQLite, and as `tests/postgres.rs` against PostgreSQL.
#![allow(clippy::unwrap_used, missing_docs, reason = "tests")]
#![allow(
    clippy::needless_update,
    reason = "one option more must not change every test"
)]

mod alias_history;
mod artifacts;
mod artifacts_http;
mod artifacts_program;
mod artifacts_s3;
mod auth;
mod boundaries;
mod concurrency;
mod crash;
mod datasets;
mod dialect;
mod events;
mod graphql;
pub(crate) mod harness;
mod import;
mod limits;
mod market;
mod market_kafka;
mod metrics;
mod models;
mod operations;
mod replay;
mod routes;
mod secured;
mod security;
mod server;
mod traces;
mod tracking;
mod upkeep;
mod webhooks;
