//! Following an alias: whoever judges asks for the model that is in force, and a new one takes its place between two
//! questions.

use std::sync::{Arc, RwLock};
use std::time::{Duration, SystemTime};

use market::ValidFeatureConfig;
use streaming::Judge;

use super::load::{LoadError, Registered};
use crate::telemetry::Telemetry;

/// The model that is in force.
#[derive(Debug, Clone, Default)]
pub struct Current(Arc<RwLock<InForce>>);

/// What is in force, since when, and what could not be put in its place.
#[derive(Debug, Clone, Default)]
pub struct InForce {
    /// The model; `None` where there is none (any more).
    pub judge: Option<Arc<dyn Judge>>,
    /// Since when.
    pub since: Option<SystemTime>,
    /// The last attempt to load one that failed.
    pub failure: Option<Failure>,
}

/// A model that could not be put in force.
#[derive(Debug, Clone)]
pub struct Failure {
    /// Its version, where that is known.
    pub version: Option<String>,
    /// Why.
    pub reason: String,
    /// When.
    pub at: SystemTime,
}

impl Current {
    /// With this model to begin with.
    #[must_use]
    pub fn with(judge: Arc<dyn Judge>) -> Self {
        let current = Self::default();
        current.set(Some(judge));
        current
    }

    /// The model; `None` where there is none (any more).
    #[must_use]
    pub fn get(&self) -> Option<Arc<dyn Judge>> {
        // A thread that panicked while it held the lock has replaced the model wholly or not at all.
        let held = self.0.read().unwrap_or_else(|poison| poison.into_inner());
        held.judge.clone()
    }

    /// The model with its history.
    #[must_use]
    pub fn in_force(&self) -> InForce {
        let held = self.0.read().unwrap_or_else(|poison| poison.into_inner());
        held.clone()
    }

    /// Puts another one in its place.
    pub fn set(&self, judge: Option<Arc<dyn Judge>>) {
        let mut held = self.0.write().unwrap_or_else(|poison| poison.into_inner());
        held.since = judge.is_some().then(SystemTime::now);
        held.judge = judge;
    }

    /// A model could not be put in its place.
    pub fn failed(&self, version: Option<&str>, reason: &str) {
        let mut held = self.0.write().unwrap_or_else(|poison| poison.into_inner());
        held.failure = Some(Failure {
            version: version.map(str::to_owned),
            reason: reason.to_owned(),
            at: SystemTime::now(),
        });
    }
}

/// What is followed, and for what.
#[derive(Debug, Clone)]
pub struct Alias {
    /// The registered model.
    pub name: String,
    /// Its alias.
    pub alias: String,
    /// How features are computed.
    pub features: ValidFeatureConfig,
    /// How often a registry is asked that does not tell by itself.
    pub poll: Duration,
    /// Whether a model stays in force when its alias is taken away.
    pub keeps: bool,
}

/// How long a version that could not be had is left alone.
const AGAIN: Duration = Duration::from_secs(10);

/// Follows an alias for ever: each version that it names is loaded, checked and put in force. One that can't be used
/// changes nothing; it is said why, and it is tried again.
pub async fn follow(
    registered: Registered,
    alias: Alias,
    current: Current,
    telemetry: Arc<Telemetry>,
) {
    let mut watch = registered
        .client()
        .watch_alias(&alias.name, &alias.alias)
        .poll_every(alias.poll);
    // The version that is wanted and not in force yet.
    let mut wanted: Option<String> = None;
    loop {
        let change = match &wanted {
            None => watch.next().await,
            // Another version may be wanted before this one could be had.
            Some(_) => match tokio::time::timeout(AGAIN, watch.next()).await {
                Ok(change) => change,
                Err(_) => Ok(wanted.clone()),
            },
        };
        let version = match change {
            Ok(Some(version)) => version,
            Ok(None) => {
                wanted = None;
                tracing::warn!(
                    model = alias.name,
                    alias = alias.alias,
                    "there is no such alias (any more)"
                );
                if !alias.keeps {
                    current.set(None);
                    telemetry.model_gone(&alias.alias);
                }
                continue;
            }
            Err(error) => {
                tracing::error!(%error, model = alias.name, alias = alias.alias, "the registry refuses to tell which version is meant");
                telemetry.model_failed(&alias.alias);
                current.failed(None, &causes(&error));
                tokio::time::sleep(AGAIN).await;
                continue;
            }
        };
        let in_force = current.get();
        if in_force.is_some_and(|judge| judge.model().version == version) {
            wanted = None;
            continue;
        }
        match load(&registered, &alias, &version).await {
            Ok(judge) => {
                tracing::info!(
                    model = alias.name,
                    alias = alias.alias,
                    version,
                    "a model is in force"
                );
                telemetry.model_loaded(&alias.alias, judge.model());
                current.set(Some(judge));
                wanted = None;
            }
            Err(error) => {
                let reason = causes(&error);
                tracing::error!(
                    model = alias.name,
                    alias = alias.alias,
                    version,
                    reason,
                    "a model can't be used; the one before stays in force"
                );
                telemetry.model_failed(&alias.alias);
                current.failed(Some(&version), &reason);
                wanted = error.is_passing().then_some(version);
            }
        }
    }
}

async fn load(
    registered: &Registered,
    alias: &Alias,
    version: &str,
) -> Result<Arc<dyn Judge>, LoadError> {
    let loaded = registered.load(&alias.name, version).await?;
    loaded.judge(&alias.features)
}

/// An error with all that caused it, in one line.
pub(crate) fn causes(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text.push_str(": ");
        text.push_str(&error.to_string());
        cause = error.source();
    }
    text
}
