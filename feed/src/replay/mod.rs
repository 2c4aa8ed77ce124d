//! Files into Kafka, in the order of time.

mod progress;
mod sources;

pub use progress::{HEADER, Position, ReplayId, resume_positions};
pub use sources::{Merged, MergedTrade, OnError, Refused, Sources};
