//! The scorer: follows trades in Kafka, scores every closed candle with the promoted model, writes alerts, each exactly
//! once. What it computes is in the crate `streaming`, which knows neither Kafka nor files; here is what carries it.

#![cfg_attr(
    test,
    allow(clippy::unwrap_used, reason = "a test may fail by panicking")
)]

pub mod api;
pub mod archive;
pub mod cli;
pub mod config;
pub mod limits;
pub mod model;
pub mod replay;
pub mod stream;
pub mod telemetry;

#[cfg(test)]
mod fixed;
mod shadow;
