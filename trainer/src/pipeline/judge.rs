//! Calibrates, sets the threshold, chooses on validation data, measures once on test data.

use std::time::Duration;

use anyhow::Context;
use detectors::evaluation::{
    BootstrapOptions, Evaluation, EvaluationOptions, Labels, Scored, evaluate,
    resampled_average_precision,
};
use detectors::{AlertBudget, Calibrators, DetectorSet, Threshold};
use market::DAY_US;
use rayon::prelude::*;

use super::attempt::{self, Failed, Fitted};
use super::fit::{self, Record, Trial};
use super::prepare::Prepared;
use super::rows::RowIndex;
use super::split::Part;
use crate::config::{Evaluate, ThresholdRule};
use crate::interrupt::Interrupt;
use crate::progress::Progress;

/// A fitted trial with what validation data make of it.
#[derive(Debug)]
pub struct Validated {
    /// What it is.
    pub trial: Trial,
    /// What scores.
    pub detectors: DetectorSet,
    /// How its fit went.
    pub record: Record,
    /// How long fitting it and scoring the validation rows took.
    pub spent: Duration,
    /// What makes its scores tail probabilities.
    pub calibrators: Calibrators,
    /// When a score is an alert.
    pub threshold: Threshold,
    /// Flagged rows per symbol and day, true and false, among the very rows that calibration and
    /// threshold came of; `None` without time.
    pub alerts_where_set: Option<f64>,
    /// How it did on validation data; without intervals.
    pub validation: Evaluation,
    /// Its scores there.
    pub validation_scores: PartScores,
}

/// What validation data make of a detector's raw scores.
#[derive(Debug)]
pub struct Calibrated {
    /// What makes its scores tail probabilities.
    pub calibrators: Calibrators,
    /// When a score is an alert.
    pub threshold: Threshold,
    /// As [`Validated::alerts_where_set`].
    pub alerts_where_set: Option<f64>,
    /// How it did on validation data; without intervals.
    pub validation: Evaluation,
    /// Its scores there.
    pub scores: PartScores,
}

/// Scores of one part's rows.
#[derive(Debug, Default)]
pub struct PartScores {
    /// The rows, ascending.
    pub rows: Vec<u32>,
    /// As the detector gives them.
    pub raw: Vec<f64>,
    /// −log₁₀ tail probabilities.
    pub tail: Vec<f64>,
    /// Beyond the threshold.
    pub flag: Vec<bool>,
}

impl PartScores {
    /// Adds other rows' scores, keeping rows ascending.
    pub fn merge(&mut self, other: PartScores) {
        let mut all: Vec<(u32, f64, f64, bool)> =
            Vec::with_capacity(self.rows.len() + other.rows.len());
        for scores in [std::mem::take(self), other] {
            let columns = scores.rows.into_iter().zip(scores.raw);
            let columns = columns.zip(scores.tail).zip(scores.flag);
            all.extend(columns.map(|(((row, raw), tail), flag)| (row, raw, tail, flag)));
        }
        all.sort_unstable_by_key(|&(row, ..)| row);
        for (row, raw, tail, flag) in all {
            self.rows.push(row);
            self.raw.push(raw);
            self.tail.push(tail);
            self.flag.push(flag);
        }
    }
}

/// The parts that choose and judge; the same one for tables without time.
pub fn parts(prepared: &Prepared) -> (Part, Part, Part) {
    match prepared.plan {
        super::split::Plan::InSample => (Part::InSample, Part::InSample, Part::InSample),
        super::split::Plan::Time(_) => (Part::Train, Part::Validation, Part::Test),
    }
}

/// Rows per symbol and day; `None` without time.
pub fn rows_per_day(prepared: &Prepared) -> Option<f64> {
    #[expect(clippy::cast_precision_loss, reason = "a day has 8.64e10 µs")]
    prepared
        .interval_us
        .map(|interval| DAY_US as f64 / interval as f64)
}

/// Flagged rows, labelled or not, per symbol and day; `None` without time or rows.
pub fn alerts_per_symbol_day(flags: &[bool], rows_per_day: Option<f64>) -> Option<f64> {
    let n_flagged = flags.iter().filter(|flag| **flag).count();
    #[expect(clippy::cast_precision_loss, reason = "row counts are far below 2^53")]
    rows_per_day
        .filter(|_| !flags.is_empty())
        .map(|per_day| n_flagged as f64 / flags.len() as f64 * per_day)
}

/// Scores the validation rows by every trial, calibrates, sets thresholds, evaluates. A trial whose
/// scores can't be had (not within `limit`, or for a panic), calibrated or judged is among the failed.
///
/// # Errors
/// When rows can't be read; [`crate::interrupt::Interrupted`].
pub fn validate(
    prepared: &Prepared,
    fitted: Vec<Fitted>,
    evaluate: &Evaluate,
    limit: Option<Duration>,
    interrupt: &Interrupt,
    progress: &Progress,
) -> anyhow::Result<(Vec<Validated>, Vec<Failed>)> {
    let (_, part, _) = parts(prepared);
    let rows = prepared.index.rows_of(part);
    let phase = progress.phase("validate", rows.len() as u64);
    let sets: Vec<&DetectorSet> = fitted.iter().map(|fitted| &fitted.detectors).collect();
    let mut spent: Vec<Duration> = fitted.iter().map(|fitted| fitted.spent).collect();
    let scores = fit::score_each(
        prepared.source.as_ref(),
        &prepared.index,
        &rows,
        &sets,
        &mut spent,
        limit,
        |steps| phase.advance(steps),
        interrupt,
    )?;
    // Thresholds come from the history as it was: an injected anomaly must not use up the budget.
    let (clean_symbols, clean_scores) = match &prepared.calibration {
        None => (None, fitted.iter().map(|_| Ok(Vec::new())).collect()),
        Some((source, index)) => {
            let rows = index.rows_of(part);
            let source = source.as_ref();
            let scores = fit::score_each(
                source,
                index,
                &rows,
                &sets,
                &mut spent,
                limit,
                |_| {},
                interrupt,
            )?;
            (Some(symbols_of(index, &rows)), scores)
        }
    };
    let mut scored = Vec::with_capacity(fitted.len());
    let mut failed = Vec::new();
    let scores = scores.into_iter().zip(clean_scores).zip(spent);
    for (fitted, ((scores, clean), spent)) in fitted.into_iter().zip(scores) {
        let fitted = Fitted { spent, ..fitted };
        match scores.and_then(|scores| Ok((scores, clean?))) {
            Ok((scores, clean)) => scored.push((fitted, scores, clean)),
            Err(error) => failed.push(Failed {
                reason: attempt::reason(&error, limit),
                trial: fitted.trial,
                record: fitted.record,
                spent,
            }),
        }
    }
    let whole = |(fitted, raw, clean): (Fitted, Vec<f64>, Vec<f64>)| {
        interrupt.check()?;
        let clean = clean_symbols
            .as_ref()
            .map(|symbols| (symbols.as_slice(), clean.as_slice()));
        let calibrated =
            attempt::unharmed(|| calibrated(prepared, evaluate, rows.clone(), raw, clean));
        let calibrated = match calibrated {
            Ok(calibrated) => calibrated,
            Err(error) => {
                return Ok(Err(Failed {
                    reason: attempt::reason(&error, limit),
                    trial: fitted.trial,
                    record: fitted.record,
                    spent: fitted.spent,
                }));
            }
        };
        Ok(Ok(Validated {
            trial: fitted.trial,
            detectors: fitted.detectors,
            record: fitted.record,
            spent: fitted.spent,
            calibrators: calibrated.calibrators,
            threshold: calibrated.threshold,
            alerts_where_set: calibrated.alerts_where_set,
            validation: calibrated.validation,
            validation_scores: calibrated.scores,
        }))
    };
    let mut validated = Vec::with_capacity(scored.len());
    for one in a_few_at_once(scored, whole)? {
        match one {
            Ok(one) => validated.push(one),
            Err(late) => failed.push(late),
        }
    }
    phase.done(&format!(
        "{} rows by {} detectors",
        rows.len(),
        validated.len()
    ));
    Ok((validated, failed))
}

/// Calibrates the `raw` scores of the validation rows `rows`, sets the threshold and judges there.
/// `clean` is the symbols and scores of validation rows before injection, where anything was injected.
///
/// # Errors
/// What can't be calibrated or judged.
pub fn calibrated(
    prepared: &Prepared,
    evaluate: &Evaluate,
    rows: Vec<u32>,
    raw: Vec<f64>,
    clean: Option<(&[u32], &[f64])>,
) -> anyhow::Result<Calibrated> {
    let names = &prepared.index.symbols;
    let rows_per_day = rows_per_day(prepared);
    let symbols = symbols_of(&prepared.index, &rows);
    let (of_symbols, of_scores) = clean.unwrap_or((&symbols, &raw));
    let calibrators = Calibrators::fit(of_scores, of_symbols, names)?;
    let tail = || calibrate(&calibrators, names, of_symbols, of_scores);
    let threshold = match evaluate.threshold {
        ThresholdRule::AlertsPerSymbolDay(alerts_per_symbol_day) => {
            let rows_per_day = rows_per_day.context("an alert budget needs time")?;
            AlertBudget {
                alerts_per_symbol_day,
            }
            .threshold(rows_per_day)?
        }
        ThresholdRule::Quantile(quantile) => Threshold::from_quantile(&tail(), quantile)?,
    };
    let where_set = clean.map(|_| threshold.flags(&tail()));
    let scores = part_scores(&calibrators, &threshold, &prepared.index, rows, raw);
    let alerts_where_set =
        alerts_per_symbol_day(where_set.as_ref().unwrap_or(&scores.flag), rows_per_day);
    let validation = judge(prepared, &scores, evaluate, None)?;
    Ok(Calibrated {
        calibrators,
        threshold,
        alerts_where_set,
        validation,
        scores,
    })
}

/// Maps `items`, in order, a few at once: sorts and single passes of one fill the gaps of another,
/// yet the memory that each takes (some hundred bytes a row) isn't taken for all.
///
/// # Errors
/// The first item's, in order, of those that `map` refuses.
pub fn a_few_at_once<T: Send, U: Send>(
    items: Vec<T>,
    map: impl Fn(T) -> anyhow::Result<U> + Sync,
) -> anyhow::Result<Vec<U>> {
    const FEW: usize = 2;
    let mut mapped = Vec::with_capacity(items.len());
    let mut items = items.into_iter();
    loop {
        let few: Vec<T> = items.by_ref().take(FEW).collect();
        if few.is_empty() {
            return Ok(mapped);
        }
        let few: Vec<anyhow::Result<U>> = few.into_par_iter().map(&map).collect();
        for item in few {
            mapped.push(item?);
        }
    }
}

/// Whether `part` has a labelled row.
pub fn has_labels(prepared: &Prepared, part: Part) -> bool {
    let index = &prepared.index;
    let is_labelled = |row: usize| match &index.positive {
        Some(positive) => positive[row],
        None => index.event[row] != 0,
    };
    (0..index.len()).any(|row| index.part[row] == part && is_labelled(row))
}

/// Which of `validated` wins: the highest average precision on validation data; without any
/// labelled row there, the first.
pub fn choose(validated: &[Validated]) -> usize {
    let mut best = 0;
    for (index, other) in validated.iter().enumerate() {
        let of = |validated: &Validated| {
            validated
                .validation
                .average_precision
                .value()
                .unwrap_or(f64::NEG_INFINITY)
        };
        if of(other) > of(&validated[best]) {
            best = index;
        }
    }
    best
}

/// Scores `part`'s rows by each of `validated`, with their calibration and threshold.
///
/// # Errors
/// When rows can't be read or scored.
pub fn score_part(
    prepared: &Prepared,
    part: Part,
    validated: &[&Validated],
    interrupt: &Interrupt,
    mut advance: impl FnMut(u64),
) -> anyhow::Result<Vec<PartScores>> {
    let rows = prepared.index.rows_of(part);
    let sets: Vec<&DetectorSet> = validated
        .iter()
        .map(|validated| &validated.detectors)
        .collect();
    let scores = fit::score(
        prepared.source.as_ref(),
        &prepared.index,
        &rows,
        &sets,
        &mut advance,
        interrupt,
    )?;
    Ok(validated
        .iter()
        .zip(scores)
        .map(|(validated, raw)| {
            part_scores(
                &validated.calibrators,
                &validated.threshold,
                &prepared.index,
                rows.clone(),
                raw,
            )
        })
        .collect())
}

/// Evaluates scored rows; with `seed`, intervals too.
///
/// # Errors
/// What the evaluation refuses.
pub fn judge(
    prepared: &Prepared,
    scores: &PartScores,
    options: &Evaluate,
    seed: Option<u64>,
) -> anyhow::Result<Evaluation> {
    let alerts_per_symbol_day = match options.threshold {
        ThresholdRule::AlertsPerSymbolDay(budget) => Some(budget),
        ThresholdRule::Quantile(_) => None,
    };
    let gap = i64::try_from(options.episode_gap).unwrap_or(i64::MAX);
    let options = EvaluationOptions {
        alerts_per_symbol_day,
        episode_gap_us: prepared
            .interval_us
            .map(|interval| gap.saturating_mul(interval)),
        bootstrap: seed.and_then(|seed| bootstrap(options, seed)),
        ..EvaluationOptions::default()
    };
    with_scored(prepared, scores, |scored| Ok(evaluate(scored, &options)?))
}

/// Average precision on each resample of the bootstrap; paired with that of others on the same rows.
/// Empty without a bootstrap.
///
/// # Errors
/// What the evaluation refuses.
pub fn resampled(
    prepared: &Prepared,
    scores: &PartScores,
    options: &Evaluate,
    seed: u64,
) -> anyhow::Result<Vec<Option<f64>>> {
    match bootstrap(options, seed) {
        None => Ok(Vec::new()),
        Some(options) => with_scored(prepared, scores, |scored| {
            Ok(resampled_average_precision(scored, &options)?)
        }),
    }
}

fn bootstrap(options: &Evaluate, seed: u64) -> Option<BootstrapOptions> {
    (options.resamples > 0).then_some(BootstrapOptions {
        n_resamples: options.resamples,
        level: options.confidence,
        block_length: options.block,
        seed,
    })
}

/// Hands the scored rows with their labels to `work`.
fn with_scored<T>(
    prepared: &Prepared,
    scores: &PartScores,
    work: impl FnOnce(&Scored<'_>) -> anyhow::Result<T>,
) -> anyhow::Result<T> {
    let index = &prepared.index;
    let pick_u32 = |column: &[u32]| -> Vec<u32> {
        scores
            .rows
            .iter()
            .map(|&row| column[row as usize])
            .collect()
    };
    let time: Option<Vec<i64>> = index
        .time
        .as_ref()
        .map(|time| scores.rows.iter().map(|&row| time[row as usize]).collect());
    let symbol = pick_u32(&index.symbol);
    let positive: Option<Vec<bool>> = index.positive.as_ref().map(|positive| {
        scores
            .rows
            .iter()
            .map(|&row| positive[row as usize])
            .collect()
    });
    let event = if positive.is_none() {
        pick_u32(&index.event)
    } else {
        Vec::new()
    };
    let labels = match &positive {
        Some(positive) => Labels::Rows(positive),
        None => Labels::Events {
            event: &event,
            events: &index.events,
        },
    };
    // Tables without time are one population, and their metrics are those of the raw scores;
    // across symbols only calibrated scores compare.
    let score = if prepared.interval_us.is_none() && index.symbols.len() <= 1 {
        &scores.raw
    } else {
        &scores.tail
    };
    work(&Scored {
        time: time.as_deref(),
        interval_us: prepared.interval_us,
        symbol: &symbol,
        symbols: &index.symbols,
        score,
        flag: &scores.flag,
        labels,
    })
}

/// The symbols of `rows`, as indices.
pub fn symbols_of(index: &RowIndex, rows: &[u32]) -> Vec<u32> {
    rows.iter().map(|&row| index.symbol[row as usize]).collect()
}

/// Raw scores as −log₁₀ tail probabilities, each by the calibrator of its symbol.
pub fn calibrate(
    calibrators: &Calibrators,
    names: &[String],
    symbols: &[u32],
    raw: &[f64],
) -> Vec<f64> {
    let by_index: Vec<&detectors::Calibrator> =
        names.iter().map(|name| calibrators.get(name)).collect();
    raw.par_iter()
        .zip(symbols)
        .map(|(&raw, &symbol)| by_index[symbol as usize].neg_log10_tail(raw))
        .collect()
}

/// Raw scores of `rows` with what calibration and threshold make of them.
pub fn part_scores(
    calibrators: &Calibrators,
    threshold: &Threshold,
    index: &RowIndex,
    rows: Vec<u32>,
    raw: Vec<f64>,
) -> PartScores {
    let tail = calibrate(calibrators, &index.symbols, &symbols_of(index, &rows), &raw);
    let flag = threshold.flags(&tail);
    PartScores {
        rows,
        raw,
        tail,
        flag,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn alerts_per_symbol_day_count_every_flag() {
        let flags: Vec<bool> = (0..2880).map(|row| row % 720 == 0).collect();
        assert_eq!(alerts_per_symbol_day(&flags, Some(1440.0)), Some(2.0));
        assert_eq!(alerts_per_symbol_day(&flags, None), None);
        assert_eq!(alerts_per_symbol_day(&[], Some(1440.0)), None);
    }
}
