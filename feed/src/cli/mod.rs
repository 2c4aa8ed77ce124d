//! The command line.

mod binance;
mod check;
mod context;
mod history;
mod replay;
mod simulate;

use std::process::ExitCode;

use ::history::HistoryError;
use clap::{Parser, Subcommand};
use terminal::exit::{EXIT_CODES, ExitStatus, conclude};

pub(crate) use context::Context;

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
    terminal::logging::init("warn");
    let result = match cli.command {
        Command::Binance(args) => binance::run(&args),
        Command::Simulate(args) => simulate::run(&args),
        Command::Replay(args) => replay::run(&args),
        Command::History(args) => history::run(&args),
        Command::Check(args) => check::run(&args),
    };
    conclude(result, output, |error| {
        ExitStatus::of(error, |cause| {
            cause
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
