//! `registry user …`.

use std::io::{BufRead, IsTerminal};

use anyhow::{Context, anyhow};
use clap::{Args as ClapArgs, Subcommand};
use registry::auth::{Role, hash_password};
use registry::store::{Store, UserRecord};
use serde_json::json;

use super::show::{Report, say, time};
use super::{Database, Failure, Output};

/// Where a password may be, for scripts; never on the command line, which others can see.
const PASSWORD: &str = "REGISTRY_PASSWORD";

#[derive(Debug, ClapArgs)]
pub(super) struct Args {
    #[command(flatten)]
    database: Database,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Add a user. The password is asked for, or read from stdin or from REGISTRY_PASSWORD. With
    /// the first user the server begins to ask who is there.
    Add {
        /// The name to log in with.
        name: String,
        /// What they may do where no grant says otherwise: none, reader, writer or admin.
        #[arg(long, default_value = "reader")]
        role: Role,
    },
    /// List all users.
    List,
    /// Change what a user may do where no grant says otherwise.
    Role {
        /// The user.
        name: String,
        /// none, reader, writer or admin.
        role: Role,
    },
    /// Change a password; it is asked for, or read from stdin or from REGISTRY_PASSWORD.
    Passwd {
        /// The user.
        name: String,
    },
    /// Delete a user with their grants and tokens.
    Delete {
        /// The user.
        name: String,
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
        Command::Add { name, role } => {
            let hash = hash(&name).await?;
            let user = store
                .create_user(&name, &hash, role)
                .await
                .with_context(|| format!("can't add user `{name}`"))
                .map_err(Failure::Work)?;
            note(store, "user add", &format!("username={name} role={role}")).await?;
            report(&[user]).print_one(output)
        }
        Command::List => {
            let users = store
                .list_users()
                .await
                .context("can't list the users")
                .map_err(Failure::Work)?;
            report(&users).print(output)
        }
        Command::Role { name, role } => {
            store
                .set_user_role(&name, role)
                .await
                .with_context(|| format!("can't change user `{name}`"))
                .map_err(Failure::Work)?;
            note(store, "user role", &format!("username={name} role={role}")).await?;
            done(output, &format!("{name} is {role} now"))
        }
        Command::Passwd { name } => {
            store
                .get_user(&name)
                .await
                .with_context(|| format!("can't change user `{name}`"))
                .map_err(Failure::Work)?;
            let hash = hash(&name).await?;
            store
                .set_user_password(&name, &hash)
                .await
                .with_context(|| format!("can't change user `{name}`"))
                .map_err(Failure::Work)?;
            note(store, "user passwd", &format!("username={name}")).await?;
            done(output, &format!("{name} has a new password"))
        }
        Command::Delete { name } => {
            store
                .delete_user(&name)
                .await
                .with_context(|| format!("can't delete user `{name}`"))
                .map_err(Failure::Work)?;
            note(store, "user delete", &format!("username={name}")).await?;
            done(output, &format!("{name} is deleted"))
        }
    }
}

/// Tells the audit log.
pub(super) async fn note(store: &Store, action: &str, resource: &str) -> Result<(), Failure> {
    store
        .note_local(action, resource)
        .await
        .context("it is done, but the audit log can't be written")
        .map_err(Failure::Work)
}

/// Says that it is done.
pub(super) fn done(output: Output, text: &str) -> Result<(), Failure> {
    match output {
        Output::Table => say(text),
        Output::Json => say(&json!({ "done": text }).to_string()),
    }
}

fn report(users: &[UserRecord]) -> Report {
    Report {
        columns: &["id", "name", "role", "created"],
        rows: users
            .iter()
            .map(|user| {
                vec![
                    json!(user.user_id),
                    json!(user.name),
                    json!(user.role.as_str()),
                    time(user.created_at),
                ]
            })
            .collect(),
    }
}

/// The hash of the password that somebody types, twice, or that a script gives.
async fn hash(name: &str) -> Result<String, Failure> {
    let name = name.to_owned();
    let password = tokio::task::spawn_blocking(move || password(&name))
        .await
        .context("can't read the password")
        .and_then(|read| read)
        .map_err(Failure::Environment)?;
    hash_password(password)
        .await
        .map_err(|error| Failure::Environment(error.into()))
}

fn password(name: &str) -> anyhow::Result<String> {
    if let Some(password) = std::env::var_os(PASSWORD).filter(|password| !password.is_empty()) {
        return password
            .into_string()
            .map_err(|_| anyhow!("{PASSWORD} is not UTF-8"));
    }
    if !std::io::stdin().is_terminal() {
        let mut line = String::new();
        std::io::stdin()
            .lock()
            .read_line(&mut line)
            .context("can't read the password from stdin")?;
        return Ok(line.trim_end_matches(['\r', '\n']).to_owned());
    }
    let ask = |what: String| rpassword::prompt_password(what).context("can't read the password");
    let first = ask(format!("Password of {name}: "))?;
    if ask("Once more: ".to_owned())? != first {
        return Err(anyhow!("the two passwords differ"));
    }
    Ok(first)
}
