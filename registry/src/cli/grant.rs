//! `registry grant …`.

use anyhow::Context;
use clap::{Args as ClapArgs, Subcommand};
use registry::auth::Role;
use registry::store::{GrantRecord, Granted, Store};
use serde_json::json;

use super::show::Report;
use super::user::{done, note};
use super::{Database, Failure, Output};

#[derive(Debug, ClapArgs)]
pub(super) struct Args {
    #[command(flatten)]
    database: Database,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Say what a user may do with one experiment or model, whatever their role elsewhere.
    Set {
        /// The user.
        user: String,
        /// none, reader, writer or admin.
        role: Role,
        #[command(flatten)]
        on: On,
    },
    /// Take a grant back: the user's role holds again.
    Revoke {
        /// The user.
        user: String,
        #[command(flatten)]
        on: On,
    },
    /// List the grants of one user, or of all.
    List {
        /// The user.
        user: Option<String>,
    },
}

#[derive(Debug, ClapArgs)]
#[group(required = true, multiple = false)]
struct On {
    /// An experiment, by its id.
    #[arg(long)]
    experiment: Option<String>,
    /// A registered model, by its name.
    #[arg(long)]
    model: Option<String>,
}

impl On {
    fn thing(self) -> Granted {
        match (self.experiment, self.model) {
            (Some(id), _) => Granted::Experiment(id),
            (None, name) => Granted::Model(name.unwrap_or_default()),
        }
    }
}

fn parts(on: &Granted) -> (&'static str, &str) {
    match on {
        Granted::Experiment(id) => ("experiment", id),
        Granted::Model(name) => ("model", name),
    }
}

pub(super) async fn run(args: Args, output: Output) -> Result<(), Failure> {
    let store = args.database.open().await?;
    let result = act(&store, args.command, output).await;
    store.close().await;
    result
}

async fn act(store: &Store, command: Command, output: Output) -> Result<(), Failure> {
    match command {
        Command::Set { user, role, on } => {
            let on = on.thing();
            store
                .grant(&user, &on, role)
                .await
                .context("can't grant that")
                .map_err(Failure::Work)?;
            let (kind, id) = parts(&on);
            let what = format!("username={user} role={role} {kind}={id}");
            note(store, "grant set", &what).await?;
            done(output, &format!("{user} is {role} of {kind} {id} now"))
        }
        Command::Revoke { user, on } => {
            let on = on.thing();
            let had = store
                .revoke_grant(&user, &on)
                .await
                .context("can't take that back")
                .map_err(Failure::Work)?;
            let (kind, id) = parts(&on);
            if had {
                let what = format!("username={user} {kind}={id}");
                note(store, "grant revoke", &what).await?;
            }
            let none = if had { "no longer has a" } else { "had no" };
            done(output, &format!("{user} {none} grant on {kind} {id}"))
        }
        Command::List { user } => {
            let grants = store
                .list_grants(user.as_deref())
                .await
                .context("can't list the grants")
                .map_err(Failure::Work)?;
            let rows = grants.iter().map(|GrantRecord { user, on, role }| {
                let (kind, id) = parts(on);
                vec![json!(user), json!(kind), json!(id), json!(role.as_str())]
            });
            let report = Report {
                columns: &["user", "kind", "resource", "role"],
                rows: rows.collect(),
            };
            report.print(output)
        }
    }
}
