//! The native file: compact, versioned, checksummed; reading it is a copy and a check.
//!
//! All numbers are little-endian. Version 2, which is written:
//!
//! | bytes | content |
//! |---|---|
//! | 8 | magic `LINFAISO` |
//! | 4 | format version, 2 |
//! | 4 | number of trees, `t` |
//! | 8 | seed |
//! | 4 | number of columns, `d` |
//! | 4 | rows per tree |
//! | 8 | number of nodes of all trees, `n`; of these, `s` = (`n` - `t`) / 2 are splits |
//! | 4 | form: 0 classic, 1 extended, 2 SCiForest, 3 fair-cut |
//! | 4 | extension level, 0 for the other forms |
//! | 4 | scoring: 0 path length, 1 adjusted depth, 2 density |
//! | 4 | missing values: 0 refused, 1 go both ways |
//! | 4 | columns that a split sums up, `k`; 0 for exact splits along single columns |
//! | 4 | 1 if splits have limits, else 0 |
//! | 4 | columns that are split on, `u`; 0 if `k` > 0 |
//! | 4 | different thresholds, `c`; 0 if `k` > 0 |
//! | 4 `t` | nodes of each tree (always odd) |
//! | 4 `n` | per node, breadth first: 2^31 + the rows of a leaf, or the threshold's index (0 if `k` > 0) |
//! | 4 `u`, 4 (`u` + 1), 8 `c` | if `k` = 0: columns; first threshold of each and `c`; thresholds, ascending by column (`f64`) |
//! | 4 `s` `k`, 4 `s` `k`, 4 `s` | if `k` > 0: columns, weights (`f32`) and thresholds (`f32`) of the splits |
//! | 4 `s` | limits (`f32`), if there are any |
//! | 8 `d`, 8 `d` | if `k` > 0: centres and scales of the columns (`f64`) |
//! | 4 `s` | shares of the range left of each threshold (`f32`), unless the scoring is by path length |
//! | 4 | CRC-32 (IEEE 802.3) of everything before |
//!
//! Version 1, which is read: as above up to `n`, then `4 t` nodes of each tree, `4 n` per node the
//! column of a split or 2^31 + the rows of a leaf, `8 s` thresholds of the splits (`f64`), CRC-32.
//!
//! Links are not stored: the children of the k-th inner node of a tree are its nodes 2 k + 1 and
//! 2 k + 2. A file of the default 100 trees of 256 rows takes at most 409 kB.

use crate::error::FormatError;
use crate::forest::IsolationForest;
use crate::frame::Frame;
use crate::model::{AxisSplits, Model, ObliqueSplits, Splits, Tree, link_tree, require_sizes};
use crate::params::{Form, Missing, Scoring};

/// Version of the native file that this crate writes, and the newest that it reads.
pub const FORMAT_VERSION: u32 = 2;

const MAGIC: &[u8; 8] = b"LINFAISO";
const CHECKSUM_LEN: usize = 4;
/// Marks a leaf; the rest of the tag is its number of rows.
const LEAF_FLAG: u32 = 1 << 31;

impl IsolationForest {
    /// The forest as bytes of the native file. The same forest gives the same bytes everywhere.
    pub fn to_bytes(&self) -> Vec<u8> {
        let model = self.model();
        let n_nodes: usize = model.trees.iter().map(|tree| tree.nodes.len()).sum();
        let (form, extension_level) = match model.form {
            Form::Classic => (0, 0),
            Form::Extended { extension_level } => (1, extension_level as u32),
            Form::SciForest => (2, 0),
            Form::FairCut => (3, 0),
        };
        let (n_terms, limited, n_columns, n_cuts) = match &model.splits {
            Splits::Axis(axis) => (0, false, axis.columns.len(), axis.cuts.len()),
            Splits::Oblique(oblique) => (oblique.n_terms, !oblique.limits.is_empty(), 0, 0),
        };
        let mut out = Vec::with_capacity(512 + 16 * n_nodes);
        out.extend_from_slice(MAGIC);
        put(&mut out, [FORMAT_VERSION, model.trees.len() as u32]);
        out.extend_from_slice(&model.seed.to_le_bytes());
        put(
            &mut out,
            [model.n_features as u32, model.sample_size as u32],
        );
        out.extend_from_slice(&(n_nodes as u64).to_le_bytes());
        let scoring = match model.scoring {
            Scoring::PathLength => 0,
            Scoring::AdjustedDepth => 1,
            Scoring::Density => 2,
        };
        let missing = match model.missing {
            Missing::Refuse => 0,
            Missing::BothWays => 1,
        };
        put(&mut out, [form, extension_level, scoring, missing]);
        put(
            &mut out,
            [
                n_terms as u32,
                u32::from(limited),
                n_columns as u32,
                n_cuts as u32,
            ],
        );
        put(
            &mut out,
            model.trees.iter().map(|tree| tree.nodes.len() as u32),
        );
        put(
            &mut out,
            model
                .trees
                .iter()
                .flat_map(|tree| &tree.nodes)
                .map(|node| match &model.splits {
                    _ if node.is_leaf() => LEAF_FLAG | node.n_rows,
                    Splits::Axis(axis) => axis.cut_of_split[node.split as usize],
                    Splits::Oblique(_) => 0,
                }),
        );
        let bits_32 = |values: &[f32]| {
            values
                .iter()
                .map(|value| value.to_bits())
                .collect::<Vec<_>>()
        };
        match &model.splits {
            Splits::Axis(axis) => {
                put(&mut out, axis.columns.iter().copied());
                put(&mut out, axis.starts.iter().copied());
                out.extend(axis.cuts.iter().flat_map(|cut| cut.to_le_bytes()));
            }
            Splits::Oblique(oblique) => {
                put(&mut out, oblique.columns.iter().copied());
                for values in [&oblique.weights, &oblique.thresholds, &oblique.limits] {
                    put(&mut out, bits_32(values));
                }
                let frame = oblique.frame.centres.iter().chain(&oblique.frame.scales);
                out.extend(frame.flat_map(|value| value.to_le_bytes()));
            }
        }
        put(&mut out, bits_32(&model.left_shares));
        let checksum = crc32(&out);
        put(&mut out, [checksum]);
        out
    }

    /// Reads what [`to_bytes`](Self::to_bytes) wrote, in this or an older version of this crate; the
    /// forest scores bit for bit as the one that was written.
    ///
    /// # Errors
    ///
    /// Bytes that are foreign, cut off, damaged, of a newer version or inconsistent are refused;
    /// none make this panic or claim more memory than some fifty times their length (and some
    /// megabytes in any case).
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
        let header = Header::read(&mut reader, version)?;
        let expected = header.file_len(bytes.len() as u64 - reader.rest.len() as u64);
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
        header.read_model(reader).map(Self::new)
    }
}

/// What comes before the sections, and says how long they are.
struct Header {
    version: u32,
    n_trees: u32,
    seed: u64,
    n_features: u32,
    sample_size: u32,
    n_nodes: u64,
    form: Form,
    scoring: Scoring,
    missing: Missing,
    n_terms: u32,
    limited: bool,
    n_columns: u32,
    n_cuts: u32,
}

impl Header {
    fn read(reader: &mut Reader<'_>, version: u32) -> Result<Self, FormatError> {
        let mut header = Self {
            version,
            n_trees: reader.u32()?,
            seed: reader.u64()?,
            n_features: reader.u32()?,
            sample_size: reader.u32()?,
            n_nodes: reader.u64()?,
            form: Form::Classic,
            scoring: Scoring::PathLength,
            missing: Missing::Refuse,
            n_terms: 0,
            limited: false,
            n_columns: 0,
            n_cuts: 0,
        };
        if version == 1 {
            return Ok(header);
        }
        let unknown = |what: &str, code| FormatError::invalid(format!("{code} is no {what}"));
        header.form = match (reader.u32()?, reader.u32()?) {
            (0, 0) => Form::Classic,
            (1, extension_level) => Form::Extended {
                extension_level: extension_level as usize,
            },
            (2, 0) => Form::SciForest,
            (3, 0) => Form::FairCut,
            (code, level) => return Err(unknown("form and level", format!("{code}, {level}"))),
        };
        header.scoring = match reader.u32()? {
            0 => Scoring::PathLength,
            1 => Scoring::AdjustedDepth,
            2 => Scoring::Density,
            code => return Err(unknown("scoring", code.to_string())),
        };
        header.missing = match reader.u32()? {
            0 => Missing::Refuse,
            1 => Missing::BothWays,
            code => return Err(unknown("way with missing values", code.to_string())),
        };
        header.n_terms = reader.u32()?;
        header.limited = match reader.u32()? {
            0 => false,
            1 if header.n_terms > 0 => true,
            code => return Err(unknown("answer about limits", code.to_string())),
        };
        header.n_columns = reader.u32()?;
        header.n_cuts = reader.u32()?;
        if header.n_terms > 0 && (header.n_columns, header.n_cuts) != (0, 0) {
            return Err(FormatError::invalid(
                "exact thresholds beside sums of columns",
            ));
        }
        Ok(header)
    }

    fn n_splits(&self) -> u64 {
        self.n_nodes.saturating_sub(u64::from(self.n_trees)) / 2
    }

    /// Numbers of shares of the range.
    fn n_shares(&self) -> u64 {
        if self.scoring == Scoring::PathLength {
            0
        } else {
            self.n_splits()
        }
    }

    /// Length of the whole file; saturates, as a hostile header may name any numbers.
    fn file_len(&self, header_len: u64) -> u64 {
        let (splits, terms) = (self.n_splits(), u64::from(self.n_terms));
        let words = u64::from(self.n_trees).saturating_add(self.n_nodes);
        let rest = if self.version == 1 {
            splits.saturating_mul(2)
        } else if self.n_terms == 0 {
            let (columns, cuts) = (u64::from(self.n_columns), u64::from(self.n_cuts));
            (2 * columns + 1).saturating_add(2 * cuts)
        } else {
            splits
                .saturating_mul(terms)
                .saturating_mul(2)
                .saturating_add(splits.saturating_mul(1 + u64::from(self.limited)))
                .saturating_add(4 * u64::from(self.n_features))
        };
        words
            .saturating_add(rest)
            .saturating_add(self.n_shares())
            .saturating_mul(4)
            .saturating_add(header_len + CHECKSUM_LEN as u64)
    }

    /// Reads the sections. The length of the file is known to be right: they are within the bytes
    /// unless the trees' sizes contradict the header.
    fn read_model(&self, mut reader: Reader<'_>) -> Result<Model, FormatError> {
        require_sizes(
            u64::from(self.n_features),
            u64::from(self.sample_size),
            u64::from(self.n_trees),
        )?;
        let tree_lens = reader.u32s(u64::from(self.n_trees))?;
        let tags = reader.u32s(self.n_nodes)?;
        let n_claimed: u64 = tree_lens.iter().map(|&len| u64::from(len)).sum();
        if n_claimed != self.n_nodes {
            let reason = format!("trees of {n_claimed} nodes in a file of {}", self.n_nodes);
            return Err(FormatError::invalid(reason));
        }
        let mut trees: Vec<Tree> = Vec::with_capacity(tree_lens.len());
        let mut rest = tags.as_slice();
        let mut n_splits = 0;
        for len in tree_lens {
            let (of_tree, later) = rest.split_at(len as usize);
            rest = later;
            let leaf_rows = of_tree
                .iter()
                .map(|&tag| (tag & LEAF_FLAG != 0).then_some(tag & !LEAF_FLAG));
            trees.push(link_tree(leaf_rows, n_splits, self.sample_size as usize)?);
            n_splits += of_tree.len() / 2;
        }
        let split_tags = tags.iter().copied().filter(|tag| tag & LEAF_FLAG == 0);
        let splits = if self.version == 1 {
            let mut splits = Vec::with_capacity(n_splits);
            for column in split_tags {
                let threshold = reader.f64()?;
                if column >= self.n_features || !threshold.is_finite() {
                    let reason = format!("a split of column {column} at {threshold}");
                    return Err(FormatError::invalid(reason));
                }
                splits.push((column, threshold));
            }
            Splits::Axis(AxisSplits::new(&splits))
        } else if self.n_terms == 0 {
            Splits::Axis(AxisSplits {
                cut_of_split: split_tags.collect(),
                columns: reader.u32s(u64::from(self.n_columns))?,
                starts: reader.u32s(u64::from(self.n_columns) + 1)?,
                cuts: reader.f64s(u64::from(self.n_cuts))?,
            })
        } else {
            let n_terms = self.n_splits() * u64::from(self.n_terms);
            Splits::Oblique(ObliqueSplits {
                n_terms: self.n_terms as usize,
                columns: reader.u32s(n_terms)?,
                weights: reader.f32s(n_terms)?,
                thresholds: reader.f32s(self.n_splits())?,
                limits: reader.f32s(if self.limited { self.n_splits() } else { 0 })?,
                frame: Frame {
                    centres: reader.f64s(u64::from(self.n_features))?,
                    scales: reader.f64s(u64::from(self.n_features))?,
                },
            })
        };
        let model = Model {
            n_features: self.n_features as usize,
            sample_size: self.sample_size as usize,
            seed: self.seed,
            form: self.form,
            scoring: self.scoring,
            missing: self.missing,
            trees,
            splits,
            left_shares: reader.f32s(self.n_shares())?,
        };
        model.check()?;
        Ok(model)
    }
}

fn put(out: &mut Vec<u8>, words: impl IntoIterator<Item = u32>) {
    out.extend(words.into_iter().flat_map(u32::to_le_bytes));
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

    /// `count` numbers of `N` bytes each.
    fn numbers<T, const N: usize>(
        &mut self,
        count: u64,
        number: impl Fn([u8; N]) -> T,
    ) -> Result<Vec<T>, FormatError> {
        let len = usize::try_from(count)
            .ok()
            .and_then(|count| count.checked_mul(N));
        let (taken, rest) = len
            .and_then(|len| self.rest.split_at_checked(len))
            .ok_or_else(|| FormatError::invalid("a section goes beyond the file"))?;
        self.rest = rest;
        Ok(taken
            .as_chunks()
            .0
            .iter()
            .map(|&bytes| number(bytes))
            .collect())
    }

    fn u32s(&mut self, count: u64) -> Result<Vec<u32>, FormatError> {
        self.numbers(count, u32::from_le_bytes)
    }

    fn f32s(&mut self, count: u64) -> Result<Vec<f32>, FormatError> {
        self.numbers(count, f32::from_le_bytes)
    }

    fn f64s(&mut self, count: u64) -> Result<Vec<f64>, FormatError> {
        self.numbers(count, f64::from_le_bytes)
    }
}

/// CRC-32 as of IEEE 802.3 (reflected polynomial 0xEDB88320), as in zip and PNG files: eight bytes at a
/// time by eight tables.
fn crc32(bytes: &[u8]) -> u32 {
    static TABLES: [[u32; 256]; 8] = crc32_tables();
    let (words, rest) = bytes.as_chunks::<8>();
    let mut crc = u32::MAX;
    for word in words {
        let word = u64::from_le_bytes(*word) ^ u64::from(crc);
        crc = (0..8).fold(0, |crc, i| {
            crc ^ TABLES[7 - i][(word >> (8 * i)) as usize & 0xff]
        });
    }
    for &byte in rest {
        crc = TABLES[0][((crc ^ u32::from(byte)) & 0xff) as usize] ^ (crc >> 8);
    }
    !crc
}

/// Table `k` moves a byte on by `k` further bytes.
const fn crc32_tables() -> [[u32; 256]; 8] {
    let mut tables = [[0; 256]; 8];
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
        tables[0][i] = crc;
        i += 1;
    }
    let mut k = 1;
    while k < 8 {
        let mut i = 0;
        while i < 256 {
            let crc = tables[k - 1][i];
            tables[k][i] = tables[0][(crc & 0xff) as usize] ^ (crc >> 8);
            i += 1;
        }
        k += 1;
    }
    tables
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn checksum_matches_the_published_check_value() {
        assert_eq!(crc32(b"123456789"), 0xcbf4_3926);
        assert_eq!(crc32(b""), 0);
        assert_eq!(
            crc32(b"The quick brown fox jumps over the lazy dog"),
            0x414f_a339
        );
    }
}
