//! Bringing a partition to where the last commit left it.

use std::sync::Arc;
use std::time::Instant;

use rdkafka::consumer::{BaseConsumer, Consumer as _};
use rdkafka::{Offset, TopicPartitionList};
use streaming::{Committed, Judge, Outputs, RestoreError, Settings, restore};

use super::error::{Trouble, WorkerError, again, failed};
use super::part::Part;
use crate::config::{Config, Start};
use crate::stream::clients::{ANSWER, GroupContext, Names};
use crate::stream::partition_log::{LogError, PartitionLog};
use crate::stream::snapshots::SnapshotStore;
use crate::stream::transaction::Progress;
use crate::telemetry::Telemetry;

/// What restoring needs; it changes nothing of the loop, so that several partitions can be restored at once.
pub(super) struct Restoring<'a> {
    pub(super) config: &'a Config,
    pub(super) settings: &'a Arc<Settings>,
    pub(super) names: &'a Names,
    pub(super) consumer: &'a BaseConsumer<GroupContext>,
    pub(super) store: &'a SnapshotStore,
    /// The model in force.
    pub(super) judge: Option<Arc<dyn Judge>>,
    pub(super) telemetry: &'a Telemetry,
}

impl Restoring<'_> {
    /// Brings a partition to where the last commit left it; the offset of its next record.
    pub(super) fn take_up(&self, partition: i32) -> Result<(Part, i64), Trouble> {
        let began = Instant::now();
        let topic = self.names.source();
        let mut log = PartitionLog {
            config: self.config,
            topic: &topic,
            partition,
            snapshots: self.store,
            telemetry: self.telemetry,
        };
        let failed = |source: LogError| failed(partition, RestoreError::Log(source));
        let (first, end) = log.watermarks(&topic).map_err(failed)?;
        let (committed, state) = match self.committed_of(&topic, partition)? {
            Some((offset, state)) => (offset, state),
            None => match self.config.kafka.start {
                Start::Earliest => (first, None),
                Start::Latest => (end, None),
            },
        };
        let memory = match state {
            Some(offset) => Some(log.record(&self.names.state(), offset).map_err(failed)?),
            None => None,
        };
        let asked = Committed {
            partition,
            next_offset: committed,
            memory: memory.as_deref(),
            judge: self.judge.as_deref(),
        };
        let restored = restore(self.settings, asked, &mut log)
            .map_err(|error| self::failed(partition, error))?;
        for (stored, reason) in &restored.unusable {
            tracing::warn!(
                partition,
                snapshot = stored.name,
                reason,
                "a snapshot can't be used"
            );
        }
        if let Some(reason) = &restored.drift_lost {
            tracing::warn!(partition, reason, "the watch for drift starts afresh");
        }
        if restored.missing > 0 || committed < first {
            let lost = (first - committed).max(0);
            tracing::error!(
                partition,
                unread = lost,
                unreplayed = restored.missing,
                "records are gone from Kafka before they were read: its retention is shorter than this scorer was behind"
            );
            self.telemetry.rejected("retention");
        }
        self.telemetry.restored(began);
        tracing::info!(
            partition,
            offset = committed,
            replayed = restored.replayed,
            symbols = restored.pipeline.partition().n_symbols(),
            seconds = began.elapsed().as_secs_f64(),
            "a partition is taken up"
        );
        // Not all partitions at the same moment.
        let every = self.config.state.every.0;
        let share = f64::from(partition.rem_euclid(16) + 1) / 16.0;
        let counted = restored.pipeline.partition().counts();
        let part = Part {
            snapshot_at: restored.snapshot.map_or(-1, |stored| stored.next_offset),
            pipeline: restored.pipeline,
            outputs: Outputs::default(),
            is_touched: false,
            state,
            snapshot_due: Instant::now() + every.mul_f64(share),
            counted,
            drift_windows: 0,
            timestamp: None,
        };
        Ok((part, committed.max(first)))
    }

    /// What was committed for a partition: the offset, and where its state lies.
    fn committed_of(
        &self,
        topic: &str,
        partition: i32,
    ) -> Result<Option<(i64, Option<i64>)>, Trouble> {
        let mut asked = TopicPartitionList::new();
        asked.add_partition(topic, partition);
        let committed = self
            .consumer
            .committed_offsets(asked, ANSWER)
            .map_err(again("what was committed can't be told"))?;
        let Some(element) = committed.find_partition(topic, partition) else {
            return Ok(None);
        };
        element
            .error()
            .map_err(again("what was committed can't be told"))?;
        let Offset::Offset(offset) = element.offset() else {
            return Ok(None);
        };
        let state =
            Progress::state_of(element.metadata()).map_err(|metadata| WorkerError::Foreign {
                partition,
                metadata,
            })?;
        Ok(Some((offset, state)))
    }
}
