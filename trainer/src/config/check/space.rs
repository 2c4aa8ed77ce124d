//! A detector's keys in a `[[candidates]]` table, whichever detector it is.
//!
//! Each value is tried on the detector itself, alone beside its defaults, so that what is wrong with
//! it is said at its own line.

use detectors::DetectorParams;
use serde_json::{Map, Value as Json, json};

use crate::config::section::{Section, Violations, nearest, not_among, show};
use crate::config::space::{Condition, DetectorSpace, KeySpace, conditions, defaults};
use crate::config::tree::{Node, Value};

/// Reads the keys of `detector`.
pub(super) fn detector_space(
    section: &mut Section<'_>,
    detector: &'static str,
    out: &mut Violations,
) -> DetectorSpace {
    let n_before = out.len();
    let mut keys = Vec::new();
    let mut refused = Vec::new();
    for key in DetectorParams::keys(detector).unwrap_or_default() {
        let Some(node) = section.take(key) else {
            continue;
        };
        let values = match *key {
            "members" => members(section, node, out),
            _ => values(section, detector, key, node, out),
        };
        match values {
            Some(values) => keys.push(KeySpace { key, values }),
            None => refused.push(*key),
        }
    }
    let space = DetectorSpace { detector, keys };
    refuse_without_effect(section, &space, &refused, out);
    if out.len() == n_before {
        refuse_points(section, &space, out);
    }
    space
}

/// The values of one key: the value, or each one of an array.
fn values(
    section: &Section<'_>,
    detector: &str,
    key: &str,
    node: &Node,
    out: &mut Violations,
) -> Option<Vec<Json>> {
    let items = searched(node, reads(detector, key, json!([])));
    if items.is_empty() {
        section.report(key, "is an empty search space", out);
        return None;
    }
    let mut values = Vec::with_capacity(items.len());
    for item in &items {
        match one_value(detector, key, &item.value) {
            Ok(value) => values.push(value),
            Err(wrong) => {
                let message = wrong.or_several();
                out.push(Some(&item.origin), section.path_of(key), message);
            }
        }
    }
    (values.len() == items.len()).then_some(values)
}

/// The points that `node` spans. Where a value is itself a list, only a list of lists is a search
/// space.
fn searched(node: &Node, is_list: bool) -> Vec<&Node> {
    match &node.value {
        Value::Array(items) if !is_list || items.iter().any(is_array) => items.iter().collect(),
        _ => vec![node],
    }
}

fn is_array(node: &Node) -> bool {
    matches!(node.value, Value::Array(_))
}

/// What is wrong with a value.
enum Wrong {
    /// It is no choice that there is.
    Choice(String),
    /// It is of the wrong kind or out of range: what it is, and what is allowed.
    Value(String, String),
}

impl Wrong {
    fn or_several(self) -> String {
        match self {
            Self::Choice(message) => message,
            Self::Value(shown, allowed) => {
                format!("is {shown}; allowed: {allowed}, or an array of such values to search over")
            }
        }
    }

    fn alone(self) -> String {
        match self {
            Self::Choice(message) => message,
            Self::Value(shown, allowed) => {
                format!("is {shown}; allowed: {allowed}, one value for each key of a member")
            }
        }
    }
}

/// Reads one value of `key`, and has the detector check it.
fn one_value(detector: &str, key: &str, value: &Value) -> Result<Json, Wrong> {
    let shown = match value {
        Value::Float(float) => format!("{float:?}"),
        other => show(other),
    };
    let Some(json) = as_json(value) else {
        return Err(Wrong::Value(shown, allowed(detector, key)));
    };
    let params = match read(detector, key, json.clone()) {
        Ok(params) => params,
        Err(_) => {
            let choices = choices(detector, key);
            return Err(match value {
                Value::String(text) if !choices.is_empty() => {
                    let names: Vec<&str> = choices.iter().map(String::as_str).collect();
                    Wrong::Choice(not_among(text, &names))
                }
                _ => Wrong::Value(shown, allowed(detector, key)),
            });
        }
    };
    match violation(&params, key) {
        Some((found, expected)) => {
            let shown = match value {
                Value::Array(_) => format!("`{found}`"),
                _ => shown,
            };
            Err(Wrong::Value(shown, expected))
        }
        None => Ok(json),
    }
}

/// The detector with its defaults, `key` of `value`, and whatever `key` needs to have an effect.
fn read(detector: &str, key: &str, value: Json) -> serde_json::Result<DetectorParams> {
    let mut config = json!({ "detector": detector });
    for condition in conditions(detector, key) {
        config[condition.chooser] = json!(condition.choices.first());
    }
    config[key] = value;
    serde_json::from_value(config)
}

fn reads(detector: &str, key: &str, value: Json) -> bool {
    read(detector, key, value).is_ok()
}

/// What the detector has against the value of `key`: the value, and what it expects.
fn violation(params: &DetectorParams, key: &str) -> Option<(String, String)> {
    let violations = params.check().err()?.violations;
    let start = format!("`{key}` is `");
    violations.iter().find_map(|sentence| {
        let (found, expected) = sentence.strip_prefix(&start)?.split_once("`, expected ")?;
        Some((found.to_owned(), expected.to_owned()))
    })
}

/// The names that `key` chooses among; none where it takes something else.
fn choices(detector: &str, key: &str) -> Vec<String> {
    let Err(error) = read(detector, key, json!("\u{1}")) else {
        return Vec::new();
    };
    let error = error.to_string();
    let Some((_, expected)) = error
        .strip_prefix("unknown variant")
        .and_then(|rest| rest.split_once(", expected "))
    else {
        return Vec::new();
    };
    let quoted = expected.split('`').skip(1).step_by(2);
    quoted.map(str::to_owned).collect()
}

/// What `key` takes, in words; found by asking the detector about values that can't be right.
fn allowed(detector: &str, key: &str) -> String {
    let choices = choices(detector, key);
    if !choices.is_empty() {
        return format!("`{}`", choices.join("`, `"));
    }
    if reads(detector, key, json!(true)) {
        return "true or false".to_owned();
    }
    let whole = reads(detector, key, json!(0)) && !reads(detector, key, json!(0.5));
    let kind = if whole { "a whole number, " } else { "" };
    let beyond = [
        json!(0),
        json!(i64::MAX),
        json!(-1.0),
        json!(1e300),
        json!([]),
    ];
    let range = beyond.into_iter().find_map(|value| {
        let params = read(detector, key, value).ok()?;
        violation(&params, key).map(|(_, expected)| expected)
    });
    match range {
        Some(range) => format!("{kind}{range}"),
        None if whole => "a whole number".to_owned(),
        None => "a value of the right kind".to_owned(),
    }
}

/// `None` for what JSON can't hold.
fn as_json(value: &Value) -> Option<Json> {
    Some(match value {
        Value::String(text) | Value::Datetime(text) => json!(text),
        Value::Integer(integer) => json!(integer),
        Value::Float(float) => Json::Number(serde_json::Number::from_f64(*float)?),
        Value::Bool(boolean) => json!(boolean),
        Value::Array(items) => items
            .iter()
            .map(|item| as_json(&item.value))
            .collect::<Option<Vec<Json>>>()?
            .into(),
        Value::Table(entries) => entries
            .iter()
            .map(|(key, node)| Some((key.clone(), as_json(&node.value)?)))
            .collect::<Option<Map<String, Json>>>()?
            .into(),
    })
}

/// The members of a consensus, `[[candidates.members]]`: tables of a detector and its keys.
fn members(section: &Section<'_>, node: &Node, out: &mut Violations) -> Option<Vec<Json>> {
    let n_before = out.len();
    let path = section.path_of("members");
    let mut values = Vec::new();
    for list in searched(node, true) {
        let Value::Array(items) = &list.value else {
            let message = format!(
                "is {}; write each member as `[[candidates.members]]`",
                list.value.type_name()
            );
            out.push(Some(&list.origin), path.clone(), message);
            continue;
        };
        let members: Vec<Json> = items
            .iter()
            .enumerate()
            .filter_map(|(at, item)| member(item, format!("{path}[{at}]"), out))
            .collect();
        if members.len() < items.len() {
            continue;
        }
        let params = read("consensus", "members", json!(members));
        if let Some((found, expected)) = params.ok().and_then(|p| violation(&p, "members")) {
            let message = format!("are {found}; allowed: {expected}");
            out.push(Some(&list.origin), path.clone(), message);
        }
        values.push(json!(members));
    }
    (out.len() == n_before).then_some(values)
}

fn member(item: &Node, path: String, out: &mut Violations) -> Option<Json> {
    let n_before = out.len();
    let mut section = Section::of(item, path, out);
    section.require("detector", out);
    let names: Vec<(&str, &'static str)> = DetectorParams::NAMES
        .iter()
        .filter(|name| **name != "consensus")
        .map(|name| (*name, *name))
        .collect();
    let detector = section.choice("detector", &names, out)?;
    let mut space = DetectorSpace {
        detector,
        keys: Vec::new(),
    };
    let mut refused = Vec::new();
    let mut config = json!({ "detector": detector });
    for key in DetectorParams::keys(detector).unwrap_or_default() {
        let Some(node) = section.take(key) else {
            continue;
        };
        match one_value(detector, key, &node.value) {
            Ok(value) => {
                config[*key] = value.clone();
                space.keys.push(KeySpace {
                    key,
                    values: vec![value],
                });
            }
            Err(wrong) => {
                refused.push(*key);
                section.report(key, wrong.alone(), out);
            }
        }
    }
    refuse_without_effect(&section, &space, &refused, out);
    section.finish(out);
    (out.len() == n_before).then_some(config)
}

/// Reports keys that no point of the space has a use for. A chooser that was `refused` is no reason
/// to refuse the keys that may go with it.
fn refuse_without_effect(
    section: &Section<'_>,
    space: &DetectorSpace,
    refused: &[&str],
    out: &mut Violations,
) {
    let defaults = defaults(space.detector);
    let chosen = |chooser: &str| -> Vec<&str> {
        let given = space.values(chooser).map(<[Json]>::iter);
        let default = defaults.get(chooser).into_iter();
        match given {
            Some(given) => given.filter_map(Json::as_str).collect(),
            None => default.filter_map(Json::as_str).collect(),
        }
    };
    for key in DetectorParams::keys(space.detector).unwrap_or_default() {
        if !section.has(key) {
            continue;
        }
        let useless = conditions(space.detector, key).iter().find(|condition| {
            let Condition { chooser, choices } = condition;
            !refused.contains(chooser) && !chosen(chooser).iter().any(|c| choices.contains(c))
        });
        if let Some(Condition { chooser, choices }) = useless {
            let message = format!(
                "has no effect here; only {chooser} `{}` has it",
                choices.join("` or `")
            );
            section.report(key, message, out);
        }
    }
}

/// Reports what is wrong with values together that are right alone.
fn refuse_points(section: &Section<'_>, space: &DetectorSpace, out: &mut Violations) {
    let points = match space.grid() {
        Ok(points) => points,
        Err(error) => return section.report("detector", format!("{error:#}"), out),
    };
    let wrong = points.iter().find_map(|point| point.check().err());
    for sentence in wrong.map(|error| error.violations).unwrap_or_default() {
        let key = sentence.split('`').nth(1).unwrap_or("detector");
        let key = if section.has(key) { key } else { "detector" };
        section.report(key, format!("can't be: {sentence}"), out);
    }
}

/// The key of `data.features` that is nearest to `name`, for whoever meant another.
pub(crate) fn did_you_mean(name: &str, names: &[String]) -> String {
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    nearest(name, &names)
        .map(|near| format!("; did you mean `{near}`?"))
        .unwrap_or_default()
}
