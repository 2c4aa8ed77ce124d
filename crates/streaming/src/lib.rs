//! The streaming core: trades in, candles, scored feature rows and alerts out, each exactly once.
//!
//! Everything here is a function of the records that a partition holds and of the model that judged them: no clock, no
//! IO, no threads, no randomness. What talks to Kafka, to S3 and to the registry is built around it, and a simulation
//! with seeded crashes at every step (`tests/simulation.rs`) stands in their place.
//!
//! | module | what it holds |
//! | --- | --- |
//! | [`settings`] | [`Settings`]: what decides, beside records and model, what comes out |
//! | [`record`] | [`Record`], and the [`Reason`] why one is refused |
//! | [`partition`] | [`Partition`]: records into closed candles and feature rows; snapshots |
//! | [`judge`] | [`Judge`]: what scores rows; [`NativeJudge`] for our own models |
//! | [`incidents`] | [`Incidents`]: flagged rows into alerts, alerts into incidents |
//! | [`pipeline`] | [`Pipeline`]: a partition, its incidents and its drift together, records in and [`Outputs`] out |
//! | [`outputs`] | what is to be said, and where it belongs |
//! | [`drift`] | the rows that a model scores, watched for drift from its baseline |
//! | [`restore`](mod@restore) | bringing a pipeline back to exactly where the last commit left it |
//! | [`wire`] | alerts, feature rows and verdicts on drift as JSON |
//!
//! Two kinds of state, on purpose apart. What records alone decide (candles, windows, ids) can be computed again from
//! them, so a snapshot that is a minute old will do. What a model had a say in (open incidents) can't be, once the model
//! has changed; it is small, and goes wherever the outputs go, in the same transaction. What watches for drift lies
//! between: it can be computed again as long as its model is in force, and is of no use after.

#![cfg_attr(
    test,
    allow(clippy::unwrap_used, reason = "a test may fail by panicking")
)]

pub mod drift;
pub mod incidents;
pub mod judge;
pub mod outputs;
pub mod partition;
pub mod pipeline;
pub mod record;
pub mod restore;
pub mod settings;
pub mod wire;

mod bytes;
mod ids;
mod jump;
mod memory;
mod snapshot;

pub use bytes::StoredError;
pub use drift::Began;
pub use ids::digest;
pub use incidents::{Incident, Incidents};
pub use judge::{Judge, JudgeError, ModelId, NativeJudge, Score, Vote};
pub use outputs::{Channel, Output, Outputs};
pub use partition::{Partition, PartitionCounts};
pub use pipeline::Pipeline;
pub use record::{Reason, Record};
pub use restore::{Committed, Log, RestoreError, Restored, Stored, restore};
pub use settings::{Settings, SettingsError, Source};
pub use snapshot::Frozen;
pub use wire::{Alert, Drift, Severity};
