//! Kafka in, Kafka out, exactly once.
//!
//! One thread does it all: it collects records for a while, judges what they closed, sends what is to be said, and
//! commits that and the offsets in one transaction. Partitions are given up and taken only between two transactions, so
//! none ever holds records of a partition that is somebody else's by then. Whatever goes wrong, the way out is the same:
//! the transaction is given up, the producer is made anew, which ends whatever may still be open under its name, and all
//! partitions are restored from what was committed.

pub(crate) mod clients;
mod dead_letters;
pub(crate) mod partition_log;
mod snapshots;
mod topics;
mod transaction;
mod worker;

pub use clients::{KafkaError, Names};
pub use dead_letters::{Again, replay_dead_letters};
pub use partition_log::LogError;
pub use snapshots::{SnapshotStore, SnapshotWriter};
pub use topics::TopicError;
pub use topics::{Brokers, Found, check_topics, ensure_topics};
pub use worker::{Ended, Listener, Parts, Worker, WorkerError};
