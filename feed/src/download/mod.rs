//! History into partitioned Parquet: `symbol=…/date=…`, with a manifest.
//!
//! A partition is written whole or not at all, and its bytes depend on its rows alone; the manifest
//! names those that are there. So work that was stopped or killed goes on where it was, and work
//! that is done is not done again.

mod convert;
mod days;
mod dumps;
mod manifest;
mod settings;
mod store;

pub use convert::convert;
pub use days::{Outcome, download};
pub use dumps::probe_source;
pub use manifest::{Kind, Manifest, Origin, Partition};
pub use settings::{DownloadSettings, Source};
pub use store::Store;
