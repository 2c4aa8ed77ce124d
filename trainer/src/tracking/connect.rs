//! The connection: a registry somewhere, or one embedded in this process.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use anyhow::Context;
use mlflow_api::{Client, ClientError, ClientOptions, Credentials};
use registry::{Options, Registry};
use tokio::runtime::Runtime;
use tokio_util::sync::CancellationToken;

use crate::exit::Environment;

/// Where runs go when nobody says otherwise.
pub const DEFAULT_TRACKING_URI: &str = "sqlite:///foreshock/registry.db";

/// A registry to talk to, in blocking calls.
#[derive(Debug)]
pub struct Tracking {
    runtime: Arc<Runtime>,
    client: Client,
    uri: String,
    embedded: Option<CancellationToken>,
}

impl Tracking {
    /// Connects to the registry at `uri`; `sqlite:///FILE` starts one in this
    /// process, its artifacts in the folder `artifacts` beside the file.
    ///
    /// # Errors
    /// An [`Environment`] error when the URI is no registry's or nobody answers there.
    pub fn connect(runtime: Arc<Runtime>, uri: Option<&str>) -> anyhow::Result<Self> {
        let uri = uri
            .map(str::trim)
            .filter(|uri| !uri.is_empty())
            .unwrap_or(DEFAULT_TRACKING_URI);
        let (base, embedded) = match uri.strip_prefix("sqlite:///") {
            Some(path) => {
                let (base, token) =
                    start_embedded(&runtime, Path::new(path)).map_err(environment(uri))?;
                (base, Some(token))
            }
            None => (uri.to_owned(), None),
        };
        let client = Client::new(&base, credentials(), ClientOptions::default())
            .map_err(anyhow::Error::from)
            .map_err(|error| {
                error.context(Environment(
                    "can't use the tracking URI; give http(s)://… or sqlite:///FILE".to_owned(),
                ))
            })?;
        let tracking = Self {
            runtime,
            client,
            uri: uri.to_owned(),
            embedded,
        };
        tracking.call(|client| async move { client.health().await })?;
        Ok(tracking)
    }

    /// The URI as it was given.
    pub fn uri(&self) -> &str {
        &self.uri
    }

    /// Makes one call and waits for its answer.
    ///
    /// # Errors
    /// What the registry answered; an [`Environment`] error when it didn't.
    pub fn call<T, F>(&self, call: impl FnOnce(Client) -> F) -> anyhow::Result<T>
    where
        F: Future<Output = Result<T, ClientError>>,
    {
        self.runtime
            .block_on(call(self.client.clone()))
            .map_err(|error| {
                let unreachable = error.is_unreachable();
                let error = anyhow::Error::from(error);
                if unreachable {
                    error.context(Environment(format!(
                        "the registry at {} doesn't answer",
                        redact(&self.uri)
                    )))
                } else {
                    error
                }
            })
    }
}

impl Drop for Tracking {
    fn drop(&mut self) {
        if let Some(token) = &self.embedded {
            token.cancel();
        }
    }
}

fn environment(uri: &str) -> impl Fn(anyhow::Error) -> anyhow::Error {
    let message = format!("can't open the embedded registry `{uri}`");
    move |error| error.context(Environment(message.clone()))
}

fn start_embedded(
    runtime: &Runtime,
    database: &Path,
) -> anyhow::Result<(String, CancellationToken)> {
    let folder = database
        .parent()
        .filter(|folder| !folder.as_os_str().is_empty())
        .map_or_else(|| PathBuf::from("."), Path::to_owned);
    std::fs::create_dir_all(&folder)
        .with_context(|| format!("can't create the folder `{}`", folder.display()))?;
    let token = CancellationToken::new();
    let options = Options {
        backend_store_uri: registry::sqlite_uri(database),
        artifacts_destination: folder.join("artifacts"),
        ..Options::default()
    };
    let shutdown = token.clone();
    runtime.block_on(async move {
        let registry = Registry::open(options).await?;
        let listener = tokio::net::TcpListener::bind(("127.0.0.1", 0)).await?;
        let base = format!("http://{}", listener.local_addr()?);
        tokio::spawn(async move {
            if let Err(error) = registry::serve(listener, registry, shutdown).await {
                tracing::error!(%error, "embedded registry stopped");
            }
        });
        anyhow::Ok((base, token))
    })
}

fn credentials() -> Credentials {
    let read = |name| {
        std::env::var(name)
            .ok()
            .filter(|value: &String| !value.is_empty())
    };
    Credentials::from_parts(
        read("MLFLOW_TRACKING_USERNAME"),
        read("MLFLOW_TRACKING_PASSWORD"),
        read("MLFLOW_TRACKING_TOKEN"),
    )
}

/// `uri` without user and password.
fn redact(uri: &str) -> String {
    match uri.split_once("://") {
        Some((scheme, rest)) => {
            let (authority, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
            let host = authority
                .rsplit_once('@')
                .map_or(authority, |(_, host)| host);
            format!("{scheme}://{host}{path}")
        }
        None => uri.to_owned(),
    }
}

/// Now, ms since the epoch: MLflow's unit.
pub(crate) fn now_ms() -> i64 {
    let elapsed = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default();
    i64::try_from(elapsed.as_millis()).unwrap_or(i64::MAX)
}
