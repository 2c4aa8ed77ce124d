//! Copying from and to other servers: [`import()`] brings what any MLflow server or an exported folder
//! has into this registry's database and artifact store; [`export()`] writes such a folder.
//!
//! Both read a [`Source`] page by page and stream every file, so memory stays flat whatever the
//! size. What the folder holds is described in [`folder`].

mod export;
pub mod folder;
mod import;
mod local;
mod remote;
mod report;
mod source;

use crate::artifacts::ArtifactError;
use crate::store::StoreError;

pub use export::{ExportOptions, export};
pub use import::{ImportOptions, import};
pub use local::Local;
pub use remote::Remote;
pub use report::Report;
pub use source::Source;

/// Why a transfer stopped. What concerns one thing only is in its [`Report`] instead.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TransferError {
    /// The source can't be read.
    #[error("the source can't be read")]
    Remote(#[from] mlflow_api::ClientError),
    /// The database failed.
    #[error("the registry's database")]
    Store(#[from] StoreError),
    /// The artifact store failed.
    #[error("the registry's artifact store")]
    Artifact(#[from] ArtifactError),
    /// A file of an exported folder can't be read or written.
    #[error("`{path}`")]
    File {
        /// The file.
        path: String,
        /// The cause.
        source: std::io::Error,
    },
    /// The folder is no export, is damaged, or is of a newer format.
    #[error("{0}")]
    Folder(String),
    /// A selected experiment or model is not in the source.
    #[error("the source has no {0}")]
    NotThere(String),
}

type Result<T> = std::result::Result<T, TransferError>;

/// What is copied; everything when both are empty.
#[derive(Debug, Clone, Default)]
pub struct Selection {
    /// Names or ids of experiments.
    pub experiments: Vec<String>,
    /// Names of registered models.
    pub models: Vec<String>,
}

impl Selection {
    fn is_all(&self) -> bool {
        self.experiments.is_empty() && self.models.is_empty()
    }

    fn has_experiment(&self, id: &str, name: &str) -> bool {
        self.is_all() || self.experiments.iter().any(|e| e == id || e == name)
    }

    fn has_model(&self, name: &str) -> bool {
        self.is_all() || self.models.iter().any(|model| model == name)
    }
}

/// A digest by which a later run sees whether something changed.
fn fingerprint<T: serde::Serialize>(thing: &T) -> String {
    use sha2::Digest;
    // A message of the wire is always JSON.
    let bytes = serde_json::to_vec(thing).unwrap_or_default();
    hex(&sha2::Sha256::digest(&bytes))
}

fn hex(bytes: &[u8]) -> String {
    use std::fmt::Write;
    bytes.iter().fold(String::new(), |mut text, byte| {
        // Writing to a String can't fail.
        write!(text, "{byte:02x}").ok();
        text
    })
}
