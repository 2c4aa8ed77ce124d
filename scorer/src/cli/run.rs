//! `scorer run`

use std::path::PathBuf;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};
use clap::Args;
use market::ValidFeatureConfig;
use streaming::Judge;
use terminal::exit::{Environment, ExitStatus};
use terminal::interrupt::Interrupt;
use tokio::runtime::Runtime;

use super::CommandResult;
use crate::api::Api;
use crate::archive::Archiver;
use crate::config::{Config, read};
use crate::limits::{Limits, watch};
use crate::model::{
    Alias, Current, LoadError, Loaded, ModelUri, Registered, causes, follow, load_path,
};
use crate::stream::{Ended, Names, Parts, Worker, ensure_topics};
use crate::telemetry::Telemetry;

pub(super) const HELP: &str = "\
What is said is committed together with how far was read: a scorer that is killed, or one whose
partitions go to another, says nothing twice and leaves nothing out.

Examples:
  scorer run scorer.toml
  SCORER_BROKERS=kafka:9092 MLFLOW_TRACKING_URI=http://registry:5000 scorer run scorer.toml";

/// `scorer run`
#[derive(Debug, Clone, Args)]
pub(super) struct RunArgs {
    /// The configuration.
    #[arg(value_name = "CONFIG.toml")]
    config: PathBuf,
}

/// What the first Ctrl-C says.
const STOPPING: &str = "stopping: what is under way is committed (Ctrl-C again stops at once)";

pub(super) fn run(args: &RunArgs) -> CommandResult {
    let config = Arc::new(read(&args.config)?);
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .thread_name("scorer")
        .enable_all()
        .build()
        .context("start the threads")?;
    let interrupt = Interrupt::listen(&runtime, STOPPING);
    let telemetry = Arc::new(Telemetry::default());
    telemetry.beat();
    let listen = &config.api.listen;
    let api = Api::new(Arc::clone(&config), Arc::clone(&telemetry))
        .context(Environment("can't use the API's token".to_owned()))?;
    let served = runtime
        .block_on(api.serve())
        .with_context(|| Environment(format!("could not listen at `{listen}`")))?;
    let bound = served.address;
    tracing::info!(%bound, "answering /v1, /invocations, /metrics, /livez and /readyz");
    let result = follow_trades(&runtime, &config, &interrupt, &telemetry, &api);
    served.stop(&runtime);
    result
}

/// All but what is answered.
fn follow_trades(
    runtime: &Runtime,
    config: &Arc<Config>,
    interrupt: &Interrupt,
    telemetry: &Arc<Telemetry>,
    api: &Api,
) -> CommandResult {
    let (current, limits) = (api.champion().clone(), api.limits().clone());
    if let Some(first) = first_limits(config)? {
        limits.set(first);
    }
    let Some(features) = first_model(runtime, config, interrupt, telemetry, &current)? else {
        return Ok(ExitStatus::Done);
    };
    follow_challenger(runtime, config, telemetry, api, features)?;
    let settings = Arc::new(config.settings(features));
    settings
        .check()
        .context("the configuration does not fit the model's features")?;
    let names = Names::new(config, features.interval());
    runtime.block_on(ensure_topics(config, &names))?;
    let instance = instance(config)?;
    let listener = api.listener(features).context("start the threads")?;
    if let Some(file) = config.limits.file.clone() {
        let (limits, telemetry) = (limits.clone(), Arc::clone(telemetry));
        let (every, interrupt) = (config.limits.every.0, interrupt.clone());
        std::thread::spawn(move || {
            watch(file.as_ref(), every, &limits, &telemetry, &interrupt);
        });
    }
    let worker = Worker::new(
        Parts {
            config: Arc::clone(config),
            settings,
            instance,
            current,
            limits,
            telemetry: Arc::clone(telemetry),
            interrupt: interrupt.clone(),
        },
        listener,
    )?;
    let archiver = Archiver::of(config, telemetry, interrupt).map(|archiver| {
        tracing::info!(?archiver, "rows are archived");
        std::thread::spawn(move || archiver.run())
    });
    let ended = worker.run();
    if interrupt.is_asked() {
        leave(archiver);
    }
    match ended? {
        Ended::Stopped => Ok(ExitStatus::Done),
        Ended::Tripped { refused, of } => {
            tracing::error!(
                refused,
                of,
                "too many of the last records can't be taken; nothing is read any more until this scorer is started again"
            );
            // Alive, unready and loud: a restart would only run into the same records.
            while !interrupt.is_asked() {
                telemetry.beat();
                std::thread::sleep(Duration::from_millis(200));
            }
            bail!(
                "{refused} of the last {of} records could not be taken, more than `dead_letters.max_share` allows"
            )
        }
    }
}

/// The limits to begin with, which must be sound.
pub(super) fn first_limits(config: &Config) -> anyhow::Result<Option<Limits>> {
    let file = config.limits.file.as_deref();
    let read = |file: &str| Limits::read(file.as_ref()).with_context(|| format!("read `{file}`"));
    file.map(read).transpose()
}

/// Waits for the archive to leave its group; what it has collected is collected again by whoever comes next.
fn leave(archiver: Option<JoinHandle<()>>) {
    const PATIENCE: Duration = Duration::from_secs(10);
    let until = Instant::now() + PATIENCE;
    let Some(thread) = archiver else { return };
    while !thread.is_finished() {
        if Instant::now() >= until {
            tracing::warn!("the archive's group was not told in time that this scorer leaves");
            return;
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    if thread.join().is_err() {
        tracing::error!("the thread that archives rows has panicked");
    }
}

/// This scorer's name in its group: the same after a restart on the same host.
fn instance(config: &Config) -> anyhow::Result<String> {
    if let Some(instance) = &config.kafka.instance {
        return Ok(instance.clone());
    }
    let name = std::env::var("HOSTNAME")
        .ok()
        .filter(|name| !name.is_empty());
    let name = name.or_else(|| std::fs::read_to_string("/etc/hostname").ok());
    name.map(|name| name.trim().to_owned())
        .filter(|name| !name.is_empty())
        .context(Environment(
            "this host has no name; give the scorer one in `kafka.instance`".to_owned(),
        ))
}

/// Puts the model to begin with into `current`, and follows its alias from then on; how features are computed. `None`
/// when somebody asked to stop before there was one.
fn first_model(
    runtime: &Runtime,
    config: &Config,
    interrupt: &Interrupt,
    telemetry: &Arc<Telemetry>,
    current: &Current,
) -> anyhow::Result<Option<ValidFeatureConfig>> {
    let uri: ModelUri = config.model.uri.parse().map_err(anyhow::Error::msg)?;
    let given = config
        .features
        .map(market::FeatureConfig::check)
        .transpose()?;
    let put = |loaded: Loaded| -> Result<ValidFeatureConfig, LoadError> {
        let features = match given {
            Some(features) => features,
            None => loaded.features()?,
        };
        let judge = loaded.judge(&features)?;
        let alias = match &uri {
            ModelUri::Alias { alias, .. } => alias.as_str(),
            ModelUri::Version { .. } | ModelUri::Path(_) => "",
        };
        telemetry.model_loaded(alias, judge.model());
        current.set(Some(judge));
        Ok(features)
    };
    let registered = || registered(config);
    match &uri {
        ModelUri::Path(path) => Ok(Some(put(load_path(path)?)?)),
        ModelUri::Version { name, version } => {
            let registered = registered()?;
            let loaded = runtime.block_on(registered.load(name, version))?;
            Ok(Some(put(loaded)?))
        }
        ModelUri::Alias { name, alias } => {
            let registered = registered()?;
            let waiting = wait_for(&registered, name, alias, put, telemetry, current);
            let features = runtime.block_on(async {
                tokio::select! {
                    biased;
                    () = interrupt.requested() => None,
                    features = waiting => Some(features),
                }
            });
            let Some(features) = features else {
                return Ok(None);
            };
            let features = features?;
            let alias = Alias {
                name: name.clone(),
                alias: alias.clone(),
                features,
                poll: config.model.poll.0,
                keeps: true,
            };
            let telemetry = Arc::clone(telemetry);
            runtime.spawn(follow(registered, alias, current.clone(), telemetry));
            Ok(Some(features))
        }
    }
}

/// Follows the alias that is scored in shadow, where there is to be one.
fn follow_challenger(
    runtime: &Runtime,
    config: &Config,
    telemetry: &Arc<Telemetry>,
    api: &Api,
    features: ValidFeatureConfig,
) -> anyhow::Result<()> {
    let Some((alias, current)) = api.challenger() else {
        return Ok(());
    };
    let uri: ModelUri = config.model.uri.parse().map_err(anyhow::Error::msg)?;
    let (ModelUri::Alias { name, .. } | ModelUri::Version { name, .. }) = uri else {
        bail!("`model.challenger` needs a registered model");
    };
    let alias = Alias {
        name,
        alias: alias.to_owned(),
        features,
        poll: config.model.poll.0,
        // Without the alias nothing is scored in shadow.
        keeps: false,
    };
    let telemetry = Arc::clone(telemetry);
    runtime.spawn(follow(
        registered(config)?,
        alias,
        current.clone(),
        telemetry,
    ));
    Ok(())
}

fn registered(config: &Config) -> anyhow::Result<Registered> {
    let uri = config.registry.uri.as_deref().unwrap_or_default();
    Registered::at(uri).context(Environment("can't use the registry's URL".to_owned()))
}

/// Waits until an alias names a model that can be had and used, and `put`s it in force. One that can't be used is no
/// reason to end: whoever is asked to start again would run into the same one.
///
/// # Errors
/// The registry refuses to tell what the alias names.
async fn wait_for(
    registered: &Registered,
    name: &str,
    alias: &str,
    put: impl Fn(Loaded) -> Result<ValidFeatureConfig, LoadError>,
    telemetry: &Telemetry,
    current: &Current,
) -> Result<ValidFeatureConfig, LoadError> {
    const AGAIN: Duration = Duration::from_secs(2);
    /// The same model is loaded again.
    const ANOTHER: Duration = Duration::from_secs(10);
    let mut said = String::new();
    loop {
        telemetry.beat();
        let (error, is_there) = match registered.version_of(name, alias).await {
            Err(error @ LoadError::Registry(_)) if !error.is_passing() => return Err(error),
            Err(error) => (error, false),
            Ok(version) => match registered.load(name, &version).await.and_then(&put) {
                Err(error) => {
                    let is_passing = error.is_passing();
                    (error, !is_passing)
                }
                features => return features,
            },
        };
        let reason = causes(&error);
        if reason != said {
            current.failed(None, &reason);
            match is_there {
                true => {
                    telemetry.model_failed(alias);
                    tracing::error!(
                        model = name,
                        alias,
                        reason,
                        "a model can't be used, or not with the `[features]` of the configuration; waiting for another one"
                    );
                }
                false => tracing::warn!(model = name, alias, reason, "waiting for a model"),
            }
            said = reason;
        }
        tokio::time::sleep(if is_there { ANOTHER } else { AGAIN }).await;
    }
}

/// A judge that was loaded once, for commands that end.
pub(super) fn load_once(
    runtime: &Runtime,
    uri: &ModelUri,
    registry: Option<&str>,
) -> anyhow::Result<Loaded> {
    let registered = || -> anyhow::Result<Registered> {
        let uri = registry.context(Environment(
            "a registered model needs a registry: give --tracking-uri or MLFLOW_TRACKING_URI"
                .to_owned(),
        ))?;
        Ok(Registered::at(uri)?)
    };
    let loaded = match uri {
        ModelUri::Path(path) => load_path(path)?,
        ModelUri::Version { name, version } => {
            let registered = registered()?;
            runtime.block_on(registered.load(name, version))?
        }
        ModelUri::Alias { name, alias } => {
            let registered = registered()?;
            runtime.block_on(registered.load_alias(name, alias))?
        }
    };
    Ok(loaded)
}

/// Which model a judge is, for people.
pub(super) fn show(judge: &dyn Judge) -> String {
    let model = judge.model();
    format!("{} version {}", model.name, model.version)
}
