//! From a socket to a handler and back: connections, TLS, and the gate that every request passes.
//!
//! A connection is accepted in [`accept`], perhaps decrypted ([`tls`]), and read by hyper; the
//! router finds the route, and [`gate`] stands before each: request id, `Host` and `Origin`
//! ([`origin`]), limits ([`limits`]), who asks and what they may do ([`crate::auth`]), then the
//! handler, then metrics, log and audit.

mod accept;
mod body;
mod gate;
mod gateway;
mod health;
mod limits;
mod options;
mod origin;
mod request_id;
mod tls;

pub use options::{ServeOptions, TlsFiles};
pub use tls::TlsError;

pub(crate) use accept::accept;
pub(crate) use gate::GateLayer;
pub(crate) use gateway::{Gateway, Parts as ServerParts};
pub(crate) use health::{livez, metrics, readyz};
pub(crate) use limits::{Buckets, Slots};
pub(crate) use request_id::current as current_request_id;
pub(crate) use tls::Tls;
