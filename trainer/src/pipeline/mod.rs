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

pub mod attempt;
pub mod drift;
pub mod fit;
pub mod foreign;
pub mod judge;
pub mod leak;
pub mod load;
pub mod market;
pub mod prepare;
pub mod provenance;
pub mod rows;
pub mod scores;
pub mod search;
pub mod shelf;
pub mod split;
pub mod table;

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::Context;
use detectors::evaluation::{
    Evaluation, Importance, ImportanceOptions, Metric, permutation_importance_by,
};
use detectors::{Baseline, Golden, Model};
use history::{DataObject, Fingerprint};
use ndarray::{Array2, ArrayView2, Axis};

use crate::config::{Experiment, ExperimentFile};
use crate::interrupt::Interrupt;
use crate::progress::Progress;
use attempt::{Failed, Limits};
use fit::{Record, TrainSample, Trial};
use judge::{PartScores, Validated};
use leak::Suspicion;
use prepare::Prepared;
use shelf::Shelf;

/// Everything that came of an experiment.
#[derive(Debug)]
pub struct Outcome {
    /// The rows and how they were split.
    pub prepared: Prepared,
    /// What the data were.
    pub fingerprint: Fingerprint,
    /// Every trial, the baseline last.
    pub validated: Vec<Validated>,
    /// Trials that failed.
    pub failed: Vec<Failed>,
    /// Trials that a halving left behind, or that there was no time for.
    pub dropped: Vec<Dropped>,
    /// Which of `validated` won on validation data.
    pub winner: usize,
    /// The trials that were measured on test data, and how they did: each candidate's best, the baseline last.
    pub tested: Vec<Tested>,
    /// Fold by fold, where there is more than one.
    pub folds: Vec<Fold>,
    /// What the features of the winner are worth; `None` where there was nothing to measure it on.
    pub importance: Option<Importance>,
    /// Features that seem to know events before they begin.
    pub suspicions: Vec<Suspicion>,
    /// The winner, complete.
    pub model: Model,
    /// A few rows of training data, (n_samples, n_features).
    pub example: Vec<Vec<f64>>,
    /// How many rows train, and how many of them were fitted on.
    pub train_rows: (usize, usize),
}

/// A trial that wasn't tried to the end.
#[derive(Debug)]
pub struct Dropped {
    /// What it was.
    pub trial: Trial,
    /// Why.
    pub reason: String,
    /// Average precision on validation data when it was left behind; undefined where it was never
    /// begun.
    pub average_precision: Metric,
    /// How its last fit went.
    pub record: Record,
    /// How long that took.
    pub spent: Duration,
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
    /// Average precision on each resample, paired with that of the others.
    pub resampled: Vec<Option<f64>>,
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

/// Runs `file` on `objects`; trials that lie on the `shelf` aren't fitted again.
///
/// # Errors
/// What can't be read, used, fitted or judged; [`crate::interrupt::Interrupted`].
pub fn run(
    file: &ExperimentFile,
    objects: &[DataObject],
    shelf: &Shelf,
    interrupt: &Interrupt,
    progress: &Progress,
) -> anyhow::Result<Outcome> {
    // Hashing what may be gigabytes goes on beside the work.
    std::thread::scope(|scope| {
        let fingerprint = scope.spawn(|| history::fingerprint(objects));
        let judged = judge_all(file, objects, shelf, interrupt, progress);
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
    shelf: &Shelf,
    interrupt: &Interrupt,
    progress: &Progress,
) -> anyhow::Result<Outcome> {
    let experiment = &file.experiment;
    let mut prepared = prepare::prepare(file, objects, interrupt, progress)?;
    interrupt.check()?;
    let names = prepared.source.feature_names().to_vec();
    let (_, _, test) = judge::parts(&prepared);
    let n_folds = prepared.plan.n_folds();

    let trials = search::drawn(experiment, &names)?;
    if n_folds > 1 {
        prepared.enter(Some(0));
    }
    let of_fold = progress.of_fold(0, n_folds);
    let search::Found {
        tried,
        dropped,
        mut failed,
    } = search::search(experiment, &prepared, trials, shelf, interrupt, &of_fold)?;
    let Tried {
        validated,
        mut sample,
    } = tried;
    let baseline = validated.len() - 1;
    let winner = judge::choose(&validated[..baseline]);
    let mut shown = best_of_each(&validated[..baseline]);
    shown.push(baseline);
    let refs: Vec<&Validated> = shown.iter().map(|&trial| &validated[trial]).collect();
    let mut pooled = score_test(&prepared, &refs, interrupt, &of_fold)?;

    // What was chosen before the first test is fitted again for each later one; no test row has a
    // say in any choice.
    let mut folds = Vec::new();
    let mut refitted: Option<Vec<Validated>> = None;
    let place = |shown: &[usize]| shown.iter().position(|&trial| trial == winner).unwrap_or(0);
    if n_folds > 1 {
        folds.push(judge_fold(experiment, &prepared, &pooled, place(&shown))?);
    }
    for fold in 1..n_folds {
        prepared.enter(Some(fold));
        let of_fold = progress.of_fold(fold, n_folds);
        let again = shown.iter().map(|&trial| validated[trial].trial.clone());
        let unlimited = Limits {
            threads: search::threads(experiment),
            trial: None,
            end: None,
        };
        let (fitted, failures) = search::fit_and_validate(
            experiment,
            &prepared,
            again.collect(),
            experiment.data.max_train_rows,
            &unlimited,
            shelf,
            interrupt,
            &of_fold,
        )?;
        // A candidate that fails in a later fold leaves the comparison; the winner can't.
        for failure in &failures {
            let number = failure.trial.number;
            let at = shown
                .iter()
                .position(|&trial| validated[trial].trial.number == number);
            let Some(at) = at else { continue };
            if shown[at] == winner || shown[at] == baseline {
                anyhow::bail!(
                    "candidate `{}` fails in fold {}: {}",
                    failure.trial.candidate,
                    fold + 1,
                    failure.reason
                );
            }
            shown.remove(at);
            pooled.remove(at);
        }
        failed.extend(failures);
        let scores = score_test(
            &prepared,
            &fitted.validated.iter().collect::<Vec<_>>(),
            interrupt,
            &of_fold,
        )?;
        folds.push(judge_fold(experiment, &prepared, &scores, place(&shown))?);
        for (pool, scores) in pooled.iter_mut().zip(scores) {
            pool.merge(scores);
        }
        sample = fitted.sample;
        refitted = Some(fitted.validated);
    }
    let winner_shown = place(&shown);
    let winning = match &refitted {
        Some(fitted) => &fitted[winner_shown],
        None => &validated[winner],
    };
    // While rows still have their parts of the last fold.
    let reference = drift::reference(experiment, &prepared, winning, interrupt, progress)?;
    if n_folds > 1 {
        prepared.enter(None);
    }

    let phase = progress.phase("judge", 0);
    let scored: Vec<(usize, PartScores)> = shown.into_iter().zip(pooled).collect();
    let tested = judge::a_few_at_once(scored, |(trial, scores)| {
        interrupt.check()?;
        let seed = experiment.seed;
        let evaluation = judge::judge(&prepared, &scores, &experiment.evaluate, Some(seed))?;
        let resampled = judge::resampled(&prepared, &scores, &experiment.evaluate, seed)?;
        Ok(Tested {
            trial,
            evaluation,
            scores,
            resampled,
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
    let suspicions = leak::suspicions(&prepared, interrupt)?;
    for suspicion in &suspicions {
        progress.note(&format!("  {suspicion}"));
    }
    let mut model = Model {
        feature_names: names,
        detectors: winning.detectors.clone(),
        calibrators: winning.calibrators.clone(),
        threshold: winning.threshold,
        engine: serde_json::to_value(experiment.features.config)?,
        metadata: metadata(file),
        baseline: Baseline::fit(sample.rows.view())?,
        golden: Golden::default(),
    };
    reference.into_model(&mut model)?;
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
        failed,
        dropped,
        winner,
        tested,
        folds,
        importance,
        suspicions,
        model,
        example,
        train_rows,
    })
}

/// Trials that were fitted and calibrated.
#[derive(Debug)]
pub struct Tried {
    /// Those that can be judged, in order.
    pub validated: Vec<Validated>,
    /// What they were fitted on.
    pub sample: TrainSample,
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
pub fn metadata(file: &ExperimentFile) -> BTreeMap<String, String> {
    BTreeMap::from([
        ("experiment".to_owned(), file.experiment.name.clone()),
        ("seed".to_owned(), file.experiment.seed.to_string()),
        (
            "foreshock.version".to_owned(),
            env!("CARGO_PKG_VERSION").to_owned(),
        ),
    ])
}
