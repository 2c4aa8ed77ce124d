//! A family of statistics that share one limit: what the reference says of each, and how a window
//! is judged by it.

use serde::Serialize;

use super::counts::WindowCounts;
use super::limit::Rule;
use super::ranks::{self, BINS, rank_scores};
use super::season::{Days, STRATA};
use super::variance::{VarianceCurve, alone_and_together, composition};

/// What a statistic is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Measure {
    /// The share of flagged rows.
    Rate,
    /// The mean normal score of the ranks (van der Waerden).
    Location,
    /// The mean squared normal score of the ranks (Klotz).
    Spread,
}

/// A column that is watched.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Channel {
    pub(super) name: String,
    pub(super) is_flag: bool,
    /// The first of its statistics, and of its bins in a window's counters.
    pub(super) first_statistic: usize,
    pub(super) first_bin: usize,
}

impl Channel {
    pub(super) fn n_bins(&self) -> usize {
        if self.is_flag { 2 } else { BINS }
    }

    pub(super) fn measures(&self) -> &'static [Measure] {
        if self.is_flag {
            &[Measure::Rate]
        } else {
            &[Measure::Location, Measure::Spread]
        }
    }

    /// What a row in `bin` adds to the statistic of `measure`.
    pub(super) fn score(&self, table: &[[f64; 2]; BINS], measure: usize, bin: usize) -> f64 {
        if self.is_flag {
            bin as f64
        } else {
            table[bin][measure]
        }
    }
}

/// One statistic as the reference has it.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Statistic {
    pub(super) channel: usize,
    pub(super) measure: Measure,
    /// The mean by symbol.
    pub(super) by_symbol: Vec<f64>,
    /// What is added to it by hour of the week.
    pub(super) by_stratum: [f64; STRATA],
    /// The variance of sums over one symbol's rows.
    pub(super) variance: VarianceCurve,
    /// The share of it that symbols have in common.
    pub(super) shared: f64,
}

/// A window's size, how windows are judged, and from where on they are unusual.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Size {
    pub(super) rows: u64,
    pub(super) rule: Rule,
    pub(super) limit: f64,
    /// What variances are multiplied by, since the reference is finite.
    pub(super) allowance: f64,
}

/// A family of statistics.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Family {
    pub(super) n_rows: u64,
    pub(super) from: i64,
    pub(super) to: i64,
    pub(super) days: Days,
    /// Names in order.
    pub(super) symbols: Vec<String>,
    pub(super) channels: Vec<Channel>,
    /// Which hours of the week the reference has seen often enough.
    pub(super) is_known: [bool; STRATA],
    /// By symbol, channel that is no flag, edge.
    pub(super) edges: Vec<f64>,
    pub(super) statistics: Vec<Statistic>,
    pub(super) sizes: Vec<Size>,
}

impl Family {
    /// Channels from names and whether each is a flag.
    pub(super) fn channels(names: impl Iterator<Item = (String, bool)>) -> Vec<Channel> {
        let (mut first_statistic, mut first_bin) = (0, 0);
        names
            .map(|(name, is_flag)| {
                let channel = Channel {
                    name,
                    is_flag,
                    first_statistic,
                    first_bin,
                };
                first_statistic += channel.measures().len();
                first_bin += channel.n_bins();
                channel
            })
            .collect()
    }

    pub(super) fn n_bins(&self) -> usize {
        self.channels
            .last()
            .map_or(0, |channel| channel.first_bin + channel.n_bins())
    }

    pub(super) fn counts(&self) -> WindowCounts {
        WindowCounts::new(self.n_bins(), self.symbols.len())
    }

    pub(super) fn symbol(&self, name: &str) -> Option<usize> {
        self.symbols
            .binary_search_by(|symbol| symbol.as_str().cmp(name))
            .ok()
    }

    pub(super) fn stratum(&self, time: i64) -> Option<usize> {
        let stratum = self.days.stratum(time);
        self.is_known[stratum].then_some(stratum)
    }

    /// The bins, as positions in a window's counters, of a row of a known symbol; `values` has an
    /// entry a channel, 0 or 1 where it is a flag.
    pub(super) fn bins(&self, symbol: usize, values: &[f64], bins: &mut Vec<usize>) {
        let n_edges = BINS - 1;
        let n_real = self.edges.len() / (n_edges * self.symbols.len().max(1));
        let mut at = symbol * n_real * n_edges;
        bins.clear();
        bins.extend(self.channels.iter().zip(values).map(|(channel, value)| {
            let bin = if channel.is_flag {
                usize::from(*value != 0.0)
            } else {
                let edges = &self.edges[at..at + n_edges];
                at += n_edges;
                usize::from(ranks::bin(edges, *value))
            };
            channel.first_bin + bin
        }));
    }

    /// Every statistic of a window in standard deviations of what the reference expects of windows
    /// of the same symbols and hours.
    pub(super) fn judge(&self, size: usize, counts: &WindowCounts) -> Vec<f64> {
        let table = rank_scores();
        let composition = composition(&counts.symbols);
        // What the reference lacks in rows, the reference's own mean may be off by.
        let allowance = self.sizes[size].allowance;
        self.statistics
            .iter()
            .map(|statistic| {
                let channel = &self.channels[statistic.channel];
                let measure = usize::from(statistic.measure == Measure::Spread);
                let bins = &counts.bins[channel.first_bin..channel.first_bin + channel.n_bins()];
                let found: f64 = (0..)
                    .zip(bins)
                    .map(|(bin, n)| *n as f64 * channel.score(&table, measure, bin))
                    .sum();
                let weighted = |n: &[u64], means: &[f64]| -> f64 {
                    n.iter().zip(means).map(|(n, mean)| *n as f64 * mean).sum()
                };
                let expected = weighted(&counts.symbols, &statistic.by_symbol)
                    + weighted(&counts.strata, &statistic.by_stratum);
                let (alone, together) = alone_and_together(&statistic.variance, &composition);
                let variance = (alone + statistic.shared * (together - alone)) * allowance;
                standardised(statistic.measure, found, expected, variance)
            })
            .collect()
    }

    /// By how much a window's mean normal score, or rate, differs from what was expected.
    pub(super) fn shift(&self, statistic: usize, counts: &WindowCounts) -> f64 {
        let table = rank_scores();
        let statistic = &self.statistics[statistic];
        let channel = &self.channels[statistic.channel];
        let measure = usize::from(statistic.measure == Measure::Spread);
        let bins = &counts.bins[channel.first_bin..channel.first_bin + channel.n_bins()];
        let n = |n: u64| n as f64;
        let found: f64 = (0..)
            .zip(bins)
            .map(|(bin, rows)| n(*rows) * channel.score(&table, measure, bin))
            .sum();
        let by_symbol = counts.symbols.iter().zip(&statistic.by_symbol);
        let by_stratum = counts.strata.iter().zip(&statistic.by_stratum);
        let expected: f64 = by_symbol
            .map(|(rows, mean)| n(*rows) * mean)
            .chain(by_stratum.map(|(rows, mean)| n(*rows) * mean))
            .sum();
        (found - expected) / n(counts.rows.max(1))
    }
}

/// Whether a flag counts towards the alert rate: one an hour (or as long as features remember) and
/// symbol does. A single symbol in turmoil is one anomaly, not drift.
pub(super) fn is_new_alert(flagged: bool, time: i64, last: &mut i64, memory_us: i64) -> bool {
    let counts = flagged && (*last == i64::MIN || time.saturating_sub(*last) >= memory_us);
    if counts {
        *last = time;
    }
    counts
}

/// A sum in standard deviations. Counts of what is rare are skewed; their square root is not
/// (Anscombe 1948).
pub(super) fn standardised(measure: Measure, found: f64, expected: f64, variance: f64) -> f64 {
    if measure != Measure::Rate {
        return (found - expected) / variance.sqrt();
    }
    let expected = expected.max(0.05);
    let overdispersion = (variance / expected).max(1.0);
    2.0 * ((found.max(0.0) + 0.375).sqrt() - (expected + 0.375).sqrt()) / overdispersion.sqrt()
}
