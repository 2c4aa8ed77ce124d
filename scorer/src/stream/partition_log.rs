//! A partition as restoring sees it: its records in Kafka, its snapshots elsewhere.

use std::time::{Duration, Instant};

use history::HistoryError;
use rdkafka::consumer::{BaseConsumer, Consumer as _};
use rdkafka::error::KafkaError as Rd;
use rdkafka::message::Message as _;
use rdkafka::{Offset, TopicPartitionList};
use streaming::{Log, Record, Stored};
use thiserror::Error;

use super::clients::{ANSWER, KafkaError, Quiet, looker};
use super::snapshots::SnapshotStore;
use crate::config::Config;
use crate::telemetry::Telemetry;

/// What can go wrong while a partition is restored.
#[derive(Debug, Error)]
pub enum LogError {
    /// Kafka refuses, or does not answer.
    #[error(transparent)]
    Kafka(#[from] KafkaError),
    /// Snapshots can't be read.
    #[error(transparent)]
    Snapshots(#[from] HistoryError),
    /// A record that must be there isn't.
    #[error("partition {partition} of `{topic}` has no record at offset {offset}")]
    NoRecord {
        /// The topic.
        topic: String,
        /// The partition.
        partition: i32,
        /// The offset.
        offset: i64,
    },
    /// Nothing comes.
    #[error("partition {partition} of `{topic}` gives nothing from offset {offset} on")]
    Silent {
        /// The topic.
        topic: String,
        /// The partition.
        partition: i32,
        /// The offset.
        offset: i64,
    },
}

/// One partition's records and snapshots.
pub(crate) struct PartitionLog<'a> {
    pub(crate) config: &'a Config,
    pub(crate) topic: &'a str,
    pub(crate) partition: i32,
    pub(crate) snapshots: &'a SnapshotStore,
    pub(crate) telemetry: &'a Telemetry,
}

/// How long a broker may be silent in the middle of a partition.
const SILENCE: Duration = Duration::from_secs(60);

impl PartitionLog<'_> {
    /// The first and the next offset of a partition.
    pub(crate) fn watermarks(&self, topic: &str) -> Result<(i64, i64), LogError> {
        let what = format!("the offsets of partition {} of `{topic}`", self.partition);
        Ok(looker(self.config)?
            .fetch_watermarks(topic, self.partition, ANSWER)
            .map_err(KafkaError::new(what))?)
    }

    /// The record at an offset of a topic's partition of the same number.
    pub(crate) fn record(&self, topic: &str, offset: i64) -> Result<Vec<u8>, LogError> {
        let mut found = None;
        self.read_topic(topic, offset, offset + 1, &mut |record| {
            found = record.value.map(<[u8]>::to_vec);
        })?;
        found.ok_or_else(|| LogError::NoRecord {
            topic: topic.to_owned(),
            partition: self.partition,
            offset,
        })
    }

    fn read_topic(
        &self,
        topic: &str,
        from: i64,
        to: i64,
        visit: &mut dyn FnMut(&Record<'_>),
    ) -> Result<(), LogError> {
        let what = || format!("partition {} of `{topic}` can't be read", self.partition);
        let reader: BaseConsumer<Quiet> = looker(self.config)?;
        let mut assignment = TopicPartitionList::new();
        assignment
            .add_partition_offset(topic, self.partition, Offset::Offset(from))
            .and_then(|()| reader.assign(&assignment))
            .map_err(KafkaError::new(what()))?;
        let mut heard = Instant::now();
        loop {
            self.telemetry.beat();
            match reader.poll(Duration::from_millis(200)) {
                Some(Ok(message)) => {
                    heard = Instant::now();
                    if message.offset() >= to {
                        return Ok(());
                    }
                    visit(&Record {
                        offset: message.offset(),
                        key: message.key(),
                        value: message.payload(),
                    });
                    if message.offset() + 1 >= to {
                        return Ok(());
                    }
                }
                // What is left before `to` are marks of transactions, or records that were taken back.
                Some(Err(Rd::PartitionEOF(_))) => return Ok(()),
                Some(Err(error)) if is_passing(&error) => {
                    tracing::warn!(%error, partition = self.partition, "while restoring");
                }
                Some(Err(error)) => return Err(KafkaError::new(what())(error).into()),
                None => {}
            }
            if heard.elapsed() > SILENCE {
                return Err(LogError::Silent {
                    topic: topic.to_owned(),
                    partition: self.partition,
                    offset: from,
                });
            }
        }
    }
}

/// Errors that the client gets over by itself.
pub(crate) fn is_passing(error: &Rd) -> bool {
    use rdkafka::types::RDKafkaErrorCode as Code;
    matches!(
        error.rdkafka_error_code(),
        Some(
            Code::BrokerTransportFailure
                | Code::AllBrokersDown
                | Code::OperationTimedOut
                | Code::Resolve
                | Code::RequestTimedOut
                | Code::NotLeaderForPartition
                | Code::LeaderNotAvailable
                | Code::CoordinatorNotAvailable
                | Code::CoordinatorLoadInProgress
                | Code::NotCoordinator
                | Code::RebalanceInProgress
        )
    )
}

impl Log for PartitionLog<'_> {
    type Error = LogError;

    fn snapshots(&mut self) -> Result<Vec<Stored>, LogError> {
        Ok(self.snapshots.list(self.partition)?)
    }

    fn snapshot(&mut self, stored: &Stored) -> Result<Vec<u8>, LogError> {
        Ok(self.snapshots.read(self.partition, stored)?)
    }

    fn first_offset(&mut self) -> Result<i64, LogError> {
        Ok(self.watermarks(self.topic)?.0)
    }

    fn read(
        &mut self,
        from: i64,
        to: i64,
        visit: &mut dyn FnMut(&Record<'_>),
    ) -> Result<(), LogError> {
        self.read_topic(self.topic, from, to, visit)
    }
}
