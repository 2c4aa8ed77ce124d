//! Bringing everything that a source has.
//!
//! Of a run or a logged model its row comes first, as begun; then points and files; then the ledger
//! says that it is complete. A registered model comes in one transaction, after the files of its
//! versions. Whatever is interrupted is done again from its beginning, which changes nothing that
//! arrived before.

mod files;
mod models;
mod runs;

use mlflow_api::types::Experiment;

use super::{Report, Result, Selection, Source, TransferError, fingerprint};
use crate::Registry;
use crate::store::{Kind, Known, Origin, StoreError};

/// How an import goes.
#[derive(Debug, Clone, Default)]
pub struct ImportOptions {
    /// What is copied.
    pub selection: Selection,
    /// Put before the names of experiments and registered models.
    pub rename_prefix: String,
    /// Whether only what would be copied is found out.
    pub dry_run: bool,
}

/// Copies what a source has into this registry.
///
/// May be stopped at any point; the same call goes on, and changes nothing where all is there. What
/// concerns one thing only (a file that is missing in the source, a name that is taken) is in the
/// report, and the rest is copied.
///
/// # Errors
/// When the source can't be reached, or this registry's database or disk fails.
pub async fn import(
    registry: &Registry,
    source: &Source,
    options: &ImportOptions,
) -> Result<Report> {
    let import = Import {
        registry,
        source,
        options,
    };
    let mut report = Report {
        dry_run: options.dry_run,
        ..Report::default()
    };
    let places = import.experiments(&mut report).await?;
    import.models(&places, &mut report).await?;
    Ok(report)
}

/// Where an imported experiment's artifacts were, and are.
struct Place {
    from: String,
    to: String,
    /// Of which experiment, there.
    experiment: String,
}

struct Import<'a> {
    registry: &'a Registry,
    source: &'a Source,
    options: &'a ImportOptions,
}

/// Whether an error is about one thing, so that the others may be copied.
fn is_local(error: &TransferError) -> bool {
    match error {
        TransferError::Remote(error) => !error.is_unreachable(),
        TransferError::Store(error) => !matches!(error, StoreError::Database(_)),
        TransferError::Artifact(error) => !matches!(
            error,
            crate::artifacts::ArtifactError::Full(_) | crate::artifacts::ArtifactError::Io(_)
        ),
        TransferError::NotThere(_) => true,
        TransferError::File { .. } | TransferError::Folder(_) => false,
    }
}

/// Puts what concerns `what` alone into the report.
fn note(report: &mut Report, what: &str, result: Result<Report>) -> Result<()> {
    match result {
        Ok(part) => report.add(part),
        Err(TransferError::Store(StoreError::Exists(message))) => {
            report.conflicts.push(format!("{what}: {message}"));
        }
        Err(error) if is_local(&error) => {
            report.failures.push(format!("{what}: {}", chain(&error)));
        }
        Err(error) => return Err(error),
    }
    Ok(())
}

fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut next = error.source();
    while let Some(cause) = next {
        text.push_str(": ");
        text.push_str(&cause.to_string());
        next = cause.source();
    }
    text
}

impl Import<'_> {
    fn origin<'s>(&'s self, kind: Kind, id: &'s str) -> Origin<'s> {
        Origin {
            source: self.source.id(),
            kind,
            id,
        }
    }

    fn renamed(&self, name: &str) -> String {
        format!("{}{name}", self.options.rename_prefix)
    }

    async fn experiments(&self, report: &mut Report) -> Result<Vec<Place>> {
        let selection = &self.options.selection;
        let mut places = Vec::new();
        let mut missing = selection.experiments.clone();
        let mut token = None;
        loop {
            let part = self.source.experiments(token.as_deref()).await?;
            for experiment in part.items {
                let (id, name) = (&experiment.experiment_id, &experiment.name);
                if !selection.has_experiment(id, name) {
                    continue;
                }
                missing.retain(|wanted| wanted != id && wanted != name);
                let what = format!("experiment `{name}`");
                let result = self.experiment(&experiment, &mut places).await;
                note(report, &what, result)?;
            }
            token = part.next;
            if token.is_none() {
                break;
            }
        }
        match missing.first() {
            Some(name) => Err(TransferError::NotThere(format!("experiment `{name}`"))),
            None => Ok(places),
        }
    }

    async fn experiment(&self, experiment: &Experiment, places: &mut Vec<Place>) -> Result<Report> {
        let id = &experiment.experiment_id;
        let name = self.renamed(&experiment.name);
        let origin = self.origin(Kind::Experiment, id);
        let print = fingerprint(&(experiment, &name));
        let store = self.registry.store();
        let mut report = Report::default();
        let known = store.import_known(origin, &name).await?;
        let same = matches!(&known, Known::Complete { fingerprint, .. } if *fingerprint == print);
        if known == Known::Taken {
            return Err(StoreError::Exists(format!(
                "the name `{name}` is taken by an experiment that did not come from there; \
                 --rename-prefix gives it another"
            ))
            .into());
        }
        let (number, location) = match (&known, self.options.dry_run) {
            (Known::Complete { local_id, .. }, _) if same => {
                let here = store.get_experiment(local_id).await?;
                (
                    local_id.parse().unwrap_or_default(),
                    here.artifact_location.unwrap_or_default(),
                )
            }
            (_, true) => (-1, String::new()),
            _ => {
                store
                    .import_experiment(self.source.id(), experiment, &name)
                    .await?
            }
        };
        if same {
            report.unchanged += 1;
        } else {
            report.experiments += 1;
        }
        places.push(Place {
            from: experiment.artifact_location.clone().unwrap_or_default(),
            to: location.clone(),
            experiment: id.clone(),
        });
        tracing::info!("experiment `{name}`");
        let here = (number, location.as_str());
        let runs = self.runs(id, here, &mut report).await?;
        self.logged_models(id, here, &mut report).await?;
        if self.options.dry_run {
            return Ok(report);
        }
        let stored = store.count_runs(number).await?;
        let failed = report.failures.len() + report.conflicts.len();
        if failed == 0 && stored < runs {
            report.failures.push(format!(
                "experiment `{name}`: {runs} runs in the source, {stored} here"
            ));
        }
        if !same && report.is_complete() {
            store.import_complete(origin, &print).await?;
        }
        Ok(report)
    }
}

/// What of a URI is below another.
pub(super) fn place_below<'u>(uri: &'u str, root: &str) -> Option<&'u str> {
    let rest = uri.strip_prefix(root.trim_end_matches('/'))?;
    rest.strip_prefix('/').filter(|rest| !rest.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_below_is_below() {
        let root = "mlflow-artifacts:/1";
        assert_eq!(place_below("mlflow-artifacts:/1/r/a", root), Some("r/a"));
        assert_eq!(
            place_below("mlflow-artifacts:/1/r/a", "mlflow-artifacts:/1/"),
            Some("r/a")
        );
        assert_eq!(place_below("mlflow-artifacts:/12/r", root), None);
        assert_eq!(place_below("mlflow-artifacts:/1", root), None);
    }
}
