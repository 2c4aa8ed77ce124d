//! What can go wrong, and what that means for the loop.

use rdkafka::error::KafkaError as Rd;
use streaming::RestoreError;
use thiserror::Error;

use crate::model::causes;
use crate::stream::clients::KafkaError;
use crate::stream::partition_log::{LogError, is_passing};
use crate::stream::transaction::TransactionError;

/// Why the loop can't go on.
#[derive(Debug, Error)]
pub enum WorkerError {
    /// Kafka refuses.
    #[error(transparent)]
    Kafka(#[from] KafkaError),
    /// Another scorer goes by the same name.
    #[error("{0}")]
    Fenced(String),
    /// A partition can't be restored.
    #[error("partition {partition} can't be restored")]
    Restore {
        /// Which one.
        partition: i32,
        /// Why.
        #[source]
        source: Box<RestoreError<LogError>>,
    },
    /// What is committed beside an offset isn't ours.
    #[error(
        "the group's offset of partition {partition} was committed by another program (`{metadata}`); give the scorer a `kafka.group` of its own"
    )]
    Foreign {
        /// Which one.
        partition: i32,
        /// What stands beside the offset.
        metadata: String,
    },
}

/// What became of a turn of the loop that did not go well.
pub(super) enum Trouble {
    /// Everything is restored from what was committed, and it goes on.
    Again(String),
    /// It can't go on.
    Over(WorkerError),
}

impl From<TransactionError> for Trouble {
    fn from(error: TransactionError) -> Self {
        match error {
            TransactionError::Fenced { .. } => Self::Over(WorkerError::Fenced(error.to_string())),
            TransactionError::Kafka(error) => Self::Over(error.into()),
            TransactionError::GivenUp { .. } | TransactionError::Undelivered(_) => {
                Self::Again(causes(&error))
            }
        }
    }
}

impl From<WorkerError> for Trouble {
    fn from(error: WorkerError) -> Self {
        Self::Over(error)
    }
}

/// Kafka did not do what it was asked to: it may the next time.
pub(super) fn again(what: &str) -> impl FnOnce(Rd) -> Trouble {
    move |error| Trouble::Again(format!("{what}: {error}"))
}

pub(super) fn failed(partition: i32, source: RestoreError<LogError>) -> Trouble {
    let is_kafka = matches!(
        &source,
        RestoreError::Log(LogError::Kafka(_) | LogError::Silent { .. })
    );
    let error = WorkerError::Restore {
        partition,
        source: Box::new(source),
    };
    match is_kafka {
        true => Trouble::Again(causes(&error)),
        false => Trouble::Over(error),
    }
}

/// Decides what an error of the consumer means.
pub(super) fn report(error: Rd) -> Result<(), Trouble> {
    match error {
        Rd::MessageConsumptionFatal(_) => {
            let what = KafkaError::new("Kafka refuses this scorer for good");
            Err(Trouble::Over(what(error).into()))
        }
        error if is_passing(&error) => {
            tracing::warn!(%error, "Kafka");
            Ok(())
        }
        error => Err(Trouble::Again(format!("records can't be read: {error}"))),
    }
}
