//! What scores feature rows.

use std::collections::BTreeMap;
use std::sync::Arc;

use detectors::{Confidence, Detector, DetectorSet, DriftBaseline, Model, severity};
use market::{Feature, FeatureConfig, ValidFeatureConfig};
use ndarray::ArrayView2;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use thiserror::Error;

use crate::wire::Severity;

/// Which model a score comes from.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct ModelId {
    /// The registered model's name.
    pub name: String,
    /// Its version.
    pub version: String,
    /// The run that made it; empty where none is known.
    pub run_id: String,
}

/// A row's score.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Score {
    /// As the detector gives it; higher is more anomalous.
    pub raw: f64,
    /// −log₁₀ tail probability for the symbol.
    pub score: f64,
    /// Whether it is beyond the threshold.
    pub flagged: bool,
}

/// One detector's word on a row.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Vote {
    /// The detector, or the member of a consensus.
    pub detector: String,
    /// Its calibrated score.
    pub score: f64,
    /// Beyond which it votes for an anomaly.
    pub threshold: f64,
    /// Whether it does.
    pub flag: bool,
}

/// A row that can't be scored, or a model that can't be used.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum JudgeError {
    /// The model won't score this row.
    #[error("{0}")]
    Row(String),
    /// It wants a feature that the engine does not compute.
    #[error("the model wants `{0}`, which is no feature of the engine")]
    Feature(String),
    /// It was trained on features computed in another way.
    #[error(
        "the model was trained on features computed with {trained}, but this scorer computes them with {computed}"
    )]
    Engine {
        /// The configuration it was trained with, as JSON.
        trained: String,
        /// This scorer's.
        computed: String,
    },
    /// It does not say how its features were computed.
    #[error("the model does not say how its features are computed: it was trained on a table")]
    NoEngine,
    /// What it says of the engine can't be read.
    #[error("what the model says of the feature engine can't be read: {0}")]
    UnreadableEngine(String),
}

/// Scores rows of features. One judge is one version of a model: it never changes.
pub trait Judge: std::fmt::Debug + Send + Sync {
    /// Which model it is.
    fn model(&self) -> &ModelId;

    /// The features it looks at, in its order.
    fn features(&self) -> &[Feature];

    /// The calibrated score beyond which a row is flagged.
    fn threshold(&self) -> f64;

    /// Scores `rows`, (n_samples, n_features) in the order of [`features`](Self::features), `symbols[i]` being the
    /// symbol of row `i`. A row's score does not depend on the rows beside it.
    fn score(
        &self,
        symbols: &[Arc<str>],
        rows: ArrayView2<'_, f64>,
        out: &mut Vec<Result<Score, JudgeError>>,
    );

    /// What each detector says of a row.
    ///
    /// # Errors
    /// A row that can't be scored.
    fn votes(&self, symbol: &str, row: &[f64], score: &Score) -> Result<Vec<Vote>, JudgeError>;

    /// The share of each feature in a row's score, in the order of [`features`](Self::features); they add up to 1, or
    /// are all 0 where the model can't say.
    ///
    /// # Errors
    /// A row that can't be scored.
    fn shares(&self, symbol: &str, row: &[f64]) -> Result<Vec<f64>, JudgeError>;

    /// What ordinary data look like to it, where that was stored with the model; else its rows can't be watched for
    /// drift.
    fn drift_baseline(&self) -> Option<&Arc<DriftBaseline>> {
        None
    }

    /// What is known of the model, for people: its parameters, calibration and training, as JSON of its own; null where
    /// nothing is.
    fn describe(&self) -> Value {
        Value::Null
    }

    /// What tells the limits that vote beside the model from others, where there are some.
    fn limits(&self) -> Option<&str> {
        None
    }

    /// How much a flagged row matters, and the same from 0 to 100, where a symbol has `rows_per_day` rows a day.
    fn severity(&self, score: &Score, votes: &[Vote], rows_per_day: f64) -> (Severity, f64) {
        let number = severity(score.score, rows_per_day);
        let n_votes = votes.iter().filter(|vote| vote.flag).count();
        let word = match votes.len() {
            // One detector: once a month or less often, once a day or less often, more often.
            0 | 1 if number >= 75.0 => Severity::High,
            0 | 1 if number >= 50.0 => Severity::Medium,
            0 | 1 => Severity::Low,
            _ => match Confidence::of(n_votes) {
                Some(Confidence::High) => Severity::High,
                Some(Confidence::Medium) => Severity::Medium,
                Some(Confidence::Low) | None => Severity::Low,
            },
        };
        (word, number)
    }
}

/// A model of our own.
#[derive(Debug)]
pub struct NativeJudge {
    id: ModelId,
    features: Vec<Feature>,
    model: Model,
}

impl NativeJudge {
    /// Makes a judge of a model whose features this engine computes.
    ///
    /// # Errors
    /// Features that the engine doesn't know, or computes in another way than the model was trained with.
    pub fn new(
        id: ModelId,
        model: Model,
        computed: &ValidFeatureConfig,
    ) -> Result<Self, JudgeError> {
        check_engine(&model, computed)?;
        let features = features_of(&model.feature_names)?;
        Ok(Self {
            id,
            features,
            model,
        })
    }

    /// The model itself.
    #[must_use]
    pub fn inner(&self) -> &Model {
        &self.model
    }

    fn detector(&self, symbol: &str) -> Result<&Detector, JudgeError> {
        self.model.detectors.get(symbol).map_err(refused)
    }
}

/// The features that these names stand for.
///
/// # Errors
/// The first name that is no feature.
pub fn features_of(names: &[String]) -> Result<Vec<Feature>, JudgeError> {
    let feature = |name: &String| {
        name.parse()
            .map_err(|_| JudgeError::Feature(name.to_owned()))
    };
    names.iter().map(feature).collect()
}

/// Checks that a model's features were computed as they are here.
///
/// # Errors
/// They weren't, or it doesn't say.
pub fn check_engine(model: &Model, computed: &ValidFeatureConfig) -> Result<(), JudgeError> {
    let trained = engine_of(model)?;
    if trained == *computed.config() {
        return Ok(());
    }
    Err(JudgeError::Engine {
        trained: json(&trained),
        computed: json(computed.config()),
    })
}

/// How the features of a model were computed.
///
/// # Errors
/// It doesn't say, or not readably.
pub fn engine_of(model: &Model) -> Result<FeatureConfig, JudgeError> {
    if model.engine.is_null() {
        return Err(JudgeError::NoEngine);
    }
    serde_json::from_value(model.engine.clone())
        .map_err(|error| JudgeError::UnreadableEngine(error.to_string()))
}

fn json(config: &FeatureConfig) -> String {
    serde_json::to_string(config).unwrap_or_default()
}

/// The kind of a detector, with the members of a consensus.
fn kind(detector: &Detector) -> Value {
    match detector {
        Detector::Consensus(consensus) => {
            let members = consensus.members();
            let members: Vec<Value> = members
                .map(|(name, member)| json!({ "name": name, "detector": member.name() }))
                .collect();
            json!({
                "detector": detector.name(),
                "vote_threshold": consensus.vote_limit(),
                "members": members,
            })
        }
        _ => json!({ "detector": detector.name(), "own_limit": detector.own_limit() }),
    }
}

/// What a native model says of itself.
#[must_use]
pub fn describe(model: &Model) -> Value {
    let parameters = match &model.detectors {
        DetectorSet::Global(detector) => json!({ "scope": "global", "all": kind(detector) }),
        DetectorSet::PerSymbol {
            by_symbol,
            fallback,
        } => json!({
            "scope": "per_symbol",
            "symbols": by_symbol.iter().map(|(symbol, d)| (symbol, kind(d))).collect::<BTreeMap<_, _>>(),
            "others": fallback.as_ref().map(kind),
        }),
        DetectorSet::External(_) => json!({ "scope": "global", "all": { "detector": "onnx" } }),
    };
    let calibrators = &model.calibrators;
    let by_symbol: BTreeMap<&String, u64> = calibrators
        .by_symbol
        .iter()
        .map(|(symbol, calibrator)| (symbol, calibrator.n_scores()))
        .collect();
    let columns = model.feature_names.iter().zip(&model.baseline.features);
    let training: BTreeMap<&String, Value> = columns
        .map(|(name, column)| {
            let at = |percent: usize| column.quantiles.get(percent);
            let summary = json!({
                "mean": column.mean, "sd": column.sd,
                "min": at(0), "p1": at(1), "median": at(50), "p99": at(99), "max": at(100),
            });
            (name, summary)
        })
        .collect();
    json!({
        "format": "foreshock",
        "parameters": parameters,
        "threshold": model.threshold,
        "calibration": {
            "rows": calibrators.pooled.n_scores(),
            "tail_shape": calibrators.pooled.shape(),
            "rows_by_symbol": by_symbol,
        },
        "features": model.engine,
        "training": {
            "rows": model.baseline.n_rows,
            "columns": training,
            "metadata": model.metadata,
        },
        "golden_rows": model.golden.rows().len(),
    })
}

fn refused(error: impl std::fmt::Display) -> JudgeError {
    JudgeError::Row(error.to_string())
}

impl Judge for NativeJudge {
    fn model(&self) -> &ModelId {
        &self.id
    }

    fn features(&self) -> &[Feature] {
        &self.features
    }

    fn threshold(&self) -> f64 {
        self.model.threshold.neg_log10_tail
    }

    fn score(
        &self,
        symbols: &[Arc<str>],
        rows: ArrayView2<'_, f64>,
        out: &mut Vec<Result<Score, JudgeError>>,
    ) {
        let one = |symbol: &Arc<str>, row: &[f64]| {
            let score = self.model.score_one(symbol, row).map_err(refused)?;
            Ok(Score {
                raw: score.raw,
                score: score.neg_log10_tail,
                flagged: score.flagged,
            })
        };
        if let DetectorSet::Global(detector) = &self.model.detectors
            && rows.nrows() > 1
        {
            let mut raw = vec![0.0; rows.nrows()];
            if detector.score_into(rows, &mut raw).is_ok() {
                out.extend(symbols.iter().zip(raw).map(|(symbol, raw)| {
                    let score = self.model.calibrators.get(symbol).neg_log10_tail(raw);
                    Ok(Score {
                        raw,
                        score,
                        flagged: self.model.threshold.is_flagged(score),
                    })
                }));
                return;
            }
            // One of them is refused: each for itself then.
        }
        out.extend(
            symbols
                .iter()
                .zip(rows.rows())
                .map(|(symbol, row)| match row.as_slice() {
                    Some(row) => one(symbol, row),
                    None => one(symbol, &row.to_vec()),
                }),
        );
    }

    fn votes(&self, symbol: &str, row: &[f64], score: &Score) -> Result<Vec<Vote>, JudgeError> {
        let detector = self.detector(symbol)?;
        let Detector::Consensus(consensus) = detector else {
            return Ok(vec![Vote {
                detector: detector.name().to_owned(),
                score: score.score,
                threshold: self.threshold(),
                flag: score.flagged,
            }]);
        };
        let votes = consensus.votes(row).map_err(refused)?;
        Ok(votes
            .into_iter()
            .map(|vote| Vote {
                detector: vote.member.to_owned(),
                score: vote.neg_log10_tail,
                threshold: consensus.vote_limit(),
                flag: vote.flagged,
            })
            .collect())
    }

    fn describe(&self) -> Value {
        describe(&self.model)
    }

    fn shares(&self, symbol: &str, row: &[f64]) -> Result<Vec<f64>, JudgeError> {
        self.detector(symbol)?.shares(row).map_err(refused)
    }

    fn drift_baseline(&self) -> Option<&Arc<DriftBaseline>> {
        self.model.baseline.drift.as_ref()
    }
}
