//! What a killed server left in the staging folder.

use std::fs::{self, Metadata, OpenOptions, TryLockError};
use std::io::{self, ErrorKind};
use std::path::Path;
use std::time::Duration;

/// How long nobody must have written to a file that nobody has locked. A living upload holds its
/// lock; this is for the moment before it has it.
const QUIET: Duration = Duration::from_secs(10 * 60);

/// How long nobody must have written to what has no lock to tell: the parts of a multipart upload,
/// whose URLs have expired by then, and files where the file system knows no locks.
const ABANDONED: Duration = Duration::from_secs(48 * 60 * 60);

/// Removes what no living server is writing; what can't be removed keeps nothing else.
pub(super) fn sweep(staging: &Path) -> io::Result<()> {
    let mut result = Ok(());
    for entry in fs::read_dir(staging)? {
        match sweep_one(&entry?.path()) {
            // Another replica was faster.
            Err(error) if error.kind() != ErrorKind::NotFound => result = Err(error),
            _ => {}
        }
    }
    result
}

fn sweep_one(path: &Path) -> io::Result<()> {
    let found = fs::symlink_metadata(path)?;
    if found.is_dir() && is_older(&found, ABANDONED) {
        fs::remove_dir_all(path)
    } else if found.is_file() && is_left(path, &found)? {
        fs::remove_file(path)
    } else {
        Ok(())
    }
}

fn is_older(found: &Metadata, age: Duration) -> bool {
    // A time in the future is not old.
    found
        .modified()
        .is_ok_and(|time| time.elapsed().is_ok_and(|elapsed| elapsed > age))
}

fn is_left(path: &Path, found: &Metadata) -> io::Result<bool> {
    if !is_older(found, QUIET) {
        return Ok(false);
    }
    // Some file systems lock for writers only.
    match OpenOptions::new().write(true).open(path)?.try_lock() {
        Ok(()) => Ok(true),
        Err(TryLockError::WouldBlock) => Ok(false),
        Err(TryLockError::Error(error)) if error.kind() == ErrorKind::Unsupported => {
            Ok(is_older(found, ABANDONED))
        }
        Err(TryLockError::Error(error)) => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use std::fs::File;
    use std::time::SystemTime;

    use super::*;
    use crate::artifacts::local::partial::Partial;

    fn age(file: &File, age: Duration) {
        file.set_modified(SystemTime::now() - age).unwrap();
    }

    #[test]
    fn only_what_nobody_writes_is_removed() {
        let folder = tempfile::tempdir().unwrap();
        let hour = Duration::from_secs(3600);
        // A living upload that is slow.
        let living = Partial::create(folder.path()).unwrap();
        age(&living.file(), hour);
        for (name, old) in [("old.tmp", hour), ("young.tmp", Duration::ZERO)] {
            age(&File::create(folder.path().join(name)).unwrap(), old);
        }
        for (name, old) in [("pending", hour), ("abandoned", hour * 24 * 3)] {
            let parts = folder.path().join(name);
            fs::create_dir(&parts).unwrap();
            fs::write(parts.join("part-1"), "x").unwrap();
            age(&File::open(&parts).unwrap(), old);
        }
        sweep(folder.path()).unwrap();
        let left = |name: &str| folder.path().join(name).exists();
        assert!(living.path().exists());
        assert!(!left("old.tmp") && left("young.tmp"));
        assert!(left("pending") && !left("abandoned"));
    }
}
