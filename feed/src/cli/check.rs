//! `feed check`: what a command would do, and whether everything that it needs is there.

use std::path::Path;

use ::history::{Location, Storage, read_bytes};
use anyhow::Result;
use clap::{Args, Subcommand};
use market::Topic;
use serde::Serialize;
use terminal::exit::{CommandResult, ExitStatus};
use terminal::output::{self, Output, OutputArgs, Render, table};
use terminal::progress::plural;
use tokio::runtime::Runtime;

use super::binance::BinanceArgs;
use super::history::HistoryArgs;
use super::replay::ReplayArgs;
use super::simulate::SimulateArgs;
use crate::kafka::{KafkaArgs, KafkaSettings, look_at_topics};

pub(super) const HELP: &str = "\
Nothing is written, created or changed.

Examples:
  feed check binance --symbols BTCUSDT,ETHUSDT --brokers localhost:9092
  feed check history --symbols BTCUSDT --from 2024-01-01 --to 2024-02-01 --out s3://history/trades";

/// `feed check`
#[derive(Debug, Clone, Args)]
pub(super) struct CheckArgs {
    #[command(subcommand)]
    command: CheckCommand,
}

#[derive(Debug, Clone, Subcommand)]
enum CheckCommand {
    /// What `feed binance` would do.
    Binance(BinanceArgs),
    /// What `feed simulate` would do.
    Simulate(SimulateArgs),
    /// What `feed replay` would do.
    Replay(ReplayArgs),
    /// What `feed history` would do.
    History(HistoryArgs),
}

/// One thing that was looked at.
#[derive(Debug, Clone, Serialize)]
pub(super) struct Finding {
    what: String,
    is_ok: bool,
    detail: String,
}

impl Finding {
    pub(super) fn of(what: impl Into<String>, found: Result<String>) -> Self {
        let (is_ok, detail) = match found {
            Ok(detail) => (true, detail),
            Err(error) => (false, format!("{error:#}")),
        };
        Self {
            what: what.into(),
            is_ok,
            detail,
        }
    }
}

#[derive(Debug, Serialize)]
struct Findings {
    findings: Vec<Finding>,
    is_ok: bool,
}

impl Render for Findings {
    fn render_table(&self) -> String {
        let rows: Vec<Vec<String>> = self
            .findings
            .iter()
            .map(|finding| {
                let state = if finding.is_ok { "ok" } else { "FAILED" };
                vec![format!("{state:<7}{}: {}", finding.what, finding.detail)]
            })
            .collect();
        table(&["state  what"], &rows)
    }
}

impl CheckArgs {
    pub(super) fn output(&self) -> Output {
        let output: &OutputArgs = match &self.command {
            CheckCommand::Binance(args) => &args.output,
            CheckCommand::Simulate(args) => &args.output,
            CheckCommand::Replay(args) => &args.output,
            CheckCommand::History(args) => &args.output,
        };
        output.output
    }
}

pub(super) fn run(args: &CheckArgs) -> CommandResult {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()?;
    let findings = match &args.command {
        CheckCommand::Binance(args) => args.findings(&runtime),
        CheckCommand::Simulate(args) => args.findings(),
        CheckCommand::Replay(args) => args.findings(),
        CheckCommand::History(args) => args.findings(&runtime),
    };
    let is_ok = findings.iter().all(|finding| finding.is_ok);
    output::print(&Findings { findings, is_ok }, args.output())?;
    Ok(if is_ok {
        ExitStatus::Done
    } else {
        ExitStatus::Failed
    })
}

/// The brokers and the topics that would be written to.
pub(super) fn kafka_findings(args: &KafkaArgs, topics: &[Topic]) -> Vec<Finding> {
    let settings = match args.settings() {
        Ok(Some(settings)) => settings,
        Ok(None) => {
            let error = anyhow::anyhow!("--brokers is missing");
            return vec![Finding::of("Kafka", Err(error))];
        }
        Err(error) => return vec![Finding::of("Kafka", Err(error))],
    };
    topics
        .iter()
        .map(|topic| {
            let name = settings.topic(*topic);
            let found = look_at_topic(&settings, &name);
            Finding::of(format!("topic `{name}`"), found)
        })
        .collect()
}

fn look_at_topic(settings: &KafkaSettings, name: &str) -> Result<String> {
    let found = look_at_topics(settings, &[name.to_owned()])?;
    Ok(match found.first().map_or(0, |found| found.partitions) {
        0 => format!(
            "would be created at `{}` with {}",
            settings.brokers,
            plural(
                settings.new_partitions(name).unsigned_abs().into(),
                "partition"
            )
        ),
        n => format!("has {}", plural(n.unsigned_abs().into(), "partition")),
    })
}

/// Whether the folder or prefix can be looked at.
pub(super) fn out_finding(out: &str) -> Finding {
    let look = || -> Result<String> {
        let storage = Storage::from_env();
        Location::parse(out, Path::new("."))?.check_bucket(&storage)?;
        let uri = format!("{}/_manifest.json", out.trim_end_matches('/'));
        Ok(match read_bytes(&storage, &uri)? {
            None => "is empty, or not there yet".to_owned(),
            Some(bytes) => {
                let manifest = crate::download::Manifest::from_bytes(&bytes)?;
                format!(
                    "holds {} of {}",
                    plural(manifest.partitions().count() as u64, "partition"),
                    manifest.kind
                )
            }
        })
    };
    Finding::of(format!("`{out}`"), look())
}

/// Runs a probe on the runtime.
pub(super) fn probe<T>(runtime: &Runtime, work: impl Future<Output = T>) -> T {
    runtime.block_on(work)
}
