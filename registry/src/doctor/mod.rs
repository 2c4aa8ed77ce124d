//! Looking a registry over: is what it says about itself true, and is there room to go on?

mod disk;

use std::path::{Path, PathBuf};

use serde::Serialize;

use crate::artifacts::{ArtifactPath, ArtifactStore};
use crate::store::{Store, StoreError};

/// How many of many things are named.
const NAMED: usize = 5;
/// A clock that is this far behind what is stored is wrong, ms.
const CLOCK: i64 = 5 * 60 * 1000;

/// How bad something is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Level {
    /// As it should be.
    Ok,
    /// Was wrong, and is not any more.
    Fixed,
    /// Worth a look.
    Warning,
    /// Wrong.
    Problem,
}

/// What a check found.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// What was checked.
    pub check: &'static str,
    /// How bad it is.
    pub level: Level,
    /// What was found, and what to do.
    pub detail: String,
}

/// What is looked over.
#[derive(Debug, Clone)]
pub struct Patient<'a> {
    /// Its database.
    pub store: &'a Store,
    /// The file of the database, where it is one.
    pub database: Option<PathBuf>,
    /// Its artifacts.
    pub artifacts: &'a ArtifactStore,
    /// Their folder, where it is one.
    pub folder: Option<PathBuf>,
    /// Whether to put right what can be.
    pub fix: bool,
}

/// Makes all checks.
///
/// # Errors
/// When the database fails so that a check can't be made.
pub async fn look_over(patient: &Patient<'_>) -> Result<Vec<Finding>, StoreError> {
    let mut findings = Vec::new();
    findings.push(counters(patient).await?);
    findings.push(latest_metrics(patient).await?);
    findings.push(many(
        "aliases",
        Level::Problem,
        patient.store.dangling_aliases().await?,
        "name no version: set or delete them",
    ));
    artifacts(patient, &mut findings).await?;
    findings.push(many(
        "imports",
        Level::Warning,
        patient
            .store
            .unfinished_imports()
            .await?
            .into_iter()
            .map(|(source, count)| format!("{source} ({count} things)"))
            .collect(),
        "were not finished: the same `registry import` goes on",
    ));
    findings.push(clock(patient.store.newest_time().await?, now()));
    let database = patient.database.clone();
    let folder = patient.folder.clone();
    let fix = patient.fix;
    let of_disk = tokio::task::spawn_blocking(move || {
        disk::look_over(database.as_deref(), folder.as_deref(), fix)
    })
    .await;
    match of_disk {
        Ok(of_disk) => findings.extend(of_disk),
        Err(error) => findings.push(Finding {
            check: "disk",
            level: Level::Problem,
            detail: format!("the check failed: {error}"),
        }),
    }
    Ok(findings)
}

/// One finding about many things.
fn many(check: &'static str, level: Level, things: Vec<String>, what: &str) -> Finding {
    if things.is_empty() {
        return Finding {
            check,
            level: Level::Ok,
            detail: String::new(),
        };
    }
    let more = things.len().saturating_sub(NAMED);
    let mut detail = things
        .iter()
        .take(NAMED)
        .cloned()
        .collect::<Vec<_>>()
        .join(", ");
    if more > 0 {
        detail.push_str(&format!(" and {more} more"));
    }
    detail.push(' ');
    detail.push_str(what);
    Finding {
        check,
        level,
        detail,
    }
}

async fn counters(patient: &Patient<'_>) -> Result<Finding, StoreError> {
    let wrong = patient.store.wrong_counters().await?;
    let fix = patient.fix && !wrong.is_empty();
    if fix {
        patient.store.fix_counters().await?;
    }
    Ok(many(
        "counters",
        if fix { Level::Fixed } else { Level::Problem },
        wrong
            .into_iter()
            .map(|(name, least)| format!("{name} (should be {least})"))
            .collect(),
        "would give a number twice; --fix puts them right",
    ))
}

async fn latest_metrics(patient: &Patient<'_>) -> Result<Finding, StoreError> {
    let wrong = patient.store.wrong_latest_metrics().await?;
    let fix = patient.fix && !wrong.is_empty();
    if fix {
        patient.store.fix_latest_metrics(&wrong).await?;
    }
    Ok(many(
        "latest metrics",
        if fix { Level::Fixed } else { Level::Problem },
        wrong
            .into_iter()
            .map(|(run, key)| format!("`{key}` of run {run}"))
            .collect(),
        "do not show the latest point of their history; --fix takes it from there",
    ))
}

async fn artifacts(patient: &Patient<'_>, findings: &mut Vec<Finding>) -> Result<(), StoreError> {
    let mut roots: Vec<String> = Vec::new();
    let mut missing = Vec::new();
    let mut unreadable = Vec::new();
    for reference in patient.store.artifact_references().await? {
        let Some(path) = reference.uri.strip_prefix("mlflow-artifacts:") else {
            continue;
        };
        let Ok(path) = ArtifactPath::parse(path.trim_start_matches('/')) else {
            missing.push(format!("{} (at no valid place)", reference.what));
            continue;
        };
        if reference.needed {
            match patient.artifacts.list(&path).await {
                Ok(entries) if entries.is_empty() => missing.push(reference.what),
                Ok(_) => {}
                Err(error) => unreadable.push(format!("{}: {error}", reference.what)),
            }
        }
        roots.push(path.to_string());
    }
    for uri in patient.store.purged_artifacts().await? {
        roots.push(
            uri.trim_start_matches("mlflow-artifacts:")
                .trim_start_matches('/')
                .to_owned(),
        );
    }
    findings.push(many(
        "files of models",
        Level::Problem,
        missing,
        "have no files: they can't be loaded",
    ));
    findings.push(many(
        "artifact store",
        Level::Problem,
        unreadable,
        "can't be read",
    ));
    roots.sort_unstable();
    let orphans = orphans(patient.artifacts, &roots).await;
    findings.push(match orphans {
        Ok(orphans) => many(
            "orphaned files",
            Level::Warning,
            orphans,
            "belong to no run, logged model or version",
        ),
        Err(error) => Finding {
            check: "orphaned files",
            level: Level::Problem,
            detail: format!("the artifact store can't be listed: {error}"),
        },
    });
    findings.push(many(
        "purged files",
        Level::Warning,
        patient.store.purged_artifacts().await?,
        "are left by an interrupted purge: `registry gc` deletes them",
    ));
    Ok(())
}

/// The highest places that are neither above, at nor below a known one. `roots` is sorted.
async fn orphans(
    store: &ArtifactStore,
    roots: &[String],
) -> Result<Vec<String>, crate::artifacts::ArtifactError> {
    let mut found = Vec::new();
    let mut folders = vec![ArtifactPath::root()];
    while let Some(folder) = folders.pop() {
        for entry in store.list(&folder).await? {
            let place = folder.join(&ArtifactPath::parse(&entry.name)?);
            match stands(&place.to_string(), roots) {
                Stands::Known => {}
                Stands::Above if entry.size.is_none() => folders.push(place),
                Stands::Above | Stands::Apart => found.push(place.to_string()),
            }
        }
    }
    found.sort_unstable();
    Ok(found)
}

enum Stands {
    Known,
    Above,
    Apart,
}

fn stands(place: &str, roots: &[String]) -> Stands {
    if roots
        .binary_search_by(|root| root.as_str().cmp(place))
        .is_ok()
    {
        return Stands::Known;
    }
    let below = format!("{place}/");
    let next = roots.partition_point(|root| root.as_str() < below.as_str());
    match roots.get(next) {
        Some(root) if root.starts_with(&below) => Stands::Above,
        _ => Stands::Apart,
    }
}

fn clock(newest: Option<i64>, now: i64) -> Finding {
    let behind = newest.map_or(0, |newest| newest - now);
    Finding {
        check: "clock",
        level: if behind > CLOCK {
            Level::Warning
        } else {
            Level::Ok
        },
        detail: if behind > CLOCK {
            format!(
                "this machine's clock is {} s behind what is stored: one of both was wrong",
                behind / 1000
            )
        } else {
            String::new()
        },
    }
}

fn now() -> i64 {
    std::time::SystemTime::now()
        .duration_since(std::time::UNIX_EPOCH)
        .ok()
        .and_then(|elapsed| i64::try_from(elapsed.as_millis()).ok())
        .unwrap_or(0)
}

/// Checks a SQLite file before it is opened, which would upgrade it: whole, and of which schema.
pub async fn database_file(path: &Path) -> Finding {
    let check = "database";
    if tokio::fs::metadata(path).await.is_err() {
        return Finding {
            check,
            level: Level::Problem,
            detail: format!("`{}` is not there", path.display()),
        };
    }
    match crate::store::backup::check(path).await {
        Ok(schema) => Finding {
            check,
            level: Level::Ok,
            detail: format!("whole, schema {schema}"),
        },
        Err(error) => {
            let mut detail = error.to_string();
            if let Some(cause) = std::error::Error::source(&error) {
                detail.push_str(&format!(": {cause}"));
            }
            Finding {
                check,
                level: Level::Problem,
                detail,
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_known_is_told_from_what_is_not() {
        let roots: Vec<String> = [
            "0/r1/artifacts",
            "0/r10/artifacts",
            "1/models/m-1/artifacts",
        ]
        .map(str::to_owned)
        .to_vec();
        for (place, expected) in [
            ("0", "above"),
            ("0/r1", "above"),
            ("0/r1/artifacts", "known"),
            ("0/r", "apart"),
            ("0/r2", "apart"),
            ("1/models", "above"),
            ("2", "apart"),
        ] {
            let found = match stands(place, &roots) {
                Stands::Known => "known",
                Stands::Above => "above",
                Stands::Apart => "apart",
            };
            assert_eq!(found, expected, "{place}");
        }
    }

    #[test]
    fn a_clock_may_be_a_little_behind() {
        assert_eq!(clock(None, 5).level, Level::Ok);
        assert_eq!(clock(Some(1_000_000), 999_000).level, Level::Ok);
        assert_eq!(clock(Some(1_000_000), 0).level, Level::Warning);
    }
}
