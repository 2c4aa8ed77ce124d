//! A detector's search space: the keys that a file gives, each with one value or several.
//!
//! The detectors themselves say which keys there are, what they take and what is out of range;
//! nothing is said twice here but which keys only some choices of another key have a use for.

use anyhow::Context;
use detectors::DetectorParams;
use serde::Serialize;
use serde_json::{Map, Value, json};

/// The keys of a detector that were given, in the detector's own order.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct DetectorSpace {
    /// The detector's name in experiment files.
    pub detector: &'static str,
    /// The keys that were given; the others keep the detector's defaults.
    pub keys: Vec<KeySpace>,
}

/// A key's values; more than one span a grid.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct KeySpace {
    /// The key.
    pub key: &'static str,
    /// Its values, at least one.
    pub values: Vec<Value>,
}

/// A key that has an effect only where `chooser` is one of `choices`.
#[derive(Debug, Clone, Copy)]
pub(super) struct Condition {
    pub(super) chooser: &'static str,
    pub(super) choices: &'static [&'static str],
}

/// What `key` of `detector` depends on.
pub(super) fn conditions(detector: &str, key: &str) -> &'static [Condition] {
    const fn on(chooser: &'static str, choices: &'static [&'static str]) -> Condition {
        Condition { chooser, choices }
    }
    const EXTENDED: Condition = on("form", &["extended"]);
    const BY_GAIN: Condition = on("form", &["sci_forest", "fair_cut"]);
    const BY_PATH: Condition = on("scoring", &["path_length"]);
    match (detector, key) {
        ("isolation_forest", "extension_level") => &[EXTENDED],
        ("isolation_forest", "n_candidates" | "hyperplane_columns") => &[BY_GAIN],
        ("isolation_forest", "penalize_range") => &[BY_GAIN, BY_PATH],
        ("mahalanobis", "support") => &const { [on("scatter", &["robust"])] },
        ("mahalanobis", "half_life") => &const { [on("scatter", &["exponential"])] },
        _ => &[],
    }
}

/// What `detector` has for each key when a file says nothing.
pub(super) fn defaults(detector: &str) -> Map<String, Value> {
    let params = serde_json::from_value::<DetectorParams>(json!({ "detector": detector }));
    match params
        .ok()
        .and_then(|params| serde_json::to_value(params).ok())
    {
        Some(Value::Object(defaults)) => defaults,
        _ => Map::new(),
    }
}

impl DetectorSpace {
    /// Points of a grid at most, before `[search]` chooses among them.
    pub const MAX_POINTS: usize = 100_000;

    /// The values of `key`, if the file gives it.
    #[must_use]
    pub fn values(&self, key: &str) -> Option<&[Value]> {
        self.keys
            .iter()
            .find(|space| space.key == key)
            .map(|space| space.values.as_slice())
    }

    /// Every point, the last key fastest. A key is varied only where it has an effect.
    ///
    /// # Errors
    /// When there are more than [`MAX_POINTS`](Self::MAX_POINTS), or a point is no detector.
    pub fn grid(&self) -> anyhow::Result<Vec<DetectorParams>> {
        let defaults = defaults(self.detector);
        let first = Map::from_iter([("detector".to_owned(), json!(self.detector))]);
        let mut grid = vec![first];
        for KeySpace { key, values } in &self.keys {
            let mut next = Vec::new();
            for point in grid {
                let has_effect = conditions(self.detector, key).iter().all(|condition| {
                    let chosen = point
                        .get(condition.chooser)
                        .or_else(|| defaults.get(condition.chooser));
                    chosen
                        .and_then(Value::as_str)
                        .is_some_and(|chosen| condition.choices.contains(&chosen))
                });
                if !has_effect {
                    next.push(point);
                    continue;
                }
                for value in values {
                    let mut point = point.clone();
                    point.insert((*key).to_owned(), value.clone());
                    next.push(point);
                }
                if next.len() > Self::MAX_POINTS {
                    anyhow::bail!("the search space has more than {} points", Self::MAX_POINTS);
                }
            }
            grid = next;
        }
        grid.into_iter()
            .map(|point| {
                serde_json::from_value(Value::Object(point))
                    .with_context(|| format!("`{}` can't be read", self.detector))
            })
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn space(detector: &'static str, keys: &[(&'static str, Value)]) -> DetectorSpace {
        let keys = keys.iter().map(|(key, values)| KeySpace {
            key,
            values: values.as_array().unwrap().clone(),
        });
        DetectorSpace {
            detector,
            keys: keys.collect(),
        }
    }

    #[test]
    fn the_last_key_of_a_grid_is_the_fastest() {
        let keys = [
            ("n_trees", json!([5, 20])),
            ("sample_size", json!([64, 128])),
        ];
        let grid = space("isolation_forest", &keys).grid().unwrap();
        let grid: Vec<_> = grid
            .iter()
            .map(|params| match params {
                DetectorParams::IsolationForest(config) => (config.n_trees, config.sample_size),
                other => panic!("{other:?}"),
            })
            .collect();
        assert_eq!(grid, [(5, 64), (5, 128), (20, 64), (20, 128)]);
    }

    #[test]
    fn a_key_is_varied_only_where_it_has_an_effect() {
        let keys = [
            ("form", json!(["classic", "extended", "sci_forest"])),
            ("extension_level", json!([1, 2])),
            ("scoring", json!(["path_length", "density"])),
            ("n_candidates", json!([1, 5])),
            ("penalize_range", json!([false, true])),
        ];
        let grid = space("isolation_forest", &keys).grid().unwrap();
        let values: Vec<Value> = grid
            .iter()
            .map(|params| serde_json::to_value(params).unwrap())
            .collect();
        let count = |form: &str, scoring: &str| {
            let same = |point: &&Value| point["form"] == form && point["scoring"] == scoring;
            values.iter().filter(same).count()
        };
        assert_eq!(count("classic", "path_length"), 1);
        assert_eq!(count("extended", "path_length"), 2);
        assert_eq!(count("extended", "density"), 2);
        assert_eq!(count("sci_forest", "path_length"), 4);
        assert_eq!(count("sci_forest", "density"), 2);
        for (at, params) in grid.iter().enumerate() {
            assert!(!grid[..at].contains(params), "{params:?} twice");
        }
        let keys = [
            ("scatter", json!(["robust", "exponential"])),
            ("support", json!([0.6, 0.8])),
            ("half_life", json!([10, 20, 30])),
        ];
        assert_eq!(space("mahalanobis", &keys).grid().unwrap().len(), 5);
        // The default chooses where the file doesn't.
        let keys = [("support", json!([0.6, 0.8])), ("half_life", json!([10]))];
        assert_eq!(space("mahalanobis", &keys).grid().unwrap().len(), 2);
    }

    #[test]
    fn a_grid_beyond_all_reason_is_refused_before_it_is_made() {
        let many: Vec<Value> = (1..=1_000).map(Value::from).collect();
        let keys = [("n_trees", json!(many)), ("sample_size", json!(many))];
        let error = space("isolation_forest", &keys).grid().unwrap_err();
        assert!(error.to_string().contains("100000 points"), "{error}");
    }
}
