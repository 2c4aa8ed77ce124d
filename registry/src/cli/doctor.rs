//! `registry doctor`.

use anyhow::anyhow;
use clap::Args as ClapArgs;
use registry::artifacts::Destination;
use registry::doctor::{Finding, Level, Patient, database_file, look_over};
use serde_json::json;

use super::place::{Place, print, rows};
use super::{Failure, Output};

const LONG: &str = "Look a registry over: is its database whole, is what it says about itself true, and is there
room to go on?

Checked are the database's integrity, schema and references (SQLite), the counters, the latest point
of each metric against its history, aliases, files of registered versions and logged models that are
missing, files that belong to nothing, leftovers of interrupted uploads, purges and imports, the room
on the disks, who may read and change the files, and the clock.

A server may run meanwhile; what it is just writing may show up as a warning. A database of an older
schema is upgraded, as by starting a server.";

const CODES: &str = "Exit codes: 0 nothing is wrong (there may be warnings), 1 something is, 2 usage or environment.";

#[derive(Debug, ClapArgs)]
#[command(long_about = LONG, after_help = CODES)]
pub(super) struct Args {
    #[command(flatten)]
    place: Place,
    /// Put right what can be: counters, latest metrics, leftovers of uploads.
    #[arg(long)]
    fix: bool,
}

pub(super) async fn run(args: Args, output: Output) -> Result<(), Failure> {
    let mut findings = Vec::new();
    let database = args.place.database_file();
    if let Some(file) = &database {
        findings.push(database_file(file).await);
    }
    // What is damaged is not opened: that would write to it.
    if findings
        .iter()
        .all(|finding| finding.level != Level::Problem)
    {
        let registry = args.place.open_existing().await?;
        let patient = Patient {
            store: registry.store(),
            database,
            artifacts: registry.artifacts(),
            folder: match &args.place.artifacts_destination {
                Destination::Folder(folder) if folder.is_dir() => Some(folder.clone()),
                _ => None,
            },
            fix: args.fix,
        };
        let found = look_over(&patient).await;
        registry.store().close().await;
        findings.extend(found.map_err(|error| Failure::Work(error.into()))?);
    }
    let problems = count(&findings, Level::Problem);
    let summary = json!({
        "problems": problems,
        "warnings": count(&findings, Level::Warning),
        "findings": findings,
    });
    print(output, &summary, |_| {
        rows(
            &["check", "", ""],
            findings.iter().map(|finding| {
                let level = match finding.level {
                    Level::Ok => "ok",
                    Level::Fixed => "fixed",
                    Level::Warning => "warning",
                    Level::Problem => "PROBLEM",
                };
                [
                    finding.check.to_owned(),
                    level.to_owned(),
                    finding.detail.clone(),
                ]
            }),
        )
    })?;
    if problems > 0 {
        return Err(Failure::Reported(anyhow!("{problems} problems")));
    }
    Ok(())
}

fn count(findings: &[Finding], level: Level) -> usize {
    findings
        .iter()
        .filter(|finding| finding.level == level)
        .count()
}
