//! Files into Kafka, in the order of time.

mod chain;
mod merged;
mod names;
mod progress;
mod refused;
mod sources;

pub use merged::{Merged, MergedTrade};
pub use progress::{Progress, ReplayId};
pub use refused::{OnError, Refused};
pub use sources::Sources;
