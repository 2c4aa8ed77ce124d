//! Times for messages.

const SECOND_US: i64 = 1_000_000;
const DAY_SECONDS: i64 = 86_400;

/// A time in µs since the epoch as RFC 3339 in UTC: `2018-01-01T00:00:00Z`.
pub(crate) fn show_time(micros: i64) -> String {
    let (seconds, micros) = (micros.div_euclid(SECOND_US), micros.rem_euclid(SECOND_US));
    let (year, month, day) = date_of(seconds.div_euclid(DAY_SECONDS));
    let second = seconds.rem_euclid(DAY_SECONDS);
    let (hour, minute, second) = (second / 3600, second / 60 % 60, second % 60);
    let fraction = match micros {
        0 => String::new(),
        micros => format!(".{}", format!("{micros:06}").trim_end_matches('0')),
    };
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}{fraction}Z")
}

/// The date of a day counted from 1970-01-01, in the Gregorian calendar.
fn date_of(day: i64) -> (i64, i64, i64) {
    // In years that begin in March, the leap day is the last one. 719468 days lie between
    // 0000-03-01 and 1970-01-01; 400 years have 146097 days.
    let day = day + 719_468;
    let (era, day) = (day.div_euclid(146_097), day.rem_euclid(146_097));
    let year = (day - day / 1_460 + day / 36_524 - day / 146_096) / 365;
    let day = day - (365 * year + year / 4 - year / 100);
    let from_march = (5 * day + 2) / 153;
    let month = (from_march + 2) % 12 + 1;
    let year = era * 400 + year + i64::from(month <= 2);
    (year, month, day - (153 * from_march + 2) / 5 + 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_shown_in_utc() {
        for (micros, shown) in [
            (0, "1970-01-01T00:00:00Z"),
            (-1, "1969-12-31T23:59:59.999999Z"),
            (1_514_764_860_000_000, "2018-01-01T00:01:00Z"),
            (1_709_164_800_500_000, "2024-02-29T00:00:00.5Z"),
            (1_709_251_200_000_000, "2024-03-01T00:00:00Z"),
            (951_782_400_000_000, "2000-02-29T00:00:00Z"),
            (4_107_542_400_000_000, "2100-03-01T00:00:00Z"),
            (253_402_300_799_000_000, "9999-12-31T23:59:59Z"),
        ] {
            assert_eq!(show_time(micros), shown);
        }
    }
}
