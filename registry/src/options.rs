//! Where a registry keeps what it knows.

use std::path::{Path, PathBuf};

/// Where a registry keeps what it knows, named as `mlflow server` names it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Options {
    /// The database: `sqlite:///relative/path` or `sqlite:////absolute/path`. It is created where
    /// it is missing, and upgraded where it is older.
    pub backend_store_uri: String,
    /// The folder of the artifacts; it is created where it is missing.
    pub artifacts_destination: PathBuf,
}

impl Default for Options {
    /// What `trainer run` writes: `./foreshock/registry.db` and `./foreshock/artifacts`.
    fn default() -> Self {
        Self {
            backend_store_uri: "sqlite:///foreshock/registry.db".to_owned(),
            artifacts_destination: PathBuf::from("foreshock/artifacts"),
        }
    }
}

/// The URI of the SQLite database in the file `path`.
#[must_use]
pub fn sqlite_uri(path: &Path) -> String {
    format!("sqlite:///{}", path.display())
}
