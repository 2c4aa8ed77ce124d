//! Exit codes, and the marker that tells which of them an error deserves.

use std::fmt;
use std::io;
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

impl std::error::Error for Environment {}

/// Whether the disk, not the work, is at fault.
pub fn is_out_of_space(error: &io::Error) -> bool {
    use io::ErrorKind::{FileTooLarge, QuotaExceeded, StorageFull};
    matches!(error.kind(), StorageFull | QuotaExceeded | FileTooLarge)
}
