//! The native file: compact, versioned, checksummed; reading it is a copy and a check.
//!
//! All numbers are little-endian:
//!
//! | bytes | content |
//! |---|---|
//! | 8 | magic `LINFAISO` |
//! | 4 | format version, 1 |
//! | 4 | number of trees, `t` |
//! | 8 | seed |
//! | 4 | number of columns |
//! | 4 | rows per tree |
//! | 8 | number of nodes of all trees, `n` |
//! | 4 `t` | nodes of each tree (always odd) |
//! | 4 `n` | per node, breadth first: the column of an inner node, or 2^31 + the rows of a leaf |
//! | 8 (`n` - `t`) / 2 | thresholds of the inner nodes, in the same order |
//! | 4 | CRC-32 (IEEE 802.3) of everything before |
//!
//! Links are not stored: the children of the k-th inner node of a tree are its nodes 2 k + 1 and
//! 2 k + 2. A file of the default 100 trees of 256 rows takes at most 409 kB.

use crate::error::FormatError;
use crate::forest::IsolationForest;
use crate::stored::require_sizes;
use crate::tree::{NodeSpec, Tree};

/// Version of the native file that this crate writes, and the newest that it reads.
pub const FORMAT_VERSION: u32 = 1;

const MAGIC: &[u8; 8] = b"LINFAISO";
const HEADER_LEN: usize = 40;
const CHECKSUM_LEN: usize = 4;
/// Marks a leaf; the rest of the tag is its number of rows.
const LEAF_FLAG: u32 = 1 << 31;

impl IsolationForest {
    /// The forest as bytes of the native file. The same forest gives the same bytes everywhere.
    pub fn to_bytes(&self) -> Vec<u8> {
        let trees = self.trees();
        let n_nodes: usize = trees.iter().map(|tree| tree.nodes().len()).sum();
        let mut bytes =
            Vec::with_capacity(payload_len(trees.len() as u64, n_nodes as u64) as usize);
        bytes.extend_from_slice(MAGIC);
        bytes.extend_from_slice(&FORMAT_VERSION.to_le_bytes());
        bytes.extend_from_slice(&(trees.len() as u32).to_le_bytes());
        bytes.extend_from_slice(&self.seed().to_le_bytes());
        bytes.extend_from_slice(&(self.n_features() as u32).to_le_bytes());
        bytes.extend_from_slice(&(self.sample_size() as u32).to_le_bytes());
        bytes.extend_from_slice(&(n_nodes as u64).to_le_bytes());
        for tree in trees {
            bytes.extend_from_slice(&(tree.nodes().len() as u32).to_le_bytes());
        }
        for spec in trees.iter().flat_map(Tree::specs) {
            let tag = match spec {
                NodeSpec::Inner { feature, .. } => feature,
                NodeSpec::Leaf { n_rows } => LEAF_FLAG | n_rows,
            };
            bytes.extend_from_slice(&tag.to_le_bytes());
        }
        for spec in trees.iter().flat_map(Tree::specs) {
            if let NodeSpec::Inner { threshold, .. } = spec {
                bytes.extend_from_slice(&threshold.to_le_bytes());
            }
        }
        bytes.extend_from_slice(&crc32(&bytes).to_le_bytes());
        bytes
    }

    /// Reads what [`to_bytes`](Self::to_bytes) wrote; the forest scores bit for bit as the one that
    /// was written.
    ///
    /// # Errors
    ///
    /// Bytes that are foreign, cut off, damaged, of a newer version or inconsistent are refused;
    /// none make this panic or claim more memory than some twenty times their length.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, FormatError> {
        if !bytes.starts_with(MAGIC) {
            return Err(FormatError::BadMagic);
        }
        let mut reader = Reader {
            rest: &bytes[MAGIC.len()..],
            total: bytes.len(),
        };
        let version = reader.u32()?;
        if version > FORMAT_VERSION {
            return Err(FormatError::UnsupportedVersion {
                version,
                newest_known: FORMAT_VERSION,
            });
        }
        if version == 0 {
            return Err(FormatError::invalid("format version 0 never existed"));
        }
        let n_trees = reader.u32()?;
        let seed = reader.u64()?;
        let n_features = reader.u32()?;
        let sample_size = reader.u32()?;
        let n_nodes = reader.u64()?;

        let expected = payload_len(u64::from(n_trees), n_nodes);
        if expected != bytes.len() as u64 {
            return Err(FormatError::WrongLength {
                expected,
                actual: bytes.len() as u64,
            });
        }
        let (payload, checksum) = bytes.split_at(bytes.len() - CHECKSUM_LEN);
        let stored = Reader {
            rest: checksum,
            total: bytes.len(),
        }
        .u32()?;
        let actual = crc32(payload);
        if stored != actual {
            return Err(FormatError::ChecksumMismatch { stored, actual });
        }
        require_sizes(
            u64::from(n_features),
            u64::from(sample_size),
            u64::from(n_trees),
        )?;

        // From here on the length is known to be right: the sections are within the bytes unless
        // the trees' sizes contradict the header.
        let tree_lens = reader.u32s(n_trees as usize)?;
        let tags = reader.u32s(n_nodes as usize)?;
        let n_claimed: u64 = tree_lens.iter().map(|&len| u64::from(len)).sum();
        if n_claimed != n_nodes {
            let reason = format!("trees of {n_claimed} nodes in a file of {n_nodes}");
            return Err(FormatError::invalid(reason));
        }
        let mut specs = Vec::new();
        let mut trees = Vec::with_capacity(tree_lens.len());
        let mut rest = tags.as_slice();
        for len in tree_lens {
            let (tree_tags, later) = rest.split_at(len as usize);
            rest = later;
            specs.clear();
            for &tag in tree_tags {
                specs.push(if tag & LEAF_FLAG == 0 {
                    NodeSpec::Inner {
                        feature: tag,
                        threshold: reader.f64()?,
                    }
                } else {
                    NodeSpec::Leaf {
                        n_rows: tag & !LEAF_FLAG,
                    }
                });
            }
            trees.push(Tree::from_specs(
                &specs,
                n_features as usize,
                sample_size as usize,
            )?);
        }
        Ok(Self::from_trees(
            n_features as usize,
            sample_size as usize,
            seed,
            trees,
        ))
    }
}

/// Length of a whole file; saturates, as a hostile header may name any numbers.
fn payload_len(n_trees: u64, n_nodes: u64) -> u64 {
    let n_thresholds = n_nodes.saturating_sub(n_trees) / 2;
    (HEADER_LEN as u64)
        .saturating_add(n_trees.saturating_mul(4))
        .saturating_add(n_nodes.saturating_mul(4))
        .saturating_add(n_thresholds.saturating_mul(8))
        .saturating_add(CHECKSUM_LEN as u64)
}

/// Takes numbers off the front of bytes.
struct Reader<'a> {
    rest: &'a [u8],
    /// Length of the whole file, for the error.
    total: usize,
}

impl Reader<'_> {
    fn take<const N: usize>(&mut self) -> Result<[u8; N], FormatError> {
        match self.rest.split_first_chunk::<N>() {
            Some((&taken, rest)) => {
                self.rest = rest;
                Ok(taken)
            }
            None => Err(FormatError::WrongLength {
                expected: (self.total - self.rest.len() + N) as u64,
                actual: self.total as u64,
            }),
        }
    }

    fn u32(&mut self) -> Result<u32, FormatError> {
        self.take().map(u32::from_le_bytes)
    }

    fn u64(&mut self) -> Result<u64, FormatError> {
        self.take().map(u64::from_le_bytes)
    }

    fn f64(&mut self) -> Result<f64, FormatError> {
        self.take().map(f64::from_le_bytes)
    }

    fn u32s(&mut self, count: usize) -> Result<Vec<u32>, FormatError> {
        (0..count).map(|_| self.u32()).collect()
    }
}

/// CRC-32 as of IEEE 802.3 (reflected polynomial 0xEDB88320), as in zip and PNG files.
fn crc32(bytes: &[u8]) -> u32 {
    const TABLE: [u32; 256] = crc32_table();
    let crc = bytes.iter().fold(u32::MAX, |crc, &byte| {
        TABLE[((crc ^ u32::from(byte)) & 0xff) as usize] ^ (crc >> 8)
    });
    !crc
}

const fn crc32_table() -> [u32; 256] {
    let mut table = [0; 256];
    let mut i = 0;
    while i < 256 {
        let mut crc = i as u32;
        let mut bit = 0;
        while bit < 8 {
            crc = if crc & 1 == 1 {
                0xedb8_8320 ^ (crc >> 1)
            } else {
                crc >> 1
            };
            bit += 1;
        }
        table[i] = crc;
        i += 1;
    }
    table
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn checksum_matches_the_published_check_value() {
        assert_eq!(crc32(b"123456789"), 0xcbf4_3926);
        assert_eq!(crc32(b""), 0);
    }
}
