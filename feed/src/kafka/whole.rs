//! What a small topic holds.

use std::ops::Range;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::KafkaError;
use rdkafka::message::BorrowedMessage;
use rdkafka::{Message, Offset, TopicPartitionList};
use terminal::exit::Environment;

use super::leave::leave;
use super::producer::Quiet;
use super::properties::refusal;
use super::settings::{ANSWER, KafkaSettings};
use super::topics::Found;

/// Silence that ends the reading.
const SILENCE: Duration = Duration::from_secs(30);

/// Hands every committed record of a topic to `visit`, oldest first in each partition.
///
/// # Errors
/// When the brokers don't answer.
pub fn read_whole(
    settings: &KafkaSettings,
    topic: &Found,
    mut visit: impl FnMut(&BorrowedMessage<'_>),
) -> Result<()> {
    let consumer: BaseConsumer<Quiet> = settings
        .consumer()
        .create_with_context(Quiet)
        .map_err(|error| refusal(&error))?;
    let is_read = (0..topic.partitions).try_for_each(|partition| {
        let (low, high) = consumer
            .fetch_watermarks(&topic.name, partition, ANSWER)
            .with_context(|| Environment(format!("could not look at topic `{}`", topic.name)))?;
        if low < high {
            read(&consumer, topic, partition, low..high, &mut visit)?;
        }
        Ok(())
    });
    leave(consumer);
    is_read
}

fn read(
    consumer: &BaseConsumer<Quiet>,
    topic: &Found,
    partition: i32,
    offsets: Range<i64>,
    visit: &mut impl FnMut(&BorrowedMessage<'_>),
) -> Result<()> {
    let mut assigned = TopicPartitionList::new();
    assigned.add_partition_offset(&topic.name, partition, Offset::Offset(offsets.start))?;
    consumer.assign(&assigned)?;
    let mut heard = Instant::now();
    loop {
        match consumer.poll(Duration::from_millis(100)) {
            Some(Ok(message)) => {
                heard = Instant::now();
                if message.offset() < offsets.end {
                    visit(&message);
                }
                if message.offset() + 1 >= offsets.end {
                    return Ok(());
                }
            }
            // The last offsets may be marks of transactions.
            Some(Err(KafkaError::PartitionEOF(_))) => return Ok(()),
            Some(Err(error)) => {
                return Err(error)
                    .with_context(|| Environment(format!("could not read `{}`", topic.name)));
            }
            None => ensure!(
                heard.elapsed() < SILENCE,
                Environment(format!("topic `{}` can't be read: no answer", topic.name))
            ),
        }
    }
}
