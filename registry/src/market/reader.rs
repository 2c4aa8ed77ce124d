//! The thread that reads.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use market::Topic;
use rdkafka::Message;
use rdkafka::config::ClientConfig;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use super::consumer::{Context, TOPICS, Trouble, create};
use super::records;
use super::state::{Doing, State};
use super::writer::Ask;

/// How long one look for records takes: the stop is noticed as soon.
const POLL: Duration = Duration::from_millis(50);
/// How long is waited before following begins anew, at first and at most.
const FIRST_PAUSE: Duration = Duration::from_millis(250);
const LONGEST_PAUSE: Duration = Duration::from_secs(30);
/// Following that went well for so long makes the next pause a short one again.
const WELL: Duration = Duration::from_secs(60);

/// Reads until the stop is asked for.
pub(super) struct Reader {
    pub(super) config: ClientConfig,
    pub(super) prefix: String,
    pub(super) ask: mpsc::Sender<Ask>,
    pub(super) state: State,
    pub(super) stop: CancellationToken,
}

impl Reader {
    /// Follows; after a failure anew, later and later.
    pub(super) fn run(self) {
        let mut pause = FIRST_PAUSE;
        while !self.stop.is_cancelled() {
            let began = Instant::now();
            let Err(trouble) = self.follow() else { break };
            self.state.restarted();
            if matches!(trouble, Trouble::Database(_)) {
                self.state.set(Doing::DatabaseAway);
            }
            if began.elapsed() > WELL {
                pause = FIRST_PAUSE;
            }
            tracing::warn!(%trouble, again_in = ?pause, "following Kafka begins anew");
            let until = Instant::now() + pause;
            while Instant::now() < until && !self.stop.is_cancelled() {
                std::thread::sleep(POLL);
            }
            pause = (pause * 2).min(LONGEST_PAUSE);
        }
        self.state.set(Doing::Stopped);
    }

    fn follow(&self) -> Result<(), Trouble> {
        let kafka = |error: &dyn std::fmt::Display| Trouble::Kafka(error.to_string());
        let context = Context::new(self.ask.clone(), self.state.clone());
        let consumer = create(&self.config, context).map_err(|error| kafka(&error))?;
        let names: HashMap<String, Topic> =
            TOPICS.map(|topic| (topic.name(&self.prefix), topic)).into();
        let list: Vec<&str> = names.keys().map(String::as_str).collect();
        consumer.subscribe(&list).map_err(|error| kafka(&error))?;
        while !self.stop.is_cancelled() {
            match consumer.poll(POLL) {
                Some(Ok(message)) => {
                    if let Some(topic) = names.get(message.topic()) {
                        self.take(*topic, &consumer, &message);
                    }
                }
                Some(Err(error)) => self.look_at(error)?,
                None => {}
            }
            let context = consumer.context();
            context.check()?;
            let is_due = context.batch().is_due();
            if is_due {
                context.flush(&consumer)?;
            }
        }
        // What is left is written when the partitions go, in the consumer's end.
        Ok(())
    }

    fn take(&self, topic: Topic, consumer: &BaseConsumer<Context>, message: &impl Message) {
        let payload = message.payload().unwrap_or_default();
        let (partition, offset) = (message.partition(), message.offset());
        let mut batch = consumer.context().batch();
        if !batch.advance(message.topic(), partition, offset, payload.len()) {
            return;
        }
        let outcome = records::read(topic, payload, &mut batch.rows);
        drop(batch);
        if let Err(bad) = outcome {
            self.state.bad(topic, (partition, offset), &bad);
        }
    }

    /// Most errors pass by themselves: librdkafka tries on.
    fn look_at(&self, error: KafkaError) -> Result<(), Trouble> {
        match error {
            KafkaError::MessageConsumptionFatal(code) => Err(Trouble::Kafka(code.to_string())),
            KafkaError::MessageConsumption(RDKafkaErrorCode::UnknownTopicOrPartition) => {
                if self.state.is_new("kafka", "topic") {
                    tracing::info!("a topic is not there yet; it is read when it is");
                }
                Ok(())
            }
            error => {
                if self.state.is_new("kafka", "reading") {
                    tracing::warn!(%error, "Kafka can't be read");
                }
                Ok(())
            }
        }
    }
}
