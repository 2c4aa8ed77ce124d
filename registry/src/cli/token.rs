//! `registry token …`.

use std::time::Duration;

use anyhow::Context;
use clap::{Args as ClapArgs, Subcommand};
use registry::store::{Store, TokenRecord};
use serde_json::{Value, json};

use super::show::{Report, say, time};
use super::user::{done, note};
use super::{Database, Failure, Output, duration};

#[derive(Debug, ClapArgs)]
pub(super) struct Args {
    #[command(flatten)]
    database: Database,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Make a token that stands for a user; it is shown this once. Clients take it as
    /// MLFLOW_TRACKING_TOKEN.
    Create {
        /// The user.
        user: String,
        /// What it is for.
        #[arg(long, default_value = "")]
        name: String,
        /// How long it lives (`30d`, `12h`).
        #[arg(long, default_value = "90d", value_parser = duration)]
        expires: Duration,
        /// It lives until it is revoked.
        #[arg(long, conflicts_with = "expires")]
        never_expires: bool,
    },
    /// List the tokens of one user, or of all; never the tokens themselves.
    List {
        /// The user.
        user: Option<String>,
    },
    /// End a token.
    Revoke {
        /// Its id.
        id: String,
    },
}

pub(super) async fn run(args: Args, output: Output) -> Result<(), Failure> {
    let store = args.database.open().await?;
    let result = act(&store, args.command, output).await;
    store.close().await;
    result
}

async fn act(store: &Store, command: Command, output: Output) -> Result<(), Failure> {
    match command {
        Command::Create {
            user,
            name,
            expires,
            never_expires,
        } => {
            let ttl = (!never_expires).then_some(expires);
            let (record, secret) = store
                .create_token(&user, &name, ttl)
                .await
                .context("can't make a token")
                .map_err(Failure::Work)?;
            let what = format!("username={user} token={}", record.token_id);
            note(store, "token create", &what).await?;
            match output {
                Output::Table => say(&format!(
                    "{}\n  It is shown this once; its id is {}.\n  export \
                     MLFLOW_TRACKING_TOKEN=<it>",
                    secret.reveal(),
                    record.token_id
                )),
                Output::Json => say(&json!({
                    "id": record.token_id,
                    "token": secret.reveal(),
                    "user": record.user_name,
                    "expires": record.expires_at.map_or(Value::Null, time),
                })
                .to_string()),
            }
        }
        Command::List { user } => {
            let tokens = store
                .list_tokens(user.as_deref())
                .await
                .context("can't list the tokens")
                .map_err(Failure::Work)?;
            let report = Report {
                columns: &["id", "user", "name", "created", "expires", "revoked"],
                rows: tokens.iter().map(row).collect(),
            };
            report.print(output)
        }
        Command::Revoke { id } => {
            store
                .revoke_token(&id)
                .await
                .context("can't revoke that")
                .map_err(Failure::Work)?;
            note(store, "token revoke", &format!("token={id}")).await?;
            done(output, &format!("token {id} is revoked"))
        }
    }
}

fn row(token: &TokenRecord) -> Vec<Value> {
    vec![
        json!(token.token_id),
        json!(token.user_name),
        json!(token.name),
        time(token.created_at),
        token.expires_at.map_or(Value::Null, time),
        token.revoked_at.map_or(Value::Null, time),
    ]
}
