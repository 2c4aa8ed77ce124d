//! A TOML document as a tree that remembers where each key and value stood.
//!
//! The checks in [`super::check`] report every violation with its line, also
//! after `--set` has replaced a value; serde's TOML errors stop at the first.

use std::fmt;

use toml_edit::{Document, Item, Value as TomlValue};

/// Where a key or value came from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Origin {
    /// A line of the experiment file, counted from 1.
    Line(usize),
    /// A `--set` or `--data` argument.
    Argument(String),
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Line(line) => write!(f, "{line}"),
            Self::Argument(argument) => write!(f, "{argument}"),
        }
    }
}

/// A value with its origin.
#[derive(Debug, Clone)]
pub(super) struct Node {
    /// What it is.
    pub value: Value,
    /// Where it stood.
    pub origin: Origin,
}

/// A TOML value.
#[derive(Debug, Clone)]
pub(super) enum Value {
    /// A string.
    String(String),
    /// An integer.
    Integer(i64),
    /// A float.
    Float(f64),
    /// A boolean.
    Bool(bool),
    /// A date, with or without time and offset, as it was written.
    Datetime(String),
    /// An array, or an array of tables.
    Array(Vec<Node>),
    /// A table; keys in file order.
    Table(Vec<(String, Node)>),
}

impl Value {
    /// The type's name as a message shows it.
    pub(super) fn type_name(&self) -> &'static str {
        match self {
            Self::String(_) => "a string",
            Self::Integer(_) => "an integer",
            Self::Float(_) => "a float",
            Self::Bool(_) => "a boolean",
            Self::Datetime(_) => "a date",
            Self::Array(_) => "an array",
            Self::Table(_) => "a table",
        }
    }
}

/// A syntax error: line and what the parser said.
#[derive(Debug)]
pub(super) struct SyntaxError {
    /// Line, counted from 1.
    pub line: usize,
    /// What is wrong.
    pub message: String,
}

/// Parses `text` into a tree.
///
/// # Errors
/// The first syntax error, with its line.
pub(super) fn parse(text: &str) -> Result<Node, SyntaxError> {
    let document = Document::parse(text).map_err(|error| SyntaxError {
        line: error.span().map_or(1, |span| line_of(text, span.start)),
        message: error.message().replace('\n', "; "),
    })?;
    Ok(from_item(text, document.as_item(), 1))
}

/// Replaces or adds the value at the dotted `path`; a segment may be an
/// array index, or the `name` (else `detector`) of an array's table (`candidates.iforest.n_trees`).
///
/// # Errors
/// When a segment doesn't lead anywhere.
pub(super) fn set(root: &mut Node, path: &str, value: Value, argument: &str) -> Result<(), String> {
    let origin = Origin::Argument(argument.to_owned());
    let segments: Vec<&str> = path.split('.').collect();
    if segments.iter().any(|segment| segment.is_empty()) {
        return Err("is not a dotted key".to_owned());
    }
    let mut node = root;
    for (depth, segment) in segments.iter().enumerate() {
        let last = depth + 1 == segments.len();
        match &mut node.value {
            Value::Table(entries) => {
                let position = entries.iter().position(|(key, _)| key == segment);
                let index = position.unwrap_or_else(|| {
                    let empty = Node {
                        value: Value::Table(Vec::new()),
                        origin: origin.clone(),
                    };
                    entries.push(((*segment).to_owned(), empty));
                    entries.len() - 1
                });
                node = &mut entries[index].1;
            }
            Value::Array(items) => {
                let by_name = items.iter().position(|item| name_of(item) == Some(segment));
                let index = by_name.or_else(|| segment.parse::<usize>().ok());
                let n_items = items.len();
                node = index
                    .and_then(|index| items.get_mut(index))
                    .ok_or_else(|| {
                        format!(
                            "leads nowhere: there is no `{segment}` among the {n_items} of `{}`",
                            segments[..depth].join(".")
                        )
                    })?;
            }
            other => {
                return Err(format!(
                    "leads nowhere: `{}` is {}, so it has no `{segment}`",
                    segments[..depth].join("."),
                    other.type_name()
                ));
            }
        }
        if last {
            break;
        }
    }
    *node = Node { value, origin };
    Ok(())
}

/// Parses the right side of `--set key=value`: a TOML value, else a string.
pub(super) fn parse_value(text: &str) -> Value {
    match text.trim().parse::<TomlValue>() {
        Ok(value) => from_value("", &value, 1).value,
        Err(_) => Value::String(text.to_owned()),
    }
}

fn name_of(node: &Node) -> Option<&str> {
    let Value::Table(entries) = &node.value else {
        return None;
    };
    let text = |wanted: &str| {
        entries.iter().find_map(|(key, value)| match &value.value {
            Value::String(text) if key == wanted => Some(text.as_str()),
            _ => None,
        })
    };
    // A candidate without a name has its detector's.
    text("name").or_else(|| text("detector"))
}

fn line_of(text: &str, offset: usize) -> usize {
    text.as_bytes()
        .iter()
        .take(offset)
        .filter(|&&byte| byte == b'\n')
        .count()
        + 1
}

fn from_item(text: &str, item: &Item, parent_line: usize) -> Node {
    let line = item
        .span()
        .map_or(parent_line, |span| line_of(text, span.start));
    let value = match item {
        Item::None => Value::Table(Vec::new()),
        Item::Value(value) => return from_value(text, value, line),
        Item::Table(table) => Value::Table(table_entries(text, table, line)),
        Item::ArrayOfTables(array) => Value::Array(
            array
                .iter()
                .map(|table| {
                    let line = table.span().map_or(line, |span| line_of(text, span.start));
                    Node {
                        value: Value::Table(table_entries(text, table, line)),
                        origin: Origin::Line(line),
                    }
                })
                .collect(),
        ),
    };
    Node {
        value,
        origin: Origin::Line(line),
    }
}

fn table_entries(text: &str, table: &toml_edit::Table, line: usize) -> Vec<(String, Node)> {
    table
        .iter()
        .map(|(key, item)| {
            let line = table
                .key(key)
                .and_then(|key| key.span())
                .map_or(line, |span| line_of(text, span.start));
            let mut node = from_item(text, item, line);
            node.origin = Origin::Line(line);
            (key.to_owned(), node)
        })
        .collect()
}

fn from_value(text: &str, value: &TomlValue, parent_line: usize) -> Node {
    let line = value
        .span()
        .map_or(parent_line, |span| line_of(text, span.start));
    let value = match value {
        TomlValue::String(string) => Value::String(string.value().clone()),
        TomlValue::Integer(integer) => Value::Integer(*integer.value()),
        TomlValue::Float(float) => Value::Float(*float.value()),
        TomlValue::Boolean(boolean) => Value::Bool(*boolean.value()),
        TomlValue::Datetime(datetime) => Value::Datetime(datetime.value().to_string()),
        TomlValue::Array(array) => Value::Array(
            array
                .iter()
                .map(|item| from_value(text, item, line))
                .collect(),
        ),
        TomlValue::InlineTable(table) => Value::Table(
            table
                .iter()
                .map(|(key, item)| (key.to_owned(), from_value(text, item, line)))
                .collect(),
        ),
    };
    Node {
        value,
        origin: Origin::Line(line),
    }
}
