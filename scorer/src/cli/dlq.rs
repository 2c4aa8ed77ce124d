//! `scorer dlq`

use std::path::PathBuf;

use clap::{Args, Subcommand};
use serde::Serialize;
use terminal::exit::ExitStatus;
use terminal::output::{self, Render};

use super::{CommandResult, OutputArgs};
use crate::config::read;
use crate::stream::{Again, replay_dead_letters};

const HELP: &str = "\
What lies in the topic of dead letters goes back to the topic it came from, with its own key and
bytes, each record once: how far it got is committed with what it sent.

Example:
  scorer dlq replay scorer.toml --reason json";

/// `scorer dlq`
#[derive(Debug, Clone, Subcommand)]
pub(super) enum DlqCommand {
    /// Feed records that could not be taken back to where they came from.
    #[command(after_help = HELP)]
    Replay(DlqArgs),
}

/// `scorer dlq replay`
#[derive(Debug, Clone, Args)]
pub(super) struct DlqArgs {
    /// The configuration.
    #[arg(value_name = "CONFIG.toml")]
    config: PathBuf,
    /// Only those refused for these reasons; the others are passed over for good.
    #[arg(long, value_name = "WORD,…", value_delimiter = ',')]
    reason: Vec<String>,
    /// The length of the features' candles, where the configuration leaves it to the model.
    #[arg(long, value_name = "INTERVAL", default_value = "1m")]
    interval: market::Interval,
    #[command(flatten)]
    output: OutputArgs,
}

impl DlqCommand {
    pub(super) fn output(&self) -> &OutputArgs {
        match self {
            Self::Replay(args) => &args.output,
        }
    }
}

#[derive(Debug, Serialize)]
struct Summary {
    sent: u64,
    passed_over: u64,
}

impl Render for Summary {
    fn render_table(&self) -> String {
        format!("{} sent again, {} passed over", self.sent, self.passed_over)
    }
}

pub(super) fn run(command: &DlqCommand) -> CommandResult {
    let DlqCommand::Replay(args) = command;
    let config = read(&args.config)?;
    let interval = config.features.map_or(args.interval, |f| f.interval);
    let Again { sent, passed_over } = replay_dead_letters(&config, interval, &args.reason)?;
    output::print(&Summary { sent, passed_over }, args.output.output)?;
    Ok(ExitStatus::Done)
}
