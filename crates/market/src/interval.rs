//! The length of a candle.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use thiserror::Error;

/// One day in µs.
pub const DAY_US: i64 = 86_400_000_000;
/// One hour in µs.
pub const HOUR_US: i64 = 3_600_000_000;
/// One minute in µs.
pub const MINUTE_US: i64 = 60_000_000;
/// One second in µs.
pub const SECOND_US: i64 = 1_000_000;

/// The length of a candle: a positive divisor of a day, so that candles align with midnight UTC.
///
/// Written `10s`, `1m`, `5m`, `1h`, `1d`; `100ms` works too.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Interval(i64);

/// Why a text or a number is no [`Interval`].
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum IntervalError {
    /// Not `<number><unit>`.
    #[error("interval `{0}` is not a number with a unit such as `10s`, `1m`, `5m` or `1h`")]
    Syntax(String),
    /// Zero or negative.
    #[error("interval `{0}` is not longer than nothing")]
    NotPositive(String),
    /// A day is not a whole number of it.
    #[error("interval `{0}` does not divide a day into whole candles")]
    NotDivisor(String),
}

impl Interval {
    /// Ten seconds.
    pub const TEN_SECONDS: Interval = Interval(10 * SECOND_US);
    /// One minute.
    pub const MINUTE: Interval = Interval(MINUTE_US);
    /// One hour.
    pub const HOUR: Interval = Interval(HOUR_US);

    /// The interval of so many microseconds.
    ///
    /// # Errors
    /// Zero, negative numbers and non-divisors of a day are refused.
    pub fn from_micros(micros: i64) -> Result<Interval, IntervalError> {
        if micros <= 0 {
            return Err(IntervalError::NotPositive(format!("{micros}us")));
        }
        if DAY_US % micros != 0 {
            return Err(IntervalError::NotDivisor(format!("{micros}us")));
        }
        Ok(Interval(micros))
    }

    /// Its length in µs.
    #[inline]
    pub fn micros(self) -> i64 {
        self.0
    }

    /// The open time of the candle that holds this moment (also before 1970).
    #[inline]
    pub fn align(self, event_time: i64) -> i64 {
        event_time - event_time.rem_euclid(self.0)
    }

    /// Candles in one day.
    pub fn per_day(self) -> i64 {
        DAY_US / self.0
    }
}

impl fmt::Display for Interval {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let units = [
            (DAY_US, "d"),
            (HOUR_US, "h"),
            (MINUTE_US, "m"),
            (SECOND_US, "s"),
            (1_000, "ms"),
        ];
        match units.into_iter().find(|(length, _)| self.0 % length == 0) {
            Some((length, unit)) => write!(f, "{}{unit}", self.0 / length),
            None => write!(f, "{}us", self.0),
        }
    }
}

impl FromStr for Interval {
    type Err = IntervalError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let syntax = || IntervalError::Syntax(text.to_owned());
        let digits = text.bytes().take_while(u8::is_ascii_digit).count();
        let (number, unit) = text.split_at_checked(digits).ok_or_else(syntax)?;
        let unit = match unit {
            "us" => 1,
            "ms" => 1_000,
            "s" => SECOND_US,
            "m" | "min" => MINUTE_US,
            "h" => HOUR_US,
            "d" => DAY_US,
            _ => return Err(syntax()),
        };
        let number: i64 = number.parse().map_err(|_| syntax())?;
        if number == 0 {
            return Err(IntervalError::NotPositive(text.to_owned()));
        }
        let micros = number
            .checked_mul(unit)
            .ok_or_else(|| IntervalError::NotDivisor(text.to_owned()))?;
        Interval::from_micros(micros).map_err(|_| IntervalError::NotDivisor(text.to_owned()))
    }
}

impl TryFrom<String> for Interval {
    type Error = IntervalError;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        text.parse()
    }
}

impl From<Interval> for String {
    fn from(interval: Interval) -> String {
        interval.to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parses_and_prints_what_it_accepts() {
        for (text, micros) in [
            ("10s", 10_000_000),
            ("1m", 60_000_000),
            ("5m", 300_000_000),
            ("1h", 3_600_000_000),
            ("1d", 86_400_000_000),
            ("100ms", 100_000),
        ] {
            let interval: Interval = text.parse().unwrap();
            assert_eq!(interval.micros(), micros);
            assert_eq!(interval.to_string(), text);
        }
        assert_eq!("60s".parse::<Interval>().unwrap(), Interval::MINUTE);
    }

    #[test]
    fn refuses_the_rest_by_name() {
        for text in [
            "",
            "m",
            "1",
            "-1m",
            "1.5m",
            "1 m",
            "1w",
            "é",
            "99999999999999999999s",
            "1µs",
        ] {
            assert!(
                matches!(text.parse::<Interval>(), Err(IntervalError::Syntax(_))),
                "{text}"
            );
        }
        assert!(matches!(
            "0s".parse::<Interval>(),
            Err(IntervalError::NotPositive(_))
        ));
        for text in ["7s", "7m", "2d", "9223372036854775807d"] {
            let error = text.parse::<Interval>().unwrap_err();
            assert!(matches!(error, IntervalError::NotDivisor(_)), "{text}");
            assert!(error.to_string().contains(text));
        }
        assert!(Interval::from_micros(0).is_err());
        assert!(Interval::from_micros(-60_000_000).is_err());
    }

    #[test]
    fn aligns_before_and_after_the_epoch() {
        let minute = Interval::MINUTE;
        assert_eq!(minute.align(0), 0);
        assert_eq!(minute.align(59_999_999), 0);
        assert_eq!(minute.align(60_000_000), 60_000_000);
        assert_eq!(minute.align(-1), -60_000_000);
    }
}
