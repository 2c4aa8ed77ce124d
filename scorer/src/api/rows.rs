//! Rows that callers send, checked against the model's features.

use market::Feature;
use streaming::Judge;

use super::error::{FieldError, Refusal};
use super::json::Json;

/// A row in the model's order.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Row {
    /// Empty where none was given.
    pub(super) symbol: Option<String>,
    /// µs since the epoch.
    pub(super) event_time: Option<i64>,
    pub(super) values: Vec<f64>,
}

/// The longest symbol that is taken.
const LONGEST_SYMBOL: usize = streaming::record::MAX_SYMBOL;

/// The rows of a body of `/v1/predict`: `{"rows": […]}`, or one row alone.
///
/// # Errors
/// Each field that makes no sense, as far as an answer holds them.
pub(super) fn read_rows(
    body: Json,
    judge: &dyn Judge,
    max_rows: usize,
) -> Result<Vec<Row>, Refusal> {
    let Json::Object(entries) = body else {
        let message = format!("an object is needed, and there is {}", body.what());
        return Err(Refusal::field("$", message));
    };
    let mut reader = Reader::new(judge);
    let is_many = entries.iter().any(|(key, _)| key == "rows");
    let rows = match is_many {
        false => reader.row("", entries).into_iter().collect(),
        true => reader.many(entries, max_rows)?,
    };
    match reader.errors.is_empty() {
        true => Ok(rows),
        false => Err(Refusal::fields(reader.errors)),
    }
}

struct Reader<'a> {
    features: &'a [Feature],
    errors: Vec<FieldError>,
}

impl<'a> Reader<'a> {
    fn new(judge: &'a dyn Judge) -> Self {
        Self {
            features: judge.features(),
            errors: Vec::new(),
        }
    }

    fn error(&mut self, field: impl Into<String>, message: impl Into<String>) {
        self.errors.push(FieldError {
            field: field.into(),
            message: message.into(),
        });
    }

    fn many(&mut self, entries: Vec<(String, Json)>, max_rows: usize) -> Result<Vec<Row>, Refusal> {
        let mut rows = None;
        for (key, value) in entries {
            match (key.as_str(), value) {
                ("rows", Json::Array(items)) if rows.is_none() => rows = Some(items),
                ("rows", Json::Array(_)) => self.error("rows", "it stands there twice"),
                ("rows", other) => {
                    let message = format!("an array is needed, and there is {}", other.what());
                    self.error("rows", message);
                }
                _ => self.error(key, "beside `rows` nothing is known"),
            }
        }
        // Something that is no array was named already.
        let Some(items) = rows else {
            return Ok(Vec::new());
        };
        if items.len() > max_rows {
            let message = format!("{} rows, and `api.max_rows` allows {max_rows}", items.len());
            return Err(Refusal::field("rows", message));
        }
        if items.is_empty() {
            self.error("rows", "a row at least is needed");
        }
        let mut read = Vec::with_capacity(items.len());
        for (place, item) in items.into_iter().enumerate() {
            let path = format!("rows[{place}]");
            match item {
                Json::Object(entries) => read.extend(self.row(&format!("{path}."), entries)),
                other => {
                    let message = format!("an object is needed, and there is {}", other.what());
                    self.error(path, message);
                }
            }
        }
        Ok(read)
    }

    /// One row; `path` comes before the names of its fields.
    fn row(&mut self, path: &str, entries: Vec<(String, Json)>) -> Option<Row> {
        let before = self.errors.len();
        let (mut symbol, mut event_time, mut values) = (None, None, None);
        for (key, value) in entries {
            let field = format!("{path}{key}");
            match (key.as_str(), value) {
                ("symbol", Json::Text(text)) if symbol.is_none() => match check_symbol(&text) {
                    Ok(()) => symbol = Some(text),
                    Err(message) => self.error(field, message),
                },
                ("event_time", Json::Integer(time)) if event_time.is_none() => {
                    event_time = Some(time);
                }
                ("features", Json::Object(entries)) if values.is_none() => {
                    values = Some(self.features(&field, entries));
                }
                ("symbol", Json::Null) | ("event_time", Json::Null) => {}
                ("symbol", Json::Text(_))
                | ("event_time", Json::Integer(_))
                | ("features", Json::Object(_)) => self.error(field, "it stands there twice"),
                ("symbol", other) => self.error(field, need("a string", &other)),
                ("event_time", other) => {
                    self.error(field, need("a whole number of microseconds", &other));
                }
                ("features", other) => self.error(field, need("an object", &other)),
                _ => self.error(
                    field,
                    "not known; a row has `symbol`, `event_time`, `features`",
                ),
            }
        }
        let has_other = self.errors.len() > before;
        match values {
            Some(values) => (!has_other).then_some(Row {
                symbol,
                event_time,
                values,
            }),
            None if has_other => None,
            None => {
                self.error(format!("{path}features"), "it is missing");
                None
            }
        }
    }

    /// The values of the model's features, in its order. Features of the engine that the model doesn't look at are
    /// passed over: a row of the topic `features` can be sent as it is.
    fn features(&mut self, path: &str, entries: Vec<(String, Json)>) -> Vec<f64> {
        let mut values: Vec<Option<f64>> = vec![None; self.features.len()];
        let mut was_wrong = vec![false; self.features.len()];
        for (name, value) in entries {
            let field = format!("{path}.{name}");
            let Ok(feature) = name.parse::<Feature>() else {
                let message = format!("there is no such feature{}", self.nearest(&name));
                self.error(field, message);
                continue;
            };
            let Some(place) = self.features.iter().position(|known| *known == feature) else {
                continue;
            };
            match value.number() {
                Ok(_) if values[place].is_some() => self.error(field, "it stands there twice"),
                Ok(number) => values[place] = Some(number),
                Err(message) => {
                    was_wrong[place] = true;
                    self.error(field, message);
                }
            }
        }
        for (place, value) in values.iter().enumerate() {
            if value.is_none() && !was_wrong[place] {
                let field = format!("{path}.{}", self.features[place]);
                self.error(field, "it is missing");
            }
        }
        values.into_iter().flatten().collect()
    }

    fn nearest(&self, name: &str) -> String {
        let all = self.features.iter().map(|feature| feature.name());
        all.map(|known| (strsim::damerau_levenshtein(name, known), known))
            .filter(|(distance, _)| *distance <= 4)
            .min()
            .map(|(_, known)| format!("; did you mean `{known}`?"))
            .unwrap_or_default()
    }
}

fn need(what: &str, found: &Json) -> String {
    format!("{what} is needed, and there is {}", found.what())
}

/// Whether a symbol can be one.
///
/// # Errors
/// Why not.
pub(super) fn check_symbol(symbol: &str) -> Result<(), String> {
    match symbol.len() {
        0 => Err("a symbol is needed, and there is an empty string".to_owned()),
        1..=LONGEST_SYMBOL => Ok(()),
        n => Err(format!(
            "a symbol of {LONGEST_SYMBOL} bytes at most is needed, and there are {n}"
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fixed::Fixed;

    fn read(text: &str) -> Result<Vec<Row>, Vec<(String, String)>> {
        let body = Json::read(text.as_bytes()).unwrap();
        read_rows(body, &Fixed::new("1", 1.0), 3).map_err(|refusal| {
            let (status, _, fields) = refusal.said();
            assert_eq!(status, 422);
            let pair = |error: &FieldError| (error.field.clone(), error.message.clone());
            fields.iter().map(pair).collect()
        })
    }

    #[test]
    fn values_come_in_the_models_order() {
        let one = read(r#"{"features":{"log_return":2,"price_range":1.5,"momentum":"unused"}}"#);
        let one = one.unwrap();
        assert_eq!(one[0].values, [1.5, 2.0]);
        assert_eq!(one[0].symbol, None);
        let two = read(
            r#"{"rows":[{"symbol":"A","event_time":7,"features":{"price_range":1,"log_return":2}},
                        {"features":{"log_return":0,"price_range":-1e-9}}]}"#,
        )
        .unwrap();
        assert_eq!(two[0].symbol.as_deref(), Some("A"));
        assert_eq!(two[0].event_time, Some(7));
        assert_eq!(two[1].values, [-1e-9, 0.0]);
    }

    #[test]
    fn what_is_wrong_is_named_with_its_place() {
        for (text, field, message) in [
            ("[]", "$", "there is an array"),
            ("{}", "features", "it is missing"),
            (r#"{"rows":{}}"#, "rows", "there is an object"),
            (r#"{"rows":[]}"#, "rows", "a row at least"),
            (r#"{"rows":[1]}"#, "rows[0]", "there is a number"),
            (
                r#"{"rows":[{},{},{},{}]}"#,
                "rows",
                "`api.max_rows` allows 3",
            ),
            (
                r#"{"rows":[{"features":{"price_range":1,"log_return":2}},{"features":{"price_range":1}}]}"#,
                "rows[1].features.log_return",
                "it is missing",
            ),
            (
                r#"{"features":{"price_range":1,"log_return":2,"log_retrun":1}}"#,
                "features.log_retrun",
                "did you mean `log_return`?",
            ),
            (
                r#"{"features":{"price_range":"NaN","log_return":2}}"#,
                "features.price_range",
                "a finite number",
            ),
            (
                r#"{"features":{"price_range":null,"log_return":2}}"#,
                "features.price_range",
                "there is null",
            ),
            (
                r#"{"features":{"price_range":1,"price_range":1,"log_return":2}}"#,
                "features.price_range",
                "twice",
            ),
            (
                r#"{"symbol":5,"features":{"price_range":1,"log_return":2}}"#,
                "symbol",
                "a string is needed",
            ),
            (
                r#"{"symbol":"","features":{"price_range":1,"log_return":2}}"#,
                "symbol",
                "an empty string",
            ),
            (
                r#"{"event_time":1.5,"features":{"price_range":1,"log_return":2}}"#,
                "event_time",
                "a whole number",
            ),
            (
                r#"{"time":1,"features":{"price_range":1,"log_return":2}}"#,
                "time",
                "not known",
            ),
            (
                r#"{"rows":[{"features":{"price_range":1,"log_return":2}}],"explain":true}"#,
                "explain",
                "nothing is known",
            ),
        ] {
            let errors = read(text).unwrap_err();
            assert_eq!(errors.len(), 1, "{text}: {errors:?}");
            assert_eq!(errors[0].0, field, "{text}");
            assert!(errors[0].1.contains(message), "{errors:?}");
        }
    }

    #[test]
    fn several_things_are_named_at_once() {
        let errors = read(r#"{"rows":[{"features":{}},{"symbol":1}]}"#).unwrap_err();
        assert_eq!(errors.len(), 3);
        let many = format!(
            r#"{{"rows":[{{"features":{{{}}}}}]}}"#,
            (0..50)
                .map(|i| format!("\"x{i}\":1"))
                .collect::<Vec<_>>()
                .join(",")
        );
        assert_eq!(read(&many).unwrap_err().len(), 20);
    }
}
