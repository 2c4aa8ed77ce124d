//! The market simulator: trades of several symbols for tests and for users without data.
//!
//! Per symbol and minute the volatility follows a GARCH(1,1) process with Student-t innovations, times an hour-of-week
//! season; trades arrive as a self-exciting (Hawkes) process whose base rate follows the season and the volatility; within
//! the minute the efficient price is a random walk, and trades print half a spread away from it on the taker's side,
//! rounded to ticks; sides persist; sizes are log-normal, rounded to lots.
//!
//! Every symbol has its own random stream: the same seed and name give the same bytes, whatever the other symbols are.
//! (Logarithms and exponentials come from the platform, so "the same bytes" holds on one platform.)

mod market;

use serde::{Deserialize, Serialize};
use thiserror::Error;

pub use market::{SimulatedCandles, SimulatedTrades};

use crate::config::{Violation, join};
use crate::interval::Interval;
use crate::trade::{MAX_AMOUNT, MAX_EVENT_TIME, MIN_AMOUNT, Trade};
use market::round_to;

/// A symbol to simulate; in a file only its name and start price are needed.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(from = "WrittenSymbol")]
pub struct SimulatedSymbol {
    /// Its name, which with the seed decides its random stream.
    pub name: String,
    /// The price to start from.
    pub start_price: f64,
    /// The standard deviation of an hour's log return, in (0, 0.5] (0.005 is a liquid coin; a year's is √8766 times it).
    pub hourly_volatility: f64,
    /// The price step.
    pub tick: f64,
    /// The quantity step.
    pub lot: f64,
    /// The median quantity of a trade.
    pub median_quantity: f64,
}

impl SimulatedSymbol {
    /// Puts a trade's price and quantity on the symbol's steps.
    pub fn round(&self, trade: &mut Trade) {
        trade.price = round_to(trade.price, self.tick);
        trade.quantity = round_to(trade.quantity, self.lot);
    }

    /// A symbol with half a percent of hourly volatility, a tick of about a thousandth of a percent of the price, and a
    /// median trade of 100 lots of a thousandth of a unit.
    pub fn new(name: impl Into<String>, start_price: f64) -> SimulatedSymbol {
        let tick = 10_f64.powf((start_price * 1e-5).log10().round());
        SimulatedSymbol {
            name: name.into(),
            start_price,
            hourly_volatility: 0.005,
            tick,
            lot: 0.001,
            median_quantity: 0.1,
        }
    }
}

/// A [`SimulatedSymbol`] in a file: what is absent is as [`SimulatedSymbol::new`] makes it.
#[derive(Deserialize)]
#[serde(rename = "SimulatedSymbol", deny_unknown_fields)]
struct WrittenSymbol {
    name: String,
    start_price: f64,
    hourly_volatility: Option<f64>,
    tick: Option<f64>,
    lot: Option<f64>,
    median_quantity: Option<f64>,
}

impl From<WrittenSymbol> for SimulatedSymbol {
    fn from(written: WrittenSymbol) -> SimulatedSymbol {
        let default = SimulatedSymbol::new(written.name, written.start_price);
        SimulatedSymbol {
            hourly_volatility: written
                .hourly_volatility
                .unwrap_or(default.hourly_volatility),
            tick: written.tick.unwrap_or(default.tick),
            lot: written.lot.unwrap_or(default.lot),
            median_quantity: written.median_quantity.unwrap_or(default.median_quantity),
            ..default
        }
    }
}

/// What to simulate, as written; [`SimulateConfig::check`] makes it usable.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SimulateConfig {
    /// The seed.
    pub seed: u64,
    /// The symbols.
    pub symbols: Vec<SimulatedSymbol>,
    /// The first moment, µs since the epoch.
    pub start: i64,
    /// The length of the simulated time, in µs.
    pub duration: i64,
    /// Mean number of trades per symbol and second, within a few percent.
    pub trades_per_second: f64,
    /// How trades arrive.
    #[serde(default)]
    pub arrivals: Arrivals,
    /// Changes of the market, in order of time.
    #[serde(default)]
    pub regimes: Vec<Regime>,
}

/// How trades arrive.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Arrivals {
    /// Half of the trades trigger others, within seconds: bursts and lulls, as in real markets.
    #[default]
    Hawkes,
    /// Trades know nothing of each other; only season and volatility change their rate.
    Poisson,
}

/// What the market is like from a moment on, relative to what its symbols say; it holds until the next one.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Regime {
    /// From the first whole minute after this moment on, µs since the epoch.
    pub at: i64,
    /// Multiplies the volatility.
    #[serde(default = "one")]
    pub volatility: f64,
    /// Multiplies the number of trades.
    #[serde(default = "one")]
    pub activity: f64,
    /// Multiplies the quantity of each trade.
    #[serde(default = "one")]
    pub size: f64,
}

fn one() -> f64 {
    1.0
}

impl Regime {
    /// The market as its symbols say, from this moment on.
    pub fn normal(at: i64) -> Regime {
        Regime {
            at,
            volatility: 1.0,
            activity: 1.0,
            size: 1.0,
        }
    }
}

impl SimulateConfig {
    /// Checks every value.
    ///
    /// # Errors
    /// All violations, not only the first.
    pub fn check(self) -> Result<ValidSimulateConfig, SimulateConfigError> {
        let mut violations = Vec::new();
        let mut require = |holds: bool, key: &'static str, value: String, allowed: &str| {
            if !holds {
                violations.push(Violation {
                    key,
                    value,
                    allowed: allowed.to_owned(),
                });
            }
        };
        require(
            !self.symbols.is_empty(),
            "symbols",
            "[]".to_owned(),
            "at least one symbol",
        );
        for (idx, symbol) in self.symbols.iter().enumerate() {
            let twice = self.symbols[..idx]
                .iter()
                .any(|other| other.name == symbol.name);
            require(
                !symbol.name.is_empty() && !twice,
                "name",
                symbol.name.clone(),
                "each name once, none empty",
            );
            let price = symbol.start_price;
            let in_range = (MIN_AMOUNT * 1e6..=MAX_AMOUNT / 1e6).contains(&price);
            require(in_range, "start_price", price.to_string(), "1e-12 to 1e12");
            let volatility = symbol.hourly_volatility;
            require(
                volatility > 0.0 && volatility <= 0.5,
                "hourly_volatility",
                volatility.to_string(),
                "above 0, up to 0.5",
            );
            let tick_fits = symbol.tick >= MIN_AMOUNT && symbol.tick <= price;
            require(
                tick_fits,
                "tick",
                symbol.tick.to_string(),
                "1e-18 up to the start price",
            );
            let lot_fits = symbol.lot >= MIN_AMOUNT && symbol.lot <= MAX_AMOUNT / 1e6;
            require(lot_fits, "lot", symbol.lot.to_string(), "1e-18 to 1e12");
            let quantity = symbol.median_quantity;
            let quantity_fits = (MIN_AMOUNT..=MAX_AMOUNT / 1e6).contains(&quantity);
            require(
                quantity_fits,
                "median_quantity",
                quantity.to_string(),
                "1e-18 to 1e12",
            );
        }
        let in_time = |time: i64| (-MAX_EVENT_TIME / 2..MAX_EVENT_TIME / 2).contains(&time);
        require(
            in_time(self.start),
            "start",
            self.start.to_string(),
            "microseconds since the epoch before the year 5000",
        );
        require(
            self.duration > 0
                && in_time(self.duration)
                && in_time(self.start.saturating_add(self.duration)),
            "duration",
            self.duration.to_string(),
            "microseconds, above 0, ending before the year 5000",
        );
        require(
            self.trades_per_second > 0.0 && self.trades_per_second <= 100_000.0,
            "trades_per_second",
            self.trades_per_second.to_string(),
            "above 0, up to 100000",
        );
        for (idx, regime) in self.regimes.iter().enumerate() {
            require(
                in_time(regime.at) && (idx == 0 || self.regimes[idx - 1].at < regime.at),
                "regimes",
                regime.at.to_string(),
                "times before the year 5000, each after the one before",
            );
            for factor in [regime.volatility, regime.activity, regime.size] {
                require(
                    (0.01..=100.0).contains(&factor),
                    "regimes",
                    factor.to_string(),
                    "factors from 0.01 to 100",
                );
            }
        }
        if violations.is_empty() {
            Ok(ValidSimulateConfig { config: self })
        } else {
            Err(SimulateConfigError { violations })
        }
    }
}

/// Everything that is wrong with a [`SimulateConfig`].
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("invalid simulation: {}", join(violations))]
pub struct SimulateConfigError {
    /// Every violation, in the order of the fields.
    pub violations: Vec<Violation>,
}

/// A [`SimulateConfig`] whose values are all allowed.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(try_from = "SimulateConfig", into = "SimulateConfig")]
pub struct ValidSimulateConfig {
    config: SimulateConfig,
}

impl ValidSimulateConfig {
    /// The values as written.
    pub fn config(&self) -> &SimulateConfig {
        &self.config
    }

    /// The trades of one symbol, in order of time with ids from 1 on; `None` if there is no such symbol.
    pub fn trades(&self, symbol: &str) -> Option<SimulatedTrades> {
        let symbol = self
            .config
            .symbols
            .iter()
            .find(|candidate| candidate.name == symbol)?;
        Some(SimulatedTrades::new(&self.config, symbol))
    }

    /// The candles of one symbol's trades, in order of time and constant memory; intervals without a trade are left out.
    pub fn candles(&self, symbol: &str, interval: Interval) -> Option<SimulatedCandles> {
        self.trades(symbol)
            .map(|trades| SimulatedCandles::new(trades, interval))
    }
}

impl TryFrom<SimulateConfig> for ValidSimulateConfig {
    type Error = SimulateConfigError;

    fn try_from(config: SimulateConfig) -> Result<Self, Self::Error> {
        config.check()
    }
}

impl From<ValidSimulateConfig> for SimulateConfig {
    fn from(config: ValidSimulateConfig) -> SimulateConfig {
        config.config
    }
}

/// The trades of one symbol; see [`ValidSimulateConfig::trades`].
pub fn simulate_trades(config: &ValidSimulateConfig, symbol: &str) -> Option<SimulatedTrades> {
    config.trades(symbol)
}

/// The candles of one symbol; see [`ValidSimulateConfig::candles`].
pub fn simulate_candles(
    config: &ValidSimulateConfig,
    symbol: &str,
    interval: Interval,
) -> Option<SimulatedCandles> {
    config.candles(symbol, interval)
}
