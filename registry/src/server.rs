//! Opening a registry and serving it.

use std::path::PathBuf;
use std::time::Duration;

use axum::Router;
use axum::serve::ListenerExt;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use crate::Options;

/// How long requests under way may take after the stop was asked for.
const DRAIN: Duration = Duration::from_secs(10);

/// An open registry: its database and its artifact folder. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Registry {}

/// Why a registry can't be opened.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum OpenError {
    /// The database's URI is not of a kind that is served.
    #[error("backend store uri `{uri}`: {reason}")]
    Uri {
        /// The URI.
        uri: String,
        /// What is wrong with it.
        reason: String,
    },
    /// A folder can't be created or written.
    #[error("folder `{path}` can't be written")]
    Folder {
        /// The folder.
        path: PathBuf,
        /// The cause.
        source: std::io::Error,
    },
}

impl Registry {
    /// Opens the database (creating or upgrading it) and the artifact folder.
    ///
    /// # Errors
    /// When either can't be used; the message names which and why.
    pub async fn open(options: Options) -> Result<Self, OpenError> {
        let folder = &options.artifacts_destination;
        tokio::fs::create_dir_all(folder)
            .await
            .map_err(|source| OpenError::Folder {
                path: folder.clone(),
                source,
            })?;
        Ok(Self {})
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
    let app = Router::new().with_state(registry);
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
    tokio::select! {
        result = server => result,
        () = drained => Ok(()),
    }
}
