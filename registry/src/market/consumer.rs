//! The Kafka consumer: what it is told, and what happens when partitions come and go.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use market::Topic;
use rdkafka::client::ClientContext;
use rdkafka::config::{ClientConfig, RDKafkaLogLevel};
use rdkafka::consumer::{BaseConsumer, CommitMode, Consumer, ConsumerContext};
use rdkafka::error::{KafkaError, KafkaResult};
use rdkafka::statistics::Statistics;
use rdkafka::types::{RDKafkaConfRes, RDKafkaRespErr};
use rdkafka::{Offset, TopicPartitionList};
use tokio::sync::mpsc;

use super::batch::Batch;
use super::state::{Counts, Doing, State, locked};
use super::writer::Ask;
use super::{FollowError, MarketOptions};
use crate::store::Written;

/// The topics that are followed.
pub(super) const TOPICS: [Topic; 5] = [
    Topic::Alerts,
    Topic::Drift,
    Topic::Features,
    Topic::Kline10s,
    Topic::Kline1m,
];

/// How long the broker may take to say which cluster it is of.
const ANSWER: Duration = Duration::from_secs(10);

/// What goes wrong so that following has to begin anew.
#[derive(Debug, Clone, thiserror::Error)]
pub(super) enum Trouble {
    /// Kafka.
    #[error("Kafka: {0}")]
    Kafka(String),
    /// The database.
    #[error("the database did not take what was read: {0}")]
    Database(String),
    /// Another server has gone on with a partition of this one's.
    #[error("another server goes on with a partition")]
    Overtaken,
}

/// The properties of the consumer. Those that make the promises come last.
pub(super) fn config(options: &MarketOptions, group: &str) -> ClientConfig {
    let mut config = ClientConfig::new();
    config
        .set("bootstrap.servers", &options.brokers)
        .set("client.id", "foreshock-registry")
        .set("group.id", group)
        // Of a server that was killed, soon enough.
        .set("session.timeout.ms", "15000")
        // Topics are often made after this server has started.
        .set("topic.metadata.refresh.interval.ms", "10000")
        .set("reconnect.backoff.max.ms", "10000")
        .set("queued.max.messages.kbytes", "16384");
    for (key, value) in &options.properties {
        config.set(key, value);
    }
    config
        .set("isolation.level", "read_committed")
        .set("auto.offset.reset", "earliest")
        .set("enable.auto.commit", "false")
        .set("enable.auto.offset.store", "false")
        .set("enable.partition.eof", "false")
        .set("partition.assignment.strategy", "cooperative-sticky")
        .set("statistics.interval.ms", "2000");
    config
}

/// A consumer; nothing is sent before it is polled.
///
/// # Errors
/// When a property is refused; the message never has its value.
pub(super) fn create(
    config: &ClientConfig,
    context: Context,
) -> Result<BaseConsumer<Context>, FollowError> {
    config
        .create_with_context(context)
        .map_err(|error| match error {
            KafkaError::ClientConfig(RDKafkaConfRes::RD_KAFKA_CONF_UNKNOWN, _, key, _) => {
                FollowError(format!("Kafka has no property `{key}`"))
            }
            KafkaError::ClientConfig(_, _, key, _) => {
                FollowError(format!("the value of Kafka's property `{key}` is refused"))
            }
            // What goes together wrongly: names, not values.
            other => FollowError(other.to_string()),
        })
}

/// What the consumer calls.
pub(super) struct Context {
    ask: mpsc::Sender<Ask>,
    state: State,
    batch: Mutex<Batch>,
    cluster: Mutex<Option<Arc<str>>>,
    trouble: Mutex<Option<Trouble>>,
}

impl Context {
    pub(super) fn new(ask: mpsc::Sender<Ask>, state: State) -> Self {
        Self {
            ask,
            state,
            batch: Mutex::default(),
            cluster: Mutex::default(),
            trouble: Mutex::default(),
        }
    }

    /// The batch that is read into.
    pub(super) fn batch(&self) -> std::sync::MutexGuard<'_, Batch> {
        locked(&self.batch)
    }

    /// What went wrong in a callback, once.
    pub(super) fn check(&self) -> Result<(), Trouble> {
        locked(&self.trouble).clone().map_or(Ok(()), Err)
    }

    /// Makes what was read durable, then tells the group, for those who watch its lag.
    ///
    /// # Errors
    /// When it did not become durable; then nothing more is written by this consumer.
    pub(super) fn flush(&self, consumer: &BaseConsumer<Self>) -> Result<(), Trouble> {
        self.check()?;
        let flushed = self.write(consumer);
        if let Err(trouble) = &flushed {
            *locked(&self.trouble) = Some(trouble.clone());
        }
        flushed
    }

    fn write(&self, consumer: &BaseConsumer<Self>) -> Result<(), Trouble> {
        let Some((positions, rows)) = self.batch().take() else {
            return Ok(());
        };
        let cluster = self.cluster(consumer)?;
        let counts = Counts::of(&rows);
        let (reply, answer) = tokio::sync::oneshot::channel();
        let ask = Ask::Write {
            cluster,
            positions: positions.clone(),
            rows,
            reply,
        };
        let written = self
            .ask
            .blocking_send(ask)
            .ok()
            .and_then(|()| answer.blocking_recv().ok())
            .ok_or_else(|| Trouble::Database("the server stops".to_owned()))?
            .map_err(|error| Trouble::Database(told(&error)))?;
        if written == Written::Overtaken {
            return Err(Trouble::Overtaken);
        }
        let seconds = jiff::Timestamp::now().as_second();
        self.state.wrote(&counts, seconds);
        self.batch().written(&positions);
        let mut offsets = TopicPartitionList::new();
        for position in &positions {
            let next = Offset::Offset(position.next);
            offsets
                .add_partition_offset(&position.topic, position.partition, next)
                .ok();
        }
        if let Err(error) = consumer.commit(&offsets, CommitMode::Async) {
            // The database has them.
            tracing::debug!(%error, "offsets were not committed to Kafka");
        }
        Ok(())
    }

    /// The id of the cluster: another one's offsets mean nothing here.
    fn cluster(&self, consumer: &BaseConsumer<Self>) -> Result<Arc<str>, Trouble> {
        if let Some(cluster) = &*locked(&self.cluster) {
            return Ok(Arc::clone(cluster));
        }
        let cluster: Arc<str> = consumer
            .client()
            .fetch_cluster_id(ANSWER)
            .ok_or_else(|| Trouble::Kafka("the broker does not tell its cluster".to_owned()))?
            .into();
        *locked(&self.cluster) = Some(Arc::clone(&cluster));
        Ok(cluster)
    }

    /// Where the database says that reading goes on.
    fn offsets(
        &self,
        consumer: &BaseConsumer<Self>,
    ) -> Result<HashMap<(String, i32), i64>, Trouble> {
        let cluster = self.cluster(consumer)?;
        let (reply, answer) = tokio::sync::oneshot::channel();
        self.ask
            .blocking_send(Ask::Offsets { cluster, reply })
            .ok()
            .and_then(|()| answer.blocking_recv().ok())
            .ok_or_else(|| Trouble::Database("the server stops".to_owned()))?
            .map_err(|error| Trouble::Database(told(&error)))
    }

    /// The partitions that were assigned, each from where the database says.
    fn assign(
        &self,
        consumer: &BaseConsumer<Self>,
        assigned: &TopicPartitionList,
    ) -> Result<TopicPartitionList, Trouble> {
        self.check()?;
        let offsets = self.offsets(consumer)?;
        let mut from = TopicPartitionList::new();
        for element in assigned.elements() {
            let (topic, partition) = (element.topic(), element.partition());
            let found = offsets.get(&(topic.to_owned(), partition)).copied();
            let offset = found.map_or(Offset::Beginning, Offset::Offset);
            from.add_partition_offset(topic, partition, offset)
                .map_err(|error| Trouble::Kafka(error.to_string()))?;
            self.batch().take_over(topic, partition, found);
        }
        Ok(from)
    }
}

/// An error with its cause.
fn told(error: &crate::store::StoreError) -> String {
    match std::error::Error::source(error) {
        Some(cause) => format!("{error}: {cause}"),
        None => error.to_string(),
    }
}

impl ClientContext for Context {
    fn log(&self, _: RDKafkaLogLevel, facility: &str, message: &str) {
        tracing::debug!(facility, message, "librdkafka");
    }

    fn error(&self, error: KafkaError, reason: &str) {
        if self.state.is_new("kafka", "error") {
            tracing::warn!(%error, reason, "Kafka");
        }
    }

    fn stats(&self, statistics: Statistics) {
        let up = statistics
            .brokers
            .values()
            .any(|broker| broker.state == "UP");
        self.state.set(if up {
            Doing::Following
        } else {
            Doing::BrokerAway
        });
        let partitions = statistics
            .topics
            .values()
            .flat_map(|t| t.partitions.values());
        self.state
            .lag(partitions.map(|p| p.consumer_lag.max(0)).sum());
    }
}

impl ConsumerContext for Context {
    /// Partitions are assigned once, with their offsets: to correct those afterwards would read
    /// some records first.
    fn rebalance(
        &self,
        consumer: &BaseConsumer<Self>,
        what: RDKafkaRespErr,
        partitions: &mut TopicPartitionList,
    ) {
        let done = if what == RDKafkaRespErr::RD_KAFKA_RESP_ERR__ASSIGN_PARTITIONS {
            match self.assign(consumer, partitions) {
                Ok(from) => consumer.incremental_assign(&from),
                Err(trouble) => {
                    *locked(&self.trouble) = Some(trouble);
                    // The group waits for an answer; nothing of it is read.
                    consumer.incremental_assign(partitions)
                }
            }
        } else {
            if let Err(trouble) = self.flush(consumer) {
                tracing::debug!(%trouble, "what was read of partitions that go was not written");
            }
            for element in partitions.elements() {
                self.batch().give_up(element.topic(), element.partition());
            }
            consumer.incremental_unassign(partitions)
        };
        if let Err(error) = done {
            locked(&self.trouble).get_or_insert(Trouble::Kafka(error.to_string()));
        }
        tracing::debug!(?what, ?partitions, "partitions came or went");
    }

    fn commit_callback(&self, result: KafkaResult<()>, _: &TopicPartitionList) {
        if let Err(error) = result {
            tracing::debug!(%error, "offsets were not committed to Kafka");
        }
    }
}
