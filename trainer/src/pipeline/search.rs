//! Which points of the candidates' spaces are tried, on how many rows.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use anyhow::{bail, ensure};
use detectors::DetectorParams;
use detectors::evaluation::Metric;
use rand::SeedableRng;
use rand::seq::SliceRandom;
use rand_xoshiro::Xoshiro256PlusPlus;

use super::attempt::{self, Failed, Limits};
use super::fit::{self, FitInput, Record, TrainSample, Trial};
use super::judge::{self, Validated};
use super::prepare::Prepared;
use super::shelf::Shelf;
use super::{Dropped, Tried};
use crate::config::{Experiment, SearchMethod};
use crate::interrupt::Interrupt;
use crate::progress::{Progress, plural};

/// Rows of a halving's first round, at least.
const FEWEST_ROWS: usize = 2_000;
/// Rows that the members of a consensus are calibrated on, at most.
const UNSEEN_ROWS: usize = 200_000;

/// What a search found.
#[derive(Debug)]
pub struct Found {
    /// The trials that came to the end; the baseline is the last, and not the only one.
    pub tried: Tried,
    /// Those that didn't, for want of quality or time.
    pub dropped: Vec<Dropped>,
    /// Those that failed.
    pub failed: Vec<Failed>,
}

/// The trials of `experiment` on data with the features `names`, drawn where the method draws.
///
/// # Errors
/// When a grid is larger than it may be, or asks for columns that aren't there.
pub fn drawn(experiment: &Experiment, names: &[String]) -> anyhow::Result<Vec<Trial>> {
    let most = experiment.search.max_trials;
    let mut trials = fit::trials(&experiment.candidates, names)?;
    if trials.len() <= most {
        return Ok(trials);
    }
    if experiment.search.method == SearchMethod::Grid {
        bail!(
            "the search spaces span {} trials; `search.max_trials` allows {most}",
            trials.len()
        );
    }
    // Shuffled, then by turns: a small space gets as many trials as a large one, if it has them.
    let mut random = Xoshiro256PlusPlus::seed_from_u64(experiment.seed ^ 0x7365_6172_6368);
    trials.shuffle(&mut random);
    let mut seen: BTreeMap<String, usize> = BTreeMap::new();
    let mut by_turn: Vec<(usize, Trial)> = trials
        .into_iter()
        .map(|trial| {
            let n = seen.entry(trial.candidate.clone()).or_default();
            *n += 1;
            (*n, trial)
        })
        .collect();
    by_turn.sort_by_key(|(turn, _)| *turn);
    by_turn.truncate(most);
    let mut trials: Vec<Trial> = by_turn.into_iter().map(|(_, trial)| trial).collect();
    trials.sort_by_key(|trial| trial.number);
    for (number, trial) in (1..).zip(&mut trials) {
        trial.number = number;
    }
    Ok(trials)
}

/// The threads of an experiment's trials.
pub fn threads(experiment: &Experiment) -> usize {
    let wanted = experiment.search.threads;
    wanted.unwrap_or_else(rayon::current_num_threads)
}

fn duration(micros: Option<i64>) -> Option<Duration> {
    micros.map(|micros| Duration::from_micros(micros.unsigned_abs()))
}

/// Tries `trials` and the baseline.
///
/// # Errors
/// When no trial comes to the end, the baseline fails, or rows can't be read.
pub fn search(
    experiment: &Experiment,
    prepared: &Prepared,
    mut trials: Vec<Trial>,
    shelf: &Shelf,
    interrupt: &Interrupt,
    progress: &Progress,
) -> anyhow::Result<Found> {
    let (_, validation, _) = judge::parts(prepared);
    let limits = Limits {
        threads: threads(experiment),
        trial: duration(experiment.search.trial_limit),
        end: duration(experiment.search.max_time).map(|time| Instant::now() + time),
    };
    let max_rows = experiment.data.max_train_rows;
    let begun = trials.clone();
    let (mut dropped, mut failed) = (Vec::new(), Vec::new());
    if experiment.search.method == SearchMethod::Halving {
        ensure!(
            judge::has_labels(prepared, validation),
            "`search.method` is `halving`, but no {validation} row is labelled; there is nothing to \
             choose by"
        );
        let (train, _, _) = judge::parts(prepared);
        let n_train = prepared.index.part.iter().filter(|&&part| part == train);
        let rows = max_rows.min(n_train.count());
        let reduction = experiment.search.reduction;
        for rows in rounds(most_of_one(&trials), reduction, rows) {
            let (tried, failures) = fit_and_validate(
                experiment, prepared, trials, rows, &limits, shelf, interrupt, progress,
            )?;
            failed.extend(failures);
            trials = halve(tried.validated, reduction, rows, &mut dropped);
            progress.note(&format!(
                "  {} left after the round on {rows} rows",
                plural(trials.len() as u64, "trial")
            ));
        }
    }
    trials.push(Trial::baseline());
    let (tried, failures) = fit_and_validate(
        experiment, prepared, trials, max_rows, &limits, shelf, interrupt, progress,
    )?;
    failed.extend(failures);
    let mut known: BTreeSet<usize> = BTreeSet::new();
    known.extend(
        tried
            .validated
            .iter()
            .map(|validated| validated.trial.number),
    );
    known.extend(failed.iter().map(|failed: &Failed| failed.trial.number));
    known.extend(dropped.iter().map(|dropped: &Dropped| dropped.trial.number));
    for trial in begun {
        if !known.contains(&trial.number) {
            dropped.push(Dropped {
                reason: "no time was left for it within `search.max_time`".to_owned(),
                average_precision: Metric::Undefined {
                    reason: "it was never tried".to_owned(),
                },
                record: Record::default(),
                spent: Duration::ZERO,
                trial,
            });
        }
    }
    dropped.sort_by_key(|dropped| dropped.trial.number);
    failed.sort_by_key(|failed| failed.trial.number);
    let reasons = || -> String {
        let reasons = failed.iter().map(|failed| {
            format!(
                "\n  {} {}: {}",
                failed.trial.number, failed.trial.candidate, failed.reason
            )
        });
        reasons.collect()
    };
    match tried.validated.split_last() {
        Some((baseline, others)) if baseline.trial.number == 0 => {
            ensure!(!others.is_empty(), "every trial failed:{}", reasons());
        }
        _ => bail!("the baseline can't be fitted:{}", reasons()),
    }
    for failed in &failed {
        progress.note(&format!(
            "  trial {} ({}) failed: {}",
            failed.trial.number, failed.trial.candidate, failed.reason
        ));
    }
    Ok(Found {
        tried,
        dropped,
        failed,
    })
}

/// Trials of the candidate that has most of them.
fn most_of_one(trials: &[Trial]) -> usize {
    let mut counts: BTreeMap<&str, usize> = BTreeMap::new();
    for trial in trials {
        *counts.entry(&trial.candidate).or_default() += 1;
    }
    counts.into_values().max().unwrap_or(0)
}

/// The training rows of each round of a halving but the last, which has all `rows`.
fn rounds(n_trials: usize, reduction: usize, rows: usize) -> Vec<usize> {
    let mut left = n_trials;
    let mut rounds = Vec::new();
    let mut fewer = rows;
    while left > 1 {
        left = left.div_ceil(reduction);
        fewer = (fewer / reduction).max(FEWEST_ROWS);
        // The same rows again would tell nothing new.
        if fewer < rows && rounds.last() != Some(&fewer) {
            rounds.push(fewer);
        }
    }
    rounds.reverse();
    rounds
}

/// The best of each candidate, one in `reduction`, at least one; the others are dropped.
fn halve(
    validated: Vec<Validated>,
    reduction: usize,
    rows: usize,
    dropped: &mut Vec<Dropped>,
) -> Vec<Trial> {
    let mut by_candidate: BTreeMap<String, Vec<Validated>> = BTreeMap::new();
    for validated in validated {
        let name = validated.trial.candidate.clone();
        by_candidate.entry(name).or_default().push(validated);
    }
    let mut stay = Vec::new();
    for mut of_one in by_candidate.into_values() {
        let quality = |validated: &Validated| {
            let precision = &validated.validation.average_precision;
            precision.value().unwrap_or(f64::NEG_INFINITY)
        };
        // Stable: of equals, the first in the file.
        of_one.sort_by(|a, b| quality(b).total_cmp(&quality(a)));
        let n_stay = of_one.len().div_ceil(reduction);
        for (at, validated) in of_one.into_iter().enumerate() {
            if at < n_stay {
                stay.push(validated.trial);
                continue;
            }
            dropped.push(Dropped {
                reason: format!("others did better on {rows} training rows"),
                average_precision: validated.validation.average_precision,
                record: validated.record,
                spent: validated.spent,
                trial: validated.trial,
            });
        }
    }
    stay.sort_by_key(|trial| trial.number);
    stay
}

/// Fits `trials` on at most `max_rows` training rows and calibrates them on the validation rows.
///
/// # Errors
/// When rows can't be read or judged; what a trial fails of is recorded.
#[expect(
    clippy::too_many_arguments,
    reason = "what is fitted, on what, within which limits"
)]
pub fn fit_and_validate(
    experiment: &Experiment,
    prepared: &Prepared,
    trials: Vec<Trial>,
    max_rows: usize,
    limits: &Limits,
    shelf: &Shelf,
    interrupt: &Interrupt,
    progress: &Progress,
) -> anyhow::Result<(Tried, Vec<Failed>)> {
    let into_train = experiment
        .inject
        .as_ref()
        .is_some_and(|inject| inject.into_train);
    let (source, index) = prepared.training(into_train);
    let (train, _, _) = judge::parts(prepared);
    let n_train = index.part.iter().filter(|&&part| part == train).count();
    let n_steps = n_train.min(max_rows) + trials.len();
    let phase = progress.phase("fit", n_steps as u64);
    let sample = fit::train_sample(
        source,
        index,
        train,
        max_rows,
        experiment.seed,
        |steps| phase.advance(steps),
        interrupt,
    )?;
    let unseen = unseen(experiment, prepared, &trials, interrupt)?;
    let input = FitInput {
        sample: &sample,
        unseen: unseen.as_ref(),
        symbols: &index.symbols,
        names: source.feature_names(),
        seed: experiment.seed,
        shelf,
    };
    let attempts = attempt::fit_all(trials, &input, limits, interrupt, || phase.advance(1))?;
    phase.done(&format!(
        "{} detectors on {} of {n_train} training rows",
        attempts.fitted.len(),
        sample.rows.nrows()
    ));
    let (validated, late) = judge::validate(
        prepared,
        attempts.fitted,
        &experiment.evaluate,
        limits.trial,
        interrupt,
        progress,
    )?;
    let mut failed = attempts.failed;
    failed.extend(late);
    Ok((Tried { validated, sample }, failed))
}

/// Validation rows as they were before injection, for the members of a consensus to be calibrated
/// on; `None` where there is no consensus, or no row that wasn't fitted on. Labels are not looked at.
fn unseen(
    experiment: &Experiment,
    prepared: &Prepared,
    trials: &[Trial],
    interrupt: &Interrupt,
) -> anyhow::Result<Option<TrainSample>> {
    let (train, validation, _) = judge::parts(prepared);
    let is_consensus = |trial: &Trial| matches!(trial.params, DetectorParams::Consensus(_));
    if train == validation || !trials.iter().any(is_consensus) {
        return Ok(None);
    }
    let (source, index) = match &prepared.calibration {
        Some((source, index)) => (source.as_ref(), index),
        None => (prepared.source.as_ref(), &prepared.index),
    };
    let most = experiment.data.max_train_rows.min(UNSEEN_ROWS);
    let seed = experiment.seed;
    fit::train_sample(source, index, validation, most, seed, |_| {}, interrupt).map(Some)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_round_of_a_halving_has_more_rows_and_the_last_one_all() {
        assert_eq!(rounds(1, 3, 90_000), [] as [usize; 0]);
        assert_eq!(rounds(3, 3, 90_000), [30_000]);
        assert_eq!(rounds(10, 3, 90_000), [3_333, 10_000, 30_000]);
        // Too few rows to make fewer of.
        assert_eq!(rounds(9, 3, 1_500), [] as [usize; 0]);
    }
}
