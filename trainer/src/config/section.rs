//! Reads one table key by key and collects every violation.

use std::ops::RangeInclusive;

use super::tree::{Node, Origin, Value};

/// One violation of an experiment file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Violation {
    /// Where it stands; `None` where something is missing altogether.
    pub origin: Option<Origin>,
    /// The dotted key.
    pub key: String,
    /// What is wrong and what is allowed.
    pub message: String,
}

/// All violations found so far.
#[derive(Debug, Default)]
pub(super) struct Violations(Vec<Violation>);

impl Violations {
    /// Adds one.
    pub(super) fn push(
        &mut self,
        origin: Option<&Origin>,
        key: impl Into<String>,
        message: impl Into<String>,
    ) {
        self.0.push(Violation {
            origin: origin.cloned(),
            key: key.into(),
            message: message.into(),
        });
    }

    /// The violations in file order, those of arguments last.
    pub(super) fn into_sorted(mut self) -> Vec<Violation> {
        self.0.sort_by_key(|violation| match violation.origin {
            Some(Origin::Line(line)) => (0, line),
            None => (1, 0),
            Some(Origin::Argument(_)) => (2, 0),
        });
        self.0
    }

    /// How many there are.
    pub(super) fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there are none.
    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

/// A table under reading. Each getter marks its key as known; [`Section::finish`]
/// reports the others with the nearest known key.
#[derive(Debug)]
pub(super) struct Section<'a> {
    path: String,
    origin: Option<Origin>,
    entries: &'a [(String, Node)],
    known: Vec<&'static str>,
    present: bool,
}

impl<'a> Section<'a> {
    /// The document itself.
    pub(super) fn root(node: &'a Node) -> Self {
        let entries = match &node.value {
            Value::Table(entries) => entries.as_slice(),
            _ => &[],
        };
        Self {
            path: String::new(),
            origin: None,
            entries,
            known: Vec::new(),
            present: true,
        }
    }

    /// The table at `key`; an absent one reads as empty.
    pub(super) fn table(&mut self, key: &'static str, out: &mut Violations) -> Self {
        let path = self.path_of(key);
        match self.take(key) {
            None => Self {
                path,
                origin: None,
                entries: &[],
                known: Vec::new(),
                present: false,
            },
            Some(node) => Self::of(node, path, out),
        }
    }

    /// The tables of the array at `key` (`[[key]]`).
    pub(super) fn tables(&mut self, key: &'static str, out: &mut Violations) -> Vec<Self> {
        let path = self.path_of(key);
        let Some(node) = self.take(key) else {
            return Vec::new();
        };
        match &node.value {
            Value::Array(items) => items
                .iter()
                .enumerate()
                .map(|(index, item)| Self::of(item, format!("{path}[{index}]"), out))
                .collect(),
            other => {
                out.push(
                    Some(&node.origin),
                    path.clone(),
                    format!("is {}; write it as `[[{path}]]`", other.type_name()),
                );
                Vec::new()
            }
        }
    }

    /// The table `node`, which stands at `path`.
    pub(super) fn of(node: &'a Node, path: String, out: &mut Violations) -> Self {
        let entries = match &node.value {
            Value::Table(entries) => entries.as_slice(),
            other => {
                out.push(
                    Some(&node.origin),
                    path.clone(),
                    format!("is {}, but must be a table", other.type_name()),
                );
                &[]
            }
        };
        Self {
            path,
            origin: Some(node.origin.clone()),
            entries,
            known: Vec::new(),
            present: true,
        }
    }

    /// Whether the table stands in the file.
    pub(super) fn is_present(&self) -> bool {
        self.present
    }

    /// Where the table begins.
    pub(super) fn origin(&self) -> Option<&Origin> {
        self.origin.as_ref()
    }

    /// Where the value of `key` stands, else where the table begins.
    pub(super) fn origin_of(&self, key: &str) -> Option<&Origin> {
        self.entries
            .iter()
            .find(|(name, _)| name == key)
            .map(|(_, node)| &node.origin)
            .or(self.origin.as_ref())
    }

    /// The dotted path of `key`.
    pub(super) fn path_of(&self, key: &str) -> String {
        if self.path.is_empty() {
            key.to_owned()
        } else {
            format!("{}.{key}", self.path)
        }
    }

    /// Whether `key` was given.
    pub(super) fn has(&self, key: &str) -> bool {
        self.entries.iter().any(|(name, _)| name == key)
    }

    /// Reports a violation at `key`.
    pub(super) fn report(&self, key: &str, message: impl Into<String>, out: &mut Violations) {
        out.push(self.origin_of(key), self.path_of(key), message);
    }

    /// The raw node at `key`.
    pub(super) fn take(&mut self, key: &'static str) -> Option<&'a Node> {
        self.known.push(key);
        self.entries
            .iter()
            .find(|(name, _)| name == key)
            .map(|(_, node)| node)
    }

    fn read<T>(
        &mut self,
        key: &'static str,
        expected: &str,
        out: &mut Violations,
        convert: impl FnOnce(&'a Value) -> Option<T>,
    ) -> Option<T> {
        let node = self.take(key)?;
        let converted = convert(&node.value);
        if converted.is_none() {
            self.report(
                key,
                format!("is {}, but must be {expected}", node.value.type_name()),
                out,
            );
        }
        converted
    }

    /// A non-empty string.
    pub(super) fn string(&mut self, key: &'static str, out: &mut Violations) -> Option<String> {
        let text = self.read(key, "a string", out, |value| match value {
            Value::String(text) => Some(text.clone()),
            _ => None,
        })?;
        if text.trim().is_empty() {
            self.report(key, "is empty", out);
            return None;
        }
        Some(text)
    }

    /// Like [`Section::string`], reported when absent.
    pub(super) fn required_string(
        &mut self,
        key: &'static str,
        out: &mut Violations,
    ) -> Option<String> {
        self.require(key, out);
        self.string(key, out)
    }

    /// Reports `key` when it is absent.
    pub(super) fn require(&self, key: &'static str, out: &mut Violations) {
        if !self.has(key) {
            out.push(self.origin(), self.path_of(key), "is missing");
        }
    }

    /// A string, or an array of strings.
    pub(super) fn strings(
        &mut self,
        key: &'static str,
        out: &mut Violations,
    ) -> Option<Vec<String>> {
        let node = self.take(key)?;
        let items = match &node.value {
            Value::String(text) => return Some(vec![text.clone()]),
            Value::Array(items) => items,
            other => {
                self.report(
                    key,
                    format!("is {}, but must be an array of strings", other.type_name()),
                    out,
                );
                return None;
            }
        };
        let mut strings = Vec::with_capacity(items.len());
        for item in items {
            match &item.value {
                Value::String(text) if !strings.contains(text) => strings.push(text.clone()),
                Value::String(text) => out.push(
                    Some(&item.origin),
                    self.path_of(key),
                    format!("names `{text}` twice"),
                ),
                other => out.push(
                    Some(&item.origin),
                    self.path_of(key),
                    format!("holds {}, but must hold strings", other.type_name()),
                ),
            }
        }
        if items.is_empty() {
            self.report(key, "is empty", out);
        }
        Some(strings)
    }

    /// An integer within `range`.
    pub(super) fn integer(
        &mut self,
        key: &'static str,
        range: RangeInclusive<i64>,
        out: &mut Violations,
    ) -> Option<i64> {
        let integer = self.read(key, "an integer", out, |value| match value {
            Value::Integer(integer) => Some(*integer),
            _ => None,
        })?;
        if range.contains(&integer) {
            return Some(integer);
        }
        self.report(
            key,
            format!("is {integer}; allowed: {}", show_range(&range)),
            out,
        );
        None
    }

    /// An array of integers within `range`.
    pub(super) fn integers(
        &mut self,
        key: &'static str,
        range: RangeInclusive<i64>,
        out: &mut Violations,
    ) -> Option<Vec<i64>> {
        let node = self.take(key)?;
        let Value::Array(items) = &node.value else {
            let found = node.value.type_name();
            self.report(
                key,
                format!("is {found}, but must be an array of integers"),
                out,
            );
            return None;
        };
        let mut integers = Vec::with_capacity(items.len());
        for item in items {
            match &item.value {
                Value::Integer(integer) if range.contains(integer) => integers.push(*integer),
                other => out.push(
                    Some(&item.origin),
                    self.path_of(key),
                    format!("holds {}; allowed: {}", show(other), show_range(&range)),
                ),
            }
        }
        Some(integers)
    }

    /// A finite number that fulfils `accept`; `allowed` says which do.
    pub(super) fn number(
        &mut self,
        key: &'static str,
        allowed: &str,
        accept: impl Fn(f64) -> bool,
        out: &mut Violations,
    ) -> Option<f64> {
        let number = self.read(key, "a number", out, as_number)?;
        if number.is_finite() && accept(number) {
            return Some(number);
        }
        self.report(key, format!("is {number}; allowed: {allowed}"), out);
        None
    }

    /// A boolean.
    pub(super) fn boolean(&mut self, key: &'static str, out: &mut Violations) -> Option<bool> {
        self.read(key, "a boolean", out, |value| match value {
            Value::Bool(boolean) => Some(*boolean),
            _ => None,
        })
    }

    /// A duration such as `"90s"`, `"1h"`, `"500ms"`, in microseconds.
    pub(super) fn duration_us(&mut self, key: &'static str, out: &mut Violations) -> Option<i64> {
        let wanted = "a duration such as \"10s\"";
        let text = self.read(key, wanted, out, |value| match value {
            Value::String(text) => Some(text.clone()),
            _ => None,
        })?;
        let duration = parse_duration_us(&text);
        if duration.is_none() {
            self.report(key, format!("is `{text}`; write a duration such as \"500ms\", \"10s\", \"5m\", \"1h\" or \"1d\""), out);
        }
        duration
    }

    /// An instant, in microseconds since the epoch: a TOML date, or a string in RFC 3339.
    pub(super) fn instant_us(&mut self, key: &'static str, out: &mut Violations) -> Option<i64> {
        let text = self.read(
            key,
            "a date such as 2018-01-01T00:00:00Z",
            out,
            |value| match value {
                Value::Datetime(text) | Value::String(text) => Some(text.clone()),
                _ => None,
            },
        )?;
        let instant = parse_instant_us(&text);
        if instant.is_none() {
            self.report(
                key,
                format!("is `{text}`; write a date such as 2018-01-01 or 2018-01-01T00:00:00Z"),
                out,
            );
        }
        instant
    }

    /// One of `choices`; anything else is reported with the nearest of them.
    pub(super) fn choice<T: Copy>(
        &mut self,
        key: &'static str,
        choices: &[(&str, T)],
        out: &mut Violations,
    ) -> Option<T> {
        let text = self.string(key, out)?;
        if let Some((_, choice)) = choices.iter().find(|(name, _)| *name == text) {
            return Some(*choice);
        }
        let names: Vec<&str> = choices.iter().map(|(name, _)| *name).collect();
        self.report(key, not_among(&text, &names), out);
        None
    }

    /// The scalar at `key`, or every element of an array there: a search space.
    pub(super) fn space<T>(
        &mut self,
        key: &'static str,
        expected: &str,
        convert: impl Fn(&Value) -> Option<T>,
        out: &mut Violations,
    ) -> Option<Vec<T>> {
        let node = self.take(key)?;
        let items: Vec<&Node> = match &node.value {
            Value::Array(items) => items.iter().collect(),
            _ => vec![node],
        };
        if items.is_empty() {
            self.report(key, "is an empty search space", out);
        }
        let mut values = Vec::with_capacity(items.len());
        for item in items {
            match convert(&item.value) {
                Some(value) => values.push(value),
                None => out.push(
                    Some(&item.origin),
                    self.path_of(key),
                    format!(
                        "is {}; allowed: {expected}, or an array of such values to search over",
                        show(&item.value)
                    ),
                ),
            }
        }
        Some(values)
    }

    /// Reports the keys that nobody asked for.
    pub(super) fn finish(self, out: &mut Violations) {
        for (key, node) in self.entries {
            if !self.known.contains(&key.as_str()) {
                out.push(
                    Some(&node.origin),
                    self.path_of(key),
                    format!("is not a known key{}", hint_or_all(key, &self.known)),
                );
            }
        }
    }
}

/// The value as a number: a float, or an integer.
pub(super) fn as_number(value: &Value) -> Option<f64> {
    match value {
        Value::Float(float) => Some(*float),
        #[expect(
            clippy::cast_precision_loss,
            reason = "counts and ratios in a configuration are far below 2^53"
        )]
        Value::Integer(integer) => Some(*integer as f64),
        _ => None,
    }
}

/// The value as a message shows it.
pub(super) fn show(value: &Value) -> String {
    match value {
        Value::String(text) => format!("`{text}`"),
        Value::Integer(integer) => integer.to_string(),
        Value::Float(float) => float.to_string(),
        Value::Bool(boolean) => boolean.to_string(),
        Value::Datetime(text) => text.clone(),
        other => other.type_name().to_owned(),
    }
}

/// "`x` is not one of …; did you mean `y`?"
pub(super) fn not_among(text: &str, names: &[&str]) -> String {
    let list: Vec<String> = names.iter().map(|name| format!("`{name}`")).collect();
    format!(
        "is `{text}`, which is none of {}{}",
        list.join(", "),
        hint(text, names)
    )
}

fn hint(text: &str, names: &[&str]) -> String {
    nearest(text, names)
        .map(|name| format!("; did you mean `{name}`?"))
        .unwrap_or_default()
}

/// The nearest name or, where none is near, all there are.
fn hint_or_all(text: &str, names: &[&str]) -> String {
    match nearest(text, names) {
        None if !names.is_empty() => format!("; there are `{}`", names.join("`, `")),
        _ => hint(text, names),
    }
}

/// The name nearest to `text`, when it is near enough to be meant.
pub(super) fn nearest<'n>(text: &str, names: &[&'n str]) -> Option<&'n str> {
    let likeness = |name: &str| {
        if text.len() >= 4 && name.contains(text) {
            1.0
        } else {
            strsim::jaro_winkler(text, name)
        }
    };
    let (score, name) = names
        .iter()
        .map(|name| (likeness(name), *name))
        .max_by(|a, b| a.0.total_cmp(&b.0))?;
    (score >= 0.7).then_some(name)
}

fn show_range(range: &RangeInclusive<i64>) -> String {
    if *range.end() == i64::MAX {
        format!("{} or more", range.start())
    } else {
        format!("{} to {}", range.start(), range.end())
    }
}

/// Parses `"10s"`, `"1.5h"`, `"500ms"` and the like, in microseconds.
pub(super) fn parse_duration_us(text: &str) -> Option<i64> {
    let text = text.trim();
    let split = text.find(|c: char| !c.is_ascii_digit() && c != '.')?;
    let (number, unit) = text.split_at(split);
    let number: f64 = number.parse().ok()?;
    let unit_us = match unit.trim() {
        "us" | "µs" => 1.0,
        "ms" => 1e3,
        "s" => 1e6,
        "m" | "min" => 60e6,
        "h" => 3_600e6,
        "d" => 86_400e6,
        _ => return None,
    };
    let micros = number * unit_us;
    #[expect(
        clippy::cast_possible_truncation,
        reason = "checked against the bound before"
    )]
    (micros.is_finite() && micros < 9e18).then(|| micros.round() as i64)
}

/// Parses a date, a date with time (UTC unless an offset is given), in microseconds since the epoch.
pub fn parse_instant_us(text: &str) -> Option<i64> {
    let text = text.trim();
    if let Ok(timestamp) = text.parse::<jiff::Timestamp>() {
        return Some(timestamp.as_microsecond());
    }
    let datetime = text.parse::<jiff::civil::DateTime>().ok()?;
    Some(
        datetime
            .to_zoned(jiff::tz::TimeZone::UTC)
            .ok()?
            .timestamp()
            .as_microsecond(),
    )
}
