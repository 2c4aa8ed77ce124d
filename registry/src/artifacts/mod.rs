//! The files of runs and models, in a folder.
//!
//! A file appears whole or not at all: it is written beside its place, synced, and renamed. No
//! path leaves the folder, by whatever encoding or link. Both ways stream in constant memory.

mod local;
mod path;

pub use local::{ArtifactStore, Entry};
pub use path::ArtifactPath;
pub(crate) use path::PARTIAL_PREFIX;

/// Why an artifact can't be read or written; messages name no path of this machine.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ArtifactError {
    /// The path is not one inside the store.
    #[error("Invalid path")]
    InvalidPath,
    /// There is no such artifact; the message names it.
    #[error("No such artifact: '{0}'")]
    NotFound(String),
    /// A folder is where a file is needed, or the other way round.
    #[error("'{0}' can't be a file and a folder at once")]
    Conflict(String),
    /// The sender stopped half-way.
    #[error("the upload ended before its end")]
    Interrupted,
    /// The disk has no room left.
    #[error("the artifact store has no space left")]
    Full(#[source] std::io::Error),
    /// The file system failed; the cause is for the log, not for the client.
    #[error("the artifact store failed")]
    Io(#[source] std::io::Error),
}

impl From<std::io::Error> for ArtifactError {
    fn from(error: std::io::Error) -> Self {
        use std::io::ErrorKind;
        match error.kind() {
            ErrorKind::StorageFull | ErrorKind::QuotaExceeded | ErrorKind::FileTooLarge => {
                Self::Full(error)
            }
            // A name that is longer than the file system takes.
            ErrorKind::InvalidFilename => Self::InvalidPath,
            _ => Self::Io(error),
        }
    }
}
