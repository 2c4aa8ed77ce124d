//! Kafka: settings, topics, the producer, and what the topics already hold.

mod leave;
mod partition;
mod producer;
mod properties;
mod settings;
mod topics;
mod transaction;
mod whole;

pub(crate) use leave::leave;
pub use partition::partition_of;
pub use producer::{Destination, Producer, Record};
pub use settings::{Compression, KafkaArgs, KafkaSettings};
pub use topics::{Found, ensure_topic, ensure_topics, look_at_topics};
pub use transaction::session;
pub use whole::read_whole;
