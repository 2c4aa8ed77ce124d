//! Alerts and feature rows as they stand in Kafka: JSON values, keyed by symbol.

use std::sync::Arc;

use detectors::drift::{Action, Direction, DriftVerdict};
use market::{Feature, FeatureRow};
use serde::ser::SerializeMap as _;
use serde::{Deserialize, Serialize, Serializer};

use crate::ids::id_of;
use crate::judge::{ModelId, Score, Vote};

/// How much an alert matters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "UPPERCASE")]
pub enum Severity {
    /// A warning.
    Low,
    /// Confirmed: two votes, or what ordinary data do once a day or less often.
    Medium,
    /// Three votes or more, or what ordinary data do once a month or less often.
    High,
}

impl Severity {
    /// `LOW`, `MEDIUM` or `HIGH`.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Low => "LOW",
            Self::Medium => "MEDIUM",
            Self::High => "HIGH",
        }
    }
}

/// What one feature has to do with a score.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Contribution {
    /// Its name.
    pub feature: String,
    /// Its value in the row.
    pub value: f64,
    /// Its share in the score, 0 to 1.
    pub share: f64,
}

/// An alert's value in `alerts`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Alert {
    /// Its id: the same for the same symbol, candle and version of a model.
    pub alert_id: String,
    /// The id of the alert that opened the incident; its own where it opens one.
    pub incident_id: String,
    /// 1 for the alert that opens the incident, then one more each.
    pub sequence: u64,
    /// The symbol; the record's key as well.
    pub symbol: String,
    /// When the candle opened, µs since the epoch.
    pub event_time: i64,
    /// The candle's length, such as `1m`.
    pub interval: String,
    /// Whether the candle was still open: an early warning.
    pub early: bool,
    /// −log₁₀ tail probability.
    pub score: f64,
    /// As the detector gives it.
    pub raw_score: f64,
    /// Beyond which a row is flagged.
    pub threshold: f64,
    /// How much it matters.
    pub severity: Severity,
    /// The same from 0 to 100: how seldom ordinary data score so.
    pub severity_score: f64,
    /// What each detector says.
    pub votes: Vec<Vote>,
    /// What each feature has to do with it, the largest share first.
    pub contributions: Vec<Contribution>,
    /// Which model says so.
    pub model: ModelId,
    /// Which limits voted beside it, if any.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub limits: Option<String>,
    /// The kind of the labelled event that the candle belongs to, if it does.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub label: Option<String>,
}

/// A verdict's value in `drift`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Drift {
    /// Its id: the same for the same window of the same partition and version of a model.
    pub id: String,
    /// The model whose baseline this is about.
    pub model: ModelId,
    /// The partition of what is read whose rows it is about.
    pub partition: i32,
    /// As `until`.
    pub event_time: i64,
    /// `alert_rate`, `score_location`, `score_spread`, `feature_location` or `feature_spread`.
    pub statistic: String,
    /// The feature, where it is about one.
    pub feature: Option<String>,
    /// By the rule, in standard deviations of the reference's windows.
    pub value: f64,
    /// Beyond which it is raised.
    pub limit: f64,
    /// Rows of a window.
    pub window: u64,
    /// `two_of_three` or `accumulated`.
    pub rule: String,
    /// Event time of the first row of the first window that counts towards it, µs since the epoch.
    pub since: i64,
    /// Event time of the last row of the window that decided.
    pub until: i64,
    /// Where to.
    pub direction: Direction,
    /// By how much the last window differs from what was expected.
    pub shift: f64,
    /// What should be done.
    pub action: Action,
    /// Since when a new training would be asked for but for the one asked for lately.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub held_until: Option<i64>,
}

impl Drift {
    /// What a partition's monitor says of a model at its `windows`th window.
    pub(crate) fn new(
        model: &ModelId,
        partition: i32,
        windows: u64,
        verdict: DriftVerdict,
    ) -> Self {
        let action = match verdict.action {
            Action::Retrain => "retrain",
            Action::Warn => "warn",
            Action::Clear => "clear",
        };
        let feature = verdict.feature.as_deref().unwrap_or_default();
        let words = [
            &model.name,
            &model.version,
            verdict.statistic.as_str(),
            feature,
            &verdict.rule,
            action,
        ];
        // Several windows may end at one moment.
        let numbers = [
            i64::from(partition),
            verdict.window.cast_signed(),
            verdict.until,
            windows.cast_signed(),
        ];
        Self {
            id: id_of(&words, &numbers),
            model: model.clone(),
            partition,
            event_time: verdict.until,
            statistic: verdict.statistic,
            feature: verdict.feature,
            value: verdict.value,
            limit: verdict.limit,
            window: verdict.window,
            rule: verdict.rule,
            since: verdict.since,
            until: verdict.until,
            direction: verdict.direction,
            shift: verdict.shift,
            action: verdict.action,
            held_until: verdict.held_until,
        }
    }
}

/// A scored row's value in `features`.
#[derive(Debug, Serialize)]
pub(crate) struct ScoredRow<'a> {
    pub(crate) symbol: &'a str,
    pub(crate) interval: &'a str,
    pub(crate) open_time: i64,
    /// Whether the interval had no trade.
    pub(crate) filled: bool,
    pub(crate) close: f64,
    pub(crate) volume: f64,
    pub(crate) features: Features<'a>,
    #[serde(flatten)]
    pub(crate) verdict: Option<Verdict<'a>>,
    /// Why it has no score, where it could have one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) error: Option<String>,
    /// What tells how the features were computed.
    pub(crate) engine: &'a str,
    pub(crate) model: &'a ModelId,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) limits: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) label: Option<&'a str>,
}

/// What a model says of a row; absent while its windows aren't full.
#[derive(Debug, Serialize)]
pub(crate) struct Verdict<'a> {
    pub(crate) score: f64,
    pub(crate) raw_score: f64,
    pub(crate) threshold: f64,
    pub(crate) flagged: bool,
    pub(crate) votes: &'a [Vote],
}

impl<'a> Verdict<'a> {
    pub(crate) fn new(score: &Score, threshold: f64, votes: &'a [Vote]) -> Self {
        Self {
            score: score.score,
            raw_score: score.raw,
            threshold,
            flagged: score.flagged,
            votes,
        }
    }
}

/// The values of a row's warm features, by name.
#[derive(Debug)]
pub(crate) struct Features<'a>(pub(crate) &'a FeatureRow);

impl Serialize for Features<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(None)?;
        for feature in Feature::ALL {
            if self.0.warm.contains(feature) {
                map.serialize_entry(feature.name(), &self.0.value(feature))?;
            }
        }
        map.end()
    }
}

/// The shares of features as contributions, the largest first; equal ones in the model's order. `values` and `shares` are
/// in the order of `features`.
#[must_use]
pub fn contributions(features: &[Feature], values: &[f64], shares: &[f64]) -> Vec<Contribution> {
    let mut all: Vec<Contribution> = features
        .iter()
        .zip(values)
        .zip(shares)
        .map(|((feature, value), share)| Contribution {
            feature: feature.name().to_owned(),
            value: *value,
            share: *share,
        })
        .collect();
    all.sort_by(|left, right| right.share.total_cmp(&left.share));
    all
}

/// A row that waits to be judged.
#[derive(Debug)]
pub(crate) struct Pending {
    pub(crate) symbol: Arc<str>,
    pub(crate) row: FeatureRow,
    pub(crate) label: Option<Box<str>>,
    pub(crate) is_open: bool,
}
