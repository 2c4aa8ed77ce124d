//! Where a replay stands: in a topic, in the same transactions as its trades.
//!
//! A replay's id is made from the files' content and from what is read of them; its trades always
//! come in the same order. So the number of those that are in the topic says how to go on, however
//! the process that wrote them ended. No file beside the topic can disagree with it.

use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow};
use rdkafka::Message;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use terminal::exit::Environment;
use terminal::interrupt::Interrupt;

use crate::kafka::{Destination, Found, KafkaSettings, Producer, Record, session};

/// Which replay a record belongs to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ReplayId([u8; 8]);

impl ReplayId {
    /// The id of a replay: of the data's fingerprint and of what is read of them.
    pub fn new(fingerprint: &str, selection: &str) -> Self {
        let mut hash = Sha256::new();
        for part in [fingerprint, selection] {
            hash.update((part.len() as u64).to_be_bytes());
            hash.update(part.as_bytes());
        }
        let mut id = [0; 8];
        id.copy_from_slice(&hash.finalize()[..8]);
        Self(id)
    }
}

impl std::fmt::Display for ReplayId {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

/// A replay's record; its key is `replay/ID`.
#[derive(Serialize, Deserialize)]
struct Standing {
    /// Trades that are in the topic.
    n_trades: u64,
}

/// A transaction that lasts longer is ended by the brokers, so that readers don't wait for a replay
/// that is gone.
const TRANSACTION: Duration = Duration::from_secs(60);
/// So long the brokers may take, at the start and after somebody asked to stop.
const ANSWER: Duration = Duration::from_secs(60);

/// Writes where a replay stands.
#[derive(Debug)]
pub struct Progress {
    producer: Arc<Producer>,
    destination: Destination,
    key: String,
    every: Duration,
    n_committed: u64,
    committed: Instant,
}

impl Progress {
    /// Ends whoever replays the same, and reads how far the replay is; a transaction is committed
    /// after `every` of time.
    ///
    /// # Errors
    /// When the brokers don't answer, or the topic holds what no feed has written.
    pub fn begin(
        settings: &KafkaSettings,
        topic: Found,
        id: ReplayId,
        every: Duration,
    ) -> Result<Self> {
        let key = format!("replay/{id}");
        let producer = Producer::transactional(settings, &key, TRANSACTION)?;
        let began = Instant::now();
        let is_given_up = || began.elapsed() > ANSWER;
        let mut n_committed = 0;
        let mut failure = None;
        // Nobody else signs like this.
        let owner = format!("owner/{key}");
        let session = serde_json::json!({ "session": session() }).to_string();
        let is_begun = producer.fence(is_given_up)?
            && producer.sign(
                settings,
                &topic,
                (&owner, session.as_bytes()),
                is_given_up,
                |message| {
                    if message.key() == Some(key.as_bytes()) {
                        let value = message.payload().unwrap_or_default();
                        match serde_json::from_slice::<Standing>(value) {
                            Ok(standing) => n_committed = standing.n_trades,
                            Err(error) => failure = Some((message.offset(), error)),
                        }
                    }
                },
            )?;
        if !is_begun {
            return Err(Environment(format!(
                "the brokers at `{}` did not begin a transaction within {} s",
                settings.brokers,
                ANSWER.as_secs()
            ))
            .into());
        }
        if let Some((offset, error)) = failure {
            let place = format!("record {offset} of `{}`", topic.name);
            return Err(anyhow!(error).context(place));
        }
        producer.begin()?;
        Ok(Self {
            producer: Arc::new(producer),
            destination: topic.into(),
            key,
            every,
            n_committed,
            committed: Instant::now(),
        })
    }

    /// What the trades are to be written with.
    pub fn producer(&self) -> &Arc<Producer> {
        &self.producer
    }

    /// Trades that are in the topic.
    pub fn n_committed(&self) -> u64 {
        self.n_committed
    }

    /// Forgets what was there: every trade is to be written once more.
    pub fn begin_anew(&mut self) {
        self.n_committed = 0;
    }

    /// Commits if it is time to.
    ///
    /// # Errors
    /// As [`commit`](Self::commit).
    pub fn tick(&mut self, n_trades: u64, interrupt: &Interrupt) -> Result<()> {
        if n_trades > self.n_committed && self.committed.elapsed() >= self.every {
            self.commit(n_trades, interrupt)?;
        }
        Ok(())
    }

    /// Waits until these trades, and that they are so many, are in the topics.
    ///
    /// # Errors
    /// They are not: the transaction is lost.
    pub fn commit(&mut self, n_trades: u64, interrupt: &Interrupt) -> Result<()> {
        const LOST: &str =
            "the last trades are not in Kafka, and nothing of them; the same command goes on";
        if n_trades <= self.n_committed {
            return Ok(());
        }
        let began = Instant::now();
        let is_given_up = || interrupt.is_asked() && began.elapsed() > ANSWER;
        let value = serde_json::to_vec(&Standing { n_trades })?;
        let record = Record {
            destination: &self.destination,
            partition: self.destination.partition_of(&self.key),
            key: &self.key,
            value: &value,
        };
        let is_done = self.producer.send(record, is_given_up).context(LOST)?
            && self.producer.commit(is_given_up).context(LOST)?;
        if !is_done {
            self.producer.abandon();
            return Err(Environment(format!("Kafka is away: {LOST}")).into());
        }
        self.producer
            .begin()
            .context("begin the next transaction")?;
        self.n_committed = n_trades;
        self.committed = Instant::now();
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_depend_on_every_part() {
        let id = ReplayId::new("a", "b");
        assert_eq!(id, ReplayId::new("a", "b"));
        assert_ne!(id, ReplayId::new("ab", ""));
        assert_ne!(id, ReplayId::new("", "ab"));
        assert_eq!(id.to_string().len(), 16);
    }
}
