//! Judging a model that wasn't fitted here on the footing of those that were.

use anyhow::{Context, bail};
use detectors::evaluation::Evaluation;
use detectors::{DetectorSet, Model};
use ndarray::Axis;
use onnx_runtime::ScoringModel;

use super::drift::{self, JudgedBy};
use super::fit;
use super::judge::{self, Calibrated, PartScores};
use super::prepare::Prepared;
use super::rows::{OnChunk, RowIndex, RowSource, scan_rows};
use super::split::Part;
use crate::config::Experiment;
use crate::interrupt::Interrupt;
use crate::progress::{Progress, list};

/// What gives rows raw scores.
#[derive(Debug)]
pub enum Scorer {
    /// Detectors of ours.
    Native(Box<DetectorSet>),
    /// A graph.
    Onnx(Box<ScoringModel>),
}

/// How a model did.
#[derive(Debug)]
pub struct Judged {
    /// What validation data made of its scores.
    pub calibrated: Calibrated,
    /// How it did on test data, with intervals.
    pub test: Evaluation,
    /// The part that was tested.
    pub part: Part,
}

/// Scores the validation rows, calibrates there, and measures on the test rows, as every candidate is.
/// `features` are the model's, in its order.
///
/// # Errors
/// A feature that the data don't have; rows that can't be read, scored or judged.
pub fn judge_model(
    prepared: &mut Prepared,
    experiment: &Experiment,
    scorer: &Scorer,
    features: &[String],
    interrupt: &Interrupt,
) -> anyhow::Result<Judged> {
    let n_folds = prepared.plan.n_folds();
    let (_, validation, test) = judge::parts(prepared);
    if n_folds > 1 {
        prepared.enter(Some(0));
    }
    let score = |prepared: &Prepared, clean: bool, part| -> anyhow::Result<(Vec<u32>, Vec<f64>)> {
        let (source, index) = match &prepared.calibration {
            Some((source, index)) if clean => (source.as_ref(), index),
            _ => (prepared.source.as_ref(), &prepared.index),
        };
        let source = Projected::new(source, features)?;
        let rows = index.rows_of(part);
        let scores = raw_scores(&source, index, &rows, scorer, interrupt)?;
        Ok((rows, scores))
    };
    let (rows, raw) = score(prepared, false, validation)?;
    let clean = match &prepared.calibration {
        None => None,
        Some((_, index)) => {
            let (rows, scores) = score(prepared, true, validation)?;
            Some((judge::symbols_of(index, &rows), scores))
        }
    };
    let clean = clean.as_ref().map(|(s, c)| (s.as_slice(), c.as_slice()));
    let calibrated = judge::calibrated(prepared, &experiment.evaluate, rows, raw, clean)
        .context("the model can't be calibrated on the validation rows")?;

    let mut tested = PartScores::default();
    for fold in 0..n_folds.max(1) {
        if n_folds > 1 {
            prepared.enter(Some(fold));
        }
        let (rows, raw) = score(prepared, false, test)?;
        tested.merge(judge::part_scores(
            &calibrated.calibrators,
            &calibrated.threshold,
            &prepared.index,
            rows,
            raw,
        ));
    }
    if n_folds > 1 {
        prepared.enter(None);
    }
    let seed = Some(experiment.seed);
    let evaluation = judge::judge(prepared, &tested, &experiment.evaluate, seed)?;
    Ok(Judged {
        calibrated,
        test: evaluation,
        part: test,
    })
}

fn raw_scores(
    source: &dyn RowSource,
    index: &RowIndex,
    wanted: &[u32],
    scorer: &Scorer,
    interrupt: &Interrupt,
) -> anyhow::Result<Vec<f64>> {
    match scorer {
        Scorer::Native(detectors) => {
            let sets = [detectors.as_ref()];
            let mut scores = fit::score(source, index, wanted, &sets, |_| {}, interrupt)?;
            Ok(scores.pop().unwrap_or_default())
        }
        Scorer::Onnx(model) => graph_scores(source, wanted, model, interrupt),
    }
}

fn graph_scores(
    source: &dyn RowSource,
    wanted: &[u32],
    graph: &ScoringModel,
    interrupt: &Interrupt,
) -> anyhow::Result<Vec<f64>> {
    let mut scores = Vec::with_capacity(wanted.len());
    scan_rows(source, wanted, &mut |_, chunk| {
        interrupt.check()?;
        scores.extend(graph.score(chunk)?);
        Ok(())
    })?;
    Ok(scores)
}

/// A graph that gives raw scores, made a model of ours: calibrated, with its drift baseline and golden rows.
/// `model` is whatever else is known of it.
///
/// # Errors
/// As [`judge_model`].
pub fn adopted(
    prepared: &mut Prepared,
    experiment: &Experiment,
    graph: &ScoringModel,
    model: Model,
    interrupt: &Interrupt,
    progress: &Progress,
) -> anyhow::Result<Model> {
    // Of a walk forward: the rows that it was calibrated on.
    let is_walk = prepared.plan.n_folds() > 1;
    if is_walk {
        prepared.enter(Some(0));
    }
    let made = with_reference(prepared, experiment, graph, model, interrupt, progress);
    if is_walk {
        prepared.enter(None);
    }
    made
}

fn with_reference(
    prepared: &Prepared,
    experiment: &Experiment,
    graph: &ScoringModel,
    mut model: Model,
    interrupt: &Interrupt,
    progress: &Progress,
) -> anyhow::Result<Model> {
    let (source, _) = prepared.training(false);
    let names = model.feature_names.clone();
    let source = Projected::new(source, &names)?;
    let scored = |rows: &[u32]| graph_scores(&source, rows, graph, interrupt);
    let by = JudgedBy {
        source: &source,
        raw: &scored,
        calibrators: &model.calibrators,
        threshold: &model.threshold,
    };
    let reference = drift::reference_of(experiment, prepared, &by, interrupt, progress)?;
    model.baseline = drift::summary_of(prepared, &source, interrupt)?;
    reference.into_external(&mut model, |row| Ok(graph.score_one(row)?))?;
    Ok(model)
}

/// Some columns of a source, in another order.
struct Projected<'a> {
    source: &'a dyn RowSource,
    names: &'a [String],
    columns: Vec<usize>,
}

impl<'a> Projected<'a> {
    fn new(source: &'a dyn RowSource, names: &'a [String]) -> anyhow::Result<Self> {
        let there = source.feature_names();
        let mut columns = Vec::with_capacity(names.len());
        for name in names {
            match there.iter().position(|other| other == name) {
                Some(column) => columns.push(column),
                None => bail!(
                    "the model needs the feature `{name}`, which the data don't have; there are {}",
                    list(there)
                ),
            }
        }
        Ok(Self {
            source,
            names,
            columns,
        })
    }
}

impl RowSource for Projected<'_> {
    fn feature_names(&self) -> &[String] {
        self.names
    }

    fn scan(&self, rows: std::ops::Range<usize>, on_chunk: &mut OnChunk<'_>) -> anyhow::Result<()> {
        if self
            .columns
            .iter()
            .copied()
            .eq(0..self.source.feature_names().len())
        {
            return self.source.scan(rows, on_chunk);
        }
        self.source.scan(rows, &mut |first, chunk| {
            on_chunk(first, chunk.select(Axis(1), &self.columns).view())
        })
    }
}
