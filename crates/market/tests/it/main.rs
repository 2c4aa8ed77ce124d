//! What the market crate promises, checked from outside.
#![allow(
    clippy::unwrap_used,
    missing_docs,
    reason = "a test may fail by panicking, and its name is its documentation"
)]

mod accounting;
mod injection;
mod real_data;
mod reference;
mod simulation;
mod streaming;
mod support;
