//! Which output is the score, and which way is up.

use crate::error::{Error, Result};

/// How a graph's outputs become a score that is higher for what is more anomalous.
///
/// Whoever logs a model says so in its MLflow metadata or in tags of its version:
///
/// | key | value |
/// | --- | --- |
/// | `foreshock.score_output` | the name of the output |
/// | `foreshock.score_sign` | `1`: higher is more anomalous; `-1`: lower is |
/// | `foreshock.score_kind` | `score`, or `reconstruction`: the output is the row as rebuilt, and the score the root of the mean squared difference |
///
/// Where nothing is said: of outputs `label` and `scores`, as skl2onnx writes an `IsolationForest`, it is
/// `scores`, and lower is more anomalous; an only output as wide as the row is a
/// reconstruction; any other only output is the score. Everything else is refused.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ScoreRule {
    /// The output, if it is named.
    pub output: Option<String>,
    /// 1 or −1, if it is said.
    pub sign: Option<i8>,
    /// Whether the output is a reconstruction, if it is said.
    pub reconstruction: Option<bool>,
}

impl ScoreRule {
    /// The keys that are asked for.
    pub const KEYS: [&str; 3] = [
        "foreshock.score_output",
        "foreshock.score_sign",
        "foreshock.score_kind",
    ];

    /// The rule that `get` knows the values of, by key.
    ///
    /// # Errors
    /// A value that isn't one of its key.
    pub fn from_keys<'a>(get: impl Fn(&str) -> Option<&'a str>) -> Result<Self> {
        let sign = match get("foreshock.score_sign") {
            None => None,
            Some("1" | "+1") => Some(1),
            Some("-1") => Some(-1),
            Some(other) => {
                return Err(Error::mismatch(
                    "`foreshock.score_sign`",
                    "`1` or `-1`",
                    quoted(other),
                ));
            }
        };
        let reconstruction = match get("foreshock.score_kind") {
            None => None,
            Some("score") => Some(false),
            Some("reconstruction") => Some(true),
            Some(other) => {
                return Err(Error::mismatch(
                    "`foreshock.score_kind`",
                    "`score` or `reconstruction`",
                    quoted(other),
                ));
            }
        };
        Ok(Self {
            output: get("foreshock.score_output").map(str::to_owned),
            sign,
            reconstruction,
        })
    }

    /// The place of the output among `outputs`, and the sign.
    pub(crate) fn choose(&self, outputs: &[String]) -> Result<(usize, f64)> {
        let place = |name: &str| outputs.iter().position(|output| output == name);
        let said = self.sign.map(f64::from);
        if let Some(name) = &self.output {
            let at = place(name).ok_or_else(|| {
                Error::mismatch(
                    "`foreshock.score_output`",
                    format!("one of the outputs {}", listed(outputs)),
                    quoted(name),
                )
            })?;
            return Ok((at, said.unwrap_or(1.0)));
        }
        match (place("label"), place("scores"), outputs) {
            (Some(_), Some(at), [_, _]) => Ok((at, said.unwrap_or(-1.0))),
            (_, _, [_]) => Ok((0, said.unwrap_or(1.0))),
            _ => Err(Error::mismatch(
                "outputs",
                "`label` and `scores`, one output, or the score's name in `foreshock.score_output`",
                listed(outputs),
            )),
        }
    }
}

pub(crate) fn quoted(text: &str) -> String {
    format!("`{text}`")
}

pub(crate) fn listed(names: &[String]) -> String {
    let names: Vec<String> = names.iter().map(|name| quoted(name)).collect();
    names.join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(names: &[&str]) -> Vec<String> {
        names.iter().map(|name| (*name).to_owned()).collect()
    }

    #[test]
    fn the_score_is_found_or_must_be_named() {
        let none = ScoreRule::default();
        assert_eq!(
            none.choose(&names(&["label", "scores"])).unwrap(),
            (1, -1.0)
        );
        assert_eq!(none.choose(&names(&["y"])).unwrap(), (0, 1.0));
        let error = none.choose(&names(&["a", "b"])).unwrap_err().to_string();
        assert!(
            error.contains("`a`, `b`") && error.contains("score_output"),
            "{error}"
        );
        let said = [
            ("foreshock.score_output", "b"),
            ("foreshock.score_sign", "-1"),
        ];
        let get = |key: &str| said.iter().find(|(k, _)| *k == key).map(|(_, v)| *v);
        let rule = ScoreRule::from_keys(get).unwrap();
        assert_eq!(rule.choose(&names(&["a", "b"])).unwrap(), (1, -1.0));
        assert!(rule.choose(&names(&["a"])).is_err());
        assert!(ScoreRule::from_keys(|_| Some("2")).is_err());
    }
}
