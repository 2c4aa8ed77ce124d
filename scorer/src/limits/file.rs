//! The file.

use std::path::Path;

use detectors::FormatError;
use detectors::statistics::{CandleStatistics, WindowStatistics};
use serde_json::{Map, Value};
use thiserror::Error;

/// Limits that can't be used.
#[derive(Debug, Error)]
pub enum LimitsError {
    /// The file can't be read.
    #[error("the limits `{path}` can't be read")]
    Io {
        /// The file.
        path: String,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// It isn't JSON.
    #[error("the limits are no JSON")]
    Json(#[from] serde_json::Error),
    /// Its statistics make no sense.
    #[error("`{key}` makes no sense")]
    Statistics {
        /// Where they stand.
        key: &'static str,
        /// The key within them, and why.
        #[source]
        source: FormatError,
    },
    /// Something else makes no sense.
    #[error("{0}")]
    Content(String),
    /// They speak of features that the model doesn't look at.
    #[error("they don't fit the model")]
    Model(#[from] detectors::Error),
}

/// What a file says.
#[derive(Debug, Clone, PartialEq)]
pub struct Limits {
    /// z-scores of single candles.
    pub candle_z: Option<CandleStatistics>,
    /// Windows.
    pub sliding_window: Option<WindowStatistics>,
    /// How many of the model and these must vote for an anomaly; `None`: the model alone decides.
    pub votes: Option<usize>,
    /// Tells them from others.
    pub digest: String,
}

const CANDLE: &str = "candle_z";
const WINDOW: &str = "sliding_window";
const VOTES: &str = "votes";

impl Limits {
    /// Reads a file.
    ///
    /// # Errors
    /// It can't be read, and all that [`parse`](Self::parse) refuses.
    pub fn read(path: &Path) -> Result<Self, LimitsError> {
        let text = std::fs::read_to_string(path).map_err(|source| LimitsError::Io {
            path: path.display().to_string(),
            source,
        })?;
        Self::parse(&text)
    }

    /// Reads `{"candle_z": …, "sliding_window": …, "votes": …}`, at least one of them; statistics are as `statistics.json`
    /// of a training has them, which may also stand alone.
    ///
    /// # Errors
    /// The first thing in it that makes no sense, by its key.
    pub fn parse(text: &str) -> Result<Self, LimitsError> {
        let Value::Object(mut object) = serde_json::from_str(text)? else {
            return Err(LimitsError::Content("an object is needed".to_owned()));
        };
        if let Some(format) = object.get("format") {
            let key = match format.as_str() {
                Some(format) if format.contains("window") => WINDOW,
                _ => CANDLE,
            };
            object = Map::from_iter([(key.to_owned(), Value::Object(object))]);
        }
        let candle_z = object
            .remove(CANDLE)
            .map(|value| CandleStatistics::from_json(&value.to_string()))
            .transpose()
            .map_err(|source| LimitsError::Statistics {
                key: CANDLE,
                source,
            })?;
        let sliding_window = object
            .remove(WINDOW)
            .map(|value| WindowStatistics::from_json(&value.to_string()))
            .transpose()
            .map_err(|source| LimitsError::Statistics {
                key: WINDOW,
                source,
            })?;
        let n_voters = 1 + usize::from(candle_z.is_some()) + usize::from(sliding_window.is_some());
        let votes = match object.remove(VOTES) {
            None => None,
            Some(value) => {
                let votes = value.as_u64().and_then(|votes| usize::try_from(votes).ok());
                let votes = votes.filter(|votes| (1..=n_voters).contains(votes));
                Some(votes.ok_or_else(|| {
                    LimitsError::Content(format!(
                        "`votes` is {value}, expected 1 to {n_voters}: the model and what the file says"
                    ))
                })?)
            }
        };
        if let Some(key) = object.keys().next() {
            return Err(LimitsError::Content(format!("`{key}` is not known")));
        }
        if n_voters == 1 {
            return Err(LimitsError::Content(format!(
                "neither `{CANDLE}` nor `{WINDOW}` is there"
            )));
        }
        let words = [
            candle_z.as_ref().map(CandleStatistics::to_json),
            sliding_window.as_ref().map(WindowStatistics::to_json),
            votes.map(|votes| votes.to_string()),
        ];
        Ok(Self {
            candle_z,
            sliding_window,
            votes,
            digest: streaming::digest(&words.map(Option::unwrap_or_default)),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const CANDLES: &str = r#"{"format":"foreshock-candle-statistics","version":1,"n_rows":10,
        "features":{"price_range":{"mean":0.01,"sd":0.01,"limit":3.0}}}"#;

    #[test]
    fn statistics_alone_or_together_are_read_and_told_apart() {
        let alone = Limits::parse(CANDLES).unwrap();
        assert_eq!((alone.candle_z.is_some(), alone.votes), (true, None));
        let together = Limits::parse(&format!(r#"{{"candle_z":{CANDLES}}}"#)).unwrap();
        assert_eq!(alone, together);
        let voted = Limits::parse(&format!(r#"{{"candle_z":{CANDLES},"votes":2}}"#)).unwrap();
        assert_eq!(voted.votes, Some(2));
        assert_ne!(voted.digest, alone.digest);
        let higher = Limits::parse(&CANDLES.replace("3.0", "4.0")).unwrap();
        assert_ne!(higher.digest, alone.digest);
    }

    #[test]
    fn what_makes_no_sense_is_refused_by_its_key() {
        let chain = |text: &str| {
            let error = Limits::parse(text).unwrap_err();
            crate::model::causes(&error)
        };
        for (text, expected) in [
            ("{".to_owned(), "no JSON"),
            ("[]".to_owned(), "an object is needed"),
            ("{}".to_owned(), "neither `candle_z`"),
            (CANDLES.replace("3.0", "-1"), "features.price_range.limit"),
            (format!(r#"{{"candle_z":{CANDLES},"votes":3}}"#), "`votes`"),
            (
                format!(r#"{{"candle_z":{CANDLES},"vote":1}}"#),
                "`vote` is not known",
            ),
            (
                r#"{"sliding_window":{"format":"x"}}"#.to_owned(),
                "`sliding_window`",
            ),
        ] {
            let found = chain(&text);
            assert!(found.contains(expected), "{found} / {expected}");
        }
    }
}
