//! What is asked of the history. Whatever is wrong is refused by the parameter's name: a misspelt
//! filter would otherwise export everything.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jiff::Timestamp;
use serde::Deserialize;
use serde_json::{Map, Value};

use super::MAX_PAGE;
use super::export::Format;
use crate::api::error::ApiError;
use crate::store::{Cursor, HistoryField, HistoryKind, HistorySearch};

/// The parameters that are texts to be found, and where.
pub(super) type Fields = &'static [(&'static str, HistoryField)];

const SEVERITIES: [&str; 3] = ["HIGH", "MEDIUM", "LOW"];

/// The parameters of a request.
#[derive(Debug, Default, Deserialize)]
#[serde(transparent)]
pub(super) struct Parameters(Map<String, Value>);

/// A request that makes sense.
#[derive(Debug, PartialEq)]
pub(super) struct Asked {
    pub(super) search: HistorySearch,
    /// How many rows at most.
    pub(super) limit: Option<i64>,
    pub(super) format: Format,
}

impl Parameters {
    /// The search that they mean; `needed` must be among them.
    pub(super) fn read(
        mut self,
        kind: HistoryKind,
        fields: Fields,
        needed: &[&str],
    ) -> Result<Asked, ApiError> {
        let mut equals = Vec::new();
        for (name, field) in fields {
            match self.text(name)? {
                Some(text) if *field == HistoryField::Severity => {
                    let severity = text.to_ascii_uppercase();
                    if !SEVERITIES.contains(&severity.as_str()) {
                        return Err(invalid(name, &text, "one of HIGH, MEDIUM, LOW"));
                    }
                    equals.push((*field, severity));
                }
                Some(text) => equals.push((*field, text)),
                None if needed.contains(name) => return Err(ApiError::missing(name)),
                None => {}
            }
        }
        let flagged = match kind {
            HistoryKind::Scores => self.choice("flagged", &[("true", true), ("false", false)])?,
            _ => None,
        };
        let ascending = self.choice("order", &[("asc", true), ("desc", false)])?;
        let formats = [("json", Format::Json), ("csv", Format::Csv)];
        let format = self.choice("format", &formats)?.unwrap_or(Format::Page);
        let (from, until) = (self.time("from")?, self.time("to")?);
        if let (Some(from), Some(until)) = (from, until)
            && from > until
        {
            return Err(ApiError::invalid(
                "Invalid value for parameter 'from' supplied: it is later than 'to'.",
            ));
        }
        let after = match self.text("page_token")? {
            None => None,
            Some(token) => Some(cursor(&token).ok_or_else(|| {
                ApiError::invalid(
                    "Invalid value for parameter 'page_token' supplied: no page of this server \
                     gave it.",
                )
            })?),
        };
        let limit = self.limit(format)?;
        if let Some(name) = self.0.keys().next() {
            return Err(ApiError::invalid(format!(
                "Unknown parameter '{name}' supplied. See the API docs for more information about \
                 request parameters."
            )));
        }
        Ok(Asked {
            search: HistorySearch {
                kind,
                equals,
                flagged,
                from,
                until,
                ascending: ascending.unwrap_or(false),
                after,
            },
            limit,
            format,
        })
    }

    /// A parameter as text; an empty one is absent.
    fn text(&mut self, name: &str) -> Result<Option<String>, ApiError> {
        match self.0.remove(name) {
            None | Some(Value::Null) => Ok(None),
            Some(Value::String(text)) if text.is_empty() => Ok(None),
            Some(Value::String(text)) => Ok(Some(text)),
            Some(Value::Number(number)) => Ok(Some(number.to_string())),
            Some(Value::Bool(truth)) => Ok(Some(truth.to_string())),
            Some(other) => Err(invalid(name, &other.to_string(), "one text")),
        }
    }

    fn choice<T: Copy>(
        &mut self,
        name: &str,
        choices: &[(&str, T)],
    ) -> Result<Option<T>, ApiError> {
        let Some(text) = self.text(name)? else {
            return Ok(None);
        };
        let found = choices.iter().find(|(choice, _)| *choice == text);
        found.map(|(_, value)| Some(*value)).ok_or_else(|| {
            let names: Vec<&str> = choices.iter().map(|(choice, _)| *choice).collect();
            invalid(name, &text, &format!("one of {}", names.join(", ")))
        })
    }

    /// µs since the epoch, or a date and time.
    fn time(&mut self, name: &str) -> Result<Option<i64>, ApiError> {
        let Some(text) = self.text(name)? else {
            return Ok(None);
        };
        if let Ok(micros) = text.parse() {
            return Ok(Some(micros));
        }
        let plain = text.parse::<Timestamp>();
        // A plus sign that a client did not escape has become a space.
        match plain.or_else(|_| text.replace(' ', "+").parse()) {
            Ok(time) => Ok(Some(time.as_microsecond())),
            Err(_) => Err(invalid(
                name,
                &text,
                "µs since the epoch, or a time such as 2026-01-31T12:00:00Z",
            )),
        }
    }

    fn limit(&mut self, format: Format) -> Result<Option<i64>, ApiError> {
        let Some(text) = self.text("limit")? else {
            return Ok(None);
        };
        let most = match format {
            Format::Page => MAX_PAGE,
            Format::Json | Format::Csv => i64::MAX - 1,
        };
        let limit = text.parse().ok().filter(|limit| (1..=most).contains(limit));
        limit.map(Some).ok_or_else(|| match format {
            Format::Page => invalid("limit", &text, &format!("a whole number from 1 to {most}")),
            _ => invalid("limit", &text, "a positive whole number"),
        })
    }
}

fn invalid(name: &str, found: &str, expected: &str) -> ApiError {
    /// What is repeated of what was sent.
    const SHOWN: usize = 200;
    let found: String = found.chars().take(SHOWN).collect();
    ApiError::invalid(format!(
        "Invalid value '{found}' for parameter '{name}' supplied: it must be {expected}."
    ))
}

/// Where the next page begins: the last row of this one.
pub(super) fn token(cursor: &Cursor) -> String {
    let mut parts = vec![Value::from(cursor.time)];
    parts.extend(cursor.rest.iter().map(|text| Value::from(text.as_str())));
    URL_SAFE_NO_PAD.encode(Value::from(parts).to_string())
}

fn cursor(token: &str) -> Option<Cursor> {
    let bytes = URL_SAFE_NO_PAD.decode(token).ok()?;
    let (time, rest): (i64, Vec<String>) = match serde_json::from_slice(&bytes).ok()? {
        Value::Array(parts) => {
            let mut parts = parts.into_iter();
            let time = parts.next()?.as_i64()?;
            let rest = parts.map(|part| part.as_str().map(str::to_owned));
            (time, rest.collect::<Option<_>>()?)
        }
        _ => return None,
    };
    Some(Cursor { time, rest })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    const FIELDS: Fields = &[
        ("symbol", HistoryField::Symbol),
        ("severity", HistoryField::Severity),
    ];

    fn read(parameters: Value) -> Result<Asked, ApiError> {
        let parameters: Parameters = serde_json::from_value(parameters).unwrap();
        parameters.read(HistoryKind::Alerts, FIELDS, &["symbol"])
    }

    #[test]
    fn times_are_numbers_or_dates() {
        let asked = read(json!({
            "symbol": "S", "severity": "high", "from": "1970-01-01T00:00:01 00:00", "to": "5000000",
            "order": "asc", "limit": "7", "format": "",
        }))
        .unwrap();
        assert_eq!(
            (asked.search.from, asked.search.until),
            (Some(1_000_000), Some(5_000_000))
        );
        assert_eq!((asked.limit, asked.format), (Some(7), Format::Page));
        assert!(asked.search.ascending);
        assert_eq!(
            asked.search.equals[1],
            (HistoryField::Severity, "HIGH".to_owned())
        );
    }

    #[test]
    fn what_is_wrong_is_named() {
        for (parameters, name) in [
            (json!({}), "'symbol'"),
            (json!({"symbol": ["a", "b"]}), "'symbol'"),
            (json!({"symbol": "S", "severity": "BAD"}), "'severity'"),
            (json!({"symbol": "S", "from": "yesterday"}), "'from'"),
            (json!({"symbol": "S", "from": "9", "to": "8"}), "'from'"),
            (json!({"symbol": "S", "to": "2026-13-01T00:00:00Z"}), "'to'"),
            (json!({"symbol": "S", "limit": "0"}), "'limit'"),
            (json!({"symbol": "S", "limit": "5001"}), "'limit'"),
            (json!({"symbol": "S", "order": "up"}), "'order'"),
            (json!({"symbol": "S", "format": "xml"}), "'format'"),
            (json!({"symbol": "S", "page_token": "?"}), "'page_token'"),
            (json!({"symbol": "S", "flagged": "true"}), "'flagged'"),
            (json!({"simbol": "S", "symbol": "S"}), "'simbol'"),
        ] {
            let error = read(parameters).unwrap_err();
            assert!(error.message().contains(name), "{}", error.message());
        }
    }

    #[test]
    fn a_token_leads_back() {
        let place = Cursor {
            time: -5,
            rest: vec!["a/\"b".to_owned(), String::new()],
        };
        assert_eq!(cursor(&token(&place)), Some(place));
        for bad in [
            "",
            "AAAA",
            &URL_SAFE_NO_PAD.encode("[]"),
            &URL_SAFE_NO_PAD.encode("[1,2]"),
        ] {
            assert_eq!(cursor(bad), None, "{bad}");
        }
    }
}
