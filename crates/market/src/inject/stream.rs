//! Events into trades that nobody holds all of.

use std::collections::VecDeque;
use std::iter::Peekable;

use super::ValidInjectConfig;
use super::plan::{Moves, Step, steps};
use super::scene::Scene;
use crate::candle::Candle;
use crate::event::{AnomalyKind, EventId};
use crate::interval::Interval;
use crate::random::Random;
use crate::trade::Trade;

/// How many of the last candles tell the symbol's own moves.
const REMEMBERED: usize = 720;
/// Before so many candles were seen, nothing happens: an event's size is told in their moves.
const WARM_UP: usize = 30;
/// A longer silence ends the event that it falls into.
const MAX_EMPTY: i64 = 60;

/// The trades of one symbol with events put into them, as [`inject_trades`](super::inject_trades)
/// puts them, but in memory for one candle only: each event's place and size depend on what came
/// before it alone.
///
/// Trades must come in order of time. Each comes back with the kind of its event.
#[derive(Debug)]
pub struct InjectStream<I: Iterator<Item = Trade>> {
    trades: Peekable<I>,
    config: ValidInjectConfig,
    interval: Interval,
    usual_quantity: f64,
    plan: Random,
    random: Random,
    kinds: Vec<AnomalyKind>,
    log_returns: VecDeque<f64>,
    volumes: VecDeque<f64>,
    last: Option<Candle>,
    /// Candles until the next event.
    wait: f64,
    active: Option<Active>,
    next_id: Option<EventId>,
    /// The trades of one candle, as they were.
    original: Vec<Trade>,
    /// The trades of one candle, to be given out from `n_given` on.
    ready: Vec<Trade>,
    n_given: usize,
    ready_kind: Option<AnomalyKind>,
}

#[derive(Debug)]
struct Active {
    id: EventId,
    kind: AnomalyKind,
    steps: Vec<Step>,
    n_done: usize,
    standstill: f64,
    n_added: u64,
}

impl<I: Iterator<Item = Trade>> InjectStream<I> {
    /// Events of this configuration into a symbol's trades, on candles of this length.
    /// `usual_quantity` is the size of a small trade that an event may add.
    pub fn new(
        config: &ValidInjectConfig,
        symbol: &str,
        interval: Interval,
        usual_quantity: f64,
        trades: I,
    ) -> InjectStream<I> {
        let seed = config.config().seed;
        let mut stream = InjectStream {
            trades: trades.peekable(),
            config: config.clone(),
            interval,
            usual_quantity,
            plan: Random::new(seed, "inject stream", symbol),
            random: Random::new(seed, "inject stream trades", symbol),
            kinds: Vec::new(),
            log_returns: VecDeque::new(),
            volumes: VecDeque::new(),
            last: None,
            wait: 0.0,
            active: None,
            next_id: Some(EventId::FIRST),
            original: Vec::new(),
            ready: Vec::new(),
            n_given: 0,
            ready_kind: None,
        };
        stream.wait = stream.draw_wait();
        stream
    }

    /// Candles from the end of an event to the next one. Its mean, with an event's own length, makes
    /// the configured rate; where that asks for less than the spacing, the spacing wins.
    fn draw_wait(&mut self) -> f64 {
        let config = self.config.config();
        let spacing = config.min_spacing as f64;
        let n_kinds = config.kinds.len().max(1) as f64;
        let length = |kind: &AnomalyKind| {
            let (shortest, longest) = self.config.duration(*kind);
            (shortest + longest) as f64 / 2.0
        };
        let mean_length = config.kinds.iter().map(length).sum::<f64>() / n_kinds;
        let between = self.interval.per_day() as f64 / config.events_per_symbol_day;
        let free = (between - mean_length - spacing).max(0.0);
        spacing + free * self.plan.exponential()
    }

    fn begin(&mut self, standstill: f64) -> Option<Active> {
        let id = self.next_id?;
        self.next_id = id.next();
        if self.kinds.is_empty() {
            self.kinds.clone_from(&self.config.config().kinds);
            for idx in (1..self.kinds.len()).rev() {
                self.kinds.swap(idx, self.plan.below(idx + 1));
            }
        }
        let kind = self.kinds.pop()?;
        let (least, most) = self.config.config().magnitude;
        let magnitude = (least * (most / least).powf(self.plan.uniform())).clamp(least, most);
        let (shortest, longest) = self.config.duration(kind);
        let n_candles = shortest + self.plan.below(longest - shortest + 1);
        let moves = Moves::from_values(
            self.log_returns.iter().copied().collect(),
            self.volumes.iter().copied().collect(),
        );
        Some(Active {
            id,
            kind,
            steps: steps(kind, magnitude, n_candles, moves, &mut self.plan),
            n_done: 0,
            standstill,
            n_added: 0,
        })
    }

    /// Prepares the trades of the next candle; `false` at the end.
    fn fill(&mut self) -> bool {
        self.ready.clear();
        self.n_given = 0;
        self.ready_kind = None;
        let Some(first) = self.trades.peek() else {
            return false;
        };
        let interval = self.interval.micros();
        let mut open_time = self.interval.align(first.event_time);
        if let Some(last) = &self.last {
            let next = last.open_time + interval;
            if open_time - next > MAX_EMPTY * interval {
                self.active = None;
            } else {
                open_time = next;
            }
        }
        self.original.clear();
        let end = open_time + interval;
        while let Some(trade) = self.trades.next_if(|trade| trade.event_time < end) {
            self.original.push(trade);
        }
        let candle = candle_of(open_time, &self.original, self.last.as_ref());
        if let Some(last) = self.last {
            if self.active.is_none() && self.volumes.len() >= WARM_UP {
                self.wait -= 1.0;
                if self.wait <= 0.0 {
                    self.active = self.begin(last.close);
                }
            }
            if self.active.is_some() {
                self.act(&candle, last.close);
            }
            remember(&mut self.log_returns, (candle.close / last.close).ln());
        }
        if self.ready_kind.is_none() {
            std::mem::swap(&mut self.ready, &mut self.original);
        }
        remember(&mut self.volumes, candle.volume);
        self.last = Some(candle);
        true
    }

    fn act(&mut self, candle: &Candle, previous_close: f64) {
        let Some(active) = &mut self.active else {
            return;
        };
        let mut scene = Scene {
            id: active.id,
            interval: self.interval.micros(),
            usual_quantity: self.usual_quantity,
            has_ids: true,
            n_added: active.n_added,
            random: &mut self.random,
            output: std::mem::take(&mut self.ready),
        };
        let is_last = active.n_done + 1 == active.steps.len();
        scene.act(
            &active.steps[active.n_done],
            is_last,
            candle,
            previous_close,
            active.standstill,
            &self.original,
        );
        active.n_added = scene.n_added;
        active.n_done += 1;
        self.ready = scene.output;
        // Stable: trades of the same moment stay in the order in which they were made.
        self.ready.sort_by_key(|trade| trade.event_time);
        self.ready_kind = Some(active.kind);
        if is_last {
            self.active = None;
            self.wait = self.draw_wait();
        }
    }
}

impl<I: Iterator<Item = Trade>> Iterator for InjectStream<I> {
    type Item = (Trade, Option<AnomalyKind>);

    fn next(&mut self) -> Option<Self::Item> {
        while self.n_given == self.ready.len() {
            if !self.fill() {
                return None;
            }
        }
        let trade = self.ready[self.n_given];
        self.n_given += 1;
        Some((trade, trade.event.and(self.ready_kind)))
    }
}

fn remember(values: &mut VecDeque<f64>, value: f64) {
    if values.len() == REMEMBERED {
        values.pop_front();
    }
    values.push_back(value);
}

/// The candle of trades that lie in it; without any it carries the last close.
fn candle_of(open_time: i64, trades: &[Trade], last: Option<&Candle>) -> Candle {
    let carried = last.map_or(1.0, |last| last.close);
    let price_of = |trade: Option<&Trade>| trade.map_or(carried, |trade| trade.price);
    let mut candle = Candle {
        open_time,
        open: price_of(trades.first()),
        high: price_of(trades.first()),
        low: price_of(trades.first()),
        close: price_of(trades.last()),
        volume: 0.0,
        quote_volume: None,
        buy_volume: None,
        trade_count: Some(trades.len() as u64),
        event: None,
    };
    let mut buy_volume = 0.0;
    for trade in trades {
        candle.high = candle.high.max(trade.price);
        candle.low = candle.low.min(trade.price);
        candle.volume += trade.quantity;
        if trade.side == crate::trade::Side::Buy {
            buy_volume += trade.quantity;
        }
    }
    candle.buy_volume = Some(buy_volume);
    candle
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::inject::InjectConfig;
    use crate::interval::DAY_US;
    use crate::simulate::{Arrivals, SimulateConfig, SimulatedSymbol};

    const START: i64 = 1_704_067_200_000_000;

    fn trades(days: i64) -> impl Iterator<Item = Trade> {
        let config = SimulateConfig {
            seed: 7,
            symbols: vec![SimulatedSymbol::new("A", 100.0)],
            start: START,
            duration: days * DAY_US,
            trades_per_second: 0.5,
            arrivals: Arrivals::Poisson,
            regimes: Vec::new(),
        };
        config.check().unwrap().trades("A").unwrap()
    }

    fn injected(per_day: f64, days: i64) -> Vec<(Trade, Option<AnomalyKind>)> {
        let mut config = InjectConfig::new(3);
        config.events_per_symbol_day = per_day;
        let config = config.check().unwrap();
        InjectStream::new(&config, "A", Interval::MINUTE, 0.1, trades(days)).collect()
    }

    #[test]
    fn events_come_at_their_rate_and_everything_else_is_as_it_was() {
        let (per_day, days) = (8.0, 40);
        let trades: Vec<Trade> = trades(days).collect();
        let injected = injected(per_day, days);
        let mut ids: Vec<EventId> = injected.iter().filter_map(|(t, _)| t.event).collect();
        ids.dedup();
        let n_events = ids.len() as f64;
        ids.sort();
        ids.dedup();
        assert_eq!(n_events, ids.len() as f64, "events don't overlap");
        let expected = per_day * days as f64;
        assert!(
            (0.8..1.2).contains(&(n_events / expected)),
            "{n_events} for {expected}"
        );
        assert!(injected.is_sorted_by_key(|(trade, _)| trade.event_time));
        assert!(
            injected
                .iter()
                .all(|(t, kind)| t.event.is_some() == kind.is_some())
        );
        for kind in AnomalyKind::ALL {
            assert!(
                injected.iter().any(|(_, found)| *found == Some(kind)),
                "{kind}"
            );
        }
        // What belongs to no event was there before.
        let mut original = trades.iter();
        for (trade, _) in injected.iter().filter(|(trade, _)| trade.event.is_none()) {
            assert!(original.any(|before| before == trade), "{trade:?}");
        }
        assert!(injected.iter().all(|(trade, _)| trade.check().is_ok()));
    }

    #[test]
    fn what_came_first_does_not_depend_on_what_comes_later() {
        let short = injected(8.0, 2);
        let long = injected(8.0, 4);
        // The last candle of the short one may lack its end.
        let n = short.len() - 100;
        assert_eq!(short[..n], long[..n]);
    }
}
