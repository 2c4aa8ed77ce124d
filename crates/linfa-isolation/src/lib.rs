#![doc = include_str!("../README.md")]
#![cfg_attr(test, allow(clippy::unwrap_used))]

mod error;
mod forest;
mod kernel;
mod linfa_traits;
mod native;
mod params;
mod path_length;
mod random;
mod stored;
mod threshold;
mod tree;

pub use error::{Error, FormatError, Result};
pub use forest::IsolationForest;
pub use native::FORMAT_VERSION;
pub use params::{IsolationForestParams, IsolationForestValidParams, MAX_TREES, SampleSize};
pub use path_length::average_path_length;
pub use threshold::contamination_threshold;
