//! The connection: a registry somewhere, or one embedded in this process.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::Context;
use mlflow_api::{Client, ClientError, ClientOptions, Credentials};
use registry::{Options, Registry};
use tokio::runtime::Runtime;
use tokio_util::sync::CancellationToken;

use crate::exit::Environment;
use crate::interrupt::{Interrupt, Interrupted};

/// Where runs go when nobody says otherwise.
pub const DEFAULT_TRACKING_URI: &str = "sqlite:///foreshock/registry.db";

/// A registry to talk to, in blocking calls.
#[derive(Debug)]
pub struct Tracking {
    runtime: Arc<Runtime>,
    client: Client,
    /// For what is said to a registry that was just lost: it doesn't insist.
    hasty: Client,
    uri: String,
    embedded: Option<Embedded>,
    interrupt: Interrupt,
}

/// A registry in this process.
#[derive(Debug)]
struct Embedded {
    stop: CancellationToken,
    artifacts: PathBuf,
}

impl Tracking {
    /// Connects to the registry at `uri`; `sqlite:///FILE` starts one in this
    /// process, its artifacts in the folder `artifacts` beside the file. Calls end early
    /// when `interrupt` asks to stop.
    ///
    /// # Errors
    /// An [`Environment`] error when the URI is no registry's or nobody answers there.
    pub fn connect(
        runtime: Arc<Runtime>,
        uri: Option<&str>,
        interrupt: Interrupt,
    ) -> anyhow::Result<Self> {
        let patient = client_options()?;
        let uri = given_or_default(uri);
        let (base, embedded) = match uri.strip_prefix("sqlite:///") {
            Some(path) => {
                let (base, embedded) =
                    start_embedded(&runtime, Path::new(path)).map_err(environment(uri))?;
                (base, Some(embedded))
            }
            None => (uri.to_owned(), None),
        };
        let client = |options| {
            Client::new(&base, credentials(), options).context(Environment(
                "can't use the tracking URI; give http(s)://… or sqlite:///FILE".to_owned(),
            ))
        };
        let tracking = Self {
            runtime,
            client: client(patient)?,
            hasty: client(ClientOptions {
                connect_timeout: Duration::from_secs(2),
                timeout: Duration::from_secs(5),
                max_retries: 1,
                ..ClientOptions::default()
            })?,
            uri: redact(uri),
            embedded,
            interrupt,
        };
        tracking.call_once(|client| async move { client.health().await })?;
        Ok(tracking)
    }

    /// The URI as it was given, without user and password.
    pub fn uri(&self) -> &str {
        &self.uri
    }

    /// As [`connect`](Self::connect), but only to a registry that is there: an embedded one isn't made.
    ///
    /// # Errors
    /// As [`connect`](Self::connect); an [`Environment`] error when its file is missing.
    pub fn connect_to_existing(
        runtime: Arc<Runtime>,
        uri: Option<&str>,
        interrupt: Interrupt,
    ) -> anyhow::Result<Self> {
        let uri = given_or_default(uri);
        if let Some(path) = uri.strip_prefix("sqlite:///")
            && !Path::new(path).exists()
        {
            return Err(Environment(format!(
                "there is no registry `{path}` here; name one by --tracking-uri or MLFLOW_TRACKING_URI"
            ))
            .into());
        }
        Self::connect(runtime, Some(uri), interrupt)
    }

    /// Where an artifact can be opened: the file of an embedded registry, the URI of another.
    pub fn locate(&self, artifact_uri: &str) -> String {
        match (
            &self.embedded,
            artifact_uri.strip_prefix("mlflow-artifacts:/"),
        ) {
            (Some(embedded), Some(path)) => embedded
                .artifacts
                .join(path.trim_start_matches('/'))
                .display()
                .to_string(),
            _ => artifact_uri.to_owned(),
        }
    }

    /// Makes one call and waits for its answer.
    ///
    /// # Errors
    /// What the registry answered; an [`Environment`] error when it didn't; [`Interrupted`]
    /// when it hadn't yet as somebody asked to stop.
    pub fn call<T, F>(&self, call: impl FnOnce(Client) -> F) -> anyhow::Result<T>
    where
        F: Future<Output = Result<T, ClientError>>,
    {
        let answer = call(self.client.clone());
        self.runtime.block_on(async {
            tokio::select! {
                biased;
                () = self.interrupt.requested() => Err(Interrupted.into()),
                answer = answer => answer.map_err(|error| self.explain(error)),
            }
        })
    }

    /// Like [`Tracking::call`], but gives up after a few seconds, and isn't interrupted.
    ///
    /// # Errors
    /// As [`Tracking::call`].
    pub fn call_once<T, F>(&self, call: impl FnOnce(Client) -> F) -> anyhow::Result<T>
    where
        F: Future<Output = Result<T, ClientError>>,
    {
        self.runtime
            .block_on(call(self.hasty.clone()))
            .map_err(|error| self.explain(error))
    }

    fn explain(&self, error: ClientError) -> anyhow::Error {
        let why = match &error {
            ClientError::Unreachable { .. } => "doesn't answer",
            ClientError::Unreadable { .. } => "doesn't speak MLflow's dialect",
            ClientError::Refused {
                status: 401 | 403, ..
            } => "refuses the credentials",
            ClientError::Refused {
                status: 500..=599, ..
            } => "failed",
            _ => return error.into(),
        };
        let said = format!("the registry at {} {why}", self.uri);
        anyhow::Error::from(error).context(Environment(said))
    }
}

fn given_or_default(uri: Option<&str>) -> &str {
    uri.map(str::trim)
        .filter(|uri| !uri.is_empty())
        .unwrap_or(DEFAULT_TRACKING_URI)
}

/// Whether `error` says that the registry was lost.
pub(crate) fn is_registry_lost(error: &anyhow::Error) -> bool {
    error.chain().any(|cause| {
        cause
            .downcast_ref::<ClientError>()
            .is_some_and(ClientError::is_unreachable)
    })
}

impl Drop for Tracking {
    fn drop(&mut self) {
        if let Some(embedded) = &self.embedded {
            embedded.stop.cancel();
        }
    }
}

fn environment(uri: &str) -> impl Fn(anyhow::Error) -> anyhow::Error {
    let message = format!("can't open the embedded registry `{uri}`");
    move |error| error.context(Environment(message.clone()))
}

fn start_embedded(runtime: &Runtime, database: &Path) -> anyhow::Result<(String, Embedded)> {
    let folder = database
        .parent()
        .filter(|folder| !folder.as_os_str().is_empty())
        .map_or_else(|| PathBuf::from("."), Path::to_owned);
    std::fs::create_dir_all(&folder)
        .with_context(|| format!("can't create the folder `{}`", folder.display()))?;
    let stop = CancellationToken::new();
    let artifacts = folder.join("artifacts");
    let options = Options {
        backend_store_uri: registry::sqlite_uri(database),
        artifacts_destination: artifacts.clone().into(),
        ..Options::default()
    };
    let shutdown = stop.clone();
    runtime.block_on(async move {
        let registry = Registry::open(options).await?;
        let listener = tokio::net::TcpListener::bind(("127.0.0.1", 0)).await?;
        let base = format!("http://{}", listener.local_addr()?);
        tokio::spawn(async move {
            if let Err(error) = registry::serve(listener, registry, shutdown).await {
                tracing::error!(%error, "embedded registry stopped");
            }
        });
        anyhow::Ok((base, Embedded { stop, artifacts }))
    })
}

fn variable(name: &str) -> Option<String> {
    std::env::var(name).ok().filter(|value| !value.is_empty())
}

fn credentials() -> Credentials {
    Credentials::from_parts(
        variable("MLFLOW_TRACKING_USERNAME"),
        variable("MLFLOW_TRACKING_PASSWORD"),
        variable("MLFLOW_TRACKING_TOKEN"),
    )
}

/// How patient calls are, as MLflow's own variables say.
fn client_options() -> anyhow::Result<ClientOptions> {
    let number = |name: &str| -> anyhow::Result<Option<u32>> {
        variable(name)
            .map(|text| text.trim().parse())
            .transpose()
            .with_context(|| Environment(format!("`{name}` is not a whole number")))
    };
    let mut options = ClientOptions::default();
    if let Some(retries) = number("MLFLOW_HTTP_REQUEST_MAX_RETRIES")? {
        options.max_retries = retries;
    }
    if let Some(seconds) = number("MLFLOW_HTTP_REQUEST_TIMEOUT")? {
        options.timeout = Duration::from_secs(seconds.into());
    }
    Ok(options)
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
