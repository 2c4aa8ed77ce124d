//! What the model's artifact says of ordinary data: the drift baseline and the golden rows.

use std::sync::Arc;

use detectors::drift::{DriftBaseline, DriftConfig, FeatureReference, ScoreReference};
use detectors::{Baseline, Calibrators, Golden, Model, Threshold};
use market::{DAY_US, HOUR_US, MINUTE_US};
use ndarray::Array2;

use super::fit;
use super::judge::{self, Validated};
use super::prepare::Prepared;
use super::rows::{RowIndex, RowSource, scan_rows};
use super::split::Part;
use crate::config::Experiment;
use crate::interrupt::Interrupt;
use crate::progress::{Progress, plural};

/// Rows of the reference, at most: the latest.
const MOST_ROWS: usize = 1_000_000;
/// A reference tells the days of the week apart when it is so long; where there are too many rows for
/// that, symbols are left out.
const SPAN_US: i64 = 28 * DAY_US;
/// Golden rows are at these shares of the reference's scores, so that ordinary rows are among them and flagged ones.
const GOLDEN: [f64; 8] = [0.0, 0.25, 0.5, 0.75, 0.9, 0.99, 0.999, 1.0];

/// A reference of rows as they were before injection, with the winner's scores.
#[derive(Debug)]
pub struct Reference {
    baseline: DriftBaseline,
    /// Rows of the reference and their symbols.
    golden: Vec<(String, Vec<f64>)>,
}

impl Reference {
    /// Gives the model its drift baseline and golden rows.
    ///
    /// # Errors
    /// When a golden row can't be scored.
    pub fn into_model(self, model: &mut Model) -> anyhow::Result<()> {
        model.baseline.drift = Some(Arc::new(self.baseline));
        let rows = self.golden.iter();
        let rows = rows.map(|(symbol, row)| (symbol.as_str(), row.as_slice()));
        model.golden = Golden::of(model, rows)?;
        Ok(())
    }

    /// The same for a model whose raw scores something else gives, row by row.
    ///
    /// # Errors
    /// When a golden row can't be scored.
    pub fn into_external(
        self,
        model: &mut Model,
        raw: impl Fn(&[f64]) -> anyhow::Result<f64>,
    ) -> anyhow::Result<()> {
        model.baseline.drift = Some(Arc::new(self.baseline));
        let rows = self.golden.into_iter().map(|(symbol, row)| {
            let score = raw(&row)?;
            Ok((symbol, row, score))
        });
        let rows = rows.collect::<anyhow::Result<Vec<_>>>()?;
        model.golden = Golden::of_scored(model, rows);
        Ok(())
    }
}

/// The reference of `winner`; see [`reference_of`].
///
/// # Errors
/// When rows can't be read or scored.
pub fn reference(
    experiment: &Experiment,
    prepared: &Prepared,
    winner: &Validated,
    interrupt: &Interrupt,
    progress: &Progress,
) -> anyhow::Result<Reference> {
    let (source, index) = prepared.training(false);
    let judged = JudgedBy {
        source,
        raw: &|rows| {
            let sets = [&winner.detectors];
            let mut raw = fit::score(source, index, rows, &sets, |_| {}, interrupt)?;
            Ok(raw.pop().unwrap_or_default())
        },
        calibrators: &winner.calibrators,
        threshold: &winner.threshold,
    };
    reference_of(experiment, prepared, &judged, interrupt, progress)
}

/// What judges rows.
#[expect(
    missing_debug_implementations,
    reason = "it is a function and what it needs"
)]
pub struct JudgedBy<'a> {
    /// The rows as the model has them: its features, in its order.
    pub source: &'a dyn RowSource,
    /// Raw scores of some of them.
    pub raw: &'a dyn Fn(&[u32]) -> anyhow::Result<Vec<f64>>,
    /// What makes them tail probabilities.
    pub calibrators: &'a Calibrators,
    /// When one is an alert.
    pub threshold: &'a Threshold,
}

/// A summary of the training rows, the latest million at most.
///
/// # Errors
/// When they can't be read.
pub fn summary_of(
    prepared: &Prepared,
    source: &dyn RowSource,
    interrupt: &Interrupt,
) -> anyhow::Result<Baseline> {
    let (_, index) = prepared.training(false);
    let (train, ..) = judge::parts(prepared);
    let rows = read(source, &chosen(index, &[train]), interrupt)?;
    Ok(Baseline::fit(rows.view())?)
}

/// A reference: features from training and validation rows, scores from validation rows alone,
/// which no detector was fitted on. Parts are those of the fold that was entered last.
///
/// # Errors
/// When rows can't be read or scored.
pub fn reference_of(
    experiment: &Experiment,
    prepared: &Prepared,
    by: &JudgedBy<'_>,
    interrupt: &Interrupt,
    progress: &Progress,
) -> anyhow::Result<Reference> {
    let (_, index) = prepared.training(false);
    let source = by.source;
    let (train, validation, _) = judge::parts(prepared);
    let rows = chosen(index, &[train, validation]);
    let scored = chosen(index, &[validation]);
    let phase = progress.phase("drift", rows.len() as u64);
    let features = read(source, &rows, interrupt)?;
    let score = judge::calibrate(
        by.calibrators,
        &index.symbols,
        &judge::symbols_of(index, &scored),
        &(by.raw)(&scored)?,
    );
    let flagged = by.threshold.flags(&score);
    let times = |rows: &[u32]| -> Option<Vec<i64>> {
        let time = index.time.as_ref()?;
        Some(rows.iter().map(|&row| time[row as usize]).collect())
    };
    let (feature_times, score_times) = (times(&rows), times(&scored));
    let baseline = DriftBaseline::fit(
        &FeatureReference {
            time: feature_times.as_deref(),
            symbol: &judge::symbols_of(index, &rows),
            rows: features.view(),
        },
        source.feature_names(),
        &ScoreReference {
            time: score_times.as_deref(),
            symbol: &judge::symbols_of(index, &scored),
            score: &score,
            flagged: &flagged,
        },
        &index.symbols,
        &config(experiment, prepared),
    )?;
    phase.done(&format!(
        "limits from {}, of the score from {}",
        plural(rows.len() as u64, "row"),
        plural(scored.len() as u64, "row")
    ));
    for remark in baseline.remarks() {
        progress.note(&format!("  {remark}"));
    }
    Ok(Reference {
        baseline,
        golden: golden(source, index, &scored, &score, interrupt)?,
    })
}

fn config(experiment: &Experiment, prepared: &Prepared) -> DriftConfig {
    let drift = &experiment.drift;
    // The macro features look back an hour, and over a day for an average that one outage hardly moves.
    let memory_us = experiment.features.config.map_or(0, |features| {
        let window = i64::try_from(features.window).unwrap_or(i64::MAX);
        let window = window.saturating_mul(features.interval.micros());
        window.max(features.macro_window).clamp(HOUR_US, DAY_US)
    });
    let silence_us = match (drift.silence, prepared.interval_us) {
        (Some(silence), _) => silence,
        (None, Some(interval)) if memory_us > 0 => {
            interval.saturating_mul(5).clamp(5 * MINUTE_US, 7 * DAY_US)
        }
        // A table has no feed.
        (None, _) => 30 * DAY_US,
    };
    DriftConfig {
        run_length: drift.run_length,
        windows: drift.windows.clone(),
        memory_us,
        silence_us,
        seed: experiment.seed,
    }
}

/// The latest rows of these parts, ascending. Of more symbols than fit, those with the most rows.
fn chosen(index: &RowIndex, parts: &[Part]) -> Vec<u32> {
    let of_parts = |row: &usize| parts.contains(&index.part[*row]);
    let mut rows: Vec<u32> = (0..index.len())
        .filter(of_parts)
        .filter_map(|row| u32::try_from(row).ok())
        .collect();
    if rows.len() <= MOST_ROWS {
        return rows;
    }
    if let Some(time) = &index.time {
        let at = |row: u32| time[row as usize];
        let last = rows.iter().map(|&row| at(row)).max().unwrap_or(0);
        let mut n_rows = vec![0_usize; index.symbols.len()];
        for &row in rows.iter().filter(|&&row| at(row) > last - SPAN_US) {
            n_rows[index.symbol[row as usize] as usize] += 1;
        }
        let mut symbols: Vec<usize> = (0..n_rows.len()).collect();
        symbols.sort_by_key(|&symbol| std::cmp::Reverse(n_rows[symbol]));
        let mut is_in = vec![false; n_rows.len()];
        let mut sum = 0;
        for symbol in symbols {
            sum += n_rows[symbol];
            is_in[symbol] = sum <= MOST_ROWS || sum == n_rows[symbol];
        }
        rows.retain(|&row| is_in[index.symbol[row as usize] as usize]);
        rows.sort_by_key(|&row| at(row));
    }
    let mut rows = rows.split_off(rows.len().saturating_sub(MOST_ROWS));
    rows.sort_unstable();
    rows
}

fn read(
    source: &dyn RowSource,
    rows: &[u32],
    interrupt: &Interrupt,
) -> anyhow::Result<Array2<f64>> {
    let n_features = source.feature_names().len();
    let mut values = Vec::with_capacity(rows.len() * n_features);
    scan_rows(source, rows, &mut |_, chunk| {
        interrupt.check()?;
        match chunk.as_slice() {
            Some(slice) => values.extend_from_slice(slice),
            None => values.extend(chunk.iter()),
        }
        Ok(())
    })?;
    Ok(Array2::from_shape_vec((rows.len(), n_features), values)?)
}

/// Rows at fixed shares of the scores, in order of row.
fn golden(
    source: &dyn RowSource,
    index: &RowIndex,
    rows: &[u32],
    score: &[f64],
    interrupt: &Interrupt,
) -> anyhow::Result<Vec<(String, Vec<f64>)>> {
    let mut order: Vec<usize> = (0..rows.len()).collect();
    order.sort_by(|&a, &b| score[a].total_cmp(&score[b]).then(a.cmp(&b)));
    let Some(last) = order.len().checked_sub(1) else {
        return Ok(Vec::new());
    };
    #[expect(
        clippy::cast_precision_loss,
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "shares of row counts, which are far below 2^53"
    )]
    let mut picked: Vec<u32> = GOLDEN
        .iter()
        .map(|share| rows[order[(share * last as f64) as usize]])
        .collect();
    picked.sort_unstable();
    picked.dedup();
    let values = read(source, &picked, interrupt)?;
    let symbols = picked
        .iter()
        .map(|&row| index.symbols[index.symbol[row as usize] as usize].clone());
    let rows = values.rows().into_iter().map(|row| row.to_vec());
    Ok(symbols.zip(rows).collect())
}
