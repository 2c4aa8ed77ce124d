//! Which event happens where, how large, and what it does to each of its candles.

use std::collections::BTreeMap;

use super::{InjectError, InjectTarget, ValidInjectConfig};
use crate::candle::Candle;
use crate::event::AnomalyKind;
use crate::random::Random;

/// An event to be: candles `first .. first + steps.len()`.
#[derive(Debug, Clone)]
pub(super) struct Planned {
    pub(super) kind: AnomalyKind,
    pub(super) magnitude: f64,
    pub(super) first: usize,
    pub(super) steps: Vec<Step>,
}

/// What an event does to one of its candles.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Step {
    /// The price is displaced, linearly in time from `from` to `to` (in log price), and volume is added.
    Move {
        from: f64,
        to: f64,
        /// In the base asset.
        added_volume: f64,
        /// The share of the added volume that takers buy; `None` keeps the candle's own share.
        buy_share: Option<f64>,
    },
    /// The price stands still and most trades vanish: volume is multiplied.
    Freeze { volume_factor: f64 },
    /// On little volume the price jumps from where it stood to the original close, through a range that is wider by
    /// `excess` (in log price) on both sides.
    Jump { volume_factor: f64, excess: f64 },
}

/// The symbol's own moves, robustly.
#[derive(Debug, Clone, Copy)]
pub(super) struct Moves {
    log_return_sd: f64,
    volume_sd: f64,
}

/// How often a place is drawn for an event before it is given up.
const MAX_TRIES: usize = 200;

/// The largest displacement, in log price: a factor of 148.
const MAX_DISPLACEMENT: f64 = 5.0;

/// Plans the events of one symbol over its candles (in order, consistent; gaps may be left out), in order of time.
pub(super) fn plan(
    config: &ValidInjectConfig,
    target: &InjectTarget<'_>,
    candles: &[Candle],
) -> Result<Vec<Planned>, InjectError> {
    let interval = target.interval.micros();
    let mut random = Random::new(config.config().seed, "inject", target.symbol);
    let allowed: Vec<(usize, usize)> = target
        .allowed
        .iter()
        .map(|range| {
            let first = candles.partition_point(|candle| candle.open_time < range.start);
            let end = candles
                .partition_point(|candle| candle.open_time.saturating_add(interval) <= range.end);
            (first.max(1), end.max(first).max(1))
        })
        .collect();
    let n_allowed: usize = allowed.iter().map(|(first, end)| end - first).sum();
    let expected =
        config.config().events_per_symbol_day * n_allowed as f64 / target.interval.per_day() as f64;
    let n_events = (expected + random.uniform()).floor() as usize;
    let moves = Moves::of(candles, interval);
    let (least, most) = config.config().magnitude;
    // A golden-ratio sequence from a random start covers the range of sizes evenly, however few events there are.
    let magnitude_start = random.uniform();
    let mut kinds: Vec<AnomalyKind> = Vec::new();
    let mut taken: BTreeMap<usize, usize> = BTreeMap::new();
    let mut planned = Vec::new();
    for event_idx in 0..n_events.min(n_allowed) {
        if kinds.is_empty() {
            kinds.clone_from(&config.config().kinds);
            for idx in (1..kinds.len()).rev() {
                kinds.swap(idx, random.below(idx + 1));
            }
        }
        let Some(kind) = kinds.pop() else { break };
        let position = (magnitude_start + event_idx as f64 * 0.618_033_988_749_894_9).fract();
        let magnitude = (least * (most / least).powf(position)).clamp(least, most);
        let (shortest, longest) = config.duration(kind);
        let n_candles = shortest + random.below(longest - shortest + 1);
        let spacing = config.config().min_spacing;
        for _ in 0..MAX_TRIES {
            let first = nth(&allowed, random.below(n_allowed));
            let end = first + n_candles;
            let inside = allowed
                .iter()
                .any(|(from, to)| *from <= first && end <= *to);
            if inside
                && is_usable(candles, first, end, interval)
                && is_free(&taken, first, end, spacing)
            {
                taken.insert(first, end);
                let steps = steps(kind, magnitude, n_candles, moves, &mut random);
                planned.push(Planned {
                    kind,
                    magnitude,
                    first,
                    steps,
                });
                break;
            }
        }
    }
    planned.sort_by_key(|event| event.first);
    target.nth_id(planned.len())?;
    Ok(planned)
}

/// The candle index at this place of the allowed ones.
fn nth(allowed: &[(usize, usize)], mut place: usize) -> usize {
    for (first, end) in allowed {
        if place < end - first {
            return first + place;
        }
        place -= end - first;
    }
    0
}

/// Without a gap from the candle before the event to its last one, and not labelled already.
fn is_usable(candles: &[Candle], first: usize, end: usize, interval: i64) -> bool {
    let Some(event) = candles.get(first.wrapping_sub(1)..end) else {
        return false;
    };
    let span = event[event.len() - 1].open_time - event[0].open_time;
    span == interval * (end - first) as i64 && event.iter().all(|candle| candle.event.is_none())
}

fn is_free(taken: &BTreeMap<usize, usize>, first: usize, end: usize, spacing: usize) -> bool {
    let before = taken
        .range(..=first)
        .next_back()
        .is_none_or(|(_, taken_end)| taken_end + spacing <= first);
    let after = taken
        .range(first..)
        .next()
        .is_none_or(|(taken_first, _)| end + spacing <= *taken_first);
    before && after
}

/// What an event of this kind, size and length does to each of its candles.
pub(super) fn steps(
    kind: AnomalyKind,
    magnitude: f64,
    n: usize,
    moves: Moves,
    random: &mut Random,
) -> Vec<Step> {
    let rise = |n_candles: usize| {
        (magnitude * moves.log_return_sd * (n_candles as f64).sqrt()).min(MAX_DISPLACEMENT)
    };
    let volume = magnitude * moves.volume_sd;
    let price_only = |from: f64, to: f64| Step::Move {
        from,
        to,
        added_volume: 0.0,
        buy_share: None,
    };
    match kind {
        AnomalyKind::PriceSpike => {
            let up = random.uniform() < 0.5;
            let peak = if up { rise(1) } else { -rise(1) };
            (0..n)
                .map(|step| {
                    price_only(
                        if step == 0 { 0.0 } else { peak },
                        if step + 1 == n { 0.0 } else { peak },
                    )
                })
                .collect()
        }
        AnomalyKind::VolumeSpike => {
            vec![
                Step::Move {
                    from: 0.0,
                    to: 0.0,
                    added_volume: volume,
                    buy_share: None
                };
                n
            ]
        }
        AnomalyKind::WashTrading => {
            vec![
                Step::Move {
                    from: 0.0,
                    to: 0.0,
                    added_volume: volume,
                    buy_share: Some(0.5)
                };
                n
            ]
        }
        AnomalyKind::FlashCrash => {
            let n_fall = (n / 3).max(1);
            let depth = rise(n_fall);
            let at = |boundary: usize| {
                if boundary <= n_fall {
                    -depth * boundary as f64 / n_fall as f64
                } else {
                    -depth * (n - boundary) as f64 / (n - n_fall) as f64
                }
            };
            (0..n)
                .map(|step| {
                    let falling = step < n_fall;
                    Step::Move {
                        from: at(step),
                        to: at(step + 1),
                        added_volume: volume * if falling { 1.0 } else { 0.5 },
                        buy_share: Some(if falling { 0.2 } else { 0.6 }),
                    }
                })
                .collect()
        }
        AnomalyKind::PumpAndDump => {
            let n_gather = (n / 4).max(1);
            let n_ramp = ((n - n_gather) / 2).max(1);
            let n_dump = n - n_gather - n_ramp;
            let peak = rise(n_ramp);
            let at = |boundary: usize| {
                if boundary <= n_gather {
                    0.0
                } else if boundary <= n_gather + n_ramp {
                    peak * (boundary - n_gather) as f64 / n_ramp as f64
                } else {
                    peak * (n - boundary) as f64 / n_dump as f64
                }
            };
            (0..n)
                .map(|step| {
                    let (share_of_volume, buy_share) = if step < n_gather {
                        (0.5, 0.8)
                    } else if step < n_gather + n_ramp {
                        (1.0, 0.8)
                    } else {
                        (0.8, 0.25)
                    };
                    Step::Move {
                        from: at(step),
                        to: at(step + 1),
                        added_volume: volume * share_of_volume,
                        buy_share: Some(buy_share),
                    }
                })
                .collect()
        }
        AnomalyKind::LiquidityGap => {
            let volume_factor = 1.0 / (1.0 + magnitude);
            let mut steps = vec![Step::Freeze { volume_factor }; n - 1];
            steps.push(Step::Jump {
                volume_factor,
                excess: rise(1),
            });
            steps
        }
    }
}

impl Moves {
    fn of(candles: &[Candle], interval: i64) -> Moves {
        let log_returns: Vec<f64> = candles
            .windows(2)
            .filter(|pair| pair[1].open_time - pair[0].open_time == interval)
            .map(|pair| (pair[1].close / pair[0].close).ln())
            .collect();
        let volumes: Vec<f64> = candles.iter().map(|candle| candle.volume).collect();
        Moves::from_values(log_returns, volumes)
    }

    pub(super) fn from_values(log_returns: Vec<f64>, volumes: Vec<f64>) -> Moves {
        // A history that never moves still gets visible events: one basis point, one unit.
        let positive = |value: f64, fallback: f64| if value > 0.0 { value } else { fallback };
        Moves {
            log_return_sd: positive(robust_sd(log_returns), 1e-4),
            volume_sd: positive(robust_sd(volumes), 1.0),
        }
    }
}

/// 1.4826 × median absolute deviation, which agrees with the standard deviation of normal values; the standard deviation
/// itself where more than half of the values are equal.
fn robust_sd(mut values: Vec<f64>) -> f64 {
    let Some(center) = median(&mut values) else {
        return 0.0;
    };
    let n = values.len() as f64;
    let variance = values
        .iter()
        .map(|value| (value - center).powi(2))
        .sum::<f64>()
        / n;
    for value in &mut values {
        *value = (*value - center).abs();
    }
    match median(&mut values) {
        Some(deviation) if deviation > 0.0 => 1.4826 * deviation,
        _ => variance.sqrt(),
    }
}

fn median(values: &mut [f64]) -> Option<f64> {
    let middle = values.len() / 2;
    if values.is_empty() {
        return None;
    }
    Some(*values.select_nth_unstable_by(middle, f64::total_cmp).1)
}
