//! Simulated markets as rows of features, in order of time.

use market::{
    DAY_US, Feature, FeatureConfig, FeatureEngine, FeatureRow, HOUR_US, Interval, MINUTE_US,
    Regime, SimulateConfig, SimulatedSymbol,
};
use ndarray::{ArrayView2, s};

use crate::Result;

/// Trades per symbol and second, on average: six a candle.
const TRADES_PER_SECOND: f64 = 0.1;
/// A Monday.
const MONDAY: i64 = 1_767_571_200_000_000;
/// Candles of a day go by before all features are warm.
const WARM_UP: i64 = DAY_US + 2 * HOUR_US;

/// What to simulate.
#[derive(Debug, Clone, Default)]
pub(crate) struct Plan {
    pub(crate) seed: u64,
    pub(crate) n_symbols: usize,
    /// µs after the first Monday at which rows begin.
    pub(crate) start: i64,
    pub(crate) duration: i64,
    pub(crate) changes: Vec<Change>,
}

/// What happens to the market, at µs after rows begin.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Change {
    /// Factors of volatility, activity and size from here on.
    Regime(i64, [f64; 3]),
    /// No trades between these.
    Outage(i64, i64),
    /// So many symbols have no more trades.
    Delisted(i64, usize),
}

/// Rows in order of time.
#[derive(Debug, Default)]
pub(crate) struct Rows {
    pub(crate) time: Vec<i64>,
    pub(crate) symbol: Vec<u32>,
    pub(crate) values: Vec<f64>,
    pub(crate) filled: Vec<bool>,
    pub(crate) n_trades: Vec<Option<u64>>,
    pub(crate) n_features: usize,
}

impl Rows {
    pub(crate) fn len(&self) -> usize {
        self.symbol.len()
    }

    pub(crate) fn row(&self, at: usize) -> &[f64] {
        &self.values[at * self.n_features..(at + 1) * self.n_features]
    }

    pub(crate) fn view(&self) -> Result<ArrayView2<'_, f64>> {
        Ok(ArrayView2::from_shape(
            (self.len(), self.n_features),
            &self.values,
        )?)
    }

    pub(crate) fn part(&self, from: usize, to: usize) -> Result<ArrayView2<'_, f64>> {
        Ok(self.view()?.slice_move(s![from..to, ..]))
    }

    /// The first row at or after a moment.
    pub(crate) fn at(&self, time: i64) -> usize {
        self.time.partition_point(|other| *other < time)
    }
}

pub(crate) fn symbols(n: usize) -> Vec<String> {
    (0..n).map(|index| format!("SYM{index:03}")).collect()
}

pub(crate) fn feature_names() -> Vec<String> {
    let names = Feature::ALL.iter();
    names.map(|feature| feature.name().to_owned()).collect()
}

/// Event time at which a plan's rows begin.
pub(crate) fn begin(plan: &Plan) -> i64 {
    MONDAY + plan.start
}

pub(crate) fn simulate(plan: &Plan) -> Result<Rows> {
    let names = symbols(plan.n_symbols);
    let begin = begin(plan);
    let mut regimes = Vec::new();
    for change in &plan.changes {
        if let Change::Regime(at, [volatility, activity, size]) = *change {
            regimes.push(Regime {
                at: begin + at - 1,
                volatility,
                activity,
                size,
            });
        }
    }
    let config = SimulateConfig {
        seed: plan.seed,
        symbols: names
            .iter()
            .enumerate()
            .map(|(index, name)| SimulatedSymbol {
                hourly_volatility: 0.003 * (1.0 + (index % 5) as f64),
                ..SimulatedSymbol::new(name.clone(), 100.0)
            })
            .collect(),
        start: begin - WARM_UP,
        duration: WARM_UP + plan.duration,
        trades_per_second: TRADES_PER_SECOND,
        arrivals: Default::default(),
        regimes,
    }
    .check()?;
    let engine_config = FeatureConfig::new(Interval::MINUTE).check()?;
    let mut by_symbol: Vec<std::vec::IntoIter<FeatureRow>> = Vec::new();
    for (index, name) in names.iter().enumerate() {
        let mut engine = FeatureEngine::new(engine_config);
        let mut rows = Vec::new();
        for trade in config.trades(name).ok_or("a symbol is missing")? {
            let time = trade.event_time - begin;
            let is_lost = plan.changes.iter().any(|change| match *change {
                Change::Regime(..) => false,
                Change::Outage(from, to) => (from..to).contains(&time),
                Change::Delisted(at, n) => time >= at && index < n,
            });
            if !is_lost {
                engine.push_trade(&trade, &mut rows)?;
            }
        }
        engine.finish(&mut rows);
        rows.retain(|row| row.candle.open_time >= begin && row.ready(&Feature::ALL));
        by_symbol.push(rows.into_iter());
    }
    let mut out = Rows {
        n_features: Feature::COUNT,
        ..Rows::default()
    };
    let mut heads: Vec<Option<FeatureRow>> = by_symbol.iter_mut().map(Iterator::next).collect();
    let end = begin + plan.duration;
    let mut minute = begin;
    while minute < end {
        for (symbol, head) in (0_u32..).zip(&mut heads) {
            while let Some(row) = head {
                if row.candle.open_time > minute {
                    break;
                }
                out.time.push(row.candle.open_time);
                out.symbol.push(symbol);
                out.values.extend(row.values);
                out.filled.push(row.filled);
                out.n_trades.push(row.candle.trade_count);
                *head = by_symbol[symbol as usize].next();
            }
        }
        minute += MINUTE_US;
    }
    Ok(out)
}

/// Independent rows without time.
pub(crate) fn independent(seed: u64, n: usize, n_symbols: u32, n_features: usize) -> Rows {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut uniform = move || {
        // splitmix64 (Steele, Lea and Flood 2014).
        state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = (state ^ (state >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((z ^ (z >> 31)) >> 11) as f64 / (1_u64 << 53) as f64
    };
    let mut normal = || {
        // Irwin and Hall's, near enough to normal and quick.
        (0..6).map(|_| uniform()).sum::<f64>() - 3.0
    };
    Rows {
        symbol: (0..n).map(|at| at as u32 % n_symbols).collect(),
        values: (0..n * n_features).map(|_| normal()).collect(),
        n_features,
        ..Rows::default()
    }
}
