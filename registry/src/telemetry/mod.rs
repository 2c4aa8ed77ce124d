//! What the server tells its operators: metrics for Prometheus, lines of the [`log`] with request
//! ids, traces for OpenTelemetry.

pub mod log;
mod metrics;
mod process;
mod traces;

use std::sync::Arc;

pub(crate) use metrics::{Now, RouteMetrics, Telemetry};
pub(crate) use traces::Traces;

/// The template of a route, shared by all that name it.
pub(crate) type Template = Arc<str>;
