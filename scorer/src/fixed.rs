//! A judge for tests whose every word is known.

use std::sync::Arc;

use market::Feature;
use ndarray::ArrayView2;
use streaming::{Judge, JudgeError, ModelId, Score, Vote};

/// Scores the sum of its two features times a factor; refuses the symbol `UNKNOWN`.
#[derive(Debug)]
pub(crate) struct Fixed {
    id: ModelId,
    factor: f64,
}

impl Fixed {
    pub(crate) const FEATURES: [Feature; 2] = [Feature::PriceRange, Feature::LogReturn];
    pub(crate) const THRESHOLD: f64 = 3.0;

    pub(crate) fn new(version: &str, factor: f64) -> Self {
        Self {
            id: ModelId {
                name: "m".to_owned(),
                version: version.to_owned(),
                run_id: "r".to_owned(),
            },
            factor,
        }
    }
}

impl Judge for Fixed {
    fn model(&self) -> &ModelId {
        &self.id
    }

    fn features(&self) -> &[Feature] {
        &Self::FEATURES
    }

    fn threshold(&self) -> f64 {
        Self::THRESHOLD
    }

    fn score(
        &self,
        symbols: &[Arc<str>],
        rows: ArrayView2<'_, f64>,
        out: &mut Vec<Result<Score, JudgeError>>,
    ) {
        let one = |(symbol, row): (&Arc<str>, ndarray::ArrayView1<'_, f64>)| {
            if **symbol == *"UNKNOWN" {
                return Err(JudgeError::Row("nothing is known of `UNKNOWN`".to_owned()));
            }
            let raw = row.sum();
            let score = raw * self.factor;
            Ok(Score {
                raw,
                score,
                flagged: score > Self::THRESHOLD,
            })
        };
        out.extend(symbols.iter().zip(rows.rows()).map(one));
    }

    fn votes(&self, _: &str, _: &[f64], score: &Score) -> Result<Vec<Vote>, JudgeError> {
        Ok(vec![Vote {
            detector: "fixed".to_owned(),
            score: score.score,
            threshold: Self::THRESHOLD,
            flag: score.flagged,
        }])
    }

    fn shares(&self, _: &str, row: &[f64]) -> Result<Vec<f64>, JudgeError> {
        let sum: f64 = row.iter().sum();
        Ok(row.iter().map(|value| value / sum).collect())
    }
}
