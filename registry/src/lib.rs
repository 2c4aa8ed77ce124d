//! A model registry and tracking server that speaks the MLflow REST dialect.
//!
//! A request goes through three steps, each in its own module: [`api`] extracts it and maps the
//! answer, [`store`] holds all SQL behind one interface that knows no HTTP, [`artifacts`] holds
//! the files. [`filter`] is MLflow's search language. [`api::routes::ROUTES`] is the table of all
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
pub mod doctor;
pub mod events;
pub mod filter;
pub mod gc;
mod options;
mod server;
pub mod store;
pub mod transfer;

pub use options::{Options, sqlite_uri};
pub use server::{OpenError, Registry, serve};
pub use tokio_util::sync::CancellationToken;
