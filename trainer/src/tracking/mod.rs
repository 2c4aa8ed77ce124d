//! What the registry is told, and how a run survives a registry that doesn't answer.
//!
//! A run is created when its work begins, so that it is seen while it lasts.
//! What the work made is first written to a [`stage`] on disk; only then is it
//! published: parameters, metrics, artifacts, last of all the model version and
//! its alias. Every step can be repeated, so that `--resume` goes on wherever
//! the registry was lost, and no version ever names an artifact that isn't there.

mod connect;
pub mod model_folder;
mod publish;
pub mod registered;
pub mod stage;

pub use connect::{DEFAULT_TRACKING_URI, Tracking};
pub(crate) use connect::{is_registry_lost, now_ms};
pub use publish::{Published, publish};
pub use stage::{Bundle, Point, RunState, Stage, TrialRun};
