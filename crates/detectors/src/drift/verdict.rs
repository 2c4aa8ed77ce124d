//! What a monitor says.

use serde::{Deserialize, Serialize};

/// What should be done.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Action {
    /// The model no longer fits: train anew.
    Retrain,
    /// Somebody should look; nothing starts by itself.
    Warn,
    /// What was raised is over.
    Clear,
}

/// Where to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Direction {
    /// Above what the reference expects.
    Up,
    /// Below it.
    Down,
}

/// One verdict, as the topic `drift` carries it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DriftVerdict {
    /// The model whose baseline this is about, as its monitor was told.
    pub model: String,
    /// `alert_rate`, `score_location`, `score_spread`, `feature_location` or `feature_spread`.
    pub statistic: String,
    /// The feature, where it is about one.
    pub feature: Option<String>,
    /// By the rule: the weaker of the two windows that passed the limit, or the sum, in standard deviations of windows
    /// of the reference; of a verdict that clears, the largest of the last window.
    pub value: f64,
    /// The limit.
    pub limit: f64,
    /// Rows of a window.
    pub window: u64,
    /// `two_of_three`: two of the last three windows are beyond the limit, on one side; `accumulated`: the
    /// sum over windows of what exceeds one standard deviation is.
    pub rule: String,
    /// Event time of the first row of the first window that counts towards it, µs since the epoch.
    pub since: i64,
    /// Event time of the last row of the window that decided.
    pub until: i64,
    /// Where to.
    pub direction: Direction,
    /// By how much the share of alerts, or the mean normal score of the ranks (0 in the
    /// reference, where its standard deviation is 1), differs in the last window from what was expected.
    pub shift: f64,
    /// What should be done.
    pub action: Action,
    /// Since when a new training would be asked for but for the one asked for lately.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub held_until: Option<i64>,
}
