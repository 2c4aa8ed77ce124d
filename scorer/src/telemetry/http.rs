//! What is counted of requests.

use std::time::Duration;

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;

use super::{Histograms, seconds};

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct RequestLabels {
    route: &'static str,
    status: u16,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct RouteLabels {
    route: &'static str,
}

/// Requests, their answers, and what is told of commits.
#[derive(Debug)]
pub(crate) struct HttpMetrics {
    requests: Family<RequestLabels, Counter>,
    durations: Histograms<RouteLabels>,
    in_flight: Gauge,
    predicted: Counter,
    untold: Counter,
    streams: Gauge,
    missed: Counter,
}

impl HttpMetrics {
    pub(super) fn register(registry: &mut Registry) -> Self {
        let metrics = Self {
            requests: Family::default(),
            durations: Family::new_with_constructor(seconds),
            in_flight: Gauge::default(),
            predicted: Counter::default(),
            untold: Counter::default(),
            streams: Gauge::default(),
            missed: Counter::default(),
        };
        registry.register(
            "http_requests",
            "Requests, by route and status",
            metrics.requests.clone(),
        );
        registry.register(
            "http_request_duration_seconds",
            "Time to the first byte of the answer, by route",
            metrics.durations.clone(),
        );
        registry.register(
            "http_requests_in_flight",
            "Requests that are being answered",
            metrics.in_flight.clone(),
        );
        registry.register(
            "predicted_rows",
            "Rows scored for callers",
            metrics.predicted.clone(),
        );
        registry.register(
            "untold",
            "Candles, rows and alerts that were committed, but neither remembered nor streamed: whoever tells was behind",
            metrics.untold.clone(),
        );
        registry.register(
            "event_streams",
            "Readers of the event stream",
            metrics.streams.clone(),
        );
        registry.register(
            "event_stream_missed",
            "Events that readers of the stream were too slow for",
            metrics.missed.clone(),
        );
        metrics
    }

    pub(crate) fn answered(&self, route: &'static str, status: u16, took: Duration) {
        let labels = RequestLabels { route, status };
        self.requests.get_or_create(&labels).inc();
        self.durations
            .get_or_create(&RouteLabels { route })
            .observe(took.as_secs_f64());
    }

    pub(crate) fn in_flight(&self, change: i64) {
        self.in_flight.inc_by(change);
    }

    pub(crate) fn predicted(&self, n_rows: usize) {
        self.predicted.inc_by(n_rows as u64);
    }

    /// What was said and nobody was told of.
    pub(crate) fn untold(&self, n: usize) {
        self.untold.inc_by(n as u64);
    }

    pub(crate) fn n_untold(&self) -> u64 {
        self.untold.get()
    }

    pub(crate) fn streams(&self, change: i64) {
        self.streams.inc_by(change);
    }

    pub(crate) fn missed(&self, n: u64) {
        self.missed.inc_by(n);
    }
}
