//! Times as text and as numbers, to microseconds since the epoch.

use jiff::Timestamp;
use jiff::civil::{Date, DateTime};
use jiff::tz::TimeZone;

/// Parses a time of a CSV file; `None` if it is none.
///
/// Numbers are seconds, milliseconds, microseconds or nanoseconds, told apart by their size (the
/// ranges of the years 1973 to 5138 do not overlap). Text is ISO 8601 with `T` or a blank; without
/// a zone it is UTC.
pub(crate) fn parse_time(text: &str) -> Option<i64> {
    let text = text.trim();
    if let Some(number) = plain_digits(text) {
        return micros_of_number(number);
    }
    let first = text.bytes().next()?;
    let is_number = text
        .bytes()
        .all(|byte| byte.is_ascii_digit() || matches!(byte, b'.' | b'-' | b'+'))
        && text.bytes().filter(|byte| *byte == b'-').count() <= usize::from(first == b'-');
    if !is_number {
        return parse_text_time(text);
    }
    if let Ok(number) = text.parse::<i64>() {
        return micros_of_number(number);
    }
    // `1514764800.123` (seconds) or `1514764800000.0` (written through a float column).
    let number: f64 = text.parse().ok()?;
    let scale = unit_micros(number)?;
    let micros = (number * scale).round();
    (micros.abs() < 9e18).then_some(micros as i64)
}

/// The number that a text of digits alone is; `None` if it is anything else, or might not fit.
fn plain_digits(text: &str) -> Option<i64> {
    if text.is_empty() || text.len() > 18 {
        return None;
    }
    text.bytes().try_fold(0, |number, byte| {
        let digit = byte.wrapping_sub(b'0');
        (digit < 10).then(|| number * 10 + i64::from(digit))
    })
}

/// A number of seconds, milliseconds, microseconds or nanoseconds, to microseconds.
pub(crate) fn micros_of_number(number: i64) -> Option<i64> {
    Some(match number.unsigned_abs() {
        0..100_000_000_000 => number * 1_000_000,
        100_000_000_000..100_000_000_000_000 => number * 1_000,
        100_000_000_000_000..100_000_000_000_000_000 => number,
        _ => number.div_euclid(1_000),
    })
}

fn unit_micros(number: f64) -> Option<f64> {
    if !number.is_finite() {
        return None;
    }
    Some(match number.abs() {
        n if n < 1e11 => 1e6,
        n if n < 1e14 => 1e3,
        n if n < 1e17 => 1.0,
        _ => 1e-3,
    })
}

fn parse_text_time(text: &str) -> Option<i64> {
    // Only times, please: jiff reads durations and week dates as well.
    if !text.as_bytes().first()?.is_ascii_digit() {
        return None;
    }
    if let Ok(timestamp) = text.parse::<Timestamp>() {
        return Some(timestamp.as_microsecond());
    }
    let text = text.strip_suffix(" UTC").unwrap_or(text);
    let civil = text
        .parse::<DateTime>()
        .or_else(|_| text.parse::<Date>().map(DateTime::from))
        .ok()?;
    let zoned = civil.to_zoned(TimeZone::UTC).ok()?;
    Some(zoned.timestamp().as_microsecond())
}

/// A time for messages: `2018-01-01T00:00:00Z`.
pub(crate) fn show_time(micros: i64) -> String {
    match Timestamp::from_microsecond(micros) {
        Ok(timestamp) => timestamp.to_string(),
        Err(_) => format!("{micros} µs"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tells_units_apart() {
        let second = 1_514_764_800_i64;
        for (text, micros) in [
            ("1514764800", second * 1_000_000),
            ("1514764800.25", second * 1_000_000 + 250_000),
            ("1514764800123", second * 1_000_000 + 123_000),
            ("1514764800123.0", second * 1_000_000 + 123_000),
            ("1514764800123456", second * 1_000_000 + 123_456),
            ("1514764800123456789", second * 1_000_000 + 123_456),
            ("2018-01-01 00:00:00", second * 1_000_000),
            ("2018-01-01", second * 1_000_000),
            ("2018-01-01T00:00:00.5Z", second * 1_000_000 + 500_000),
            ("2018-01-01T01:00:00+01:00", second * 1_000_000),
        ] {
            assert_eq!(parse_time(text), Some(micros), "{text}");
        }
        for text in ["", "x", "nan", "-", "1.2.3", "2018-13-01", "BTC", "1e400"] {
            assert_eq!(parse_time(text), None, "{text}");
        }
    }
}
