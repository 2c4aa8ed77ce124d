//! The log, on stderr.

use tracing_subscriber::EnvFilter;

/// Logs to stderr from now on: what `RUST_LOG` asks for, else `level`.
pub fn init(level: &str) {
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new(level));
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .init();
}
