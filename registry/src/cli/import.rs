//! `registry import`.

use std::path::Path;

use anyhow::{Context, anyhow};
use clap::Args as ClapArgs;
use mlflow_api::{Client, ClientOptions, Credentials};
use registry::transfer::folder::Folder;
use registry::transfer::{ImportOptions, Remote, Report, Selection, Source, TransferError, import};

use super::place::{Place, print, rows, size};
use super::{Failure, Output};

const LONG: &str = "Copy what an MLflow server or an exported folder has into this registry.

Copied are experiments with their tags, runs (their ids stay) with times, status, parameters, tags,
the whole history of every metric and the models they made, logged models, registered models and
prompts with versions (their numbers stay), stages, tags and aliases, and every file of all these.
Deleted experiments and runs come as deleted ones.

The command may be stopped at any time, and run again: it goes on where it was. Run once more when
all is there, it changes nothing; when the source has changed since, what is new follows. A name or
an id that something else has here is reported and left alone; --rename-prefix gives what is
imported other names. At the end counts are compared with the source.

The source's login is taken from MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD, or from
MLFLOW_TRACKING_TOKEN.

A server may run on this registry meanwhile.";

const EXAMPLES: &str = "Examples:
  registry import http://old:5000 --dry-run
  registry import http://old:5000 --backend-store-uri postgresql://…/registry --artifacts-destination /srv/artifacts
  registry import http://old:5000 --experiment forecasts --model forest
  registry import ./exported --rename-prefix old-

Exit codes: 0 all is there, 1 something could not be copied (see the report), 2 usage or environment.";

#[derive(Debug, ClapArgs)]
#[command(long_about = LONG, after_help = EXAMPLES)]
pub(super) struct Args {
    /// The URL of an MLflow server, or a folder that `registry export` wrote.
    source: String,
    #[command(flatten)]
    place: Place,
    /// Copy these experiments (names or ids) only; repeatable.
    #[arg(long = "experiment", value_name = "NAME")]
    experiments: Vec<String>,
    /// Copy these registered models only; repeatable.
    #[arg(long = "model", value_name = "NAME")]
    models: Vec<String>,
    /// Put this before the names of experiments and registered models.
    #[arg(long, default_value = "", value_name = "TEXT")]
    rename_prefix: String,
    /// Say what would be copied, and change nothing.
    #[arg(long)]
    dry_run: bool,
}

pub(super) async fn run(args: Args, output: Output) -> Result<(), Failure> {
    let source = source(&args.source).await?;
    let registry = args.place.open().await?;
    let options = ImportOptions {
        selection: Selection {
            experiments: args.experiments,
            models: args.models,
        },
        rename_prefix: args.rename_prefix,
        dry_run: args.dry_run,
    };
    let report = import(&registry, &source, &options).await;
    registry.store().close().await;
    let report = report
        .context("the import stopped; the same command goes on")
        .map_err(Failure::Work)?;
    print(output, &report, table)?;
    if report.is_complete() {
        return Ok(());
    }
    Err(Failure::Reported(anyhow!(
        "{} conflicts and {} failures",
        report.conflicts.len(),
        report.failures.len()
    )))
}

/// What a URL or a path names.
pub(super) async fn source(text: &str) -> Result<Source, Failure> {
    if text.starts_with("http://") || text.starts_with("https://") {
        let env = |name: &str| std::env::var(name).ok().filter(|value| !value.is_empty());
        let credentials = Credentials::from_parts(
            env("MLFLOW_TRACKING_USERNAME"),
            env("MLFLOW_TRACKING_PASSWORD"),
            env("MLFLOW_TRACKING_TOKEN"),
        );
        let client = Client::new(text, credentials, ClientOptions::default())
            .map_err(|error| Failure::Environment(error.into()))?;
        return Ok(Source::Remote(Remote::new(client)));
    }
    match Folder::open(Path::new(text)).await {
        Ok(folder) => Ok(Source::Folder(folder)),
        Err(error @ TransferError::File { .. }) => Err(Failure::Environment(
            anyhow::Error::new(error).context(format!("`{text}` is no URL and no exported folder")),
        )),
        Err(error) => Err(Failure::Work(error.into())),
    }
}

/// What was copied, for people.
pub(super) fn table(report: &Report) -> String {
    let counts = [
        ("experiments", report.experiments),
        ("runs", report.runs),
        ("metric points", report.points),
        ("logged models", report.logged_models),
        ("registered models", report.registered_models),
        ("versions", report.versions),
        ("aliases", report.aliases),
        ("files", report.files),
    ];
    let mut lines: Vec<[String; 2]> = counts
        .iter()
        .map(|(what, count)| [(*what).to_owned(), count.to_string()])
        .collect();
    lines.push(["bytes".to_owned(), size(report.bytes)]);
    lines.push(["unchanged".to_owned(), report.unchanged.to_string()]);
    let header = if report.dry_run {
        "would copy"
    } else {
        "copied"
    };
    let mut text = rows(&[header, ""], lines);
    for (what, things) in [
        ("conflict", &report.conflicts),
        ("failed", &report.failures),
        ("note", &report.notes),
    ] {
        for thing in things {
            text.push_str(&format!("\n{what}: {thing}"));
        }
    }
    text
}
