//! What an event does to the trades of its candles.

use super::plan::{Planned, Step};
use super::trades::ADDED_TRADE_IDS;
use crate::candle::Candle;
use crate::event::EventId;
use crate::random::Random;
use crate::trade::{MAX_AMOUNT, MIN_AMOUNT, Side, Trade};

/// At most so many trades are added to one candle; beyond it each one is larger.
const MAX_ADDED_PER_CANDLE: f64 = 5_000.0;

/// One event while it is being put into the trades.
pub(super) struct Scene<'a> {
    pub(super) id: EventId,
    pub(super) interval: i64,
    pub(super) usual_quantity: f64,
    pub(super) has_ids: bool,
    pub(super) n_added: u64,
    pub(super) random: &'a mut Random,
    pub(super) output: Vec<Trade>,
}

/// The displacement of the price within one candle, in log price.
#[derive(Clone, Copy)]
struct Ramp {
    from: f64,
    to: f64,
    /// The share of the interval after which `to` is reached: half where the event ends, so that it ends inside.
    reached_at: f64,
}

impl Ramp {
    fn at(self, share: f64) -> f64 {
        if share >= self.reached_at {
            self.to
        } else {
            self.from + (self.to - self.from) * (share / self.reached_at)
        }
    }
}

impl Scene<'_> {
    /// `candles` are the original ones, with the one before the event in front.
    pub(super) fn play(&mut self, planned: &Planned, candles: &[Candle], trades: &[Trade]) {
        let standstill = candles[0].close;
        let n_steps = planned.steps.len();
        for (idx, (step, candle)) in planned.steps.iter().zip(&candles[1..]).enumerate() {
            let from = trades.partition_point(|trade| trade.event_time < candle.open_time);
            let to =
                trades.partition_point(|trade| trade.event_time < candle.open_time + self.interval);
            let trades = &trades[from..to];
            self.act(
                step,
                idx + 1 == n_steps,
                candle,
                candles[idx].close,
                standstill,
                trades,
            );
        }
    }

    /// One candle of the event: `trades` are the original ones of `candle`, `previous_close` is the original close before
    /// it, `standstill` the one before the event.
    pub(super) fn act(
        &mut self,
        step: &Step,
        is_last: bool,
        candle: &Candle,
        previous_close: f64,
        standstill: f64,
        trades: &[Trade],
    ) {
        match *step {
            Step::Move {
                from,
                to,
                added_volume,
                buy_share,
            } => {
                let reached_at = if is_last { 0.5 } else { 1.0 };
                let ramp = Ramp {
                    from,
                    to,
                    reached_at,
                };
                self.displace(ramp, candle, previous_close, trades);
                self.add_volume(
                    ramp,
                    candle,
                    previous_close,
                    trades,
                    added_volume,
                    buy_share,
                );
            }
            Step::Freeze { volume_factor } => {
                if let Some(first) = trades.first() {
                    self.keep(first, standstill, volume_factor);
                }
            }
            Step::Jump {
                volume_factor,
                excess,
            } => self.jump(standstill, candle, trades, volume_factor, excess),
        }
    }

    fn displace(&mut self, ramp: Ramp, candle: &Candle, previous_close: f64, trades: &[Trade]) {
        let n_before = self.output.len();
        for trade in trades {
            let displacement =
                ramp.at((trade.event_time - candle.open_time) as f64 / self.interval as f64);
            let price = trade.price * displacement.exp();
            let event = if price == trade.price {
                trade.event
            } else {
                Some(self.id)
            };
            self.output.push(Trade {
                price,
                event,
                ..*trade
            });
        }
        if ramp.from == 0.0 && ramp.to == 0.0 {
            return;
        }
        let half = self.interval / 2;
        let quantity = self.usual_quantity;
        // Also where all trades came after the price was back: a candle on the way belongs to the event.
        if self.output[n_before..]
            .iter()
            .all(|trade| trade.event != Some(self.id))
        {
            self.add(
                candle.open_time + half / 2,
                previous_close * ramp.at(0.25).exp(),
                quantity,
                Side::Buy,
            );
        }
        let last_time = trades.last().map_or(i64::MIN, |trade| trade.event_time);
        if ramp.reached_at < 1.0 && last_time < candle.open_time + half {
            let price = trades.last().map_or(previous_close, |trade| trade.price);
            self.add(
                candle.open_time + self.interval - 1,
                price,
                quantity,
                Side::Sell,
            );
        }
    }

    fn add_volume(
        &mut self,
        ramp: Ramp,
        candle: &Candle,
        previous_close: f64,
        trades: &[Trade],
        added_volume: f64,
        buy_share: Option<f64>,
    ) {
        if added_volume <= 0.0 {
            return;
        }
        let n_usual = if candle.volume > 0.0 {
            trades.len() as f64 * (added_volume / candle.volume)
        } else {
            added_volume / self.usual_quantity
        };
        // Even, so that buyers and sellers can be balanced exactly.
        let n_pairs = (0.5 * n_usual.min(MAX_ADDED_PER_CANDLE)).round().max(1.0) as usize;
        let quantity = added_volume / (2 * n_pairs) as f64;
        let own_share = match candle.buy_volume {
            Some(buy_volume) if candle.volume > 0.0 => buy_volume / candle.volume,
            _ => 0.5,
        };
        let n_buys = ((2 * n_pairs) as f64 * buy_share.unwrap_or(own_share)).round() as usize;
        // Buys are spread evenly among the added trades: a trade is a buy where the running share rounds up.
        let mut times: Vec<i64> = (0..2 * n_pairs)
            .map(|_| candle.open_time + self.random.below(self.interval as usize - 1) as i64)
            .collect();
        times.sort_unstable();
        for (idx, time) in times.into_iter().enumerate() {
            let original =
                trades[..trades.partition_point(|trade| trade.event_time <= time)].last();
            let price = original.map_or(previous_close, |trade| trade.price);
            let displacement = ramp.at((time - candle.open_time) as f64 / self.interval as f64);
            let is_buy = (idx + 1) * n_buys / (2 * n_pairs) > idx * n_buys / (2 * n_pairs);
            self.add(
                time,
                price * displacement.exp(),
                quantity,
                if is_buy { Side::Buy } else { Side::Sell },
            );
        }
    }

    fn jump(
        &mut self,
        standstill: f64,
        candle: &Candle,
        trades: &[Trade],
        volume_factor: f64,
        excess: f64,
    ) {
        let quantity = self.usual_quantity * volume_factor;
        if let Some(first) = trades.first() {
            self.keep(first, standstill, volume_factor);
        }
        let after = trades
            .first()
            .map_or(candle.open_time, |trade| trade.event_time);
        let end = candle.open_time + self.interval - 1;
        let high = candle.high.max(standstill) * excess.exp();
        let low = candle.low.min(standstill) * (-excess).exp();
        self.add(after + (end - after) / 3, low, quantity, Side::Sell);
        self.add(after + (end - after) / 3 * 2, high, quantity, Side::Buy);
        match trades {
            [_, .., last] => self.keep(
                &Trade {
                    event_time: end.max(last.event_time),
                    ..*last
                },
                last.price,
                volume_factor,
            ),
            _ => self.add(end, candle.close, quantity, Side::Sell),
        }
    }

    /// An original trade that the event changes.
    fn keep(&mut self, trade: &Trade, price: f64, volume_factor: f64) {
        let quantity = (trade.quantity * volume_factor).max(MIN_AMOUNT);
        self.output.push(Trade {
            price,
            quantity,
            event: Some(self.id),
            ..*trade
        });
    }

    fn add(&mut self, event_time: i64, price: f64, quantity: f64, side: Side) {
        let trade_id = self
            .has_ids
            .then(|| ADDED_TRADE_IDS + (u64::from(self.id.get()) << 24) + self.n_added);
        self.n_added += 1;
        let price = price.clamp(MIN_AMOUNT, MAX_AMOUNT);
        let quantity = quantity.clamp(MIN_AMOUNT, MAX_AMOUNT);
        self.output.push(Trade {
            event_time,
            trade_id,
            price,
            quantity,
            side,
            event: Some(self.id),
        });
    }
}
