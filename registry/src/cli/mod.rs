//! The command line: one file per command.

mod alias;
mod audit;
mod backup;
mod database;
mod doctor;
mod export;
mod gc;
mod grant;
mod import;
mod market;
mod place;
mod serve;
mod show;
mod token;
mod user;

use std::io::IsTerminal;
use std::process::ExitCode;

use clap::{Parser, Subcommand, ValueEnum};
use registry::telemetry::log::LogFormat;

use database::{Database, duration};

/// A model registry and tracking server that speaks the MLflow REST dialect.
#[derive(Debug, Parser)]
#[command(name = "registry", version, after_help = EXIT_CODES)]
struct Cli {
    /// How the command reports on stdout; logs go to stderr.
    #[arg(long, global = true, value_enum, default_value_t = Output::Table)]
    output: Output,
    /// What lines of the log look like.
    #[arg(long, global = true, value_enum, default_value_t = Lines::Text)]
    log_format: Lines,
    #[command(subcommand)]
    command: Command,
}

const EXIT_CODES: &str = "Exit codes: 0 done, 1 the work failed, 2 usage or environment.";

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Output {
    /// For people.
    Table,
    /// One JSON document.
    Json,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Lines {
    /// For people.
    Text,
    /// One JSON object a line.
    Json,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Serve the registry until SIGTERM or Ctrl-C; a second one stops at once.
    Serve(Box<serve::Args>),
    /// Manage users.
    User(user::Args),
    /// Manage what users may do with single experiments and models.
    Grant(grant::Args),
    /// Manage tokens, with which programs log in.
    Token(token::Args),
    /// Show who changed what.
    Audit(audit::Args),
    /// Copy what an MLflow server or an exported folder has into this registry.
    Import(import::Args),
    /// Write what this registry (or any MLflow server) has into a new folder.
    Export(export::Args),
    /// Purge what was deleted: runs, logged models and experiments, with their files.
    Gc(gc::Args),
    /// Write a consistent copy of a SQLite database into a new file.
    Backup(backup::BackupArgs),
    /// Put a backup of a SQLite database back in its place.
    Restore(backup::RestoreArgs),
    /// Look a registry over: is it whole, is it true, is there room?
    Doctor(doctor::Args),
    /// Show who moved which alias, when and why, and take a move back.
    Alias(alias::Args),
}

/// Why the program ends with another code than 0.
#[derive(Debug)]
enum Failure {
    /// The work failed.
    Work(anyhow::Error),
    /// The work failed, and the report on stdout says how.
    Reported(anyhow::Error),
    /// The environment does not allow it.
    Environment(anyhow::Error),
}

pub(crate) fn main() -> ExitCode {
    let cli = Cli::parse();
    tracing_subscriber::fmt()
        .with_env_filter(
            tracing_subscriber::EnvFilter::try_from_default_env()
                .unwrap_or_else(|_| "info,sqlx=warn".into()),
        )
        .with_writer(std::io::stderr)
        .with_ansi(std::io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none())
        .event_format(match cli.log_format {
            Lines::Text => LogFormat::text(),
            Lines::Json => LogFormat::Json,
        })
        .init();
    let runtime = match tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
    {
        Ok(runtime) => runtime,
        Err(error) => return report(&Failure::Environment(error.into()), cli.output),
    };
    let result = runtime.block_on(async {
        match cli.command {
            Command::Serve(args) => serve::run(*args, cli.output).await,
            Command::User(args) => user::run(args, cli.output).await,
            Command::Grant(args) => grant::run(args, cli.output).await,
            Command::Token(args) => token::run(args, cli.output).await,
            Command::Audit(args) => audit::run(args, cli.output).await,
            Command::Import(args) => import::run(args, cli.output).await,
            Command::Export(args) => export::run(args, cli.output).await,
            Command::Gc(args) => gc::run(args, cli.output).await,
            Command::Backup(args) => backup::backup(args, cli.output).await,
            Command::Restore(args) => backup::restore(args, cli.output).await,
            Command::Doctor(args) => doctor::run(args, cli.output).await,
            Command::Alias(args) => alias::run(args, cli.output).await,
        }
    });
    // What still runs was told to stop and had its time.
    runtime.shutdown_background();
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => report(&failure, cli.output),
    }
}

#[allow(clippy::print_stderr, reason = "this is the command line")]
fn report(failure: &Failure, output: Output) -> ExitCode {
    let (error, code, told) = match failure {
        Failure::Work(error) => (error, 1, false),
        Failure::Reported(error) => (error, 1, true),
        Failure::Environment(error) => (error, 2, false),
    };
    eprintln!("error: {error:#}");
    if output == Output::Json && !told {
        // Nobody may be reading; the code says it as well.
        show::say(&serde_json::json!({ "error": format!("{error:#}") }).to_string()).ok();
    }
    ExitCode::from(code)
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    #[test]
    fn the_command_line_is_consistent() {
        super::Cli::command().debug_assert();
    }
}
