//! How a registry is served.

use std::net::IpAddr;
use std::path::PathBuf;
use std::time::Duration;

use crate::MarketOptions;
use crate::audit::AuditLevel;

/// How a registry is served: who may connect, and how much of everything they get.
#[derive(Debug, Clone)]
pub struct ServeOptions {
    /// The names that a request's `Host` header may have, with `*` as a wildcard; others are
    /// refused, against DNS rebinding. Empty stands for this machine and private addresses.
    pub allowed_hosts: Vec<String>,
    /// The origins whose pages may talk to this server, beside this machine's; `*` is any, then
    /// without credentials.
    pub cors_allowed_origins: Vec<String>,
    /// The certificate and key of TLS; without them it is plain HTTP.
    pub tls: Option<TlsFiles>,
    /// Proxies whose `X-Forwarded-For` is believed.
    pub trusted_proxies: Vec<IpAddr>,
    /// The largest body of a request that is no artifact, in bytes.
    pub max_body_bytes: u64,
    /// How long the head of a request may take, and how long a connection may be idle.
    pub header_timeout: Duration,
    /// How long a request may take that streams nothing.
    pub request_timeout: Duration,
    /// How long an upload may send nothing.
    pub body_idle_timeout: Duration,
    /// How many connections there may be at once.
    pub max_connections: usize,
    /// How many requests may be under way at once.
    pub max_in_flight: usize,
    /// How many requests a second one client address may send; absent is any number.
    pub rate_limit: Option<u32>,
    /// From when on a request counts as slow and is logged.
    pub slow_request: Duration,
    /// How long requests under way may take after the stop was asked for.
    pub shutdown_timeout: Duration,
    /// How long a verified login is believed without asking the database.
    pub login_ttl: Duration,
    /// What the audit log keeps.
    pub audit: AuditLevel,
    /// How long the audit log keeps it; absent is for ever.
    pub audit_retention: Option<Duration>,
    /// How Kafka is followed; absent is not at all.
    pub market: Option<MarketOptions>,
}

/// The files of a TLS server, both PEM.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TlsFiles {
    /// The certificate, followed by its chain.
    pub cert: PathBuf,
    /// The private key.
    pub key: PathBuf,
}

impl Default for ServeOptions {
    /// What `registry serve` has by default.
    fn default() -> Self {
        Self {
            allowed_hosts: Vec::new(),
            cors_allowed_origins: Vec::new(),
            tls: None,
            trusted_proxies: Vec::new(),
            max_body_bytes: 32 * 1024 * 1024,
            header_timeout: Duration::from_secs(60),
            request_timeout: Duration::from_secs(120),
            body_idle_timeout: Duration::from_secs(60),
            max_connections: 10_000,
            max_in_flight: 1_000,
            rate_limit: None,
            slow_request: Duration::from_secs(1),
            shutdown_timeout: Duration::from_secs(10),
            login_ttl: Duration::from_secs(60),
            audit: AuditLevel::Changes,
            audit_retention: None,
            market: None,
        }
    }
}
