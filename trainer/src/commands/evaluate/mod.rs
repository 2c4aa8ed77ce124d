//! `trainer evaluate MODEL --data LOCATION|EXPERIMENT.toml`: any registered model on the footing of a
//! candidate.

mod location;

use std::collections::BTreeMap;
use std::sync::Arc;

use anyhow::bail;
use detectors::evaluation::Metric;
use serde::Serialize;

use super::adopt::{Adopted, Adoption, adopt};
use super::leaderboard::{self, Leader};
use super::logged::add_metrics;
use super::run::{load_experiment, set_threads};
use crate::cli::{EvaluateArgs, ExperimentArgs};
use crate::config::{self, ExperimentFile, Register};
use crate::exit::{CommandResult, Environment, ExitStatus};
use crate::interrupt::Interrupt;
use crate::output::{self, Render};
use crate::pipeline::foreign::{Scorer, judge_model};
use crate::pipeline::{judge, load, prepare};
use crate::progress::Progress;
use crate::tracking::Tracking;
use crate::tracking::registered::{Content, ModelUri, Registered, fetch};
use location::Wanted;

/// What came of it.
#[derive(Debug, Serialize)]
struct Evaluated {
    model: String,
    version: String,
    run_id: Option<String>,
    /// What was run: `foreshock` or `onnx`.
    flavor: &'static str,
    experiment: String,
    features: Vec<String>,
    /// −log₁₀ tail probability beyond which a row is flagged.
    threshold: f64,
    metrics: BTreeMap<String, Metric>,
    leaderboard: Vec<Leader>,
    /// What was registered for scorers, if it was asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    made: Option<Adopted>,
}

/// Runs the command.
///
/// # Errors
/// A model that isn't there or is refused, data that don't have its features, everything that
/// `trainer run` refuses of data.
pub fn evaluate(args: &EvaluateArgs) -> CommandResult {
    let progress = Progress::new(args.output.quiet);
    let uri = ModelUri::parse(&args.model)?;
    // What a file says is refused before a registry is asked.
    let given = given(args)?;
    set_threads(args.threads)?;
    let runtime = Arc::new(tokio::runtime::Runtime::new()?);
    let interrupt = Interrupt::listen(&runtime, "stopping (Ctrl-C again stops at once)");
    let uri_of_registry = args.tracking.tracking_uri.as_deref();
    let tracking = Tracking::connect_to_existing(runtime, uri_of_registry, interrupt.clone())?;
    let registered = fetch(&tracking, &uri)?;
    let file = match given {
        Some(file) => file,
        None => of_location(args, &registered)?,
    };
    let objects = load::resolve(&file)?;

    let experiment = &file.experiment;
    let mut prepared = prepare::prepare(&file, &objects, &interrupt, &progress)?;
    let there = prepared.source.feature_names().to_vec();
    let mut adoptable = None;
    let (scorer, features, flavor) = match registered.content {
        Content::Native(model) => {
            check_engine(&file, &model.engine)?;
            let features = model.feature_names.clone();
            (
                Scorer::Native(Box::new(model.detectors)),
                features,
                "foreshock",
            )
        }
        Content::Onnx(graph) => {
            let n_columns = graph.model.n_features();
            let features = match graph.names.clone() {
                Some(names) => names,
                None if n_columns == there.len() => there,
                None => bail!(
                    "the model's signature doesn't name its {n_columns} columns, and the data have {}",
                    there.len()
                ),
            };
            let scorer = Scorer::Onnx(Box::new(graph.model.clone()));
            adoptable = Some(graph);
            (scorer, features, "onnx")
        }
    };
    if adoptable.is_none() && args.register.is_some() {
        bail!(
            "version {} of {} is a model of Foreshock's, which scorers take as it is: `--register` is for graphs that others made",
            registered.version,
            registered.name
        );
    }
    let judged = judge_model(&mut prepared, experiment, &scorer, &features, &interrupt)?;
    let mut metrics = BTreeMap::new();
    add_metrics(&mut metrics, judged.part.as_str(), &judged.test);
    let (_, validation, test) = judge::parts(&prepared);
    if validation != test {
        add_metrics(&mut metrics, "validation", &judged.calibrated.validation);
    }
    let name = format!("{} version {}", registered.name, registered.version);
    let made = match (adoptable, &args.register) {
        (Some(graph), Some(name)) => {
            let adoption = Adoption {
                file: &file,
                judged: &judged,
                metrics: &metrics,
                features: &features,
                graph: &graph,
                origin: &format!("models:/{}/{}", registered.name, registered.version),
                folder: &registered.folder,
                mlmodel: &registered.mlmodel,
            };
            let register = Register {
                model: match name.as_str() {
                    "" => registered.name.clone(),
                    name => name.to_owned(),
                },
                alias: args.alias.clone(),
            };
            Some(adopt(
                &adoption,
                &mut prepared,
                register,
                &tracking,
                &interrupt,
                &progress,
            )?)
        }
        _ => None,
    };
    let row = leaderboard::row(&name, flavor, &judged.calibrated.validation, &judged.test);
    let result = Evaluated {
        model: registered.name,
        version: registered.version,
        run_id: registered.run_id,
        flavor,
        experiment: experiment.name.clone(),
        features,
        threshold: judged.calibrated.threshold.neg_log10_tail,
        metrics,
        leaderboard: vec![row],
        made,
    };
    output::print(&result, args.output.output)?;
    Ok(ExitStatus::Done)
}

/// The experiment file, where one is given; `None` where the model says what a location is read for.
fn given(args: &EvaluateArgs) -> anyhow::Result<Option<ExperimentFile>> {
    if location::is_experiment(&args.data) {
        if args.experiment.is_some() || args.kind.is_some() {
            return Err(Environment(format!(
                "`--data` is the experiment file `{}`, which says all that `--experiment` and `--kind` would",
                args.data
            ))
            .into());
        }
        return Ok(Some(config::load(args.data.as_ref(), &args.set)?));
    }
    let Some(experiment) = &args.experiment else {
        return Ok(None);
    };
    if args.kind.is_some() {
        return Err(Environment("`--experiment` says what `--kind` would".to_owned()).into());
    }
    let arguments = ExperimentArgs {
        experiment: experiment.clone(),
        data: Some(args.data.clone()),
        set: args.set.clone(),
    };
    Ok(Some(load_experiment(&arguments)?))
}

/// What an experiment file would say of the location `args.data` for this model.
fn of_location(args: &EvaluateArgs, registered: &Registered) -> anyhow::Result<ExperimentFile> {
    let (features, engine) = match &registered.content {
        Content::Native(model) => {
            let engine = match &model.engine {
                serde_json::Value::Null => None,
                engine => Some(serde_json::from_value(engine.clone())?),
            };
            (Some(model.feature_names.as_slice()), engine)
        }
        Content::Onnx(graph) => (graph.names.as_deref(), None),
    };
    let wanted = Wanted {
        model: &registered.name,
        features,
        engine,
    };
    location::experiment(&args.data, args.kind, &wanted, &args.set)
}

/// Features of other windows are other features, whatever they are called.
fn check_engine(file: &ExperimentFile, engine: &serde_json::Value) -> anyhow::Result<()> {
    let experiment = &file.experiment;
    let ours = serde_json::to_value(experiment.features.config)?;
    // A table that doesn't say how its features were computed is taken at its columns' names.
    if !ours.is_null() && !engine.is_null() && *engine != ours {
        bail!(
            "the model's features were computed with {engine}, those of `{}` would be with {ours}",
            file.path.display()
        );
    }
    Ok(())
}

impl Render for Evaluated {
    fn render_table(&self) -> String {
        let rows = leaderboard::as_text(&self.leaderboard);
        let Some((header, rows)) = rows.split_first() else {
            return String::new();
        };
        let header: Vec<&str> = header.iter().map(String::as_str).collect();
        format!(
            "{}\nrun by its flavor `{}`, calibrated on validation rows, measured on the {} of `{}`\n",
            output::table(&header, rows),
            self.flavor,
            if self
                .metrics
                .keys()
                .any(|name| name.starts_with("in_sample"))
            {
                "same rows"
            } else {
                "test rows"
            },
            self.experiment,
        ) + &self.made.as_ref().map_or_else(String::new, |made| {
            format!(
                "registered for scorers as models:/{}/{}, run {}\n",
                made.model, made.version, made.run_id
            )
        })
    }
}
