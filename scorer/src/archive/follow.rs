//! Following the topic.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use history::Storage;
use market::Topic;
use rdkafka::consumer::{BaseConsumer, CommitMode, Consumer as _};
use rdkafka::error::KafkaError as Rd;
use rdkafka::message::Message as _;
use rdkafka::{Offset, TopicPartitionList};
use terminal::interrupt::Interrupt;
use thiserror::Error;

use super::files::{self, Stretch};
use super::row::Row;
use super::stretch::{Collected, metadata, until_of};
use crate::config::Config;
use crate::model::causes;
use crate::stream::clients::{ANSWER, GroupContext, KafkaError, Rebalance, consumer};
use crate::stream::partition_log::is_passing;
use crate::telemetry::Telemetry;

/// Why archiving can't go on as it was.
#[derive(Debug, Error)]
pub enum ArchiveError {
    /// Kafka refuses, or does not answer.
    #[error(transparent)]
    Kafka(#[from] KafkaError),
    /// What is committed beside an offset isn't ours.
    #[error(
        "the archive's offset of partition {partition} was committed by another program (`{metadata}`)"
    )]
    Foreign {
        /// Which one.
        partition: i32,
        /// What stands beside the offset.
        metadata: String,
    },
}

/// Archives the rows of the partitions that its group gives it.
pub struct Archiver {
    config: Arc<Config>,
    location: String,
    topic: String,
    telemetry: Arc<Telemetry>,
    interrupt: Interrupt,
    storage: Storage,
}

impl std::fmt::Debug for Archiver {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Archiver")
            .field("location", &self.location)
            .finish_non_exhaustive()
    }
}

impl Archiver {
    /// One for a configuration that says where to; `None` for others.
    #[must_use]
    pub fn of(config: &Config, telemetry: &Arc<Telemetry>, interrupt: &Interrupt) -> Option<Self> {
        let location = config.archive.location.clone()?;
        let topic = Topic::Features.name(&config.kafka.topic_prefix);
        let mut config = config.clone();
        // How far it got is this group's offset.
        config.kafka.group.push_str("-archive");
        Some(Self {
            config: Arc::new(config),
            location,
            topic,
            telemetry: Arc::clone(telemetry),
            interrupt: interrupt.clone(),
            storage: Storage::from_env(),
        })
    }

    /// Works until it is asked to stop; what can't be done is tried again. Nothing here holds the scorer up.
    pub fn run(self) {
        while !self.interrupt.is_asked() {
            match Following::begin(&self).and_then(Following::run) {
                Ok(()) => return,
                Err(error) => {
                    let reason = causes(&error);
                    tracing::error!(reason, "archiving begins anew from what was committed");
                    self.telemetry.archive_failed();
                    self.pause(Duration::from_secs(5));
                }
            }
        }
    }

    fn pause(&self, pause: Duration) {
        let until = Instant::now() + pause;
        while Instant::now() < until && !self.interrupt.is_asked() {
            std::thread::sleep(Duration::from_millis(50));
        }
    }
}

/// One membership in the group.
struct Following<'a> {
    archiver: &'a Archiver,
    consumer: BaseConsumer<GroupContext>,
    parts: BTreeMap<i32, Collected>,
    lag_due: Instant,
}

impl<'a> Following<'a> {
    fn begin(archiver: &'a Archiver) -> Result<Self, ArchiveError> {
        let consumer = consumer(&archiver.config)?;
        let topic = &archiver.topic;
        consumer
            .subscribe(&[topic])
            .map_err(KafkaError::new(format!("can't subscribe to `{topic}`")))?;
        Ok(Self {
            archiver,
            consumer,
            parts: BTreeMap::new(),
            lag_due: Instant::now(),
        })
    }

    fn run(mut self) -> Result<(), ArchiveError> {
        let result = self.rounds();
        self.consumer.context().leave();
        // What the group has said and nobody has answered would hold up closing.
        for change in self.consumer.context().take_changes() {
            let (Rebalance::Given(partitions) | Rebalance::Taken(partitions)) = change;
            if let Err(error) = self.consumer.incremental_unassign(&partitions) {
                tracing::debug!(%error, "while the archive leaves its group");
            }
        }
        for partition in self.parts.keys() {
            self.archiver.telemetry.archive_forget(*partition);
        }
        result
    }

    fn rounds(&mut self) -> Result<(), ArchiveError> {
        while !self.archiver.interrupt.is_asked() {
            for change in self.consumer.context().take_changes() {
                self.change(&change)?;
            }
            match self.consumer.poll(Duration::from_millis(100)) {
                Some(Ok(message)) => {
                    let (partition, offset) = (message.partition(), message.offset());
                    let row = match message.payload().map(serde_json::from_slice::<Row>) {
                        Some(Ok(row)) => Some(row),
                        other => {
                            let reason = other.and_then(Result::err).map(|e| e.to_string());
                            tracing::error!(partition, offset, reason, "it is no row of features");
                            self.archiver.telemetry.archive_failed();
                            None
                        }
                    };
                    self.take(partition, offset, row)?;
                }
                Some(Err(error)) if is_passing(&error) => {
                    tracing::warn!(%error, "Kafka, while archiving");
                }
                Some(Err(error)) => return Err(unreadable(error).into()),
                None => {}
            }
            self.end_what_is_due()?;
            self.measure();
        }
        Ok(())
    }

    fn take(&mut self, partition: i32, offset: i64, row: Option<Row>) -> Result<(), ArchiveError> {
        let Some(part) = self.parts.get_mut(&partition) else {
            return Ok(());
        };
        // Read ahead before the partition was paused; it is read again from there.
        if part.is_whole() || offset < part.next {
            return Ok(());
        }
        if let Some(until) = part.until
            && offset >= until
        {
            // What it was to end with is gone from Kafka.
            tracing::error!(
                partition,
                from = part.next,
                until,
                "rows are gone from Kafka before they were archived: its retention is too short"
            );
            self.archiver.telemetry.archive_failed();
            part.next = until;
        } else {
            part.push(offset, row);
        }
        if part.is_whole() {
            self.hold(partition)?;
        }
        Ok(())
    }

    /// Ends stretches that are old, or large together, and writes those that are whole.
    fn end_what_is_due(&mut self) -> Result<(), ArchiveError> {
        let archive = &self.archiver.config.archive;
        let every = archive.every.0;
        let mut due: Vec<i32> = self
            .parts
            .iter()
            .filter(|(_, part)| part.is_old(every))
            .map(|(partition, _)| *partition)
            .collect();
        let held: usize = self.parts.values().map(|part| part.rows.len()).sum();
        if held >= archive.rows {
            let open = self.parts.iter().filter(|(_, part)| part.until.is_none());
            let largest = open.max_by_key(|(_, part)| part.rows.len());
            due.extend(largest.map(|(partition, _)| *partition));
        }
        due.dedup();
        for partition in due {
            if let Some(part) = self.parts.get_mut(&partition)
                && part.next > part.start
            {
                let (start, until) = (part.start, part.next);
                part.until = Some(until);
                self.commit(partition, start, Some(until))?;
                self.hold(partition)?;
            }
        }
        let whole: Vec<i32> = self
            .parts
            .iter()
            .filter(|(_, part)| part.is_whole() && part.may_be_tried())
            .map(|(partition, _)| *partition)
            .collect();
        for partition in whole {
            self.write(partition)?;
        }
        Ok(())
    }

    /// Writes a stretch that is whole, and goes on after it.
    fn write(&mut self, partition: i32) -> Result<(), ArchiveError> {
        let Some(part) = self.parts.get_mut(&partition) else {
            return Ok(());
        };
        let stretch = Stretch {
            partition,
            start: part.start,
        };
        let archiver = self.archiver;
        match files::write(&archiver.storage, &archiver.location, stretch, &part.rows) {
            Ok(n_files) => {
                let (next, n_rows) = (part.next, part.rows.len());
                self.commit(partition, next, None)?;
                archiver.telemetry.archived(n_files, n_rows as u64);
                self.parts.insert(partition, Collected::from(next, None));
                self.go_on(partition, next)
            }
            Err(error) => {
                part.failed();
                archiver.telemetry.archive_failed();
                let failures = part.failures;
                tracing::error!(%error, partition, failures, "rows can't be archived; it is tried again");
                Ok(())
            }
        }
    }

    fn commit(&self, partition: i32, offset: i64, until: Option<i64>) -> Result<(), ArchiveError> {
        let commit = || -> Result<(), Rd> {
            let mut offsets = TopicPartitionList::new();
            let topic = &self.archiver.topic;
            offsets.add_partition_offset(topic, partition, Offset::Offset(offset))?;
            if let Some(mut element) = offsets.find_partition(topic, partition) {
                element.set_metadata(metadata(until));
            }
            self.consumer.commit(&offsets, CommitMode::Sync)
        };
        let what = format!("how far partition {partition} was archived can't be committed");
        Ok(commit().map_err(KafkaError::new(what))?)
    }

    fn list(&self, partition: i32) -> TopicPartitionList {
        let mut list = TopicPartitionList::new();
        list.add_partition(&self.archiver.topic, partition);
        list
    }

    /// Nothing more is read of a partition until its stretch is written.
    fn hold(&self, partition: i32) -> Result<(), ArchiveError> {
        let paused = self.consumer.pause(&self.list(partition));
        Ok(paused.map_err(unreadable)?)
    }

    fn go_on(&self, partition: i32, offset: i64) -> Result<(), ArchiveError> {
        let topic = &self.archiver.topic;
        // What was read ahead and passed over is read again.
        self.consumer
            .seek(topic, partition, Offset::Offset(offset), ANSWER)
            .map_err(unreadable)?;
        let resumed = self.consumer.resume(&self.list(partition));
        Ok(resumed.map_err(unreadable)?)
    }

    fn change(&mut self, change: &Rebalance) -> Result<(), ArchiveError> {
        match change {
            Rebalance::Given(given) => {
                let mut assignment = TopicPartitionList::new();
                for element in given.elements() {
                    let partition = element.partition();
                    let part = self.committed(partition)?;
                    assignment
                        .add_partition_offset(
                            &self.archiver.topic,
                            partition,
                            Offset::Offset(part.next),
                        )
                        .map_err(unreadable)?;
                    self.parts.insert(partition, part);
                }
                self.consumer
                    .incremental_assign(&assignment)
                    .map_err(unreadable)?;
            }
            Rebalance::Taken(taken) => {
                // Whoever is given it begins at what was committed, as if this one had never read on.
                for element in taken.elements() {
                    self.parts.remove(&element.partition());
                    self.archiver.telemetry.archive_forget(element.partition());
                }
                self.consumer
                    .incremental_unassign(taken)
                    .map_err(unreadable)?;
            }
        }
        Ok(())
    }

    /// Where a partition's archive stands.
    fn committed(&self, partition: i32) -> Result<Collected, ArchiveError> {
        let topic = &self.archiver.topic;
        let (first, _) = self
            .consumer
            .fetch_watermarks(topic, partition, ANSWER)
            .map_err(unreadable)?;
        let committed = self
            .consumer
            .committed_offsets(self.list(partition), ANSWER)
            .map_err(unreadable)?;
        let Some(element) = committed.find_partition(topic, partition) else {
            return Ok(Collected::from(first, None));
        };
        element.error().map_err(unreadable)?;
        let Offset::Offset(offset) = element.offset() else {
            return Ok(Collected::from(first, None));
        };
        let until = until_of(element.metadata()).map_err(|metadata| ArchiveError::Foreign {
            partition,
            metadata,
        })?;
        if offset < first {
            tracing::error!(
                partition,
                lost = first - offset,
                "rows are gone from Kafka before they were archived: its retention is too short"
            );
            self.archiver.telemetry.archive_failed();
        }
        let mut part = Collected::from(offset, until);
        // The name of a stretch that was agreed on stays, whatever is left of it.
        part.next = offset.max(first);
        if until.is_none() {
            part.start = part.next;
        }
        Ok(part)
    }

    /// How far behind it is, now and then.
    fn measure(&mut self) {
        const EVERY: Duration = Duration::from_secs(10);
        if Instant::now() < self.lag_due {
            return;
        }
        self.lag_due = Instant::now() + EVERY;
        for (partition, part) in &self.parts {
            let marks = self.consumer.fetch_watermarks(
                &self.archiver.topic,
                *partition,
                Duration::from_millis(500),
            );
            if let Ok((_, end)) = marks {
                // What is collected is not archived yet.
                let behind = (end - part.start).max(0);
                self.archiver.telemetry.archive_lag(*partition, behind);
            }
        }
    }
}

fn unreadable(error: Rd) -> KafkaError {
    KafkaError::new("the rows to be archived can't be read")(error)
}
