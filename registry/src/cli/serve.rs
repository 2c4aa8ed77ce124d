//! `registry serve`.

use std::io::{ErrorKind, Write};
use std::net::IpAddr;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, anyhow};
use clap::{Args as ClapArgs, ValueEnum};
use registry::artifacts::Destination;
use registry::{
    AuditLevel, CancellationToken, MarketOptions, Options, Registry, ServeOptions, Server,
    TlsFiles, WebhookOptions,
};
use tokio::net::TcpListener;

use super::market::MarketArgs;
use super::{Database, Failure, Output, duration};

/// Flags are named as `mlflow server` names them.
#[derive(Debug, ClapArgs)]
pub(super) struct Args {
    #[command(flatten)]
    database: Database,
    /// Where the artifacts are: a folder, which is created where it is missing, or
    /// s3://bucket/prefix, whose address and keys are taken from the AWS_… variables.
    #[arg(
        long,
        env = "MLFLOW_ARTIFACTS_DESTINATION",
        default_value = "foreshock/artifacts"
    )]
    artifacts_destination: Destination,
    /// The address to listen on. Beyond this machine there have to be users: `registry user add`.
    #[arg(long, env = "MLFLOW_HOST", default_value = "127.0.0.1")]
    host: String,
    /// The port to listen on; 0 takes a free one.
    #[arg(long, short, env = "MLFLOW_PORT", default_value_t = 5000)]
    port: u16,
    /// Serve beyond this machine without users: whoever reaches the server may change everything.
    #[arg(long)]
    allow_anonymous: bool,
    /// Names by which clients reach this server, by commas, with `*` as a wildcard; instead of
    /// private addresses. This machine's own names are always served.
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
    /// Origins whose pages may talk to this server, by commas; `*` is any, without credentials.
    #[arg(
        long,
        env = "MLFLOW_SERVER_CORS_ALLOWED_ORIGINS",
        value_delimiter = ','
    )]
    cors_allowed_origins: Vec<String>,
    /// The certificate of TLS, with its chain (PEM); SIGHUP reads it again.
    #[arg(long, requires = "tls_key")]
    tls_cert: Option<PathBuf>,
    /// The private key of TLS (PEM).
    #[arg(long, requires = "tls_cert")]
    tls_key: Option<PathBuf>,
    /// Addresses of proxies whose X-Forwarded-For is believed, by commas.
    #[arg(long, value_delimiter = ',')]
    trusted_proxies: Vec<IpAddr>,
    /// The largest body of a request that is no artifact, in MiB.
    #[arg(long, default_value_t = 32, value_parser = clap::value_parser!(u64).range(1..=4096))]
    max_body_mib: u64,
    /// How long the head of a request may take, and how long a connection may be idle.
    #[arg(long, default_value = "60s", value_parser = duration)]
    header_timeout: Duration,
    /// How long a request may take; artifacts may take longer.
    #[arg(long, default_value = "120s", value_parser = duration)]
    request_timeout: Duration,
    /// How many connections there may be at once; more are answered 503.
    #[arg(long, default_value_t = 10_000)]
    max_connections: usize,
    /// How many requests may be under way at once; more are answered 503.
    #[arg(long, default_value_t = 1_000)]
    max_in_flight: usize,
    /// How many requests a second one client address may send; more are answered 429.
    #[arg(long, value_parser = clap::value_parser!(u32).range(1..))]
    rate_limit: Option<u32>,
    /// From when on a request counts as slow and is logged.
    #[arg(long, default_value = "1s", value_parser = duration)]
    slow_request: Duration,
    /// How long requests under way may take when the server stops.
    #[arg(long, default_value = "10s", value_parser = duration)]
    shutdown_timeout: Duration,
    /// How long a verified login is believed without asking the database.
    #[arg(long, default_value = "60s", value_parser = duration)]
    login_ttl: Duration,
    /// What the audit log keeps: `changes` leaves out what runs log about themselves.
    #[arg(long, value_enum, default_value = "changes")]
    audit: Audit,
    /// How long the audit log keeps it (`90d`); without it, for ever.
    #[arg(long, value_parser = duration)]
    audit_retention: Option<Duration>,
    #[command(flatten)]
    market: MarketArgs,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum Audit {
    Off,
    Changes,
    All,
}

impl Args {
    fn options(&self, market: Option<MarketOptions>) -> ServeOptions {
        ServeOptions {
            market,
            allowed_hosts: self.allowed_hosts.clone(),
            cors_allowed_origins: self.cors_allowed_origins.clone(),
            tls: match (&self.tls_cert, &self.tls_key) {
                (Some(cert), Some(key)) => Some(TlsFiles {
                    cert: cert.clone(),
                    key: key.clone(),
                }),
                _ => None,
            },
            trusted_proxies: self.trusted_proxies.clone(),
            max_body_bytes: self.max_body_mib * 1024 * 1024,
            header_timeout: self.header_timeout,
            request_timeout: self.request_timeout,
            max_connections: self.max_connections,
            max_in_flight: self.max_in_flight,
            rate_limit: self.rate_limit,
            slow_request: self.slow_request,
            shutdown_timeout: self.shutdown_timeout,
            login_ttl: self.login_ttl,
            audit: match self.audit {
                Audit::Off => AuditLevel::Off,
                Audit::Changes => AuditLevel::Changes,
                Audit::All => AuditLevel::All,
            },
            audit_retention: self.audit_retention,
            ..ServeOptions::default()
        }
    }
}

pub(super) async fn run(args: Args, output: Output) -> Result<(), Failure> {
    let market = args.market.options().map_err(Failure::Environment)?;
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
    let address = listener
        .local_addr()
        .context("can't tell the address")
        .map_err(Failure::Environment)?;
    let options = Options {
        webhooks: WebhookOptions {
            allow_private: args.webhook_allow_private,
            allowed_schemes: args.webhook_allowed_schemes.clone(),
            secret_key: args.webhook_secret_encryption_key.clone(),
        },
        ..args.database.options(&args.artifacts_destination)
    };
    let registry = Registry::open(options)
        .await
        .context("can't open the registry")
        .map_err(Failure::Environment)?;
    check_users(&registry, address.ip(), args.allow_anonymous)
        .await
        .map_err(Failure::Environment)?;
    let shutdown = CancellationToken::new();
    let server = Server::prepare(registry, args.options(market), shutdown.clone())
        .await
        .context("can't serve the registry")
        .map_err(Failure::Environment)?;
    announce(&args, address, output)
        .context("can't write to stdout")
        .map_err(Failure::Work)?;

    let stop = tokio::spawn(stop_on_signal(shutdown));
    let reload = tokio::spawn(reload_on_signal(server.reloader()));
    server.run(listener).await;
    stop.abort();
    reload.abort();
    tracing::info!("stopped");
    Ok(())
}

/// Refuses to let the network in where nobody has to say who they are.
async fn check_users(
    registry: &Registry,
    address: IpAddr,
    allow_anonymous: bool,
) -> anyhow::Result<()> {
    let has_users = registry
        .store()
        .has_users()
        .await
        .context("can't read the users")?;
    if has_users || address.to_canonical().is_loopback() {
        return Ok(());
    }
    if allow_anonymous {
        tracing::warn!("there are no users: whoever reaches this server may change everything");
        return Ok(());
    }
    registry.store().close().await;
    Err(anyhow!(
        "{address} can be reached from other machines, and there are no users: add one with \
         `registry user add NAME --role admin`, or listen on 127.0.0.1, or let everybody change \
         everything with --allow-anonymous"
    ))
}

fn announce(args: &Args, address: std::net::SocketAddr, output: Output) -> std::io::Result<()> {
    let scheme = if args.tls_cert.is_some() {
        "https"
    } else {
        "http"
    };
    let url = if address.ip().is_unspecified() {
        format!("{scheme}://localhost:{}", address.port())
    } else {
        format!("{scheme}://{address}")
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

/// SIGHUP reads the files of TLS again; without TLS it ends the process, as it always does.
async fn reload_on_signal(reloader: registry::Reloader) {
    if !reloader.is_needed() {
        return;
    }
    let Ok(mut hangup) = tokio::signal::unix::signal(tokio::signal::unix::SignalKind::hangup())
    else {
        return;
    };
    while hangup.recv().await.is_some() {
        match reloader.reload().await {
            Ok(()) => tracing::info!("the certificate was read again"),
            Err(error) => tracing::error!(%error, "the old certificate stays"),
        }
    }
}
