//! Rows of the history.

use market::WireCandle;

/// An alert.
#[derive(Debug, Clone, PartialEq)]
pub struct AlertRow {
    /// Its id.
    pub alert_id: String,
    /// When the candle opened, µs since the epoch.
    pub event_time: i64,
    /// The symbol.
    pub symbol: String,
    /// The candle's length, such as `1m`.
    pub interval: String,
    /// `HIGH`, `MEDIUM` or `LOW`.
    pub severity: String,
    /// Its score.
    pub score: f64,
    /// The model's name.
    pub model: String,
    /// The model's version.
    pub version: String,
    /// The id of the alert that opened the incident.
    pub incident_id: Option<String>,
    /// The kind of the labelled event, if it belongs to one.
    pub label: Option<String>,
    /// The alert as it was published: a JSON object.
    pub record: String,
}

/// A verdict of the drift detector.
#[derive(Debug, Clone, PartialEq)]
pub struct DriftRow {
    /// Its id, or a digest of the verdict.
    pub verdict_id: String,
    /// When it was decided, µs since the epoch.
    pub event_time: i64,
    /// The model's name.
    pub model: String,
    /// The model's version.
    pub version: Option<String>,
    /// What is measured.
    pub statistic: String,
    /// The feature that is measured.
    pub feature: Option<String>,
    /// The symbol.
    pub symbol: Option<String>,
    /// What should be done.
    pub action: Option<String>,
    /// The verdict as it was published: a JSON object.
    pub record: String,
}

/// A row of features, with its score.
#[derive(Debug, Clone, PartialEq)]
pub struct ScoreRow {
    /// The symbol.
    pub symbol: String,
    /// When the candle opened, µs since the epoch.
    pub event_time: i64,
    /// The candle's length, such as `1m`.
    pub interval: String,
    /// The model's name.
    pub model: String,
    /// The model's version.
    pub version: String,
    /// Its score; absent while the windows of its features weren't full.
    pub score: Option<f64>,
    /// Whether the score is beyond the threshold.
    pub flagged: Option<bool>,
    /// The kind of the labelled event, if it belongs to one.
    pub label: Option<String>,
    /// The row as it was published: a JSON object.
    pub record: String,
}

/// Rows of all kinds.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct HistoryRows {
    /// Alerts.
    pub alerts: Vec<AlertRow>,
    /// Verdicts of the drift detector.
    pub drift: Vec<DriftRow>,
    /// Candles.
    pub candles: Vec<WireCandle>,
    /// Scores.
    pub scores: Vec<ScoreRow>,
}

impl HistoryRows {
    /// How many there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.alerts.len() + self.drift.len() + self.candles.len() + self.scores.len()
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Takes the later half, by kinds first.
    #[must_use]
    pub fn split_half(&mut self) -> Self {
        let mut keep = self.len() / 2;
        let mut rest = Self::default();
        fn cut<T>(from: &mut Vec<T>, keep: &mut usize) -> Vec<T> {
            let here = from.len().min(*keep);
            *keep -= here;
            from.split_off(here)
        }
        rest.alerts = cut(&mut self.alerts, &mut keep);
        rest.drift = cut(&mut self.drift, &mut keep);
        rest.candles = cut(&mut self.candles, &mut keep);
        rest.scores = cut(&mut self.scores, &mut keep);
        rest
    }
}
