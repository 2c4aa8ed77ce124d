//! The wire types of the MLflow REST dialect (3.17), shared by the registry's server and by every
//! program that talks to one, and an asynchronous [`Client`].
//!
//! - [`types`]: requests and responses, one module per resource. All fields are read leniently
//!   (int64 as number or string, enums by name or number) and written as MLflow writes them
//!   (int64 as number, NaN and infinities as strings, absent fields omitted).
//! - [`error`]: the error body and its codes.
//! - [`client`]: the client: retries, limits, artifacts.
#![cfg_attr(test, allow(clippy::unwrap_used))]

pub mod client;
pub mod error;
pub mod schema;
pub mod types;
pub mod wire;

pub use client::{AliasWatch, ArtifactContent, Client, ClientError, ClientOptions, Credentials};
pub use error::{ErrorBody, ErrorCode};
