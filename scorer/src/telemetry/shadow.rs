//! What is counted of a challenger in shadow.

use std::sync::atomic::AtomicU64;

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::Registry;

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ByLabels {
    by: &'static str,
}

/// Rows of the challenger, beside those of the champion.
#[derive(Debug)]
pub(crate) struct ShadowMetrics {
    rows: Counter,
    dropped: Counter,
    failed: Counter,
    flagged: Family<ByLabels, Counter>,
    scores: Histogram,
    agreement: Gauge<f64, AtomicU64>,
    rank_correlation: Gauge<f64, AtomicU64>,
}

impl ShadowMetrics {
    pub(super) fn register(registry: &mut Registry) -> Self {
        let metrics = Self {
            rows: Counter::default(),
            dropped: Counter::default(),
            failed: Counter::default(),
            flagged: Family::default(),
            scores: Histogram::new(super::SCORES),
            agreement: Gauge::default(),
            rank_correlation: Gauge::default(),
        };
        // Nothing is known before there were rows of both.
        metrics.agreement.set(f64::NAN);
        metrics.rank_correlation.set(f64::NAN);
        registry.register(
            "shadow_rows",
            "Closed candles that the challenger scored",
            metrics.rows.clone(),
        );
        registry.register(
            "shadow_dropped",
            "Closed candles that the challenger was too slow for",
            metrics.dropped.clone(),
        );
        registry.register(
            "shadow_failed",
            "Closed candles that the challenger refused",
            metrics.failed.clone(),
        );
        registry.register(
            "shadow_flagged",
            "Closed candles that were flagged, by whom: both, champion, challenger",
            metrics.flagged.clone(),
        );
        registry.register(
            "shadow_score",
            "Scores of the challenger, -log10 tail probability",
            metrics.scores.clone(),
        );
        registry.register(
            "shadow_agreement_ratio",
            "Of the rows that either flagged, the share that both did; a new version of either begins anew",
            metrics.agreement.clone(),
        );
        registry.register(
            "shadow_rank_correlation",
            "Spearman's correlation of both scores over the last rows",
            metrics.rank_correlation.clone(),
        );
        metrics
    }

    pub(crate) fn scored(&self, score: f64) {
        self.rows.inc();
        self.scores.observe(score);
    }

    pub(crate) fn dropped(&self, n: usize) {
        self.dropped.inc_by(n as u64);
    }

    pub(crate) fn n_dropped(&self) -> u64 {
        self.dropped.get()
    }

    pub(crate) fn failed(&self) {
        self.failed.inc();
    }

    pub(crate) fn flagged(&self, by: &'static str) {
        self.flagged.get_or_create(&ByLabels { by }).inc();
    }

    /// How far both agree on the last rows; NaN where that isn't defined.
    pub(crate) fn agree(&self, ratio: f64, rank_correlation: f64) {
        self.agreement.set(ratio);
        self.rank_correlation.set(rank_correlation);
    }
}
