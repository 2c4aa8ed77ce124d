//! Binance's public market data, without a gap.
//!
//! ```text
//! connections (WebSocket) ──► events ──► ledger ──► Kafka
//!        ▲ reconnect, overlap              │ ▲
//!        supervisor                        ▼ │ missing ids
//!                                         REST
//! ```
//!
//! The ids of trades are consecutive in each symbol, so the `ledger::Ledger` knows what is
//! missing, whatever the connections lost; nothing passes it out of order. What REST can't give
//! either becomes a gap record. Events, gap records and where each symbol stands by them go into Kafka in
//! one transaction, so a feed that ends anywhere begins again just there.

mod connection;
mod frames;
mod ledger;
mod limits;
mod positions;
mod rest;
mod run;
mod settings;
mod shard;
mod tls;
mod writer;

pub(crate) use rest::{Rest, RestSettings, http_client};
pub use run::{Report, probe, run};
pub use settings::{BinanceSettings, Streams, symbols_of};
