//! The built program against a real Kafka broker and a fake Binance.

#![allow(
    missing_docs,
    clippy::unwrap_used,
    reason = "a test may fail by panicking"
)]

mod binance;
mod check;
mod fake;
mod history;
mod replay;
mod simulate;
mod support;
