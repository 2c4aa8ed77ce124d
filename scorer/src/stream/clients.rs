//! Consumers and producers, configured for what is promised.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use market::{Interval, Topic};
use rdkafka::client::ClientContext;
use rdkafka::config::{ClientConfig, RDKafkaLogLevel};
use rdkafka::consumer::{BaseConsumer, Consumer as _, ConsumerContext};
use rdkafka::producer::{BaseProducer, DeliveryResult, ProducerContext};
use rdkafka::types::RDKafkaRespErr;
use rdkafka::{Message as _, TopicPartitionList};
use streaming::{Channel, Source};
use thiserror::Error;

use crate::config::Config;

/// How long a broker may take to answer.
pub(crate) const ANSWER: Duration = Duration::from_secs(20);

/// Kafka refuses, or does not answer.
#[derive(Debug, Error)]
#[error("{what}")]
pub struct KafkaError {
    what: String,
    #[source]
    source: rdkafka::error::KafkaError,
}

impl KafkaError {
    pub(crate) fn new(what: impl Into<String>) -> impl FnOnce(rdkafka::error::KafkaError) -> Self {
        let what = what.into();
        move |source| Self { what, source }
    }
}

/// The full names of the topics.
#[derive(Debug, Clone)]
pub struct Names {
    prefix: String,
    source: Topic,
}

impl Names {
    /// As a configuration has them, where features are of candles of this length.
    #[must_use]
    pub fn new(config: &Config, interval: Interval) -> Self {
        Self {
            prefix: config.kafka.topic_prefix.clone(),
            source: match config.stream.source {
                Source::Trades => Topic::RawTrades,
                Source::Candles if interval == Interval::TEN_SECONDS => Topic::Kline10s,
                Source::Candles => Topic::Kline1m,
            },
        }
    }

    /// What is read.
    #[must_use]
    pub fn source(&self) -> String {
        self.source.name(&self.prefix)
    }

    /// What models remember.
    #[must_use]
    pub fn state(&self) -> String {
        Topic::ScorerState.name(&self.prefix)
    }

    /// Where something that is said belongs.
    #[must_use]
    pub fn of(&self, channel: Channel) -> String {
        match channel {
            Channel::Candles(Interval::TEN_SECONDS) => Topic::Kline10s.name(&self.prefix),
            Channel::Candles(_) => Topic::Kline1m.name(&self.prefix),
            Channel::Features => Topic::Features.name(&self.prefix),
            Channel::Alerts => Topic::Alerts.name(&self.prefix),
            Channel::Drift => Topic::Drift.name(&self.prefix),
            Channel::Late => Topic::LateTrades.name(&self.prefix),
            Channel::DeadLetters => self.source.dead_letters(&self.prefix),
        }
    }

    /// Everything that is written, without what is read.
    #[must_use]
    pub fn written(&self, config: &Config) -> Vec<String> {
        let mut channels = vec![
            Channel::Features,
            Channel::Alerts,
            Channel::DeadLetters,
            Channel::Late,
        ];
        if config.stream.source == Source::Trades {
            channels.extend(config.stream.candles.iter().map(|i| Channel::Candles(*i)));
        }
        if config.drift.enabled {
            channels.push(Channel::Drift);
        }
        let mut names: Vec<String> = channels.into_iter().map(|c| self.of(c)).collect();
        names.push(self.state());
        names
    }
}

/// A change of what is ours, as it was told, not yet acted on.
#[derive(Debug)]
pub(crate) enum Rebalance {
    Given(TopicPartitionList),
    Taken(TopicPartitionList),
}

/// Keeps what the consumer's group says until the loop is between two transactions.
#[derive(Debug, Default)]
pub(crate) struct GroupContext {
    changes: Mutex<Vec<Rebalance>>,
    /// Nobody will act on changes any more.
    is_leaving: AtomicBool,
}

impl GroupContext {
    pub(crate) fn has_changes(&self) -> bool {
        !self
            .changes
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .is_empty()
    }

    /// From now on partitions are given up as soon as the group takes them.
    pub(crate) fn leave(&self) {
        self.is_leaving.store(true, Ordering::Relaxed);
    }

    pub(crate) fn take_changes(&self) -> Vec<Rebalance> {
        std::mem::take(&mut self.changes.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl ClientContext for GroupContext {
    fn log(&self, level: RDKafkaLogLevel, facility: &str, message: &str) {
        log(level, facility, message);
    }

    fn error(&self, error: rdkafka::error::KafkaError, reason: &str) {
        tracing::warn!(%error, reason, "Kafka's consumer");
    }
}

impl ConsumerContext for GroupContext {
    fn rebalance(
        &self,
        consumer: &BaseConsumer<Self>,
        err: RDKafkaRespErr,
        partitions: &mut TopicPartitionList,
    ) {
        if self.is_leaving.load(Ordering::Relaxed) {
            // Closing waits for this answer, whatever was taken or given.
            if let Err(error) = consumer.incremental_unassign(partitions) {
                tracing::debug!(%error, "while leaving the group");
            }
            return;
        }
        let change = match err {
            RDKafkaRespErr::RD_KAFKA_RESP_ERR__ASSIGN_PARTITIONS => {
                Rebalance::Given(partitions.clone())
            }
            _ => Rebalance::Taken(partitions.clone()),
        };
        self.changes
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .push(change);
    }
}

/// A client that is only asked things.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Quiet;

impl ClientContext for Quiet {
    fn log(&self, level: RDKafkaLogLevel, facility: &str, message: &str) {
        log(level, facility, message);
    }

    fn error(&self, error: rdkafka::error::KafkaError, reason: &str) {
        tracing::debug!(%error, reason, "Kafka");
    }
}

impl ConsumerContext for Quiet {}

/// Learns where records of state were written, and whether something could not be.
#[derive(Debug, Default)]
pub(crate) struct DeliveryContext {
    state: Mutex<HashMap<i32, i64>>,
    failure: Mutex<Option<String>>,
}

/// What a record is, for its delivery report: 0, or one more than the partition whose state it is.
pub(crate) type Opaque = usize;

impl DeliveryContext {
    /// Where the state of this partition was written since the last call.
    pub(crate) fn take_state(&self, partition: i32) -> Option<i64> {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        state.remove(&partition)
    }

    pub(crate) fn take_failure(&self) -> Option<String> {
        self.failure
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .take()
    }
}

impl ClientContext for DeliveryContext {
    fn log(&self, level: RDKafkaLogLevel, facility: &str, message: &str) {
        log(level, facility, message);
    }

    fn error(&self, error: rdkafka::error::KafkaError, reason: &str) {
        tracing::warn!(%error, reason, "Kafka's producer");
    }
}

impl ProducerContext for DeliveryContext {
    type DeliveryOpaque = Opaque;

    fn delivery(&self, result: &DeliveryResult<'_>, opaque: Opaque) {
        match result {
            Ok(message) if opaque > 0 => {
                let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
                state.insert(message.partition(), message.offset());
            }
            Ok(_) => {}
            Err((error, message)) => {
                let mut failure = self.failure.lock().unwrap_or_else(PoisonError::into_inner);
                failure
                    .get_or_insert_with(|| format!("a record for `{}`: {error}", message.topic()));
            }
        }
    }
}

fn log(level: RDKafkaLogLevel, facility: &str, message: &str) {
    match level {
        RDKafkaLogLevel::Emerg
        | RDKafkaLogLevel::Alert
        | RDKafkaLogLevel::Critical
        | RDKafkaLogLevel::Error => tracing::error!(facility, "{message}"),
        RDKafkaLogLevel::Warning => tracing::warn!(facility, "{message}"),
        RDKafkaLogLevel::Notice | RDKafkaLogLevel::Info => tracing::info!(facility, "{message}"),
        RDKafkaLogLevel::Debug => tracing::debug!(facility, "{message}"),
    }
}

/// What the library is to say: as much as is listened to.
fn log_level() -> RDKafkaLogLevel {
    if tracing::enabled!(tracing::Level::DEBUG) {
        RDKafkaLogLevel::Debug
    } else {
        RDKafkaLogLevel::Info
    }
}

fn client(config: &Config) -> ClientConfig {
    let mut client = ClientConfig::new();
    client
        .set("bootstrap.servers", &config.kafka.brokers)
        .set("client.id", "foreshock-scorer")
        .set_log_level(log_level());
    for (key, value) in &config.kafka.properties {
        client.set(key, value);
    }
    client
}

/// A client that looks at topics and offsets.
pub(crate) fn looker(config: &Config) -> Result<BaseConsumer<Quiet>, KafkaError> {
    let mut client = client(config);
    client
        // Never joined: only for looking.
        .set("group.id", &config.kafka.group)
        .set("enable.auto.commit", "false")
        .set("isolation.level", "read_committed")
        .set("enable.partition.eof", "true")
        .set("auto.offset.reset", "error")
        .create_with_context(Quiet)
        .map_err(KafkaError::new("Kafka's settings are wrong"))
}

/// A client that creates topics.
pub(crate) fn admin(config: &Config) -> Result<rdkafka::admin::AdminClient<Quiet>, KafkaError> {
    client(config)
        .create_with_context(Quiet)
        .map_err(KafkaError::new("Kafka's settings are wrong"))
}

/// The group's consumer.
pub(crate) fn consumer(config: &Config) -> Result<BaseConsumer<GroupContext>, KafkaError> {
    let mut settings = ClientConfig::new();
    settings
        .set_log_level(log_level())
        .set("partition.assignment.strategy", "cooperative-sticky")
        .set("session.timeout.ms", "10000")
        // A partition may be restored from the first record that there is.
        .set("max.poll.interval.ms", "1800000")
        .set("fetch.queue.backoff.ms", "20")
        .set("fetch.wait.max.ms", "20")
        .set("queued.min.messages", "200000");
    for (key, value) in client(config).config_map() {
        settings.set(key, value);
    }
    settings
        .set("group.id", &config.kafka.group)
        .set("enable.auto.commit", "false")
        .set("enable.auto.offset.store", "false")
        .set("isolation.level", "read_committed")
        // Offsets are given with every assignment: one that is gone must be heard of.
        .set("auto.offset.reset", "error")
        .create_with_context(GroupContext::default())
        .map_err(KafkaError::new("Kafka's settings are wrong"))
}

/// The producer of this instance's transactions.
pub(crate) fn producer(
    config: &Config,
    instance: &str,
) -> Result<BaseProducer<DeliveryContext>, KafkaError> {
    let timeout = config.kafka.transaction_timeout.0.as_millis();
    let mut settings = ClientConfig::new();
    settings
        .set_log_level(log_level())
        // The loop flushes before it commits.
        .set("linger.ms", "1")
        // A transaction is refused for some milliseconds while the one before it is being completed.
        .set("retry.backoff.ms", "5")
        .set("compression.codec", "lz4")
        .set("batch.num.messages", "100000")
        .set("queue.buffering.max.messages", "1000000");
    for (key, value) in client(config).config_map() {
        settings.set(key, value);
    }
    settings
        .set("enable.idempotence", "true")
        .set("acks", "all")
        // As Kafka's own clients place a symbol, and as the feed does.
        .set("partitioner", "murmur2_random")
        .set(
            "transactional.id",
            format!("{}-{instance}", config.kafka.group),
        )
        .set("transaction.timeout.ms", timeout.to_string())
        .set("message.timeout.ms", timeout.to_string())
        .create_with_context(DeliveryContext::default())
        .map_err(KafkaError::new("Kafka's settings are wrong"))
}
