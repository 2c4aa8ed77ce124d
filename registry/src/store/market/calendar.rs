//! Which partition a time belongs to.

use jiff::civil::Date;
use jiff::tz::TimeZone;
use jiff::{Timestamp, ToSpan};

use super::HistoryKind;

/// A partition: a stretch of event time and the end of its table's name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) struct Slot {
    first: Date,
    /// From this time on, µs.
    pub(super) from: i64,
    /// Before this time, µs.
    pub(super) until: i64,
}

impl Slot {
    /// The partition of a time; `None` where it has none (or no date).
    pub(super) fn of(kind: HistoryKind, time: i64) -> Option<Self> {
        let date = Timestamp::from_microsecond(time)
            .ok()?
            .to_zoned(TimeZone::UTC)
            .date();
        Self::starting(
            kind,
            if is_monthly(kind) {
                date.first_of_month()
            } else {
                date
            },
        )
    }

    fn starting(kind: HistoryKind, first: Date) -> Option<Self> {
        let span = if is_monthly(kind) { 1.month() } else { 1.day() };
        Some(Self {
            first,
            from: micros(first)?,
            until: micros(first.checked_add(span).ok()?)?,
        })
    }

    /// The name of its table.
    pub(super) fn table(self, kind: HistoryKind) -> String {
        let format = if is_monthly(kind) { "%Y%m" } else { "%Y%m%d" };
        format!("{}_p{}", kind.table(), self.first.strftime(format))
    }

    /// The partition that a table is, if it is one.
    pub(super) fn of_table(kind: HistoryKind, table: &str) -> Option<Self> {
        let digits = table.strip_prefix(kind.table())?.strip_prefix("_p")?;
        let number = |range: std::ops::Range<usize>| digits.get(range)?.parse::<i16>().ok();
        let day = if is_monthly(kind) { 1 } else { number(6..8)? };
        let (month, day) = (i8::try_from(number(4..6)?).ok()?, i8::try_from(day).ok()?);
        let slot = Self::starting(kind, Date::new(number(0..4)?, month, day).ok()?)?;
        (slot.table(kind) == table).then_some(slot)
    }
}

/// Alerts and verdicts are few; candles and scores are millions a day.
fn is_monthly(kind: HistoryKind) -> bool {
    matches!(kind, HistoryKind::Alerts | HistoryKind::Drift)
}

fn micros(date: Date) -> Option<i64> {
    let zoned = date.to_zoned(TimeZone::UTC).ok()?;
    Some(zoned.timestamp().as_microsecond())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// 2024-02-29T12:00:00Z
    const LEAP: i64 = 1_709_208_000_000_000;
    const DAY: i64 = 86_400_000_000;

    #[test]
    fn days_and_months_begin_where_the_calendar_says() {
        let day = Slot::of(HistoryKind::Candles, LEAP).unwrap();
        assert_eq!(day.table(HistoryKind::Candles), "candles_p20240229");
        assert_eq!((day.from, day.until), (LEAP - DAY / 2, LEAP + DAY / 2));
        let month = Slot::of(HistoryKind::Drift, LEAP).unwrap();
        assert_eq!(month.table(HistoryKind::Drift), "drift_verdicts_p202402");
        assert_eq!(month.until - month.from, 29 * DAY);
        assert!(Slot::of(HistoryKind::Alerts, i64::MAX).is_none());
        assert!(Slot::of(HistoryKind::Alerts, i64::MIN).is_none());
    }

    #[test]
    fn a_table_tells_its_time() {
        for kind in HistoryKind::ALL {
            let slot = Slot::of(kind, LEAP).unwrap();
            assert_eq!(Slot::of_table(kind, &slot.table(kind)), Some(slot));
        }
        for other in [
            "candles_other",
            "candles_p202402",
            "candles_p20240230",
            "candles_pécole9",
        ] {
            assert_eq!(Slot::of_table(HistoryKind::Candles, other), None, "{other}");
        }
    }
}
