//! Files into Kafka, in the order of time.

mod progress;
mod sources;

pub use progress::{Progress, ReplayId};
pub use sources::{Merged, MergedTrade, OnError, Refused, Sources};
