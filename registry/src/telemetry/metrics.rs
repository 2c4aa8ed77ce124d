//! Metrics in the format of Prometheus.
//!
//! What a request touches is looked up once per route when the server starts: a request costs a
//! few atomic operations.

use std::sync::OnceLock;
use std::time::Duration;

use axum::http::StatusCode;
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::encoding::text::encode;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::{Registry, Unit};

use super::Template;
use super::process::Process;

/// Seconds: from a cached read to a large search.
const LATENCY: [f64; 14] = [
    0.000_25, 0.000_5, 0.001, 0.002_5, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 5.0, 30.0,
];

/// The statuses that have a counter ready; the others are looked up.
const STATUSES: [u16; 24] = [
    200, 201, 204, 206, 302, 303, 304, 400, 401, 403, 404, 405, 408, 409, 412, 413, 416, 429, 500,
    501, 502, 503, 504, 507,
];

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct RequestLabels {
    method: &'static str,
    route: Template,
    status: u16,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct RouteLabels {
    method: &'static str,
    route: Template,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct DirectionLabels {
    direction: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ResultLabels {
    result: &'static str,
}

/// All metrics of one server.
#[derive(Debug)]
pub(crate) struct Telemetry {
    registry: Registry,
    requests: Family<RequestLabels, Counter>,
    latency: Family<RouteLabels, Histogram, fn() -> Histogram>,
    in_flight: Gauge,
    connections: Gauge,
    refused_connections: Counter,
    refused_requests: Counter,
    logins: Family<ResultLabels, Counter>,
    audit_lost: Counter,
    pool_used: Gauge,
    pool_idle: Gauge,
    pub(crate) artifact_bytes_in: Counter,
    pub(crate) artifact_bytes_out: Counter,
}

/// The metrics of one route.
#[derive(Debug)]
pub(crate) struct RouteMetrics {
    labels: RouteLabels,
    requests: Family<RequestLabels, Counter>,
    latency: Histogram,
    ready: [OnceLock<Counter>; STATUSES.len()],
}

impl RouteMetrics {
    /// Counts a request that was answered.
    pub(crate) fn observe(&self, status: StatusCode, elapsed: Duration) {
        self.latency.observe(elapsed.as_secs_f64());
        let status = status.as_u16();
        match STATUSES.iter().position(|ready| *ready == status) {
            Some(i) => self.ready[i].get_or_init(|| self.counter(status)).inc(),
            None => self.counter(status).inc(),
        };
    }

    fn counter(&self, status: u16) -> Counter {
        let labels = RequestLabels {
            method: self.labels.method,
            route: self.labels.route.clone(),
            status,
        };
        self.requests.get_or_create(&labels).clone()
    }
}

impl Telemetry {
    pub(crate) fn new(market: Option<&crate::market::State>) -> Self {
        let mut registry = Registry::with_prefix("registry");
        let bytes = Family::<DirectionLabels, Counter>::default();
        let counter = |direction| bytes.get_or_create_owned(&DirectionLabels { direction });
        let telemetry = Self {
            requests: Family::default(),
            latency: Family::new_with_constructor(|| Histogram::new(LATENCY)),
            in_flight: Gauge::default(),
            connections: Gauge::default(),
            refused_connections: Counter::default(),
            refused_requests: Counter::default(),
            logins: Family::default(),
            audit_lost: Counter::default(),
            pool_used: Gauge::default(),
            pool_idle: Gauge::default(),
            artifact_bytes_in: counter("in"),
            artifact_bytes_out: counter("out"),
            registry: Registry::default(),
        };
        registry.register(
            "http_requests",
            "Requests answered",
            telemetry.requests.clone(),
        );
        registry.register_with_unit(
            "http_request_duration",
            "Time from the head of a request to the head of its answer",
            Unit::Seconds,
            telemetry.latency.clone(),
        );
        registry.register(
            "http_requests_in_flight",
            "Requests under way",
            telemetry.in_flight.clone(),
        );
        registry.register(
            "http_requests_refused",
            "Requests refused because there were too many, or too many of one client",
            telemetry.refused_requests.clone(),
        );
        registry.register(
            "connections",
            "Connections open",
            telemetry.connections.clone(),
        );
        registry.register(
            "connections_refused",
            "Connections refused because there were too many",
            telemetry.refused_connections.clone(),
        );
        registry.register(
            "logins",
            "Credentials verified, by result; cached ones are not counted",
            telemetry.logins.clone(),
        );
        registry.register(
            "audit_events_lost",
            "Events that the audit log could not keep",
            telemetry.audit_lost.clone(),
        );
        registry.register(
            "database_connections_used",
            "Database connections at work",
            telemetry.pool_used.clone(),
        );
        registry.register(
            "database_connections_idle",
            "Database connections waiting for work",
            telemetry.pool_idle.clone(),
        );
        registry.register_with_unit(
            "artifact",
            "Bytes of artifacts that were moved",
            Unit::Bytes,
            bytes,
        );
        registry.register_collector(Box::new(Process));
        if let Some(market) = market {
            market.register(&mut registry);
        }
        Self {
            registry,
            ..telemetry
        }
    }

    /// The metrics of a route, to be looked up once.
    pub(crate) fn route(&self, method: &'static str, route: Template) -> RouteMetrics {
        let labels = RouteLabels { method, route };
        RouteMetrics {
            requests: self.requests.clone(),
            latency: self.latency.get_or_create_owned(&labels),
            ready: [const { OnceLock::new() }; STATUSES.len()],
            labels,
        }
    }

    pub(crate) fn refused_connection(&self) {
        self.refused_connections.inc();
    }

    pub(crate) fn refused_request(&self) {
        self.refused_requests.inc();
    }

    /// Credentials were looked at.
    pub(crate) fn login(&self, result: &'static str) {
        self.logins.get_or_create(&ResultLabels { result }).inc();
    }

    pub(crate) fn audit_lost(&self, events: u64) {
        self.audit_lost.inc_by(events);
    }

    /// All of it as text, with what is only known now.
    pub(crate) fn render(&self, now: Now) -> Result<String, std::fmt::Error> {
        let gauge = |gauge: &Gauge, value: usize| {
            gauge.set(i64::try_from(value).unwrap_or(i64::MAX));
        };
        gauge(&self.in_flight, now.in_flight);
        gauge(&self.connections, now.connections);
        gauge(&self.pool_used, now.pool_used);
        gauge(&self.pool_idle, now.pool_idle);
        let mut text = String::with_capacity(16 * 1024);
        encode(&mut text, &self.registry)?;
        Ok(text)
    }
}

/// What is asked for when metrics are read, not counted as it happens.
#[derive(Debug)]
pub(crate) struct Now {
    pub(crate) in_flight: usize,
    pub(crate) connections: usize,
    pub(crate) pool_used: usize,
    pub(crate) pool_idle: usize,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_are_counted_by_route_and_status() {
        let telemetry = Telemetry::new(None);
        let route = telemetry.route("GET", "/x/{id}".into());
        for status in [200, 200, 418] {
            route.observe(
                StatusCode::from_u16(status).unwrap(),
                Duration::from_micros(700),
            );
        }
        telemetry.artifact_bytes_in.inc_by(5);
        let now = Now {
            in_flight: 3,
            connections: 0,
            pool_used: 1,
            pool_idle: 2,
        };
        let text = telemetry.render(now).unwrap();
        for line in [
            r#"registry_http_requests_total{method="GET",route="/x/{id}",status="200"} 2"#,
            r#"registry_http_requests_total{method="GET",route="/x/{id}",status="418"} 1"#,
            r#"registry_http_request_duration_seconds_bucket{le="0.0005",method="GET",route="/x/{id}"} 0"#,
            r#"registry_http_request_duration_seconds_bucket{le="0.001",method="GET",route="/x/{id}"} 3"#,
            r#"registry_artifact_bytes_total{direction="in"} 5"#,
            "registry_http_requests_in_flight 3",
            "registry_database_connections_idle 2",
        ] {
            assert!(text.lines().any(|found| found == line), "{line}\n{text}");
        }
        assert!(text.contains("process_resident_memory_bytes "), "{text}");
    }
}
