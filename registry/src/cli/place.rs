//! Which registry a command is about, and how it reports.

use std::path::PathBuf;

use anyhow::Context;
use clap::Args as ClapArgs;
use comfy_table::{Table, presets};
use registry::Registry;
use registry::artifacts::Destination;
use serde::Serialize;

use super::show::say;
use super::{Database, Failure, Output};

/// Flags are named as `mlflow server` names them.
#[derive(Debug, Clone, ClapArgs)]
pub(super) struct Place {
    #[command(flatten)]
    pub(super) database: Database,
    /// Where the artifacts are, as `registry serve` has it: a folder, or s3://bucket/prefix.
    #[arg(
        long,
        env = "MLFLOW_ARTIFACTS_DESTINATION",
        default_value = "foreshock/artifacts"
    )]
    pub(super) artifacts_destination: Destination,
}

impl Place {
    /// Opens the registry, creating or upgrading it.
    pub(super) async fn open(&self) -> Result<Registry, Failure> {
        Registry::open(self.database.options(&self.artifacts_destination))
            .await
            .context("can't open the registry")
            .map_err(Failure::Environment)
    }

    /// Opens a registry that must be there: a mistyped path is not a new, empty one.
    pub(super) async fn open_existing(&self) -> Result<Registry, Failure> {
        if let Some(file) = self.database_file()
            && tokio::fs::metadata(&file).await.is_err()
        {
            return Err(Failure::Environment(anyhow::anyhow!(
                "there is no database `{}`; name it with --backend-store-uri",
                file.display()
            )));
        }
        self.open().await
    }

    /// The file of a SQLite database.
    pub(super) fn database_file(&self) -> Option<PathBuf> {
        registry::store::backup::database_file(&self.database.backend_store_uri).ok()
    }
}

/// One JSON document, or what `table` makes.
pub(super) fn print<T: Serialize>(
    output: Output,
    value: &T,
    table: impl FnOnce(&T) -> String,
) -> Result<(), Failure> {
    let text = match output {
        Output::Json => serde_json::to_string(value)
            .context("the result can't be written")
            .map_err(Failure::Work)?,
        Output::Table => table(value),
    };
    say(&text)
}

/// A table of rows.
pub(super) fn rows<R, C>(header: &[&str], rows: R) -> String
where
    R: IntoIterator<Item = C>,
    C: IntoIterator<Item = String>,
{
    let mut table = Table::new();
    table.load_style(presets::NOTHING);
    table.set_header(header.to_vec());
    for row in rows {
        table.add_row(row.into_iter().collect::<Vec<_>>());
    }
    table.trim_fmt()
}

/// Bytes for people.
pub(super) fn size(bytes: u64) -> String {
    match bytes {
        0..1024 => format!("{bytes} B"),
        1024..1_048_576 => format!("{:.1} KiB", bytes as f64 / 1024.0),
        1_048_576..1_073_741_824 => format!("{:.1} MiB", bytes as f64 / 1_048_576.0),
        _ => format!("{:.1} GiB", bytes as f64 / 1_073_741_824.0),
    }
}
