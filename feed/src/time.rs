//! Times and durations as people write them, in µs.

use jiff::civil::{Date, DateTime};
use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp};

/// A moment: RFC 3339, a date and a time, or a date alone; UTC where no zone is named.
///
/// # Errors
/// When it is none.
pub fn parse_moment(text: &str) -> Result<i64, String> {
    let text = text.trim();
    if let Ok(timestamp) = text.parse::<Timestamp>() {
        return Ok(timestamp.as_microsecond());
    }
    let wrong = || format!("`{text}` is not a time such as 2024-01-01 or 2024-01-01T12:00:00Z");
    let civil = text
        .parse::<DateTime>()
        .or_else(|_| text.parse::<Date>().map(DateTime::from))
        .map_err(|_| wrong())?;
    let zoned = civil.to_zoned(TimeZone::UTC).map_err(|_| wrong())?;
    Ok(zoned.timestamp().as_microsecond())
}

/// A duration: `90s`, `1h30m`, `2d`.
///
/// # Errors
/// When it is none, or none above zero.
pub fn parse_duration(text: &str) -> Result<i64, String> {
    let wrong = || format!("`{text}` is not a duration such as 90s, 1h30m or 2d");
    let mut hours_and_less = text.trim();
    let mut days = 0_i64;
    if let Some((number, rest)) = hours_and_less.split_once('d') {
        days = number.trim().parse().map_err(|_| wrong())?;
        hours_and_less = rest.trim();
    }
    let mut micros = days.checked_mul(86_400_000_000).ok_or_else(wrong)?;
    if !hours_and_less.is_empty() {
        let duration: SignedDuration = hours_and_less.parse().map_err(|_| wrong())?;
        let rest = i64::try_from(duration.as_micros()).map_err(|_| wrong())?;
        micros = micros.checked_add(rest).ok_or_else(wrong)?;
    }
    if micros <= 0 {
        return Err(wrong());
    }
    Ok(micros)
}

/// A time for messages: `2018-01-01T00:00:00Z`.
pub fn show_time(micros: i64) -> String {
    match Timestamp::from_microsecond(micros) {
        Ok(timestamp) => timestamp.to_string(),
        Err(_) => format!("{micros} µs"),
    }
}

/// Now, in µs since the epoch.
pub fn now() -> i64 {
    Timestamp::now().as_microsecond()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_and_durations() {
        assert_eq!(parse_moment("2024-01-01"), Ok(1_704_067_200_000_000));
        assert_eq!(
            parse_moment("2024-01-01T01:00:00+01:00"),
            Ok(1_704_067_200_000_000)
        );
        assert_eq!(parse_duration("1h30m"), Ok(5_400_000_000));
        assert_eq!(parse_duration("2d"), Ok(172_800_000_000));
        assert_eq!(parse_duration("1d12h"), Ok(129_600_000_000));
        assert_eq!(parse_duration("250ms"), Ok(250_000));
        for wrong in ["", "0s", "-1h", "soon", "1"] {
            assert!(parse_duration(wrong).is_err(), "{wrong}");
        }
        assert!(parse_moment("yesterday").is_err());
    }
}
