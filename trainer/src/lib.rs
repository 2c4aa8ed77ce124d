//! Trains, evaluates and registers market anomaly detectors.
//!
//! `trainer run EXPERIMENT.toml` reads history, computes features with the
//! engine that the scorer uses, fits the candidates on the past, chooses among
//! them on validation data, sets a threshold from an alert budget, measures
//! once on the test range, and registers the winner with everything that is
//! needed to make it again.
//!
//! Reading order: [`cli`] (what a user types), [`config`] (what an experiment
//! file may say), [`pipeline`] (from data to a judged model), [`report`] (what
//! a person reads), [`tracking`] (what the registry is told), [`commands`]
//! (one file per command).
#![cfg_attr(test, allow(clippy::unwrap_used))]

pub mod cli;
pub mod commands;
pub mod config;
pub mod exit;
pub mod pipeline;
pub mod report;
pub mod tracking;

pub use terminal::{interrupt, output, progress};
