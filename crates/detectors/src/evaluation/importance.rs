//! Which features the scores depend on.

use ndarray::{Array2, ArrayView2};
use serde::{Deserialize, Serialize};

use super::metric::Metric;
use super::ranking::{Ranking, average_precision};
use crate::detector::Detector;
use crate::error::{Error, Result};
use crate::random::Random;

/// How importance is measured.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ImportanceOptions {
    /// Rows used at most, at least 2. Where there are more, all labelled rows are kept up to half
    /// of them, and the rest is drawn from the others. Default 20,000.
    pub max_rows: usize,
    /// Shuffles a feature, at least 1. Default 3.
    pub n_repeats: usize,
    /// Seed.
    pub seed: u64,
}

impl Default for ImportanceOptions {
    fn default() -> Self {
        Self {
            max_rows: 20_000,
            n_repeats: 3,
            seed: 0,
        }
    }
}

/// What a shuffled feature changes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ImportanceMeasure {
    /// Average precision without the shuffle minus with it, on the rows used (their share of
    /// labelled rows, and so the level of average precision, may be above that of all rows).
    AveragePrecisionDrop,
    /// Mean absolute change of a row's rank, as a share of the number of rows; used without labels
    /// of both kinds.
    RankShift,
}

/// Importance of every feature.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Importance {
    /// What the figures are.
    pub measure: ImportanceMeasure,
    /// Rows used.
    pub n_rows: usize,
    /// Labelled rows among them.
    pub n_labelled_rows: usize,
    /// Average precision on these rows without any shuffle, where defined.
    pub average_precision: Metric,
    /// One entry a feature, in column order.
    pub features: Vec<FeatureImportance>,
}

/// Importance of one feature.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct FeatureImportance {
    /// Mean over the repeats.
    pub mean: f64,
    /// Sample standard deviation over the repeats; 0 with a single one.
    pub sd: f64,
}

/// Permutation importance (Breiman 2001) of every feature for `detector` on `rows`,
/// (n_samples, n_features), `positive` having one entry a row where labels exist.
///
/// # Errors
/// No rows, labels of another length, options out of range, and all that the detector refuses.
pub fn permutation_importance(
    detector: &Detector,
    rows: ArrayView2<'_, f64>,
    positive: Option<&[bool]>,
    options: &ImportanceOptions,
) -> Result<Importance> {
    permutation_importance_by(
        |rows, _, out| detector.score_into(rows, out),
        rows,
        positive,
        options,
    )
}

/// As [`permutation_importance`], for anything that scores: `score` is given rows, the indices in
/// `rows` that they come from (so that it can choose by symbol), and where to write the scores.
///
/// # Errors
/// As [`permutation_importance`].
pub fn permutation_importance_by(
    score: impl Fn(ArrayView2<'_, f64>, &[usize], &mut [f64]) -> Result<()>,
    rows: ArrayView2<'_, f64>,
    positive: Option<&[bool]>,
    options: &ImportanceOptions,
) -> Result<Importance> {
    let n = rows.nrows();
    if rows.is_empty() {
        return Err(Error::Empty {
            what: "rows for importance",
        });
    }
    if options.max_rows < 2 {
        return Err(Error::invalid(
            "max_rows",
            options.max_rows,
            "at least 2 are needed",
        ));
    }
    if options.n_repeats == 0 {
        return Err(Error::invalid("n_repeats", 0, "at least 1 is needed"));
    }
    if let Some(positive) = positive
        && positive.len() != n
    {
        return Err(Error::Shape {
            what: "positive",
            expected: n,
            found: positive.len(),
        });
    }
    let used = sample(n, positive, options);
    let mut table = Array2::zeros((used.len(), rows.ncols()));
    for (mut to, from) in table.rows_mut().into_iter().zip(&used) {
        to.assign(&rows.row(*from));
    }
    let labels: Option<Vec<bool>> =
        positive.map(|positive| used.iter().map(|row| positive[*row]).collect());

    let mut scores = vec![0.0; used.len()];
    score(table.view(), &used, &mut scores)?;
    let level = match &labels {
        Some(labels) => average_precision(&scores, labels),
        None => Metric::undefined("no labels were given"),
    };
    let base_ranks = ranks(&scores);
    let measure = if level.value().is_some() {
        ImportanceMeasure::AveragePrecisionDrop
    } else {
        ImportanceMeasure::RankShift
    };

    let mut order: Vec<usize> = (0..used.len()).collect();
    let mut features = Vec::with_capacity(rows.ncols());
    for feature in 0..rows.ncols() {
        let original = table.column(feature).to_vec();
        let mut figures = Vec::with_capacity(options.n_repeats);
        for repeat in 0..options.n_repeats {
            let stream = 1 + (feature * options.n_repeats + repeat) as u64;
            order.iter_mut().enumerate().for_each(|(i, o)| *o = i);
            Random::new(options.seed, stream).shuffle(&mut order);
            for (to, from) in table.column_mut(feature).iter_mut().zip(&order) {
                *to = original[*from];
            }
            score(table.view(), &used, &mut scores)?;
            let shuffled = labels
                .as_ref()
                .and_then(|labels| average_precision(&scores, labels).value());
            figures.push(match (level.value(), shuffled) {
                (Some(level), Some(shuffled)) => level - shuffled,
                _ => mean_shift(&base_ranks, &ranks(&scores)),
            });
        }
        for (to, from) in table.column_mut(feature).iter_mut().zip(&original) {
            *to = *from;
        }
        features.push(summary(&figures));
    }
    Ok(Importance {
        measure,
        n_rows: used.len(),
        n_labelled_rows: labels.map_or(0, |labels| labels.iter().filter(|l| **l).count()),
        average_precision: level,
        features,
    })
}

/// Indices of the rows used, ascending.
fn sample(n: usize, positive: Option<&[bool]>, options: &ImportanceOptions) -> Vec<usize> {
    if n <= options.max_rows {
        return (0..n).collect();
    }
    let mut random = Random::new(options.seed, 0);
    let is_positive = |row: &usize| positive.is_some_and(|positive| positive[*row]);
    let (mut labelled, mut others): (Vec<usize>, Vec<usize>) = (0..n).partition(is_positive);
    random.shuffle(&mut labelled);
    random.shuffle(&mut others);
    let n_labelled = labelled.len().min(options.max_rows / 2);
    labelled.truncate(n_labelled);
    others.truncate(options.max_rows - n_labelled);
    labelled.append(&mut others);
    labelled.sort_unstable();
    labelled
}

/// Rank of every row from the top, tied rows sharing the middle of theirs.
fn ranks(scores: &[f64]) -> Vec<f64> {
    let mut ranks = vec![0.0; scores.len()];
    let mut above = 0.0;
    for block in Ranking::new(scores).blocks() {
        let size = block.len() as f64;
        for (_, row) in block {
            ranks[*row as usize] = above + (size - 1.0) / 2.0;
        }
        above += size;
    }
    ranks
}

fn mean_shift(before: &[f64], after: &[f64]) -> f64 {
    let n = before.len() as f64;
    let shifts = before.iter().zip(after).map(|(a, b)| (a - b).abs());
    shifts.sum::<f64>() / n / n
}

fn summary(figures: &[f64]) -> FeatureImportance {
    let n = figures.len() as f64;
    let mean = figures.iter().sum::<f64>() / n;
    let squares: f64 = figures.iter().map(|f| (f - mean).powi(2)).sum();
    let sd = if n > 1.0 {
        (squares / (n - 1.0)).sqrt()
    } else {
        0.0
    };
    FeatureImportance { mean, sd }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::params::{DetectorParams, MaxZConfig};

    fn table() -> (Detector, Array2<f64>, Vec<bool>) {
        // Feature 0 decides, feature 1 is constant, feature 2 is small noise.
        let mut random = Random::new(3, 0);
        let mut uniform = || random.below(1_000_000) as f64 / 1e6;
        let train =
            Array2::from_shape_fn((2_000, 3), |(_, j)| if j == 1 { 7.0 } else { uniform() });
        let mut test = train.clone();
        let mut positive = vec![false; 2_000];
        for row in (0..2_000).step_by(50) {
            test[(row, 0)] = 3.0;
            positive[row] = true;
        }
        let params = DetectorParams::MaxZ(MaxZConfig {});
        let detector = Detector::fit(&params, train.view(), 0).unwrap();
        (detector, test, positive)
    }

    #[test]
    fn the_deciding_feature_matters_and_a_constant_one_does_not() {
        let (detector, rows, positive) = table();
        let options = ImportanceOptions::default();
        let with_labels =
            permutation_importance(&detector, rows.view(), Some(&positive), &options).unwrap();
        assert_eq!(with_labels.measure, ImportanceMeasure::AveragePrecisionDrop);
        assert_eq!(with_labels.average_precision, Metric::Value(1.0));
        assert!(with_labels.features[0].mean > 0.9, "{with_labels:?}");
        assert_eq!(with_labels.features[1].mean, 0.0);
        assert!(with_labels.features[2].mean.abs() < 0.05);

        let without = permutation_importance(&detector, rows.view(), None, &options).unwrap();
        assert_eq!(without.measure, ImportanceMeasure::RankShift);
        assert_eq!(without.features[1].mean, 0.0);
        assert!(without.features[0].mean > 0.05);
        assert_eq!(
            without,
            permutation_importance(&detector, rows.view(), None, &options).unwrap()
        );
    }

    #[test]
    fn a_cap_keeps_labelled_rows() {
        let (detector, rows, positive) = table();
        let options = ImportanceOptions {
            max_rows: 100,
            ..ImportanceOptions::default()
        };
        let importance =
            permutation_importance(&detector, rows.view(), Some(&positive), &options).unwrap();
        assert_eq!((importance.n_rows, importance.n_labelled_rows), (100, 40));
    }

    #[test]
    fn no_positives_falls_back_to_ranks_and_bad_input_is_refused() {
        let (detector, rows, positive) = table();
        let options = ImportanceOptions::default();
        let none = vec![false; positive.len()];
        let importance =
            permutation_importance(&detector, rows.view(), Some(&none), &options).unwrap();
        assert_eq!(importance.measure, ImportanceMeasure::RankShift);
        assert_eq!(
            importance.average_precision.reason(),
            Some("no labelled rows")
        );
        let short = permutation_importance(&detector, rows.view(), Some(&none[1..]), &options);
        assert!(short.is_err());
        let empty = Array2::zeros((0, 3));
        assert!(permutation_importance(&detector, empty.view(), None, &options).is_err());
    }
}
