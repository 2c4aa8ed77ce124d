//! `registry export`.

use std::path::PathBuf;

use clap::Args as ClapArgs;
use registry::transfer::{ExportOptions, Local, Selection, Source, export};

use super::place::{Place, print};
use super::{Failure, Output};

const LONG: &str = "Write what this registry (or any MLflow server) has into a new folder.

The folder holds JSON lines as MLflow's REST API writes them, every file, and the checksum of each;
`sha256sum -c SHA256SUMS` checks it, `registry import DIR` reads it back, docs/registry-cli.md
describes it. It appears when all of it is on disk. A server may run meanwhile; what changes during
the export may or may not be in it.";

#[derive(Debug, ClapArgs)]
#[command(long_about = LONG)]
pub(super) struct Args {
    /// The folder, which must not be there.
    folder: PathBuf,
    #[command(flatten)]
    place: Place,
    /// Export from this MLflow server instead; the login is taken as by `registry import`.
    #[arg(long, value_name = "URL")]
    from: Option<String>,
    /// Export these experiments (names or ids) only; repeatable.
    #[arg(long = "experiment", value_name = "NAME")]
    experiments: Vec<String>,
    /// Export these registered models only; repeatable.
    #[arg(long = "model", value_name = "NAME")]
    models: Vec<String>,
}

pub(super) async fn run(args: Args, output: Output) -> Result<(), Failure> {
    let source = match &args.from {
        Some(url) => super::import::source(url).await?,
        None => Source::Local(Local::new(args.place.open_existing().await?)),
    };
    let options = ExportOptions {
        selection: Selection {
            experiments: args.experiments,
            models: args.models,
        },
        folder: args.folder,
    };
    let report = export(&source, &options)
        .await
        .map_err(|error| Failure::Work(error.into()))?;
    print(output, &report, super::import::table)
}
