//! `trainer check EXPERIMENT.toml`, and what `run --dry-run` prints.

use history::DataObject;
use serde::Serialize;

use super::run::load_experiment;
use super::summary::split_words;
use crate::cli::CheckArgs;
use crate::config::{DataKind, ExperimentFile, ThresholdRule};
use crate::exit::{CommandResult, ExitStatus};
use crate::output::{self, Render};
use crate::pipeline::{fit, load, search, table};
use crate::progress::plural;

/// What a run would do.
#[derive(Debug, Serialize)]
pub struct RunPlan {
    experiment: String,
    seed: u64,
    data: Vec<PlannedObject>,
    features: Vec<String>,
    split: String,
    trials: Vec<String>,
    threshold: String,
    inject: Option<String>,
    register: Option<String>,
}

#[derive(Debug, Serialize)]
struct PlannedObject {
    uri: String,
    size_bytes: u64,
}

/// Runs the command.
///
/// # Errors
/// Every violation of the file; data that aren't there or lack a column.
pub fn check(args: &CheckArgs) -> CommandResult {
    let file = load_experiment(&args.experiment)?;
    let objects = load::resolve(&file)?;
    output::print(&plan(&file, &objects)?, args.output.output)?;
    Ok(ExitStatus::Done)
}

/// Says what a run of `file` on `objects` would do; schemas are read, rows are not.
///
/// # Errors
/// When the data lack a column, or the trials don't fit them.
pub fn plan(file: &ExperimentFile, objects: &[DataObject]) -> anyhow::Result<RunPlan> {
    let experiment = &file.experiment;
    let features: Vec<String> = match experiment.data.kind {
        DataKind::Features => table::open(experiment, objects)?.columns().to_vec(),
        _ => experiment
            .features
            .engine
            .iter()
            .map(|feature| feature.name().to_owned())
            .collect(),
    };
    let trials = search::drawn(experiment, &features)?;
    let words = |trial: &fit::Trial| -> anyhow::Result<String> {
        Ok(format!(
            "{} {}",
            trial.candidate,
            serde_json::to_string(&trial.params)?
        ))
    };
    Ok(RunPlan {
        experiment: experiment.name.clone(),
        seed: experiment.seed,
        data: objects
            .iter()
            .map(|object| PlannedObject {
                uri: object.uri.clone(),
                size_bytes: object.size_bytes,
            })
            .collect(),
        features,
        split: split_words(experiment.split.method).to_owned(),
        trials: trials.iter().map(words).collect::<anyhow::Result<_>>()?,
        threshold: match experiment.evaluate.threshold {
            ThresholdRule::AlertsPerSymbolDay(budget) => {
                format!("{budget} alerts per symbol and day on validation data")
            }
            ThresholdRule::Quantile(quantile) => {
                format!("quantile {quantile} of validation scores")
            }
        },
        inject: experiment.inject.as_ref().map(|inject| {
            let kinds: Vec<&str> = inject.kinds.iter().map(|kind| kind.as_str()).collect();
            format!(
                "{} events per symbol and day of {}, {} to {} robust standard deviations",
                inject.events_per_symbol_day,
                kinds.join(", "),
                inject.magnitude.0,
                inject.magnitude.1
            )
        }),
        register: experiment
            .register
            .as_ref()
            .map(|register| match &register.alias {
                Some(alias) => format!("{} @{alias}", register.model),
                None => register.model.clone(),
            }),
    })
}

impl Render for RunPlan {
    fn render_table(&self) -> String {
        let size: u64 = self.data.iter().map(|object| object.size_bytes).sum();
        let none = || "nothing".to_owned();
        let data = if self.data.is_empty() {
            "simulated".to_owned()
        } else {
            format!("{}, {size} bytes", plural(self.data.len() as u64, "file"))
        };
        let mut lines = vec![
            (
                "experiment",
                format!("{}, seed {}", self.experiment, self.seed),
            ),
            ("data", data),
        ];
        lines.extend(
            self.data
                .iter()
                .take(5)
                .map(|object| ("", object.uri.clone())),
        );
        if self.data.len() > 5 {
            lines.push(("", format!("… and {} more", self.data.len() - 5)));
        }
        lines.push(("features", self.features.join(", ")));
        lines.push(("inject", self.inject.clone().unwrap_or_else(none)));
        lines.push(("split", self.split.clone()));
        lines.extend(self.trials.iter().map(|trial| ("trial", trial.clone())));
        lines.push(("threshold", self.threshold.clone()));
        lines.push(("register", self.register.clone().unwrap_or_else(none)));
        lines
            .into_iter()
            .map(|(name, value)| format!("{name:<11} {value}\n"))
            .collect()
    }
}
