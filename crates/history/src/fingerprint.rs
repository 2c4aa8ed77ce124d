//! What exactly was read: names, sizes and hashes of the files.

use std::io::{self, Read};

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::error::{HistoryError, Result};
use crate::location::DataObject;
use crate::source::open_raw;

/// The fingerprint of a data set.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Fingerprint {
    /// One entry per file, in the order given.
    pub objects: Vec<ObjectFingerprint>,
    /// SHA-256 (hex) over every file's name, size and hash. Only the file's own name enters it,
    /// not its folder, so that a moved data set keeps its hash.
    pub hash: String,
}

/// The fingerprint of one file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ObjectFingerprint {
    /// The path or `s3://` URI.
    pub uri: String,
    /// The stored size.
    pub size_bytes: u64,
    /// SHA-256 (hex) of the stored bytes.
    pub sha256: String,
}

/// Hashes the stored bytes of every file; S3 objects are streamed in full, since an entity tag
/// says nothing about content that two stores would agree on (multipart uploads, encryption).
///
/// Reads everything once, in bounded memory.
pub fn fingerprint(objects: &[DataObject]) -> Result<Fingerprint> {
    let mut whole = Sha256::new();
    let mut files = Vec::with_capacity(objects.len());
    for object in objects {
        let (size_bytes, sha256) = hash(&mut open_raw(object)?)
            .map_err(|error| HistoryError::io(&object.uri, "read", error))?;
        for part in [object.file_name(), &size_bytes.to_string(), &sha256] {
            whole.update(part.as_bytes());
            whole.update([0]);
        }
        files.push(ObjectFingerprint {
            uri: object.uri.clone(),
            size_bytes,
            sha256,
        });
    }
    Ok(Fingerprint {
        objects: files,
        hash: to_hex(&whole.finalize()),
    })
}

/// Size and SHA-256 (hex) of what is left to read.
pub(crate) fn hash(source: &mut impl Read) -> io::Result<(u64, String)> {
    let mut hash = Sha256::new();
    let mut size_bytes = 0;
    let mut buffer = vec![0; 1 << 20];
    loop {
        let n_read = source.read(&mut buffer)?;
        if n_read == 0 {
            return Ok((size_bytes, to_hex(&hash.finalize())));
        }
        hash.update(&buffer[..n_read]);
        size_bytes += n_read as u64;
    }
}

fn to_hex(bytes: &[u8]) -> String {
    use std::fmt::Write;
    bytes.iter().fold(String::new(), |mut hex, byte| {
        // Writing to a String cannot fail.
        write!(hex, "{byte:02x}").ok();
        hex
    })
}
