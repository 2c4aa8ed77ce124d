//! The command line.

mod binance;
mod check;
mod context;
mod history;
mod replay;
mod simulate;

use std::io::Write;
use std::process::ExitCode;

use ::history::HistoryError;
use clap::{Args, Parser, Subcommand};
use terminal::exit::{Environment, ExitStatus, is_out_of_space};
use terminal::output::Output;

pub(crate) use context::Context;

const EXIT_CODES: &str = "Exit codes: 0 done; 1 the input was refused or the work failed; 2 the command line or the environment is wrong; 130 stopped at once by a second Ctrl-C.";

/// Bring market data into Kafka, and history into Parquet.
#[derive(Debug, Parser)]
#[command(name = "feed", version, after_help = EXIT_CODES)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Listen to Binance: every trade into Kafka, without a gap.
    #[command(after_help = binance::HELP, args_override_self = true)]
    Binance(binance::BinanceArgs),
    /// Make up a market: realistic trades with labelled anomalies, into Kafka or a file.
    #[command(after_help = simulate::HELP, args_override_self = true)]
    Simulate(simulate::SimulateArgs),
    /// Send files of trades into Kafka, as they were recorded or quicker.
    #[command(after_help = replay::HELP, args_override_self = true)]
    Replay(replay::ReplayArgs),
    /// Bring historical trades or candles into partitioned Parquet, locally or on S3.
    #[command(after_help = history::HELP, args_override_self = true)]
    History(history::HistoryArgs),
    /// Say what a command would do, and whether everything is reachable.
    #[command(after_help = check::HELP)]
    Check(check::CheckArgs),
}

/// How a command prints.
#[derive(Debug, Clone, Args)]
pub struct OutputArgs {
    /// `table` for people; `json` prints exactly one JSON document on stdout.
    #[arg(long, value_enum, default_value = "table")]
    pub output: Output,
    /// No progress on stderr.
    #[arg(long, short)]
    pub quiet: bool,
}

/// What a command returns: how it ended, if it wasn't an error.
type CommandResult = anyhow::Result<ExitStatus>;

/// Parses the command line, runs the command, prints its result or its error.
pub fn main() -> ExitCode {
    let cli = Cli::parse();
    let output = match &cli.command {
        Command::Binance(args) => args.output.output,
        Command::Simulate(args) => args.output.output,
        Command::Replay(args) => args.output.output,
        Command::History(args) => args.output.output,
        Command::Check(args) => args.output(),
    };
    init_logging();
    let result = match cli.command {
        Command::Binance(args) => binance::run(&args),
        Command::Simulate(args) => simulate::run(&args),
        Command::Replay(args) => replay::run(&args),
        Command::History(args) => history::run(&args),
        Command::Check(args) => check::run(&args),
    };
    match result {
        Ok(status) => status.into(),
        Err(error) => {
            report_error(&error, output);
            status_of(&error).into()
        }
    }
}

fn init_logging() {
    let filter = tracing_subscriber::EnvFilter::try_from_default_env()
        .unwrap_or_else(|_| tracing_subscriber::EnvFilter::new("warn"));
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .init();
}

fn status_of(error: &anyhow::Error) -> ExitStatus {
    let is_environment = error.downcast_ref::<Environment>().is_some()
        || error.chain().any(|cause| {
            cause.is::<Environment>()
                || cause.downcast_ref().is_some_and(is_out_of_space)
                || cause
                    .downcast_ref()
                    .is_some_and(HistoryError::is_environment)
        });
    if is_environment {
        ExitStatus::Environment
    } else {
        ExitStatus::Failed
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
