//! Exit codes, and the marker that tells which of them an error deserves.

use std::fmt;
use std::process::ExitCode;

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

/// The status that `error` deserves.
pub fn status_of(error: &anyhow::Error) -> ExitStatus {
    let out_of_space = error.chain().any(|cause| {
        cause.downcast_ref::<std::io::Error>().is_some_and(|error| {
            use std::io::ErrorKind::{FileTooLarge, QuotaExceeded, StorageFull};
            matches!(error.kind(), StorageFull | QuotaExceeded | FileTooLarge)
        })
    });
    if out_of_space || error.downcast_ref::<Environment>().is_some() {
        ExitStatus::Environment
    } else {
        ExitStatus::Failed
    }
}
