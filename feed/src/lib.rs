//! Brings trades into Kafka (from Binance, from a simulator, from files), and history into Parquet.
//!
//! Reading order: [`cli`] (what a user types), [`binance`] (the exchange: connections, the ledger
//! of ids, REST), [`simulate`] and [`replay`] (traffic without an exchange), [`download`] (history),
//! [`kafka`] and [`sink`] (where it goes), [`telemetry`].
#![cfg_attr(
    test,
    allow(clippy::unwrap_used, reason = "a test may fail by panicking")
)]

pub mod address;
pub mod binance;
pub mod cli;
pub mod download;
pub mod kafka;
pub mod pace;
pub mod replay;
pub mod simulate;
pub mod sink;
pub mod size;
pub mod telemetry;
pub mod time;
