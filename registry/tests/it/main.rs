//! The registry through real HTTP: its own client, and raw requests where a client would not go.
#![allow(clippy::unwrap_used, missing_docs, reason = "tests")]

mod artifacts;
mod concurrency;
mod harness;
mod models;
mod server;
mod tracking;
