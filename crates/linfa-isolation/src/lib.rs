#![doc = include_str!("../README.md")]
#![cfg_attr(test, allow(clippy::unwrap_used))]

mod contributions;
mod credits;
mod error;
mod finite;
mod forest;
mod frame;
mod grow;
mod kernel;
mod linfa_traits;
mod math;
mod model;
mod native;
mod params;
mod path_length;
mod random;
mod stored;
mod threshold;
mod view;

pub use contributions::Contributions;
pub use error::{Error, FormatError, Result};
pub use forest::IsolationForest;
pub use kernel::Simd;
pub use native::FORMAT_VERSION;
pub use params::{
    Form, IsolationForestParams, IsolationForestValidParams, MAX_TREES, Missing, SampleSize,
    Scoring,
};
pub use path_length::average_path_length;
pub use threshold::{contamination_threshold, quantile_threshold};
pub use view::{ForestView, NodeView};
