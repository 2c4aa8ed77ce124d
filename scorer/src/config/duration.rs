//! Lengths of time as people write them: `250ms`, `30s`, `5m`, `12h`, `7d`.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use serde::{Deserialize, Deserializer};

/// A length of time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Span(pub Duration);

const UNITS: [(&str, u64); 6] = [
    ("us", 1),
    ("ms", 1_000),
    ("s", 1_000_000),
    ("m", 60_000_000),
    ("h", 3_600_000_000),
    ("d", 86_400_000_000),
];

impl Span {
    /// In µs; the largest number where there are more.
    #[must_use]
    pub fn micros(self) -> i64 {
        i64::try_from(self.0.as_micros()).unwrap_or(i64::MAX)
    }
}

impl FromStr for Span {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let refuse = || {
            format!(
                "`{text}` is no length of time; write a whole number and a unit, such as `250ms`, `30s`, `5m`, `12h` or `7d`"
            )
        };
        let end = text
            .find(|letter: char| !letter.is_ascii_digit())
            .ok_or_else(refuse)?;
        let (number, unit) = text.split_at(end);
        let number: u64 = number.parse().map_err(|_| refuse())?;
        let (_, micros) = UNITS
            .iter()
            .find(|(name, _)| *name == unit)
            .ok_or_else(refuse)?;
        let micros = number.checked_mul(*micros).ok_or_else(refuse)?;
        Ok(Span(Duration::from_micros(micros)))
    }
}

impl fmt::Display for Span {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let micros = self.micros().unsigned_abs();
        let (name, size) = UNITS
            .iter()
            .rev()
            .find(|(_, size)| micros >= *size && micros.is_multiple_of(*size))
            .unwrap_or(&UNITS[2]);
        write!(f, "{}{name}", micros / size)
    }
}

impl<'de> Deserialize<'de> for Span {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?
            .parse()
            .map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lengths_are_read_and_shown() {
        for (text, micros) in [
            ("250ms", 250_000),
            ("0s", 0),
            ("90s", 90_000_000),
            ("7d", 604_800_000_000),
        ] {
            let span: Span = text.parse().unwrap();
            assert_eq!(span.micros(), micros);
            assert_eq!(span.to_string().parse::<Span>().unwrap(), span);
        }
        for text in [
            "",
            "5",
            "s",
            "5 s",
            "-1s",
            "1.5s",
            "5y",
            "99999999999999999999d",
        ] {
            assert!(
                text.parse::<Span>()
                    .unwrap_err()
                    .contains("no length of time"),
                "{text}"
            );
        }
    }
}
