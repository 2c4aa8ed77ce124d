//! The command line.

mod check;
mod dlq;
mod replay;
mod run;

use std::process::ExitCode;

use ::history::HistoryError;
use clap::{Args, Parser, Subcommand};
use terminal::exit::{CommandResult, EXIT_CODES, ExitStatus, conclude};
use terminal::output::Output;

use crate::model::LoadError;
use crate::stream::{KafkaError, TopicError};

/// Score every trade within milliseconds, and raise every alert exactly once.
#[derive(Debug, Parser)]
#[command(name = "scorer", version, after_help = EXIT_CODES)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Follow trades in Kafka, score them with the promoted model, write alerts.
    #[command(after_help = run::HELP)]
    Run(run::RunArgs),
    /// Say what `run` would do, and whether everything is reachable.
    #[command(after_help = check::HELP)]
    Check(check::CheckArgs),
    /// The same over files, without Kafka: the backtest.
    #[command(after_help = replay::HELP)]
    Replay(replay::ReplayArgs),
    /// Records that could not be taken.
    #[command(subcommand)]
    Dlq(dlq::DlqCommand),
}

/// How a command prints.
#[derive(Debug, Clone, Args)]
pub(crate) struct OutputArgs {
    /// `table` for people; `json` prints exactly one JSON document on stdout.
    #[arg(long, value_enum, default_value = "table")]
    pub(crate) output: Output,
    /// No progress on stderr.
    #[arg(long, short)]
    pub(crate) quiet: bool,
}

/// Parses the command line, runs the command, prints its result or its error.
pub fn main() -> ExitCode {
    let cli = Cli::parse();
    let (output, level) = match &cli.command {
        Command::Run(_) => (Output::Table, "info"),
        Command::Check(args) => (args.output.output, "error"),
        Command::Replay(args) => (args.output.output, "warn"),
        Command::Dlq(args) => (args.output().output, "warn"),
    };
    terminal::logging::init(level);
    let result = match cli.command {
        Command::Run(args) => run::run(&args),
        Command::Check(args) => check::run(&args),
        Command::Replay(args) => replay::run(&args),
        Command::Dlq(args) => dlq::run(&args),
    };
    conclude(result, output, |error| {
        ExitStatus::of(error, |cause| {
            cause.is::<KafkaError>()
                || cause.downcast_ref().is_some_and(LoadError::is_passing)
                || matches!(cause.downcast_ref(), Some(TopicError::Missing(_)))
                || cause
                    .downcast_ref()
                    .is_some_and(HistoryError::is_environment)
        })
    })
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    #[test]
    fn command_line_is_well_formed() {
        super::Cli::command().debug_assert();
    }
}
