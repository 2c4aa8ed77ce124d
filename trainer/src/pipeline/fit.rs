//! Trials: which detectors with which parameters; fitting and scoring them.

use std::collections::BTreeMap;

use anyhow::Context;
use detectors::{
    Detector, DetectorParams, DetectorSet, ForestForm, IsolationForestConfig, MaxZConfig,
};
use ndarray::{Array2, ArrayView2, Axis};
use rand::SeedableRng;
use rand_xoshiro::Xoshiro256PlusPlus;

use super::rows::{RowIndex, RowSource, scan_rows};
use super::split::Part;
use crate::config::{Candidate, DetectorSpace, ForestSpace, Scope};
use crate::interrupt::Interrupt;
use crate::progress::plural;

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
/// When there are more than `max_trials`, or more columns per tree or split than columns.
pub fn trials(
    candidates: &[Candidate],
    n_features: usize,
    max_trials: usize,
) -> anyhow::Result<Vec<Trial>> {
    let mut trials = Vec::new();
    for candidate in candidates {
        for params in expand(&candidate.detector) {
            params
                .check()
                .with_context(|| format!("candidate `{}`", candidate.name))?;
            let params = params.resolved();
            if let DetectorParams::IsolationForest(config) = &params
                && let Some((key, value)) = beyond(config, n_features)
            {
                anyhow::bail!(
                    "candidate `{}`: {key} is {value}, but the data have {}",
                    candidate.name,
                    plural(n_features as u64, "feature")
                );
            }
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

/// The first key whose value wants more columns than there are.
fn beyond(config: &IsolationForestConfig, n_features: usize) -> Option<(&'static str, usize)> {
    // A split that combines two columns of one makes do with it, as the default has to.
    let columns = n_features.max(2);
    [
        ("max_features", config.max_features, n_features),
        // Less one.
        (
            "extension_level",
            config.extension_level,
            n_features.saturating_sub(1),
        ),
        ("hyperplane_columns", config.hyperplane_columns, columns),
    ]
    .into_iter()
    .find_map(|(key, value, most)| {
        value
            .filter(|value| *value > most)
            .map(|value| (key, value))
    })
}

fn expand(space: &DetectorSpace) -> Vec<DetectorParams> {
    match space {
        DetectorSpace::MaxZ => vec![DetectorParams::MaxZ(MaxZConfig {})],
        DetectorSpace::IsolationForest(space) => forests(space)
            .into_iter()
            .map(DetectorParams::IsolationForest)
            .collect(),
    }
}

/// The grid of `space`, the last key fastest. A key is varied only where it has an effect.
fn forests(space: &ForestSpace) -> Vec<IsolationForestConfig> {
    let everywhere = |_: &IsolationForestConfig| true;
    let extended = |config: &IsolationForestConfig| config.form == ForestForm::Extended;
    let by_gain = |config: &IsolationForestConfig| config.form.by_gain();
    let grid = vec![IsolationForestConfig::default()];
    let grid = across(grid, &space.form, everywhere, |to, form| to.form = form);
    let grid = across(grid, &space.scoring, everywhere, |to, scoring| {
        to.scoring = scoring
    });
    let grid = across(grid, &space.n_trees, everywhere, |to, n| to.n_trees = n);
    let grid = across(grid, &space.sample_size, everywhere, |to, size| {
        to.sample_size = size
    });
    let grid = across(grid, &space.max_depth, everywhere, |to, depth| {
        to.max_depth = depth
    });
    let grid = across(grid, &space.max_features, everywhere, |to, columns| {
        to.max_features = columns
    });
    let grid = across(grid, &space.extension_level, extended, |to, level| {
        to.extension_level = level
    });
    let grid = across(grid, &space.n_candidates, by_gain, |to, n| {
        to.n_candidates = n
    });
    let grid = across(grid, &space.hyperplane_columns, by_gain, |to, columns| {
        to.hyperplane_columns = columns
    });
    let penalized = IsolationForestConfig::has_range_penalty;
    across(grid, &space.penalize_range, penalized, |to, penalize| {
        to.penalize_range = penalize
    })
}

/// Every point of `grid` with every one of `values`; those that aren't `concerned` stay as they are.
fn across<T: Copy>(
    grid: Vec<IsolationForestConfig>,
    values: &[T],
    concerned: impl Fn(&IsolationForestConfig) -> bool,
    set: impl Fn(&mut IsolationForestConfig, T),
) -> Vec<IsolationForestConfig> {
    let mut all = Vec::new();
    for config in grid {
        if !concerned(&config) {
            all.push(config);
            continue;
        }
        for &value in values {
            let mut config = config.clone();
            set(&mut config, value);
            all.push(config);
        }
    }
    all
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

#[cfg(test)]
mod tests {
    use detectors::ForestScoring;

    use super::*;

    fn space() -> ForestSpace {
        ForestSpace {
            form: vec![ForestForm::Classic],
            scoring: vec![ForestScoring::PathLength],
            n_trees: vec![100],
            sample_size: vec![256],
            max_depth: vec![None],
            max_features: vec![None],
            extension_level: vec![None],
            n_candidates: vec![None],
            hyperplane_columns: vec![None],
            penalize_range: vec![None],
        }
    }

    fn of(space: ForestSpace, n_features: usize) -> anyhow::Result<Vec<IsolationForestConfig>> {
        let candidate = Candidate {
            name: "iforest".to_owned(),
            scope: Scope::Global,
            detector: DetectorSpace::IsolationForest(Box::new(space)),
        };
        let trials = trials(&[candidate], n_features, 64)?;
        let config = |trial: Trial| match trial.params {
            DetectorParams::IsolationForest(config) => config,
            _ => panic!("a forest"),
        };
        Ok(trials.into_iter().map(config).collect())
    }

    #[test]
    fn the_last_key_of_a_grid_is_the_fastest() {
        let grid = of(
            ForestSpace {
                n_trees: vec![5, 20],
                sample_size: vec![64, 128],
                ..space()
            },
            3,
        );
        let grid: Vec<_> = grid
            .unwrap()
            .iter()
            .map(|config| (config.n_trees, config.sample_size))
            .collect();
        assert_eq!(grid, [(5, 64), (5, 128), (20, 64), (20, 128)]);
    }

    #[test]
    fn a_key_is_varied_only_where_it_has_an_effect() {
        let grid = of(
            ForestSpace {
                form: vec![
                    ForestForm::Classic,
                    ForestForm::Extended,
                    ForestForm::SciForest,
                ],
                scoring: vec![ForestScoring::PathLength, ForestScoring::Density],
                extension_level: vec![Some(1), Some(2)],
                n_candidates: vec![Some(1), Some(5)],
                penalize_range: vec![Some(false), Some(true)],
                ..space()
            },
            3,
        )
        .unwrap();
        let count = |form, scoring| {
            let same =
                |config: &&IsolationForestConfig| (config.form, config.scoring) == (form, scoring);
            grid.iter().filter(same).count()
        };
        let (path, density) = (ForestScoring::PathLength, ForestScoring::Density);
        assert_eq!(count(ForestForm::Classic, path), 1);
        assert_eq!(count(ForestForm::Extended, path), 2);
        assert_eq!(count(ForestForm::Extended, density), 2);
        assert_eq!(count(ForestForm::SciForest, path), 4);
        assert_eq!(count(ForestForm::SciForest, density), 2);
        for (at, config) in grid.iter().enumerate() {
            assert!(!grid[..at].contains(config), "{config:?} twice");
        }
    }

    #[test]
    fn more_columns_than_the_data_have_are_refused_by_key() {
        let extended = |level| ForestSpace {
            form: vec![ForestForm::Extended],
            extension_level: vec![level],
            ..space()
        };
        let combining = |columns| ForestSpace {
            form: vec![ForestForm::FairCut],
            hyperplane_columns: vec![columns],
            ..space()
        };
        let wide = ForestSpace {
            max_features: vec![Some(4)],
            ..space()
        };
        for (space, n_features, expected) in [
            (wide, 3, "max_features is 4, but the data have 3 features"),
            (
                extended(Some(3)),
                3,
                "extension_level is 3, but the data have 3 features",
            ),
            (
                extended(None),
                1,
                "extension_level is 1, but the data have 1 feature",
            ),
            (
                combining(Some(4)),
                3,
                "hyperplane_columns is 4, but the data have 3 features",
            ),
        ] {
            let error = of(space, n_features).unwrap_err().to_string();
            assert!(error.contains(expected), "{error}");
        }
        for (space, n_features) in [
            (extended(Some(2)), 3),
            (extended(Some(0)), 1),
            (combining(Some(3)), 3),
            (combining(None), 1),
        ] {
            of(space, n_features).unwrap();
        }
    }
}
