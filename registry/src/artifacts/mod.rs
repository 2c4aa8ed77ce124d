//! The files of runs and models, in a folder or in a bucket.
//!
//! [`ArtifactStore`] is one type over both. An artifact appears whole or not at all: in a folder it
//! is written aside, synced and renamed; in a bucket it is there when the upload is complete. No
//! path leaves the folder or the prefix, by whatever encoding or link. Both ways stream in constant
//! memory.

mod destination;
mod download;
mod error;
mod local;
mod multipart;
mod path;
mod s3;
mod store;
mod token;
mod uri;

pub use destination::{Destination, DestinationError};
pub use download::{ArtifactInfo, ByteRange, Download, Wanted};
pub use error::{ArtifactError, OpenArtifactsError};
pub use multipart::{
    CompletedPart, MAX_PARTS, MultipartUpload, PART_URL_LIFETIME, PresignedDownload,
};
pub use path::ArtifactPath;
pub(crate) use path::PRIVATE_PREFIX;
pub use store::{ArtifactStore, Entry, FoundFile};
pub use token::{PartToken, SigningKey};

/// The `Content-Disposition` of an artifact: it is data that somebody uploaded, which a browser
/// saves and never runs.
pub(crate) fn attachment(name: &str) -> String {
    let mut header = "attachment; filename*=UTF-8''".to_owned();
    for byte in name.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._".contains(&byte) {
            header.push(char::from(byte));
        } else {
            header.push_str(&format!("%{byte:02X}"));
        }
    }
    header
}
