//! The anomaly injector: labelled events put into real or simulated history *before* features are computed.
//!
//! Events of one symbol never overlap and keep a cooling distance. Every changed row carries its event's id and no other
//! row does. Prices return to the original path within the event, so that the history after it is what it was. Where an
//! event falls, its kind and its size depend on the seed, the symbol and that symbol's own history only: adding a symbol
//! changes nothing for the others.

mod candles;
mod plan;
mod scene;
mod stream;
mod trades;

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use thiserror::Error;

pub use candles::inject_candles;
pub use stream::InjectStream;
pub use trades::{ADDED_TRADE_IDS, inject_trades};

use crate::candle::CandleError;
use crate::config::{Violation, join};
use crate::event::{AnomalyKind, EventId};
use crate::interval::Interval;
use crate::time::show_time;
use crate::trade::TradeError;

/// What to inject, as written; [`InjectConfig::check`] makes it usable.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct InjectConfig {
    /// The kinds to inject; each is used equally often.
    pub kinds: Vec<AnomalyKind>,
    /// How many events per symbol and day of allowed time, above 0. The number is rounded up or down at random, so that
    /// its mean is exact; fewer are placed where they don't fit.
    pub events_per_symbol_day: f64,
    /// Smallest and largest size of an event, in standard deviations of the symbol's own moves, drawn log-uniformly, so
    /// that the subtle are as frequent as the gross.
    ///
    /// A price move that is built up over n candles is `magnitude × sd of one candle's log return × √n`: as many standard
    /// deviations of a move over n candles. Added volume per candle is `magnitude × sd of a candle's volume`. Both sd are
    /// robust (1.4826 × median absolute deviation) and come from the history before injection. No
    /// price is displaced by more than a factor of e^5.
    pub magnitude: (f64, f64),
    /// Shortest and longest duration in candles of a kind; kinds that are not in here have
    /// [`InjectConfig::default_duration`].
    #[serde(default)]
    pub durations: BTreeMap<AnomalyKind, (usize, usize)>,
    /// The least distance between two events of a symbol, in candles (default 60).
    #[serde(default = "default_min_spacing")]
    pub min_spacing: usize,
    /// The seed.
    pub seed: u64,
}

fn default_min_spacing() -> usize {
    60
}

/// Longest duration of an event, in candles.
const MAX_DURATION: usize = 10_000;

impl InjectConfig {
    /// All kinds, one event per symbol and day, 3 to 30 standard deviations.
    pub fn new(seed: u64) -> InjectConfig {
        InjectConfig {
            kinds: AnomalyKind::ALL.to_vec(),
            events_per_symbol_day: 1.0,
            magnitude: (3.0, 30.0),
            durations: BTreeMap::new(),
            min_spacing: default_min_spacing(),
            seed,
        }
    }

    /// The shortest and longest duration of a kind, in candles, where the configuration names none.
    pub fn default_duration(kind: AnomalyKind) -> (usize, usize) {
        match kind {
            AnomalyKind::PriceSpike => (2, 3),
            AnomalyKind::VolumeSpike => (1, 3),
            AnomalyKind::FlashCrash => (5, 12),
            AnomalyKind::PumpAndDump => (12, 30),
            AnomalyKind::WashTrading => (5, 20),
            AnomalyKind::LiquidityGap => (4, 8),
        }
    }

    /// The fewest candles that a kind can be told in.
    pub fn shortest_duration(kind: AnomalyKind) -> usize {
        match kind {
            AnomalyKind::VolumeSpike | AnomalyKind::WashTrading => 1,
            AnomalyKind::PriceSpike | AnomalyKind::LiquidityGap => 2,
            AnomalyKind::FlashCrash => 3,
            AnomalyKind::PumpAndDump => 4,
        }
    }

    /// Checks every value.
    ///
    /// # Errors
    /// All violations, not only the first.
    pub fn check(self) -> Result<ValidInjectConfig, InjectConfigError> {
        let mut violations = Vec::new();
        let mut require = |holds: bool, key: &'static str, value: String, allowed: String| {
            if !holds {
                violations.push(Violation {
                    key,
                    value,
                    allowed,
                });
            }
        };
        require(
            !self.kinds.is_empty(),
            "kinds",
            "[]".to_owned(),
            "at least one kind".to_owned(),
        );
        for (idx, kind) in self.kinds.iter().enumerate() {
            require(
                !self.kinds[..idx].contains(kind),
                "kinds",
                kind.to_string(),
                "each kind once".to_owned(),
            );
        }
        require(
            self.events_per_symbol_day > 0.0 && self.events_per_symbol_day <= 100_000.0,
            "events_per_symbol_day",
            self.events_per_symbol_day.to_string(),
            "above 0, up to 100000".to_owned(),
        );
        let (least, most) = self.magnitude;
        require(
            least > 0.0 && least <= most && most <= 1e4,
            "magnitude",
            format!("[{least}, {most}]"),
            "0 < smallest <= largest <= 10000".to_owned(),
        );
        for (kind, (shortest, longest)) in &self.durations {
            let possible = InjectConfig::shortest_duration(*kind);
            require(
                *shortest >= possible && shortest <= longest && *longest <= MAX_DURATION,
                "durations",
                format!("{kind} = [{shortest}, {longest}]"),
                format!("{possible} <= shortest <= longest <= {MAX_DURATION} candles"),
            );
        }
        require(
            self.min_spacing <= 1_000_000,
            "min_spacing",
            self.min_spacing.to_string(),
            "0 to 1000000 candles".to_owned(),
        );
        if violations.is_empty() {
            Ok(ValidInjectConfig { config: self })
        } else {
            Err(InjectConfigError { violations })
        }
    }
}

/// Everything that is wrong with an [`InjectConfig`].
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("invalid injection: {}", join(violations))]
pub struct InjectConfigError {
    /// Every violation, in the order of the fields.
    pub violations: Vec<Violation>,
}

/// An [`InjectConfig`] whose values are all allowed.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(try_from = "InjectConfig", into = "InjectConfig")]
pub struct ValidInjectConfig {
    config: InjectConfig,
}

impl ValidInjectConfig {
    /// The values as written.
    pub fn config(&self) -> &InjectConfig {
        &self.config
    }

    /// The shortest and longest duration of a kind, in candles.
    pub fn duration(&self, kind: AnomalyKind) -> (usize, usize) {
        self.config
            .durations
            .get(&kind)
            .copied()
            .unwrap_or_else(|| InjectConfig::default_duration(kind))
    }
}

impl TryFrom<InjectConfig> for ValidInjectConfig {
    type Error = InjectConfigError;

    fn try_from(config: InjectConfig) -> Result<Self, Self::Error> {
        config.check()
    }
}

impl From<ValidInjectConfig> for InjectConfig {
    fn from(config: ValidInjectConfig) -> InjectConfig {
        config.config
    }
}

/// A span of event time in µs: `start` is inside, `end` is not.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct TimeRange {
    /// The first moment inside.
    pub start: i64,
    /// The first moment after it.
    pub end: i64,
}

impl TimeRange {
    /// All of time.
    pub const ALL: TimeRange = TimeRange {
        start: i64::MIN,
        end: i64::MAX,
    };
}

/// Where to inject.
#[derive(Debug, Clone, Copy)]
pub struct InjectTarget<'a> {
    /// The symbol, which with the seed decides where events fall.
    pub symbol: &'a str,
    /// The length of a candle: events start and end on it, at trade level too.
    pub interval: Interval,
    /// Events lie wholly inside one of these ranges; keep purge zones and warm-up out of them.
    pub allowed: &'a [TimeRange],
    /// The id of the first event; the others follow it in order of time. For the next symbol, pass the id after the last
    /// event's.
    pub first_id: EventId,
}

impl InjectTarget<'_> {
    /// The id of the event at this place.
    fn nth_id(&self, place: usize) -> Result<EventId, InjectError> {
        u32::try_from(place)
            .ok()
            .and_then(|place| self.first_id.get().checked_add(place))
            .and_then(EventId::new)
            .ok_or(InjectError::EventIds(self.first_id))
    }
}

/// Why nothing can be injected into this history.
#[derive(Debug, Clone, PartialEq, Error)]
pub enum InjectError {
    /// A candle is inconsistent, or not after the one before it.
    #[error("candle number {idx} of `{symbol}` (counted from 0) can't be injected into")]
    Candle {
        /// The symbol.
        symbol: String,
        /// The candle's place.
        idx: usize,
        /// What is wrong with it.
        #[source]
        source: CandleError,
    },
    /// A trade is none.
    #[error("trade number {idx} of `{symbol}` (counted from 0) can't be injected into")]
    Trade {
        /// The symbol.
        symbol: String,
        /// The trade's place.
        idx: usize,
        /// What is wrong with it.
        #[source]
        source: TradeError,
    },
    /// A trade comes before the one before it.
    #[error(
        "trade number {idx} of `{symbol}` (counted from 0) at `{}` is earlier than the one before it",
        show_time(*event_time)
    )]
    UnorderedTrade {
        /// The symbol.
        symbol: String,
        /// The trade's place.
        idx: usize,
        /// Its event time, µs.
        event_time: i64,
    },
    /// There are more events than event ids.
    #[error("too few event ids are left from `{0}` on")]
    EventIds(EventId),
}
