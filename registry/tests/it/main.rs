//! The registry through real HTTP: its own client, and raw requests where a client would not go.
//!
//! These tests run twice: here against SQLite, and as `tests/postgres.rs` against PostgreSQL.
#![allow(clippy::unwrap_used, missing_docs, reason = "tests")]

mod alias_history;
mod artifacts;
mod concurrency;
mod crash;
mod events;
pub(crate) mod harness;
mod import;
mod metrics;
mod models;
mod server;
mod tracking;
mod upkeep;
