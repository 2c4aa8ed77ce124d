//! What can go wrong, one enum per family of operations.

use std::fmt;

/// Why a forest could not be fitted or a batch could not be scored.
#[derive(Debug)]
#[non_exhaustive]
pub enum Error {
    /// A hyperparameter lies outside its range.
    InvalidParameter {
        /// Name of the hyperparameter, as its setter is called.
        parameter: &'static str,
        /// The refused value.
        value: String,
        /// The values that are allowed.
        allowed: &'static str,
    },
    /// The training data has no rows or no columns.
    Empty {
        /// Number of rows.
        n_samples: usize,
        /// Number of columns.
        n_features: usize,
    },
    /// The training data has more rows or columns than a node can address.
    TooLarge {
        /// Number of rows.
        n_samples: usize,
        /// Number of columns.
        n_features: usize,
    },
    /// A value is NaN or infinite. Rows and columns count from 0.
    NonFinite {
        /// Row of the first such value in row-major order.
        row: usize,
        /// Column of that value.
        column: usize,
        /// The value itself.
        value: f64,
    },
    /// The scored table has not as many columns as the training table.
    WrongFeatureCount {
        /// Columns that the forest was fitted on.
        expected: usize,
        /// Columns of the table at hand.
        actual: usize,
    },
    /// The output buffer is not as long as the table has rows.
    WrongOutputLength {
        /// Rows of the table.
        expected: usize,
        /// Length of the output buffer.
        actual: usize,
    },
    /// There are more or fewer weights than rows.
    WrongWeightCount {
        /// Rows of the table.
        expected: usize,
        /// Number of weights.
        actual: usize,
    },
    /// A weight is negative or not finite. Rows count from 0.
    InvalidWeight {
        /// Row of the first such weight.
        row: usize,
        /// The weight itself.
        weight: f32,
    },
    /// No row has a positive weight.
    NoWeight,
    /// The trees together would have more rows than a forest can address.
    TooManyRowsInTrees {
        /// Number of trees.
        n_trees: usize,
        /// Rows per tree.
        sample_size: usize,
    },
    /// Instructions were asked for that this processor lacks.
    UnsupportedSimd {
        /// Name of the instructions.
        simd: &'static str,
    },
    /// A threshold was asked for without any scores.
    NoScores,
    /// Whoever looked on while the forest grew said to stop.
    Stopped,
    /// An error of linfa itself.
    Linfa(linfa::Error),
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::InvalidParameter {
                parameter,
                value,
                allowed,
            } => write!(f, "`{parameter}` is `{value}`, but must be {allowed}"),
            Self::Empty {
                n_samples,
                n_features,
            } => write!(
                f,
                "can't fit on an empty table of {n_samples} rows and {n_features} columns"
            ),
            Self::TooLarge {
                n_samples,
                n_features,
            } => write!(
                f,
                "a table of {n_samples} rows and {n_features} columns exceeds the limit of 2^31 - 1"
            ),
            Self::NonFinite { row, column, value } => write!(
                f,
                "value `{value}` at row {row}, column {column} is not finite"
            ),
            Self::WrongFeatureCount { expected, actual } => write!(
                f,
                "the table has {actual} columns, but the forest was fitted on {expected}"
            ),
            Self::WrongOutputLength { expected, actual } => write!(
                f,
                "the output holds {actual} values, but the table has {expected} rows"
            ),
            Self::WrongWeightCount { expected, actual } => {
                write!(f, "there are {actual} weights for {expected} rows")
            }
            Self::InvalidWeight { row, weight } => write!(
                f,
                "the weight `{weight}` of row {row} is negative or not finite"
            ),
            Self::NoWeight => f.write_str("no weight is positive"),
            Self::TooManyRowsInTrees {
                n_trees,
                sample_size,
            } => write!(
                f,
                "{n_trees} trees of {sample_size} rows exceed the limit of 2^31 - 1 rows in all"
            ),
            Self::UnsupportedSimd { simd } => write!(f, "this processor has no {simd}"),
            Self::NoScores => f.write_str("there are no scores to take a threshold from"),
            Self::Stopped => f.write_str("the fit was told to stop"),
            Self::Linfa(_) => f.write_str("linfa refused the dataset"),
        }
    }
}

impl std::error::Error for Error {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Linfa(error) => Some(error),
            _ => None,
        }
    }
}

impl From<linfa::Error> for Error {
    fn from(error: linfa::Error) -> Self {
        Self::Linfa(error)
    }
}

/// Shorthand for a result of this crate.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// Why bytes were not accepted as a stored forest.
#[derive(Debug)]
#[non_exhaustive]
pub enum FormatError {
    /// The bytes don't start as a stored forest does.
    BadMagic,
    /// The bytes were written by a newer version of this crate.
    UnsupportedVersion {
        /// Version that the bytes name.
        version: u32,
        /// The newest version that this crate reads.
        newest_known: u32,
    },
    /// The bytes end before, or go on after, what their header promises.
    WrongLength {
        /// Length that the header promises.
        expected: u64,
        /// Length at hand.
        actual: u64,
    },
    /// The checksum doesn't match: the bytes were damaged.
    ChecksumMismatch {
        /// Checksum stored at the end.
        stored: u32,
        /// Checksum of the bytes at hand.
        actual: u32,
    },
    /// The checksum matches, but the content is no valid forest.
    Invalid {
        /// What is wrong with which value.
        reason: String,
    },
}

impl fmt::Display for FormatError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::BadMagic => {
                f.write_str("not a stored isolation forest: the leading magic bytes are missing")
            }
            Self::UnsupportedVersion {
                version,
                newest_known,
            } => write!(
                f,
                "format version {version} is newer than the newest known version {newest_known}"
            ),
            Self::WrongLength { expected, actual } => {
                write!(f, "expected {expected} bytes, got {actual}")
            }
            Self::ChecksumMismatch { stored, actual } => write!(
                f,
                "checksum is {actual:#010x}, but the file says {stored:#010x}"
            ),
            Self::Invalid { reason } => write!(f, "invalid forest: {reason}"),
        }
    }
}

impl std::error::Error for FormatError {}

impl FormatError {
    pub(crate) fn invalid(reason: impl Into<String>) -> Self {
        Self::Invalid {
            reason: reason.into(),
        }
    }
}
