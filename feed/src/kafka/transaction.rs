//! Transactions: records that appear together or not at all, from one producer of a name at a time.

use std::time::Duration;

use anyhow::{Context, Result, anyhow};
use rdkafka::Message;
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::BorrowedMessage;
use rdkafka::producer::Producer as _;

use super::producer::{Destination, MOMENT, Producer, Record};
use super::settings::KafkaSettings;
use super::topics::Found;
use super::whole::read_whole;

/// Between two looks whether somebody gave up.
const TURN: Duration = Duration::from_secs(1);
/// Between two tries that failed at once.
const SOON: Duration = Duration::from_millis(50);

/// A name that no other process has, nor this one at another time.
pub fn session() -> String {
    format!("{}-{}", std::process::id(), crate::time::now())
}

impl Producer {
    /// A producer for transactions that last no longer than `at_most`; brokers are not asked yet.
    ///
    /// # Errors
    /// When a setting is wrong.
    pub fn transactional(settings: &KafkaSettings, name: &str, at_most: Duration) -> Result<Self> {
        Self::of(&settings.transactional(name, at_most))
    }

    /// Ends whoever has this name, and the transaction that it left open; `false` if `is_given_up`
    /// said so before the brokers answered.
    ///
    /// # Errors
    /// When the brokers refuse.
    pub fn fence(&self, is_given_up: impl Fn() -> bool) -> Result<bool> {
        self.connect();
        let fenced = retry(is_given_up, SOON, || self.inner.init_transactions(TURN));
        fenced.context("begin to write in transactions")
    }

    /// Writes a record into a small topic, in a transaction of its own, and hands everything that the
    /// topic holds to `visit`, perhaps more than once. What others wrote before is then known for
    /// sure: who reads our record reads theirs. `false` as in [`fence`](Self::fence).
    ///
    /// # Errors
    /// When it can't be written or read.
    pub fn sign(
        &self,
        settings: &KafkaSettings,
        topic: &Found,
        (key, value): (&str, &[u8]),
        is_given_up: impl Fn() -> bool,
        mut visit: impl FnMut(&BorrowedMessage<'_>),
    ) -> Result<bool> {
        let destination = Destination::from(topic.clone());
        let record = Record {
            destination: &destination,
            partition: destination.partition_of(key),
            key,
            value,
        };
        self.begin()?;
        if !self.send(record, &is_given_up)? || !self.commit(&is_given_up)? {
            return Ok(false);
        }
        loop {
            let mut is_seen = false;
            read_whole(settings, topic, |message| {
                is_seen |=
                    message.key() == Some(key.as_bytes()) && message.payload() == Some(value);
                visit(message);
            })?;
            if is_seen || is_given_up() {
                return Ok(is_seen);
            }
            std::thread::sleep(SOON);
        }
    }

    /// Begins a transaction; what is sent from now on belongs to it.
    ///
    /// # Errors
    /// When the producer has failed for good.
    pub fn begin(&self) -> Result<()> {
        let begun = self.inner.begin_transaction();
        begun.map_err(|error| anyhow!(error).context("begin a transaction"))
    }

    /// Waits until everything is written and the transaction is complete; `false` if `is_given_up`
    /// said so before.
    ///
    /// # Errors
    /// The transaction is lost: a record was refused, it took too long, or another producer of this
    /// name has begun.
    pub fn commit(&self, is_given_up: impl Fn() -> bool) -> Result<bool> {
        // A commit of what isn't written yet would look ten times a second whether it is: too seldom
        // for transactions that last a tenth of a second.
        let settled = retry(&is_given_up, MOMENT, || self.inner.flush(Duration::ZERO));
        if !settled.context("the transaction is lost")? {
            return Ok(false);
        }
        let committed = retry(is_given_up, SOON, || self.inner.commit_transaction(TURN));
        let committed = committed.context("the transaction is lost")?;
        self.check()?;
        Ok(committed)
    }
}

fn retry(
    is_given_up: impl Fn() -> bool,
    pause: Duration,
    mut work: impl FnMut() -> Result<(), KafkaError>,
) -> Result<bool> {
    loop {
        match work() {
            Ok(()) => return Ok(true),
            Err(error) if is_temporary(&error) => {
                if is_given_up() {
                    return Ok(false);
                }
                std::thread::sleep(pause);
            }
            Err(error) => return Err(error.into()),
        }
    }
}

/// Whether the same call goes on where this one ended.
fn is_temporary(error: &KafkaError) -> bool {
    match error {
        KafkaError::Transaction(error) => error.is_retriable() && !error.is_fatal(),
        KafkaError::Flush(code) => *code == RDKafkaErrorCode::OperationTimedOut,
        _ => false,
    }
}
