//! The producer: idempotent, bounded, never giving up.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow, bail};
use rdkafka::ClientContext;
use rdkafka::config::{ClientConfig, RDKafkaLogLevel};
use rdkafka::consumer::ConsumerContext;
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::DeliveryResult;
use rdkafka::producer::{BaseRecord, Producer as _, ProducerContext, ThreadedProducer};

use super::partition::partition_of;
use super::properties::refusal;
use super::settings::KafkaSettings;
use super::topics::Found;

/// A client that tells the log of trouble, and nobody of health.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Quiet;

impl ClientContext for Quiet {
    fn log(&self, level: RDKafkaLogLevel, facility: &str, message: &str) {
        log(level, facility, message);
    }

    fn error(&self, error: KafkaError, reason: &str) {
        tracing::debug!(%error, reason, "kafka");
    }
}

impl ConsumerContext for Quiet {}

fn log(level: RDKafkaLogLevel, facility: &str, message: &str) {
    match level {
        RDKafkaLogLevel::Emerg | RDKafkaLogLevel::Alert | RDKafkaLogLevel::Critical => {
            tracing::error!(facility, message, "kafka");
        }
        // A connection that was lost is what a producer that never gives up is for.
        RDKafkaLogLevel::Error | RDKafkaLogLevel::Warning => {
            tracing::info!(facility, message, "kafka");
        }
        _ => tracing::debug!(facility, message, "kafka"),
    }
}

/// What the producer's own threads learn.
#[derive(Debug, Default)]
pub(super) struct Events {
    n_failed: AtomicU64,
    is_away: AtomicBool,
}

impl ClientContext for Events {
    fn log(&self, level: RDKafkaLogLevel, facility: &str, message: &str) {
        log(level, facility, message);
    }

    fn error(&self, error: KafkaError, reason: &str) {
        match error.rdkafka_error_code() {
            Some(RDKafkaErrorCode::AllBrokersDown) => {
                if !self.is_away.swap(true, Ordering::Relaxed) {
                    tracing::warn!(reason, "kafka is away: records wait in memory");
                }
            }
            _ => tracing::debug!(%error, reason, "kafka"),
        }
    }
}

impl ProducerContext for Events {
    type DeliveryOpaque = ();

    fn delivery(&self, result: &DeliveryResult<'_>, (): ()) {
        if let Err((error, _)) = result
            && self.n_failed.fetch_add(1, Ordering::Relaxed) == 0
        {
            tracing::error!(%error, "kafka refused a record");
        }
    }
}

/// A topic to write to.
#[derive(Debug, Clone)]
pub struct Destination {
    topic: String,
    n_partitions: i32,
}

impl Destination {
    /// The topic's name.
    pub fn topic(&self) -> &str {
        &self.topic
    }

    /// The partition of a key.
    pub fn partition_of(&self, key: &str) -> i32 {
        partition_of(key.as_bytes(), self.n_partitions)
    }

    /// How many partitions there are.
    pub fn n_partitions(&self) -> i32 {
        self.n_partitions
    }
}

impl From<Found> for Destination {
    fn from(found: Found) -> Self {
        Self {
            topic: found.name,
            n_partitions: found.partitions,
        }
    }
}

/// One record to write.
#[derive(Debug, Clone, Copy)]
pub struct Record<'a> {
    /// Where to.
    pub destination: &'a Destination,
    /// The partition that [`Destination::partition_of`] gave for the key.
    pub partition: i32,
    /// The key.
    pub key: &'a str,
    /// The value.
    pub value: &'a [u8],
}

/// Writes records in order, each exactly once as long as it lives.
///
/// Records wait in memory up to the configured bound, then [`try_send`](Self::try_send) says no.
pub struct Producer {
    pub(super) inner: ThreadedProducer<Events>,
    n_sent: AtomicU64,
}

impl std::fmt::Debug for Producer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Producer")
            .field("n_sent", &self.n_sent)
            .finish_non_exhaustive()
    }
}

/// How long a full queue is left alone before it is asked again.
const FULL: Duration = Duration::from_millis(2);
/// Between two looks whether everything is written.
pub(super) const MOMENT: Duration = Duration::from_millis(1);

impl Producer {
    /// A producer; brokers are not asked yet.
    ///
    /// # Errors
    /// When a setting is wrong.
    pub fn new(settings: &KafkaSettings) -> Result<Self> {
        Self::of(&settings.producer())
    }

    pub(super) fn of(config: &ClientConfig) -> Result<Self> {
        let created = config.create_with_context(Events::default());
        let inner = created.map_err(|error| refusal(&error))?;
        Ok(Self {
            inner,
            n_sent: AtomicU64::new(0),
        })
    }

    /// Waits for a connection, but not long: brokers that are away are waited for later. What
    /// librdkafka asks for before there is one, it asks for again only half a second later.
    pub fn connect(&self) {
        const AT_MOST: Duration = Duration::from_secs(1);
        if let Err(error) = self.inner.client().fetch_metadata(None, AT_MOST) {
            tracing::debug!(%error, "no broker answers yet");
        }
    }

    /// Hands a record over; `false` when the queue is full.
    ///
    /// # Errors
    /// When the record can never be written, or the producer has failed for good.
    pub fn try_send(&self, record: Record<'_>) -> Result<bool> {
        let base = BaseRecord::to(&record.destination.topic)
            .partition(record.partition)
            .key(record.key)
            .payload(record.value);
        match self.inner.send(base) {
            Ok(()) => {
                self.n_sent.fetch_add(1, Ordering::Relaxed);
                Ok(true)
            }
            Err((KafkaError::MessageProduction(RDKafkaErrorCode::QueueFull), _)) => {
                self.check()?;
                Ok(false)
            }
            Err((error, _)) => {
                self.check()?;
                Err(anyhow!(error).context(format!("write to `{}`", record.destination.topic)))
            }
        }
    }

    /// Hands a record over, waiting while the queue is full; `false` if `is_asked_to_stop` said so
    /// meanwhile.
    ///
    /// # Errors
    /// As [`try_send`](Self::try_send).
    pub fn send(&self, record: Record<'_>, is_asked_to_stop: impl Fn() -> bool) -> Result<bool> {
        while !self.try_send(record)? {
            if is_asked_to_stop() {
                return Ok(false);
            }
            std::thread::sleep(FULL);
        }
        Ok(true)
    }

    /// As [`send`](Self::send), without holding a thread.
    ///
    /// # Errors
    /// As [`try_send`](Self::try_send).
    pub async fn send_async(&self, record: Record<'_>) -> Result<()> {
        while !self.try_send(record)? {
            tokio::time::sleep(FULL).await;
        }
        Ok(())
    }

    /// Records that the brokers have.
    pub fn n_delivered(&self) -> u64 {
        let n_sent = self.n_sent.load(Ordering::Relaxed);
        n_sent.saturating_sub(self.n_waiting() + self.n_failed())
    }

    /// Records that wait in memory, or for an answer.
    pub fn n_waiting(&self) -> u64 {
        u64::try_from(self.inner.in_flight_count()).unwrap_or(0)
    }

    /// Records that were refused.
    pub fn n_failed(&self) -> u64 {
        self.inner.context().n_failed.load(Ordering::Relaxed)
    }

    /// Waits until every record is written.
    ///
    /// # Errors
    /// When some weren't within the time, or were refused.
    pub fn flush(&self, at_most: Duration) -> Result<()> {
        // What has failed is not waited for: nothing of it may go out behind a hole.
        self.check().inspect_err(|_| self.abandon())?;
        let began = Instant::now();
        let flushed = loop {
            // By itself it looks ten times a second only.
            match self.inner.flush(Duration::ZERO) {
                Err(KafkaError::Flush(RDKafkaErrorCode::OperationTimedOut))
                    if began.elapsed() < at_most && self.check().is_ok() =>
                {
                    std::thread::sleep(MOMENT);
                }
                flushed => break flushed,
            }
        };
        self.check().inspect_err(|_| self.abandon())?;
        flushed.with_context(|| {
            format!(
                "{} records are not in Kafka after {} s",
                self.n_waiting(),
                at_most.as_secs()
            )
        })
    }

    /// Gives up what waits.
    pub fn abandon(&self) {
        self.inner
            .purge(rdkafka::producer::PurgeConfig::default().queue().inflight());
    }

    /// # Errors
    /// When records were refused or the producer has failed for good.
    pub fn check(&self) -> Result<()> {
        if let Some((code, reason)) = self.inner.client().fatal_error() {
            bail!("the Kafka producer has failed for good: {code}: {reason}");
        }
        match self.n_failed() {
            0 => Ok(()),
            n_failed => bail!("Kafka refused {n_failed} records"),
        }
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;
    use rdkafka::mocking::MockCluster;
    use rdkafka::types::{RDKafkaApiKey, RDKafkaRespErr};

    use super::*;
    use crate::kafka::KafkaArgs;

    #[derive(Parser)]
    struct Options {
        #[command(flatten)]
        kafka: KafkaArgs,
    }

    /// What follows a batch that is refused for good must not be there without it.
    #[test]
    fn a_refused_batch_leaves_no_hole() {
        let cluster = MockCluster::new(1).unwrap();
        cluster.create_topic("t", 1, 1).unwrap();
        let brokers = cluster.bootstrap_servers();
        let options = Options::parse_from(["feed", "--brokers", &brokers, "--linger-ms", "0"]);
        let settings = options.kafka.settings().unwrap().unwrap();
        let producer = Producer::new(&settings).unwrap();
        let destination = Destination {
            topic: "t".to_owned(),
            n_partitions: 1,
        };
        let send = |value: &str| {
            producer.try_send(Record {
                destination: &destination,
                partition: 0,
                key: "k",
                value: value.as_bytes(),
            })
        };
        let until = |is_so: &dyn Fn() -> bool| {
            let began = Instant::now();
            while !is_so() {
                assert!(began.elapsed() < Duration::from_secs(60));
                std::thread::sleep(MOMENT);
            }
        };
        assert!(send("first").unwrap());
        producer.flush(Duration::from_secs(60)).unwrap();
        let refusal = RDKafkaRespErr::RD_KAFKA_RESP_ERR_MSG_SIZE_TOO_LARGE;
        cluster.request_errors(RDKafkaApiKey::Produce, &[refusal]);
        assert!(send("refused").unwrap());
        until(&|| producer.n_failed() > 0);
        assert!(send("behind it").is_err());
        until(&|| producer.n_waiting() == 0);
        assert!(producer.flush(Duration::from_secs(60)).is_err());
        let client = producer.inner.client();
        let (_, high) = client.fetch_watermarks("t", 0, FULL * 1_000).unwrap();
        assert_eq!(high, 1);
    }
}
