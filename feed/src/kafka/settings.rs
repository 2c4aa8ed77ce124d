//! How to reach Kafka.

use std::path::PathBuf;
use std::time::Duration;

use anyhow::Result;
use clap::{Args, ValueEnum};
use market::Topic;
use rdkafka::config::ClientConfig;

use super::properties::properties;
use crate::size::parse_size;

/// The options of every command that writes to Kafka.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Kafka")]
pub struct KafkaArgs {
    /// The brokers to begin with: HOST:PORT[,HOST:PORT…].
    #[arg(long, env = "FEED_BROKERS", value_name = "HOST:PORT,…")]
    pub brokers: Option<String>,
    /// Comes before every topic's name, such as `test.` for `test.raw-trades`.
    #[arg(
        long,
        env = "FEED_TOPIC_PREFIX",
        value_name = "TEXT",
        default_value = ""
    )]
    pub topic_prefix: String,
    /// Partitions that topics must have. Missing topics are created with as many. [default: 6 for
    /// new topics, any number for those that there are]
    #[arg(long, env = "FEED_PARTITIONS", value_name = "N",
          value_parser = clap::value_parser!(i32).range(1..=10_000))]
    pub partitions: Option<i32>,
    /// Replicas of topics that are created.
    #[arg(long, env = "FEED_REPLICATION", value_name = "N", default_value = "1",
          value_parser = clap::value_parser!(i32).range(1..=100))]
    pub replication: i32,
    /// How batches are compressed.
    #[arg(
        long,
        env = "FEED_COMPRESSION",
        value_enum,
        value_name = "CODEC",
        default_value = "lz4"
    )]
    pub compression: Compression,
    /// How much may wait in memory for the brokers, such as 64MiB.
    #[arg(long, env = "FEED_BUFFER", value_name = "SIZE", default_value = "64MiB", value_parser = parse_size)]
    pub buffer: u64,
    /// How long a batch waits for more, in milliseconds.
    #[arg(long, env = "FEED_LINGER_MS", value_name = "MS", default_value = "20",
          value_parser = clap::value_parser!(u64).range(0..=60_000))]
    pub linger_ms: u64,
    /// Sets a property of librdkafka, such as `client.id=feed-1`; may be repeated.
    #[arg(long = "kafka", value_name = "KEY=VALUE")]
    pub properties: Vec<String>,
    /// A file of such properties, one a line, for what nobody may read: `sasl.password` and the like.
    #[arg(long, env = "FEED_KAFKA_PROPERTIES", value_name = "FILE")]
    pub kafka_properties: Option<PathBuf>,
}

/// How batches are compressed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Compression {
    /// Quick, and half the size.
    Lz4,
    /// Slower, and smaller.
    Zstd,
    /// Not at all.
    None,
}

/// How to reach Kafka, and what its topics are called.
#[derive(Debug, Clone)]
pub struct KafkaSettings {
    /// The brokers to begin with.
    pub brokers: String,
    /// Before every topic's name.
    pub prefix: String,
    /// What topics must have, if somebody said so.
    pub partitions: Option<i32>,
    /// Replicas of new topics.
    pub replication: i32,
    compression: Compression,
    buffer_bytes: u64,
    linger: Duration,
    properties: Vec<(String, String)>,
}

/// Partitions of new topics where nobody says how many.
const DEFAULT_PARTITIONS: i32 = 6;

/// How long a broker may take to answer a question about topics.
pub(crate) const ANSWER: Duration = Duration::from_secs(15);

impl KafkaArgs {
    /// The settings, if there are brokers.
    ///
    /// # Errors
    /// A property that can't be set.
    pub fn settings(&self) -> Result<Option<KafkaSettings>> {
        let Some(brokers) = self.brokers.clone().filter(|brokers| !brokers.is_empty()) else {
            return Ok(None);
        };
        Ok(Some(KafkaSettings {
            brokers,
            prefix: self.topic_prefix.clone(),
            partitions: self.partitions,
            replication: self.replication,
            compression: self.compression,
            buffer_bytes: self.buffer,
            linger: Duration::from_millis(self.linger_ms),
            properties: properties(self.kafka_properties.as_deref(), &self.properties)?,
        }))
    }
}

impl KafkaSettings {
    /// A topic's full name.
    pub fn topic(&self, topic: Topic) -> String {
        topic.name(&self.prefix)
    }

    /// Partitions that a topic must have, if it must.
    pub fn wanted_partitions(&self, name: &str) -> Option<i32> {
        if self.is_positions(name) {
            return Some(1);
        }
        self.partitions
    }

    /// Partitions of a topic that is created.
    pub fn new_partitions(&self, name: &str) -> i32 {
        let wanted = self.wanted_partitions(name);
        wanted.unwrap_or(DEFAULT_PARTITIONS)
    }

    /// Whether a topic keeps the last record of each key, and nothing else.
    pub(crate) fn is_positions(&self, name: &str) -> bool {
        name == self.topic(Topic::FeedPositions)
    }

    /// How much may wait in memory.
    pub fn buffer_bytes(&self) -> u64 {
        self.buffer_bytes
    }

    pub(crate) fn client(&self) -> ClientConfig {
        let mut config = ClientConfig::new();
        config
            .set("bootstrap.servers", &self.brokers)
            .set("client.id", "foreshock-feed");
        for (key, value) in &self.properties {
            config.set(key, value);
        }
        config
    }

    /// A producer that never gives a record up.
    pub(crate) fn producer(&self) -> ClientConfig {
        let mut config = self.any_producer();
        config
            // A batch that is refused for good ends the producer: what follows must not go out.
            .set("enable.gapless.guarantee", "true");
        config
    }

    /// A producer of transactions, one at a time of each name. One that lasts longer than `at_most`
    /// is ended by the brokers, so that readers don't wait for a feed that is gone.
    pub(crate) fn transactional(&self, name: &str, at_most: Duration) -> ClientConfig {
        let mut config = self.any_producer();
        config
            .set("transactional.id", format!("{}{name}", self.prefix))
            .set("transaction.timeout.ms", at_most.as_millis().to_string());
        config
    }

    fn any_producer(&self) -> ClientConfig {
        let mut config = ClientConfig::new();
        config
            .set("batch.num.messages", "100000")
            .set("batch.size", "1000000")
            .set("queue.buffering.max.messages", "2000000");
        for (key, value) in self.client().config_map() {
            config.set(key, value);
        }
        let codec = match self.compression {
            Compression::Lz4 => "lz4",
            Compression::Zstd => "zstd",
            Compression::None => "none",
        };
        // What makes the promises is not a setting.
        config
            .set("linger.ms", self.linger.as_millis().to_string())
            .set("enable.idempotence", "true")
            .set("acks", "all")
            .set("compression.codec", codec)
            .set(
                "queue.buffering.max.kbytes",
                (self.buffer_bytes / 1024).max(1).to_string(),
            )
            // For ever: nothing is given up while the brokers are away.
            .set("message.timeout.ms", "0")
            // Only failures are told one by one: the rest is known by what is left in the queue.
            .set("delivery.report.only.error", "true");
        config
    }

    pub(crate) fn consumer(&self) -> ClientConfig {
        let mut config = self.client();
        config
            .set("group.id", "foreshock-feed-tail")
            .set("enable.auto.commit", "false")
            .set("enable.partition.eof", "true")
            .set("isolation.level", "read_committed")
            // The end of a topic is told after so long without more.
            .set("fetch.wait.max.ms", "10")
            .set("auto.offset.reset", "earliest");
        config
    }
}
