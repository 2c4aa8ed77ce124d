//! Whether a user whose role is not the same everywhere may do what a request asks for.

use std::collections::HashMap;
use std::convert::Infallible;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use axum::body::Body;
use axum::extract::FromRequestParts;
use axum::http::request::Parts;
use axum::http::{HeaderMap, Request};

use super::find::{self, Message};
use super::table::{Need, On, Rule};
use super::{Principal, Role};
use crate::api::ApiError;
use crate::artifacts::ArtifactStore;
use crate::filter::{Clause, Field, Op, Value};
use crate::store::{Owned, Store};

const RUN: &[&str] = &["run_id", "run_uuid", "run_ids", "source_run_id"];
const LOGGED_MODEL: &[&str] = &["model_id", "model_ids"];
const TRACE: &[&str] = &["trace_id", "trace_ids", "request_id", "request_ids"];
const EXPERIMENT: &[&str] = &["experiment_id", "experiment_ids"];
/// What a request means that names no experiment.
const DEFAULT_EXPERIMENT: i64 = 0;

/// Finds out which experiment things belong to, and remembers it where that never changes.
#[derive(Debug)]
pub(crate) struct Owners {
    store: Store,
    artifacts: ArtifactStore,
    known: Mutex<HashMap<(Owned, String), i64>>,
}

/// How many are remembered.
const MOST: usize = 50_000;

impl Owners {
    pub(crate) fn new(store: Store, artifacts: ArtifactStore) -> Self {
        Self {
            store,
            artifacts,
            known: Mutex::default(),
        }
    }

    async fn experiment(&self, kind: Owned, id: &str) -> Result<Option<i64>, ApiError> {
        let key = (kind, id.to_owned());
        let known = || self.known.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(experiment) = known().get(&key) {
            return Ok(Some(*experiment));
        }
        let found = self.store.experiment_of(kind, id).await?;
        // A trace that is told of again may be told of in another experiment.
        if let Some(experiment) = found
            && kind != Owned::Trace
        {
            let mut known = known();
            if known.len() >= MOST {
                known.clear();
            }
            known.insert(key, experiment);
        }
        Ok(found)
    }
}

/// Lets a request through, perhaps with less in it, or refuses it.
///
/// # Errors
/// `PERMISSION_DENIED`, or what makes the request unreadable.
pub(crate) async fn decide(
    principal: &Arc<Principal>,
    rule: Rule,
    template: &str,
    request: Request<Body>,
    owners: &Owners,
) -> Result<Request<Body>, ApiError> {
    match rule {
        Rule::Public | Rule::Signed | Rule::User => Ok(request),
        Rule::Everything if principal.reads_everything() => Ok(request),
        Rule::Everything => Err(ApiError::denied()),
        Rule::Filtered => Ok(request),
        Rule::Among(field) => among(principal, field, template, request).await,
        Rule::Needs(needs) => {
            let with_body = needs.iter().any(|need| find::reads_body(need.1));
            let (message, request) = Message::read(request, template, with_body).await?;
            check(principal, needs, &message, request.headers(), owners).await?;
            Ok(request)
        }
        Rule::Raw(needs) => {
            let (message, request) = Message::read(request, template, false).await?;
            check(principal, needs, &message, request.headers(), owners).await?;
            Ok(request)
        }
    }
}

async fn among(
    principal: &Principal,
    field: &'static str,
    template: &str,
    request: Request<Body>,
) -> Result<Request<Body>, ApiError> {
    let readable = |id: &str| {
        let role = number(id).map_or(principal.role, |id| principal.on_experiment(id));
        role >= Role::Reader
    };
    let (mut message, mut request) = Message::read(request, template, true).await?;
    message.retain(field, readable);
    // Only a list in the body can be shortened; whatever else names one is taken or left.
    if !message.values(&[field]).iter().all(|id| readable(id)) {
        return Err(ApiError::denied());
    }
    message.write_to(&mut request)?;
    Ok(request)
}

async fn check(
    principal: &Principal,
    needs: &[Need],
    message: &Message,
    headers: &HeaderMap,
    owners: &Owners,
) -> Result<(), ApiError> {
    for (at, (role, on)) in needs.iter().enumerate() {
        let found = weakest(principal, *on, message, headers, owners).await?;
        // The first need is what the request is about, and holds in any case; the others are about
        // what it may name beside that.
        let found = found.or((at == 0).then_some(principal.role));
        if found.is_some_and(|found| found < *role) {
            return Err(ApiError::denied());
        }
    }
    Ok(())
}

/// The weakest role among those on the things that a request names; absent where it names none.
/// What can't be found has no grant: the handler says that it isn't there.
async fn weakest(
    principal: &Principal,
    on: On,
    message: &Message,
    headers: &HeaderMap,
    owners: &Owners,
) -> Result<Option<Role>, ApiError> {
    let experiment = |id: Option<i64>| id.map_or(principal.role, |id| principal.on_experiment(id));
    let mut roles = Vec::new();
    match on {
        On::Server => {}
        On::Experiment => {
            roles.extend(
                message
                    .values(EXPERIMENT)
                    .iter()
                    .map(|id| experiment(number(id))),
            );
        }
        On::ExperimentOrDefault => {
            let ids = message.values(EXPERIMENT);
            if ids.is_empty() {
                roles.push(principal.on_experiment(DEFAULT_EXPERIMENT));
            }
            roles.extend(ids.iter().map(|id| experiment(number(id))));
        }
        On::ExperimentNamed => {
            for name in message.values(&["experiment_name"]) {
                let found = owners
                    .store
                    .experiment_of(Owned::ExperimentName, &name)
                    .await?;
                roles.push(experiment(found));
            }
        }
        On::ExperimentInHeader(name) => {
            let id = headers.get(name).and_then(|id| id.to_str().ok());
            roles.push(experiment(id.and_then(number)));
        }
        On::Run | On::LoggedModel | On::Trace => {
            let (kind, names) = match on {
                On::Run => (Owned::Run, RUN),
                On::LoggedModel => (Owned::LoggedModel, LOGGED_MODEL),
                _ => (Owned::Trace, TRACE),
            };
            for id in message.values(names) {
                roles.push(experiment(owners.experiment(kind, &id).await?));
            }
        }
        On::TraceIfThere => {
            for id in message.values(TRACE) {
                let there = owners.experiment(Owned::Trace, &id).await?;
                roles.extend(there.map(|id| principal.on_experiment(id)));
            }
        }
        On::Model => roles.extend(message.top("name").iter().map(|n| principal.on_model(n))),
        On::OneModelOrAll => {
            let names = message.top("model");
            if names.is_empty() && !principal.reads_everything() {
                roles.push(Role::None);
            }
            roles.extend(names.iter().map(|name| principal.on_model(name)));
        }
        On::ModelOfSource => {
            let sources = message.top("source");
            let names = sources.iter().filter_map(|source| model_of(source));
            roles.extend(names.map(|name| principal.on_model(name)));
        }
        On::Artifact => {
            let names = message.artifact();
            let first = names.first().and_then(|first| number(first));
            roles.extend(first.map(|id| principal.on_experiment(id)));
            // An experiment may keep its artifacts elsewhere in the store.
            for id in owners.store.experiments_kept_at(&names).await? {
                roles.push(principal.on_experiment(id));
            }
            // It may name the place otherwise: only one that has a grant makes a difference.
            let granted = principal.grants.experiments.keys().copied().collect();
            for (id, location) in owners.store.artifact_locations(granted).await? {
                let Ok(Some(place)) = owners.artifacts.place_of(&location) else {
                    continue;
                };
                let place = place.names();
                let role = principal.on_experiment(id);
                if names.starts_with(place) {
                    roles.push(role);
                } else if !names.is_empty() && place.starts_with(&names) {
                    // A folder around it is no less than it, and is not given with it.
                    roles.push(role.min(principal.role));
                }
            }
        }
        On::Granted => {
            let kind = message.top("resource_type").pop().unwrap_or_default();
            let id = message.top("resource_id").pop().unwrap_or_default();
            roles.push(match kind.as_str() {
                "experiment" => experiment(number(&id)),
                "registered_model" | "prompt" => principal.on_model(&id),
                _ => principal.role,
            });
        }
    }
    Ok(roles.into_iter().min())
}

/// The number of an experiment, as the store reads it.
fn number(id: &str) -> Option<i64> {
    id.parse().ok().filter(|number| *number >= 0)
}

/// The registered model of `models:/NAME/VERSION`.
fn model_of(source: &str) -> Option<&str> {
    let named = source.strip_prefix("models:")?.trim_start_matches('/');
    Some(named.split_once('/').map_or(named, |(name, _)| name))
}

/// Who a search is for. Handlers of searches over everything take it as an argument and leave out
/// what that user can't read; the gate refuses the answer of one that forgot to.
#[derive(Debug, Clone, Default)]
pub(crate) struct Viewer(Option<Arc<Seen>>);

#[derive(Debug)]
struct Seen {
    principal: Arc<Principal>,
    asked: AtomicBool,
}

/// Which of many things may be seen.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Visible<T> {
    /// All.
    All,
    /// All but these.
    Except(Vec<T>),
    /// These.
    Only(Vec<T>),
}

impl<T: ToString> Visible<T> {
    /// The same as a comparison of a search.
    fn clause(&self, column: &'static str) -> Option<Clause> {
        let (op, things) = match self {
            Self::All => return None,
            Self::Except(things) => (Op::NotIn, things),
            Self::Only(things) => (Op::In, things),
        };
        Some(Clause {
            field: Field::Attribute(column),
            op,
            value: Value::List(things.iter().map(ToString::to_string).collect()),
        })
    }
}

impl Viewer {
    pub(crate) fn new(principal: Arc<Principal>) -> Self {
        Self(Some(Arc::new(Seen {
            principal,
            asked: AtomicBool::new(false),
        })))
    }

    /// Adds to a search for experiments that only what may be seen is looked for.
    pub(crate) fn narrow_experiments(&self, clauses: &mut Vec<Clause>) {
        clauses.extend(self.experiments().clause("experiment_id"));
    }

    /// Adds to a search for registered models or versions that only what may be seen is looked
    /// for.
    pub(crate) fn narrow_models(&self, clauses: &mut Vec<Clause>) {
        clauses.extend(self.models().clause("name"));
    }

    /// Refuses what is not theirs: those of `ids` that are there must be of experiments in which
    /// the user has `role`. For what stands in a body that the gate does not read.
    ///
    /// # Errors
    /// `PERMISSION_DENIED`, or the database's.
    pub(crate) async fn require<'i>(
        &self,
        store: &Store,
        kind: Owned,
        ids: impl IntoIterator<Item = &'i str> + Send,
        role: Role,
    ) -> Result<(), ApiError> {
        let Some(principal) = self.principal().filter(|principal| !principal.is_plain()) else {
            return Ok(());
        };
        for id in ids {
            let experiment = store.experiment_of(kind, id).await?;
            if experiment.is_some_and(|id| principal.on_experiment(id) < role) {
                return Err(ApiError::denied());
            }
        }
        Ok(())
    }

    /// Which experiments may be seen.
    fn experiments(&self) -> Visible<i64> {
        self.visible(|principal| &principal.grants.experiments)
    }

    /// Which registered models may be seen.
    fn models(&self) -> Visible<String> {
        self.visible(|principal| &principal.grants.models)
    }

    /// Whether the handler asked.
    pub(crate) fn was_asked(&self) -> bool {
        self.0
            .as_ref()
            .is_none_or(|seen| seen.asked.load(Ordering::Relaxed))
    }

    /// Who it is; absent where nobody has to say.
    pub(crate) fn principal(&self) -> Option<&Arc<Principal>> {
        self.0.as_ref().map(|seen| &seen.principal)
    }

    fn visible<T: Clone>(&self, grants: impl Fn(&Principal) -> &HashMap<T, Role>) -> Visible<T> {
        let Some(seen) = &self.0 else {
            return Visible::All;
        };
        seen.asked.store(true, Ordering::Relaxed);
        let principal = &seen.principal;
        if principal.role == Role::Admin {
            return Visible::All;
        }
        let reads = principal.role >= Role::Reader;
        let other = grants(principal)
            .iter()
            .filter(|(_, grant)| (**grant >= Role::Reader) != reads)
            .map(|(thing, _)| thing.clone())
            .collect::<Vec<_>>();
        match (reads, other.is_empty()) {
            (true, true) => Visible::All,
            (true, false) => Visible::Except(other),
            (false, _) => Visible::Only(other),
        }
    }
}

impl<S: Sync> FromRequestParts<S> for Viewer {
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Infallible> {
        Ok(parts.extensions.get::<Self>().cloned().unwrap_or_default())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::auth::Grants;

    fn viewer(role: Role, experiments: &[(i64, Role)]) -> Viewer {
        Viewer::new(Arc::new(Principal {
            user_id: 1,
            name: "ann".into(),
            role,
            grants: Grants {
                experiments: experiments.iter().copied().collect(),
                models: HashMap::new(),
            },
        }))
    }

    #[test]
    fn the_narrower_grant_wins() {
        let grants = [(1, Role::None), (2, Role::Writer)];
        let seen = |role| viewer(role, &grants).experiments();
        assert_eq!(seen(Role::Reader), Visible::Except(vec![1]));
        assert_eq!(seen(Role::None), Visible::Only(vec![2]));
        assert_eq!(seen(Role::Admin), Visible::All);
        assert_eq!(viewer(Role::Reader, &[]).experiments(), Visible::All);
        assert_eq!(viewer(Role::None, &[]).experiments(), Visible::Only(vec![]));
        assert_eq!(Viewer::default().experiments(), Visible::All);
    }

    #[test]
    fn a_handler_that_forgot_to_ask_is_noticed() {
        let viewer = viewer(Role::Reader, &[(1, Role::None)]);
        assert!(!viewer.was_asked());
        viewer.experiments();
        assert!(viewer.was_asked());
    }

    #[test]
    fn sources_name_models() {
        assert_eq!(model_of("models:/m/3"), Some("m"));
        assert_eq!(model_of("models:///m/3"), Some("m"));
        assert_eq!(model_of("runs:/m/3"), None);
    }
}
