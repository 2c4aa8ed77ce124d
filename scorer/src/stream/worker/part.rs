//! A partition that is ours, and what a transaction says.

use std::time::{Duration, Instant};

use streaming::pipeline::{Judged, JudgedRow};
use streaming::{Alert, Drift, Frozen, Output, Outputs, PartitionCounts, Pipeline};

use crate::telemetry::Telemetry;

/// A partition that is ours.
pub(super) struct Part {
    pub(super) pipeline: Pipeline,
    /// What it says in the transaction that is under way.
    pub(super) outputs: Outputs,
    /// Whether it has records in it.
    pub(super) is_touched: bool,
    /// Where its models' memory lies.
    pub(super) state: Option<i64>,
    pub(super) snapshot_due: Instant,
    pub(super) snapshot_at: i64,
    /// Counts at the last commit.
    pub(super) counted: PartitionCounts,
    /// Full windows of its watch for drift when that was shown last.
    pub(super) drift_windows: u64,
    /// The timestamp of the last record, ms since the epoch.
    pub(super) timestamp: Option<i64>,
}

/// What a transaction said, until it is committed.
#[derive(Default)]
pub(super) struct Said {
    pub(super) judged: Judged,
    pub(super) scores: Vec<f64>,
    pub(super) alerts: Vec<Alert>,
}

impl Said {
    pub(super) fn see(&mut self, row: &JudgedRow<'_>) {
        if !row.is_open {
            self.scores.extend(row.score.map(|score| score.score));
        }
        self.alerts.extend(row.alert.cloned());
    }

    pub(super) fn tell(&self, telemetry: &Telemetry) {
        telemetry.judged(&self.judged);
        self.scores.iter().for_each(|score| telemetry.score(*score));
        self.alerts.iter().for_each(|alert| telemetry.alert(alert));
    }
}

impl Part {
    /// Shows what the watch for drift has found since it was shown last.
    pub(super) fn show_drift(&mut self, partition: i32, telemetry: &Telemetry) {
        let windows = self.pipeline.drift().map_or(0, |of| of.counts().windows);
        if windows != self.drift_windows {
            self.drift_windows = windows;
            telemetry.drift(partition, &self.pipeline);
        }
    }
}

/// Counts a verdict on drift, and says it to whoever reads the log.
pub(super) fn tell_drift(output: &Output<'_>, telemetry: &Telemetry) {
    let Ok(verdict) = serde_json::from_slice::<Drift>(output.value.unwrap_or_default()) else {
        return;
    };
    telemetry.drifted(&verdict);
    let Drift {
        model,
        partition,
        statistic,
        feature,
        value,
        limit,
        window,
        action,
        ..
    } = &verdict;
    let feature = feature.as_deref().unwrap_or_default();
    tracing::warn!(
        model = model.name,
        version = model.version,
        partition,
        statistic,
        feature,
        value,
        limit,
        window,
        ?action,
        "drift"
    );
}

/// Takes a snapshot where there is something new, and hands it on to be made and written. Where there is no room for it,
/// it is tried again before long.
pub(super) fn take_snapshot(
    partition: i32,
    part: &mut Part,
    hand: impl FnOnce(i32, Frozen) -> bool,
) {
    const AGAIN: Duration = Duration::from_secs(1);
    let offset = part.pipeline.partition().next_offset();
    if offset == part.snapshot_at {
        return;
    }
    if hand(partition, part.pipeline.freeze()) {
        part.snapshot_at = offset;
    } else {
        part.snapshot_due = part.snapshot_due.min(Instant::now() + AGAIN);
    }
}
