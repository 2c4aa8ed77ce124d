//! Reading the statistics: every error names the key.

use std::collections::BTreeMap;

use serde_json::{Map, Value};

use crate::error::FormatError;

/// One object of the text, under its path.
#[derive(Debug)]
pub(super) struct Object {
    path: String,
    left: Map<String, Value>,
}

fn refuse<T>(path: &str, reason: impl Into<String>) -> Result<T, FormatError> {
    Err(FormatError::Content {
        what: "statistics",
        reason: format!("`{path}` {}", reason.into()),
    })
}

impl Object {
    /// The whole text, whose `format` and `version` must be as given.
    pub(super) fn parse(text: &str, format: &str, version: u64) -> Result<Self, FormatError> {
        let value: Value = serde_json::from_str(text)
            .map_err(|error| FormatError::content("statistics", error))?;
        let Value::Object(left) = value else {
            return Err(FormatError::content(
                "statistics",
                format!("an object is needed, found {}", kind(&value)),
            ));
        };
        let mut object = Self {
            path: String::new(),
            left,
        };
        match object.take("format")? {
            Value::String(found) if found == format => (),
            other => return refuse("format", format!("is {other}, expected \"{format}\"")),
        }
        match object.take("version")? {
            Value::Number(found) if found.as_u64() == Some(version) => Ok(object),
            other => refuse(
                "version",
                format!("is {other}, this program reads {version}"),
            ),
        }
    }

    fn key(&self, key: &str) -> String {
        if self.path.is_empty() {
            key.to_owned()
        } else {
            format!("{}.{key}", self.path)
        }
    }

    fn take(&mut self, key: &str) -> Result<Value, FormatError> {
        match self.left.remove(key) {
            Some(value) => Ok(value),
            None => refuse(&self.key(key), "is missing"),
        }
    }

    /// A finite number for which `holds`.
    pub(super) fn number(
        &mut self,
        key: &str,
        expected: &str,
        holds: impl Fn(f64) -> bool,
    ) -> Result<f64, FormatError> {
        let value = self.take(key)?;
        match value.as_f64().filter(|v| v.is_finite() && holds(*v)) {
            Some(number) => Ok(number),
            None => refuse(&self.key(key), format!("is {value}, expected {expected}")),
        }
    }

    /// A count.
    pub(super) fn count(&mut self, key: &str) -> Result<u64, FormatError> {
        let value = self.take(key)?;
        match value.as_u64() {
            Some(count) => Ok(count),
            None => refuse(
                &self.key(key),
                format!("is {value}, expected a whole number of at least 0"),
            ),
        }
    }

    /// An object of objects, at least one, each read by `read`.
    pub(super) fn objects<T>(
        &mut self,
        key: &str,
        read: impl Fn(&mut Self) -> Result<T, FormatError>,
    ) -> Result<BTreeMap<String, T>, FormatError> {
        let path = self.key(key);
        let value = self.take(key)?;
        let Value::Object(entries) = value else {
            return refuse(&path, format!("is {}, expected an object", kind(&value)));
        };
        if entries.is_empty() {
            return refuse(&path, "is empty, expected at least one entry");
        }
        entries
            .into_iter()
            .map(|(name, value)| {
                let path = format!("{path}.{name}");
                let Value::Object(left) = value else {
                    return refuse(&path, format!("is {}, expected an object", kind(&value)));
                };
                let mut object = Self { path, left };
                let found = read(&mut object)?;
                object.done()?;
                Ok((name, found))
            })
            .collect()
    }

    /// Refuses a key that nobody asked for.
    pub(super) fn done(&self) -> Result<(), FormatError> {
        match self.left.keys().next() {
            Some(key) => refuse(&self.key(key), "is not known"),
            None => Ok(()),
        }
    }
}

fn kind(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "true or false",
        Value::Number(_) => "a number",
        Value::String(_) => "a text",
        Value::Array(_) => "an array",
        Value::Object(_) => "an object",
    }
}

/// As pretty JSON, with a line at its end.
pub(super) fn pretty(value: &Value) -> String {
    // With a plain value and a String nothing can fail.
    format!("{value:#}\n")
}
