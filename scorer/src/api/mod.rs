//! What the scorer answers by HTTP.
//!
//! A connection comes through `accept.rs`, a request through `gate.rs` (limits, token, metrics) to the handler that
//! `routes.rs` names. What is asked about the past comes from copies of what was committed (`feed.rs` → `memory.rs`):
//! the loop that reads, scores and commits never waits for any of it.

mod accept;
mod body;
mod error;
mod events;
pub(crate) mod feed;
mod frame;
mod gate;
mod health;
mod invocations;
mod json;
mod limits;
pub(crate) mod memory;
mod model;
mod openapi;
mod parameters;
mod predict;
mod predictions;
pub(crate) mod quantiles;
mod routes;
mod rows;
mod samples;
mod scoring;
mod stats;

use std::net::SocketAddr;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use market::ValidFeatureConfig;
use streaming::Judge;
use tokio::net::TcpListener;
use tokio::runtime::Runtime;
use tokio::sync::{Semaphore, broadcast};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use crate::config::{Config, Token, TokenError};
use crate::limits::{Beside, LimitsInForce};
use crate::model::Current;
use crate::shadow::{Board, Shadow};
use crate::stream::Listener;
use crate::telemetry::Telemetry;
use error::Refusal;
use feed::{Kind, Teller, Told, Want, Wants};
use health::Health;
use limits::Buckets;
use memory::Memory;
use samples::Samples;
use scoring::Scoring;

/// How long stopping waits for requests that are under way.
const PATIENCE: Duration = Duration::from_secs(7);

/// The model in shadow.
#[derive(Debug)]
struct Challenger {
    alias: String,
    current: Current,
    board: Arc<Board>,
}

/// What all requests share.
#[derive(Debug)]
pub struct Api {
    config: Arc<Config>,
    token: Option<Token>,
    telemetry: Arc<Telemetry>,
    champion: Current,
    limits: LimitsInForce,
    /// The champion with the limits beside it.
    beside: Mutex<Beside>,
    challenger: Option<Challenger>,
    /// How features are computed; known once there was a model.
    features: OnceLock<ValidFeatureConfig>,
    memory: Option<Arc<Memory>>,
    events: broadcast::Sender<Arc<Told>>,
    wants: Arc<Wants>,
    /// What is wanted as long as the scorer runs.
    always: OnceLock<Want>,
    samples: Samples,
    health: Health,
    scoring: Scoring,
    buckets: Option<Buckets>,
    requests: Semaphore,
    streams: Arc<Semaphore>,
    started: SystemTime,
    /// Tells this life of the scorer from others, in cursors and ids of events.
    life: String,
    stopping: CancellationToken,
}

impl Api {
    /// Reads the token; nothing is listened at yet.
    ///
    /// # Errors
    /// The token can't be read.
    pub fn new(config: Arc<Config>, telemetry: Arc<Telemetry>) -> Result<Arc<Self>, TokenError> {
        let section = &config.api;
        let started = SystemTime::now();
        let alias = config.model.challenger.clone();
        Ok(Arc::new(Self {
            token: section.read_token()?,
            challenger: alias.map(|alias| Challenger {
                alias,
                current: Current::default(),
                board: Arc::default(),
            }),
            champion: Current::default(),
            limits: LimitsInForce::default(),
            beside: Mutex::default(),
            features: OnceLock::new(),
            memory: Memory::new(section.predictions, section.predictions_bytes).map(Arc::new),
            events: broadcast::channel(section.stream_buffer).0,
            wants: Arc::default(),
            always: OnceLock::new(),
            samples: Samples::default(),
            health: Health::default(),
            scoring: Scoring::new(section.scoring_threads),
            buckets: Buckets::new(section.rate_burst, section.rate_limit),
            requests: Semaphore::new(section.max_requests),
            streams: Arc::new(Semaphore::new(section.max_streams)),
            life: format!("{:x}", milliseconds(started)),
            started,
            stopping: CancellationToken::new(),
            telemetry,
            config,
        }))
    }

    /// Answers from now on, in the background.
    ///
    /// # Errors
    /// The address can't be listened at.
    pub async fn serve(self: &Arc<Self>) -> std::io::Result<Served> {
        let listener = TcpListener::bind(&self.config.api.listen).await?;
        let address = listener.local_addr()?;
        let answering = tokio::spawn(accept::accept(
            listener,
            routes::router(self),
            self.config.api.max_connections,
            self.stopping.clone(),
        ));
        tokio::spawn(Arc::clone(self).sample());
        health::watch(self);
        Ok(Served {
            address,
            stopping: self.stopping.clone(),
            answering,
        })
    }

    /// Where the model is put that judges.
    #[must_use]
    pub fn champion(&self) -> &Current {
        &self.champion
    }

    /// Where the limits are put that vote beside it.
    #[must_use]
    pub fn limits(&self) -> &LimitsInForce {
        &self.limits
    }

    /// Where the model is put that is scored in shadow, and its alias.
    #[must_use]
    pub fn challenger(&self) -> Option<(&str, &Current)> {
        let challenger = self.challenger.as_ref()?;
        Some((&challenger.alias, &challenger.current))
    }

    /// Starts what hears of commits; what the loop has to call after each.
    ///
    /// # Errors
    /// There are no threads to be had.
    pub fn listener(&self, features: ValidFeatureConfig) -> std::io::Result<Listener> {
        self.features.get_or_init(|| features);
        let mut kinds = Vec::new();
        if self.memory.is_some() {
            kinds.extend([Kind::Score, Kind::Alert]);
        }
        let shadow = match &self.challenger {
            None => None,
            Some(challenger) => {
                kinds.push(Kind::Score);
                let shadow = Shadow {
                    current: challenger.current.clone(),
                    limits: self.limits.clone(),
                    board: Arc::clone(&challenger.board),
                    memory: self.memory.clone(),
                    events: self.events.clone(),
                    telemetry: Arc::clone(&self.telemetry),
                };
                Some(shadow.start()?)
            }
        };
        self.always.get_or_init(|| Want::new(&self.wants, kinds));
        let wants = Arc::clone(&self.wants);
        let (listener, inlet) = feed::listener(wants, Arc::clone(&self.telemetry));
        let teller = Teller {
            memory: self.memory.clone(),
            events: self.events.clone(),
            shadow,
        };
        teller.start(inlet)?;
        Ok(listener)
    }

    /// What judges, as it does for alerts: the model that is in force, with the limits beside it; and rows a day of a
    /// symbol.
    fn judge(&self) -> Result<(Arc<dyn Judge>, f64), Refusal> {
        let in_force = self.champion.in_force();
        match (in_force.judge, self.features.get()) {
            (Some(model), Some(features)) => {
                let mut beside = self.beside.lock().unwrap_or_else(PoisonError::into_inner);
                let judge = beside.judge(model, &self.limits, None);
                Ok((judge, features.interval().per_day() as f64))
            }
            _ => {
                let why = in_force
                    .failure
                    .map(|failure| format!(": {}", failure.reason));
                let why = why.unwrap_or_default();
                Err(Refusal::unavailable(format!("there is no model yet{why}")))
            }
        }
    }

    /// Takes samples of the counts until the scorer stops.
    async fn sample(self: Arc<Self>) {
        let mut every = tokio::time::interval(samples::EVERY);
        loop {
            tokio::select! {
                _ = every.tick() => self.samples.push(Instant::now(), self.telemetry.counts()),
                () = self.stopping.cancelled() => return,
            }
        }
    }
}

/// An API that answers.
#[derive(Debug)]
pub struct Served {
    /// Where.
    pub address: SocketAddr,
    stopping: CancellationToken,
    answering: JoinHandle<()>,
}

impl Served {
    /// Ends streams, and waits a while for requests that are under way.
    pub fn stop(self, runtime: &Runtime) {
        self.stopping.cancel();
        let ended =
            runtime.block_on(async { tokio::time::timeout(PATIENCE, self.answering).await });
        if ended.is_err() {
            tracing::warn!("requests were cut off");
        }
    }
}

/// ms since the epoch.
fn milliseconds(time: SystemTime) -> i64 {
    let since = time.duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_millis()).unwrap_or(i64::MAX)
}
