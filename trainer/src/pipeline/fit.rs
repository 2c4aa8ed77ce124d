//! Trials: which detectors with which parameters; fitting and scoring them.

use std::collections::BTreeMap;
use std::ops::Range;
use std::time::{Duration, Instant};

use anyhow::Context;
use detectors::{
    Detector, DetectorParams, DetectorSet, Epoch, FitObserver, IsolationForestConfig, MaxZConfig,
    Training,
};
use ndarray::{Array2, ArrayView2, Axis, s};
use rand::SeedableRng;
use rand_xoshiro::Xoshiro256PlusPlus;

use super::attempt;
use super::rows::{RowIndex, RowSource, scan_rows};
use super::shelf::Shelf;
use super::split::Part;
use crate::config::{Candidate, Scope, did_you_mean};
use crate::interrupt::Interrupt;
use crate::progress::{list, plural};

/// One point of a candidate's search space.
#[derive(Debug, Clone)]
pub struct Trial {
    /// Its place among all trials, from 1; 0 for the baseline.
    pub number: usize,
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
            number: 0,
            candidate: "largest |z|".to_owned(),
            scope: Scope::Global,
            params: DetectorParams::MaxZ(MaxZConfig {}),
        }
    }
}

/// Every point of the `candidates`' spaces, the grid of each in file order, numbered from 1.
///
/// # Errors
/// When a space is beyond all reason, or asks for columns that the data, whose features are `names`,
/// don't have.
pub fn trials(candidates: &[Candidate], names: &[String]) -> anyhow::Result<Vec<Trial>> {
    let mut trials = Vec::new();
    for candidate in candidates {
        let about = || format!("candidate `{}`", candidate.name);
        for params in candidate.detector.grid().with_context(about)? {
            params.check().with_context(about)?;
            let params = params.resolved();
            check_columns(&params, names).with_context(about)?;
            trials.push(Trial {
                number: trials.len() + 1,
                candidate: candidate.name.clone(),
                scope: candidate.scope,
                params,
            });
        }
    }
    Ok(trials)
}

/// Refuses parameters that ask for columns beyond `names`.
fn check_columns(params: &DetectorParams, names: &[String]) -> anyhow::Result<()> {
    let features = match params {
        DetectorParams::IsolationForest(config) => {
            if let Some((key, value)) = beyond(config, names.len()) {
                anyhow::bail!(
                    "{key} is {value}, but the data have {}",
                    plural(names.len() as u64, "feature")
                );
            }
            return Ok(());
        }
        DetectorParams::Consensus(config) => {
            let mut members = config.members.iter();
            return members.try_for_each(|member| check_columns(member, names));
        }
        DetectorParams::CandleZ(config) => config.features.as_deref(),
        DetectorParams::SlidingWindow(config) => config.features.as_deref(),
        _ => None,
    };
    let unknown = features
        .unwrap_or_default()
        .iter()
        .find(|name| !names.contains(name));
    match unknown {
        Some(name) => anyhow::bail!(
            "features names `{name}`, which the data don't have{}; there are {}",
            did_you_mean(name, names),
            list(names)
        ),
        None => Ok(()),
    }
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

/// Rows that many trials are fitted on, and what all of them share.
#[derive(Debug, Clone, Copy)]
pub struct FitInput<'a> {
    /// The training rows.
    pub sample: &'a TrainSample,
    /// Rows that nothing was fitted on, for the members of a consensus to be calibrated on.
    pub unseen: Option<&'a TrainSample>,
    /// Names of the symbols.
    pub symbols: &'a [String],
    /// Names of the features.
    pub names: &'a [String],
    /// What every random choice derives from.
    pub seed: u64,
    /// Where fitted trials are kept.
    pub shelf: &'a Shelf,
}

/// Fits one trial; `watch` hears how the fit goes. Where there is a detector for each symbol, it
/// hears of the one over all rows.
///
/// # Errors
/// What the detector refuses.
pub fn fit(
    trial: &Trial,
    input: &FitInput<'_>,
    watch: &mut dyn FitObserver,
) -> anyhow::Result<DetectorSet> {
    let FitInput {
        sample,
        unseen,
        symbols,
        ..
    } = *input;
    let own = |sample: &TrainSample, index: usize| {
        let own: Vec<usize> = (0..sample.symbol.len())
            .filter(|&row| sample.symbol[row] as usize == index)
            .collect();
        sample.rows.select(Axis(0), &own)
    };
    let all = fit_one(
        &trial.params,
        training(sample.rows.view(), input),
        unseen.map(|unseen| unseen.rows.view()),
        watch,
    );
    match trial.scope {
        Scope::Global => Ok(DetectorSet::Global(all?)),
        Scope::PerSymbol => {
            // A symbol that has no training rows is scored by what all others look like.
            let fallback = Some(all?);
            let mut by_symbol = BTreeMap::new();
            for (index, name) in symbols.iter().enumerate() {
                let rows = own(sample, index);
                if rows.is_empty() {
                    continue;
                }
                let unseen = unseen.map(|unseen| own(unseen, index));
                let unseen = unseen.as_ref().map(Array2::view);
                let detector = fit_one(
                    &trial.params,
                    training(rows.view(), input),
                    unseen,
                    &mut Unheard(&mut *watch),
                )
                .with_context(|| format!("symbol `{name}`"))?;
                by_symbol.insert(name.clone(), detector);
            }
            Ok(DetectorSet::PerSymbol {
                by_symbol,
                fallback,
            })
        }
    }
}

fn training<'a>(rows: ArrayView2<'a, f64>, input: &FitInput<'a>) -> Training<'a> {
    Training {
        rows,
        names: Some(input.names),
        seed: input.seed,
    }
}

fn fit_one(
    params: &DetectorParams,
    training: Training<'_>,
    unseen: Option<ArrayView2<'_, f64>>,
    watch: &mut dyn FitObserver,
) -> anyhow::Result<Detector> {
    let mut detector = Detector::fit_with(params, training, watch)?;
    if let Some(unseen) = unseen.filter(|rows| !rows.is_empty()) {
        detector.calibrate_with(unseen, watch)?;
    }
    Ok(detector)
}

/// Passes on nothing but the question whether to stop.
struct Unheard<'a>(&'a mut dyn FitObserver);

impl FitObserver for Unheard<'_> {
    fn should_stop(&mut self) -> bool {
        self.0.should_stop()
    }
}

/// What was heard of a fit.
#[derive(Debug, Clone, Default)]
pub struct Record {
    /// What was found, by dotted names such as `dbscan.eps`, in order.
    pub facts: Vec<(String, f64)>,
    /// All epochs, in order.
    pub epochs: Vec<Epoch>,
}

/// Keeps what it hears, and ends a fit that takes too long or that nobody waits for any more.
#[derive(Debug)]
pub struct Watch<'a> {
    /// What it heard.
    pub record: Record,
    /// When the fit must be over.
    pub deadline: Option<Instant>,
    /// Whether somebody asked to stop.
    pub interrupt: &'a Interrupt,
}

impl FitObserver for Watch<'_> {
    fn fact(&mut self, name: &'static str, value: f64) {
        self.record.facts.push((name.to_owned(), value));
    }

    fn epoch(&mut self, epoch: &Epoch) {
        self.record.epochs.push(*epoch);
    }

    fn should_stop(&mut self) -> bool {
        self.interrupt.check().is_err()
            || self
                .deadline
                .is_some_and(|deadline| Instant::now() >= deadline)
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
    advance: impl FnMut(u64),
    interrupt: &Interrupt,
) -> anyhow::Result<Vec<Vec<f64>>> {
    let mut spent = vec![Duration::ZERO; sets.len()];
    let scores = score_each(
        source, index, wanted, sets, &mut spent, None, advance, interrupt,
    )?;
    scores.into_iter().collect()
}

/// As [`score`], but what can't be scored by one of `sets` is no error of the others. `spent` is
/// the time that each took so far, to which this is added; one that takes more than `limit` in all
/// has failed.
///
/// # Errors
/// When the rows can't be read; [`crate::interrupt::Interrupted`].
#[expect(
    clippy::too_many_arguments,
    reason = "what is scored, by what, within which limits"
)]
pub fn score_each(
    source: &dyn RowSource,
    index: &RowIndex,
    wanted: &[u32],
    sets: &[&DetectorSet],
    spent: &mut [Duration],
    limit: Option<Duration>,
    mut advance: impl FnMut(u64),
    interrupt: &Interrupt,
) -> anyhow::Result<Vec<anyhow::Result<Vec<f64>>>> {
    let mut scores: Vec<anyhow::Result<Vec<f64>>> =
        sets.iter().map(|_| Ok(vec![0.0; wanted.len()])).collect();
    scan_rows(source, wanted, &mut |range, chunk| {
        for ((set, scores), spent) in sets.iter().zip(&mut scores).zip(&mut *spent) {
            let Ok(all) = scores else { continue };
            let rows = &wanted[range.clone()];
            let some = |at: Range<usize>, out: &mut [f64]| {
                let chunk = chunk.slice(s![at.clone(), ..]);
                match set {
                    DetectorSet::Global(detector) => Ok(detector.score_into(chunk, out)?),
                    DetectorSet::PerSymbol { .. } | DetectorSet::External(_) => {
                        score_by_symbol(set, index, &rows[at], chunk, out)
                    }
                }
            };
            let done = in_parts(&mut all[range.clone()], spent, limit, interrupt, some)?;
            if let Err(error) = done {
                *scores = Err(error);
            }
        }
        advance(chunk.nrows() as u64);
        Ok(())
    })?;
    Ok(scores)
}

/// Rows that are scored before anybody looks at the clock again.
const ROWS_AT_ONCE: usize = 32_768;

/// Fills `out` by `score`, a part at a time, each handed with its range, until `spent`, to which this is
/// added, exceeds `limit`. What `score` fails or panics of is the inner error.
///
/// # Errors
/// [`crate::interrupt::Interrupted`].
fn in_parts(
    out: &mut [f64],
    spent: &mut Duration,
    limit: Option<Duration>,
    interrupt: &Interrupt,
    score: impl Fn(Range<usize>, &mut [f64]) -> anyhow::Result<()>,
) -> anyhow::Result<anyhow::Result<()>> {
    for (part, out) in out.chunks_mut(ROWS_AT_ONCE).enumerate() {
        interrupt.check()?;
        let first = part * ROWS_AT_ONCE;
        let started = Instant::now();
        let done = attempt::unharmed(|| score(first..first + out.len(), out));
        *spent += started.elapsed();
        if let Err(error) = done.and_then(|()| within(*spent, limit)) {
            return Ok(Err(error));
        }
    }
    Ok(Ok(()))
}

/// # Errors
/// When more time was spent than `limit`.
pub fn within(spent: Duration, limit: Option<Duration>) -> anyhow::Result<()> {
    match limit {
        Some(limit) if spent > limit => Err(TooLong(limit).into()),
        _ => Ok(()),
    }
}

/// The error of a trial that took longer than it may.
#[derive(Debug, thiserror::Error)]
#[error("it took longer than `search.trial_limit` allows, {} s", .0.as_secs_f64())]
pub struct TooLong(pub Duration);

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
    use serde_json::{Value, json};

    use super::*;
    use crate::config::{DetectorSpace, KeySpace};

    fn of(
        detector: &'static str,
        keys: &[(&'static str, Value)],
        n_features: usize,
    ) -> anyhow::Result<Vec<Trial>> {
        let keys = keys.iter().map(|(key, value)| KeySpace {
            key,
            values: vec![value.clone()],
        });
        let candidate = Candidate {
            name: "candidate".to_owned(),
            scope: Scope::Global,
            detector: DetectorSpace {
                detector,
                keys: keys.collect(),
            },
        };
        let names: Vec<String> = (0..n_features).map(|i| format!("feature_{i}")).collect();
        trials(&[candidate], &names)
    }

    #[test]
    fn what_panics_or_takes_too_long_while_it_scores_is_its_own_failure() {
        let interrupt = Interrupt::default();
        let n = 2 * ROWS_AT_ONCE + 10;
        type Score = dyn Fn(Range<usize>, &mut [f64]) -> anyhow::Result<()>;
        let all = |limit, score: &Score| {
            let (mut out, mut spent) = (vec![0.0; n], Duration::from_millis(1));
            let done = in_parts(&mut out, &mut spent, limit, &interrupt, score).unwrap();
            (done.map_err(|error| format!("{error:#}")), out)
        };
        let number = |at: Range<usize>, out: &mut [f64]| {
            for (at, out) in at.zip(out) {
                *out = at as f64;
            }
            Ok(())
        };
        let (done, out) = all(None, &number);
        assert!(done.is_ok() && out.iter().enumerate().all(|(at, v)| *v == at as f64));
        let (done, _) = all(None, &|_, out| {
            out[usize::MAX] = 0.0;
            Ok(())
        });
        let error = done.unwrap_err();
        assert!(error.contains("panicked: index out of bounds"), "{error}");
        let (done, out) = all(Some(Duration::from_nanos(1)), &number);
        assert!(done.unwrap_err().contains("longer than"));
        assert!(out[ROWS_AT_ONCE..].iter().all(|v| *v == 0.0), "it went on");
        interrupt.ask();
        let (mut out, mut spent) = (vec![0.0; n], Duration::ZERO);
        assert!(in_parts(&mut out, &mut spent, None, &interrupt, number).is_err());
    }

    #[test]
    fn columns_that_the_data_do_not_have_are_refused_by_key() {
        let forest = "isolation_forest";
        let consensus = json!([
            {"detector": "ecod"},
            {"detector": forest, "max_features": 4},
        ]);
        for (detector, keys, n_features, expected) in [
            (
                forest,
                vec![("max_features", json!(4))],
                3,
                "max_features is 4, but the data have 3 features",
            ),
            (
                forest,
                vec![("form", json!("extended")), ("extension_level", json!(3))],
                3,
                "extension_level is 3, but the data have 3 features",
            ),
            (
                forest,
                vec![("form", json!("extended"))],
                1,
                "extension_level is 1, but the data have 1 feature",
            ),
            (
                forest,
                vec![
                    ("form", json!("fair_cut")),
                    ("hyperplane_columns", json!(4)),
                ],
                3,
                "hyperplane_columns is 4, but the data have 3 features",
            ),
            (
                "consensus",
                vec![("members", consensus)],
                3,
                "max_features is 4, but the data have 3 features",
            ),
            (
                "candle_z",
                vec![("features", json!(["feature_1", "feature2"]))],
                3,
                "names `feature2`, which the data don't have; did you mean `feature_2`?",
            ),
        ] {
            let error = of(detector, &keys, n_features).unwrap_err();
            let error = format!("{error:#}");
            assert!(error.contains(expected), "{error}");
        }
        for (keys, n_features) in [
            (
                vec![("form", json!("extended")), ("extension_level", json!(2))],
                3,
            ),
            (
                vec![("form", json!("extended")), ("extension_level", json!(0))],
                1,
            ),
            (
                vec![
                    ("form", json!("fair_cut")),
                    ("hyperplane_columns", json!(3)),
                ],
                3,
            ),
            (vec![("form", json!("fair_cut"))], 1),
        ] {
            of(forest, &keys, n_features).unwrap();
        }
    }
}
