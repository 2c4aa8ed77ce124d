//! A market out of nothing: trades of any number of symbols, with labelled anomalies.

mod regime;
mod symbols;
mod traffic;

pub use regime::RegimeChange;
pub use symbols::{names, symbol};
pub use traffic::{SimulatedTrade, Traffic};
