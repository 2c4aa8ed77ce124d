//! What all connections and requests of a server share.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use axum::body::Body;
use axum::extract::MatchedPath;
use axum::http::{Method, Request};
use tokio_util::sync::CancellationToken;

use super::ServeOptions;
use super::health::Readiness;
use super::limits::{Buckets, Slots};
use super::origin::Origins;
use super::tls::Tls;
use crate::audit::{Audit, AuditLevel};
use crate::auth::{Auth, Owners, Role, Rule, rule_of};
use crate::market;
use crate::telemetry::{RouteMetrics, Telemetry, Template, Traces};

/// What all connections and requests of a server share.
#[derive(Debug)]
pub(crate) struct Gateway {
    options: ServeOptions,
    telemetry: Arc<Telemetry>,
    connections: Slots,
    pub(super) in_flight: Slots,
    pub(super) per_client: Option<Buckets<IpAddr>>,
    pub(super) origins: Origins,
    tls: Option<Tls>,
    auth: Arc<Auth>,
    pub(super) owners: Owners,
    pub(super) audit: Option<Audit>,
    pub(super) traces: Option<Traces>,
    pub(super) stopping: CancellationToken,
    /// The routes of the table, known from the start.
    routes: HashMap<Template, Methods>,
    /// The others, as they are met.
    others: RwLock<HashMap<(&'static str, String), Arc<Entry>>>,
    unmatched: Arc<Entry>,
    pub(super) readiness: Readiness,
    /// How following Kafka goes, where it is followed.
    pub(super) market: Option<market::State>,
}

type Methods = Vec<(&'static str, Arc<Entry>)>;

/// What the gate knows about one route and method.
#[derive(Debug)]
pub(super) struct Entry {
    pub(super) method: &'static str,
    pub(super) template: Template,
    pub(super) rule: Rule,
    /// Enough where a user has one role everywhere.
    pub(super) role: Role,
    pub(super) metrics: RouteMetrics,
    pub(super) audited: bool,
    /// Its answer tells what was created.
    pub(super) creates: bool,
    /// Tells whether the server is well; never refused because there is too much to do.
    pub(super) probe: bool,
    /// Its handler asks the gateway itself.
    pub(super) asks_gateway: bool,
    /// Sends a file.
    pub(super) sends: bool,
    /// May be asked to answer only when something happened.
    pub(super) may_hold: bool,
}

/// What a server is made of.
pub(crate) struct Parts {
    pub(crate) options: ServeOptions,
    pub(crate) telemetry: Arc<Telemetry>,
    pub(crate) tls: Option<Tls>,
    pub(crate) auth: Arc<Auth>,
    pub(crate) owners: Owners,
    pub(crate) audit: Option<Audit>,
    pub(crate) traces: Option<Traces>,
    pub(crate) market: Option<market::State>,
    pub(crate) stopping: CancellationToken,
}

impl Gateway {
    /// A gateway to `routes`, each a method and a path as the router has it.
    pub(crate) fn new(
        parts: Parts,
        routes: impl IntoIterator<Item = (&'static str, String)>,
    ) -> Self {
        let options = parts.options;
        let audit = if parts.audit.is_some() {
            options.audit
        } else {
            AuditLevel::Off
        };
        let entry = |method, template: &str, rule: Option<Rule>| {
            // What no rule speaks of is for admins.
            let rule = rule.unwrap_or(ADMINS_ONLY);
            Arc::new(Entry::new(&parts.telemetry, method, template, rule, audit))
        };
        let mut known: HashMap<Template, Methods> = HashMap::new();
        for (method, template) in routes {
            let method = method_name_of(method);
            let entry = entry(method, &template, rule_of(method, &template));
            known
                .entry(Arc::from(template))
                .or_default()
                .push((method, entry));
        }
        Self {
            connections: Slots::new(options.max_connections),
            in_flight: Slots::new(options.max_in_flight),
            per_client: options
                .rate_limit
                .map(|limit| Buckets::new(f64::from(limit), f64::from(limit))),
            origins: Origins::new(&options.allowed_hosts, &options.cors_allowed_origins),
            unmatched: entry("", "unmatched", Some(Rule::User)),
            readiness: Readiness::default(),
            routes: known,
            others: RwLock::default(),
            telemetry: parts.telemetry,
            tls: parts.tls,
            auth: parts.auth,
            owners: parts.owners,
            audit: parts.audit,
            traces: parts.traces,
            stopping: parts.stopping,
            market: parts.market,
            options,
        }
    }

    pub(crate) fn options(&self) -> &ServeOptions {
        &self.options
    }

    pub(crate) fn telemetry(&self) -> &Arc<Telemetry> {
        &self.telemetry
    }

    pub(crate) fn connections(&self) -> &Slots {
        &self.connections
    }

    pub(crate) fn tls(&self) -> Option<&Tls> {
        self.tls.as_ref()
    }

    pub(crate) fn traces(&self) -> Option<&Traces> {
        self.traces.as_ref()
    }

    /// Recognizes users.
    pub(crate) fn auth(&self) -> &Arc<Auth> {
        &self.auth
    }

    /// Whether the server was told to stop.
    pub(crate) fn is_stopping(&self) -> bool {
        self.stopping.is_cancelled()
    }

    pub(crate) fn requests_in_flight(&self) -> usize {
        self.in_flight.used()
    }

    /// The route that the router found for a request.
    pub(super) fn entry(&self, request: &Request<Body>) -> Arc<Entry> {
        let Some(matched) = request.extensions().get::<MatchedPath>() else {
            return Arc::clone(&self.unmatched);
        };
        let (path, method) = (matched.as_str(), method_name(request.method()));
        if let Some(methods) = self.routes.get(path) {
            return methods
                .iter()
                .find(|(known, _)| *known == method)
                // The router refuses a method that the table doesn't have.
                .map_or(&self.unmatched, |(_, entry)| entry)
                .clone();
        }
        let key = (method, path.to_owned());
        let known = self.others.read().unwrap_or_else(PoisonError::into_inner);
        if let Some(entry) = known.get(&key) {
            return Arc::clone(entry);
        }
        drop(known);
        let rule = rule_of(method, path).unwrap_or(ADMINS_ONLY);
        let audit = match self.audit {
            Some(_) => self.options.audit,
            None => AuditLevel::Off,
        };
        let entry = Arc::new(Entry::new(&self.telemetry, method, path, rule, audit));
        self.others
            .write()
            .unwrap_or_else(PoisonError::into_inner)
            .insert(key, Arc::clone(&entry));
        entry
    }

    /// How long a request to a route may take; absent where it streams.
    pub(super) fn patience(&self, entry: &Entry) -> Option<Duration> {
        (!entry.receives()).then_some(self.options.request_timeout)
    }
}

const ADMINS_ONLY: Rule = Rule::Needs(&[(Role::Admin, crate::auth::On::Server)]);

/// What runs and traces log about themselves; see [`AuditLevel::Changes`].
const LOGS: [&str; 8] = [
    "/runs/log-metric",
    "/runs/log-parameter",
    "/runs/log-batch",
    "/runs/log-inputs",
    "/runs/outputs",
    "/logged-models/{model_id}/params",
    "/mlflow/traces",
    "/v1/traces",
];

impl Entry {
    fn new(
        telemetry: &Telemetry,
        method: &'static str,
        template: &str,
        rule: Rule,
        audit: AuditLevel,
    ) -> Self {
        let template: Template = Arc::from(template);
        let changes = !matches!(method, "GET" | "")
            && (rule.plain_role() >= Role::Writer || template.contains("/mlflow/users/"));
        let probe = matches!(
            &*template,
            "/health" | "/version" | "/livez" | "/readyz" | "/metrics"
        );
        let logs = LOGS.iter().any(|end| template.ends_with(end));
        Self {
            method,
            role: rule.plain_role(),
            metrics: telemetry.route(method, Arc::clone(&template)),
            audited: changes
                && match audit {
                    AuditLevel::Off => false,
                    AuditLevel::Changes => !logs,
                    AuditLevel::All => true,
                },
            creates: method == "POST"
                && ["/create", "/mlflow/logged-models", "/mlflow/webhooks"]
                    .iter()
                    .any(|end| template.ends_with(end)),
            asks_gateway: probe
                || [
                    "/mlflow/users/",
                    "/mlflow-artifacts/mpu/create/",
                    "/foreshock/events",
                ]
                .iter()
                .any(|part| template.contains(part)),
            probe,
            may_hold: method == "GET" && template.ends_with("/registered-models/alias"),
            sends: method == "GET"
                && ["/artifacts/{*path}", "/get-artifact", "/artifacts/files"]
                    .iter()
                    .any(|end| template.ends_with(end)),
            rule,
            template,
        }
    }

    /// Whether the body is a stream.
    pub(super) fn receives(&self) -> bool {
        matches!(self.rule, Rule::Raw(_) | Rule::Signed)
    }
}

/// The methods that routes have; `HEAD` is answered by what answers `GET`.
fn method_name(method: &Method) -> &'static str {
    match *method {
        Method::GET | Method::HEAD => "GET",
        Method::POST => "POST",
        Method::PUT => "PUT",
        Method::PATCH => "PATCH",
        Method::DELETE => "DELETE",
        _ => "OTHER",
    }
}

/// The same for a method as the table of routes writes it.
fn method_name_of(method: &str) -> &'static str {
    Method::from_bytes(method.to_ascii_uppercase().as_bytes())
        .map_or("OTHER", |method| method_name(&method))
}
