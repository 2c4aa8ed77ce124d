//! Where a registry keeps what it knows.

use std::path::{Path, PathBuf};

use crate::artifacts::Destination;
use crate::webhooks::WebhookOptions;

/// Where a registry keeps what it knows, named as `mlflow server` names it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Options {
    /// The database: `sqlite:///relative/path` or `sqlite:////absolute/path`. It is created where
    /// it is missing, and upgraded where it is older.
    pub backend_store_uri: String,
    /// Where the artifacts are: a folder, or a prefix of a bucket.
    pub artifacts_destination: Destination,
    /// How webhooks are sent.
    pub webhooks: WebhookOptions,
}

impl Default for Options {
    /// What `trainer run` writes: `./foreshock/registry.db` and `./foreshock/artifacts`.
    fn default() -> Self {
        Self {
            backend_store_uri: "sqlite:///foreshock/registry.db".to_owned(),
            artifacts_destination: PathBuf::from("foreshock/artifacts").into(),
            webhooks: WebhookOptions::default(),
        }
    }
}

/// The URI of the SQLite database in the file `path`.
#[must_use]
pub fn sqlite_uri(path: &Path) -> String {
    format!("sqlite:///{}", path.display())
}
