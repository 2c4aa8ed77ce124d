//! Intervals by circular block bootstrap (Politis and Romano 1992) over time, within each symbol.
//!
//! Rows near in time are alike, so whole blocks of consecutive rows are drawn, from any start,
//! around the end of a symbol's rows to their beginning, until a symbol has as many rows as it had.
//! An event, and an episode, comes along with its first row.
//!
//! Exact and fast: a row matters to ROC-AUC and average precision only by where it stands among the
//! distinct scores of labelled rows. Each row gets that place as a bin once; a resample counts bins
//! in one pass over its blocks, and both metrics follow from the counts. The few rows that labels or
//! flags single out have bins of their own, so that the same pass counts for all other metrics; a
//! block costs one place in memory, and 4 bytes a row.
//!
//! Where all of something were found, or none, every resample says the same, and the interval would
//! have no width however few there were. Event recall, precision and recall at 0 or 1 are therefore
//! widened by the exact binomial interval of Clopper and Pearson (1934, *Biometrika* 26, 404–413): of
//! n trials at level 1 − α, it is 0 to 1 − (α/2)^(1/n) where none succeeded, and (α/2)^(1/n) to 1
//! where all did. The trials are what is nearly independent: events rather than their rows, and for
//! precision the caught events and the false episodes. Ranking metrics, F1 and rates per day have no
//! such form and stay as they were drawn.
//!
//! The intervals speak of other stretches of time of the *same* symbols; they do not speak of
//! other symbols.

use std::collections::BTreeMap;

use rayon::prelude::*;
use serde::{Deserialize, Serialize};

use super::input::{BySymbol, Labels, Scored};
use super::metric::{Interval, Metric};
use super::ranking::{RankSums, Ranking};
use super::report::{Evaluation, Intervals};
use crate::error::{Error, Result};
use crate::random::Random;
use crate::threshold::quantile_of;

/// How intervals are drawn.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct BootstrapOptions {
    /// Number of resamples, 1 to 100,000. Default 200.
    pub n_resamples: usize,
    /// Seed; the same seed gives the same intervals on any number of threads.
    pub seed: u64,
    /// Coverage, between 0 and 1. Default 0.95.
    pub level: f64,
    /// Rows in a block. By default, for a symbol of n rows: the larger of ⌈n^(1/3)⌉ and the
    /// longest event in rows (a block that cuts every event would take the rows of one event for
    /// independent), at most n / 4; 1 for tables without time.
    pub block_length: Option<usize>,
}

impl Default for BootstrapOptions {
    fn default() -> Self {
        Self {
            n_resamples: 200,
            seed: 0,
            level: 0.95,
            block_length: None,
        }
    }
}

impl BootstrapOptions {
    pub(super) fn check(&self) -> Result<()> {
        if !(1..=100_000).contains(&self.n_resamples) {
            return Err(Error::invalid(
                "n_resamples",
                self.n_resamples,
                "1 to 100000 are possible",
            ));
        }
        if !(self.level > 0.0 && self.level < 1.0) {
            return Err(Error::invalid(
                "level",
                self.level,
                "a number between 0 and 1 is needed",
            ));
        }
        if self.block_length == Some(0) {
            return Err(Error::invalid("block_length", 0, "at least 1 is needed"));
        }
        Ok(())
    }

    fn block_for(&self, n: usize, has_time: bool, longest_event: usize) -> usize {
        let length = match self.block_length {
            Some(length) => length.min(n),
            None if has_time => ((n as f64).cbrt().ceil() as usize)
                .max(longest_event)
                .min(n / 4),
            None => 1,
        };
        length.max(1)
    }
}

/// Counts in a resample, all of rows but the last three.
const LABELLED: usize = 0;
const CAUGHT_ROWS: usize = 1;
const FALSE_ROWS: usize = 2;
const EVENTS: usize = 3;
const CAUGHT_EVENTS: usize = 4;
const FALSE_EPISODES: usize = 5;
type Counts = [u32; 6];

/// A symbol's rows as a range of positions, and its block length.
type Stretch = (std::ops::Range<usize>, usize);

/// Everything that resamples share.
#[derive(Debug)]
struct Plan {
    /// By position (rows grouped by symbol): the row's bin, or `n_bins` + the index of a special row.
    bins: Vec<u32>,
    n_bins: usize,
    /// Rows that count for anything but the ranking: the bin and what one such row adds.
    special: Vec<(u32, Counts)>,
    symbols: Vec<Stretch>,
    /// Days of one row, where known.
    row_days: Option<f64>,
}

/// What [`intervals`] needs to know about events, by event index.
pub(super) struct EventRows<'a> {
    /// Position of the event's first row, if it has any.
    pub(super) first: &'a [Option<usize>],
    pub(super) caught: &'a [bool],
    pub(super) longest: usize,
}

const N_METRICS: usize = 8;

/// Draws the intervals for `point`, the evaluation of the same rows.
pub(super) fn intervals(
    scored: &Scored<'_>,
    by_symbol: &BySymbol,
    ranking: &Ranking,
    events: &EventRows<'_>,
    episode_starts: &[bool],
    point: &Evaluation,
    options: &BootstrapOptions,
) -> Intervals {
    let plan = Plan::new(scored, by_symbol, ranking, events, episode_starts, options);
    let samples: Vec<[Option<f64>; N_METRICS]> = (0..options.n_resamples)
        .into_par_iter()
        .map_init(
            || plan.scratch(),
            |scratch, resample| {
                let mut random = Random::new(options.seed, resample as u64);
                let counts = plan.draw(scratch, |n| random.below(n));
                plan.metrics(&scratch[..plan.n_bins], counts)
            },
        )
        .collect();
    let interval = |metric: usize, point: &Metric, n_trials: Option<u64>| {
        if let Some(reason) = point.reason() {
            return Interval::Undefined {
                reason: reason.to_owned(),
            };
        }
        let mut values: Vec<f64> = samples.iter().filter_map(|s| s[metric]).collect();
        if values.len() * 2 < samples.len() || values.is_empty() {
            return Interval::Undefined {
                reason: format!(
                    "undefined in {} of {} resamples",
                    samples.len() - values.len(),
                    samples.len()
                ),
            };
        }
        let outside = (1.0 - options.level) / 2.0;
        let low = quantile_of(&mut values, outside);
        let high = quantile_of(&mut values, 1.0 - outside);
        let (low, high) = match (point.value(), n_trials) {
            (Some(share), Some(n)) => widened(share, (low, high), n, options.level),
            _ => (low, high),
        };
        Interval::Bounds {
            low,
            high,
            n_resamples: values.len(),
        }
    };
    let (n_found, n_flagged) = match scored.labels {
        Labels::Rows(_) => (point.n_labelled_rows, point.n_flagged_rows),
        Labels::Events { .. } => {
            let with_rows = events.first.iter().zip(events.caught);
            let caught = with_rows.filter(|(first, caught)| first.is_some() && **caught);
            let episodes = episode_starts.iter().filter(|start| **start);
            (point.n_events, (caught.count() + episodes.count()) as u64)
        }
    };
    Intervals {
        level: options.level,
        n_resamples: options.n_resamples,
        seed: options.seed,
        block_length: plan.symbols.iter().map(|s| s.1).max().unwrap_or(1),
        roc_auc: interval(0, &point.roc_auc, None),
        average_precision: interval(1, &point.average_precision, None),
        precision: interval(2, &point.precision, Some(n_flagged)),
        recall: interval(3, &point.recall, Some(n_found)),
        f1: interval(4, &point.f1, None),
        event_recall: interval(5, &point.event_recall, Some(point.n_events)),
        false_alerts_per_symbol_day: interval(6, &point.false_alerts_per_symbol_day, None),
        false_episodes_per_symbol_day: interval(7, &point.false_episodes_per_symbol_day, None),
    }
}

/// Average precision on each resample, `None` where it is undefined. The resamples depend on the
/// seed, the symbols' rows and the events' lengths, and not on scores: those of two detectors on the
/// same rows are pairs.
pub(super) fn average_precisions(
    scored: &Scored<'_>,
    by_symbol: &BySymbol,
    ranking: &Ranking,
    events: &EventRows<'_>,
    options: &BootstrapOptions,
) -> Vec<Option<f64>> {
    let no_episodes = vec![false; scored.len()];
    let plan = Plan::new(scored, by_symbol, ranking, events, &no_episodes, options);
    (0..options.n_resamples)
        .into_par_iter()
        .map_init(
            || plan.scratch(),
            |scratch, resample| {
                let mut random = Random::new(options.seed, resample as u64);
                let counts = plan.draw(scratch, |n| random.below(n));
                plan.metrics(&scratch[..plan.n_bins], counts)[1]
            },
        )
        .collect()
}

/// `bounds` with the exact binomial interval at `level` around a `share` of `n_trials` that is 0 or
/// 1; any other share keeps its bounds.
fn widened(share: f64, (low, high): (f64, f64), n_trials: u64, level: f64) -> (f64, f64) {
    if n_trials == 0 {
        return (low, high);
    }
    let bound = ((1.0 - level) / 2.0).powf(1.0 / n_trials as f64);
    if share <= 0.0 {
        (low, high.max(1.0 - bound))
    } else if share >= 1.0 {
        (low.min(bound), high)
    } else {
        (low, high)
    }
}

impl Plan {
    fn new(
        scored: &Scored<'_>,
        by_symbol: &BySymbol,
        ranking: &Ranking,
        events: &EventRows<'_>,
        episode_starts: &[bool],
        options: &BootstrapOptions,
    ) -> Self {
        // Of m distinct scores of labelled rows, from the top: bin j holds the unlabelled rows above
        // the jth and below the last one (j = m: below all), bin m + 1 + 2j those tied with it, and
        // m + 2 + 2j the labelled ones. Nearly all rows fall in the first m + 1, side by side.
        let any_labelled = |block: &[(u64, u32)]| {
            let mut rows = block.iter();
            rows.any(|(_, row)| scored.is_labelled(*row as usize))
        };
        let m = ranking.blocks().filter(|block| any_labelled(block)).count() as u32;
        let mut by_row = vec![0u32; scored.len()];
        let mut next = 0u32;
        for block in ranking.blocks() {
            let any = any_labelled(block);
            for (_, row) in block {
                let row = *row as usize;
                by_row[row] = if any {
                    m + 1 + 2 * next + u32::from(scored.is_labelled(row))
                } else {
                    next
                };
            }
            next += u32::from(any);
        }
        let rows = by_symbol.rows();
        let mut events_at = BTreeMap::new();
        for (first, caught) in events.first.iter().zip(events.caught) {
            if let Some(at) = first {
                let counts: &mut [u32; 2] = events_at.entry(*at).or_default();
                counts[0] += 1;
                counts[1] += u32::from(*caught);
            }
        }
        let n_bins = 3 * m + 1;
        let mut special = Vec::new();
        let mut bin_at = |(at, row): (usize, &u32)| {
            let row = *row as usize;
            let (labelled, flagged) = (scored.is_labelled(row), scored.flag[row]);
            let starts = episode_starts[at];
            if !(labelled || flagged || starts) {
                return by_row[row];
            }
            // An event's first row is labelled.
            let [n_events, n_caught] = events_at.get(&at).copied().unwrap_or_default();
            let mut counts = [0; 6];
            counts[LABELLED] = u32::from(labelled);
            counts[CAUGHT_ROWS] = u32::from(labelled && flagged);
            counts[FALSE_ROWS] = u32::from(!labelled && flagged);
            counts[EVENTS] = n_events;
            counts[CAUGHT_EVENTS] = n_caught;
            counts[FALSE_EPISODES] = u32::from(starts);
            special.push((by_row[row], counts));
            n_bins + (special.len() - 1) as u32
        };
        let bins = rows.iter().enumerate().map(&mut bin_at).collect();
        let has_time = scored.time.is_some();
        Self {
            bins,
            n_bins: n_bins as usize,
            special,
            symbols: by_symbol
                .ranges()
                .filter(|range| !range.is_empty())
                .map(|range| {
                    let block = options.block_for(range.len(), has_time, events.longest);
                    (range, block)
                })
                .collect(),
            row_days: super::row_days(scored),
        }
    }

    /// Room for [`draw`](Self::draw).
    fn scratch(&self) -> Vec<u32> {
        vec![0; self.n_bins + self.special.len()]
    }

    /// Counts the bins of one resample, whose blocks start where `start(n)` in 0..n says, into the
    /// first `n_bins` of `scratch`.
    fn draw(&self, scratch: &mut [u32], mut start: impl FnMut(usize) -> usize) -> [u64; 6] {
        scratch.fill(0);
        let mut add = |range: std::ops::Range<usize>| {
            for bin in &self.bins[range] {
                scratch[*bin as usize] += 1;
            }
        };
        for (range, block) in &self.symbols {
            let n = range.len();
            let mut left = n;
            while left > 0 {
                let length = left.min(*block);
                let from = range.start + start(n);
                let to = from + length;
                add(from..to.min(range.end));
                if to > range.end {
                    add(range.start..range.start + (to - range.end));
                }
                left -= length;
            }
        }
        let mut counts = [0u64; 6];
        let (bins, special) = scratch.split_at_mut(self.n_bins);
        for (drawn, (bin, added)) in special.iter().zip(&self.special) {
            bins[*bin as usize] += drawn;
            for (count, added) in counts.iter_mut().zip(added) {
                *count += u64::from(*drawn) * u64::from(*added);
            }
        }
        counts
    }

    fn metrics(&self, bins: &[u32], counts: [u64; 6]) -> [Option<f64>; N_METRICS] {
        let counts = counts.map(|count| count as f64);
        let n = self.bins.len() as f64;
        let labelled = counts[LABELLED];
        let negatives = n - labelled;
        let mut sums = RankSums::default();
        let mut above = 0.0;
        let (gaps, scores) = bins.split_at(bins.len() / 3 + 1);
        for (gap, score) in gaps.iter().zip(scores.chunks_exact(2)) {
            let (tied, positives) = (f64::from(score[0]), f64::from(score[1]));
            above += f64::from(*gap) + tied;
            if positives > 0.0 {
                sums.take(positives, above, tied, negatives);
            }
        }
        let ratio = |part: f64, whole: f64| (whole > 0.0).then(|| part / whole);
        let ranked = sums.finish(negatives);
        let if_labelled = |value: Option<f64>| value.filter(|_| labelled > 0.0);
        let flagged = counts[CAUGHT_ROWS] + counts[FALSE_ROWS];
        let days = self.row_days.map_or(0.0, |days| days * negatives);
        [
            ranked.map(|(auc, _)| auc),
            ranked.map(|(_, ap)| ap),
            if_labelled(ratio(counts[CAUGHT_ROWS], flagged)),
            ratio(counts[CAUGHT_ROWS], labelled),
            if_labelled(ratio(2.0 * counts[CAUGHT_ROWS], flagged + labelled)),
            ratio(counts[CAUGHT_EVENTS], counts[EVENTS]),
            ratio(counts[FALSE_ROWS], days),
            ratio(counts[FALSE_EPISODES], days),
        ]
    }
}

#[cfg(test)]
mod tests;
