//! Events into finished candles.

use super::plan::{Planned, Step, plan};
use super::{InjectError, InjectTarget, ValidInjectConfig};
use crate::candle::{Candle, CandleError};
use crate::event::{Event, EventId};

/// Injects events into the candles of one symbol and returns them in order of time.
///
/// Candles must be consistent and in order; intervals may be missing, but an event never lies across a missing one, nor
/// on a candle that carries a label already. OHLC stays consistent, the volume-weighted average price stays between low
/// and high, buy volume within volume; `None` stays `None`.
///
/// # Errors
/// The first candle that is inconsistent or out of order, or too few event ids left; nothing is changed
/// then.
pub fn inject_candles(
    config: &ValidInjectConfig,
    target: &InjectTarget<'_>,
    candles: &mut [Candle],
) -> Result<Vec<Event>, InjectError> {
    check(target, candles)?;
    let planned = plan(config, target, candles)?;
    let mut events: Vec<Event> = Vec::with_capacity(planned.len());
    for planned in planned {
        let id = target.nth_id(events.len())?;
        events.extend(apply(target, &planned, id, candles));
    }
    Ok(events)
}

fn check(target: &InjectTarget<'_>, candles: &[Candle]) -> Result<(), InjectError> {
    let mut last_open_time = None;
    for (idx, candle) in candles.iter().enumerate() {
        let open_time = candle.open_time;
        let in_order = match last_open_time {
            Some(last) if last == open_time => Err(CandleError::Duplicate { open_time }),
            Some(last_open_time) if last_open_time > open_time => Err(CandleError::OutOfOrder {
                open_time,
                last_open_time,
            }),
            _ => Ok(()),
        };
        candle
            .check(target.interval)
            .and(in_order)
            .map_err(|source| InjectError::Candle {
                symbol: target.symbol.to_owned(),
                idx,
                source,
            })?;
        last_open_time = Some(open_time);
    }
    Ok(())
}

/// Changes the candles of one event; `None` if it changed nothing.
fn apply(
    target: &InjectTarget<'_>,
    planned: &Planned,
    id: EventId,
    candles: &mut [Candle],
) -> Option<Event> {
    let standstill = candles[planned.first - 1].close;
    let mut span: Option<(i64, i64)> = None;
    for (step, candle) in planned.steps.iter().zip(&mut candles[planned.first..]) {
        let mut changed = *candle;
        match *step {
            Step::Move {
                from,
                to,
                added_volume,
                buy_share,
            } => {
                displace(&mut changed, from, to);
                add_volume(&mut changed, added_volume, buy_share);
            }
            Step::Freeze { volume_factor } => freeze(&mut changed, standstill, volume_factor),
            Step::Jump {
                volume_factor,
                excess,
            } => jump(&mut changed, standstill, volume_factor, excess),
        }
        if changed != *candle {
            changed.event = Some(id);
            *candle = changed;
            let end = changed.open_time + target.interval.micros();
            span = Some((span.map_or(changed.open_time, |(start, _)| start), end));
        }
    }
    span.map(|(start, end)| Event {
        id,
        symbol: target.symbol.to_owned(),
        kind: planned.kind.to_string(),
        start,
        end,
        magnitude: planned.magnitude,
    })
}

/// Multiplying open and close each by their own factor, high by the larger and low by the smaller one keeps their order,
/// as rounding is monotonic; the average price moves by the mean of both.
fn displace(candle: &mut Candle, from: f64, to: f64) {
    if from == 0.0 && to == 0.0 {
        return;
    }
    candle.open *= from.exp();
    candle.close *= to.exp();
    candle.high *= from.max(to).exp();
    candle.low *= from.min(to).exp();
    if let Some(quote_volume) = &mut candle.quote_volume {
        *quote_volume *= (0.5 * (from + to)).exp();
    }
}

fn add_volume(candle: &mut Candle, added: f64, buy_share: Option<f64>) {
    if added <= 0.0 {
        return;
    }
    let volume = candle.volume;
    let price = candle
        .vwap()
        .unwrap_or(candle.close)
        .clamp(candle.low, candle.high);
    if let Some(buy_volume) = &mut candle.buy_volume {
        let own_share = if volume > 0.0 {
            (*buy_volume / volume).min(1.0)
        } else {
            0.5
        };
        *buy_volume += added * buy_share.unwrap_or(own_share);
    }
    if let Some(quote_volume) = &mut candle.quote_volume {
        *quote_volume += added * price;
    }
    if let Some(trade_count) = &mut candle.trade_count {
        // As many more trades as there is more volume: trades of the usual size.
        let more = if volume > 0.0 {
            *trade_count as f64 * (added / volume)
        } else {
            1.0
        };
        *trade_count = trade_count.saturating_add((more.round() as u64).max(1));
    }
    candle.volume = volume + added;
}

fn shrink_volume(candle: &mut Candle, factor: f64) {
    candle.volume *= factor;
    if let Some(buy_volume) = &mut candle.buy_volume {
        *buy_volume *= factor;
    }
    if let Some(trade_count) = &mut candle.trade_count
        && *trade_count > 0
    {
        *trade_count = ((*trade_count as f64 * factor).round() as u64).max(1);
    }
}

fn freeze(candle: &mut Candle, price: f64, volume_factor: f64) {
    candle.open = price;
    candle.high = price;
    candle.low = price;
    candle.close = price;
    shrink_volume(candle, volume_factor);
    candle.quote_volume = candle.quote_volume.map(|_| candle.volume * price);
}

fn jump(candle: &mut Candle, price: f64, volume_factor: f64, excess: f64) {
    candle.high = candle.high.max(price) * excess.exp();
    candle.low = candle.low.min(price) * (-excess).exp();
    candle.open = price;
    let vwap = candle.vwap();
    shrink_volume(candle, volume_factor);
    // The original average price still lies inside the wider range.
    candle.quote_volume = candle
        .quote_volume
        .map(|_| candle.volume * vwap.unwrap_or(candle.close));
}
