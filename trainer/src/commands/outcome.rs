//! From an outcome to what is registered.

use std::collections::BTreeMap;

use detectors::{Detector, DetectorSet, Error};
use history::{Storage, write_table};
use serde_json::{Value, json};

use super::leaderboard;
use super::logged::{losses, metrics, params, trial_runs};
use super::report_data::{RunLabel, report_data, verdict};
use super::summary::{RunSummary, fold_rows, table};
use crate::config::ExperimentFile;
use crate::pipeline::Outcome;
use crate::pipeline::fit::Trial;
use crate::report::{render_html, render_pngs};
use crate::tracking::model_folder::{self, ModelFolder};
use crate::tracking::{Bundle, RunState, Stage};

/// The report's name among the run's artifacts.
const REPORT: &str = "report/report.html";

/// Writes every artifact into `stage` and says what else is to be published.
///
/// # Errors
/// When a file can't be written or a chart can't be drawn.
pub(super) fn stage(
    file: &ExperimentFile,
    outcome: &Outcome,
    state: &RunState,
    stage: &Stage,
    tags: BTreeMap<String, String>,
) -> anyhow::Result<Bundle> {
    let params = params(file, outcome)?;
    let now = jiff::Timestamp::now();
    let label = RunLabel {
        run_id: &state.run_id,
        run_name: &state.run_name,
        created: now.as_microsecond(),
        parameters: params
            .iter()
            .map(|(key, value)| (key.clone(), value.clone()))
            .collect(),
        tags: &tags,
    };
    let leaders = leaderboard::leaders(outcome)?;
    let report = report_data(file, outcome, &leaders, &label);
    stage.write_artifact(REPORT, render_html(&report).as_bytes())?;
    for (name, bytes) in render_pngs(&report)? {
        stage.write_artifact(&format!("report/{name}"), &bytes)?;
    }
    let tested: Vec<Value> = outcome
        .tested
        .iter()
        .map(|tested| json!({ "candidate": outcome.validated[tested.trial].trial.candidate, "test": tested.evaluation }))
        .collect();
    let folds: Vec<Value> = outcome
        .folds
        .iter()
        .map(|fold| {
            json!({
                "from_us": fold.from,
                "to_us": fold.to,
                "winner": fold.winner,
                "baseline": fold.baseline,
            })
        })
        .collect();
    let trials: Vec<Value> = outcome
        .validated
        .iter()
        .map(|trial| {
            json!({
                "trial": trial.trial.number,
                "candidate": trial.trial.candidate,
                "scope": trial.trial.scope,
                "params": trial.trial.params,
                "seconds": trial.spent.as_secs_f64(),
                "validation_average_precision": trial.validation.average_precision,
                "validation_roc_auc": trial.validation.roc_auc,
            })
        })
        .collect();
    let failed: Vec<Value> = outcome
        .failed
        .iter()
        .map(|failed| with_reason(&failed.trial, &failed.reason))
        .collect();
    let dropped: Vec<Value> = outcome
        .dropped
        .iter()
        .map(|dropped| with_reason(&dropped.trial, &dropped.reason))
        .collect();
    let pretty = |value: &Value| serde_json::to_vec_pretty(value);
    let evaluation = json!({
        "tested": tested,
        "folds": folds,
        "trials": trials,
        "failed": failed,
        "dropped": dropped,
        "suspicions": outcome.suspicions,
    });
    write_table(
        &Storage::from_env(),
        &stage
            .artifact_path("leaderboard.parquet")?
            .display()
            .to_string(),
        leaderboard::as_table(&leaders),
    )?;
    stage.write_artifact("evaluation.json", &pretty(&evaluation)?)?;
    stage.write_artifact(
        "data.json",
        &pretty(&serde_json::to_value(&outcome.fingerprint)?)?,
    )?;
    stage.write_artifact("experiment.toml", file.text.as_bytes())?;

    let native = outcome.model.to_bytes()?;
    let (onnx, no_onnx) = match outcome.model.to_onnx() {
        Ok(onnx) => (Some(onnx), None),
        Err(error @ Error::NotExportable { .. }) => (None, Some(error.to_string())),
        Err(error) => return Err(error.into()),
    };
    let symbols = &outcome.model.calibrators.by_symbol;
    let folder = ModelFolder {
        run_id: &state.run_id,
        detector: outcome.validated[outcome.winner].trial.params.name(),
        features: &outcome.model.feature_names,
        example: &outcome.example,
        example_symbol: symbols.keys().next().map_or("", String::as_str),
        native: &native,
        onnx: onnx.as_ref(),
        engine: &outcome.model.engine,
        baseline: &serde_json::to_value(&outcome.model.baseline)?,
        threshold: &serde_json::to_value(outcome.model.threshold)?,
        created: &now.strftime("%Y-%m-%d %H:%M:%S.%6f").to_string(),
        model_uuid: &uuid::Uuid::new_v4().simple().to_string(),
        statistics: statistics(&outcome.model.detectors),
    };
    for (name, bytes) in model_folder::files(&folder)? {
        stage.write_artifact(&format!("model/{name}"), &bytes)?;
    }

    let all = metrics(outcome);
    let summary = RunSummary {
        run_id: state.run_id.clone(),
        run_name: state.run_name.clone(),
        experiment_id: state.experiment_id.clone(),
        model_name: None,
        model_version: None,
        candidate: outcome.validated[outcome.winner].trial.candidate.clone(),
        metrics: all.clone(),
        report: format!("{}/{REPORT}", state.artifact_uri),
        tracking_uri: String::new(),
        verdict: verdict(file, outcome).sentence(),
        table: table(outcome),
        leaderboard: leaders
            .iter()
            .map(serde_json::to_value)
            .collect::<Result<_, _>>()?,
        leader_rows: if leaders.len() > 2 {
            leaderboard::as_text(&leaders)
        } else {
            Vec::new()
        },
        flip_probability: leaderboard::flip_probability(outcome),
        failed: failures(outcome),
        suspicions: outcome.suspicions.iter().map(ToString::to_string).collect(),
        folds: fold_rows(&outcome.folds, outcome.prepared.interval_us.unwrap_or(0)),
    };
    let mut version_tags = BTreeMap::new();
    for key in [
        "foreshock.data.sha256",
        "foreshock.seed",
        "mlflow.source.git.commit",
    ] {
        if let Some(value) = tags.get(key) {
            version_tags.insert(key.to_owned(), value.clone());
        }
    }
    version_tags.insert("foreshock.detector".to_owned(), folder.detector.to_owned());
    let mut tags = tags;
    if let Some(reason) = no_onnx {
        tracing::warn!("{reason}");
        for tags in [&mut tags, &mut version_tags] {
            tags.insert("foreshock.onnx.missing".to_owned(), reason.clone());
        }
    }
    Ok(Bundle {
        params,
        tags,
        metrics: all
            .into_iter()
            .filter_map(|(name, metric)| metric.value().map(|value| (name, value)))
            .collect(),
        points: losses(&outcome.validated[outcome.winner].record),
        trials: trial_runs(outcome)?,
        register: file.experiment.register.clone(),
        version_tags,
        summary: serde_json::to_value(&summary)?,
    })
}

fn failures(outcome: &Outcome) -> Vec<String> {
    let failed = outcome.failed.iter();
    failed
        .map(|failed| {
            format!(
                "trial {} of {} failed: {}",
                failed.trial.number, failed.trial.candidate, failed.reason
            )
        })
        .collect()
}

fn with_reason(trial: &Trial, reason: &str) -> Value {
    json!({
        "trial": trial.number,
        "candidate": trial.candidate,
        "scope": trial.scope,
        "params": trial.params,
        "reason": reason,
    })
}

/// The statistics of a detector that has them in words that people read and edit.
fn statistics(detectors: &DetectorSet) -> Vec<(String, String)> {
    let of = |detector: &Detector| match detector {
        Detector::CandleZ(inner) => Some(inner.statistics().to_json()),
        Detector::SlidingWindow(inner) => Some(inner.statistics().to_json()),
        _ => None,
    };
    match detectors {
        DetectorSet::Global(detector) => of(detector)
            .map(|text| ("statistics.json".to_owned(), text))
            .into_iter()
            .collect(),
        DetectorSet::PerSymbol { by_symbol, .. } => by_symbol
            .iter()
            .filter_map(|(symbol, detector)| {
                let name: String = symbol
                    .chars()
                    .map(|c| if c.is_alphanumeric() { c } else { '_' })
                    .collect();
                Some((format!("statistics/{name}.json"), of(detector)?))
            })
            .collect(),
        DetectorSet::External(_) => Vec::new(),
    }
}
