//! Hours of the week, as far as a reference of a few weeks can tell them apart.

use market::{DAY_US, HOUR_US};

/// The hours of working days, then those of weekends (UTC).
pub(super) const STRATA: usize = 48;

/// The stratum of a moment.
pub(super) fn stratum(time: i64) -> usize {
    let day = day(time).rem_euclid(7);
    let hour = (time.rem_euclid(DAY_US) / HOUR_US) as usize;
    // 1970-01-01 was a Thursday: days 2 and 3 of the count are Saturday and Sunday.
    if day == 2 || day == 3 {
        24 + hour
    } else {
        hour
    }
}

/// The day of a moment, counted from 1970-01-01.
pub(super) fn day(time: i64) -> i64 {
    time.div_euclid(DAY_US)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn weekends_are_told_from_working_days() {
        // 2026-01-02 was a Friday.
        let friday = 1_767_312_000_000_000;
        assert_eq!(stratum(friday), 0);
        assert_eq!(stratum(friday + 23 * HOUR_US), 23);
        assert_eq!(stratum(friday + DAY_US), 24);
        assert_eq!(stratum(friday + 2 * DAY_US + 5 * HOUR_US), 29);
        assert_eq!(stratum(friday + 3 * DAY_US + HOUR_US - 1), 0);
        assert_eq!(stratum(-1), 23);
    }
}
