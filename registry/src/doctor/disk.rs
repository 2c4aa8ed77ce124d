//! What the machine's disk says: room, permissions, leftovers.

use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use super::{Finding, Level, many};
use crate::artifacts::PRIVATE_PREFIX;

/// Less room than this is too little.
const LITTLE: u64 = 1 << 30;
/// An upload that has not grown for this long is not under way any more.
const STALE: Duration = Duration::from_secs(24 * 3600);

pub(super) fn look_over(database: Option<&Path>, folder: Option<&Path>, fix: bool) -> Vec<Finding> {
    let places: Vec<&Path> = [database, folder].into_iter().flatten().collect();
    let mut findings = Vec::new();
    if !places.is_empty() {
        findings.push(room(&places));
        findings.push(many(
            "permissions",
            Level::Warning,
            places
                .iter()
                .filter_map(|place| permissions(place))
                .collect(),
            "by anybody on this machine: chmod o-rwx",
        ));
    }
    if let Some(folder) = folder {
        let (stale, fixed) = leftovers(folder, fix);
        findings.push(many(
            "unfinished uploads",
            if fixed { Level::Fixed } else { Level::Warning },
            stale,
            "were left by a crash; --fix removes them",
        ));
    }
    findings
}

fn room(places: &[&Path]) -> Finding {
    let little: Vec<String> = places
        .iter()
        .filter_map(|place| {
            let of = rustix::fs::statvfs(*place).ok()?;
            let free = of.f_bavail.saturating_mul(of.f_frsize);
            (free < LITTLE).then(|| format!("{} MiB at `{}`", free >> 20, place.display()))
        })
        .collect();
    many(
        "disk space",
        Level::Problem,
        little,
        "are free, which is little",
    )
}

fn permissions(place: &Path) -> Option<String> {
    let mode = std::fs::metadata(place).ok()?.permissions().mode();
    match (mode & 0o002 != 0, mode & 0o004 != 0) {
        (true, _) => Some(format!("`{}` can be changed", place.display())),
        (false, true) => Some(format!("`{}` can be read", place.display())),
        (false, false) => None,
    }
}

/// The files of uploads that a crash interrupted; whether they were removed.
fn leftovers(root: &Path, fix: bool) -> (Vec<String>, bool) {
    let mut found = Vec::new();
    let mut removed = fix;
    // Folders, and whether what they hold belongs to uploads.
    let mut folders: Vec<(PathBuf, bool)> = vec![(root.to_owned(), false)];
    while let Some((folder, of_uploads)) = folders.pop() {
        let Ok(entries) = std::fs::read_dir(&folder) else {
            continue;
        };
        for entry in entries.flatten() {
            let Ok(metadata) = entry.metadata() else {
                continue;
            };
            let partial = of_uploads
                || entry
                    .file_name()
                    .to_str()
                    .is_some_and(|name| name.starts_with(PRIVATE_PREFIX));
            if metadata.is_dir() {
                folders.push((entry.path(), partial));
                continue;
            }
            let stale = metadata
                .modified()
                .ok()
                .and_then(|time| SystemTime::now().duration_since(time).ok())
                .is_some_and(|age| age > STALE);
            if partial && stale {
                if fix && std::fs::remove_file(entry.path()).is_err() {
                    removed = false;
                }
                found.push(entry.path().display().to_string());
            }
        }
    }
    found.sort_unstable();
    (found, removed)
}
