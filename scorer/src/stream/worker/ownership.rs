//! Partitions: taken, given up, restored.

use std::time::Instant;

use rdkafka::consumer::Consumer as _;
use rdkafka::{Offset, TopicPartitionList};
use streaming::{Committed, Outputs, PartitionCounts, RestoreError, restore};

use super::Worker;
use super::error::{Trouble, WorkerError, again, failed};
use super::part::{Part, take_snapshot};
use crate::config::Start;
use crate::stream::clients::{ANSWER, Rebalance};
use crate::stream::partition_log::{LogError, PartitionLog};
use crate::stream::transaction::{Progress, Transactions};

impl Worker {
    /// Acts on what the group said since the last transaction. What can't be done yet stays to be done.
    pub(super) fn change_partitions(&mut self) -> Result<(), Trouble> {
        self.changes.extend(self.consumer.context().take_changes());
        while let Some(change) = self.changes.pop_front() {
            if let Err(trouble) = self.change(&change) {
                self.changes.push_front(change);
                return Err(trouble);
            }
        }
        Ok(())
    }

    fn change(&mut self, change: &Rebalance) -> Result<(), Trouble> {
        match change {
            Rebalance::Given(given) => {
                self.telemetry.rebalanced("assigned");
                let mut assignment = TopicPartitionList::new();
                for element in given.elements() {
                    let offset = self.take_up(element.partition())?;
                    assignment
                        .add_partition_offset(
                            element.topic(),
                            element.partition(),
                            Offset::Offset(offset),
                        )
                        .map_err(again("an assignment can't be written"))?;
                }
                self.consumer
                    .incremental_assign(&assignment)
                    .map_err(again("partitions can't be taken"))?;
            }
            Rebalance::Taken(taken) => {
                let partitions: Vec<i32> = taken.elements().iter().map(|e| e.partition()).collect();
                match self.consumer.assignment_lost() {
                    true => self.telemetry.rebalanced("lost"),
                    false => {
                        self.telemetry.rebalanced("revoked");
                        self.leave(&partitions);
                    }
                }
                for partition in &partitions {
                    self.parts.remove(partition);
                    self.telemetry.forget(*partition);
                }
                self.consumer
                    .incremental_unassign(taken)
                    .map_err(again("partitions can't be given up"))?;
                tracing::info!(?partitions, "partitions are given up");
            }
        }
        Ok(())
    }

    /// Writes what would otherwise have to be replayed by whoever comes next.
    pub(super) fn leave(&mut self, partitions: &[i32]) {
        for partition in partitions {
            // What is under way is not in a commit, and must not be in a snapshot: it would only be passed over.
            if let Some(part) = self
                .parts
                .get_mut(partition)
                .filter(|part| !part.is_touched)
            {
                take_snapshot(*partition, part, |partition, offset, bytes| {
                    self.snapshots.insist(partition, offset, bytes);
                    true
                });
            }
        }
    }

    /// Brings a partition to where the last commit left it; the offset of its next record.
    fn take_up(&mut self, partition: i32) -> Result<i64, Trouble> {
        let began = Instant::now();
        let topic = self.names.source();
        let mut log = PartitionLog {
            config: &self.config,
            topic: &topic,
            partition,
            snapshots: &self.store,
            telemetry: &self.telemetry,
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
        let judge = self.current.get();
        let asked = Committed {
            partition,
            next_offset: committed,
            memory: memory.as_deref(),
            judge: judge.as_deref(),
        };
        let restored = restore(&self.settings, asked, &mut log)
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
        let part = Part {
            snapshot_at: restored.snapshot.map_or(-1, |stored| stored.next_offset),
            pipeline: restored.pipeline,
            outputs: Outputs::default(),
            is_touched: false,
            state,
            snapshot_due: Instant::now() + every.mul_f64(share),
            counted: PartitionCounts::default(),
            drift_windows: 0,
            timestamp: None,
        };
        let mut part = part;
        part.counted = part.pipeline.partition().counts();
        self.parts.insert(partition, part);
        Ok(committed.max(first))
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

    /// Back to what was committed, with a new producer.
    pub(super) fn recover(&mut self) -> Result<(), Trouble> {
        if let Some(transactions) = self.transactions.take() {
            transactions.give_up();
        }
        // The new producer first: it ends what the old one may have left open, so that what is committed is known.
        self.transactions = Some(Transactions::new(
            &self.config,
            &self.names,
            &self.instance,
        )?);
        let topic = self.names.source();
        self.parts.clear();
        let assignment = self
            .consumer
            .assignment()
            .map_err(again("the assignment can't be told"))?;
        // A partition that is to be taken up or given up is dealt with when the group's word is acted on.
        let assigned: Vec<i32> = assignment
            .elements()
            .iter()
            .map(|e| e.partition())
            .collect();
        for partition in assigned {
            let offset = self.take_up(partition)?;
            self.consumer
                .seek(&topic, partition, Offset::Offset(offset), ANSWER)
                .map_err(again("a partition can't be wound back"))?;
        }
        Ok(())
    }
}
