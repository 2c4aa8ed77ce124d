//! `trainer run EXPERIMENT.toml`

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use anyhow::Context;
use history::{DataObject, Storage, TableWriter};
use mlflow_api::types::{KeyValue, RunStatus};
use mlflow_api::{Client, ClientError};
use serde_json::json;
use tokio::runtime::Runtime;

use super::summary::RunSummary;
use super::{logged, outcome};
use crate::cli::{ExperimentArgs, RunArgs};
use crate::config::{self, ExperimentFile};
use crate::exit::{CommandResult, Environment, ExitStatus, Note, status_of};
use crate::interrupt::{Interrupt, Interrupted};
use crate::output;
use crate::pipeline::{self, load, provenance};
use crate::progress::Progress;
use crate::tracking::{Bundle, RunState, Stage, Tracking, is_registry_lost, publish};

/// The folder, below the current one, that runs without a registry are kept in.
pub(super) const LOCAL_FOLDER: &str = "foreshock";

/// What the first Ctrl-C says.
pub(super) const STOPPING: &str =
    "stopping; the run will be marked KILLED (Ctrl-C again stops at once)";

/// The tag that says why a run failed, for as long as it has.
const ERROR_TAG: &str = "foreshock.error";

/// Runs the command.
///
/// # Errors
/// Everything that keeps the run from being finished.
pub fn run(args: &RunArgs) -> CommandResult {
    let progress = Progress::new(args.output.quiet);
    let file = load_experiment(&args.experiment)?;
    set_threads(args.threads)?;
    let objects = load::resolve(&file)?;
    if args.dry_run {
        let plan = super::check::plan(&file, &objects)?;
        output::print(&plan, args.output.output)?;
        return Ok(ExitStatus::Done);
    }
    if !args.resume {
        // What the data's schemas tell is told before a run begins.
        super::check::plan(&file, &objects)?;
    }
    if let Some(target) = &args.scores {
        // Better now than after the work.
        drop(TableWriter::create(&Storage::from_env(), target)?);
    }

    let runtime = Arc::new(Runtime::new()?);
    let interrupt = Interrupt::listen(&runtime, STOPPING);
    let tracking = Tracking::connect(
        runtime,
        args.tracking.tracking_uri.as_deref(),
        interrupt.clone(),
    )?;
    let overrides = file.overrides.join("\n");
    let path = std::path::absolute(&file.path)?.display().to_string();
    let stage = Stage::locate(
        Path::new(LOCAL_FOLDER),
        &[&path, &file.text, &overrides, tracking.uri()],
    );
    let _lock = stage.lock()?;
    let resumed = if args.resume { stage.state()? } else { None };
    if args.resume && resumed.is_none() {
        progress.note(
            "nothing to resume: no unfinished run of this experiment is kept here; starting one",
        );
    }
    let is_resumed = resumed.is_some();
    let state = match resumed {
        Some(state) => reopen(&tracking, state)?,
        None => begin(&tracking, &file, args.run_name.as_deref(), &stage)?,
    };
    progress.note(&format!(
        "run {} ({}) of {}",
        state.run_name, state.run_id, file.experiment.name
    ));

    let finished = finish(
        args, &file, &objects, &tracking, &state, &stage, is_resumed, &interrupt, &progress,
    );
    match finished {
        Ok(summary) => {
            output::print(&summary, args.output.output)?;
            Ok(ExitStatus::Done)
        }
        Err(error) => Err(give_up(&tracking, &state, error)),
    }
}

/// The experiment file with `--data` and `--set` applied.
///
/// # Errors
/// When it is refused.
pub fn load_experiment(args: &ExperimentArgs) -> anyhow::Result<ExperimentFile> {
    let mut overrides = Vec::new();
    if let Some(data) = &args.data {
        // On the command line a path is relative to where the command runs, in the file to the file.
        let source = if data.contains("://") {
            data.clone()
        } else {
            std::path::absolute(data)?.display().to_string()
        };
        overrides.push(format!("data.source={}", serde_json::to_string(&source)?));
    }
    overrides.extend(args.set.iter().cloned());
    Ok(config::load(&args.experiment, &overrides)?)
}

/// Sets the number of threads of every computation.
///
/// # Errors
/// When it is 0, or the pool can't be started.
pub fn set_threads(threads: Option<usize>) -> anyhow::Result<()> {
    if threads == Some(0) {
        return Err(Environment("`--threads` is 0; at least one is needed".to_owned()).into());
    }
    if let Some(threads) = threads {
        rayon::ThreadPoolBuilder::new()
            .num_threads(threads)
            .build_global()?;
    }
    Ok(())
}

pub(super) fn begin(
    tracking: &Tracking,
    file: &ExperimentFile,
    run_name: Option<&str>,
    stage: &Stage,
) -> anyhow::Result<RunState> {
    let name = file.experiment.name.as_str();
    let experiment_id =
        tracking.call(|client| async move { client.get_or_create_experiment(name).await })?;
    let tags: Vec<KeyValue> = run_tags(file)
        .into_iter()
        .map(|(key, value)| KeyValue { key, value })
        .collect();
    let id = experiment_id.as_str();
    let run = tracking.call(|client| async move {
        client
            .create_run(id, run_name, crate::tracking::now_ms(), tags)
            .await
    })?;
    let state = RunState {
        run_id: run.info.run_id.clone(),
        run_name: run.info.run_name.clone().unwrap_or_default(),
        experiment_id,
        artifact_uri: run
            .info
            .artifact_uri
            .context("the registry gave the run no place for artifacts")?,
    };
    if let Err(error) = stage.begin(&state) {
        let run_id = state.run_id.as_str();
        // The disk's error is what the user must see; the run's mark comes second.
        let marked =
            tracking.call(|client| async move { mark(&client, run_id, RunStatus::Failed).await });
        if let Err(unmarked) = marked {
            tracing::warn!(%unmarked, "can't mark the run as failed");
        }
        return Err(error);
    }
    Ok(state)
}

/// Takes up a run that wasn't finished; one that the registry lost can't be.
fn reopen(tracking: &Tracking, state: RunState) -> anyhow::Result<RunState> {
    let run_id = state.run_id.as_str();
    tracking
        .call(|client| async move {
            client
                .update_run(run_id, Some(RunStatus::Running), None, None)
                .await?;
            match client.delete_tag(run_id, ERROR_TAG).await {
                Err(error) if !error.is_not_found() => Err(error),
                _ => Ok(()),
            }
        })
        .with_context(|| format!("can't resume run {run_id}; without --resume a new one begins"))?;
    Ok(state)
}

#[expect(
    clippy::too_many_arguments,
    reason = "one call site; each is a thing of its own"
)]
fn finish(
    args: &RunArgs,
    file: &ExperimentFile,
    objects: &[DataObject],
    tracking: &Tracking,
    state: &RunState,
    stage: &Stage,
    resumed: bool,
    interrupt: &Interrupt,
    progress: &Progress,
) -> anyhow::Result<RunSummary> {
    let kept = if resumed && args.scores.is_none() {
        stage.bundle()?
    } else {
        None
    };
    let bundle = match kept {
        Some(bundle) => {
            progress.note("the work was done already; registering what it made");
            bundle
        }
        None => compute(args, file, objects, state, stage, interrupt, progress)?,
    };
    let published = publish(tracking, state, stage, &bundle, interrupt, progress)?;
    if let Err(error) = stage.clear() {
        // The registry has everything; what is left here is only in the way.
        progress.note(&format!("the run is done, but {error:#}"));
    }
    let mut summary: RunSummary = serde_json::from_value(bundle.summary)?;
    summary.set_published(tracking, published.model);
    Ok(summary)
}

fn compute(
    args: &RunArgs,
    file: &ExperimentFile,
    objects: &[DataObject],
    state: &RunState,
    stage: &Stage,
    interrupt: &Interrupt,
    progress: &Progress,
) -> anyhow::Result<Bundle> {
    stage.clear_work()?;
    let outcome = pipeline::run(file, objects, &stage.shelf(), interrupt, progress)?;
    let phase = progress.phase("report", 0);
    let mut tags = run_tags(file);
    tags.extend(logged::tags(&outcome));
    let bundle = outcome::stage(file, &outcome, state, stage, tags)?;
    phase.done(&format!("{} artifacts", stage.artifacts()?.len()));
    if let Some(target) = &args.scores {
        let phase = progress.phase("scores", 0);
        let n_rows = pipeline::scores::write(&outcome, target, interrupt)?;
        phase.done(&format!("{n_rows} rows to {target}"));
    }
    interrupt.check()?;
    stage.complete(&bundle)?;
    Ok(bundle)
}

/// Tags that are known before any work: code, machine, and what to run again.
pub(super) fn run_tags(file: &ExperimentFile) -> BTreeMap<String, String> {
    let mut tags = provenance::tags(load::base_folder(&file.path), rayon::current_num_threads());
    let path = std::path::absolute(&file.path).unwrap_or_else(|_| file.path.clone());
    tags.insert(
        "foreshock.experiment.path".to_owned(),
        path.display().to_string(),
    );
    tags.insert(
        "foreshock.overrides".to_owned(),
        json!(file.overrides).to_string(),
    );
    tags.insert(
        "foreshock.seed".to_owned(),
        file.experiment.seed.to_string(),
    );
    tags
}

async fn mark(client: &Client, run_id: &str, status: RunStatus) -> Result<(), ClientError> {
    let end = crate::tracking::now_ms();
    client
        .update_run(run_id, Some(status), Some(end), None)
        .await
        .map(drop)
}

/// Marks the run and says how to go on.
pub(super) fn give_up(
    tracking: &Tracking,
    state: &RunState,
    error: anyhow::Error,
) -> anyhow::Error {
    let run_id = state.run_id.as_str();
    let killed = error.chain().any(|cause| cause.is::<Interrupted>());
    let status = if killed {
        RunStatus::Killed
    } else {
        RunStatus::Failed
    };
    let reason: Vec<String> = error.chain().map(ToString::to_string).collect();
    let reason = reason.join(": ");
    let tell = |client: Client| async move {
        mark(&client, run_id, status).await?;
        client.set_tag(run_id, ERROR_TAG, &reason).await
    };
    let marked = if killed || is_registry_lost(&error) {
        tracking.call_once(tell)
    } else {
        tracking.call(tell)
    };
    // Where the input is at fault, there is nothing to go on with.
    let can_go_on = killed || marked.is_err() || status_of(&error) == ExitStatus::Environment;
    let hint = if can_go_on {
        "; repeat the command with --resume to continue it"
    } else {
        ""
    };
    let said = match (marked, killed) {
        (Ok(()), true) => format!("run {run_id} is marked KILLED{hint}"),
        (Ok(()), false) => format!("run {run_id} is marked FAILED{hint}"),
        (Err(_), _) => format!("run {run_id} is not finished{hint}"),
    };
    error.context(Note(said))
}
