//! Metrics of drift.

use std::collections::HashMap;
use std::sync::atomic::AtomicU64;
use std::sync::{Mutex, PoisonError};

use detectors::DriftMonitor;
use detectors::drift::{Action, FamilyKind, Measure};
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;
use streaming::Drift;

type Number = Gauge<f64, AtomicU64>;

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct StatisticLabels {
    partition: i32,
    name: String,
    measure: &'static str,
    window: u64,
    rule: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct FamilyLabels {
    partition: i32,
    family: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct CountLabels {
    partition: i32,
    kind: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct VerdictLabels {
    statistic: String,
    action: &'static str,
}

/// What has been said and counted of drift.
#[derive(Debug, Default)]
pub(super) struct DriftMetrics {
    statistics: Family<StatisticLabels, Number>,
    limits: Family<StatisticLabels, Number>,
    raised: Family<FamilyLabels, Gauge>,
    counts: Family<CountLabels, Gauge>,
    verdicts: Family<VerdictLabels, Counter>,
    /// What was shown of each partition, to be taken back when it is another's.
    shown: Mutex<HashMap<i32, Vec<StatisticLabels>>>,
}

const FAMILIES: [(FamilyKind, &str); 2] = [
    (FamilyKind::Model, "model"),
    (FamilyKind::Features, "features"),
];
const KINDS: [&str; 8] = [
    "rows",
    "suppressed",
    "unknown_symbol",
    "unknown_hour",
    "refused",
    "windows",
    "raised",
    "retrain_requests",
];

impl DriftMetrics {
    pub(super) fn register(&self, registry: &mut Registry) {
        registry.register(
            "drift_statistic",
            "Of the last full window: standard deviations from the reference, or their accumulated sum",
            self.statistics.clone(),
        );
        registry.register(
            "drift_limit",
            "Beyond which drift_statistic is raised",
            self.limits.clone(),
        );
        registry.register(
            "drift_raised",
            "1 while anything of the family is raised",
            self.raised.clone(),
        );
        registry.register(
            "drift_watched",
            "What was counted since the model came into force, by kind",
            self.counts.clone(),
        );
        registry.register(
            "drift_verdicts",
            "Verdicts on drift, by statistic and action",
            self.verdicts.clone(),
        );
    }

    pub(super) fn verdict(&self, verdict: &Drift) {
        let labels = VerdictLabels {
            statistic: verdict.statistic.clone(),
            action: word(verdict.action),
        };
        self.verdicts.get_or_create(&labels).inc();
    }

    /// Shows what a partition's monitor has found by its last full windows.
    pub(super) fn show(&self, partition: i32, monitor: &DriftMonitor, n_refused: u64) {
        self.forget(partition);
        let mut all = Vec::new();
        for gauge in monitor.gauges() {
            let labels = StatisticLabels {
                partition,
                name: gauge.name.to_owned(),
                measure: match gauge.measure {
                    Measure::Rate => "rate",
                    Measure::Location => "location",
                    Measure::Spread => "spread",
                },
                window: gauge.window,
                rule: gauge.rule,
            };
            self.statistics.get_or_create(&labels).set(gauge.value);
            self.limits.get_or_create(&labels).set(gauge.limit);
            all.push(labels);
        }
        for (kind, family) in FAMILIES {
            let labels = FamilyLabels { partition, family };
            let is_raised = monitor.is_raised(kind);
            self.raised.get_or_create(&labels).set(is_raised.into());
        }
        let counts = monitor.counts();
        let numbers = [
            counts.rows,
            counts.suppressed,
            counts.unknown_symbol,
            counts.unknown_hour,
            n_refused,
            counts.windows,
            counts.raised,
            counts.retrains,
        ];
        for (kind, number) in KINDS.into_iter().zip(numbers) {
            let number = i64::try_from(number).unwrap_or(i64::MAX);
            let labels = CountLabels { partition, kind };
            self.counts.get_or_create(&labels).set(number);
        }
        let mut shown = self.shown.lock().unwrap_or_else(PoisonError::into_inner);
        shown.insert(partition, all);
    }

    /// A partition is no longer ours, or has another model.
    pub(super) fn forget(&self, partition: i32) {
        let mut shown = self.shown.lock().unwrap_or_else(PoisonError::into_inner);
        for labels in shown.remove(&partition).into_iter().flatten() {
            self.statistics.remove(&labels);
            self.limits.remove(&labels);
        }
        for (_, family) in FAMILIES {
            self.raised.remove(&FamilyLabels { partition, family });
        }
        for kind in KINDS {
            self.counts.remove(&CountLabels { partition, kind });
        }
    }
}

pub(super) fn word(action: Action) -> &'static str {
    match action {
        Action::Retrain => "retrain",
        Action::Warn => "warn",
        Action::Clear => "clear",
    }
}
