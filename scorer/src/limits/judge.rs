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
