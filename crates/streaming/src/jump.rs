//! Clocks that are wrong: a trade from far ahead is held until another one agrees.
//!
//! Taken at its word, one trade of the year 9999 would make every later one late. Refused by the present time, a
//! simulation or a replay would not run. So the next trade decides: where it is as far ahead, time has really moved on,
//! after a weekend or an outage, and both are taken; where it isn't, the clock of the first one was wrong.

use serde::{Deserialize, Serialize};

/// A record that waits for another to agree with its time.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Held {
    pub(crate) event_time: i64,
    pub(crate) offset: i64,
    pub(crate) key: Option<Vec<u8>>,
    pub(crate) value: Vec<u8>,
}

/// What is to be done with a record.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// Take it.
    Take,
    /// Take the held one first, then it.
    TakeBoth(Held),
    /// The held one was wrong: set it aside, and take this.
    Refuse(Held),
    /// Hold this one; the one held before it, if there was one, was wrong.
    Hold(Option<Held>),
    /// This one is further off than the one that is held: set it aside.
    RefuseThis,
}

/// The event time that a partition has reached, and the record that claims much more.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub(crate) struct JumpGuard {
    /// The largest event time that was believed; `None` before the first one.
    time: Option<i64>,
    held: Option<Held>,
}

impl JumpGuard {
    /// The largest event time that was believed.
    pub(crate) fn time(&self) -> Option<i64> {
        self.time
    }

    /// Decides about a record with this event time. Where it is to be held, `hold` follows.
    pub(crate) fn judge(&mut self, event_time: i64, max_jump: i64) -> Verdict {
        let is_near = |from: i64| event_time <= from.saturating_add(max_jump);
        if self.time.is_some_and(is_near) {
            self.time = self.time.max(Some(event_time));
            return match self.held.take() {
                Some(held) => Verdict::Refuse(held),
                None => Verdict::Take,
            };
        }
        match self.held.take() {
            None => Verdict::Hold(None),
            Some(held) if held.event_time.abs_diff(event_time) <= max_jump.unsigned_abs() => {
                self.time = Some(held.event_time.max(event_time));
                Verdict::TakeBoth(held)
            }
            Some(held) if held.event_time > event_time => Verdict::Hold(Some(held)),
            Some(held) => {
                self.held = Some(held);
                Verdict::RefuseThis
            }
        }
    }

    /// Holds a record that [`judge`](Self::judge) said to hold.
    pub(crate) fn hold(&mut self, held: Held) {
        self.held = Some(held);
    }

    /// Gives up waiting: the record that is held, which is then believed.
    pub(crate) fn release(&mut self) -> Option<Held> {
        let held = self.held.take()?;
        self.time = self.time.max(Some(held.event_time));
        Some(held)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const DAY: i64 = 86_400_000_000;

    fn held(event_time: i64) -> Held {
        Held {
            event_time,
            offset: event_time,
            key: None,
            value: Vec::new(),
        }
    }

    /// The event times that are taken, and those that are refused, both in order.
    fn run(times: &[i64]) -> (Vec<i64>, Vec<i64>, Option<i64>) {
        let mut guard = JumpGuard::default();
        let (mut taken, mut refused) = (Vec::new(), Vec::new());
        for &time in times {
            match guard.judge(time, DAY) {
                Verdict::Take => taken.push(time),
                Verdict::TakeBoth(before) => taken.extend([before.event_time, time]),
                Verdict::Refuse(before) => {
                    refused.push(before.event_time);
                    taken.push(time);
                }
                Verdict::Hold(before) => {
                    refused.extend(before.map(|before| before.event_time));
                    guard.hold(held(time));
                }
                Verdict::RefuseThis => refused.push(time),
            }
        }
        (taken, refused, guard.release().map(|held| held.event_time))
    }

    #[test]
    fn a_gap_is_believed_once_two_agree_and_one_alone_is_set_aside() {
        let week = 7 * DAY;
        assert_eq!(
            run(&[1, 2, week, week + 1]),
            (vec![1, 2, week, week + 1], vec![], None)
        );
        assert_eq!(run(&[1, 2, week, 3]), (vec![1, 2, 3], vec![week], None));
        assert_eq!(run(&[1, 2, week]), (vec![1, 2], vec![], Some(week)));
        // Whichever of two claims is further off is the wrong one, in either order, also at the very beginning.
        let far = 1_000 * DAY;
        assert_eq!(
            run(&[1, 2, far, week, week + 1]),
            (vec![1, 2, week, week + 1], vec![far], None)
        );
        assert_eq!(
            run(&[1, 2, week, far, week + 1]),
            (vec![1, 2, week, week + 1], vec![far], None)
        );
        assert_eq!(run(&[far, 1, 2]), (vec![1, 2], vec![far], None));
        // The past is no jump: lateness deals with it.
        assert_eq!(
            run(&[week, week + 1, 1]),
            (vec![week, week + 1, 1], vec![], None)
        );
    }
}
