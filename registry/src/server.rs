//! Opening a registry and serving it.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use axum::serve::ListenerExt;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use crate::Options;
use crate::artifacts::ArtifactStore;
use crate::events::AliasEvents;
use crate::store::{OpenStoreError, Store};

/// How long requests under way may take after the stop was asked for.
const DRAIN: Duration = Duration::from_secs(10);

/// An open registry: its database and its artifact folder. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Registry {
    store: Store,
    alias_events: AliasEvents,
    artifacts: ArtifactStore,
    allowed_hosts: Arc<[String]>,
}

/// Why a registry can't be opened.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum OpenError {
    /// The database can't be used.
    #[error(transparent)]
    Store(#[from] OpenStoreError),
    /// The artifact folder can't be created or written.
    #[error("artifact folder `{path}` can't be written")]
    Artifacts {
        /// The folder.
        path: PathBuf,
        /// The cause.
        source: std::io::Error,
    },
}

impl Registry {
    /// Opens the database (creating or upgrading it) and the artifact folder.
    ///
    /// Several processes may have one registry open at once.
    ///
    /// # Errors
    /// When either can't be used; the message names which and why.
    pub async fn open(options: Options) -> Result<Self, OpenError> {
        let store = Store::open(&options.backend_store_uri).await?;
        let path = options.artifacts_destination;
        let artifacts = ArtifactStore::open(&path)
            .await
            .map_err(|source| OpenError::Artifacts { path, source })?;
        Ok(Self {
            alias_events: AliasEvents::new(store.clone()),
            store,
            artifacts,
            allowed_hosts: options.allowed_hosts.into(),
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
    // What is held open (long polls, events) must end before the drain does.
    let app = crate::api::routes::router(registry)
        .layer(axum::Extension(crate::api::Stopping(shutdown.clone())));
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
    let server = axum::serve(listener, app).with_graceful_shutdown(shutdown.cancelled_owned());
    let result = tokio::select! {
        result = server => result,
        () = drained => Ok(()),
    };
    store.close().await;
    result
}
