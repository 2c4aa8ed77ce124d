//! What can go wrong, one enum per family of operations.

use thiserror::Error;

/// Why a forest could not be fitted or a batch could not be scored.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum Error {
    /// A hyperparameter lies outside its range.
    #[error("`{parameter}` is `{value}`, but must be {allowed}")]
    InvalidParameter {
        /// Name of the hyperparameter, as its setter is called.
        parameter: &'static str,
        /// The refused value.
        value: String,
        /// The values that are allowed.
        allowed: &'static str,
    },
    /// The training data has no rows or no columns.
    #[error("can't fit on an empty table of {n_samples} rows and {n_features} columns")]
    Empty {
        /// Number of rows.
        n_samples: usize,
        /// Number of columns.
        n_features: usize,
    },
    /// The training data has more rows or columns than a node can address.
    #[error("a table of {n_samples} rows and {n_features} columns exceeds the limit of 2^31 - 1")]
    TooLarge {
        /// Number of rows.
        n_samples: usize,
        /// Number of columns.
        n_features: usize,
    },
    /// A value is NaN or infinite. Rows and columns count from 0.
    #[error("value `{value}` at row {row}, column {column} is not finite")]
    NonFinite {
        /// Row of the first such value in row-major order.
        row: usize,
        /// Column of that value.
        column: usize,
        /// The value itself.
        value: f64,
    },
    /// The scored table has not as many columns as the training table.
    #[error("the table has {actual} columns, but the forest was fitted on {expected}")]
    WrongFeatureCount {
        /// Columns that the forest was fitted on.
        expected: usize,
        /// Columns of the table at hand.
        actual: usize,
    },
    /// The output buffer is not as long as the table has rows.
    #[error("the output holds {actual} values, but the table has {expected} rows")]
    WrongOutputLength {
        /// Rows of the table.
        expected: usize,
        /// Length of the output buffer.
        actual: usize,
    },
    /// There are more or fewer weights than rows.
    #[error("there are {actual} weights for {expected} rows")]
    WrongWeightCount {
        /// Rows of the table.
        expected: usize,
        /// Number of weights.
        actual: usize,
    },
    /// A weight is negative or not finite. Rows count from 0.
    #[error("the weight `{weight}` of row {row} is negative or not finite")]
    InvalidWeight {
        /// Row of the first such weight.
        row: usize,
        /// The weight itself.
        weight: f32,
    },
    /// No row has a positive weight, or the sum of the weights exceeds all numbers.
    #[error("the weights have no positive, finite sum")]
    NoWeight,
    /// The trees together would have more rows than a forest can address.
    #[error("{n_trees} trees of {sample_size} rows exceed the limit of 2^31 - 1 rows in all")]
    TooManyRowsInTrees {
        /// Number of trees.
        n_trees: usize,
        /// Rows per tree.
        sample_size: usize,
    },
    /// Instructions were asked for that this processor lacks.
    #[error("this processor has no {simd}")]
    UnsupportedSimd {
        /// Name of the instructions.
        simd: &'static str,
    },
    /// A threshold was asked for without any scores.
    #[error("there are no scores to take a threshold from")]
    NoScores,
    /// An error of linfa itself.
    #[error("linfa refused the dataset")]
    Linfa(#[from] linfa::Error),
}

/// Shorthand for a result of this crate.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// Why bytes were not accepted as a stored forest.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum FormatError {
    /// The bytes don't start as a stored forest does.
    #[error("not a stored isolation forest: the leading magic bytes are missing")]
    BadMagic,
    /// The bytes were written by a newer version of this crate.
    #[error("format version {version} is newer than the newest known version {newest_known}")]
    UnsupportedVersion {
        /// Version that the bytes name.
        version: u32,
        /// The newest version that this crate reads.
        newest_known: u32,
    },
    /// The bytes end before, or go on after, what their header promises.
    #[error("expected {expected} bytes, got {actual}")]
    WrongLength {
        /// Length that the header promises.
        expected: u64,
        /// Length at hand.
        actual: u64,
    },
    /// The checksum doesn't match: the bytes were damaged.
    #[error("checksum is {actual:#010x}, but the file says {stored:#010x}")]
    ChecksumMismatch {
        /// Checksum stored at the end.
        stored: u32,
        /// Checksum of the bytes at hand.
        actual: u32,
    },
    /// The checksum matches, but the content is no valid forest.
    #[error("invalid forest: {reason}")]
    Invalid {
        /// What is wrong with which value.
        reason: String,
    },
}

impl FormatError {
    pub(crate) fn invalid(reason: impl Into<String>) -> Self {
        Self::Invalid {
            reason: reason.into(),
        }
    }
}
