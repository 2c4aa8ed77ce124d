//! `registry alias`: the history of aliases, and taking a move back.

use clap::{Args as ClapArgs, Subcommand};
use registry::store::Note;

use super::place::{Place, print, rows};
use super::{Failure, Output};

const LONG: &str = "Show who moved which alias, when and why, and take a move back.

Moves by the API are recorded with the user of the request, and with the reason that the body's
field `reason` or the header X-Foreshock-Reason gives.";

#[derive(Debug, ClapArgs)]
#[command(long_about = LONG)]
pub(super) struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Show the moves of a model's aliases, the newest first.
    History {
        /// The registered model.
        model: String,
        /// One of its aliases.
        alias: Option<String>,
        #[command(flatten)]
        place: Place,
        /// How many moves are shown.
        #[arg(long, default_value_t = 20, value_parser = clap::value_parser!(i64).range(1..=10_000))]
        limit: i64,
    },
    /// Let an alias name the version again that it named before its last move.
    Rollback {
        /// The registered model.
        model: String,
        /// The alias.
        alias: String,
        #[command(flatten)]
        place: Place,
        /// Why, for the history.
        #[arg(long)]
        reason: Option<String>,
    },
}

pub(super) async fn run(args: Args, output: Output) -> Result<(), Failure> {
    match args.command {
        Command::History {
            model,
            alias,
            place,
            limit,
        } => {
            let registry = place.open_existing().await?;
            let page = registry
                .store()
                .alias_history(&model, alias.as_deref(), limit, None)
                .await;
            registry.store().close().await;
            let changes = page.map_err(|error| Failure::Work(error.into()))?.items;
            print(output, &changes, |changes| {
                let none = || "-".to_owned();
                rows(
                    &["#", "time", "alias", "from", "to", "user", "how", "why"],
                    changes.iter().map(|change| {
                        [
                            change.sequence.to_string(),
                            time(change.time),
                            change.alias.clone(),
                            change.from_version.clone().unwrap_or_else(none),
                            change.to_version.clone().unwrap_or_else(none),
                            change.user.clone(),
                            change.cause.clone(),
                            change.reason.clone().unwrap_or_default(),
                        ]
                    }),
                )
            })
        }
        Command::Rollback {
            model,
            alias,
            place,
            reason,
        } => {
            let registry = place.open_existing().await?;
            let user = std::env::var("USER").unwrap_or_else(|_| "unknown".to_owned());
            let note = Note {
                user: format!("command line: {user}"),
                reason,
            };
            let change = registry.store().rollback_alias(&model, &alias, &note).await;
            registry.store().close().await;
            let change = change.map_err(|error| Failure::Work(error.into()))?;
            print(output, &change, |change| {
                format!(
                    "{model}@{alias} names version {} again (it was {})",
                    change.to_version.as_deref().unwrap_or("-"),
                    change.from_version.as_deref().unwrap_or("-")
                )
            })
        }
    }
}

/// ms since the epoch, for people.
fn time(ms: i64) -> String {
    jiff::Timestamp::from_millisecond(ms).map_or_else(
        |_| ms.to_string(),
        |time| time.strftime("%Y-%m-%d %H:%M:%SZ").to_string(),
    )
}
