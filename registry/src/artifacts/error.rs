//! What goes wrong with artifacts.

use super::Destination;

/// The cause of a failure of the store: for the log, never for a client.
pub(super) type Cause = Box<dyn std::error::Error + Send + Sync>;

/// Why an artifact can't be read or written; messages name no path of this machine and no secret.
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
    /// The body is larger than the store takes.
    #[error("the artifact is larger than the store takes")]
    TooLarge,
    /// The range begins behind the end of an artifact of that many bytes.
    #[error("the artifact has {0} bytes: the range is outside of it")]
    Range(u64),
    /// There is no such multipart upload: it was completed, aborted, or never begun.
    #[error("No such multipart upload for this path")]
    NoSuchUpload,
    /// A part of a multipart upload is missing, or is not the one that was sent.
    #[error("Invalid part of a multipart upload: {0}")]
    InvalidPart(String),
    /// The store can't do this at all.
    #[error("{0} is not supported for the current artifact repository")]
    Unsupported(&'static str),
    /// The disk has no room left.
    #[error("the artifact store has no space left")]
    Full(#[source] std::io::Error),
    /// The file system failed.
    #[error("the artifact store failed")]
    Io(#[source] std::io::Error),
    /// The bucket refused the server's own credentials.
    #[error("the artifact store refused the access")]
    Refused(#[source] Cause),
    /// The bucket can't be reached now, or is overloaded.
    #[error("the artifact store can't be reached")]
    Unavailable(#[source] Cause),
    /// The bucket failed in another way.
    #[error("the artifact store failed")]
    Remote(#[source] Cause),
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

/// Why the store can't be opened; it names the place, never a secret.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum OpenArtifactsError {
    /// The folder can't be created or written.
    #[error("artifact folder `{destination}` can't be written")]
    Folder {
        /// The folder.
        destination: Destination,
        /// The cause.
        source: std::io::Error,
    },
    /// The bucket can't be used.
    #[error("artifact store `{destination}` can't be used: {reason}")]
    Bucket {
        /// The bucket and its prefix.
        destination: Destination,
        /// Why, and what to do.
        reason: String,
    },
}
