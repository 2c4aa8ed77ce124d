//! `registry serve`.

use std::io::{ErrorKind, Write};

use anyhow::Context;
use clap::Args as ClapArgs;
use registry::artifacts::Destination;
use registry::{CancellationToken, Options, Registry, WebhookOptions};
use tokio::net::TcpListener;

use super::{Failure, Output};

/// Flags are named as `mlflow server` names them.
#[derive(Debug, ClapArgs)]
pub(super) struct Args {
    /// The database: sqlite:///relative/path or sqlite:////absolute/path. It is created where it
    /// is missing.
    #[arg(
        long,
        env = "MLFLOW_BACKEND_STORE_URI",
        default_value = "sqlite:///foreshock/registry.db",
        hide_env_values = true
    )]
    backend_store_uri: String,
    /// Where the artifacts are: a folder, which is created where it is missing, or
    /// s3://bucket/prefix, whose address and keys are taken from the AWS_… variables.
    #[arg(
        long,
        env = "MLFLOW_ARTIFACTS_DESTINATION",
        default_value = "foreshock/artifacts"
    )]
    artifacts_destination: Destination,
    /// The address to listen on. There is no login: whoever reaches it may change everything.
    #[arg(long, env = "MLFLOW_HOST", default_value = "127.0.0.1")]
    host: String,
    /// The port to listen on; 0 takes a free one.
    #[arg(long, short, env = "MLFLOW_PORT", default_value_t = 5000)]
    port: u16,
    /// Names by which clients reach this server, beyond this machine's own, by commas; `*` is any.
    #[arg(long, env = "MLFLOW_SERVER_ALLOWED_HOSTS", value_delimiter = ',')]
    allowed_hosts: Vec<String>,
    /// Let webhooks go to addresses that are not public. Whoever may write to this server can then
    /// make it send to the network it stands in.
    #[arg(long, env = "MLFLOW_WEBHOOK_ALLOW_PRIVATE_IPS")]
    webhook_allow_private: bool,
    /// The schemes that webhooks' URLs may have, by commas.
    #[arg(
        long,
        env = "MLFLOW_WEBHOOK_ALLOWED_SCHEMES",
        value_delimiter = ',',
        default_value = "https"
    )]
    webhook_allowed_schemes: Vec<String>,
    /// What webhooks' secrets are encrypted with: 32 bytes in URL-safe base64. Without it the
    /// server keeps a key of its own in its database.
    #[arg(
        long,
        env = "MLFLOW_WEBHOOK_SECRET_ENCRYPTION_KEY",
        hide_env_values = true
    )]
    webhook_secret_encryption_key: Option<String>,
}

pub(super) async fn run(args: Args, output: Output) -> Result<(), Failure> {
    let address = format!("{}:{}", bracketed(&args.host), args.port);
    // First, as a port in use is the commonest mistake and nothing is created for it.
    let listener = TcpListener::bind(&address)
        .await
        .map_err(|error| {
            let hint = match error.kind() {
                ErrorKind::AddrInUse => "; another server has it: choose one with --port",
                ErrorKind::PermissionDenied => "; ports below 1024 need a privilege",
                _ => "",
            };
            anyhow::Error::new(error).context(format!("can't listen on {address}{hint}"))
        })
        .map_err(Failure::Environment)?;
    let registry = Registry::open(Options {
        backend_store_uri: args.backend_store_uri.clone(),
        artifacts_destination: args.artifacts_destination.clone(),
        allowed_hosts: args.allowed_hosts.clone(),
        webhooks: WebhookOptions {
            allow_private: args.webhook_allow_private,
            allowed_schemes: args.webhook_allowed_schemes.clone(),
            secret_key: args.webhook_secret_encryption_key.clone(),
        },
    })
    .await
    .context("can't open the registry")
    .map_err(Failure::Environment)?;
    let address = listener
        .local_addr()
        .context("can't tell the address")
        .map_err(Failure::Environment)?;
    announce(&args, address, output)
        .context("can't write to stdout")
        .map_err(Failure::Work)?;

    let shutdown = CancellationToken::new();
    let stop = tokio::spawn(stop_on_signal(shutdown.clone()));
    registry::serve(listener, registry, shutdown)
        .await
        .context("the server failed")
        .map_err(Failure::Work)?;
    stop.abort();
    tracing::info!("stopped");
    Ok(())
}

fn announce(args: &Args, address: std::net::SocketAddr, output: Output) -> std::io::Result<()> {
    let url = if address.ip().is_unspecified() {
        format!("http://localhost:{}", address.port())
    } else {
        format!("http://{address}")
    };
    let text = match output {
        Output::Table => format!(
            "registry at {url}\n  export MLFLOW_TRACKING_URI={url}\n  artifacts in {}\n",
            args.artifacts_destination
        ),
        Output::Json => {
            format!(
                "{}\n",
                serde_json::json!({ "url": url, "address": address.to_string() })
            )
        }
    };
    let mut out = std::io::stdout().lock();
    out.write_all(text.as_bytes())?;
    out.flush()
}

fn bracketed(host: &str) -> String {
    if host.contains(':') && !host.starts_with('[') {
        format!("[{host}]")
    } else {
        host.to_owned()
    }
}

/// The first signal asks for a stop, the second does not ask.
async fn stop_on_signal(shutdown: CancellationToken) {
    for first in [true, false] {
        let signal = next_signal().await;
        if first {
            tracing::info!(signal, "stopping; requests under way are finished first");
            shutdown.cancel();
        } else {
            tracing::warn!(signal, "stopping at once");
            std::process::exit(1);
        }
    }
}

async fn next_signal() -> &'static str {
    let mut terminate =
        match tokio::signal::unix::signal(tokio::signal::unix::SignalKind::terminate()) {
            Ok(signal) => signal,
            // Without a handler the signal ends the process by itself.
            Err(_) => return std::future::pending().await,
        };
    tokio::select! {
        _ = tokio::signal::ctrl_c() => "SIGINT",
        _ = terminate.recv() => "SIGTERM",
    }
}
