//! Which exit code an error deserves.

use history::HistoryError;
pub use terminal::exit::{CommandResult, Environment, ExitStatus, Note};

/// The status that `error` deserves.
pub fn status_of(error: &anyhow::Error) -> ExitStatus {
    ExitStatus::of(error, |cause| {
        cause
            .downcast_ref()
            .is_some_and(HistoryError::is_environment)
    })
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
            let wrapped = error.context("while at it").context(Note("n".to_owned()));
            assert_eq!(status_of(&wrapped), expected, "{wrapped:#}");
        }
    }
}
