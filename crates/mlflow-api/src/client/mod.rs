//! An asynchronous client of any server that speaks the MLflow REST dialect.
//!
//! Transient failures (no connection, 429, 5xx) are retried with jittered, bounded back-off; the
//! requests that create something are only repeated when the server can't have seen them.
//! [`ClientError::Unreachable`] and [`ClientError::Refused`] tell a server that is down from one
//! that said no.

mod artifacts;
mod credentials;
mod error;
mod models;
mod pages;
mod runs;
mod transport;
mod watch;

pub use artifacts::ArtifactContent;
pub use credentials::Credentials;
pub use error::ClientError;
pub use pages::Content;
pub use transport::{Client, ClientOptions};
pub use watch::AliasWatch;
