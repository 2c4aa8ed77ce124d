//! Ids that a feed could not get.

use serde::{Deserialize, Serialize};

/// A gap's value in `gaps`: every id from the first to the last is missing, and will be.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct WireGap {
    /// The symbol; the record's key as well.
    pub symbol: String,
    /// The topic that lacks them, without its prefix.
    pub topic: String,
    /// The first missing id (for candles the open time, µs since the epoch).
    pub first_id: u64,
    /// The last missing id.
    pub last_id: u64,
    /// Why.
    pub reason: GapReason,
    /// What the exchange or the network said.
    pub detail: String,
}

/// Why ids are missing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum GapReason {
    /// The exchange answered, but doesn't have them.
    NotAtExchange,
    /// The exchange did not answer, however often it was asked.
    Unreachable,
    /// There are more than the feed may fetch.
    TooLarge,
}

impl GapReason {
    /// The word on the wire.
    pub fn as_str(self) -> &'static str {
        match self {
            GapReason::NotAtExchange => "not_at_exchange",
            GapReason::Unreachable => "unreachable",
            GapReason::TooLarge => "too_large",
        }
    }
}
