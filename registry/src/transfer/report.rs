//! What a transfer did.

use serde::Serialize;

/// What a transfer did, or would do.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Report {
    /// Whether nothing was written.
    pub dry_run: bool,
    /// Experiments.
    pub experiments: u64,
    /// Runs.
    pub runs: u64,
    /// Points of metrics; not counted by a dry run, which does not read them.
    pub points: u64,
    /// Logged models.
    pub logged_models: u64,
    /// Registered models, prompts included.
    pub registered_models: u64,
    /// Their versions.
    pub versions: u64,
    /// Their aliases.
    pub aliases: u64,
    /// Files.
    pub files: u64,
    /// Their bytes.
    pub bytes: u64,
    /// Things that were there already, as they are in the source.
    pub unchanged: u64,
    /// Names and ids that something else has; none of these was touched.
    pub conflicts: Vec<String>,
    /// What could not be copied, and why; the same command tries again.
    pub failures: Vec<String>,
    /// What to know about what was copied.
    pub notes: Vec<String>,
}

impl Report {
    /// Whether everything is there now.
    #[must_use]
    pub fn is_complete(&self) -> bool {
        self.conflicts.is_empty() && self.failures.is_empty()
    }

    pub(super) fn add(&mut self, other: Self) {
        self.experiments += other.experiments;
        self.runs += other.runs;
        self.points += other.points;
        self.logged_models += other.logged_models;
        self.registered_models += other.registered_models;
        self.versions += other.versions;
        self.aliases += other.aliases;
        self.files += other.files;
        self.bytes += other.bytes;
        self.unchanged += other.unchanged;
        self.conflicts.extend(other.conflicts);
        self.failures.extend(other.failures);
        self.notes.extend(other.notes);
    }
}
