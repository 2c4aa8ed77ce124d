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
    let dirty = git(&["status", "--porcelain"]).is_none_or(|changes| !changes.is_empty());
    Some((commit, dirty))
}

/// Tags about code and machine; none of them enters the model's bytes.
pub fn tags(experiment_folder: &Path, threads: usize) -> BTreeMap<String, String> {
    let mut tags = BTreeMap::new();
    let mut tag = |key: &str, value: String| {
        tags.insert(key.to_owned(), value);
    };
    // Two things decide what a run does: the experiment, whose repository MLflow's tag names, and
    // the program.
    let program = option_env!("FORESHOCK_BUILD_COMMIT");
    if let Some((commit, dirty)) = git_state(experiment_folder) {
        tag("mlflow.source.git.commit", commit);
        tag("foreshock.git.dirty", dirty.to_string());
    } else if let Some(commit) = program {
        tag("mlflow.source.git.commit", commit.to_owned());
    }
    if let Some(commit) = program {
        tag("foreshock.build.commit", commit.to_owned());
    }
    if let Some(user) = ["USER", "LOGNAME", "USERNAME"]
        .iter()
        .find_map(|name| std::env::var(name).ok().filter(|user| !user.is_empty()))
    {
        tag("mlflow.user", user);
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
