//! Why a graph is refused.

/// Shorthand for results of this crate.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// Why a signature or a graph was refused, or rows can't be scored.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The bytes are no ONNX model, or the text is no signature.
    #[error("the {what} can't be read: {reason}")]
    Unreadable {
        /// Which.
        what: &'static str,
        /// Why.
        reason: String,
    },
    /// Something is other than it must be.
    #[error("{what}: expected {expected}, found {found}")]
    Mismatch {
        /// Which part.
        what: String,
        /// What would have been accepted.
        expected: String,
        /// What is there.
        found: String,
    },
    /// The graph can't be run.
    #[error("the graph can't be run: {reason}")]
    Run {
        /// Why.
        reason: String,
    },
    /// A row's score is NaN or infinite.
    #[error("the score of row {row} is {value}; only finite numbers are scores")]
    NonFinite {
        /// The row, counted from 0.
        row: usize,
        /// Its score.
        value: f64,
    },
}

impl Error {
    pub(crate) fn unreadable(what: &'static str, reason: impl std::fmt::Display) -> Self {
        let reason = reason.to_string();
        Self::Unreadable { what, reason }
    }

    pub(crate) fn mismatch(
        what: impl Into<String>,
        expected: impl Into<String>,
        found: impl Into<String>,
    ) -> Self {
        Self::Mismatch {
            what: what.into(),
            expected: expected.into(),
            found: found.into(),
        }
    }

    /// With all causes: tract tells the reason in the last.
    pub(crate) fn run(error: &tract_onnx::prelude::TractError) -> Self {
        let reason = format!("{error:#}");
        Self::Run { reason }
    }
}
