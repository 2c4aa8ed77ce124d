//! Starts the real servers that the tests of Foreshock talk to.
//!
//! Each server listens on a free port of the loopback interface, keeps its data in a temporary
//! folder of its own and stops when its handle is dropped. Nothing is shared with the machine's
//! own services. [`program`] runs the built programs.

mod kafka;
mod postgres;
pub mod program;
mod s3;

pub use kafka::{KafkaRecord, KafkaServer};
pub use postgres::PostgresServer;
pub use s3::S3Server;
