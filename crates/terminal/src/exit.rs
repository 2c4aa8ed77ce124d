//! How a program ends: exit codes, and errors as people and programs read them.

use std::error::Error;
use std::fmt;
use std::io::{self, Write};
use std::process::ExitCode;

use crate::output::Output;

/// What `--help` says about exit codes.
pub const EXIT_CODES: &str = "Exit codes: 0 done; 1 the input was refused or the work failed; 2 the command line or the environment is wrong; 130 stopped at once by a second Ctrl-C.";

/// What a command returns: how it ended, if it wasn't an error.
pub type CommandResult = anyhow::Result<ExitStatus>;

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

impl ExitStatus {
    /// The status that an error deserves: [`Environment`] and full disks are the environment's, and so is what
    /// `is_environment` says of a cause.
    pub fn of(
        error: &anyhow::Error,
        is_environment: impl Fn(&(dyn Error + 'static)) -> bool,
    ) -> Self {
        let is_environment = |cause: &(dyn Error + 'static)| {
            cause.is::<Environment>()
                || cause.downcast_ref().is_some_and(is_out_of_space)
                || is_environment(cause)
        };
        // Context is found by its type at the outside only.
        if error.downcast_ref::<Environment>().is_some() || error.chain().any(is_environment) {
            Self::Environment
        } else {
            Self::Failed
        }
    }
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

/// Context that says what became of the work and how to go on; it is shown after the error itself.
#[derive(Debug, Clone)]
pub struct Note(pub String);

impl fmt::Display for Note {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl Error for Note {}

/// Ends a program: an error is told on stderr and, where a document is expected, on stdout. `status_of` says what it
/// deserves.
pub fn conclude(
    result: CommandResult,
    output: Output,
    status_of: impl FnOnce(&anyhow::Error) -> ExitStatus,
) -> ExitCode {
    match result {
        Ok(status) => status.into(),
        Err(error) => {
            // Nothing is left to do for somebody who closed stderr or stdout.
            drop(report(
                &error,
                output,
                &mut io::stderr().lock(),
                &mut io::stdout(),
            ));
            status_of(&error).into()
        }
    }
}

fn report(
    error: &anyhow::Error,
    output: Output,
    people: &mut impl Write,
    programs: &mut impl Write,
) -> io::Result<()> {
    let note = error.downcast_ref::<Note>();
    let chain: Vec<String> = error
        .chain()
        .skip(usize::from(note.is_some()))
        .map(ToString::to_string)
        .collect();
    let told = (|| {
        writeln!(people, "error: {}", chain[0])?;
        for cause in &chain[1..] {
            writeln!(people, "  because: {cause}")?;
        }
        match note {
            Some(note) => writeln!(people, "{note}"),
            None => Ok(()),
        }
    })();
    if output == Output::Json {
        let document = serde_json::json!({ "error": chain.join(": ") });
        writeln!(programs, "{document:#}")?;
    }
    told
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_is_told_with_its_causes_and_what_became_of_the_work() {
        let error = anyhow::anyhow!("the cause").context("the error");
        let error = error.context(Note("go on with --resume".to_owned()));
        let (mut people, mut programs) = (Vec::new(), Vec::new());
        report(&error, Output::Json, &mut people, &mut programs).unwrap();
        let text = String::from_utf8(people).unwrap();
        assert_eq!(
            text,
            "error: the error\n  because: the cause\ngo on with --resume\n"
        );
        let document: serde_json::Value = serde_json::from_slice(&programs).unwrap();
        assert_eq!(document["error"], "the error: the cause");
        programs.clear();
        report(&error, Output::Table, &mut Vec::new(), &mut programs).unwrap();
        assert!(programs.is_empty());
    }

    #[test]
    fn the_environment_is_told_through_any_context() {
        let of = |error: &anyhow::Error| ExitStatus::of(error, |cause| cause.is::<fmt::Error>());
        let full = io::Error::from(io::ErrorKind::StorageFull);
        let missing = io::Error::from(io::ErrorKind::NotFound);
        let marked = anyhow::anyhow!("x").context(Environment("y".to_owned()));
        for (error, expected) in [
            (full.into(), ExitStatus::Environment),
            (missing.into(), ExitStatus::Failed),
            (marked, ExitStatus::Environment),
            (
                anyhow::Error::new(Environment("z".to_owned())),
                ExitStatus::Environment,
            ),
            (fmt::Error.into(), ExitStatus::Environment),
            (anyhow::anyhow!("x"), ExitStatus::Failed),
        ] {
            assert_eq!(of(&error), expected, "{error:#}");
            let wrapped = error.context("while at it").context(Note("n".to_owned()));
            assert_eq!(of(&wrapped), expected, "{wrapped:#}");
        }
    }
}
