//! Rows from the highest score to the lowest, and the two ranking metrics.

use super::metric::Metric;
use crate::sort::{ascending_key, sort_by_key};

pub(super) const NO_POSITIVES: &str = "no labelled rows";
pub(super) const NO_NEGATIVES: &str = "no unlabelled rows";

/// Row indices by descending score; rows of equal score are one *tie block*.
#[derive(Debug)]
pub(super) struct Ranking {
    /// (order-reversing key of the score, row): equal keys are ties.
    keyed: Vec<(u64, u32)>,
}

impl Ranking {
    /// Sorts once; `score` must be finite and shorter than 2³².
    pub(super) fn new(score: &[f64]) -> Self {
        let mut keyed: Vec<(u64, u32)> = score
            .iter()
            .enumerate()
            .map(|(row, score)| (descending_key(*score), row as u32))
            .collect();
        sort_by_key(&mut keyed, |(key, _)| *key);
        Self { keyed }
    }

    /// Tie blocks from the highest score down.
    pub(super) fn blocks(&self) -> impl DoubleEndedIterator<Item = &[(u64, u32)]> {
        self.keyed.chunk_by(|a, b| a.0 == b.0)
    }
}

/// A key that ascends as the score descends; −0 and 0 have the same one.
fn descending_key(score: f64) -> u64 {
    !ascending_key(score + 0.0)
}

/// Sums of both metrics for one set of positives, fed from the highest score down.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct RankSums {
    true_positives: f64,
    precision_sum: f64,
    below_sum: f64,
}

impl RankSums {
    /// Takes one tie block with `positives` of the set. `above` is the number of negatives in this
    /// block and above it, `tied` of those in this block, `negatives` of all.
    pub(super) fn take(&mut self, positives: f64, above: f64, tied: f64, negatives: f64) {
        self.true_positives += positives;
        self.precision_sum += positives * (self.true_positives / (self.true_positives + above));
        self.below_sum += positives * (negatives - above + 0.5 * tied);
    }

    /// (ROC-AUC, average precision), `None` without positives or negatives.
    pub(super) fn finish(self, negatives: f64) -> Option<(f64, f64)> {
        (self.true_positives > 0.0 && negatives > 0.0).then(|| {
            (
                self.below_sum / (self.true_positives * negatives),
                self.precision_sum / self.true_positives,
            )
        })
    }

    /// As [`finish`](Self::finish), with the reason where there is no value.
    pub(super) fn metrics(self, negatives: f64) -> (Metric, Metric) {
        match self.finish(negatives) {
            Some((auc, ap)) => (Metric::Value(auc), Metric::Value(ap)),
            None => {
                let reason = if self.true_positives > 0.0 {
                    NO_NEGATIVES
                } else {
                    NO_POSITIVES
                };
                (Metric::undefined(reason), Metric::undefined(reason))
            }
        }
    }
}

/// Area under the ROC curve of `score` against `positive`, one entry a row: the probability that
/// a random positive scores above a random negative, ties counted half. Equals scikit-learn's
/// `roc_auc_score`.
///
/// Undefined without positives or without negatives, for slices of different lengths, and for a
/// score that is not finite.
#[must_use]
pub fn roc_auc(score: &[f64], positive: &[bool]) -> Metric {
    both(score, positive).0
}

/// Average precision of `score` against `positive`, one entry a row: Σ (Rₙ − Rₙ₋₁) Pₙ over the
/// distinct scores, without interpolation. Equals scikit-learn's `average_precision_score`.
///
/// Undefined as [`roc_auc`] is.
#[must_use]
pub fn average_precision(score: &[f64], positive: &[bool]) -> Metric {
    both(score, positive).1
}

fn both(score: &[f64], positive: &[bool]) -> (Metric, Metric) {
    let undefined = |reason| (Metric::undefined(reason), Metric::undefined(reason));
    if score.len() != positive.len() {
        return undefined("as many scores as labels are needed");
    }
    if score.iter().any(|s| !s.is_finite()) {
        return undefined("a score is not finite");
    }
    if score.len() >= u32::MAX as usize {
        return undefined("more rows than 4,294,967,294");
    }
    let negatives = positive.iter().filter(|p| !**p).count() as f64;
    let mut sums = RankSums::default();
    let mut above = 0.0;
    for block in Ranking::new(score).blocks() {
        let positives = block.iter().filter(|(_, row)| positive[*row as usize]);
        let positives = positives.count();
        let tied = (block.len() - positives) as f64;
        above += tied;
        if positives > 0 {
            sums.take(positives as f64, above, tied, negatives);
        }
    }
    sums.metrics(negatives)
}
