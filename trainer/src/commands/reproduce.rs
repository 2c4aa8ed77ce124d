//! `trainer reproduce RUN`: train again, compare bytes.

use std::path::PathBuf;
use std::sync::Arc;

use anyhow::{Context, bail};
use mlflow_api::types::Run;
use serde::Serialize;
use sha2::{Digest, Sha256};

use super::run::{STOPPING, set_threads};
use crate::cli::ReproduceArgs;
use crate::config;
use crate::exit::{CommandResult, ExitStatus};
use crate::interrupt::Interrupt;
use crate::output::{self, Render};
use crate::pipeline::provenance::hex;
use crate::pipeline::shelf::Shelf;
use crate::pipeline::{self, load};
use crate::progress::Progress;
use crate::tracking::Tracking;
use crate::tracking::model_folder::NATIVE_FILE;

/// What came of it.
#[derive(Debug, Serialize)]
struct Reproduced {
    run_id: String,
    /// Whether the data are byte for byte those of the run.
    same_data: bool,
    /// Whether the model is.
    identical: bool,
    registered: ModelBytes,
    reproduced: ModelBytes,
    /// What else differs between then and now.
    differences: Vec<String>,
}

#[derive(Debug, Serialize)]
struct ModelBytes {
    size_bytes: usize,
    sha256: String,
}

/// Runs the command: 0 when the bytes are equal, 1 when they are not.
///
/// # Errors
/// When the run isn't known or isn't one of a trainer, or the work fails.
pub fn reproduce(args: &ReproduceArgs) -> CommandResult {
    let progress = Progress::new(args.output.quiet);
    set_threads(args.threads)?;
    let runtime = Arc::new(tokio::runtime::Runtime::new()?);
    let interrupt = Interrupt::listen(&runtime, STOPPING);
    let tracking = Tracking::connect_to_existing(
        runtime,
        args.tracking.tracking_uri.as_deref(),
        interrupt.clone(),
    )?;
    let id = args.run.as_str();
    let run = tracking.call(|client| async move { client.get_run(id).await })?;
    let uri = run
        .info
        .artifact_uri
        .clone()
        .context("the run has no artifacts")?;
    let download = |path: &str| {
        let (uri, wanted) = (uri.clone(), path.to_owned());
        tracking
            .call(|client| async move { client.download_artifact(&uri, &wanted).await })
            .with_context(|| format!("run {id} has no artifact `{path}`"))
    };
    let text = String::from_utf8(download("experiment.toml")?.to_vec())
        .context("the experiment file is no text")?;
    let registered = download(&format!("model/{NATIVE_FILE}"))?;

    let path = PathBuf::from(
        tag(&run, "foreshock.experiment.path").context("the run wasn't made by a trainer")?,
    );
    let mut overrides: Vec<String> =
        serde_json::from_str(tag(&run, "foreshock.overrides").unwrap_or("[]"))?;
    if let Some(data) = &args.data {
        let source = if data.contains("://") {
            data.clone()
        } else {
            std::path::absolute(data)?.display().to_string()
        };
        overrides.push(format!("data.source={}", serde_json::to_string(&source)?));
    }
    let file = config::parse(&path, text, &overrides)?;
    let objects = load::resolve(&file)
        .context("the run's data aren't there any more; say where with --data")?;
    let outcome = pipeline::run(&file, &objects, &Shelf::default(), &interrupt, &progress)?;
    let same_data = tag(&run, "foreshock.data.sha256") == Some(outcome.fingerprint.hash.as_str());
    let bytes = outcome.model.to_bytes()?;
    let result = Reproduced {
        run_id: id.to_owned(),
        same_data,
        identical: bytes == *registered,
        registered: model_bytes(&registered),
        reproduced: model_bytes(&bytes),
        differences: differences(&run, &file),
    };
    output::print(&result, args.output.output)?;
    if result.identical {
        return Ok(ExitStatus::Done);
    }
    if !same_data {
        bail!("the model differs, and so do the data");
    }
    Ok(ExitStatus::Failed)
}

fn model_bytes(bytes: &[u8]) -> ModelBytes {
    ModelBytes {
        size_bytes: bytes.len(),
        sha256: hex(&Sha256::digest(bytes)),
    }
}

fn tag<'r>(run: &'r Run, key: &str) -> Option<&'r str> {
    run.data
        .tags
        .iter()
        .find(|tag| tag.key == key)
        .map(|tag| tag.value.as_str())
}

fn differences(run: &Run, file: &config::ExperimentFile) -> Vec<String> {
    let now =
        pipeline::provenance::tags(load::base_folder(&file.path), rayon::current_num_threads());
    now.iter()
        .filter_map(|(key, value)| {
            let then = tag(run, key)?;
            (then != value).then(|| format!("{key}: {then} then, {value} now"))
        })
        .collect()
}

impl Render for Reproduced {
    fn render_table(&self) -> String {
        let same = |yes: bool| if yes { "identical" } else { "DIFFERENT" };
        let mut text = format!(
            "run    {}\ndata   {}\nmodel  {} ({} bytes, sha256 {})\n",
            self.run_id,
            same(self.same_data),
            same(self.identical),
            self.reproduced.size_bytes,
            self.reproduced.sha256,
        );
        if !self.identical {
            text.push_str(&format!(
                "       registered: {} bytes, sha256 {}\n",
                self.registered.size_bytes, self.registered.sha256
            ));
        }
        for difference in &self.differences {
            text.push_str(&format!("note   {difference}\n"));
        }
        text
    }
}
