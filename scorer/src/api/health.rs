//! `GET /v1/health`: what the scorer needs, as it was a few seconds ago. Nothing is asked while a caller waits.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant, SystemTime};

use ::health::Health as _;
use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{IntoResponse as _, Response};
use serde::Serialize;

use super::{Api, milliseconds};
use crate::model::{Registered, causes};
use crate::stream::{Brokers, Names, SnapshotStore};

/// How often each thing is looked at.
const EVERY: Duration = Duration::from_secs(5);
/// After how long no answer is one.
const PATIENCE: Duration = Duration::from_secs(3);
/// How often something small is written where snapshots go; in between it is only read there.
const WRITE: Duration = Duration::from_secs(60);
/// A loop that did not come round for so long, in seconds, holds something up.
const SLOW: f64 = 60.0;

/// How something is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
enum Status {
    Ok,
    Degraded,
    Down,
    /// Not looked at yet.
    Unknown,
    /// Not configured.
    Off,
}

/// What is looked at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Part {
    Kafka,
    Registry,
    Storage,
}

/// How one part was when it was looked at last.
#[derive(Debug, Clone)]
struct Found {
    status: Status,
    latency: Option<Duration>,
    last_ok: Option<Instant>,
    error: Option<String>,
}

impl Default for Found {
    fn default() -> Self {
        Self {
            status: Status::Unknown,
            latency: None,
            last_ok: None,
            error: None,
        }
    }
}

/// What was found.
#[derive(Debug, Default)]
pub(super) struct Health(Mutex<[Found; 3]>);

impl Health {
    fn put(&self, part: Part, took: Duration, result: Result<(), String>) {
        let mut found = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let found = &mut found[part as usize];
        found.latency = Some(took);
        match result {
            Ok(()) => {
                found.status = Status::Ok;
                found.last_ok = Some(Instant::now());
                found.error = None;
            }
            Err(error) => {
                found.status = Status::Down;
                found.error = Some(error);
            }
        }
    }

    fn off(&self, part: Part) {
        let mut found = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        found[part as usize].status = Status::Off;
    }

    fn get(&self, part: Part) -> Found {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)[part as usize].clone()
    }
}

/// Looks at everything in the background until the scorer stops.
pub(super) fn watch(api: &Arc<Api>) {
    tokio::spawn(until_stopped(Arc::clone(api), kafka(Arc::clone(api))));
    tokio::spawn(until_stopped(Arc::clone(api), storage(Arc::clone(api))));
    match api.config.registry.uri.clone() {
        None => api.health.off(Part::Registry),
        Some(uri) => {
            let registry = registry(Arc::clone(api), uri);
            tokio::spawn(until_stopped(Arc::clone(api), registry));
        }
    }
}

async fn until_stopped(api: Arc<Api>, looking: impl Future<Output = ()>) {
    tokio::select! {
        () = looking => {}
        () = api.stopping.cancelled() => {}
    }
}

/// Work that blocks, on a thread for such work; one that hangs is waited for before the next begins, and counts as no
/// answer meanwhile.
async fn look<T: Send + 'static>(
    api: &Api,
    part: Part,
    work: impl FnOnce() -> Result<T, String> + Send + 'static,
) -> Option<T> {
    let began = Instant::now();
    let mut task = tokio::task::spawn_blocking(work);
    let result = match tokio::time::timeout(PATIENCE, &mut task).await {
        Ok(result) => result,
        Err(_) => {
            let silent = format!("no answer within {PATIENCE:?}");
            api.health.put(part, began.elapsed(), Err(silent));
            task.await
        }
    };
    match result {
        Ok(Ok(found)) => {
            let took = began.elapsed();
            let in_time = took <= PATIENCE * 2;
            let late = || Err(format!("an answer took {took:.1?}"));
            api.health
                .put(part, took, if in_time { Ok(()) } else { late() });
            Some(found)
        }
        Ok(Err(error)) => {
            api.health.put(part, began.elapsed(), Err(error));
            None
        }
        Err(error) => {
            tracing::error!(%error, ?part, "looking at it failed");
            None
        }
    }
}

async fn kafka(api: Arc<Api>) {
    let mut brokers: Option<Arc<Brokers>> = None;
    loop {
        match &brokers {
            None => match Brokers::new(&api.config) {
                Ok(made) => {
                    brokers = Some(Arc::new(made));
                    continue;
                }
                Err(error) => api
                    .health
                    .put(Part::Kafka, Duration::ZERO, Err(causes(&error))),
            },
            Some(brokers) => {
                let brokers = Arc::clone(brokers);
                let ask = move || brokers.answer(PATIENCE).map_err(|error| causes(&error));
                look(&api, Part::Kafka, ask).await;
            }
        }
        tokio::time::sleep(EVERY).await;
    }
}

async fn registry(api: Arc<Api>, uri: String) {
    let registered = match Registered::at(&uri) {
        Ok(registered) => registered,
        Err(error) => {
            let error = Err(causes(&error));
            return api.health.put(Part::Registry, Duration::ZERO, error);
        }
    };
    loop {
        let began = Instant::now();
        let asked = tokio::time::timeout(PATIENCE, registered.client().health()).await;
        let result = match asked {
            Ok(result) => result.map_err(|error| causes(&error)),
            Err(_) => Err(format!("no answer within {PATIENCE:?}")),
        };
        api.health.put(Part::Registry, began.elapsed(), result);
        tokio::time::sleep(EVERY).await;
    }
}

async fn storage(api: Arc<Api>) {
    // Where snapshots are depends on what is read, which the first model decides.
    let features = loop {
        match api.features.get() {
            Some(features) => break *features,
            None => tokio::time::sleep(Duration::from_millis(200)).await,
        }
    };
    let config = &api.config;
    let names = Names::new(config, features.interval());
    let store = SnapshotStore::new(&config.state.location, &config.kafka.group, &names.source());
    let mut written: Option<Instant> = None;
    loop {
        let is_due = written.is_none_or(|at| at.elapsed() >= WRITE);
        let store = store.clone();
        let ask = move || {
            let asked = match is_due {
                true => store.check(),
                false => store.list(0).map(drop),
            };
            asked.map_err(|error| causes(&error))
        };
        if look(&api, Part::Storage, ask).await.is_some() && is_due {
            written = Some(Instant::now());
        }
        tokio::time::sleep(EVERY).await;
    }
}

#[derive(Serialize)]
struct Shown {
    status: Status,
    #[serde(skip_serializing_if = "Option::is_none")]
    latency_ms: Option<f64>,
    /// Since the last good answer.
    #[serde(skip_serializing_if = "Option::is_none")]
    age_seconds: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<String>,
}

impl Shown {
    fn new(found: Found) -> Self {
        Self {
            status: found.status,
            latency_ms: found.latency.map(|took| took.as_secs_f64() * 1e3),
            age_seconds: found.last_ok.map(|at| at.elapsed().as_secs_f64()),
            error: found.error,
        }
    }

    fn of(status: Status, error: Option<String>) -> Self {
        Self {
            status,
            latency_ms: None,
            age_seconds: None,
            error,
        }
    }
}

#[derive(Serialize)]
struct Answer {
    status: Status,
    kafka: Shown,
    registry: Shown,
    storage: Shown,
    model: Shown,
    /// The loop that reads, scores and commits.
    pipeline: Shown,
    time: i64,
}

pub(super) async fn handle(State(api): State<Arc<Api>>) -> Response {
    let kafka = Shown::new(api.health.get(Part::Kafka));
    let registry = Shown::new(api.health.get(Part::Registry));
    let storage = Shown::new(api.health.get(Part::Storage));
    let model = model(&api);
    let pipeline = pipeline(&api);
    let status = overall(
        [kafka.status, model.status, pipeline.status],
        [registry.status, storage.status],
    );
    let code = match status {
        Status::Down => StatusCode::SERVICE_UNAVAILABLE,
        _ => StatusCode::OK,
    };
    let answer = Answer {
        status,
        kafka,
        registry,
        storage,
        model,
        pipeline,
        time: milliseconds(SystemTime::now()),
    };
    (code, Json(answer)).into_response()
}

/// Without what is needed nothing goes on; without what helps it goes on for a while.
fn overall(needed: [Status; 3], helping: [Status; 2]) -> Status {
    if needed.contains(&Status::Down) {
        return Status::Down;
    }
    let is_well = |status: &Status| matches!(status, Status::Ok | Status::Off);
    match needed.iter().chain(&helping).all(is_well) {
        true => Status::Ok,
        false => Status::Degraded,
    }
}

fn model(api: &Api) -> Shown {
    let in_force = api.champion.in_force();
    let is_there = in_force.judge.is_some();
    let failure = in_force
        .failure
        .filter(|failure| in_force.since.is_none_or(|since| failure.at > since));
    let status = match (is_there, &failure) {
        (false, _) => Status::Down,
        (true, Some(_)) => Status::Degraded,
        (true, None) => Status::Ok,
    };
    let missing = || "there is no model yet".to_owned();
    let reason = failure.map(|failure| failure.reason);
    Shown::of(status, reason.or_else(|| (!is_there).then(missing)))
}

fn pipeline(api: &Api) -> Shown {
    let since = api.telemetry.since_beat();
    let (status, error) = if since > SLOW {
        let error = format!("the loop did not come round for {since:.0} s");
        (Status::Down, Some(error))
    } else if !api.telemetry.is_ready() {
        let error = "no partition is held, or reading was stopped".to_owned();
        (Status::Degraded, Some(error))
    } else {
        (Status::Ok, None)
    };
    let shown = Shown::of(status, error);
    Shown {
        age_seconds: Some(since),
        ..shown
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_whole_is_as_well_as_its_parts() {
        use Status::{Degraded, Down, Off, Ok, Unknown};
        assert_eq!(overall([Ok, Ok, Ok], [Off, Ok]), Ok);
        assert_eq!(overall([Ok, Ok, Ok], [Down, Ok]), Degraded);
        assert_eq!(overall([Ok, Ok, Degraded], [Ok, Ok]), Degraded);
        assert_eq!(overall([Unknown, Ok, Ok], [Ok, Ok]), Degraded);
        assert_eq!(overall([Ok, Down, Ok], [Ok, Ok]), Down);
    }
}
