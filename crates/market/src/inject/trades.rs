//! Events into trades.

use super::plan::plan;
use super::scene::Scene;
use super::{InjectError, InjectTarget, ValidInjectConfig};
use crate::batch::candles_of_trades;
use crate::candle::Candle;
use crate::event::Event;
use crate::random::Random;
use crate::trade::Trade;

/// The ids of added trades start here: id = `ADDED_TRADE_IDS` + event id × 2^24 + place in the event. No exchange counts
/// that far, and the ids still fit into a signed 64-bit column.
pub const ADDED_TRADE_IDS: u64 = 1 << 62;

/// Longest run of empty intervals that an event may lie in.
const MAX_EMPTY: i64 = 60;

/// Injects events into the trades of one symbol, which stay in order of time, and returns the events in order of time.
///
/// Changed and added trades carry the event's id. An intact trade inside an event's span (whose price is not displaced)
/// carries none. Where an event displaces the price of an interval but none of its trades, one small trade is added, so that
/// the interval's candle exists and is labelled; a last small trade brings the price back where the event's last trade left
/// it displaced. A liquidity gap removes trades, all but the first of each interval. Added trades have ids from
/// [`ADDED_TRADE_IDS`] on, or none where the history's trades have none.
///
/// # Errors
/// The first trade that is none, or that comes before the one before it, or too few event ids left;
/// nothing is changed then.
pub fn inject_trades(
    config: &ValidInjectConfig,
    target: &InjectTarget<'_>,
    trades: &mut Vec<Trade>,
) -> Result<Vec<Event>, InjectError> {
    for (idx, pair) in trades.windows(2).enumerate() {
        if pair[1].event_time < pair[0].event_time {
            return Err(InjectError::UnorderedTrade {
                symbol: target.symbol.to_owned(),
                idx: idx + 1,
                event_time: pair[1].event_time,
            });
        }
    }
    let candles = candles_of_trades(target.interval, 0, trades.iter()).map_err(|error| {
        InjectError::Trade {
            symbol: target.symbol.to_owned(),
            idx: error.idx,
            source: error.source,
        }
    })?;
    let candles = with_empty_intervals(&candles, target.interval.micros());
    let mut random = Random::new(config.config().seed, "inject trades", target.symbol);
    let mut usual: Vec<f64> = trades.iter().map(|trade| trade.quantity).collect();
    let middle = usual.len() / 2;
    let usual_quantity = match usual.get(middle) {
        Some(_) => *usual.select_nth_unstable_by(middle, f64::total_cmp).1,
        None => return Ok(Vec::new()),
    };
    let mut events: Vec<Event> = Vec::new();
    let mut changed = Vec::with_capacity(trades.len());
    let mut n_copied = 0;
    let has_ids = trades.iter().any(|trade| trade.trade_id.is_some());
    for planned in plan(config, target, &candles)? {
        let id = target.nth_id(events.len())?;
        let mut scene = Scene {
            id,
            interval: target.interval.micros(),
            usual_quantity,
            has_ids,
            n_added: 0,
            random: &mut random,
            output: Vec::new(),
        };
        let span = &candles[planned.first - 1..planned.first + planned.steps.len()];
        let start = span[1].open_time;
        let end = start + scene.interval * planned.steps.len() as i64;
        let first = trades.partition_point(|trade| trade.event_time < start);
        let last = trades.partition_point(|trade| trade.event_time < end);
        scene.play(&planned, span, &trades[first..last]);
        // Stable: trades of the same moment stay in the order in which they were made.
        scene.output.sort_by_key(|trade| trade.event_time);
        let affected = |trade: &&Trade| trade.event == Some(id);
        let (Some(from), Some(to)) = (
            scene.output.iter().find(affected),
            scene.output.iter().rev().find(affected),
        ) else {
            continue;
        };
        events.push(Event {
            id,
            symbol: target.symbol.to_owned(),
            kind: planned.kind.to_string(),
            start: target.interval.align(from.event_time),
            end: target.interval.align(to.event_time) + scene.interval,
            magnitude: planned.magnitude,
        });
        changed.extend_from_slice(&trades[n_copied..first]);
        changed.append(&mut scene.output);
        n_copied = last;
    }
    changed.extend_from_slice(&trades[n_copied..]);
    *trades = changed;
    Ok(events)
}

/// The candles with carried-forward ones in short gaps, so that events find room in quiet markets too.
fn with_empty_intervals(candles: &[Candle], interval: i64) -> Vec<Candle> {
    let mut dense: Vec<Candle> = Vec::with_capacity(candles.len());
    for candle in candles {
        if let Some(last) = dense.last().copied() {
            let n_missing = (candle.open_time - last.open_time) / interval - 1;
            if n_missing <= MAX_EMPTY {
                dense.extend((1..=n_missing).map(|step| Candle {
                    open_time: last.open_time + step * interval,
                    open: last.close,
                    high: last.close,
                    low: last.close,
                    volume: 0.0,
                    quote_volume: Some(0.0),
                    buy_volume: Some(0.0),
                    trade_count: Some(0),
                    event: None,
                    ..last
                }));
            }
        }
        dense.push(*candle);
    }
    dense
}
