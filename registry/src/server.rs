//! Opening a registry and serving it.

use std::sync::Arc;

use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use crate::Options;
use crate::artifacts::{ArtifactStore, OpenArtifactsError, SigningKey};
use crate::audit::{Audit, AuditLevel};
use crate::auth::{Auth, Owners};
use crate::events::AliasEvents;
use crate::http::{Gateway, ServeOptions, ServerParts, Tls, TlsError, accept};
use crate::market::{FollowError, Follower};
use crate::store::{OpenStoreError, Store, StoreError};
use crate::telemetry::{Telemetry, Traces};
use crate::webhooks::{WebhookSetupError, Webhooks};

/// An open registry: its database and its artifacts. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Registry {
    store: Store,
    alias_events: AliasEvents,
    artifacts: ArtifactStore,
    signing_key: SigningKey,
    webhooks: Webhooks,
}

/// Why a registry can't be opened.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum OpenError {
    /// The database can't be used.
    #[error(transparent)]
    Store(#[from] OpenStoreError),
    /// The database failed.
    #[error("can't read the server's keys")]
    Keys(#[from] StoreError),
    /// The artifact store can't be written.
    #[error(transparent)]
    Artifacts(#[from] OpenArtifactsError),
    /// Webhooks can't be sent.
    #[error(transparent)]
    Webhooks(#[from] WebhookSetupError),
}

impl Registry {
    /// Opens the database (creating or upgrading it) and the artifact store.
    ///
    /// Several processes may have one registry open at once.
    ///
    /// # Errors
    /// When either can't be used; the message names which and why.
    pub async fn open(options: Options) -> Result<Self, OpenError> {
        let store = Store::open(&options.backend_store_uri).await?;
        let artifacts = ArtifactStore::open(&options.artifacts_destination).await?;
        let webhooks = Webhooks::open(store.clone(), options.webhooks).await?;
        // The one that the first of all replicas drew.
        let key = store.server_key("part-urls", &SigningKey::fresh()).await?;
        let signing_key = SigningKey::new(&key);
        Ok(Self {
            webhooks,
            alias_events: AliasEvents::new(store.clone()),
            store,
            artifacts,
            signing_key,
        })
    }

    /// What it knows.
    #[must_use]
    pub fn store(&self) -> &Store {
        &self.store
    }

    /// Where changes of aliases are told.
    #[must_use]
    pub fn alias_events(&self) -> &AliasEvents {
        &self.alias_events
    }

    /// The files that it keeps.
    #[must_use]
    pub fn artifacts(&self) -> &ArtifactStore {
        &self.artifacts
    }

    pub(crate) fn signing_key(&self) -> &SigningKey {
        &self.signing_key
    }

    /// What tells others of changes.
    pub(crate) fn webhooks(&self) -> &Webhooks {
        &self.webhooks
    }
}

/// Why a registry can't be served.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ServeError {
    /// TLS can't be set up.
    #[error(transparent)]
    Tls(#[from] TlsError),
    /// The database failed.
    #[error("can't read the database")]
    Store(#[from] StoreError),
    /// Kafka can't be followed as it was asked for.
    #[error("can't follow Kafka")]
    Market(#[from] FollowError),
}

/// A registry that is about to be served.
#[derive(Debug)]
pub struct Server {
    registry: Registry,
    gateway: Arc<Gateway>,
    writer: Option<tokio::task::JoinHandle<()>>,
    follower: Option<Follower>,
    stop: CancellationToken,
}

impl Server {
    /// Makes everything ready: users, TLS, the audit log, traces if the environment asks for them.
    ///
    /// # Errors
    /// When the database fails, or the files of TLS can't be used.
    pub async fn prepare(
        registry: Registry,
        options: ServeOptions,
        stop: CancellationToken,
    ) -> Result<Self, ServeError> {
        let tls = match options.tls.clone() {
            Some(files) => Some(Tls::open(files).await?),
            None => None,
        };
        let store = registry.store();
        let follower = match &options.market {
            Some(market) => Some(Follower::prepare(store.clone(), market).await?),
            None => None,
        };
        let market = follower.as_ref().map(|follower| follower.state().clone());
        let telemetry = Arc::new(Telemetry::new(market.as_ref()));
        let auth = Auth::open(store.clone(), Arc::clone(&telemetry), options.login_ttl).await?;
        let (audit, writer) = if options.audit == AuditLevel::Off {
            (None, None)
        } else {
            let telemetry = Arc::clone(&telemetry);
            let (audit, writer) = Audit::start(store.clone(), telemetry, options.audit_retention);
            (Some(audit), Some(writer))
        };
        let parts = ServerParts {
            owners: Owners::new(store.clone(), registry.artifacts().clone()),
            traces: Traces::from_env(),
            auth: Arc::new(auth),
            options,
            telemetry,
            tls,
            audit,
            market,
            stopping: stop.clone(),
        };
        let gateway = Arc::new(Gateway::new(parts, crate::api::routes::all()));
        Ok(Self {
            registry,
            gateway,
            writer,
            follower,
            stop,
        })
    }

    /// Something that reads the files of TLS again, for as long as the server runs.
    #[must_use]
    pub fn reloader(&self) -> Reloader {
        Reloader(self.gateway.tls().cloned())
    }

    /// Serves until the stop is asked for; then takes no new connection, finishes the requests
    /// under way, writes what is left of the audit log and the traces, and returns.
    pub async fn run(self, listener: TcpListener) {
        let store = self.registry.store.clone();
        let webhooks = self.registry.webhooks.clone();
        let traces = self.gateway.traces().cloned();
        // What is held open (long polls, events) must end before the drain does.
        let app = crate::api::routes::router(self.registry, &self.gateway)
            .layer(axum::Extension(crate::api::Stopping(self.stop.clone())));
        let watch = Arc::clone(self.gateway.auth()).watch(self.stop.clone());
        let watch = tokio::spawn(watch);
        let sending = {
            let stop = self.stop.clone();
            tokio::spawn(async move { webhooks.run(stop).await })
        };
        let following = self
            .follower
            .map(|follower| tokio::spawn(follower.run(self.stop.clone())));
        accept(listener, app, self.gateway, self.stop).await;
        // The last sender went with the gateway, unless a request was cut: then that one is lost.
        if let Some(writer) = self.writer
            && tokio::time::timeout(FLUSH, writer).await.is_err()
        {
            tracing::error!("the end of the audit log could not be written");
        }
        watch.abort();
        sending.await.ok();
        if let Some(following) = following {
            following.await.ok();
        }
        if let Some(traces) = traces {
            traces.stop().await;
        }
        store.close().await;
    }
}

/// How long the rest of the audit log may take to be written.
const FLUSH: std::time::Duration = std::time::Duration::from_secs(5);

/// Reads the files of TLS again.
#[derive(Debug, Clone)]
pub struct Reloader(Option<Tls>);

impl Reloader {
    /// Whether there is anything to read again.
    #[must_use]
    pub fn is_needed(&self) -> bool {
        self.0.is_some()
    }

    /// Reads the files again; new connections get the new certificate.
    ///
    /// # Errors
    /// When they can't be used; the old certificate stays.
    pub async fn reload(&self) -> Result<(), TlsError> {
        match &self.0 {
            Some(tls) => tls.reload().await,
            None => Ok(()),
        }
    }
}

/// Serves a registry as [`ServeOptions::default`] has it, until `shutdown` is cancelled.
///
/// # Errors
/// When the database fails before the first request.
pub async fn serve(
    listener: TcpListener,
    registry: Registry,
    shutdown: CancellationToken,
) -> Result<(), ServeError> {
    let server = Server::prepare(registry, ServeOptions::default(), shutdown).await?;
    server.run(listener).await;
    Ok(())
}
