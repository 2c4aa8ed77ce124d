//! The ids of one symbol and kind: which is next, what waits, what is missing.

use std::collections::BTreeMap;
use std::ops::RangeInclusive;
use std::time::Instant;

use market::GapReason;

use super::super::frames::{Event, Payload};
use super::{LaneKey, Passed, Taken};

#[derive(Debug, Default)]
pub(super) struct Lane {
    /// The next id to pass on; unknown before the first event.
    pub(super) next: Option<u64>,
    /// Where the lane began, if no topic says where it stands.
    pub(super) first: Option<u64>,
    pub(super) waiting: BTreeMap<u64, Payload>,
    /// The highest id that came.
    pub(super) highest: u64,
    pub(super) hole: Option<Hole>,
    /// The last event, if its id was far from the others'.
    pub(super) doubtful: Option<(u64, Payload)>,
}

/// The ids before the first that waits are missing.
#[derive(Debug, Clone, Copy)]
pub(super) struct Hole {
    pub(super) since: Instant,
    pub(super) is_asked: bool,
}

impl Lane {
    /// Passes an event on, lets it wait, or drops it.
    pub(super) fn place(
        &mut self,
        key: LaneKey,
        (id, payload): (u64, Payload),
        has_room: bool,
        now: Instant,
        passed: &mut Vec<Passed>,
    ) -> Taken {
        let next = match self.next {
            Some(next) => next,
            None => {
                (self.first, self.next) = (Some(id), Some(id));
                id
            }
        };
        if id < next || self.waiting.contains_key(&id) {
            return Taken::Duplicate;
        }
        self.highest = self.highest.max(id);
        if id > next {
            // What is let go is fetched later, as the gap before it is.
            if has_room {
                self.waiting.insert(id, payload);
            }
            self.look_for_hole(now);
            return Taken::Waits;
        }
        self.next = Some(next + 1);
        passed.push(Passed::Event(Event {
            symbol: key.0,
            kind: key.1,
            id,
            payload,
        }));
        self.drain(key, passed);
        self.look_for_hole(now);
        Taken::Passed
    }

    /// The ids before the first that waits; or, where the latest were let go, up to those.
    pub(super) fn missing(&self) -> Option<RangeInclusive<u64>> {
        let next = self.next?;
        match self.waiting.first_key_value() {
            Some((first, _)) => (*first > next).then(|| next..=first - 1),
            None => (self.highest >= next).then_some(next..=self.highest),
        }
    }

    pub(super) fn look_for_hole(&mut self, now: Instant) {
        if self.missing().is_none() {
            self.hole = None;
        } else if self.hole.is_none() {
            self.hole = Some(Hole {
                since: now,
                is_asked: false,
            });
        }
    }

    /// Passes on what waits and has nothing before it any more.
    fn drain(&mut self, key: LaneKey, passed: &mut Vec<Passed>) {
        while let (Some(next), Some(first)) = (self.next, self.waiting.first_entry()) {
            if *first.key() > next {
                break;
            }
            let (id, payload) = first.remove_entry();
            self.next = Some(next.max(id + 1));
            if id < next {
                continue;
            }
            passed.push(Passed::Event(Event {
                symbol: key.0,
                kind: key.1,
                id,
                payload,
            }));
        }
    }

    /// Records ids as missing for good, as far as they still are, and goes on behind them.
    pub(super) fn give_up(
        &mut self,
        key: LaneKey,
        ids: RangeInclusive<u64>,
        reason: GapReason,
        detail: String,
        passed: &mut Vec<Passed>,
    ) {
        let (Some(next), Some(missing)) = (self.next, self.missing()) else {
            return;
        };
        // They may have come meanwhile; and only the first hole is ever given up.
        let last = (*ids.end()).min(*missing.end());
        if next < *ids.start() || last < next {
            return;
        }
        passed.push(Passed::Gap {
            lane: key,
            ids: next..=last,
            reason,
            detail,
        });
        self.next = Some(last + 1);
        self.drain(key, passed);
    }
}
