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
//! | [`pipeline`] | [`Pipeline`]: a partition and its incidents together, records in and [`Output`]s out |
//! | [`restore`](mod@restore) | bringing a pipeline back to exactly where the last commit left it |
//! | [`wire`] | alerts and feature rows as JSON |
//!
//! Two kinds of state, on purpose apart. What records alone decide (candles, windows, ids) can be computed again from
//! them, so a snapshot that is a minute old will do. What a model had a say in (open incidents) can't be, once the model
//! has changed; it is small, and goes wherever the outputs go, in the same transaction.

#![cfg_attr(
    test,
    allow(clippy::unwrap_used, reason = "a test may fail by panicking")
)]

pub mod incidents;
pub mod judge;
pub mod partition;
pub mod pipeline;
pub mod record;
pub mod restore;
pub mod settings;
pub mod wire;

mod bytes;
mod jump;

pub use bytes::StoredError;
pub use incidents::{Incident, Incidents};
pub use judge::{Judge, JudgeError, ModelId, NativeJudge, Score, Vote};
pub use partition::{Partition, PartitionCounts};
pub use pipeline::{Channel, Output, Outputs, Pipeline};
pub use record::{Reason, Record};
pub use restore::{Log, RestoreError, Restored, Stored, restore};
pub use settings::{Settings, SettingsError, Source};
pub use wire::{Alert, Severity};
