//! Exit codes, and the marker that tells which of them an error deserves.

use std::fmt;

use history::HistoryError;
pub use terminal::exit::{Environment, ExitStatus, is_out_of_space};

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
                || cause
                    .downcast_ref()
                    .is_some_and(HistoryError::is_environment)
        });
    if is_environment {
        ExitStatus::Environment
    } else {
        ExitStatus::Failed
    }
}

#[cfg(test)]
mod tests {
    use std::io;

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
