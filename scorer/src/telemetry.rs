//! Metrics in the format of Prometheus, and whether the scorer is alive and ready.

mod archive;
mod drift;
mod http;
mod shadow;
mod totals;

use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Instant, SystemTime, UNIX_EPOCH};

use health::Health;
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::encoding::text::encode;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::Registry;
use streaming::pipeline::Judged;
use streaming::{Alert, Drift, ModelId, PartitionCounts, Pipeline};

use archive::ArchiveMetrics;
use drift::DriftMetrics;

use http::HttpMetrics;
use shadow::ShadowMetrics;
pub(crate) use totals::Counts;
use totals::Totals;

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct PartitionLabels {
    partition: i32,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ReasonLabels {
    reason: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct KindLabels {
    kind: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct StageLabels {
    stage: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct AlertLabels {
    symbol: String,
    severity: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ModelLabels {
    alias: String,
    name: String,
    version: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ReloadLabels {
    alias: String,
    result: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ResultLabels {
    result: &'static str,
}

/// The loop is dead when it didn't come round for this long, in seconds: half of what Kafka's group waits for it.
const DEAD: f64 = 900.0;

type Histograms<L> = Family<L, Histogram, fn() -> Histogram>;

/// All metrics of one process, and its health.
#[derive(Debug)]
pub struct Telemetry {
    registry: Registry,
    is_ready: AtomicBool,
    /// When the loop came round last, µs since this was made.
    heartbeat: AtomicI64,
    started: Instant,
    models: Mutex<Vec<ModelLabels>>,
    events: Family<PartitionLabels, Counter>,
    rejected: Family<ReasonLabels, Counter>,
    late: Counter,
    duplicates: Counter,
    rows: Counter,
    scored: Counter,
    failed: Counter,
    early: Counter,
    alerts: Family<AlertLabels, Counter>,
    scores: Histogram,
    latency: Histogram,
    stages: Histograms<StageLabels>,
    lag_records: Family<PartitionLabels, Gauge>,
    lag_seconds: Gauge<f64, std::sync::atomic::AtomicU64>,
    rebalances: Family<KindLabels, Counter>,
    restore: Histogram,
    snapshots: Family<KindLabels, Counter>,
    snapshot_time: Gauge,
    aborts: Family<ReasonLabels, Counter>,
    model: Family<ModelLabels, Gauge>,
    reloads: Family<ReloadLabels, Counter>,
    symbols: Family<PartitionLabels, Gauge>,
    limits: Family<ResultLabels, Counter>,
    drift: DriftMetrics,
    archive: ArchiveMetrics,
    totals: Totals,
    pub(crate) http: HttpMetrics,
    pub(crate) shadow: ShadowMetrics,
}

const SECONDS: [f64; 14] = [
    0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 10.0, 60.0, 600.0,
];

const SCORES: [f64; 12] = [0.5, 1.0, 1.5, 2.0, 2.5, 3.0, 3.5, 4.0, 5.0, 6.0, 8.0, 10.0];

fn seconds() -> Histogram {
    Histogram::new(SECONDS)
}

impl Default for Telemetry {
    fn default() -> Self {
        let mut r = Registry::with_prefix("scorer");
        let mut t = Self {
            totals: Totals::default(),
            http: HttpMetrics::register(&mut r),
            shadow: ShadowMetrics::register(&mut r),
            registry: Registry::default(),
            is_ready: AtomicBool::new(false),
            heartbeat: AtomicI64::new(0),
            started: Instant::now(),
            models: Mutex::default(),
            events: Family::default(),
            rejected: Family::default(),
            late: Counter::default(),
            duplicates: Counter::default(),
            rows: Counter::default(),
            scored: Counter::default(),
            failed: Counter::default(),
            early: Counter::default(),
            alerts: Family::default(),
            scores: Histogram::new(SCORES),
            latency: seconds(),
            stages: Family::new_with_constructor(seconds),
            lag_records: Family::default(),
            lag_seconds: Gauge::default(),
            rebalances: Family::default(),
            restore: seconds(),
            snapshots: Family::default(),
            snapshot_time: Gauge::default(),
            aborts: Family::default(),
            model: Family::default(),
            reloads: Family::default(),
            symbols: Family::default(),
            limits: Family::default(),
            drift: DriftMetrics::default(),
            archive: ArchiveMetrics::default(),
        };
        r.register("events", "Records taken from Kafka", t.events.clone());
        r.register(
            "events_rejected",
            "Records that can't be taken, by reason",
            t.rejected.clone(),
        );
        r.register(
            "late_events",
            "Trades too late for their candle",
            t.late.clone(),
        );
        r.register(
            "duplicates",
            "Trades that were there already",
            t.duplicates.clone(),
        );
        r.register(
            "rows",
            "Closed candles of the features' length",
            t.rows.clone(),
        );
        r.register(
            "rows_scored",
            "Closed candles that were scored",
            t.scored.clone(),
        );
        r.register(
            "rows_failed",
            "Closed candles that the model refused",
            t.failed.clone(),
        );
        r.register(
            "early_looks",
            "Scores of candles that were still open",
            t.early.clone(),
        );
        r.register("alerts", "Alerts", t.alerts.clone());
        r.register(
            "score",
            "Scores of closed candles, -log10 tail probability",
            t.scores.clone(),
        );
        r.register(
            "end_to_end_latency_seconds",
            "From a record's timestamp in Kafka to the commit of what it said",
            t.latency.clone(),
        );
        r.register(
            "stage_duration_seconds",
            "Time per transaction and stage",
            t.stages.clone(),
        );
        r.register(
            "consumer_lag_records",
            "Records in Kafka that were not read yet",
            t.lag_records.clone(),
        );
        r.register(
            "lag_seconds",
            "Age of the last committed record",
            t.lag_seconds.clone(),
        );
        r.register(
            "rebalances",
            "Partitions given and taken",
            t.rebalances.clone(),
        );
        r.register(
            "state_restore_seconds",
            "Time to restore a partition",
            t.restore.clone(),
        );
        r.register("snapshots", "Snapshots, by outcome", t.snapshots.clone());
        r.register(
            "snapshot_timestamp_seconds",
            "When a snapshot was written last",
            t.snapshot_time.clone(),
        );
        r.register(
            "transaction_aborts",
            "Transactions that came to nothing",
            t.aborts.clone(),
        );
        r.register(
            "model_info",
            "1 for each model that is in force",
            t.model.clone(),
        );
        r.register(
            "model_reloads",
            "Models loaded, and models that could not be used",
            t.reloads.clone(),
        );
        r.register("symbols", "Symbols known to a partition", t.symbols.clone());
        r.register(
            "limits_reloads",
            "Limits loaded, and limits that could not be used",
            t.limits.clone(),
        );
        t.drift.register(&mut r);
        t.archive.register(&mut r);
        t.registry = r;
        t
    }
}

impl Health for Telemetry {
    fn metrics(&self) -> Result<String, std::fmt::Error> {
        let mut text = String::new();
        encode(&mut text, &self.registry)?;
        Ok(text)
    }

    /// Whether partitions are held, restored and judged by a model.
    fn is_ready(&self) -> bool {
        self.is_ready.load(Ordering::Relaxed)
    }

    /// Only the loop's own heartbeat: a broker that is away is no reason to restart what waits for it.
    fn check_alive(&self) -> Result<(), String> {
        let since = self.since_beat();
        match since < DEAD {
            true => Ok(()),
            false => Err(format!("the loop did not come round for {since:.0} s")),
        }
    }
}

impl Telemetry {
    /// Says whether partitions are held, restored and judged by a model.
    pub fn set_ready(&self, is_ready: bool) {
        self.is_ready.store(is_ready, Ordering::Relaxed);
    }

    /// The loop came round.
    pub fn beat(&self) {
        let since = i64::try_from(self.started.elapsed().as_micros()).unwrap_or(i64::MAX);
        self.heartbeat.store(since, Ordering::Relaxed);
    }

    /// Seconds since the loop came round last.
    #[must_use]
    pub fn since_beat(&self) -> f64 {
        let since = self.started.elapsed().as_secs_f64();
        since - self.heartbeat.load(Ordering::Relaxed) as f64 / 1e6
    }

    /// What was counted since the start, summed over labels.
    pub(crate) fn counts(&self) -> Counts {
        self.totals.counts()
    }

    pub(crate) fn took(&self, partition: i32, before: PartitionCounts, now: PartitionCounts) {
        self.totals.took(before, now);
        let labels = PartitionLabels { partition };
        self.events
            .get_or_create(&labels)
            .inc_by(now.records.saturating_sub(before.records));
        self.late.inc_by(now.late.saturating_sub(before.late));
        self.duplicates
            .inc_by(now.duplicates.saturating_sub(before.duplicates));
        self.rows.inc_by(now.rows.saturating_sub(before.rows));
    }

    pub(crate) fn rejected(&self, reason: &str) {
        self.totals.rejected();
        let labels = ReasonLabels {
            reason: reason.to_owned(),
        };
        self.rejected.get_or_create(&labels).inc();
    }

    pub(crate) fn judged(&self, judged: &Judged) {
        self.totals.judged(judged);
        self.scored.inc_by(judged.scored);
        self.failed.inc_by(judged.failed);
        self.early.inc_by(judged.early);
    }

    pub(crate) fn score(&self, score: f64) {
        self.scores.observe(score);
    }

    pub(crate) fn alert(&self, alert: &Alert) {
        self.totals.alert(alert.severity);
        let labels = AlertLabels {
            symbol: alert.symbol.clone(),
            severity: alert.severity.as_str(),
        };
        self.alerts.get_or_create(&labels).inc();
    }

    pub(crate) fn stage(&self, stage: &'static str, since: Instant) {
        self.stages
            .get_or_create(&StageLabels { stage })
            .observe(since.elapsed().as_secs_f64());
    }

    /// A record with this timestamp, ms since the epoch, is done with.
    pub(crate) fn done(&self, timestamp: i64) {
        let now = SystemTime::now().duration_since(UNIX_EPOCH);
        let age = now.map_or(0.0, |now| now.as_secs_f64()) - timestamp as f64 / 1e3;
        self.latency.observe(age.max(0.0));
        self.totals.latency(age);
        self.lag_seconds.set(age.max(0.0));
    }

    pub(crate) fn lag(&self, partition: i32, records: i64) {
        let labels = PartitionLabels { partition };
        self.lag_records.get_or_create(&labels).set(records);
    }

    pub(crate) fn knows(&self, partition: i32, n_symbols: usize) {
        let labels = PartitionLabels { partition };
        let n_symbols = i64::try_from(n_symbols).unwrap_or(i64::MAX);
        self.symbols.get_or_create(&labels).set(n_symbols);
    }

    /// A partition is no longer ours.
    pub(crate) fn forget(&self, partition: i32) {
        let labels = PartitionLabels { partition };
        self.lag_records.remove(&labels);
        self.symbols.remove(&labels);
        self.drift.forget(partition);
    }

    /// What became of limits.
    pub(crate) fn limits(&self, result: &'static str) {
        self.limits.get_or_create(&ResultLabels { result }).inc();
    }

    /// So many files of rows were archived.
    pub(crate) fn archived(&self, files: u64, rows: u64) {
        self.archive.archived(files, rows);
    }

    /// Something could not be archived.
    pub(crate) fn archive_failed(&self) {
        self.archive.failed();
    }

    pub(crate) fn archive_lag(&self, partition: i32, records: i64) {
        self.archive.lag(partition, records);
    }

    /// The archive of a partition is somebody else's.
    pub(crate) fn archive_forget(&self, partition: i32) {
        self.archive.forget(partition);
    }

    /// A verdict on drift was said.
    pub(crate) fn drifted(&self, verdict: &Drift) {
        self.drift.verdict(verdict);
    }

    /// What a partition's watch for drift has found.
    pub(crate) fn drift(&self, partition: i32, pipeline: &Pipeline) {
        match pipeline.drift() {
            Some(monitor) => self
                .drift
                .show(partition, monitor, pipeline.drift_refused()),
            None => self.drift.forget(partition),
        }
    }

    pub(crate) fn rebalanced(&self, kind: &'static str) {
        self.rebalances.get_or_create(&KindLabels { kind }).inc();
    }

    pub(crate) fn restored(&self, since: Instant) {
        self.restore.observe(since.elapsed().as_secs_f64());
    }

    pub(crate) fn snapshot(&self, kind: &'static str) {
        self.snapshots.get_or_create(&KindLabels { kind }).inc();
        if kind == "written" {
            let now = SystemTime::now().duration_since(UNIX_EPOCH);
            let seconds = now.map_or(0, |now| now.as_secs());
            self.snapshot_time
                .set(i64::try_from(seconds).unwrap_or(i64::MAX));
        }
    }

    pub(crate) fn aborted(&self, reason: &str) {
        let labels = ReasonLabels {
            reason: reason.to_owned(),
        };
        self.aborts.get_or_create(&labels).inc();
    }

    /// A model is in force under an alias.
    pub(crate) fn model_loaded(&self, alias: &str, model: &ModelId) {
        self.model_gone(alias);
        let labels = ModelLabels {
            alias: alias.to_owned(),
            name: model.name.clone(),
            version: model.version.clone(),
        };
        self.model.get_or_create(&labels).set(1);
        self.models
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .push(labels);
        self.reloaded(alias, "loaded");
    }

    /// No model is in force under an alias.
    pub(crate) fn model_gone(&self, alias: &str) {
        let mut models = self.models.lock().unwrap_or_else(PoisonError::into_inner);
        models.retain(|labels| {
            let is_other = labels.alias != alias;
            if !is_other {
                self.model.remove(labels);
            }
            is_other
        });
    }

    pub(crate) fn model_failed(&self, alias: &str) {
        self.reloaded(alias, "failed");
    }

    fn reloaded(&self, alias: &str, result: &'static str) {
        let labels = ReloadLabels {
            alias: alias.to_owned(),
            result,
        };
        self.reloads.get_or_create(&labels).inc();
    }
}

/// Shared by all that count.
pub type Shared = Arc<Telemetry>;
