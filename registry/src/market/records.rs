//! Records of the topics as rows.
//!
//! Only what a row is found by must be there; the rest of a record is kept as it came.

use std::collections::BTreeMap;

use market::{Topic, WireCandle};
use serde::Deserialize;
use serde_json::Value;
use sha2::{Digest, Sha256};

use crate::store::{AlertRow, DriftRow, HistoryRows, ScoreRow};

/// Why a record is passed over.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{reason}: {detail}")]
pub(super) struct Bad {
    /// One of a few, for counting.
    pub(super) reason: &'static str,
    /// For the log.
    pub(super) detail: String,
}

/// What is no JSON object, or lacks a field.
pub(super) const UNREADABLE: &str = "unreadable";
/// A text that is no key.
pub(super) const NO_KEY: &str = "no_key";

/// A record that nobody would want a page of.
pub(super) const TOO_LARGE: &str = "too_large";

/// The largest record, in bytes; those of scorers have some thousands.
const LARGEST: usize = 256 * 1024;
/// The longest symbol, version or length of a candle, in bytes: what an index takes with ease.
const SHORT: usize = 100;
/// The longest id, name or label.
const LONG: usize = 400;

#[derive(Deserialize)]
struct Alert {
    alert_id: String,
    event_time: i64,
    symbol: String,
    interval: String,
    severity: String,
    score: f64,
    model: Model,
    #[serde(default)]
    incident_id: Option<String>,
    #[serde(default)]
    label: Option<String>,
}

#[derive(Deserialize)]
struct Scored {
    symbol: String,
    interval: String,
    open_time: i64,
    model: Model,
    #[serde(default)]
    score: Option<f64>,
    #[serde(default)]
    flagged: Option<bool>,
    #[serde(default)]
    label: Option<String>,
}

#[derive(Deserialize)]
struct Model {
    name: String,
    version: Version,
}

/// A version is a text; some write it as a number.
#[derive(Deserialize)]
#[serde(untagged)]
enum Version {
    Text(String),
    Number(u64),
}

impl Version {
    fn into_text(self) -> String {
        match self {
            Self::Text(text) => text,
            Self::Number(number) => number.to_string(),
        }
    }
}

/// Adds the row that a record is to `rows`.
///
/// # Errors
/// When it is none; then `rows` is as it was.
pub(super) fn read(topic: Topic, payload: &[u8], rows: &mut HistoryRows) -> Result<(), Bad> {
    if payload.len() > LARGEST {
        return Err(Bad {
            reason: TOO_LARGE,
            detail: format!(
                "it has {} bytes, and at most {LARGEST} are taken",
                payload.len()
            ),
        });
    }
    let text = std::str::from_utf8(payload)
        .map_err(|error| unreadable(error.to_string()))?
        .trim_ascii();
    // An array of the right length would do for serde.
    if !text.starts_with('{') {
        return Err(unreadable("it is no JSON object".to_owned()));
    }
    match topic {
        Topic::Alerts => rows.alerts.push(alert(text)?),
        Topic::Features => rows.scores.push(score(text)?),
        Topic::Drift => rows.drift.push(drift(text)?),
        Topic::Kline10s | Topic::Kline1m => rows.candles.push(candle(text)?),
        _ => return Err(unreadable(format!("topic `{topic}` is not followed"))),
    }
    Ok(())
}

fn alert(text: &str) -> Result<AlertRow, Bad> {
    let alert: Alert = parse(text)?;
    Ok(AlertRow {
        alert_id: key("alert_id", alert.alert_id, LONG)?,
        event_time: alert.event_time,
        symbol: key("symbol", alert.symbol, SHORT)?,
        interval: key("interval", alert.interval, SHORT)?,
        severity: key("severity", alert.severity, SHORT)?,
        score: alert.score,
        model: key("model.name", alert.model.name, LONG)?,
        version: key("model.version", alert.model.version.into_text(), SHORT)?,
        incident_id: optional("incident_id", alert.incident_id, LONG)?,
        label: optional("label", alert.label, LONG)?,
        record: text.to_owned(),
    })
}

fn score(text: &str) -> Result<ScoreRow, Bad> {
    let row: Scored = parse(text)?;
    Ok(ScoreRow {
        symbol: key("symbol", row.symbol, SHORT)?,
        event_time: row.open_time,
        interval: key("interval", row.interval, SHORT)?,
        model: key("model.name", row.model.name, LONG)?,
        version: key("model.version", row.model.version.into_text(), SHORT)?,
        score: row.score,
        flagged: row.flagged,
        label: optional("label", row.label, LONG)?,
        record: text.to_owned(),
    })
}

fn candle(text: &str) -> Result<WireCandle, Bad> {
    let mut candle: WireCandle = parse(text)?;
    candle.symbol = key("symbol", candle.symbol, SHORT)?;
    candle.interval = key("interval", candle.interval, SHORT)?;
    Ok(candle)
}

/// A verdict is read leniently: fields may come to it that are not known here.
fn drift(text: &str) -> Result<DriftRow, Bad> {
    let fields: BTreeMap<String, Value> = parse(text)?;
    let text_of = |name: &str, most| match fields.get(name) {
        Some(Value::String(text)) => optional(name, Some(text.clone()), most),
        None | Some(Value::Null) => Ok(None),
        Some(other) => Err(unreadable(format!("`{name}` is no text: {other}"))),
    };
    let needed = |name: &str, found: Option<String>| {
        found.ok_or_else(|| unreadable(format!("missing field `{name}`")))
    };
    let (model, version) = match fields.get("model") {
        Some(model @ Value::Object(_)) => {
            let model: Model = serde_json::from_value(model.clone())
                .map_err(|error| unreadable(format!("`model`: {error}")))?;
            let version = key("model.version", model.version.into_text(), SHORT)?;
            (key("model.name", model.name, LONG)?, Some(version))
        }
        _ => (
            needed("model", text_of("model", LONG)?)?,
            text_of("version", SHORT)?,
        ),
    };
    let event_time = ["event_time", "until", "since"]
        .iter()
        .find_map(|name| fields.get(*name)?.as_i64())
        .ok_or_else(|| unreadable("it has neither `event_time` nor `since`".to_owned()))?;
    let verdict_id = match text_of("id", LONG)? {
        Some(id) => id,
        None => digest(&fields)?,
    };
    Ok(DriftRow {
        verdict_id,
        event_time,
        model,
        version,
        statistic: needed("statistic", text_of("statistic", LONG)?)?,
        feature: text_of("feature", LONG)?,
        symbol: text_of("symbol", SHORT)?,
        action: text_of("action", SHORT)?,
        record: text.to_owned(),
    })
}

/// The same for the same fields, in whatever order and with whatever spaces they come.
fn digest(fields: &BTreeMap<String, Value>) -> Result<String, Bad> {
    let text = serde_json::to_vec(fields).map_err(|error| unreadable(error.to_string()))?;
    let digest = Sha256::digest(text);
    Ok(digest[..16]
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect())
}

fn parse<'t, T: Deserialize<'t>>(text: &'t str) -> Result<T, Bad> {
    serde_json::from_str(text).map_err(|error| unreadable(error.to_string()))
}

fn unreadable(detail: String) -> Bad {
    Bad {
        reason: UNREADABLE,
        detail,
    }
}

/// A text that rows are found by.
fn key(name: &str, text: String, most: usize) -> Result<String, Bad> {
    let why = if text.is_empty() {
        "it is empty".to_owned()
    } else if text.len() > most {
        format!("it has {} bytes, and at most {most} are taken", text.len())
    } else if text.contains('\0') {
        "it contains NUL".to_owned()
    } else {
        return Ok(text);
    };
    Err(Bad {
        reason: NO_KEY,
        detail: format!("`{name}`: {why}"),
    })
}

/// The same for one that may be absent; an empty one is.
fn optional(name: &str, text: Option<String>, most: usize) -> Result<Option<String>, Bad> {
    text.filter(|text| !text.is_empty())
        .map(|text| key(name, text, most))
        .transpose()
}

#[cfg(test)]
mod tests {
    use super::*;

    const ALERT: &str = r#"{"alert_id":"a1","incident_id":"a0","sequence":2,"symbol":"BTCUSDT",
        "event_time":1700000000000000,"interval":"1m","early":false,"score":4.5,"raw_score":0.7,
        "threshold":3.0,"severity":"HIGH","severity_score":90.0,"votes":[],"contributions":[],
        "model":{"name":"m","version":"3","run_id":"r"},"label":"pump"}"#;

    fn rows(topic: Topic, text: &str) -> Result<HistoryRows, Bad> {
        let mut rows = HistoryRows::default();
        read(topic, text.as_bytes(), &mut rows).map(|()| rows)
    }

    #[test]
    fn an_alert_keeps_what_it_was() {
        let rows = rows(Topic::Alerts, ALERT).unwrap();
        let row = &rows.alerts[0];
        assert_eq!(
            (
                row.alert_id.as_str(),
                row.version.as_str(),
                row.label.as_deref()
            ),
            ("a1", "3", Some("pump"))
        );
        assert_eq!(row.record, ALERT);
    }

    #[test]
    fn a_row_that_is_not_ready_has_no_score() {
        let text = r#"{"symbol":"S","interval":"1m","open_time":5,"filled":false,"close":1.0,
            "volume":2.0,"features":{},"model":{"name":"m","version":7,"run_id":""}}"#;
        let rows = rows(Topic::Features, text).unwrap();
        let row = &rows.scores[0];
        assert_eq!(
            (row.score, row.flagged, row.version.as_str()),
            (None, None, "7")
        );
    }

    #[test]
    fn a_verdict_without_an_id_has_one_of_its_fields() {
        let one = r#"{"model":"m","statistic":"score_location","feature":null,"value":1.5,
            "limit":1,"window":10,"since":7,"until":9,"action":"warn","rule":"x"}"#;
        let other_order = r#"{"rule":"x","action":"warn","until":9,"since":7,"window":10,"limit":1,
            "value":1.5,"feature":null,"statistic":"score_location","model":"m"}"#;
        let [a, b] =
            [one, other_order].map(|text| rows(Topic::Drift, text).unwrap().drift[0].clone());
        assert_eq!((a.verdict_id.len(), a.event_time), (32, 9));
        assert_eq!(a.verdict_id, b.verdict_id);
        let later = rows(Topic::Drift, &one.replace("\"until\":9", "\"until\":10")).unwrap();
        assert_ne!(a.verdict_id, later.drift[0].verdict_id);
        let named = r#"{"id":"v","event_time":1,"since":2,"model":{"name":"m","version":"2"},
            "statistic":"s"}"#;
        let named = rows(Topic::Drift, named).unwrap().drift[0].clone();
        assert_eq!(
            (
                named.verdict_id.as_str(),
                named.event_time,
                named.version.as_deref()
            ),
            ("v", 1, Some("2"))
        );
    }

    #[test]
    fn what_is_no_row_is_told_and_adds_nothing() {
        let long = ALERT.replace("\"a1\"", &format!("\"{}\"", "x".repeat(LONG + 1)));
        let large = ALERT.replace("\"a1\"", &format!("\"{}\"", "x".repeat(LARGEST)));
        let nul = ALERT.replace("\"a1\"", "\"a\\u00001\"");
        for (topic, text, reason, part) in [
            (Topic::Alerts, "", UNREADABLE, "no JSON object"),
            (Topic::Alerts, "[]", UNREADABLE, "no JSON object"),
            (Topic::Alerts, "{", UNREADABLE, "EOF"),
            (Topic::Alerts, "{}", UNREADABLE, "alert_id"),
            (Topic::Alerts, &long, NO_KEY, "alert_id"),
            (Topic::Alerts, &large, TOO_LARGE, "bytes"),
            (Topic::Alerts, &nul, NO_KEY, "NUL"),
            (Topic::Features, r#"{"symbol":"S"}"#, UNREADABLE, "interval"),
            (
                Topic::Drift,
                r#"{"model":"m","statistic":"s"}"#,
                UNREADABLE,
                "since",
            ),
            (
                Topic::Drift,
                r#"{"statistic":"s","since":1}"#,
                UNREADABLE,
                "model",
            ),
            (
                Topic::Kline1m,
                r#"{"symbol":"S","interval":"1m"}"#,
                UNREADABLE,
                "open_time",
            ),
        ] {
            let bad = rows(topic, text).unwrap_err();
            assert_eq!(bad.reason, reason, "{text}");
            assert!(bad.detail.contains(part), "{text}: {bad}");
        }
        let mut rows = HistoryRows::default();
        assert!(read(Topic::Alerts, &[b'{', 0xff], &mut rows).is_err());
        assert!(rows.is_empty());
    }
}
