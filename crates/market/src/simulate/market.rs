//! One simulated symbol.

use super::{Arrivals, Regime, SimulateConfig, SimulatedSymbol};
use crate::builder::CandleBuilder;
use crate::candle::Candle;
use crate::interval::{DAY_US, HOUR_US, Interval, MINUTE_US};
use crate::random::Random;
use crate::trade::{MAX_AMOUNT, MIN_AMOUNT, Side, Trade};

/// GARCH(1,1) per minute: variance_{t+1} = ω + α r_t² + β variance_t. Half of a shock is forgotten after about 34 minutes.
const GARCH_ALPHA: f64 = 0.10;
const GARCH_BETA: f64 = 0.88;
/// Degrees of freedom of the innovations: heavy tails with a finite fourth moment.
const STUDENT_DEGREES: u32 = 5;
/// The share of trades that other trades trigger, and how fast that fades, per second.
const HAWKES_BRANCHING: f64 = 0.5;
const HAWKES_DECAY: f64 = 0.2;
/// Probability that a taker's side repeats the one before.
const SIDE_PERSISTENCE: f64 = 0.65;
/// Standard deviation of the logarithm of a trade's quantity.
const SIZE_SD: f64 = 1.2;
/// The variance stays within these multiples of its mean, so that no minute explodes.
const VARIANCE_LIMITS: (f64, f64) = (0.02, 100.0);

/// The trades of one simulated symbol, in order of time.
#[derive(Debug, Clone)]
pub struct SimulatedTrades {
    random: Random,
    start: i64,
    end: i64,
    trades_per_second: f64,
    arrivals: Arrivals,
    /// The share of trades that no other trade triggered.
    immigrants: f64,
    /// What comes after `regime`, the last one first.
    regimes: Vec<Regime>,
    regime: Regime,
    symbol: SimulatedSymbol,
    mean_variance: f64,
    /// Log price, relative to the start price, now and when the minute began.
    log_price: f64,
    log_price_at_minute: f64,
    /// GARCH variance of a minute, without the season.
    variance: f64,
    /// The efficient price's standard deviation per square root of a second in this minute.
    sd_per_root_second: f64,
    /// End of the minute, in seconds since the start.
    minute_end: f64,
    /// Seconds since the start.
    now: f64,
    last_trade: f64,
    base_rate: f64,
    excitation: f64,
    side: Side,
    next_id: u64,
}

impl SimulatedTrades {
    pub(super) fn new(config: &SimulateConfig, symbol: &SimulatedSymbol) -> SimulatedTrades {
        let mean_variance = symbol.hourly_volatility * symbol.hourly_volatility / 60.0;
        let mut trades = SimulatedTrades {
            random: Random::new(config.seed, "simulate", &symbol.name),
            start: config.start,
            end: config.start + config.duration,
            trades_per_second: config.trades_per_second,
            arrivals: config.arrivals,
            immigrants: match config.arrivals {
                Arrivals::Hawkes => 1.0 - HAWKES_BRANCHING,
                Arrivals::Poisson => 1.0,
            },
            regimes: config.regimes.iter().rev().copied().collect(),
            regime: Regime::normal(config.start),
            symbol: symbol.clone(),
            mean_variance,
            log_price: 0.0,
            log_price_at_minute: 0.0,
            variance: mean_variance,
            sd_per_root_second: 0.0,
            minute_end: 0.0,
            now: 0.0,
            last_trade: 0.0,
            base_rate: 0.0,
            excitation: config.trades_per_second * HAWKES_BRANCHING,
            side: Side::Buy,
            next_id: 1,
        };
        trades.begin_minute();
        trades
    }

    fn begin_minute(&mut self) {
        let since_start = (self.minute_end * 1e6) as i64;
        let time = self.start + since_start;
        let to_boundary = MINUTE_US - time.rem_euclid(MINUTE_US);
        self.minute_end = (since_start + to_boundary) as f64 / 1e6;
        while let Some(regime) = self.regimes.pop_if(|regime| regime.at <= time) {
            let change = (regime.volatility / self.regime.volatility).powi(2);
            self.mean_variance *= change;
            self.variance *= change;
            self.regime = regime;
        }
        let activity = season(time);
        let mixture =
            (f64::from(STUDENT_DEGREES) - 2.0) / self.random.chi_squared(STUDENT_DEGREES).max(1e-3);
        // Volatility follows the square root of activity.
        self.sd_per_root_second = (self.variance * activity * mixture.min(50.0) / 60.0).sqrt();
        let heat = (self.variance / self.mean_variance).sqrt().clamp(0.3, 5.0);
        self.base_rate =
            self.trades_per_second * self.immigrants * self.regime.activity * activity * heat;
    }

    fn end_minute(&mut self) {
        let step = (self.minute_end - self.last_trade).max(0.0);
        self.log_price += self.sd_per_root_second * step.sqrt() * self.random.normal();
        self.last_trade = self.minute_end;
        let minute_return = self.log_price - self.log_price_at_minute;
        self.log_price_at_minute = self.log_price;
        let time = self.start + (self.minute_end * 1e6) as i64 - 1;
        let shock = minute_return * minute_return / season(time);
        let omega = self.mean_variance * (1.0 - GARCH_ALPHA - GARCH_BETA);
        let (least, most) = VARIANCE_LIMITS;
        self.variance = (omega + GARCH_ALPHA * shock + GARCH_BETA * self.variance)
            .clamp(least * self.mean_variance, most * self.mean_variance);
        self.begin_minute();
    }

    /// The time to the next trade if the base rate stayed: the earlier of the base process and of the decaying excitation,
    /// each inverted exactly (Dassios and Zhao 2013, algorithm 3.1).
    fn waiting_time(&mut self) -> f64 {
        let from_base = self.random.exponential() / self.base_rate;
        if self.arrivals == Arrivals::Poisson {
            return from_base;
        }
        let remaining = 1.0 - HAWKES_DECAY * self.random.exponential() / self.excitation;
        if remaining > 0.0 {
            from_base.min(-remaining.ln() / HAWKES_DECAY)
        } else {
            from_base
        }
    }

    fn pass(&mut self, seconds: f64) {
        if self.arrivals == Arrivals::Hawkes {
            self.excitation *= (-HAWKES_DECAY * seconds).exp();
        }
        self.now += seconds;
    }

    fn trade(&mut self, event_time: i64) -> Trade {
        let step = (self.now - self.last_trade).max(0.0);
        self.last_trade = self.now;
        self.log_price += self.sd_per_root_second * step.sqrt() * self.random.normal();
        if self.random.uniform() >= SIDE_PERSISTENCE {
            self.side = match self.side {
                Side::Buy => Side::Sell,
                Side::Sell => Side::Buy,
            };
        }
        let symbol = &self.symbol;
        let half_spread = match self.side {
            Side::Buy => 0.5 * symbol.tick,
            Side::Sell => -0.5 * symbol.tick,
        };
        let price = symbol.start_price * self.log_price.exp() + half_spread;
        let price = round_to(price, symbol.tick);
        let quantity = round_to(
            symbol.median_quantity * self.regime.size * (SIZE_SD * self.random.normal()).exp(),
            symbol.lot,
        );
        let trade_id = Some(self.next_id);
        self.next_id += 1;
        Trade {
            event_time,
            trade_id,
            price,
            quantity,
            side: self.side,
            event: None,
        }
    }
}

impl Iterator for SimulatedTrades {
    type Item = Trade;

    fn next(&mut self) -> Option<Trade> {
        loop {
            let wait = self.waiting_time();
            if self.now + wait >= self.minute_end {
                // Neither process remembers how long it has waited, so the next minute may draw anew.
                self.pass(self.minute_end - self.now);
                self.now = self.minute_end;
                self.end_minute();
                if self.start + (self.now * 1e6) as i64 >= self.end {
                    return None;
                }
                continue;
            }
            self.pass(wait);
            let event_time = self.start + (self.now * 1e6) as i64;
            if event_time >= self.end {
                return None;
            }
            self.excitation += HAWKES_BRANCHING * HAWKES_DECAY;
            return Some(self.trade(event_time));
        }
    }
}

/// The nearest positive multiple of the step.
pub(super) fn round_to(value: f64, step: f64) -> f64 {
    // Dividing by a whole number where the step is a fraction such as 0.01 gives the decimal that a price list would show.
    let steps = (value / step).round().max(1.0);
    let inverse = (1.0 / step).round();
    let rounded = if step < 1.0 && (inverse * step - 1.0).abs() < 1e-9 {
        steps / inverse
    } else {
        steps * step
    };
    rounded.clamp(MIN_AMOUNT, MAX_AMOUNT)
}

/// Relative activity by hour of the week in UTC, with mean about 1: most at 15:00, least at 03:00, quiet weekends.
fn season(time: i64) -> f64 {
    let hour = time.rem_euclid(DAY_US) as f64 / HOUR_US as f64;
    // 1970-01-01 was a Thursday: day 2 and 3 of the count are Saturday and Sunday.
    let day = time.div_euclid(DAY_US).rem_euclid(7);
    let by_day = if day == 2 || day == 3 { 0.65 } else { 1.14 };
    by_day * (1.0 + 0.5 * ((hour - 15.0) / 24.0 * std::f64::consts::TAU).cos())
}

/// The candles of one simulated symbol, in order of time; intervals without a trade are left out.
#[derive(Debug, Clone)]
pub struct SimulatedCandles {
    trades: SimulatedTrades,
    builder: CandleBuilder,
    is_finished: bool,
}

impl SimulatedCandles {
    pub(super) fn new(trades: SimulatedTrades, interval: Interval) -> SimulatedCandles {
        SimulatedCandles {
            trades,
            builder: CandleBuilder::new(interval.micros(), 0),
            is_finished: false,
        }
    }
}

impl Iterator for SimulatedCandles {
    type Item = Candle;

    fn next(&mut self) -> Option<Candle> {
        while !self.is_finished {
            match self.trades.next() {
                Some(trade) => {
                    if self.builder.push(&trade).1
                        && let Some(candle) = self.builder.pop_closed()
                    {
                        return Some(candle);
                    }
                }
                None => {
                    self.is_finished = true;
                    self.builder
                        .close_until(self.builder.last_end().unwrap_or(i64::MIN));
                }
            }
        }
        self.builder.pop_closed()
    }
}
