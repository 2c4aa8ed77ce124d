//! Range checks that name the key and the value.

use std::fmt::Display;
use std::ops::RangeInclusive;

/// Collects one sentence for every value out of range.
#[derive(Debug, Default)]
pub(crate) struct Checks {
    found: Vec<String>,
}

impl Checks {
    /// `value` must be in `range`, ends included; NaN never is.
    pub(crate) fn within<T: PartialOrd + Display>(
        &mut self,
        key: &str,
        value: T,
        range: RangeInclusive<T>,
    ) -> &mut Self {
        let expected = format!("{} to {}", range.start(), range.end());
        self.that(key, &value, range.contains(&value), &expected)
    }

    /// `value` must be above `low` and at most `high`; NaN never is.
    pub(crate) fn above(&mut self, key: &str, value: f64, low: f64, high: f64) -> &mut Self {
        let expected = format!("a number above {low} and at most {high}");
        self.that(key, value, value > low && value <= high, &expected)
    }

    /// `holds` must be true of the `value` of `key`.
    pub(crate) fn that(
        &mut self,
        key: &str,
        value: impl Display,
        holds: bool,
        expected: &str,
    ) -> &mut Self {
        if !holds {
            self.found
                .push(format!("`{key}` is `{value}`, expected {expected}"));
        }
        self
    }

    /// What `others` found, each sentence after `prefix`.
    pub(crate) fn also(&mut self, prefix: &str, others: Vec<String>) -> &mut Self {
        let others = others.into_iter().map(|text| format!("{prefix}{text}"));
        self.found.extend(others);
        self
    }

    /// All sentences.
    pub(crate) fn done(&mut self) -> Vec<String> {
        std::mem::take(&mut self.found)
    }
}
