//! History into partitioned Parquet: `symbol=…/date=…`, with a manifest.
//!
//! A partition is written whole or not at all, and its bytes depend on its rows alone; the manifest
//! names those that are there. So work that was stopped or killed goes on where it was, and work
//! that is done is not done again.

mod convert;
mod dumps;
mod manifest;
mod store;

pub use convert::convert;
pub use dumps::{DownloadSettings, Outcome, Source, download, probe_source};
pub use manifest::{Kind, Manifest, Origin, Partition};
pub use store::Store;
