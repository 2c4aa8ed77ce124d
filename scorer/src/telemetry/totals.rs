//! The same counts as in the metrics, summed over labels, for whoever asks the scorer itself.

use std::sync::atomic::{AtomicU64, Ordering};

use streaming::pipeline::Judged;
use streaming::{PartitionCounts, Severity};

/// Steps of a latency's histogram for each doubling.
const STEPS: f64 = 4.0;
/// The shortest time that is told apart, in seconds.
const SHORTEST: f64 = 1e-5;
/// Steps of the histogram: up to about three hours.
const N_STEPS: usize = 120;

/// Counts since the start.
#[derive(Debug)]
pub(crate) struct Totals {
    records: AtomicU64,
    rejected: AtomicU64,
    late: AtomicU64,
    duplicates: AtomicU64,
    candles: AtomicU64,
    scored: AtomicU64,
    failed: AtomicU64,
    flagged: AtomicU64,
    early: AtomicU64,
    alerts: [AtomicU64; 3],
    latency: [AtomicU64; N_STEPS],
}

/// What they were at some moment.
#[derive(Debug, Clone)]
pub(crate) struct Counts {
    pub(crate) records: u64,
    pub(crate) rejected: u64,
    pub(crate) late: u64,
    pub(crate) duplicates: u64,
    pub(crate) candles: u64,
    pub(crate) scored: u64,
    pub(crate) failed: u64,
    pub(crate) flagged: u64,
    pub(crate) early: u64,
    /// `LOW`, `MEDIUM`, `HIGH`.
    pub(crate) alerts: [u64; 3],
    latency: [u64; N_STEPS],
}

impl Default for Totals {
    fn default() -> Self {
        let zero = || AtomicU64::new(0);
        Self {
            records: zero(),
            rejected: zero(),
            late: zero(),
            duplicates: zero(),
            candles: zero(),
            scored: zero(),
            failed: zero(),
            flagged: zero(),
            early: zero(),
            alerts: std::array::from_fn(|_| zero()),
            latency: std::array::from_fn(|_| zero()),
        }
    }
}

fn add(total: &AtomicU64, n: u64) {
    total.fetch_add(n, Ordering::Relaxed);
}

impl Totals {
    pub(super) fn took(&self, before: PartitionCounts, now: PartitionCounts) {
        add(&self.records, now.records.saturating_sub(before.records));
        add(&self.late, now.late.saturating_sub(before.late));
        let duplicates = now.duplicates.saturating_sub(before.duplicates);
        add(&self.duplicates, duplicates);
        add(&self.candles, now.rows.saturating_sub(before.rows));
    }

    pub(super) fn rejected(&self) {
        add(&self.rejected, 1);
    }

    pub(super) fn judged(&self, judged: &Judged) {
        add(&self.scored, judged.scored);
        add(&self.failed, judged.failed);
        add(&self.flagged, judged.flagged);
        add(&self.early, judged.early);
    }

    pub(super) fn alert(&self, severity: Severity) {
        add(&self.alerts[severity as usize], 1);
    }

    /// The last record of a commit was this old, in seconds.
    pub(super) fn latency(&self, seconds: f64) {
        let step = (seconds.max(SHORTEST) / SHORTEST).log2() * STEPS;
        add(&self.latency[(step as usize).min(N_STEPS - 1)], 1);
    }

    pub(crate) fn counts(&self) -> Counts {
        let get = |total: &AtomicU64| total.load(Ordering::Relaxed);
        Counts {
            records: get(&self.records),
            rejected: get(&self.rejected),
            late: get(&self.late),
            duplicates: get(&self.duplicates),
            candles: get(&self.candles),
            scored: get(&self.scored),
            failed: get(&self.failed),
            flagged: get(&self.flagged),
            early: get(&self.early),
            alerts: std::array::from_fn(|place| get(&self.alerts[place])),
            latency: std::array::from_fn(|step| get(&self.latency[step])),
        }
    }
}

impl Counts {
    /// What was counted since an earlier moment.
    pub(crate) fn since(&self, before: &Self) -> Self {
        let less = |now: u64, before: u64| now.saturating_sub(before);
        Self {
            records: less(self.records, before.records),
            rejected: less(self.rejected, before.rejected),
            late: less(self.late, before.late),
            duplicates: less(self.duplicates, before.duplicates),
            candles: less(self.candles, before.candles),
            scored: less(self.scored, before.scored),
            failed: less(self.failed, before.failed),
            flagged: less(self.flagged, before.flagged),
            early: less(self.early, before.early),
            alerts: std::array::from_fn(|place| less(self.alerts[place], before.alerts[place])),
            latency: std::array::from_fn(|step| less(self.latency[step], before.latency[step])),
        }
    }

    /// How many latencies were measured.
    pub(crate) fn n_latencies(&self) -> u64 {
        self.latency.iter().sum()
    }

    /// A quantile of the latencies, in seconds, to about a tenth; `None` without any.
    pub(crate) fn latency(&self, quantile: f64) -> Option<f64> {
        let wanted = (self.n_latencies() as f64 * quantile).ceil().max(1.0) as u64;
        let mut seen = 0;
        let step = self.latency.iter().position(|n| {
            seen += n;
            seen >= wanted
        })?;
        // The middle of its step.
        Some(SHORTEST * ((step as f64 + 0.5) / STEPS).exp2())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn latencies_are_found_to_a_tenth() {
        let totals = Totals::default();
        assert_eq!(totals.counts().latency(0.5), None);
        for milliseconds in 1..=1_000 {
            totals.latency(f64::from(milliseconds) / 1e3);
        }
        let before = totals.counts();
        for (quantile, expected) in [(0.5, 0.5), (0.99, 0.99), (0.01, 0.01)] {
            let found = before.latency(quantile).unwrap();
            assert!((found / expected - 1.0).abs() < 0.12, "{found} {expected}");
        }
        totals.latency(1e9);
        totals.latency(0.0);
        let now = totals.counts().since(&before);
        assert_eq!(now.n_latencies(), 2);
        assert!(now.latency(0.1).unwrap() < 2e-5 && now.latency(1.0).unwrap() > 9_000.0);
    }

    #[test]
    fn alerts_are_counted_by_severity() {
        let totals = Totals::default();
        totals.alert(Severity::High);
        totals.alert(Severity::High);
        totals.alert(Severity::Low);
        assert_eq!(totals.counts().alerts, [1, 0, 2]);
    }
}
