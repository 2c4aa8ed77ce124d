//! A model registry and tracking server that speaks the MLflow REST dialect.
//!
//! A request goes through three steps, each in its own module: [`api`] extracts it and maps the
//! answer, [`store`] holds all SQL behind one interface that knows no HTTP, [`artifacts`] holds
//! the files. Before each stands one gate, which knows who asks ([`auth`]) and counts ([`telemetry`]).
//! [`filter`] is MLflow's search language. [`api::routes::ROUTES`] is the table of all
//! routes.
//!
//! ```no_run
//! # async fn example() -> Result<(), Box<dyn std::error::Error>> {
//! use registry::{CancellationToken, Options, Registry};
//!
//! let registry = Registry::open(Options::default()).await?;
//! let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await?;
//! println!("http://{}", listener.local_addr()?);
//! registry::serve(listener, registry, CancellationToken::new()).await?;
//! # Ok(()) }
//! ```
#![cfg_attr(test, allow(clippy::unwrap_used))]

pub mod api;
pub mod artifacts;
mod audit;
pub mod auth;
pub mod doctor;
pub mod events;
pub mod filter;
pub mod gc;
mod http;
mod market;
mod options;
pub mod otlp;
mod server;
pub mod store;
pub mod telemetry;
pub mod transfer;
mod webhooks;

pub use self::market::{FollowError, MarketOptions};
pub use audit::AuditLevel;
pub use http::{ServeOptions, TlsError, TlsFiles};
pub use options::{Options, sqlite_uri};
pub use server::{OpenError, Registry, Reloader, ServeError, Server, serve};
pub use tokio_util::sync::CancellationToken;
pub use webhooks::{WebhookOptions, WebhookSetupError, Webhooks};
