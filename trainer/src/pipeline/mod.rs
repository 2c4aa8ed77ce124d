//! From data to a judged model.
//!
//! [`prepare`] reads the history, injects anomalies, computes features and
//! splits the rows in time; [`fit`] fits every trial on training rows;
//! [`judge`] calibrates scores and sets thresholds on validation rows, chooses
//! there, and measures once on test rows. Labels are looked at only by
//! [`judge::judge`].
//!
//! **Invariant:** nothing here talks to a registry, and nothing depends on the
//! number of threads.

pub mod fit;
pub mod judge;
pub mod load;
pub mod market;
pub mod prepare;
pub mod provenance;
pub mod rows;
pub mod scores;
pub mod split;
pub mod table;

use std::collections::BTreeMap;

use anyhow::Context;
use detectors::evaluation::{Evaluation, Importance, ImportanceOptions, permutation_importance_by};
use detectors::{Baseline, Model};
use history::{DataObject, Fingerprint};
use ndarray::{Array2, ArrayView2, Axis};

use crate::config::{Experiment, ExperimentFile};
use crate::interrupt::Interrupt;
use crate::progress::Progress;
use fit::{TrainSample, Trial};
use judge::{PartScores, Validated};
use prepare::Prepared;

/// Everything that came of an experiment.
#[derive(Debug)]
pub struct Outcome {
    /// The rows and how they were split.
    pub prepared: Prepared,
    /// What the data were.
    pub fingerprint: Fingerprint,
    /// Every trial, the baseline last.
    pub validated: Vec<Validated>,
    /// Which of them won on validation data.
    pub winner: usize,
    /// The trials that were measured on test data, and how they did: each candidate's best, the baseline last.
    pub tested: Vec<Tested>,
    /// Fold by fold, where there is more than one.
    pub folds: Vec<Fold>,
    /// What the features of the winner are worth; `None` where there was nothing to measure it on.
    pub importance: Option<Importance>,
    /// The winner, complete.
    pub model: Model,
    /// A few rows of training data, (n_samples, n_features).
    pub example: Vec<Vec<f64>>,
    /// How many rows train, and how many of them were fitted on.
    pub train_rows: (usize, usize),
}

/// One fold of a walk forward.
#[derive(Debug)]
pub struct Fold {
    /// Time of the first row that it tested, µs since the epoch.
    pub from: i64,
    /// Time of the last one.
    pub to: i64,
    /// How the winner did there; without intervals.
    pub winner: Evaluation,
    /// How the baseline did.
    pub baseline: Evaluation,
}

/// A trial on test data.
#[derive(Debug)]
pub struct Tested {
    /// Which of [`Outcome::validated`].
    pub trial: usize,
    /// How it did, with intervals.
    pub evaluation: Evaluation,
    /// Its scores.
    pub scores: PartScores,
}

impl Outcome {
    /// The winner on test data.
    pub fn tested_winner(&self) -> &Tested {
        self.tested
            .iter()
            .find(|tested| tested.trial == self.winner)
            .unwrap_or(&self.tested[0])
    }

    /// The baseline on test data.
    pub fn tested_baseline(&self) -> &Tested {
        &self.tested[self.tested.len() - 1]
    }
}

/// Runs `file` on `objects`.
///
/// # Errors
/// What can't be read, used, fitted or judged; [`crate::interrupt::Interrupted`].
pub fn run(
    file: &ExperimentFile,
    objects: &[DataObject],
    interrupt: &Interrupt,
    progress: &Progress,
) -> anyhow::Result<Outcome> {
    // Hashing what may be gigabytes goes on beside the work.
    std::thread::scope(|scope| {
        let fingerprint = scope.spawn(|| history::fingerprint(objects));
        let judged = judge_all(file, objects, interrupt, progress);
        let fingerprint = fingerprint
            .join()
            .map_err(|_| anyhow::anyhow!("the data's fingerprint can't be computed"))?;
        let mut outcome = judged?;
        outcome.fingerprint = fingerprint?;
        Ok(outcome)
    })
}

fn judge_all(
    file: &ExperimentFile,
    objects: &[DataObject],
    interrupt: &Interrupt,
    progress: &Progress,
) -> anyhow::Result<Outcome> {
    let experiment = &file.experiment;
    let mut prepared = prepare::prepare(file, objects, interrupt, progress)?;
    interrupt.check()?;
    let names = prepared.source.feature_names().to_vec();
    let (_, _, test) = judge::parts(&prepared);
    let n_folds = prepared.plan.n_folds();

    let mut trials = fit::trials(
        &experiment.candidates,
        names.len(),
        experiment.search.max_trials,
    )?;
    trials.push(Trial::baseline());
    if n_folds > 1 {
        prepared.enter(Some(0));
    }
    let of_fold = progress.of_fold(0, n_folds);
    let (validated, mut sample) =
        fit_and_validate(experiment, &prepared, trials, interrupt, &of_fold)?;
    let baseline = validated.len() - 1;
    let winner = judge::choose(&validated[..baseline]);
    let mut shown = best_of_each(&validated[..baseline]);
    shown.push(baseline);
    let winner_shown = shown.iter().position(|&trial| trial == winner).unwrap_or(0);
    let refs: Vec<&Validated> = shown.iter().map(|&trial| &validated[trial]).collect();
    let mut pooled = score_test(&prepared, &refs, interrupt, &of_fold)?;

    // What was chosen before the first test is fitted again for each later one; no test row has a
    // say in any choice.
    let mut folds = Vec::new();
    let mut refitted: Option<Vec<Validated>> = None;
    if n_folds > 1 {
        folds.push(judge_fold(experiment, &prepared, &pooled, winner_shown)?);
    }
    for fold in 1..n_folds {
        prepared.enter(Some(fold));
        let of_fold = progress.of_fold(fold, n_folds);
        let again = refs.iter().map(|chosen| chosen.trial.clone()).collect();
        let (fitted, fitted_on) =
            fit_and_validate(experiment, &prepared, again, interrupt, &of_fold)?;
        let scores = score_test(
            &prepared,
            &fitted.iter().collect::<Vec<_>>(),
            interrupt,
            &of_fold,
        )?;
        folds.push(judge_fold(experiment, &prepared, &scores, winner_shown)?);
        for (pool, scores) in pooled.iter_mut().zip(scores) {
            pool.merge(scores);
        }
        sample = fitted_on;
        refitted = Some(fitted);
    }
    if n_folds > 1 {
        prepared.enter(None);
    }

    let phase = progress.phase("judge", 0);
    let scored: Vec<(usize, PartScores)> = shown.into_iter().zip(pooled).collect();
    let tested = judge::a_few_at_once(scored, |(trial, scores)| {
        interrupt.check()?;
        let seed = Some(experiment.seed);
        let evaluation = judge::judge(&prepared, &scores, &experiment.evaluate, seed)?;
        Ok(Tested {
            trial,
            evaluation,
            scores,
        })
    })?;
    phase.done(&format!(
        "{} on {test} rows, {} intervals by block bootstrap",
        tested.len(),
        experiment.evaluate.resamples
    ));

    let importance = importance(
        &prepared,
        &validated[winner],
        experiment.evaluate.importance_rows,
        experiment.seed,
    )?;
    let winning = match &refitted {
        Some(fitted) => &fitted[winner_shown],
        None => &validated[winner],
    };
    let model = Model {
        feature_names: names,
        detectors: winning.detectors.clone(),
        calibrators: winning.calibrators.clone(),
        threshold: winning.threshold,
        engine: serde_json::to_value(experiment.features.config)?,
        metadata: metadata(file),
        baseline: Baseline::fit(sample.rows.view())?,
    };
    let example = sample
        .rows
        .rows()
        .into_iter()
        .take(3)
        .map(|row| row.to_vec())
        .collect();
    let train_rows = (sample.n_train_rows, sample.rows.nrows());
    Ok(Outcome {
        prepared,
        fingerprint: Fingerprint {
            objects: Vec::new(),
            hash: String::new(),
        },
        validated,
        winner,
        tested,
        folds,
        importance,
        model,
        example,
        train_rows,
    })
}

/// Fits `trials` on the training rows and calibrates them on the validation rows.
fn fit_and_validate(
    experiment: &Experiment,
    prepared: &Prepared,
    trials: Vec<Trial>,
    interrupt: &Interrupt,
    progress: &Progress,
) -> anyhow::Result<(Vec<Validated>, TrainSample)> {
    let into_train = experiment
        .inject
        .as_ref()
        .is_some_and(|inject| inject.into_train);
    let (source, index) = prepared.training(into_train);
    let (train, _, _) = judge::parts(prepared);
    let n_train = index.part.iter().filter(|&&part| part == train).count();
    let n_steps = n_train.min(experiment.data.max_train_rows) + trials.len();
    let phase = progress.phase("fit", n_steps as u64);
    let sample = fit::train_sample(
        source,
        index,
        train,
        experiment.data.max_train_rows,
        experiment.seed,
        |steps| phase.advance(steps),
        interrupt,
    )?;
    let mut fitted = Vec::with_capacity(trials.len());
    for trial in trials {
        interrupt.check()?;
        let detectors = fit::fit(&trial, &sample, &index.symbols, experiment.seed)?;
        fitted.push((trial, detectors));
        phase.advance(1);
    }
    phase.done(&format!(
        "{} detectors on {} of {n_train} training rows",
        fitted.len(),
        sample.rows.nrows()
    ));
    let validated = judge::validate(prepared, fitted, &experiment.evaluate, interrupt, progress)?;
    Ok((validated, sample))
}

/// Scores the test rows.
fn score_test(
    prepared: &Prepared,
    validated: &[&Validated],
    interrupt: &Interrupt,
    progress: &Progress,
) -> anyhow::Result<Vec<PartScores>> {
    let (_, _, test) = judge::parts(prepared);
    let n_rows = prepared
        .index
        .part
        .iter()
        .filter(|&&part| part == test)
        .count();
    let phase = progress.phase("test", n_rows as u64);
    let scores = judge::score_part(prepared, test, validated, interrupt, |steps| {
        phase.advance(steps)
    })?;
    phase.done(&format!("{n_rows} rows by {} detectors", validated.len()));
    Ok(scores)
}

/// Judges the winner and the baseline, the last of `scores`, on one fold's test rows.
fn judge_fold(
    experiment: &Experiment,
    prepared: &Prepared,
    scores: &[PartScores],
    winner: usize,
) -> anyhow::Result<Fold> {
    let times = prepared.index.time.as_deref().unwrap_or(&[]);
    let tested = || scores[winner].rows.iter().map(|&row| times[row as usize]);
    let judge = |scores| judge::judge(prepared, scores, &experiment.evaluate, None);
    Ok(Fold {
        from: tested().min().unwrap_or(0),
        to: tested().max().unwrap_or(0),
        winner: judge(&scores[winner])?,
        baseline: judge(&scores[scores.len() - 1])?,
    })
}

/// The best trial of each candidate on validation data, in file order.
fn best_of_each(validated: &[Validated]) -> Vec<usize> {
    let mut best: Vec<usize> = Vec::new();
    for (index, other) in validated.iter().enumerate() {
        let same = best
            .iter()
            .position(|&seen| validated[seen].trial.candidate == other.trial.candidate);
        match same {
            None => best.push(index),
            Some(position) => {
                let pair = [best[position], index];
                let of = |trial: usize| validated[trial].validation.average_precision.value();
                if of(pair[1]) > of(pair[0]) {
                    best[position] = index;
                }
            }
        }
    }
    best
}

/// Permutation importance of the winner's features on validation rows, evenly thinned to `max_rows`.
fn importance(
    prepared: &Prepared,
    winner: &Validated,
    max_rows: usize,
    seed: u64,
) -> anyhow::Result<Option<Importance>> {
    let all = &winner.validation_scores.rows;
    if max_rows == 0 || all.is_empty() {
        return Ok(None);
    }
    let stride = all.len().div_ceil(max_rows);
    let rows: Vec<u32> = all.iter().copied().step_by(stride).collect();
    let n_features = prepared.source.feature_names().len();
    let mut values = Vec::with_capacity(rows.len() * n_features);
    rows::scan_rows(prepared.source.as_ref(), &rows, &mut |_, chunk| {
        values.extend(chunk.iter());
        Ok(())
    })?;
    let matrix = Array2::from_shape_vec((rows.len(), n_features), values)?;
    let index = &prepared.index;
    let positive: Vec<bool> = rows
        .iter()
        .map(|&row| match &index.positive {
            Some(positive) => positive[row as usize],
            None => index.event[row as usize] != 0,
        })
        .collect();
    let symbols: Vec<u32> = rows.iter().map(|&row| index.symbol[row as usize]).collect();
    let options = ImportanceOptions {
        seed,
        max_rows,
        ..ImportanceOptions::default()
    };
    let score = |rows: ArrayView2<'_, f64>, from: &[usize], out: &mut [f64]| {
        score_calibrated(winner, &index.symbols, &symbols, rows, from, out)
    };
    let importance = permutation_importance_by(score, matrix.view(), Some(&positive), &options)
        .context("can't measure feature importance")?;
    Ok(Some(importance))
}

/// Calibrated scores of rows that are (shuffled) copies of the rows `from`, whose symbols count.
fn score_calibrated(
    winner: &Validated,
    names: &[String],
    symbols: &[u32],
    rows: ArrayView2<'_, f64>,
    from: &[usize],
    out: &mut [f64],
) -> detectors::Result<()> {
    for (index, name) in (0_u32..).zip(names) {
        let own: Vec<usize> = (0..from.len())
            .filter(|&position| symbols[from[position]] == index)
            .collect();
        if own.is_empty() {
            continue;
        }
        let mut scores = vec![0.0; own.len()];
        winner
            .detectors
            .get(name)?
            .score_into(rows.select(Axis(0), &own).view(), &mut scores)?;
        winner.calibrators.get(name).apply(&mut scores);
        for (position, score) in own.into_iter().zip(scores) {
            out[position] = score;
        }
    }
    Ok(())
}

/// What goes into the model's bytes besides what scores: nothing that two runs of the same job
/// differ in, and nothing of the files the rows came from: the same rows give the same bytes,
/// whatever their labels say and however they are stored. The run's tags name the files.
fn metadata(file: &ExperimentFile) -> BTreeMap<String, String> {
    BTreeMap::from([
        ("experiment".to_owned(), file.experiment.name.clone()),
        ("seed".to_owned(), file.experiment.seed.to_string()),
        (
            "foreshock.version".to_owned(),
            env!("CARGO_PKG_VERSION").to_owned(),
        ),
    ])
}
