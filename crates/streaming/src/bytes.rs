//! What is stored, framed: magic, version, content, SHA-256.

use serde::Serialize;
use serde::de::DeserializeOwned;
use sha2::{Digest as _, Sha256};
use thiserror::Error;

/// Length of the digest at the end.
const DIGEST: usize = 32;

/// Stored bytes that can't be used.
#[derive(Debug, Error)]
pub enum StoredError {
    /// Not what it should be, or of another version.
    #[error("it does not begin as a {what} of version {version} does")]
    Header {
        /// What was expected.
        what: &'static str,
        /// Its version.
        version: u8,
    },
    /// The checksum is another.
    #[error("the checksum at its end is not that of its content: it is damaged or cut off")]
    Damaged,
    /// The content makes no sense.
    #[error("its content can't be read: {0}")]
    Content(#[from] postcard::Error),
    /// It was made under other settings, or by another version of the feature engine.
    #[error("it was made under other settings or by another version of the feature engine")]
    OtherSettings,
    /// It can't have been written by this program.
    #[error("its {0} do not fit together")]
    Inconsistent(&'static str),
}

/// A kind of stored thing.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Frame {
    pub(crate) what: &'static str,
    pub(crate) magic: [u8; 4],
    pub(crate) version: u8,
}

impl Frame {
    /// Whether bytes begin as this one's do.
    pub(crate) fn begins(self, bytes: &[u8]) -> bool {
        let rest = bytes.strip_prefix(&self.magic);
        rest.is_some_and(|rest| rest.first() == Some(&self.version))
    }

    pub(crate) fn write(self, content: &impl Serialize) -> Result<Vec<u8>, StoredError> {
        let mut out = self.magic.to_vec();
        out.push(self.version);
        let mut out = postcard::to_extend(content, out)?;
        let digest = Sha256::digest(&out);
        out.extend_from_slice(&digest);
        Ok(out)
    }

    pub(crate) fn read<T: DeserializeOwned>(self, bytes: &[u8]) -> Result<T, StoredError> {
        let header = StoredError::Header {
            what: self.what,
            version: self.version,
        };
        let content = bytes
            .strip_prefix(&self.magic)
            .and_then(|rest| rest.strip_prefix(&[self.version]));
        let Some(content) = content else {
            return Err(header);
        };
        let end = content.len().checked_sub(DIGEST);
        let Some((content, digest)) = end.map(|end| content.split_at(end)) else {
            return Err(StoredError::Damaged);
        };
        let body = &bytes[..bytes.len() - DIGEST];
        if Sha256::digest(body).as_slice() != digest {
            return Err(StoredError::Damaged);
        }
        Ok(postcard::from_bytes(content)?)
    }
}
