//! Experiment files: parsed, overridden by `--set`, checked, and refused with
//! every violation at once.

mod check;
mod experiment;
mod section;
mod space;
mod tree;

use std::fmt;
use std::path::{Path, PathBuf};

pub(crate) use check::did_you_mean;
pub use experiment::{
    Boundaries, Candidate, Data, DataKind, Drift, Evaluate, Experiment, Features, Inject, Purge,
    Register, Scope, Search, SearchMethod, Simulate, Split, SplitMethod, ThresholdRule,
};
pub use section::{Violation, parse_instant_us};
pub use space::{DetectorSpace, KeySpace};
pub use tree::Origin;

use section::Violations;

/// An experiment file with what the command line changed of it.
#[derive(Debug, Clone)]
pub struct ExperimentFile {
    /// Its path.
    pub path: PathBuf,
    /// Its text, as it stands.
    pub text: String,
    /// `--set` arguments, and `--data` as `data.source=…`.
    pub overrides: Vec<String>,
    /// What both say together.
    pub experiment: Experiment,
}

/// Why an experiment file was refused.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// It couldn't be read.
    #[error("can't read the experiment file `{path}`")]
    Read {
        /// Which file.
        path: PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// It was read, and refused.
    #[error("{0}")]
    Refused(Refusal),
}

/// All violations of one file.
#[derive(Debug)]
pub struct Refusal {
    /// Which file.
    pub path: PathBuf,
    /// What is wrong with it, in file order.
    pub violations: Vec<Violation>,
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let n_violations = self.violations.len();
        let plural = if n_violations == 1 { "" } else { "s" };
        write!(
            f,
            "`{}` has {n_violations} error{plural}:",
            self.path.display()
        )?;
        for Violation {
            origin,
            key,
            message,
        } in &self.violations
        {
            match origin {
                Some(Origin::Line(line)) => {
                    write!(f, "\n  {}:{line}: `{key}` {message}", self.path.display())?
                }
                Some(Origin::Argument(argument)) => write!(f, "\n  {argument}: `{key}` {message}")?,
                None => write!(f, "\n  {}: `{key}` {message}", self.path.display())?,
            }
        }
        Ok(())
    }
}

/// Reads and checks the file at `path`, changed by `overrides` (`key=value`).
///
/// # Errors
/// [`ConfigError::Read`] when it can't be read, [`ConfigError::Refused`] with
/// every violation of it.
pub fn load(path: &Path, overrides: &[String]) -> Result<ExperimentFile, ConfigError> {
    let text = std::fs::read_to_string(path).map_err(|source| ConfigError::Read {
        path: path.to_owned(),
        source,
    })?;
    parse(path, text, overrides)
}

/// Like [`load`], from text; `path` is named in messages and is what relative
/// sources are relative to.
///
/// # Errors
/// [`ConfigError::Refused`] with every violation.
pub fn parse(
    path: &Path,
    text: String,
    overrides: &[String],
) -> Result<ExperimentFile, ConfigError> {
    let refuse = |violations| {
        ConfigError::Refused(Refusal {
            path: path.to_owned(),
            violations,
        })
    };
    let mut root = tree::parse(&text).map_err(|error| {
        refuse(vec![Violation {
            origin: Some(Origin::Line(error.line)),
            key: "TOML".to_owned(),
            message: format!("can't be parsed: {}", error.message),
        }])
    })?;
    let mut violations = Violations::default();
    for argument in overrides {
        let shown = format!("--set {argument}");
        match argument.split_once('=') {
            Some((key, value)) => {
                if let Err(message) =
                    tree::set(&mut root, key.trim(), tree::parse_value(value), &shown)
                {
                    violations.push(Some(&Origin::Argument(shown.clone())), key, message);
                }
            }
            None => violations.push(
                Some(&Origin::Argument(shown.clone())),
                argument,
                "has no `=`; write --set key=value",
            ),
        }
    }
    let experiment = check::check(&root, &mut violations);
    match experiment {
        Some(experiment) if violations.is_empty() => Ok(ExperimentFile {
            path: path.to_owned(),
            text,
            overrides: overrides.to_vec(),
            experiment,
        }),
        _ => Err(refuse(violations.into_sorted())),
    }
}

#[cfg(test)]
mod tests;
