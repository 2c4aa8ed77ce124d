//! Fitted trials on disk, so that a search that was stopped goes on where it was.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::Context;
use detectors::{Baseline, Calibrator, Calibrators, DetectorSet, Epoch, Golden, Model, Threshold};
use ndarray::s;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::attempt::{Failed, Fitted};
use super::fit::{FitInput, Record, TrainSample, Trial};
use super::provenance::hex;

/// A folder of fitted trials, or none.
#[derive(Debug, Clone, Default)]
pub struct Shelf {
    folder: Option<PathBuf>,
}

/// What is written beside a detector's bytes.
#[derive(Debug, Serialize, Deserialize)]
struct Note {
    failed: Option<String>,
    seconds: f64,
    facts: Vec<(String, f64)>,
    epochs: Vec<(usize, f64, Option<f64>)>,
}

impl Shelf {
    /// A shelf in `folder`, which is made when the first trial is put there.
    #[must_use]
    pub fn at(folder: PathBuf) -> Self {
        Self {
            folder: Some(folder),
        }
    }

    /// What the trials of one input have in common in their names.
    pub(super) fn base(&self, input: &FitInput<'_>) -> Option<Sha256> {
        self.folder.as_ref()?;
        let mut hash = Sha256::new();
        hash.update(env!("CARGO_PKG_VERSION"));
        hash.update(input.seed.to_le_bytes());
        for name in input.names.iter().chain(input.symbols) {
            hash.update((name.len() as u64).to_le_bytes());
            hash.update(name);
        }
        let mut sample = |sample: &TrainSample| {
            hash.update((sample.symbol.len() as u64).to_le_bytes());
            for value in &sample.rows {
                hash.update(value.to_le_bytes());
            }
            for symbol in &sample.symbol {
                hash.update(symbol.to_le_bytes());
            }
        };
        sample(input.sample);
        if let Some(unseen) = input.unseen {
            sample(unseen);
        }
        Some(hash)
    }

    fn paths(&self, base: &Option<Sha256>, trial: &Trial) -> Option<(PathBuf, PathBuf)> {
        let (folder, mut hash) = (self.folder.as_ref()?, base.clone()?);
        hash.update(trial.scope.as_str());
        hash.update(serde_json::to_vec(&trial.params).ok()?);
        let digest = hex(&hash.finalize());
        let name = digest.get(..24)?;
        Some((
            folder.join(format!("{name}.json")),
            folder.join(format!("{name}.foreshock")),
        ))
    }

    /// What became of `trial` before; `None` where nothing is known, or what is there can't be used.
    pub(super) fn take(
        &self,
        base: &Option<Sha256>,
        trial: &Trial,
    ) -> Option<Result<Fitted, Failed>> {
        let (note, bytes) = self.paths(base, trial)?;
        let note: Note = serde_json::from_slice(&fs::read(note).ok()?).ok()?;
        let spent = Duration::try_from_secs_f64(note.seconds).ok()?;
        let trial = trial.clone();
        if let Some(reason) = note.failed {
            return Some(Err(Failed {
                trial,
                reason,
                record: Record::default(),
                spent,
            }));
        }
        let model = Model::from_bytes(&fs::read(bytes).ok()?).ok()?;
        let epochs = note.epochs.into_iter();
        let epochs = epochs.map(|(number, train_loss, validation_loss)| Epoch {
            number,
            train_loss,
            validation_loss,
        });
        Some(Ok(Fitted {
            trial,
            detectors: model.detectors,
            record: Record {
                facts: note.facts,
                epochs: epochs.collect(),
            },
            spent,
        }))
    }

    /// Keeps what became of a trial. That it can't be written is no error of the run.
    pub(super) fn keep(
        &self,
        base: &Option<Sha256>,
        input: &FitInput<'_>,
        fitted: Result<&Fitted, &Failed>,
    ) {
        let trial = match fitted {
            Ok(fitted) => &fitted.trial,
            Err(failed) => &failed.trial,
        };
        let Some((note, bytes)) = self.paths(base, trial) else {
            return;
        };
        if let Err(error) = keep(&note, &bytes, input, fitted) {
            tracing::warn!(error = format!("{error:#}"), "a fitted trial can't be kept");
        }
    }
}

fn keep(
    note: &Path,
    bytes: &Path,
    input: &FitInput<'_>,
    fitted: Result<&Fitted, &Failed>,
) -> anyhow::Result<()> {
    if let Some(folder) = note.parent() {
        fs::create_dir_all(folder)?;
    }
    let text = match fitted {
        Err(failed) => Note {
            failed: Some(failed.reason.clone()),
            seconds: failed.spent.as_secs_f64(),
            facts: Vec::new(),
            epochs: Vec::new(),
        },
        Ok(fitted) => {
            write(bytes, &model(&fitted.detectors, input)?.to_bytes()?)?;
            let epochs = fitted.record.epochs.iter();
            Note {
                failed: None,
                seconds: fitted.spent.as_secs_f64(),
                facts: fitted.record.facts.clone(),
                epochs: epochs
                    .map(|epoch| (epoch.number, epoch.train_loss, epoch.validation_loss))
                    .collect(),
            }
        }
    };
    // Last, so that its presence says that the bytes are whole.
    write(note, &serde_json::to_vec(&text)?)
}

/// The detectors as a model, which has bytes; what else a model holds comes later.
fn model(detectors: &DetectorSet, input: &FitInput<'_>) -> anyhow::Result<Model> {
    let few = input.sample.rows.nrows().min(2);
    Ok(Model {
        feature_names: input.names.to_vec(),
        detectors: detectors.clone(),
        calibrators: Calibrators {
            pooled: Calibrator::fit(&[0.0, 1.0])?,
            by_symbol: std::collections::BTreeMap::new(),
        },
        threshold: Threshold::from_quantile(&[0.0, 1.0], 0.5)?,
        engine: serde_json::Value::Null,
        metadata: std::collections::BTreeMap::new(),
        baseline: Baseline::fit(input.sample.rows.slice(s![..few, ..]))?,
        golden: Golden::default(),
    })
}

fn write(path: &Path, content: &[u8]) -> anyhow::Result<()> {
    let partial = path.with_extension("partial");
    fs::write(&partial, content)
        .and_then(|()| fs::rename(&partial, path))
        .with_context(|| format!("can't write `{}`", path.display()))
}
