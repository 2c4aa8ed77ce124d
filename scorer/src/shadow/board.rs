//! How the challenger did beside the champion.

use std::collections::VecDeque;
use std::sync::{Mutex, MutexGuard, PoisonError};

use serde::Serialize;
use streaming::ModelId;

use crate::api::quantiles::{Quantiles, quantiles};

/// Rows over which agreement is measured.
const WINDOW: usize = 5_000;

/// What both say of a row.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Pair {
    pub(crate) champion: f64,
    pub(crate) challenger: f64,
    pub(crate) by_champion: bool,
    pub(crate) by_challenger: bool,
}

impl Pair {
    /// Who flagged it, if anybody did.
    pub(crate) fn flagged_by(self) -> Option<&'static str> {
        match (self.by_champion, self.by_challenger) {
            (true, true) => Some("both"),
            (true, false) => Some("champion"),
            (false, true) => Some("challenger"),
            (false, false) => None,
        }
    }
}

/// Rows by who flagged them.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub(crate) struct Flagged {
    pub(crate) both: u64,
    /// The champion alone.
    pub(crate) champion: u64,
    /// The challenger alone.
    pub(crate) challenger: u64,
}

#[derive(Debug, Default)]
struct Inner {
    /// Whose rows these are.
    of: Option<(ModelId, ModelId)>,
    compared: u64,
    failed: u64,
    not_ready: u64,
    flagged: Flagged,
    window: VecDeque<Pair>,
}

/// The comparison of the two versions that are in force.
#[derive(Debug, Default)]
pub(crate) struct Board(Mutex<Inner>);

/// What it comes to.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub(crate) struct Summary {
    /// The versions that are compared; a change of either begins anew.
    pub(crate) champion: Option<String>,
    pub(crate) challenger: Option<String>,
    /// Rows that both scored.
    pub(crate) compared: u64,
    /// Rows that the challenger refused.
    pub(crate) failed: u64,
    /// Rows whose windows aren't full for the challenger.
    pub(crate) not_ready: u64,
    pub(crate) flagged: Flagged,
    /// Of all rows that either flagged, the share that both did; `None` where there is none.
    pub(crate) agreement: Option<f64>,
    /// The last rows, which the following is about.
    pub(crate) window: usize,
    /// Spearman's correlation of both scores; `None` where it isn't defined.
    pub(crate) rank_correlation: Option<f64>,
    pub(crate) champion_scores: Option<Quantiles>,
    pub(crate) challenger_scores: Option<Quantiles>,
}

impl Board {
    fn inner(&self) -> MutexGuard<'_, Inner> {
        // Counts of a thread that panicked are off by one row at most.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn failed(&self) {
        self.inner().failed += 1;
    }

    pub(crate) fn not_ready(&self) {
        self.inner().not_ready += 1;
    }

    /// A row that both scored.
    pub(crate) fn compare(&self, champion: &ModelId, challenger: &ModelId, pair: Pair) {
        let mut inner = self.inner();
        let is_same = inner
            .of
            .as_ref()
            .is_some_and(|(first, second)| first == champion && second == challenger);
        if !is_same {
            *inner = Inner {
                of: Some((champion.clone(), challenger.clone())),
                ..Inner::default()
            };
        }
        inner.compared += 1;
        match pair.flagged_by() {
            Some("both") => inner.flagged.both += 1,
            Some("champion") => inner.flagged.champion += 1,
            Some(_) => inner.flagged.challenger += 1,
            None => {}
        }
        if inner.window.len() >= WINDOW {
            inner.window.pop_front();
        }
        inner.window.push_back(pair);
    }

    pub(crate) fn summary(&self) -> Summary {
        let (mut summary, window) = {
            let inner = self.inner();
            let flagged = inner.flagged;
            let either = flagged.both + flagged.champion + flagged.challenger;
            let summary = Summary {
                champion: inner.of.as_ref().map(|(model, _)| model.version.clone()),
                challenger: inner.of.as_ref().map(|(_, model)| model.version.clone()),
                compared: inner.compared,
                failed: inner.failed,
                not_ready: inner.not_ready,
                flagged,
                agreement: (either > 0).then(|| flagged.both as f64 / either as f64),
                window: inner.window.len(),
                ..Summary::default()
            };
            (summary, inner.window.clone())
        };
        let mut champion: Vec<f64> = window.iter().map(|pair| pair.champion).collect();
        let mut challenger: Vec<f64> = window.iter().map(|pair| pair.challenger).collect();
        summary.rank_correlation = spearman(&champion, &challenger);
        summary.champion_scores = quantiles(&mut champion);
        summary.challenger_scores = quantiles(&mut challenger);
        summary
    }
}

/// Spearman's rank correlation, ties counting with their mean rank; `None` where one of both doesn't vary.
fn spearman(first: &[f64], second: &[f64]) -> Option<f64> {
    let (first, second) = (ranks(first), ranks(second));
    let n = first.len() as f64;
    let mean = (n + 1.0) / 2.0;
    let product = |left: &[f64], right: &[f64]| -> f64 {
        let pairs = left.iter().zip(right);
        pairs.map(|(l, r)| (l - mean) * (r - mean)).sum()
    };
    let scale = (product(&first, &first) * product(&second, &second)).sqrt();
    (scale > 0.0).then(|| product(&first, &second) / scale)
}

/// The ranks from 1 on; equal values share the mean of theirs.
fn ranks(values: &[f64]) -> Vec<f64> {
    let mut order: Vec<usize> = (0..values.len()).collect();
    order.sort_by(|left, right| values[*left].total_cmp(&values[*right]));
    let mut ranks = vec![0.0; values.len()];
    let mut start = 0;
    for group in order.chunk_by(|left, right| values[*left] == values[*right]) {
        let rank = start as f64 + (group.len() as f64 + 1.0) / 2.0;
        group.iter().for_each(|place| ranks[*place] = rank);
        start += group.len();
    }
    ranks
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rank_correlation_is_scipys() {
        let first = [1.0, 2.0, 2.0, 4.0, 9.0, 3.0];
        assert_eq!(ranks(&first), [1.0, 2.5, 2.5, 5.0, 6.0, 4.0]);
        // scipy.stats.spearmanr(first, [2, 1, 3, 8, 5, 4])
        let found = spearman(&first, &[2.0, 1.0, 3.0, 8.0, 5.0, 4.0]).unwrap();
        assert!((found - 0.840_668_001_696_050_4).abs() < 1e-12, "{found}");
        assert_eq!(spearman(&[1.0, 1.0], &[1.0, 2.0]), None);
        assert_eq!(spearman(&[], &[]), None);
    }

    #[test]
    fn another_version_begins_anew() {
        let id = |version: &str| ModelId {
            name: "m".to_owned(),
            version: version.to_owned(),
            run_id: String::new(),
        };
        let board = Board::default();
        let pair = Pair {
            champion: 1.0,
            challenger: 4.0,
            by_champion: false,
            by_challenger: true,
        };
        board.compare(&id("1"), &id("2"), pair);
        board.compare(&id("1"), &id("2"), pair);
        let summary = board.summary();
        assert_eq!((summary.compared, summary.flagged.challenger), (2, 2));
        assert_eq!(summary.agreement, Some(0.0));
        assert_eq!(summary.rank_correlation, None);
        board.compare(&id("1"), &id("3"), pair);
        assert_eq!(board.summary().compared, 1);
        assert_eq!(board.summary().challenger.as_deref(), Some("3"));
        for _ in 0..WINDOW {
            board.compare(&id("1"), &id("3"), pair);
        }
        assert_eq!(board.summary().window, WINDOW);
    }
}
