//! Ticks of a time axis at round UTC times.

use jiff::civil::DateTime;
use jiff::{Timestamp, ToSpan, tz::TimeZone};

/// One tick and its two lines of label.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct TimeTick {
    /// µs since the epoch.
    pub(super) time: i64,
    /// Time of day, or day, month or year on long axes.
    pub(super) label: String,
    /// The date or year, at the first tick and where it changes.
    pub(super) below: Option<String>,
}

const SECOND: i64 = 1_000_000;
const DAY: i64 = 86_400 * SECOND;

/// Steps below a month, in seconds.
const STEPS: [i64; 20] = [
    1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1_800, 3_600, 7_200, 10_800, 21_600, 43_200,
    86_400, 172_800, 604_800,
];

/// At most `count` ticks (at least two are allowed) in `start..=end`.
pub(super) fn time_ticks(start: i64, end: i64, count: usize) -> Vec<TimeTick> {
    let count = count.max(2) as i64;
    let span = end.saturating_sub(start).max(SECOND);
    match STEPS
        .into_iter()
        .map(|s| s * SECOND)
        .find(|step| span / step < count)
    {
        Some(step) => regular(start, end, step),
        None => months(start, end, span, count),
    }
}

fn regular(start: i64, end: i64, step: i64) -> Vec<TimeTick> {
    // Weeks are counted from a Monday; the epoch was a Thursday.
    let origin = if step == 7 * DAY { 4 * DAY } else { 0 };
    let first = origin
        + start
            .saturating_sub(origin)
            .div_euclid(step)
            .saturating_mul(step);
    let mut last_below = String::new();
    (0..1_000_i64)
        .map_while(|i| first.checked_add(step.checked_mul(i)?))
        .take_while(|time| *time <= end)
        .filter(|time| *time >= start)
        .filter_map(|time| {
            let civil = civil(time)?;
            let (label, below) = if step >= DAY {
                (
                    civil.strftime("%b %-d").to_string(),
                    civil.strftime("%Y").to_string(),
                )
            } else if step >= 60 * SECOND {
                (
                    civil.strftime("%H:%M").to_string(),
                    civil.strftime("%Y-%m-%d").to_string(),
                )
            } else {
                (
                    civil.strftime("%H:%M:%S").to_string(),
                    civil.strftime("%Y-%m-%d").to_string(),
                )
            };
            Some(tick(time, label, below, &mut last_below))
        })
        .collect()
}

fn months(start: i64, end: i64, span: i64, count: i64) -> Vec<TimeTick> {
    let in_months = span / (30 * DAY);
    let step = [1, 3, 6, 12, 24, 60, 120, 600]
        .into_iter()
        .find(|step| in_months / step < count)
        .unwrap_or(1_200);
    let Some(from) = civil(start) else {
        return Vec::new();
    };
    let Ok(mut at) = jiff::civil::Date::new(from.year() / 10 * 10, 1, 1) else {
        return Vec::new();
    };
    let mut ticks = Vec::new();
    let mut last_below = String::new();
    while let Ok(time) = at
        .to_zoned(TimeZone::UTC)
        .map(|t| t.timestamp().as_microsecond())
    {
        if time > end {
            break;
        }
        if time >= start {
            let (label, below) = if step >= 12 {
                (at.strftime("%Y").to_string(), String::new())
            } else {
                (at.strftime("%b").to_string(), at.strftime("%Y").to_string())
            };
            ticks.push(tick(time, label, below, &mut last_below));
        }
        let Ok(next) = at.checked_add(step.months()) else {
            break;
        };
        at = next;
    }
    ticks
}

fn tick(time: i64, label: String, below: String, last_below: &mut String) -> TimeTick {
    let changed = below != *last_below;
    last_below.clone_from(&below);
    TimeTick {
        time,
        label,
        below: changed.then_some(below),
    }
}

fn civil(time: i64) -> Option<DateTime> {
    Timestamp::from_microsecond(time)
        .ok()
        .map(|t| t.to_zoned(TimeZone::UTC).datetime())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn micros(text: &str) -> i64 {
        text.parse::<Timestamp>().unwrap().as_microsecond()
    }

    fn shown(start: &str, end: &str, count: usize) -> Vec<String> {
        time_ticks(micros(start), micros(end), count)
            .into_iter()
            .map(|t| {
                t.below
                    .map_or(t.label.clone(), |below| format!("{} {below}", t.label))
            })
            .collect()
    }

    #[test]
    fn labels_follow_the_span() {
        assert_eq!(
            shown("2018-02-17T22:30:00Z", "2018-02-18T02:10:00Z", 6),
            ["23:00 2018-02-17", "00:00 2018-02-18", "01:00", "02:00"]
        );
        assert_eq!(
            shown("2018-12-30T05:00:00Z", "2019-01-03T00:00:00Z", 8),
            [
                "12:00 2018-12-30",
                "00:00 2018-12-31",
                "12:00",
                "00:00 2019-01-01",
                "12:00",
                "00:00 2019-01-02",
                "12:00",
                "00:00 2019-01-03"
            ]
            .map(String::from)
            .into_iter()
            .collect::<Vec<_>>()
        );
        assert_eq!(
            shown("2017-10-05T00:00:00Z", "2018-04-01T00:00:00Z", 7),
            ["Nov 2017", "Dec", "Jan 2018", "Feb", "Mar", "Apr"]
        );
        assert_eq!(
            shown("2010-05-01T00:00:00Z", "2016-02-01T00:00:00Z", 6),
            ["2011", "2012", "2013", "2014", "2015", "2016"]
        );
    }

    #[test]
    fn any_range_is_bearable() {
        for (start, end) in [
            (0, 0),
            (5, 1),
            (i64::MIN, i64::MAX),
            (i64::MAX - 1, i64::MAX),
            (-1, 1),
        ] {
            assert!(time_ticks(start, end, 10).len() <= 1_000, "{start}..{end}");
        }
    }
}
