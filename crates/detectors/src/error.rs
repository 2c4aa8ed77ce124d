//! What can go wrong, as types: every message names the thing and the value.

use std::fmt;

/// Shorthand for results of this crate.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// Why a detector, a calibrator, a threshold, a model or an evaluation was refused.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// One or more parameters are out of range; all of them are listed.
    #[error(transparent)]
    Params(#[from] ParamsError),
    /// There was nothing to work on.
    #[error("`{what}` is empty; at least one row is needed")]
    Empty {
        /// What was empty.
        what: &'static str,
    },
    /// A value was NaN or infinite.
    #[error(
        "`{what}` holds `{value}` at row {row}, column {column}; only finite numbers are accepted"
    )]
    NonFinite {
        /// Which input it was.
        what: &'static str,
        /// Row, counted from 0.
        row: usize,
        /// Column, counted from 0.
        column: usize,
        /// The value found.
        value: f64,
    },
    /// Two inputs that must agree in size do not.
    #[error("`{what}` has {found} entries, expected {expected}")]
    Shape {
        /// Which input it was.
        what: &'static str,
        /// The size that was needed.
        expected: usize,
        /// The size that was found.
        found: usize,
    },
    /// A value is outside its meaning.
    #[error("`{what}` is `{value}`: {expected}")]
    Invalid {
        /// Which value it was.
        what: &'static str,
        /// The value, as text.
        value: String,
        /// What would have been accepted.
        expected: &'static str,
    },
    /// A model with one detector per symbol was asked about a symbol it has never seen.
    #[error("the model has no detector for symbol `{symbol}` and no fallback")]
    UnknownSymbol {
        /// The symbol asked for.
        symbol: String,
    },
    /// Raw scores come from a file beside the model.
    #[error("a file beside the model gives its raw scores, which this crate does not run")]
    External,
    /// The isolation forest refused its input.
    #[error("isolation forest: {0}")]
    Forest(String),
    /// A detector can make nothing of the training rows with these parameters.
    #[error("`{detector}` can't be fitted: {reason}")]
    Fit {
        /// Which detector, as its `detector` tag is written.
        detector: &'static str,
        /// Why, and what would help.
        reason: String,
    },
    /// A model or a part of it has no ONNX form.
    #[error("{what} can't be written as ONNX: {reason}")]
    NotExportable {
        /// Which part.
        what: String,
        /// Why, and what would help.
        reason: String,
    },
    /// Whoever looked on ended the fit.
    #[error("the fit was stopped before its end")]
    Stopped,
    /// The bytes of a model or calibrator cannot be read.
    #[error(transparent)]
    Format(#[from] FormatError),
}

impl Error {
    pub(crate) fn fit(detector: &'static str, reason: impl fmt::Display) -> Self {
        Self::Fit {
            detector,
            reason: reason.to_string(),
        }
    }

    pub(crate) fn invalid(
        what: &'static str,
        value: impl fmt::Display,
        expected: &'static str,
    ) -> Self {
        Self::Invalid {
            what,
            value: value.to_string(),
            expected,
        }
    }
}

/// All violations found in one set of parameters.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ParamsError {
    /// The detector whose parameters were checked, as its `detector` tag is written.
    pub detector: &'static str,
    /// One sentence per violation, naming the key and the value.
    pub violations: Vec<String>,
}

impl fmt::Display for ParamsError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "`{}` has {} invalid parameter(s): {}",
            self.detector,
            self.violations.len(),
            self.violations.join("; ")
        )
    }
}

impl std::error::Error for ParamsError {}

/// Why bytes were refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum FormatError {
    /// The first bytes are not those of this format.
    #[error("not a {format} file: the first bytes are not `{expected}`")]
    Magic {
        /// Which format was expected.
        format: &'static str,
        /// Its first bytes, as text.
        expected: &'static str,
    },
    /// Written by a version this program does not know.
    #[error(
        "{format} version `{found}` is not supported; this program reads version `{supported}`"
    )]
    Version {
        /// Which format.
        format: &'static str,
        /// The version found.
        found: u32,
        /// The version this program reads.
        supported: u32,
    },
    /// The checksum does not match: the bytes were damaged or cut.
    #[error(
        "the checksum of the {format} file does not match its content: it is damaged or cut short"
    )]
    Checksum {
        /// Which format.
        format: &'static str,
    },
    /// The bytes end before the value does.
    #[error("`{what}` ends too early: {needed} bytes needed, {left} left")]
    Truncated {
        /// What was being read.
        what: &'static str,
        /// Bytes needed.
        needed: u64,
        /// Bytes left.
        left: u64,
    },
    /// The bytes hold something that no writer of this version produces.
    #[error("`{what}` is not valid: {reason}")]
    Content {
        /// What was being read.
        what: &'static str,
        /// What is wrong with it.
        reason: String,
    },
}

impl FormatError {
    pub(crate) fn content(what: &'static str, reason: impl fmt::Display) -> Self {
        Self::Content {
            what,
            reason: reason.to_string(),
        }
    }
}
