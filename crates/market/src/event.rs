//! Labelled events: what was injected, or what is known to have happened.

use std::fmt;
use std::num::NonZeroU32;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use thiserror::Error;

/// The number of an event, unique within one data set; 0 is "no event" in files.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct EventId(pub NonZeroU32);

impl EventId {
    /// The first id.
    pub const FIRST: EventId = EventId(NonZeroU32::MIN);

    /// The id with this number; `None` for 0.
    pub fn new(number: u32) -> Option<EventId> {
        NonZeroU32::new(number).map(EventId)
    }

    /// The number, at least 1.
    pub fn get(self) -> u32 {
        self.0.get()
    }

    /// The following id; `None` after the last one.
    pub fn next(self) -> Option<EventId> {
        self.0.checked_add(1).map(EventId)
    }
}

impl fmt::Display for EventId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// One labelled event of one symbol.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Event {
    /// Its id, which labelled trades and candles carry.
    pub id: EventId,
    /// The symbol that it happened to.
    pub symbol: String,
    /// [`AnomalyKind::as_str`] of an injected event, or any other word for a real one, such as `pump`.
    pub kind: String,
    /// Its first moment, µs since the epoch.
    pub start: i64,
    /// The first moment after it, µs since the epoch.
    pub end: i64,
    /// How large, in standard deviations of the symbol's own moves (0 where nobody measured it).
    pub magnitude: f64,
}

/// The kinds of anomaly that the injector can make.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum AnomalyKind {
    /// The price leaps up or down and returns.
    PriceSpike,
    /// Volume and trade count leap; the price does not.
    VolumeSpike,
    /// The price falls quickly and recovers over several candles, with more volume.
    FlashCrash,
    /// First volume, then a ramp up, then the fall back.
    PumpAndDump,
    /// Volume and trade count, balanced between buyers and sellers, without a price move.
    WashTrading,
    /// Trades vanish, the price stands still, then it jumps through a very wide range on little volume.
    LiquidityGap,
}

impl AnomalyKind {
    /// Every kind, in the order of the variants.
    pub const ALL: [AnomalyKind; 6] = [
        AnomalyKind::PriceSpike,
        AnomalyKind::VolumeSpike,
        AnomalyKind::FlashCrash,
        AnomalyKind::PumpAndDump,
        AnomalyKind::WashTrading,
        AnomalyKind::LiquidityGap,
    ];

    /// The name in files and reports: `price_spike`, `volume_spike`, `flash_crash`, `pump_and_dump`, `wash_trading`,
    /// `liquidity_gap`.
    pub fn as_str(self) -> &'static str {
        match self {
            AnomalyKind::PriceSpike => "price_spike",
            AnomalyKind::VolumeSpike => "volume_spike",
            AnomalyKind::FlashCrash => "flash_crash",
            AnomalyKind::PumpAndDump => "pump_and_dump",
            AnomalyKind::WashTrading => "wash_trading",
            AnomalyKind::LiquidityGap => "liquidity_gap",
        }
    }
}

impl fmt::Display for AnomalyKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A word that is no [`AnomalyKind`].
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error(
    "unknown anomaly kind `{0}`: expected one of price_spike, volume_spike, flash_crash, pump_and_dump, wash_trading, \
     liquidity_gap"
)]
pub struct ParseAnomalyKindError(String);

impl FromStr for AnomalyKind {
    type Err = ParseAnomalyKindError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        AnomalyKind::ALL
            .into_iter()
            .find(|kind| kind.as_str() == text)
            .ok_or_else(|| ParseAnomalyKindError(text.to_owned()))
    }
}
