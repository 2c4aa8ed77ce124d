//! A model with statistical limits beside it.

use std::sync::Arc;

use detectors::statistics::{CandleZ, SlidingWindow};
use detectors::{Detector, DriftBaseline};
use market::Feature;
use ndarray::ArrayView2;
use streaming::{Judge, JudgeError, ModelId, Score, Vote};

use super::file::{Limits, LimitsError};

/// A model, and limits that vote beside it.
#[derive(Debug)]
pub struct LimitedJudge {
    model: Arc<dyn Judge>,
    detectors: Vec<Detector>,
    votes: Option<usize>,
    digest: String,
}

impl LimitedJudge {
    /// Puts limits beside a model.
    ///
    /// # Errors
    /// Limits of features that the model doesn't look at.
    pub fn new(model: Arc<dyn Judge>, limits: &Limits) -> Result<Self, LimitsError> {
        let names: Vec<String> = model
            .features()
            .iter()
            .map(|feature| feature.name().to_owned())
            .collect();
        let mut detectors = Vec::new();
        if let Some(statistics) = &limits.candle_z {
            let detector = CandleZ::from_statistics(statistics, &names)?;
            detectors.push(Detector::CandleZ(detector));
        }
        if let Some(statistics) = &limits.sliding_window {
            let detector = SlidingWindow::from_statistics(statistics, &names)?;
            detectors.push(Detector::SlidingWindow(detector));
        }
        Ok(Self {
            model,
            detectors,
            votes: limits.votes,
            digest: limits.digest.clone(),
        })
    }

    /// What the limits say of a row: how far each is gone towards its limit, 1 being there.
    fn said<'a>(
        &'a self,
        row: &'a [f64],
    ) -> impl Iterator<Item = Result<(&'static str, f64), JudgeError>> + 'a {
        self.detectors.iter().map(move |detector| {
            let score = detector.score_one(row);
            let score = score.map_err(|error| JudgeError::Row(error.to_string()))?;
            Ok((detector.name(), score))
        })
    }

    /// Whether enough vote for an anomaly, the model among them or not.
    fn is_flagged(&self, row: &[f64], score: &Score, needed: usize) -> Result<bool, JudgeError> {
        let mut votes = usize::from(score.flagged);
        for said in self.said(row) {
            votes += usize::from(said?.1 > LIMIT);
        }
        Ok(votes >= needed)
    }
}

/// Beyond it a score of these detectors is an anomaly.
const LIMIT: f64 = 1.0;

impl Judge for LimitedJudge {
    fn model(&self) -> &ModelId {
        self.model.model()
    }

    fn features(&self) -> &[Feature] {
        self.model.features()
    }

    fn threshold(&self) -> f64 {
        self.model.threshold()
    }

    fn score(
        &self,
        symbols: &[Arc<str>],
        rows: ArrayView2<'_, f64>,
        out: &mut Vec<Result<Score, JudgeError>>,
    ) {
        let first = out.len();
        self.model.score(symbols, rows, out);
        let Some(needed) = self.votes else { return };
        for (result, row) in out[first..].iter_mut().zip(rows.rows()) {
            let Ok(score) = *result else { continue };
            let flagged = match row.as_slice() {
                Some(row) => self.is_flagged(row, &score, needed),
                None => self.is_flagged(&row.to_vec(), &score, needed),
            };
            *result = flagged.map(|flagged| Score { flagged, ..score });
        }
    }

    fn votes(&self, symbol: &str, row: &[f64], score: &Score) -> Result<Vec<Vote>, JudgeError> {
        let own = Score {
            flagged: score.score > self.threshold(),
            ..*score
        };
        let mut votes = self.model.votes(symbol, row, &own)?;
        for said in self.said(row) {
            let (name, score) = said?;
            votes.push(Vote {
                detector: format!("limits.{name}"),
                score,
                threshold: LIMIT,
                flag: score > LIMIT,
            });
        }
        Ok(votes)
    }

    fn shares(&self, symbol: &str, row: &[f64]) -> Result<Vec<f64>, JudgeError> {
        self.model.shares(symbol, row)
    }

    fn drift_baseline(&self) -> Option<&Arc<DriftBaseline>> {
        self.model.drift_baseline()
    }

    fn describe(&self) -> serde_json::Value {
        self.model.describe()
    }

    fn limits(&self) -> Option<&str> {
        Some(&self.digest)
    }
}

#[cfg(test)]
mod tests {
    use ndarray::arr2;

    use super::*;
    use crate::fixed::Fixed;

    /// The model flags sums beyond 3, the limits a range beyond 2, or a return beyond 10 where there are two of them.
    fn judge(votes: Option<usize>, has_two: bool) -> LimitedJudge {
        let statistics = |feature: &str, limit: f64| {
            format!(
                r#"{{"candle_z": {{"format": "foreshock-candle-statistics", "version": 1, "n_rows": 10,
                "features": {{"{feature}": {{"mean": 0.0, "sd": 1.0, "limit": {limit}}}}}}}}}"#
            )
        };
        let model: Arc<dyn Judge> = Arc::new(Fixed::new("1", 1.0));
        let mut limits = Limits::parse(&statistics("price_range", 2.0)).unwrap();
        limits.votes = votes;
        let mut judge = LimitedJudge::new(Arc::clone(&model), &limits).unwrap();
        if has_two {
            let more = Limits::parse(&statistics("log_return", 10.0)).unwrap();
            let more = LimitedJudge::new(model, &more).unwrap();
            judge.detectors.extend(more.detectors);
        }
        judge
    }

    /// What is flagged of rows that nobody, the model alone, the limits alone, both, and all three flag.
    fn flags(judge: &LimitedJudge) -> [bool; 5] {
        let rows = arr2(&[[0.5, 0.5], [0.5, 4.0], [2.5, -1.0], [4.0, 1.0], [4.0, 11.0]]);
        let symbols: Vec<Arc<str>> = vec!["A".into(); 5];
        let mut scores = Vec::new();
        judge.score(&symbols, rows.view(), &mut scores);
        let flags: Vec<bool> = scores.into_iter().map(|s| s.unwrap().flagged).collect();
        flags.try_into().unwrap()
    }

    #[test]
    fn a_row_is_flagged_where_so_many_say_so() {
        for (votes, has_two, expected) in [
            (None, false, [false, true, false, true, true]),
            (Some(1), false, [false, true, true, true, true]),
            (Some(2), false, [false, false, false, true, true]),
            (Some(2), true, [false, false, false, true, true]),
            (Some(3), true, [false, false, false, false, true]),
        ] {
            let found = flags(&judge(votes, has_two));
            assert_eq!(found, expected, "{votes:?} of {}", 2 + usize::from(has_two));
        }
        // Rows that don't lie one behind the other in memory are judged alike.
        let columns = arr2(&[[4.0, 0.5], [1.0, 0.5]]);
        let symbols: Vec<Arc<str>> = vec!["A".into(), "UNKNOWN".into()];
        let mut scores = Vec::new();
        judge(Some(2), false).score(&symbols, columns.t(), &mut scores);
        assert!(scores[0].as_ref().unwrap().flagged);
        // What the model refuses stays refused.
        assert!(scores[1].is_err());
    }

    #[test]
    fn each_says_what_it_thinks_whatever_is_decided_together() {
        let judge = judge(Some(1), false);
        let row = [2.5, -1.0];
        let mut scores = Vec::new();
        judge.score(&["A".into()], arr2(&[row]).view(), &mut scores);
        let score = scores.pop().unwrap().unwrap();
        assert!(score.flagged);
        let votes = judge.votes("A", &row, &score).unwrap();
        let said: Vec<(&str, f64, bool)> = votes
            .iter()
            .map(|vote| (vote.detector.as_str(), vote.score, vote.flag))
            .collect();
        assert_eq!(
            said,
            [("fixed", 1.5, false), ("limits.candle_z", 1.25, true)]
        );
        assert_eq!(judge.model().version, "1");
        assert!(judge.limits().is_some());
    }
}
