//! Exit codes, and the marker that tells which of them an error deserves.

use std::fmt;
use std::io;
use std::process::ExitCode;

use history::HistoryError;

/// How a command ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ExitStatus {
    /// 0: done.
    Done,
    /// 1: the input was refused, or the work failed.
    Failed,
    /// 2: the command line or the environment is wrong (no registry, no credentials, no disk space).
    Environment,
}

impl From<ExitStatus> for ExitCode {
    fn from(status: ExitStatus) -> Self {
        Self::from(match status {
            ExitStatus::Done => 0,
            ExitStatus::Failed => 1,
            ExitStatus::Environment => 2,
        })
    }
}

/// Context that marks an error as the environment's: `error.context(Environment("…"))`.
#[derive(Debug, Clone)]
pub struct Environment(pub String);

impl fmt::Display for Environment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for Environment {}

/// Context that says what became of the run and how to go on; it is shown after the error itself.
#[derive(Debug, Clone)]
pub struct RunNote(pub String);

impl fmt::Display for RunNote {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for RunNote {}

/// The status that `error` deserves.
pub fn status_of(error: &anyhow::Error) -> ExitStatus {
    let is_environment = error.downcast_ref::<Environment>().is_some()
        || error.chain().any(|cause| {
            cause.downcast_ref().is_some_and(is_out_of_space)
                || cause.downcast_ref().is_some_and(is_store_at_fault)
        });
    if is_environment {
        ExitStatus::Environment
    } else {
        ExitStatus::Failed
    }
}

fn is_out_of_space(error: &io::Error) -> bool {
    use io::ErrorKind::{FileTooLarge, QuotaExceeded, StorageFull};
    matches!(error.kind(), StorageFull | QuotaExceeded | FileTooLarge)
}

/// Whether the place of the data is at fault (no credentials, no answer, not writable), as
/// opposed to the data.
fn is_store_at_fault(error: &HistoryError) -> bool {
    match error {
        HistoryError::NoCredentials { .. }
        | HistoryError::AccessDenied { .. }
        | HistoryError::Store { .. } => true,
        HistoryError::Io { action, source, .. } => {
            matches!(*action, "create" | "write") || is_out_of_space(source)
        }
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_environment_is_told_from_the_input_through_any_context() {
        let uri = || "s3://b/k".to_owned();
        let denied = HistoryError::AccessDenied { uri: uri() };
        let missing = HistoryError::NotFound {
            uri: uri(),
            hint: String::new(),
        };
        let full = || io::Error::from(io::ErrorKind::StorageFull);
        for (error, expected) in [
            (denied.into(), ExitStatus::Environment),
            (missing.into(), ExitStatus::Failed),
            (full().into(), ExitStatus::Environment),
            (
                anyhow::anyhow!("x").context(Environment("y".to_owned())),
                ExitStatus::Environment,
            ),
            (anyhow::anyhow!("x"), ExitStatus::Failed),
        ] {
            let error: anyhow::Error = error;
            assert_eq!(status_of(&error), expected, "{error:#}");
            let wrapped = error
                .context("while at it")
                .context(RunNote("n".to_owned()));
            assert_eq!(status_of(&wrapped), expected, "{wrapped:#}");
        }
    }
}
