//! Judging by a graph that others made.

use std::sync::Arc;

use detectors::{DetectorSet, DriftBaseline, GoldenError, Model};
use market::{Feature, ValidFeatureConfig};
use ndarray::ArrayView2;
use onnx_runtime::{FILE_KEY, INPUTS_KEY, ScoreRule, ScoringModel, Signature};
use streaming::judge::{check_engine, describe, features_of};
use streaming::{Judge, JudgeError, ModelId, Score, Vote};
use thiserror::Error;

/// A graph that can't be used.
#[derive(Debug, Error)]
pub enum GraphError {
    /// It is another file than the one that was calibrated.
    #[error("the graph `{0}` is not the file that the model was calibrated with")]
    OtherFile(String),
    /// The native file does not say what the graph takes.
    #[error("the native file has no `{0}`: it was not written by `trainer evaluate --register`")]
    Incomplete(&'static str),
    /// It is refused.
    #[error(transparent)]
    Graph(#[from] onnx_runtime::Error),
}

/// A graph with what validation data made of its scores.
#[derive(Debug)]
pub(super) struct Graph {
    model: Model,
    graph: ScoringModel,
}

/// What the graph's file is called, where `model` stands for one.
pub(super) fn file_of(model: &Model) -> Option<Result<&str, GraphError>> {
    matches!(model.detectors, DetectorSet::External(_)).then(|| said(model, FILE_KEY))
}

fn said<'a>(model: &'a Model, key: &'static str) -> Result<&'a str, GraphError> {
    let value = model.metadata.get(key).map(String::as_str);
    value.ok_or(GraphError::Incomplete(key))
}

impl Graph {
    /// Puts `model` and the content of its graph's file together.
    ///
    /// # Errors
    /// A file that is not the one that was calibrated, or a graph that can't be run.
    pub(super) fn new(model: Model, content: &[u8]) -> Result<Self, GraphError> {
        let name = said(&model, FILE_KEY)?;
        match &model.detectors {
            DetectorSet::External(external) if external.is(content) => {}
            _ => return Err(GraphError::OtherFile(name.to_owned())),
        }
        let signature = Signature::from_json(said(&model, INPUTS_KEY)?)?;
        let rule = ScoreRule::from_keys(|key| model.metadata.get(key).map(String::as_str))?;
        let graph = ScoringModel::load(content, &signature, &rule)?;
        Ok(Self { model, graph })
    }

    /// Checks that it scores as it did when it was calibrated.
    ///
    /// # Errors
    /// The first golden row that scores otherwise.
    pub(super) fn verify(&self) -> Result<(), GoldenError> {
        self.model.verify_external(|_, row| {
            let raw = self.graph.score_one(row);
            raw.map_err(|error| error.to_string())
        })
    }

    /// The model that stands for it.
    #[must_use]
    pub(super) fn model(&self) -> &Model {
        &self.model
    }
}

/// Judges by a [`Graph`].
#[derive(Debug)]
pub(super) struct GraphJudge {
    id: ModelId,
    features: Vec<Feature>,
    inner: Graph,
}

impl GraphJudge {
    /// Makes a judge of a graph whose features this engine computes.
    ///
    /// # Errors
    /// Features that the engine doesn't know, or computes in another way than those that it was calibrated on.
    pub(super) fn new(
        id: ModelId,
        inner: Graph,
        computed: &ValidFeatureConfig,
    ) -> Result<Self, JudgeError> {
        check_engine(&inner.model, computed)?;
        Ok(Self {
            id,
            features: features_of(&inner.model.feature_names)?,
            inner,
        })
    }

    fn raw(&self, row: &[f64]) -> Result<f64, JudgeError> {
        // What doesn't fit in single precision is an infinity to most graphs.
        if let Some(at) = row.iter().position(|value| !value.is_finite()) {
            let name = &self.inner.model.feature_names[at];
            return Err(JudgeError::Row(format!("`{name}` is {}", row[at])));
        }
        let raw = self.inner.graph.score_one(row);
        raw.map_err(|error| JudgeError::Row(error.to_string()))
    }
}

impl Judge for GraphJudge {
    fn model(&self) -> &ModelId {
        &self.id
    }

    fn features(&self) -> &[Feature] {
        &self.features
    }

    fn threshold(&self) -> f64 {
        self.inner.model.threshold.neg_log10_tail
    }

    /// Row by row: what runs graphs adds up in another order where there are more rows, and what is scored again after
    /// a crash may come in other company.
    fn score(
        &self,
        symbols: &[Arc<str>],
        rows: ArrayView2<'_, f64>,
        out: &mut Vec<Result<Score, JudgeError>>,
    ) {
        out.extend(symbols.iter().zip(rows.rows()).map(|(symbol, row)| {
            let raw = match row.as_slice() {
                Some(row) => self.raw(row)?,
                None => self.raw(&row.to_vec())?,
            };
            let score = self.inner.model.verdict(symbol, raw);
            Ok(Score {
                raw,
                score: score.neg_log10_tail,
                flagged: score.flagged,
            })
        }));
    }

    fn votes(&self, _: &str, _: &[f64], score: &Score) -> Result<Vec<Vote>, JudgeError> {
        Ok(vec![Vote {
            detector: "onnx".to_owned(),
            score: score.score,
            threshold: self.threshold(),
            flag: score.flagged,
        }])
    }

    fn drift_baseline(&self) -> Option<&Arc<DriftBaseline>> {
        self.inner.model.baseline.drift.as_ref()
    }

    fn describe(&self) -> serde_json::Value {
        describe(&self.inner.model)
    }

    /// How much lower the raw score is where a feature has its median of ordinary rows instead, of all such drops: the
    /// graph itself does not say.
    fn shares(&self, _: &str, row: &[f64]) -> Result<Vec<f64>, JudgeError> {
        let whole = self.raw(row)?;
        let mut other = row.to_vec();
        let mut drops = Vec::with_capacity(row.len());
        for (at, feature) in self.inner.model.baseline.features.iter().enumerate() {
            let median = feature.quantiles.get(feature.quantiles.len() / 2);
            let Some((slot, median)) = other.get_mut(at).zip(median) else {
                break;
            };
            let own = std::mem::replace(slot, *median);
            drops.push((whole - self.raw(&other)?).max(0.0));
            other[at] = own;
        }
        let sum: f64 = drops.iter().sum();
        if sum > 0.0 && sum.is_finite() {
            drops.iter_mut().for_each(|drop| *drop /= sum);
        } else {
            drops.iter_mut().for_each(|drop| *drop = 0.0);
        }
        Ok(drops)
    }
}
