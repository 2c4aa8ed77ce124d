//! Metrics of the archive.

use std::time::{SystemTime, UNIX_EPOCH};

use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;

use super::PartitionLabels;

/// What has been archived.
#[derive(Debug, Default)]
pub(super) struct ArchiveMetrics {
    rows: Counter,
    files: Counter,
    failures: Counter,
    lag: Family<PartitionLabels, Gauge>,
    written: Gauge,
}

impl ArchiveMetrics {
    pub(super) fn register(&self, registry: &mut Registry) {
        registry.register("archive_rows", "Rows archived", self.rows.clone());
        registry.register("archive_files", "Files archived", self.files.clone());
        registry.register(
            "archive_failures",
            "Attempts to archive that came to nothing, and rows that could not be archived",
            self.failures.clone(),
        );
        registry.register(
            "archive_lag_records",
            "Records of the topic that are not archived yet",
            self.lag.clone(),
        );
        registry.register(
            "archive_timestamp_seconds",
            "When rows were archived last",
            self.written.clone(),
        );
    }

    pub(super) fn archived(&self, files: u64, rows: u64) {
        self.files.inc_by(files);
        self.rows.inc_by(rows);
        let now = SystemTime::now().duration_since(UNIX_EPOCH);
        let seconds = now.map_or(0, |now| now.as_secs());
        self.written.set(i64::try_from(seconds).unwrap_or(i64::MAX));
    }

    pub(super) fn failed(&self) {
        self.failures.inc();
    }

    pub(super) fn lag(&self, partition: i32, records: i64) {
        let labels = PartitionLabels { partition };
        self.lag.get_or_create(&labels).set(records);
    }

    pub(super) fn forget(&self, partition: i32) {
        self.lag.remove(&PartitionLabels { partition });
    }
}
