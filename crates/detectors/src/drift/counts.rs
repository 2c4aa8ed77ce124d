//! What a window holds: plain counters that add up.

use super::season::STRATA;

/// Counters of one window of one family. Those of several streams add up to those of all of them:
/// whole numbers, so in any order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WindowCounts {
    /// Rows.
    pub rows: u64,
    /// Event time of the earliest row, µs since the epoch.
    pub from: i64,
    /// Event time of the latest row.
    pub to: i64,
    /// Rows by channel and bin.
    pub(super) bins: Vec<u64>,
    /// Rows by symbol of the reference.
    pub(super) symbols: Vec<u64>,
    /// Rows by hour of the week.
    pub(super) strata: [u64; STRATA],
}

impl WindowCounts {
    pub(super) fn new(n_bins: usize, n_symbols: usize) -> Self {
        Self {
            rows: 0,
            from: i64::MAX,
            to: i64::MIN,
            bins: vec![0; n_bins],
            symbols: vec![0; n_symbols],
            strata: [0; STRATA],
        }
    }

    /// Counts a row in these bins.
    pub(super) fn add(&mut self, symbol: usize, stratum: usize, time: i64, bins: &[usize]) {
        for &bin in bins {
            self.bins[bin] += 1;
        }
        self.symbols[symbol] += 1;
        self.strata[stratum] += 1;
        self.rows += 1;
        self.from = self.from.min(time);
        self.to = self.to.max(time);
    }

    pub(super) fn clear(&mut self) {
        *self = Self::new(self.bins.len(), self.symbols.len());
    }

    /// Adds those of another stream; `false`, and nothing is added, where they are of another
    /// baseline.
    pub fn merge(&mut self, other: &Self) -> bool {
        let fits = self.bins.len() == other.bins.len() && self.symbols.len() == other.symbols.len();
        if fits {
            self.rows += other.rows;
            self.from = self.from.min(other.from);
            self.to = self.to.max(other.to);
            for (sum, n) in [
                (self.bins.as_mut_slice(), other.bins.as_slice()),
                (&mut self.symbols, &other.symbols),
                (&mut self.strata, &other.strata),
            ] {
                sum.iter_mut().zip(n).for_each(|(sum, n)| *sum += n);
            }
        }
        fits
    }
}
