//! What the end of a topic holds: where a feed that was stopped, or killed, left off.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::KafkaError;
use rdkafka::message::BorrowedMessage;
use rdkafka::{Message, Offset, TopicPartitionList};
use terminal::exit::Environment;

use super::producer::Quiet;
use super::settings::{ANSWER, KafkaSettings};
use super::topics::Found;

/// How to read backwards.
#[derive(Debug, Clone, Copy)]
pub struct Tail {
    /// At most so many records of each partition are looked at.
    pub at_most: i64,
}

/// The first look; each further one goes ten times as far.
const FIRST_LOOK: i64 = 1_000;

/// Silence that ends the reading.
const SILENCE: Duration = Duration::from_secs(30);

/// Hands the last records of each partition to `visit` (partition, record), oldest first within a
/// look, until `is_enough` holds for the partition; a look that was too short is followed by one
/// that begins earlier and sees the later ones again. Returns the partitions (by number) whose
/// records were all seen, or enough of them.
///
/// # Errors
/// When the brokers don't answer.
pub fn read_tail(
    settings: &KafkaSettings,
    topic: &Found,
    tail: Tail,
    mut visit: impl FnMut(i32, &BorrowedMessage<'_>),
    is_enough: impl FnMut(i32) -> bool,
) -> Result<Vec<bool>> {
    read_from(settings, topic, tail, FIRST_LOOK, &mut visit, is_enough)
}

fn read_from(
    settings: &KafkaSettings,
    topic: &Found,
    tail: Tail,
    first_look: i64,
    visit: &mut impl FnMut(i32, &BorrowedMessage<'_>),
    mut is_enough: impl FnMut(i32) -> bool,
) -> Result<Vec<bool>> {
    let consumer: BaseConsumer<Quiet> = settings
        .consumer()
        .create_with_context(Quiet)
        .context("start the Kafka consumer")?;
    let mut complete = Vec::new();
    for partition in 0..topic.partitions {
        let (low, high) = consumer
            .fetch_watermarks(&topic.name, partition, ANSWER)
            .with_context(|| Environment(format!("could not look at topic `{}`", topic.name)))?;
        let mut look = first_look.min(tail.at_most);
        loop {
            let from = low.max(high.saturating_sub(look));
            if from < high {
                read(&consumer, topic, partition, from..high, visit)?;
            }
            let is_done = from == low || is_enough(partition);
            if is_done || look >= tail.at_most {
                complete.push(is_done);
                break;
            }
            look = look.saturating_mul(10).min(tail.at_most);
        }
    }
    Ok(complete)
}

/// Hands every record of a topic to `visit`, oldest first in each partition.
///
/// # Errors
/// When the brokers don't answer.
pub fn read_whole(
    settings: &KafkaSettings,
    topic: &Found,
    mut visit: impl FnMut(i32, &BorrowedMessage<'_>),
) -> Result<()> {
    let tail = Tail { at_most: i64::MAX };
    // The first look is at everything.
    read_from(settings, topic, tail, i64::MAX, &mut visit, |_| false)?;
    Ok(())
}

fn read(
    consumer: &BaseConsumer<Quiet>,
    topic: &Found,
    partition: i32,
    offsets: std::ops::Range<i64>,
    visit: &mut impl FnMut(i32, &BorrowedMessage<'_>),
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
                    visit(partition, &message);
                }
                if message.offset() + 1 >= offsets.end {
                    return Ok(());
                }
            }
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
