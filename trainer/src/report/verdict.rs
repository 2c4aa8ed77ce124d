//! The result in one sentence, the same in the report and on the terminal.

use serde::Serialize;

/// What a run found.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    /// Data with labelled events.
    Events {
        /// Labelled events in the test range.
        events: u64,
        /// Those with at least one alert.
        caught: u64,
        /// Whether the events were injected (else they are real).
        injected: bool,
        /// Confidence interval of `caught / events`: low and high, in 0..=1.
        interval: Option<(f64, f64)>,
        /// Level of that interval, such as 0.95.
        level: f64,
        /// False alerts per symbol and day.
        false_alerts: Option<f64>,
        /// Name of the baseline and the events that it caught with the same alert budget.
        baseline: Option<(String, u64)>,
    },
    /// A plain table with labelled rows.
    Rows {
        /// Rows scored.
        rows: u64,
        /// Those labelled anomalous.
        anomalous: u64,
        /// Area under the ROC curve.
        roc_auc: Option<f64>,
        /// Average precision.
        average_precision: Option<f64>,
        /// Name of the baseline and its average precision.
        baseline: Option<(String, f64)>,
    },
    /// No label to judge by.
    Unlabelled {
        /// Rows scored.
        rows: u64,
        /// Alerts.
        alerts: u64,
        /// Alerts per symbol and day, for data with time.
        per_symbol_day: Option<f64>,
    },
    /// Words of the caller's own.
    Text(String),
}

impl Default for Verdict {
    fn default() -> Self {
        Self::Text(String::new())
    }
}
