//! Whether rows say something of the market, or of the feed.

use std::collections::VecDeque;

use market::{DAY_US, MINUTE_US};

/// Spans that are remembered; the oldest are forgotten first.
const MOST_HOLDS: usize = 64;
/// The span over which trades are averaged, and how many such spans make the average of the day.
const SLOT_US: i64 = 10 * MINUTE_US;
pub(super) const MOST_SLOTS: usize = (DAY_US / SLOT_US) as usize;
/// With fewer there is no telling a burst from the morning.
const FEWEST_SLOTS: usize = MOST_SLOTS * 3 / 4;
/// So many times the median of the day is a burst: more than season and volatility make of a market.
const BURST: f64 = 5.0;
/// Rows before a slot says something.
const FEWEST_ROWS: u64 = 10;

/// Spans of event time whose rows don't count. A burst that lasts moves the median within half a
/// day, and is then no burst any more but drift.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Quality {
    /// The latest event time of a row that had trades.
    pub(super) last_traded: i64,
    /// (from, to), both inclusive, in the order in which they were learnt of.
    pub(super) holds: VecDeque<(i64, i64)>,
    /// Mean trades a row of the last slots.
    pub(super) slots: VecDeque<f64>,
    pub(super) slot: i64,
    pub(super) slot_rows: u64,
    pub(super) slot_trades: u64,
    /// Five times the median of `slots`; 0 where there are too few.
    pub(super) burst_above: f64,
}

impl Quality {
    pub(super) fn new() -> Self {
        Self {
            last_traded: i64::MIN,
            holds: VecDeque::new(),
            slots: VecDeque::new(),
            slot: i64::MIN,
            slot_rows: 0,
            slot_trades: 0,
            burst_above: 0.0,
        }
    }

    /// Takes note of a row; whether it counts.
    pub(super) fn admits(
        &mut self,
        time: i64,
        is_filled: bool,
        n_trades: Option<u64>,
        (silence, memory): (i64, i64),
    ) -> bool {
        let is_first = self.last_traded == i64::MIN;
        if !is_first && time.saturating_sub(self.last_traded) > silence {
            self.hold(
                self.last_traded.saturating_add(1),
                time.saturating_add(memory),
            );
        }
        if !is_filled || is_first {
            self.last_traded = self.last_traded.max(time);
        }
        if let Some(n_trades) = n_trades {
            self.take_trades(time, n_trades, memory);
        }
        !self
            .holds
            .iter()
            .any(|(from, to)| (*from..=*to).contains(&time))
    }

    /// Rows of this span don't count.
    pub(super) fn hold(&mut self, from: i64, to: i64) {
        if let Some(last) = self.holds.back_mut() {
            // The same outage goes on.
            if from <= last.1 && to >= last.0 {
                *last = (last.0.min(from), last.1.max(to));
                return;
            }
        }
        if self.holds.len() == MOST_HOLDS {
            self.holds.pop_front();
        }
        self.holds.push_back((from, to));
    }

    fn take_trades(&mut self, time: i64, n_trades: u64, memory: i64) {
        let slot = time.div_euclid(SLOT_US);
        if slot > self.slot {
            if self.slot_rows > 0 {
                if self.slots.len() == MOST_SLOTS {
                    self.slots.pop_front();
                }
                self.slots
                    .push_back(self.slot_trades as f64 / self.slot_rows as f64);
                self.burst_above = BURST * self.median();
            }
            (self.slot, self.slot_rows, self.slot_trades) = (slot, 0, 0);
        }
        if slot < self.slot {
            return;
        }
        self.slot_rows += 1;
        self.slot_trades = self.slot_trades.saturating_add(n_trades);
        let mean = self.slot_trades as f64 / self.slot_rows as f64;
        if self.burst_above > 0.0 && self.slot_rows >= FEWEST_ROWS && mean > self.burst_above {
            let begin = slot * SLOT_US;
            self.hold(begin, begin.saturating_add(SLOT_US).saturating_add(memory));
        }
    }

    fn median(&self) -> f64 {
        if self.slots.len() < FEWEST_SLOTS {
            return 0.0;
        }
        let mut sorted: Vec<f64> = self.slots.iter().copied().collect();
        sorted.sort_unstable_by(f64::total_cmp);
        sorted[sorted.len() / 2]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SPANS: (i64, i64) = (5 * MINUTE_US, 60 * MINUTE_US);

    #[test]
    fn silence_of_all_is_an_outage_whose_memory_fades() {
        let mut quality = Quality::new();
        for minute in 0..10 {
            assert!(quality.admits(minute * MINUTE_US, false, None, SPANS));
        }
        // Carried forward through the gap: the first five could be ordinary.
        for minute in 10..40 {
            let counts = quality.admits(minute * MINUTE_US, true, None, SPANS);
            assert_eq!(counts, minute < 15, "minute {minute}");
        }
        for minute in 40..200 {
            let counts = quality.admits(minute * MINUTE_US, false, None, SPANS);
            assert_eq!(counts, minute > 40 + 60, "minute {minute}");
            // Another symbol's rows of the gap come late.
            if minute == 45 {
                assert!(!quality.admits(20 * MINUTE_US, true, None, SPANS));
            }
        }
        assert_eq!(quality.holds.len(), 1);
    }

    #[test]
    fn one_silent_symbol_is_no_outage() {
        let mut quality = Quality::new();
        for minute in 0..100 {
            assert!(quality.admits(minute * MINUTE_US, false, None, SPANS));
            assert!(quality.admits(minute * MINUTE_US, true, None, SPANS));
        }
    }

    #[test]
    fn a_burst_is_held_until_it_is_the_rule() {
        let mut quality = Quality::new();
        let mut counted = 0;
        for minute in 0..3 * 1_440 {
            let n_trades = if minute < 1_440 { 30 } else { 300 };
            let counts = quality.admits(minute * MINUTE_US, false, Some(n_trades), SPANS);
            if minute < 1_440 {
                assert!(counts, "minute {minute}");
            }
            counted += usize::from(counts && minute >= 1_450);
        }
        // Half a day and the memory are left out, no more.
        assert!(
            (2 * 1_440 - 820..2 * 1_440 - 720).contains(&counted),
            "{counted}"
        );
    }
}
