//! Hours of the week, as far as a reference of a few weeks can tell them apart.

use market::{DAY_US, HOUR_US};

/// Day groups by hours.
pub(super) const STRATA: usize = 96;

/// Which days are told apart (in UTC).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Days {
    /// There is no time.
    None,
    /// Working days and weekends.
    Two,
    /// Mondays, which follow a weekend, and so see it in whatever looks back a day; the other working days;
    /// Saturdays; Sundays.
    Four,
}

impl Days {
    pub(super) const ALL: [Self; 3] = [Self::None, Self::Two, Self::Four];

    /// The stratum of a moment.
    pub(super) fn stratum(self, time: i64) -> usize {
        // 1970-01-01 was a Thursday.
        let group = match (self, (day(time) + 3).rem_euclid(7)) {
            (Self::None, _) => return 0,
            (Self::Two, 0..5) => 0,
            (Self::Two, _) => 2,
            (Self::Four, 0) => 1,
            (Self::Four, 5) => 2,
            (Self::Four, 6) => 3,
            (Self::Four, _) => 0,
        };
        group * 24 + (time.rem_euclid(DAY_US) / HOUR_US) as usize
    }

    /// How many strata there are.
    pub(super) fn n_strata(self) -> usize {
        match self {
            Self::None => 1,
            Self::Two => 48,
            Self::Four => 96,
        }
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
    fn weekends_and_what_follows_them_are_told_apart() {
        // 2026-01-02 was a Friday.
        let friday = 1_767_312_000_000_000;
        for (days, groups) in [(Days::Two, [0, 2, 2, 0, 0]), (Days::Four, [0, 2, 3, 1, 0])] {
            for (later, group) in (0..).zip(groups) {
                let stratum = days.stratum(friday + later * DAY_US + 5 * HOUR_US);
                assert_eq!(stratum, group * 24 + 5, "{later}");
            }
        }
        assert_eq!(Days::Four.stratum(-1), 23);
        assert_eq!(Days::None.stratum(friday), 0);
    }
}
