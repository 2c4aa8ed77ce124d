//! A graph that others made, registered as a version that scorers run.

use std::collections::BTreeMap;
use std::path::Path;

use anyhow::Context;
use detectors::evaluation::Metric;
use detectors::{Baseline, DetectorSet, External, Golden, Model};
use serde::Serialize;
use serde_json::json;
use serde_yaml_ng::Value;

use super::run::{LOCAL_FOLDER, begin, give_up, run_tags};
use crate::config::{ExperimentFile, Register};
use crate::interrupt::Interrupt;
use crate::pipeline::foreign::{Judged, adopted};
use crate::pipeline::metadata;
use crate::pipeline::prepare::Prepared;
use crate::progress::Progress;
use crate::tracking::model_folder::NATIVE_FILE;
use crate::tracking::registered::Graph;
use crate::tracking::{Bundle, RunState, Stage, Tracking, publish};

/// What is adopted, and what is known of it.
pub(super) struct Adoption<'a> {
    pub file: &'a ExperimentFile,
    pub judged: &'a Judged,
    pub metrics: &'a BTreeMap<String, Metric>,
    pub features: &'a [String],
    pub graph: &'a Graph,
    /// The URI of the version that it comes from.
    pub origin: &'a str,
    /// Where that version's files are.
    pub folder: &'a str,
    pub mlmodel: &'a Value,
}

/// What was registered.
#[derive(Debug, Clone, Serialize)]
pub(super) struct Adopted {
    pub model: String,
    pub version: String,
    pub run_id: String,
}

/// Registers `adoption` as `register` says: the version's own files, and beside them the native one, which has its
/// calibration, threshold, features, drift baseline and golden rows.
///
/// # Errors
/// Rows that can't be scored, a registry that refuses or doesn't answer.
pub(super) fn adopt(
    adoption: &Adoption<'_>,
    prepared: &mut Prepared,
    register: Register,
    tracking: &Tracking,
    interrupt: &Interrupt,
    progress: &Progress,
) -> anyhow::Result<Adopted> {
    let file = adoption.file;
    let path = std::path::absolute(&file.path)?.display().to_string();
    let overrides = file.overrides.join("\n");
    let parts = [
        "evaluate",
        adoption.origin,
        &register.model,
        &path,
        &file.text,
        &overrides,
        tracking.uri(),
    ];
    let stage = Stage::locate(Path::new(LOCAL_FOLDER), &parts);
    let _lock = stage.lock()?;
    let model = model(adoption, prepared, interrupt, progress)?;
    let state = begin(tracking, file, None, &stage)?;
    let published = || -> anyhow::Result<Adopted> {
        let bundle = bundle(adoption, &model, register, &state, &stage, tracking)?;
        let published = publish(tracking, &state, &stage, &bundle, interrupt, progress)?;
        let (model, version) = published.model.context("no version was registered")?;
        Ok(Adopted {
            model,
            version,
            run_id: state.run_id.clone(),
        })
    };
    let done = published().map_err(|error| give_up(tracking, &state, error))?;
    if let Err(error) = stage.clear() {
        progress.note(&format!("the version is registered, but {error:#}"));
    }
    Ok(done)
}

fn model(
    adoption: &Adoption<'_>,
    prepared: &mut Prepared,
    interrupt: &Interrupt,
    progress: &Progress,
) -> anyhow::Result<Model> {
    let (graph, experiment) = (adoption.graph, &adoption.file.experiment);
    let mut metadata = metadata(adoption.file);
    metadata.insert("foreshock.origin".to_owned(), adoption.origin.to_owned());
    metadata.insert(onnx_runtime::FILE_KEY.to_owned(), graph.path.clone());
    metadata.insert(onnx_runtime::INPUTS_KEY.to_owned(), graph.inputs.clone());
    metadata.extend(graph.said.clone());
    let blank = Model {
        feature_names: adoption.features.to_vec(),
        detectors: DetectorSet::External(External::of(&graph.bytes, graph.model.n_features())),
        calibrators: adoption.judged.calibrated.calibrators.clone(),
        threshold: adoption.judged.calibrated.threshold,
        engine: serde_json::to_value(experiment.features.config)?,
        metadata,
        baseline: Baseline {
            n_rows: 0,
            features: Vec::new(),
            drift: None,
        },
        golden: Golden::default(),
    };
    adopted(
        prepared,
        experiment,
        &graph.model,
        blank,
        interrupt,
        progress,
    )
}

fn bundle(
    adoption: &Adoption<'_>,
    model: &Model,
    register: Register,
    state: &RunState,
    stage: &Stage,
    tracking: &Tracking,
) -> anyhow::Result<Bundle> {
    let file = adoption.file;
    let mut size = 0;
    let mut write = |name: &str, content: &[u8]| {
        size += content.len();
        stage.write_artifact(&format!("model/{name}"), content)
    };
    write(NATIVE_FILE, &model.to_bytes()?)?;
    let pretty = serde_json::to_vec_pretty;
    let features = json!({ "features": model.feature_names, "engine": model.engine, "threshold": model.threshold });
    write("features.json", &pretty(&features)?)?;
    let baseline = serde_json::to_value(&model.baseline)?;
    write("baseline.json", &pretty(&baseline)?)?;
    let ours = ["MLmodel", NATIVE_FILE, "features.json", "baseline.json"];
    for path in files_below(tracking, adoption.folder)? {
        if ours.contains(&path.as_str()) {
            continue;
        }
        let (folder, wanted) = (adoption.folder, path.as_str());
        let content = match path == adoption.graph.path {
            true => adoption.graph.bytes.clone(),
            false => tracking
                .call(|client| async move { client.download_artifact(folder, wanted).await })?
                .into(),
        };
        write(&path, &content)?;
    }
    let mlmodel = described(adoption.mlmodel.clone(), &state.run_id, size)?;
    stage.write_artifact("model/MLmodel", mlmodel.as_bytes())?;
    stage.write_artifact("experiment.toml", file.text.as_bytes())?;

    let mut tags = run_tags(file);
    tags.insert("foreshock.origin".to_owned(), adoption.origin.to_owned());
    let version_tags = [
        ("foreshock.origin", adoption.origin),
        ("foreshock.detector", "onnx"),
    ];
    let bundle = Bundle {
        params: BTreeMap::from([
            ("candidate".to_owned(), adoption.origin.to_owned()),
            ("detector".to_owned(), "onnx".to_owned()),
        ]),
        tags,
        metrics: adoption
            .metrics
            .iter()
            .filter_map(|(name, metric)| metric.value().map(|value| (name.clone(), value)))
            .collect(),
        points: Vec::new(),
        trials: Vec::new(),
        register: Some(register),
        version_tags: version_tags
            .map(|(key, value)| (key.to_owned(), value.to_owned()))
            .into(),
        summary: serde_json::Value::Null,
    };
    stage.complete(&bundle)?;
    Ok(bundle)
}

/// The files of a model's folder, by paths from there.
fn files_below(tracking: &Tracking, root: &str) -> anyhow::Result<Vec<String>> {
    let mut files = Vec::new();
    let mut folders = vec![String::new()];
    while let Some(folder) = folders.pop() {
        let below = folder.as_str();
        let entries =
            tracking.call(|client| async move { client.list_store(root, below).await })?;
        for entry in entries {
            let path = match folder.is_empty() {
                true => entry.path,
                false => format!("{folder}/{}", entry.path),
            };
            match entry.is_dir {
                true => folders.push(path),
                false => files.push(path),
            }
        }
    }
    files.sort();
    Ok(files)
}

/// The `MLmodel` of the copy: what it was, and the native flavor.
fn described(mut mlmodel: Value, run_id: &str, size: usize) -> anyhow::Result<String> {
    let flavor = json!({
        "data": NATIVE_FILE,
        "detector": "onnx",
        "format_version": 1,
        "foreshock_version": env!("CARGO_PKG_VERSION"),
    });
    mlmodel["flavors"]["foreshock"] = serde_yaml_ng::to_value(&flavor)?;
    mlmodel["run_id"] = run_id.into();
    mlmodel["artifact_path"] = "model".into();
    mlmodel["model_id"] = Value::Null;
    mlmodel["model_uuid"] = uuid::Uuid::new_v4().simple().to_string().into();
    mlmodel["model_size_bytes"] = (size as u64).into();
    let now = jiff::Timestamp::now();
    mlmodel["utc_time_created"] = now.strftime("%Y-%m-%d %H:%M:%S.%6f").to_string().into();
    Ok(serde_yaml_ng::to_string(&mlmodel)?)
}
