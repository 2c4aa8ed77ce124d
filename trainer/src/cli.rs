//! The command line.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, Parser, Subcommand};
use terminal::exit::{EXIT_CODES, conclude};

use crate::commands;
use crate::config::DataKind;
use crate::exit::status_of;
use crate::output::OutputArgs;

/// Train, evaluate and register market anomaly detectors.
#[derive(Debug, Parser)]
#[command(name = "trainer", version, after_help = EXIT_CODES)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run an experiment: read, inject, compute features, fit, choose, judge, register.
    #[command(after_help = RUN_HELP)]
    Run(RunArgs),
    /// Check an experiment file and its data without training.
    Check(CheckArgs),
    /// Judge a registered model, made here or in Python (ONNX), on an experiment's data.
    #[command(after_help = EVALUATE_HELP)]
    Evaluate(EvaluateArgs),
    /// Compare two runs: parameters that differ, metrics side by side.
    Compare(CompareArgs),
    /// Train a registered run's model again and compare the bytes.
    Reproduce(ReproduceArgs),
}

const RUN_HELP: &str = "\
Without a registry (MLFLOW_TRACKING_URI or --tracking-uri) the run is kept under ./foreshock/;
`registry serve` in the same folder shows it to a browser and to every MLflow client.

Examples:
  trainer run experiments/iforest.toml
  trainer run experiments/iforest.toml --set candidates.iforest.n_trees=200 --scores scores.parquet
  trainer run experiments/iforest.toml --data s3://history/btcusd/*.parquet --output json";

const EVALUATE_HELP: &str = "\
With an experiment file the rows are read, split and labelled as `trainer run` does; the model scores them as
it is, is calibrated on the validation rows as every candidate is, and is measured on the test rows.

Data without a file (trades, candles, a table of features: what they are shows by their columns) are
split in half by time: the first half calibrates, the second is measured. Features are computed as the model's were; columns
called time, symbol or label are taken for that. --set says what a file would.

Examples:
  trainer evaluate models:/market-anomaly/3 --data experiments/iforest.toml
  trainer evaluate models:/market-anomaly/3 --data s3://history/btcusd/ --set inject.events_per_symbol_day=4
  trainer evaluate models:/from-python/1 --data candles.parquet --set data.interval=1m
  trainer evaluate models:/market-anomaly/3 --data june.parquet --experiment experiments/iforest.toml
  trainer evaluate models:/market-anomaly@champion --data experiments/iforest.toml --output json";

/// Options of every command that talks to a registry.
#[derive(Debug, Clone, Args)]
pub struct TrackingArgs {
    /// The registry: http(s)://…, or sqlite:///FILE for an embedded one. [default: sqlite:///foreshock/registry.db]
    #[arg(
        long,
        env = "MLFLOW_TRACKING_URI",
        value_name = "URI",
        hide_env_values = true
    )]
    pub tracking_uri: Option<String>,
}

/// An experiment file and what the command line changes of it.
#[derive(Debug, Clone, Args)]
pub struct ExperimentArgs {
    /// The experiment file.
    #[arg(value_name = "EXPERIMENT.toml")]
    pub experiment: PathBuf,
    /// Read these data instead of `data.source` (file, folder, glob or s3:// URI; relative to the current folder).
    #[arg(long, value_name = "URI")]
    pub data: Option<String>,
    /// Change a value of the file, such as `experiment.seed=7` or `candidates.iforest.n_trees=[100, 200]`.
    #[arg(long = "set", value_name = "KEY=VALUE")]
    pub set: Vec<String>,
}

/// `trainer run`
#[derive(Debug, Clone, Args)]
pub struct RunArgs {
    #[command(flatten)]
    pub(crate) experiment: ExperimentArgs,
    /// Write every scored row (time, symbol, score, tail probability, flag, label, split) as Parquet.
    #[arg(long, value_name = "FILE")]
    pub scores: Option<String>,
    /// Check everything, say what would be done, and stop.
    #[arg(long)]
    pub dry_run: bool,
    /// Continue the last run of this experiment that didn't finish.
    #[arg(long)]
    pub resume: bool,
    /// The run's name; a random one when absent.
    #[arg(long, value_name = "NAME")]
    pub run_name: Option<String>,
    /// Threads to compute with; the result doesn't depend on it. [default: all cores]
    #[arg(long, value_name = "N", env = "FORESHOCK_THREADS")]
    pub threads: Option<usize>,
    #[command(flatten)]
    pub(crate) tracking: TrackingArgs,
    #[command(flatten)]
    pub(crate) output: OutputArgs,
}

/// `trainer check`
#[derive(Debug, Clone, Args)]
pub struct CheckArgs {
    #[command(flatten)]
    pub(crate) experiment: ExperimentArgs,
    #[command(flatten)]
    pub(crate) output: OutputArgs,
}

/// `trainer evaluate`
#[derive(Debug, Clone, Args)]
pub struct EvaluateArgs {
    /// The model: models:/NAME/VERSION or models:/NAME@ALIAS.
    pub model: String,
    /// A file, folder, glob or s3:// URI of trades, candles or features; or an experiment file (`….toml`) whose
    /// data, split and evaluation are taken.
    #[arg(long, value_name = "LOCATION|EXPERIMENT.toml")]
    pub data: String,
    /// The experiment file that says all but where the data are.
    #[arg(long, value_name = "EXPERIMENT.toml")]
    pub experiment: Option<PathBuf>,
    /// What the location holds, where its columns don't tell.
    #[arg(long, value_enum)]
    pub kind: Option<DataKind>,
    /// Change a value of the file, or of what stands for one, such as `data.interval=1m` or `experiment.seed=7`.
    #[arg(long = "set", value_name = "KEY=VALUE")]
    pub set: Vec<String>,
    /// Register it, calibrated on these data, as a version that scorers run; MODEL is the registered
    /// model's name. [default: its own]
    #[arg(long, value_name = "MODEL", num_args = 0..=1, default_missing_value = "")]
    pub register: Option<String>,
    /// The alias that the registered version gets.
    #[arg(long, value_name = "ALIAS", requires = "register")]
    pub alias: Option<String>,
    /// Threads to compute with; the result doesn't depend on it. [default: all cores]
    #[arg(long, value_name = "N", env = "FORESHOCK_THREADS")]
    pub threads: Option<usize>,
    #[command(flatten)]
    pub(crate) tracking: TrackingArgs,
    #[command(flatten)]
    pub(crate) output: OutputArgs,
}

/// `trainer compare`
#[derive(Debug, Clone, Args)]
pub struct CompareArgs {
    /// The first run: its id.
    pub first: String,
    /// The second run: its id.
    pub second: String,
    #[command(flatten)]
    pub(crate) tracking: TrackingArgs,
    #[command(flatten)]
    pub(crate) output: OutputArgs,
}

/// `trainer reproduce`
#[derive(Debug, Clone, Args)]
pub struct ReproduceArgs {
    /// The run: its id.
    pub run: String,
    /// Read the data from here instead of where the run read them.
    #[arg(long, value_name = "URI")]
    pub data: Option<String>,
    /// Threads to compute with; the result doesn't depend on it. [default: all cores]
    #[arg(long, value_name = "N", env = "FORESHOCK_THREADS")]
    pub threads: Option<usize>,
    #[command(flatten)]
    pub(crate) tracking: TrackingArgs,
    #[command(flatten)]
    pub(crate) output: OutputArgs,
}

/// Parses the command line, runs the command, prints its result or its error.
pub fn main() -> ExitCode {
    let cli = Cli::parse();
    let output = match &cli.command {
        Command::Run(args) => args.output.output,
        Command::Check(args) => args.output.output,
        Command::Compare(args) => args.output.output,
        Command::Evaluate(args) => args.output.output,
        Command::Reproduce(args) => args.output.output,
    };
    terminal::logging::init("warn");
    let result = match cli.command {
        Command::Run(args) => commands::run::run(&args),
        Command::Check(args) => commands::check::check(&args),
        Command::Compare(args) => commands::compare::compare(&args),
        Command::Evaluate(args) => commands::evaluate::evaluate(&args),
        Command::Reproduce(args) => commands::reproduce::reproduce(&args),
    };
    conclude(result, output, status_of)
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    #[test]
    fn command_line_is_well_formed() {
        super::Cli::command().debug_assert();
    }
}
