//! Trials: which detectors with which parameters; fitting and scoring them.

use std::collections::BTreeMap;

use anyhow::Context;
use detectors::{Detector, DetectorParams, DetectorSet, IsolationForestConfig, MaxZConfig};
use ndarray::{Array2, ArrayView2, Axis};
use rand::SeedableRng;
use rand_xoshiro::Xoshiro256PlusPlus;

use super::rows::{RowIndex, RowSource, scan_rows};
use super::split::Part;
use crate::config::{Candidate, DetectorSpace, Scope};
use crate::interrupt::Interrupt;

/// One point of a candidate's search space.
#[derive(Debug, Clone)]
pub struct Trial {
    /// The candidate's name.
    pub candidate: String,
    /// Its scope.
    pub scope: Scope,
    /// What is fitted.
    pub params: DetectorParams,
}

impl Trial {
    /// The trivial yardstick: the largest |z| over the features.
    pub fn baseline() -> Self {
        Self {
            candidate: "largest |z|".to_owned(),
            scope: Scope::Global,
            params: DetectorParams::MaxZ(MaxZConfig {}),
        }
    }
}

/// Every trial of `candidates`, the grid of each in file order.
///
/// # Errors
/// When there are more than `max_trials`, or more columns per tree than columns.
pub fn trials(
    candidates: &[Candidate],
    n_features: usize,
    max_trials: usize,
) -> anyhow::Result<Vec<Trial>> {
    let mut trials = Vec::new();
    for candidate in candidates {
        for params in expand(&candidate.detector) {
            if let DetectorParams::IsolationForest(IsolationForestConfig {
                max_features: Some(columns),
                ..
            }) = &params
                && *columns > n_features
            {
                anyhow::bail!(
                    "candidate `{}`: max_features is {columns}, but the data have {n_features} features",
                    candidate.name
                );
            }
            params
                .check()
                .with_context(|| format!("candidate `{}`", candidate.name))?;
            trials.push(Trial {
                candidate: candidate.name.clone(),
                scope: candidate.scope,
                params,
            });
        }
    }
    if trials.len() > max_trials {
        anyhow::bail!(
            "the search spaces span {} trials; `search.max_trials` allows {max_trials}",
            trials.len()
        );
    }
    Ok(trials)
}

fn expand(space: &DetectorSpace) -> Vec<DetectorParams> {
    match space {
        DetectorSpace::MaxZ => vec![DetectorParams::MaxZ(MaxZConfig {})],
        DetectorSpace::IsolationForest {
            n_trees,
            sample_size,
            max_depth,
            max_features,
        } => {
            let mut grid = Vec::new();
            for &n_trees in n_trees {
                for &sample_size in sample_size {
                    for &max_depth in max_depth {
                        for &max_features in max_features {
                            let config = IsolationForestConfig {
                                n_trees,
                                sample_size,
                                max_depth,
                                max_features,
                            };
                            grid.push(DetectorParams::IsolationForest(config));
                        }
                    }
                }
            }
            grid
        }
    }
}

/// Rows to fit on.
#[derive(Debug)]
pub struct TrainSample {
    /// (n_samples, n_features)
    pub rows: Array2<f64>,
    /// Each row's symbol.
    pub symbol: Vec<u32>,
    /// How many training rows there are in all.
    pub n_train_rows: usize,
}

/// Reads the training rows; where there are more than `max_rows`, a uniform sample of that size
/// without replacement, drawn by `seed`. Labels are not looked at.
///
/// # Errors
/// When the rows can't be read.
pub fn train_sample(
    source: &dyn RowSource,
    index: &RowIndex,
    part: Part,
    max_rows: usize,
    seed: u64,
    mut advance: impl FnMut(u64),
    interrupt: &Interrupt,
) -> anyhow::Result<TrainSample> {
    let all = index.rows_of(part);
    let n_train_rows = all.len();
    let wanted = if n_train_rows > max_rows {
        let mut random = Xoshiro256PlusPlus::seed_from_u64(seed ^ 0x7472_6169_6e72_6f77);
        let mut positions =
            rand::seq::index::sample(&mut random, n_train_rows, max_rows).into_vec();
        positions.sort_unstable();
        positions
            .into_iter()
            .map(|position| all[position])
            .collect()
    } else {
        all
    };
    let n_features = source.feature_names().len();
    let mut values = Vec::with_capacity(wanted.len() * n_features);
    scan_rows(source, &wanted, &mut |_, chunk| {
        interrupt.check()?;
        match chunk.as_slice() {
            Some(slice) => values.extend_from_slice(slice),
            None => values.extend(chunk.iter()),
        }
        advance(chunk.nrows() as u64);
        Ok(())
    })?;
    let symbol = wanted
        .iter()
        .map(|&row| index.symbol[row as usize])
        .collect();
    Ok(TrainSample {
        rows: Array2::from_shape_vec((wanted.len(), n_features), values)?,
        symbol,
        n_train_rows,
    })
}

/// Fits one trial.
///
/// # Errors
/// What the detector refuses.
pub fn fit(
    trial: &Trial,
    sample: &TrainSample,
    symbols: &[String],
    seed: u64,
) -> anyhow::Result<DetectorSet> {
    let fit = |rows: ArrayView2<'_, f64>| {
        Detector::fit(&trial.params, rows, seed)
            .with_context(|| format!("can't fit candidate `{}`", trial.candidate))
    };
    match trial.scope {
        Scope::Global => Ok(DetectorSet::Global(fit(sample.rows.view())?)),
        Scope::PerSymbol => {
            let mut by_symbol = BTreeMap::new();
            for (index, name) in symbols.iter().enumerate() {
                let own: Vec<usize> = (0..sample.symbol.len())
                    .filter(|&row| sample.symbol[row] as usize == index)
                    .collect();
                if !own.is_empty() {
                    by_symbol.insert(name.clone(), fit(sample.rows.select(Axis(0), &own).view())?);
                }
            }
            // A symbol that has no training rows is scored by what all others look like.
            Ok(DetectorSet::PerSymbol {
                by_symbol,
                fallback: Some(fit(sample.rows.view())?),
            })
        }
    }
}

/// Raw scores of the `wanted` rows (ascending) by each of `sets`.
///
/// # Errors
/// When the rows can't be read or scored.
pub fn score(
    source: &dyn RowSource,
    index: &RowIndex,
    wanted: &[u32],
    sets: &[&DetectorSet],
    mut advance: impl FnMut(u64),
    interrupt: &Interrupt,
) -> anyhow::Result<Vec<Vec<f64>>> {
    let mut scores = vec![vec![0.0; wanted.len()]; sets.len()];
    scan_rows(source, wanted, &mut |range, chunk| {
        interrupt.check()?;
        for (set, scores) in sets.iter().zip(&mut scores) {
            let out = &mut scores[range.clone()];
            match set {
                DetectorSet::Global(detector) => detector.score_into(chunk, out)?,
                DetectorSet::PerSymbol { .. } => {
                    score_by_symbol(set, index, &wanted[range.clone()], chunk, out)?
                }
            }
        }
        advance(chunk.nrows() as u64);
        Ok(())
    })?;
    Ok(scores)
}

fn score_by_symbol(
    set: &DetectorSet,
    index: &RowIndex,
    rows: &[u32],
    chunk: ArrayView2<'_, f64>,
    out: &mut [f64],
) -> anyhow::Result<()> {
    let mut by_symbol: BTreeMap<u32, Vec<usize>> = BTreeMap::new();
    for (position, &row) in rows.iter().enumerate() {
        by_symbol
            .entry(index.symbol[row as usize])
            .or_default()
            .push(position);
    }
    for (symbol, positions) in by_symbol {
        let detector = set.get(&index.symbols[symbol as usize])?;
        let mut scores = vec![0.0; positions.len()];
        detector.score_into(chunk.select(Axis(0), &positions).view(), &mut scores)?;
        for (position, score) in positions.into_iter().zip(scores) {
            out[position] = score;
        }
    }
    Ok(())
}
