//! Transactions: records that appear together or not at all, from one producer of a name at a time.

use std::time::Duration;

use anyhow::{Context, Result, anyhow};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::producer::Producer as _;

use super::producer::Producer;
use super::settings::KafkaSettings;

/// Between two looks whether somebody gave up.
const TURN: Duration = Duration::from_secs(1);
/// Between two tries that failed at once.
const SOON: Duration = Duration::from_millis(50);

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
        let fenced = retry(is_given_up, || self.inner.init_transactions(TURN));
        fenced.context("begin to write in transactions")
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
        let committed = retry(is_given_up, || self.inner.commit_transaction(TURN));
        let committed = committed.context("the transaction is lost")?;
        self.check()?;
        Ok(committed)
    }
}

fn retry(
    is_given_up: impl Fn() -> bool,
    mut work: impl FnMut() -> Result<(), KafkaError>,
) -> Result<bool> {
    loop {
        match work() {
            Ok(()) => return Ok(true),
            Err(error) if is_temporary(&error) => {
                if is_given_up() {
                    return Ok(false);
                }
                std::thread::sleep(SOON);
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
