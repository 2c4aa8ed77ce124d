//! Transactions: what is said and how far was read, committed together or not at all.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use rdkafka::consumer::ConsumerGroupMetadata;
use rdkafka::error::{KafkaError as Rd, RDKafkaErrorCode};
use rdkafka::message::{Header, OwnedHeaders};
use rdkafka::producer::{BaseProducer, BaseRecord, Producer as _};
use rdkafka::{Offset, TopicPartitionList};
use streaming::{Channel, Output, Outputs};
use thiserror::Error;

use super::clients::{DeliveryContext, KafkaError, Names, producer};
use crate::config::Config;

/// How far a partition was read, and where its models' memory lies.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Progress {
    pub(crate) partition: i32,
    pub(crate) next_offset: i64,
    /// The offset of the record of its state; `None` where models remember nothing yet.
    pub(crate) state: Option<i64>,
}

impl Progress {
    /// What is committed beside the offset.
    fn metadata(&self) -> String {
        match self.state {
            Some(offset) => format!("{METADATA}{offset}"),
            None => METADATA.to_owned(),
        }
    }

    /// The offset of the record of state that such a text names.
    pub(crate) fn state_of(metadata: &str) -> Result<Option<i64>, String> {
        match metadata.strip_prefix(METADATA) {
            Some("") => Ok(None),
            Some(offset) => offset.parse().map(Some).map_err(|_| metadata.to_owned()),
            // Somebody set the group's offset by hand: nothing is remembered.
            None if metadata.is_empty() => Ok(None),
            None => Err(metadata.to_owned()),
        }
    }
}

const METADATA: &str = "foreshock-1 state=";

/// A transaction that came to nothing.
#[derive(Debug, Error)]
pub(crate) enum TransactionError {
    /// It is to be tried again from what was committed before it.
    #[error("the transaction came to nothing ({stage})")]
    GivenUp {
        stage: &'static str,
        #[source]
        source: Rd,
    },
    /// A record could not be delivered.
    #[error("{0}")]
    Undelivered(String),
    /// Somebody else goes by our name.
    #[error(
        "another scorer goes by the instance name `{instance}`: give each its own in `kafka.instance`"
    )]
    Fenced { instance: String },
    /// Producers can't be made.
    #[error(transparent)]
    Kafka(#[from] KafkaError),
}

/// Sends what is said within transactions.
pub(crate) struct Transactions {
    producer: BaseProducer<DeliveryContext>,
    names: Names,
    topics: HashMap<Channel, String>,
    state_topic: String,
    source: String,
    instance: String,
    patience: Duration,
    is_open: bool,
}

impl std::fmt::Debug for Transactions {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Transactions")
            .field("instance", &self.instance)
            .field("is_open", &self.is_open)
            .finish_non_exhaustive()
    }
}

impl Transactions {
    /// Makes a producer under the instance's name, which ends whatever another one of this name has left open.
    pub(crate) fn new(
        config: &Config,
        names: &Names,
        instance: &str,
    ) -> Result<Self, TransactionError> {
        let producer = producer(config, instance)?;
        let patience = config.kafka.transaction_timeout.0;
        producer
            .init_transactions(patience)
            .map_err(|source| failed("begin", source, instance))?;
        Ok(Self {
            producer,
            names: names.clone(),
            topics: HashMap::new(),
            state_topic: names.state(),
            source: names.source(),
            instance: instance.to_owned(),
            patience,
            is_open: false,
        })
    }

    fn open(&mut self) -> Result<(), TransactionError> {
        if !self.is_open {
            self.producer
                .begin_transaction()
                .map_err(|source| failed("begin", source, &self.instance))?;
            self.is_open = true;
        }
        Ok(())
    }

    /// Sends what a partition says.
    pub(crate) fn say(
        &mut self,
        partition: i32,
        outputs: &Outputs,
    ) -> Result<(), TransactionError> {
        self.open()?;
        for output in outputs.iter() {
            let names = &self.names;
            let topic = self
                .topics
                .entry(output.channel)
                .or_insert_with(|| names.of(output.channel));
            let record = BaseRecord {
                topic,
                partition: None,
                payload: output.value,
                key: output.key,
                timestamp: None,
                headers: headers(&output, &self.source, partition),
                delivery_opaque: 0,
            };
            send(&self.producer, record, self.patience)
                .map_err(|source| failed("send", source, &self.instance))?;
        }
        Ok(())
    }

    /// Sends what a partition's models remember.
    pub(crate) fn remember(
        &mut self,
        partition: i32,
        key: &str,
        bytes: &[u8],
    ) -> Result<(), TransactionError> {
        self.open()?;
        let record = BaseRecord {
            topic: &self.state_topic,
            partition: Some(partition),
            payload: Some(bytes),
            key: Some(key.as_bytes()),
            timestamp: None,
            headers: None,
            delivery_opaque: partition.unsigned_abs() as usize + 1,
        };
        send(&self.producer, record, self.patience)
            .map_err(|source| failed("send", source, &self.instance))
    }

    /// Waits until everything that was sent has arrived; where the state of each of `partitions` lies now.
    pub(crate) fn settle(
        &mut self,
        partitions: &[i32],
    ) -> Result<Vec<Option<i64>>, TransactionError> {
        let flushed = self.flush();
        if let Some(failure) = self.producer.context().take_failure() {
            return Err(TransactionError::Undelivered(failure));
        }
        flushed.map_err(|source| failed("flush", source, &self.instance))?;
        let context = self.producer.context();
        Ok(partitions.iter().map(|p| context.take_state(*p)).collect())
    }

    /// Looks every millisecond whether everything has arrived: the library's own waiting looks ten times a second, which
    /// is most of the time from a trade to its alert.
    fn flush(&self) -> Result<(), Rd> {
        const MOMENT: Duration = Duration::from_millis(1);
        let deadline = Instant::now() + self.patience;
        loop {
            match self.producer.flush(Duration::ZERO) {
                Err(Rd::Flush(RDKafkaErrorCode::OperationTimedOut))
                    if Instant::now() < deadline =>
                {
                    self.producer.poll(MOMENT);
                }
                result => return result,
            }
        }
    }

    /// Commits what was said and how far was read.
    pub(crate) fn commit(
        &mut self,
        progress: &[Progress],
        group: &ConsumerGroupMetadata,
    ) -> Result<(), TransactionError> {
        self.open()?;
        let offsets = offsets(&self.source, progress)
            .map_err(|source| failed("offsets", source, &self.instance))?;
        self.retry("offsets", |producer, left| {
            producer.send_offsets_to_transaction(&offsets, group, left)
        })?;
        self.retry("commit", |producer, left| producer.commit_transaction(left))?;
        self.is_open = false;
        Ok(())
    }

    /// Asks again as long as asking again is right.
    fn retry(
        &self,
        stage: &'static str,
        ask: impl Fn(&BaseProducer<DeliveryContext>, Duration) -> Result<(), Rd>,
    ) -> Result<(), TransactionError> {
        let deadline = Instant::now() + self.patience;
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            match ask(&self.producer, left) {
                Err(Rd::Transaction(error)) if error.is_retriable() && !left.is_zero() => {}
                result => {
                    return result.map_err(|source| failed(stage, source, &self.instance));
                }
            }
        }
    }

    /// Gives the open transaction up; whether that went well doesn't matter, since the producer is dropped.
    pub(crate) fn give_up(self) {
        if self.is_open
            && let Err(error) = self.producer.abort_transaction(Duration::from_secs(5))
        {
            tracing::debug!(%error, "a transaction is left to its successor, or to its timeout");
        }
    }
}

fn offsets(source: &str, progress: &[Progress]) -> Result<TopicPartitionList, Rd> {
    let mut offsets = TopicPartitionList::new();
    for progress in progress {
        let offset = Offset::Offset(progress.next_offset);
        offsets.add_partition_offset(source, progress.partition, offset)?;
        if let Some(mut element) = offsets.find_partition(source, progress.partition) {
            element.set_metadata(progress.metadata());
        }
    }
    Ok(offsets)
}

/// Where a record that is passed on came from, and why.
fn headers(output: &Output<'_>, topic: &str, partition: i32) -> Option<OwnedHeaders> {
    let offset = output.offset?;
    let insert = |headers: OwnedHeaders, key: &str, value: &str| {
        headers.insert(Header {
            key,
            value: Some(value),
        })
    };
    let mut headers = OwnedHeaders::new();
    headers = insert(headers, "source-topic", topic);
    headers = insert(headers, "source-partition", &partition.to_string());
    headers = insert(headers, "source-offset", &offset.to_string());
    if let Some((word, reason)) = output.reason {
        headers = insert(headers, "reason", word);
        headers = insert(headers, "message", reason);
        headers = insert(headers, "scorer-version", env!("CARGO_PKG_VERSION"));
    }
    Some(headers)
}

/// Hands a record to the producer, and waits where its queue is full.
fn send(
    producer: &BaseProducer<DeliveryContext>,
    mut record: BaseRecord<'_, [u8], [u8], usize>,
    patience: Duration,
) -> Result<(), Rd> {
    let deadline = Instant::now() + patience;
    loop {
        match producer.send(record) {
            Ok(()) => return Ok(()),
            Err((error, back)) => {
                let is_full = error.rdkafka_error_code() == Some(RDKafkaErrorCode::QueueFull);
                if !is_full || Instant::now() > deadline {
                    return Err(error);
                }
                record = back;
                producer.poll(Duration::from_millis(10));
            }
        }
    }
}

fn failed(stage: &'static str, source: Rd, instance: &str) -> TransactionError {
    let code = match &source {
        Rd::Transaction(error) => Some(error.code()),
        other => other.rdkafka_error_code(),
    };
    match code {
        Some(RDKafkaErrorCode::Fenced | RDKafkaErrorCode::ProducerFenced) => {
            TransactionError::Fenced {
                instance: instance.to_owned(),
            }
        }
        _ => TransactionError::GivenUp { stage, source },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_committed_beside_an_offset_is_read_back() {
        for state in [None, Some(0), Some(123_456_789_012)] {
            let progress = Progress {
                partition: 3,
                next_offset: 7,
                state,
            };
            assert_eq!(Progress::state_of(&progress.metadata()), Ok(state));
        }
        assert_eq!(Progress::state_of(""), Ok(None));
        assert!(Progress::state_of("somebody else's").is_err());
        assert!(Progress::state_of("foreshock-1 state=x").is_err());
    }
}
