//! The command line.

mod check;
mod dlq;
mod replay;
mod run;

use std::io::Write;
use std::process::ExitCode;

use ::history::HistoryError;
use clap::{Args, Parser, Subcommand};
use terminal::exit::{Environment, ExitStatus, is_out_of_space};
use terminal::output::Output;

use crate::model::LoadError;
use crate::stream::{KafkaError, TopicError};

const EXIT_CODES: &str = "Exit codes: 0 done; 1 the input was refused or the work failed; 2 the command line or the environment is wrong; 130 stopped at once by a second Ctrl-C.";

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

/// What a command returns: how it ended, if it wasn't an error.
type CommandResult = anyhow::Result<ExitStatus>;

/// Parses the command line, runs the command, prints its result or its error.
pub fn main() -> ExitCode {
    let cli = Cli::parse();
    let (output, level) = match &cli.command {
        Command::Run(_) => (Output::Table, "info"),
        Command::Check(args) => (args.output.output, "error"),
        Command::Replay(args) => (args.output.output, "warn"),
        Command::Dlq(args) => (args.output().output, "warn"),
    };
    init_logging(level);
    let result = match cli.command {
        Command::Run(args) => run::run(&args),
        Command::Check(args) => check::run(&args),
        Command::Replay(args) => replay::run(&args),
        Command::Dlq(args) => dlq::run(&args),
    };
    match result {
        Ok(status) => status.into(),
        Err(error) => {
            report_error(&error, output);
            status_of(&error).into()
        }
    }
}

fn init_logging(level: &str) {
    let filter = tracing_subscriber::EnvFilter::try_from_default_env()
        .unwrap_or_else(|_| tracing_subscriber::EnvFilter::new(level));
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .init();
}

fn status_of(error: &anyhow::Error) -> ExitStatus {
    let is_environment = |cause: &(dyn std::error::Error + 'static)| {
        cause.is::<Environment>()
            || cause.is::<KafkaError>()
            || cause.downcast_ref().is_some_and(is_out_of_space)
            || cause.downcast_ref().is_some_and(LoadError::is_passing)
            || cause
                .downcast_ref()
                .is_some_and(|error| matches!(error, TopicError::Missing(_)))
            || cause
                .downcast_ref()
                .is_some_and(HistoryError::is_environment)
    };
    let is_environment =
        error.downcast_ref::<Environment>().is_some() || error.chain().any(is_environment);
    match is_environment {
        true => ExitStatus::Environment,
        false => ExitStatus::Failed,
    }
}

fn report_error(error: &anyhow::Error, output: Output) {
    let chain: Vec<String> = error.chain().map(ToString::to_string).collect();
    let mut stderr = std::io::stderr().lock();
    // Nothing is left to do for somebody who closed stderr.
    drop(writeln!(stderr, "error: {}", chain[0]));
    for cause in &chain[1..] {
        drop(writeln!(stderr, "  because: {cause}"));
    }
    if output == Output::Json {
        let document = serde_json::json!({ "error": chain.join(": ") });
        drop(writeln!(std::io::stdout(), "{document:#}"));
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    #[test]
    fn command_line_is_well_formed() {
        super::Cli::command().debug_assert();
    }
}
