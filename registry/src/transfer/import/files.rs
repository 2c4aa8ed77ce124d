//! Files of whatever has some.

use std::collections::HashMap;

use futures::{StreamExt, TryStreamExt};

use super::Import;
use crate::artifacts::ArtifactPath;
use crate::transfer::source::Owner;
use crate::transfer::{Report, Result, TransferError};

impl Import<'_> {
    /// Copies all files of an owner; without a target they are only counted.
    pub(super) async fn files(
        &self,
        owner: Owner<'_>,
        target: Option<&ArtifactTarget>,
        report: &mut Report,
    ) -> Result<()> {
        let mut folders = vec![String::new()];
        while let Some(folder) = folders.pop() {
            let here: HashMap<String, u64> = match target {
                Some(target) if target.keep => {
                    let entries = self
                        .registry
                        .artifacts()
                        .list(&target.place(&folder)?)
                        .await?;
                    entries
                        .into_iter()
                        .filter_map(|entry| Some((entry.name, entry.size?)))
                        .collect()
                }
                _ => HashMap::new(),
            };
            for entry in self.source.list(owner, &folder).await? {
                let path = if folder.is_empty() {
                    entry.name.clone()
                } else {
                    format!("{folder}/{}", entry.name)
                };
                let Some(size) = entry.size else {
                    folders.push(path);
                    continue;
                };
                report.files += 1;
                report.bytes += size;
                let Some(target) = target else { continue };
                if here.get(&entry.name) == Some(&size) {
                    continue;
                }
                let mut content = self.source.open(owner, &path).await?;
                // The stream's own error says more than that it ended.
                let mut broken = None;
                let body = content.by_ref().map_err(|error| broken = Some(error));
                let written = self
                    .registry
                    .artifacts()
                    .put(&target.place(&path)?, Some(size), body)
                    .await;
                if let Some(error) = broken {
                    return Err(error);
                }
                if written? != size && size > 0 {
                    return Err(TransferError::NotThere(format!(
                        "whole file `{path}`: it should have {size} bytes"
                    )));
                }
            }
        }
        Ok(())
    }
}

/// Where files are written.
pub(super) struct ArtifactTarget {
    /// An `mlflow-artifacts:` URI.
    pub(super) root: String,
    /// Whether a file of the right size is the right one.
    pub(super) keep: bool,
}

impl ArtifactTarget {
    fn place(&self, path: &str) -> Result<ArtifactPath> {
        let root = self.root.trim_start_matches("mlflow-artifacts:");
        let root = ArtifactPath::parse(root.trim_start_matches('/'))?;
        Ok(root.join(&ArtifactPath::parse(path)?))
    }
}
