//! Opening a registry and serving it.

use std::sync::Arc;
use std::time::Duration;

use axum::serve::ListenerExt;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use crate::Options;
use crate::artifacts::{ArtifactStore, OpenArtifactsError, SigningKey};
use crate::store::{OpenStoreError, Store};
use crate::webhooks::{WebhookSetupError, Webhooks};

/// How long requests under way may take after the stop was asked for.
const DRAIN: Duration = Duration::from_secs(10);

/// An open registry: its database and its artifacts. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Registry {
    store: Store,
    artifacts: ArtifactStore,
    signing_key: SigningKey,
    webhooks: Webhooks,
    allowed_hosts: Arc<[String]>,
}

/// Why a registry can't be opened.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum OpenError {
    /// The database can't be used.
    #[error(transparent)]
    Store(#[from] OpenStoreError),
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
        Ok(Self {
            webhooks,
            store,
            artifacts,
            signing_key: SigningKey::random(),
            allowed_hosts: options.allowed_hosts.into(),
        })
    }

    /// What it knows.
    #[must_use]
    pub fn store(&self) -> &Store {
        &self.store
    }

    /// The files that it keeps.
    #[must_use]
    pub fn artifacts(&self) -> &ArtifactStore {
        &self.artifacts
    }

    /// With another key for the URLs that it gives out: replicas must have the same one.
    #[must_use]
    pub fn with_signing_key(mut self, key: SigningKey) -> Self {
        self.signing_key = key;
        self
    }

    pub(crate) fn signing_key(&self) -> &SigningKey {
        &self.signing_key
    }

    /// What tells others of changes.
    pub(crate) fn webhooks(&self) -> &Webhooks {
        &self.webhooks
    }

    pub(crate) fn allowed_hosts(&self) -> &[String] {
        &self.allowed_hosts
    }
}

/// Serves a registry until `shutdown` is cancelled; then takes no new connection, finishes the
/// requests under way (10 s at most) and returns.
///
/// # Errors
/// When the listener fails.
pub async fn serve(
    listener: TcpListener,
    registry: Registry,
    shutdown: CancellationToken,
) -> std::io::Result<()> {
    let store = registry.store.clone();
    let webhooks = registry.webhooks.clone();
    let sending = {
        let shutdown = shutdown.clone();
        tokio::spawn(async move { webhooks.run(shutdown).await })
    };
    let app = crate::api::routes::router(registry);
    let listener = listener.tap_io(|stream| {
        // A client must not wait for a delayed ACK; a socket that can't is slower, not wrong.
        stream.set_nodelay(true).ok();
    });
    let drained = {
        let shutdown = shutdown.clone();
        async move {
            shutdown.cancelled().await;
            tokio::time::sleep(DRAIN).await;
        }
    };
    let server =
        axum::serve(listener, app).with_graceful_shutdown(shutdown.clone().cancelled_owned());
    let result = tokio::select! {
        result = server => result,
        () = drained => Ok(()),
    };
    // Ends with the shutdown; after a failed listener nobody cancelled it.
    shutdown.cancel();
    sending.await.ok();
    store.close().await;
    result
}
