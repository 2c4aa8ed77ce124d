//! A metric that may be undefined, and its interval.

use serde::{Deserialize, Serialize};

/// A metric's value, or why there is none: never NaN, never a silent 0.
///
/// As JSON a number, or `{"undefined": "reason"}`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Metric {
    /// A finite number.
    Value(f64),
    /// No value exists.
    Undefined {
        /// Why, in a few words.
        #[serde(rename = "undefined")]
        reason: String,
    },
}

impl Metric {
    pub(crate) fn undefined(reason: &str) -> Self {
        Self::Undefined {
            reason: reason.to_owned(),
        }
    }

    /// `part` / `whole`, undefined for `reason` where `whole` is 0.
    pub(crate) fn ratio(part: f64, whole: f64, reason: &str) -> Self {
        if whole > 0.0 {
            Self::Value(part / whole)
        } else {
            Self::undefined(reason)
        }
    }

    /// The number, if there is one.
    #[must_use]
    pub fn value(&self) -> Option<f64> {
        match self {
            Self::Value(value) => Some(*value),
            Self::Undefined { .. } => None,
        }
    }

    /// The reason, if there is no number.
    #[must_use]
    pub fn reason(&self) -> Option<&str> {
        match self {
            Self::Value(_) => None,
            Self::Undefined { reason } => Some(reason),
        }
    }
}

impl std::fmt::Display for Metric {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Value(value) => value.fmt(f),
            Self::Undefined { reason } => write!(f, "undefined ({reason})"),
        }
    }
}

/// A bootstrap percentile interval, or why there is none. Shares that are 0 or 1 have it widened by the
/// exact binomial interval: resamples of all, or of none, can't vary.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Interval {
    /// The interval.
    Bounds {
        /// Lower end.
        low: f64,
        /// Upper end.
        high: f64,
        /// Resamples in which the metric was defined; the ends are their quantiles, or wider.
        n_resamples: usize,
    },
    /// No interval exists.
    Undefined {
        /// Why, in a few words.
        #[serde(rename = "undefined")]
        reason: String,
    },
}

impl Interval {
    /// Lower and upper end, if there is an interval.
    #[must_use]
    pub fn bounds(&self) -> Option<(f64, f64)> {
        match self {
            Self::Bounds { low, high, .. } => Some((*low, *high)),
            Self::Undefined { .. } => None,
        }
    }
}
