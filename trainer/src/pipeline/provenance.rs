//! What else somebody needs to make the same model again: code, libraries, machine.

use std::collections::BTreeMap;
use std::path::Path;
use std::process::Command;

use sha2::{Digest, Sha256};

/// The lock file that this program was built with.
const LOCK_FILE: &str = include_str!("../../../Cargo.lock");

/// The commit of the working tree around `folder`, and whether it has changes;
/// `None` where there is no git or no repository.
pub fn git_state(folder: &Path) -> Option<(String, bool)> {
    let git = |arguments: &[&str]| {
        let output = Command::new("git")
            .arg("-C")
            .arg(folder)
            .args(arguments)
            .output()
            .ok()?;
        output
            .status
            .success()
            .then(|| String::from_utf8_lossy(&output.stdout).trim().to_owned())
    };
    let commit = git(&["rev-parse", "HEAD"])?;
    let dirty = git(&["status", "--porcelain", "--untracked-files=no"])
        .is_none_or(|changes| !changes.is_empty());
    Some((commit, dirty))
}

/// Tags about code and machine; none of them enters the model's bytes.
pub fn tags(experiment_folder: &Path, threads: usize) -> BTreeMap<String, String> {
    let mut tags = BTreeMap::new();
    let mut tag = |key: &str, value: String| {
        tags.insert(key.to_owned(), value);
    };
    if let Some((commit, dirty)) = git_state(experiment_folder) {
        tag("mlflow.source.git.commit", commit);
        tag("foreshock.git.dirty", dirty.to_string());
    }
    tag("mlflow.source.name", "trainer".to_owned());
    tag("mlflow.source.type", "LOCAL".to_owned());
    tag("foreshock.version", env!("CARGO_PKG_VERSION").to_owned());
    tag(
        "foreshock.lockfile.sha256",
        hex(&Sha256::digest(LOCK_FILE.as_bytes())),
    );
    tag("foreshock.threads", threads.to_string());
    tag(
        "foreshock.platform",
        format!("{}-{}", std::env::consts::ARCH, std::env::consts::OS),
    );
    tags
}

/// Lower-case hexadecimal digits of `bytes`.
pub fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
