//! Rows of the `features` topic, as they are archived.

use std::collections::BTreeMap;

use market::Feature;
use serde::Deserialize;
use streaming::ModelId;

/// A row as the topic has it.
#[derive(Debug, Clone, PartialEq, Deserialize)]
pub(super) struct Row {
    pub(super) symbol: String,
    pub(super) interval: String,
    pub(super) open_time: i64,
    pub(super) filled: bool,
    pub(super) close: f64,
    pub(super) volume: f64,
    /// Those whose windows are full.
    #[serde(deserialize_with = "features")]
    pub(super) features: [Option<f64>; Feature::COUNT],
    pub(super) score: Option<f64>,
    pub(super) raw_score: Option<f64>,
    pub(super) threshold: Option<f64>,
    pub(super) flagged: Option<bool>,
    pub(super) error: Option<String>,
    /// What tells how its features were computed; absent in rows of versions before this one.
    pub(super) engine: Option<String>,
    pub(super) model: ModelId,
    pub(super) label: Option<String>,
}

fn features<'de, D: serde::Deserializer<'de>>(
    deserializer: D,
) -> Result<[Option<f64>; Feature::COUNT], D::Error> {
    let mut named: BTreeMap<String, Option<f64>> = BTreeMap::deserialize(deserializer)?;
    Ok(Feature::ALL.map(|feature| named.remove(feature.name()).flatten()))
}

/// What is written of a row that has a score.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Scored {
    pub(super) score: f64,
    pub(super) raw_score: f64,
    pub(super) threshold: f64,
    pub(super) flagged: bool,
}

impl Row {
    /// Its score, where it has one.
    pub(super) fn scored(&self) -> Option<Scored> {
        Some(Scored {
            score: self.score?,
            raw_score: self.raw_score?,
            threshold: self.threshold?,
            flagged: self.flagged?,
        })
    }

    /// The day of its candle, in UTC.
    pub(super) fn date(&self) -> String {
        match jiff::Timestamp::from_microsecond(self.open_time) {
            Ok(time) => time.strftime("%Y-%m-%d").to_string(),
            // Further away than calendars go.
            Err(_) => "unknown".to_owned(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_are_read_with_and_without_a_score() {
        let text = r#"{"symbol":"S","interval":"1m","open_time":1514764860000000,"filled":false,
            "close":1.5,"volume":2.0,"features":{"return":0.5},"score":3.0,"raw_score":0.7,
            "threshold":2.0,"flagged":true,"votes":[],"model":{"name":"m","version":"3","run_id":"r"}}"#;
        let row: Row = serde_json::from_str(text).unwrap();
        assert_eq!(row.features.iter().flatten().count(), 1);
        assert_eq!(row.scored().map(|scored| scored.flagged), Some(true));
        assert_eq!(row.date(), "2018-01-01");
        let cold = r#"{"symbol":"S","interval":"1m","open_time":0,"filled":true,"close":1.5,"volume":0,
            "features":{},"model":{"name":"m","version":"3","run_id":""},"label":"pump"}"#;
        let row: Row = serde_json::from_str(cold).unwrap();
        assert_eq!((row.scored(), row.label.as_deref()), (None, Some("pump")));
    }
}
