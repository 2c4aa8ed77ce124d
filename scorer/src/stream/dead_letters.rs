//! Feeding dead letters back.

use std::time::{Duration, Instant};

use market::Interval;
use rdkafka::consumer::{BaseConsumer, Consumer as _};
use rdkafka::error::KafkaError as Rd;
use rdkafka::message::{BorrowedMessage, Headers as _, Message as _};
use rdkafka::producer::{BaseRecord, Producer as _};
use rdkafka::{Offset, TopicPartitionList};
use streaming::Channel;

use super::clients::{ANSWER, KafkaError, Names, Quiet, looker, producer};
use crate::config::Config;

/// What became of dead letters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Again {
    /// Sent back.
    pub sent: u64,
    /// Refused for another reason than those asked for.
    pub passed_over: u64,
}

/// How many records one transaction takes.
const BATCH: usize = 1_000;

/// Sends what lies in the topic of dead letters now, and was not sent back before, to where it came from; each record
/// once. With `reasons`, only what was refused for one of them.
///
/// # Errors
/// Kafka refuses, or does not answer; what was committed until then stays, and the next call goes on from there.
pub fn replay_dead_letters(
    config: &Config,
    interval: Interval,
    reasons: &[String],
) -> Result<Again, KafkaError> {
    let names = Names::new(config, interval);
    let (letters, source) = (names.of(Channel::DeadLetters), names.source());
    let mut config = config.clone();
    // How far it got is this group's offset.
    config.kafka.group.push_str("-dlq");
    let reader = looker(&config)?;
    let what = || format!("`{letters}` can't be read");
    let metadata = reader
        .fetch_metadata(Some(&letters), ANSWER)
        .map_err(KafkaError::new(what()))?;
    let topic = metadata
        .topics()
        .iter()
        .find(|topic| topic.name() == letters);
    let n_partitions = topic.map_or(0, |topic| topic.partitions().len());
    let producer = producer(&config, "replay")?;
    producer
        .init_transactions(ANSWER)
        .map_err(KafkaError::new("no transaction can be begun"))?;
    let mut again = Again::default();
    for partition in 0..i32::try_from(n_partitions).unwrap_or(i32::MAX) {
        let (first, end) = reader
            .fetch_watermarks(&letters, partition, ANSWER)
            .map_err(KafkaError::new(what()))?;
        let mut asked = TopicPartitionList::new();
        asked.add_partition(&letters, partition);
        let committed = reader
            .committed_offsets(asked, ANSWER)
            .map_err(KafkaError::new(what()))?;
        let from = match committed
            .find_partition(&letters, partition)
            .map(|e| e.offset())
        {
            Some(Offset::Offset(offset)) => offset.max(first),
            _ => first,
        };
        let mut next = from;
        while next < end {
            let begun = next;
            producer
                .begin_transaction()
                .map_err(KafkaError::new("no transaction can be begun"))?;
            let mut sent = Again::default();
            next = read(&reader, &letters, partition, begun, end, |message| {
                let reason = header(message, "reason").unwrap_or_default();
                if !reasons.is_empty() && !reasons.contains(&reason) {
                    sent.passed_over += 1;
                    return Ok(());
                }
                sent.sent += 1;
                let record = BaseRecord {
                    topic: &source,
                    partition: None,
                    payload: message.payload(),
                    key: message.key(),
                    timestamp: message.timestamp().to_millis(),
                    headers: None,
                    delivery_opaque: 0,
                };
                producer.send(record).map_err(|(error, _)| error)
            })
            .map_err(KafkaError::new(what()))?;
            let mut offsets = TopicPartitionList::new();
            offsets
                .add_partition_offset(&letters, partition, Offset::Offset(next))
                .map_err(KafkaError::new(what()))?;
            let commit = || -> Result<(), Rd> {
                producer.flush(ANSWER)?;
                let group = reader.group_metadata().ok_or(Rd::Canceled)?;
                producer.send_offsets_to_transaction(&offsets, &group, ANSWER)?;
                producer.commit_transaction(ANSWER)
            };
            commit().map_err(KafkaError::new("what was sent back can't be committed"))?;
            again.sent += sent.sent;
            again.passed_over += sent.passed_over;
        }
    }
    Ok(again)
}

/// Hands up to a batch of the committed records from `from` to `end` to `visit`; the offset to go on from.
fn read(
    reader: &BaseConsumer<Quiet>,
    topic: &str,
    partition: i32,
    from: i64,
    end: i64,
    mut visit: impl FnMut(&BorrowedMessage<'_>) -> Result<(), Rd>,
) -> Result<i64, Rd> {
    let mut assignment = TopicPartitionList::new();
    assignment.add_partition_offset(topic, partition, Offset::Offset(from))?;
    reader.assign(&assignment)?;
    let deadline = Instant::now() + ANSWER;
    let (mut next, mut n_records) = (from, 0);
    while next < end && n_records < BATCH {
        match reader.poll(Duration::from_millis(200)) {
            Some(Ok(message)) if message.offset() >= end => return Ok(end),
            Some(Ok(message)) => {
                visit(&message)?;
                next = message.offset() + 1;
                n_records += 1;
            }
            // The rest are marks of transactions.
            Some(Err(Rd::PartitionEOF(_))) => return Ok(end),
            Some(Err(error)) => return Err(error),
            None if Instant::now() > deadline => {
                return Err(Rd::MessageConsumption(
                    rdkafka::error::RDKafkaErrorCode::OperationTimedOut,
                ));
            }
            None => {}
        }
    }
    Ok(next)
}

fn header(message: &BorrowedMessage<'_>, key: &str) -> Option<String> {
    let headers = message.headers()?;
    let found = headers.iter().find(|header| header.key == key)?;
    String::from_utf8(found.value?.to_vec()).ok()
}
