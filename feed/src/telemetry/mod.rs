//! What a feed tells its operators: metrics for Prometheus, liveness and readiness.

mod metrics;

use clap::Args;

pub use metrics::Telemetry;

/// Where to answer for health.
#[derive(Debug, Clone, Args)]
pub struct TelemetryArgs {
    /// Answer /metrics, /livez and /readyz at this address, such as 0.0.0.0:9101.
    #[arg(long, env = "FEED_LISTEN", value_name = "HOST:PORT")]
    pub listen: Option<String>,
}
