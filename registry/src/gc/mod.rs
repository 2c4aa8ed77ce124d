//! Purging what was deleted, with its files: what `mlflow gc` does, safe beside a living server.

use serde::Serialize;

use crate::Registry;
use crate::artifacts::{ArtifactError, ArtifactPath};
use crate::store::{PurgeFilter, Purgeable, StoreError};

/// Why a purge stopped.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum GcError {
    /// The database failed or refused.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// Files can't be deleted. What they belonged to is purged; the next purge tries again.
    #[error("the files of `{uri}` can't be deleted")]
    Artifacts {
        /// Where they are.
        uri: String,
        /// The cause.
        source: ArtifactError,
    },
}

/// How a purge goes.
#[derive(Debug, Clone, Default)]
pub struct GcOptions {
    /// What is purged.
    pub filter: PurgeFilter,
    /// Whether runs and logged models go too whose files a registered version needs.
    pub including_registered: bool,
    /// Whether only what would be purged is found out.
    pub dry_run: bool,
}

/// Something that was purged, or would be.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Purged {
    /// `run`, `logged model`, `experiment` or `files`.
    pub kind: &'static str,
    /// Its id, or a URI.
    pub id: String,
    /// Its name, or why it was kept.
    pub note: String,
}

/// What a purge did, or would do.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct GcReport {
    /// Whether nothing was purged.
    pub dry_run: bool,
    /// What was purged.
    pub purged: Vec<Purged>,
    /// What was kept, and why.
    pub kept: Vec<Purged>,
}

/// Purges what a filter finds, `tell`ing of each thing as it is done.
///
/// # Errors
/// When something that is named is not deleted, or when the database or the artifact store fails;
/// what was purged until then is, and the next purge finishes what was begun.
pub async fn gc(
    registry: &Registry,
    options: &GcOptions,
    mut tell: impl FnMut(&Purged),
) -> Result<GcReport, GcError> {
    let store = registry.store();
    let keep = !options.including_registered;
    let mut report = GcReport {
        dry_run: options.dry_run,
        ..GcReport::default()
    };
    let found = store.purgeable(&options.filter).await?;
    // What an interrupted purge left.
    for uri in store.purged_artifacts().await? {
        let done = Purged {
            kind: "files",
            id: uri.clone(),
            note: "left by an interrupted purge".to_owned(),
        };
        if !options.dry_run {
            delete_files(registry, &uri).await?;
        }
        tell(&done);
        report.purged.push(done);
    }
    for thing in found {
        let (kind, id, note, uri) = describe(&thing);
        let mut entry = Purged { kind, id, note };
        let needed_by = match &uri {
            Some(uri) if keep => store.versions_below(uri).await?,
            _ => Vec::new(),
        };
        if !needed_by.is_empty() {
            entry.note = format!("its files are those of {}", needed_by.join(", "));
            report.kept.push(entry);
            continue;
        }
        if !options.dry_run {
            if !store.purge(&thing, keep).await? {
                entry.note = match thing {
                    Purgeable::Experiment { .. } => "it still holds something that was kept",
                    _ => "it was restored or purged meanwhile",
                }
                .to_owned();
                report.kept.push(entry);
                continue;
            }
            if let Some(uri) = &uri {
                delete_files(registry, uri).await?;
            }
        }
        tell(&entry);
        report.purged.push(entry);
    }
    Ok(report)
}

fn describe(thing: &Purgeable) -> (&'static str, String, String, Option<String>) {
    match thing {
        Purgeable::Run {
            run_id,
            artifact_uri,
        } => (
            "run",
            run_id.clone(),
            String::new(),
            Some(artifact_uri.clone()),
        ),
        Purgeable::LoggedModel {
            model_id,
            artifact_uri,
        } => (
            "logged model",
            model_id.clone(),
            String::new(),
            Some(artifact_uri.clone()),
        ),
        Purgeable::Experiment {
            experiment_id,
            name,
        } => ("experiment", experiment_id.to_string(), name.clone(), None),
    }
}

async fn delete_files(registry: &Registry, uri: &str) -> Result<(), GcError> {
    let failed = |source| GcError::Artifacts {
        uri: uri.to_owned(),
        source,
    };
    match uri.strip_prefix("mlflow-artifacts:") {
        Some(path) => {
            let path = ArtifactPath::parse(path.trim_start_matches('/')).map_err(failed)?;
            registry.artifacts().delete(&path).await.map_err(failed)?;
            // A run's folder holds nothing but its artifacts.
            if let Some((last, parent)) = path.names().split_last()
                && last == "artifacts"
                && parent.len() > 1
                && let Ok(parent) = ArtifactPath::parse(&parent.join("/"))
                && registry
                    .artifacts()
                    .list(&parent)
                    .await
                    .is_ok_and(|left| left.is_empty())
            {
                registry.artifacts().delete(&parent).await.map_err(failed)?;
            }
        }
        // Never written through this registry, so not its to delete.
        None => tracing::warn!(uri, "files outside of the artifact store are left alone"),
    }
    registry.store().artifacts_are_gone(uri).await?;
    Ok(())
}
