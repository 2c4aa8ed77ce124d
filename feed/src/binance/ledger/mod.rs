//! Which ids have been passed on, and which are missing.
//!
//! Pure bookkeeping: no clock but the one that is handed in, no IO. Each symbol and kind has a lane
//! whose ids go out one after the other; what comes too early waits, what comes again is dropped.
//! Where too much would wait, the latest are let go: they can be fetched, as the gap before them is.

mod lane;

use std::collections::BTreeMap;
use std::ops::RangeInclusive;
use std::time::{Duration, Instant};

use market::GapReason;

use self::lane::{Hole, Lane};
use super::frames::{Event, Payload};
use super::settings::StreamKind;

/// One symbol's events of one kind.
pub(super) type LaneKey = (usize, StreamKind);

/// What the ledger passes on, in order.
#[derive(Debug, PartialEq)]
pub(super) enum Passed {
    Event(Event),
    Gap {
        lane: LaneKey,
        ids: RangeInclusive<u64>,
        reason: GapReason,
        detail: String,
    },
}

/// What became of an event.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Taken {
    /// It was passed on, perhaps with others behind it.
    Passed,
    /// It waits for those before it.
    Waits,
    /// It had been seen.
    Duplicate,
    /// Its id is too far from the others' to be believed before a second one is near it.
    Doubtful,
}

/// What REST said about missing ids.
#[derive(Debug)]
pub(super) enum Answer {
    /// These events, from the first missing id on and without a hole.
    Events(Vec<Event>),
    /// These are not at the exchange.
    Missing {
        ids: RangeInclusive<u64>,
        detail: String,
    },
    /// It can't be asked.
    Unreachable {
        /// The ids that were asked for.
        ids: RangeInclusive<u64>,
        /// Why.
        detail: String,
    },
}

/// All lanes.
#[derive(Debug)]
pub(super) struct Ledger {
    lanes: BTreeMap<LaneKey, Lane>,
    patience: Duration,
    largest_gap: u64,
    most_waiting: usize,
    /// Events that wait, in all lanes.
    n_waiting: usize,
    /// Lanes that began anew because their ids did.
    n_restarts: u64,
}

/// No connection repeats what is so long past: the lane's ids are not the exchange's.
const FAR_BEHIND: u64 = 1_000_000;
/// Two ids that far from the others believe each other if they are no farther from each other.
const NEAR: u64 = 1_000;

impl Ledger {
    /// Missing ids are asked for after `patience`, if a gap has at most `largest_gap`; at most
    /// `most_waiting` events wait for others, in all lanes together.
    pub(super) fn new(patience: Duration, largest_gap: u64, most_waiting: usize) -> Self {
        Self {
            lanes: BTreeMap::new(),
            patience,
            largest_gap,
            most_waiting,
            n_waiting: 0,
            n_restarts: 0,
        }
    }

    /// A lane's last id in its topic: what comes after it is next.
    pub(super) fn resume(&mut self, lane: LaneKey, last: u64) {
        self.lanes.entry(lane).or_default().next = Some(last.saturating_add(1));
    }

    /// Goes back to what the topics hold: what was passed on beyond it is missing again.
    pub(super) fn rewind(&mut self, last: &BTreeMap<LaneKey, u64>, now: Instant) {
        for (key, lane) in &mut self.lanes {
            let next = last.get(key).map(|last| last + 1).or(lane.first);
            if let (Some(next), Some(passed)) = (next, lane.next) {
                lane.highest = lane.highest.max(passed.saturating_sub(1));
                lane.next = Some(next);
            }
            lane.hole = None;
            lane.look_for_hole(now);
        }
    }

    /// Takes an event; what can go out is appended to `passed`.
    pub(super) fn take(&mut self, event: Event, now: Instant, passed: &mut Vec<Passed>) -> Taken {
        let key = (event.symbol, event.kind);
        let lane = self.lanes.entry(key).or_default();
        let n_waited = lane.waiting.len();
        let has_room = self.n_waiting < self.most_waiting;
        let (id, payload) = (event.id, event.payload);
        let next = lane.next.unwrap_or(id);
        let is_ahead = id > next && id - next > self.largest_gap.max(NEAR);
        let is_behind = id < next && next - id > FAR_BEHIND;
        let taken = if is_ahead || is_behind {
            match lane.doubtful.take() {
                Some((other, before)) if other != id && other.abs_diff(id) <= NEAR => {
                    if is_behind {
                        tracing::error!(next, id, "ids begin anew: so does the lane");
                        self.n_restarts += 1;
                        *lane = Lane {
                            next: Some(id.min(other)),
                            ..Lane::default()
                        };
                        self.n_waiting -= n_waited;
                        return self.take_both(key, (other, before), (id, payload), now, passed);
                    }
                    lane.place(key, (other, before), has_room, now, passed);
                    lane.place(key, (id, payload), has_room, now, passed)
                }
                _ => {
                    lane.doubtful = Some((id, payload));
                    Taken::Doubtful
                }
            }
        } else {
            lane.doubtful = None;
            lane.place(key, (id, payload), has_room, now, passed)
        };
        self.n_waiting = self.n_waiting + lane.waiting.len() - n_waited;
        taken
    }

    /// Takes two events that are near each other.
    fn take_both(
        &mut self,
        (symbol, kind): LaneKey,
        first: (u64, Payload),
        second: (u64, Payload),
        now: Instant,
        passed: &mut Vec<Passed>,
    ) -> Taken {
        let event = |(id, payload)| Event {
            symbol,
            kind,
            id,
            payload,
        };
        self.take(event(first), now, passed);
        self.take(event(second), now, passed)
    }

    /// How often a lane began anew.
    pub(super) fn n_restarts(&self) -> u64 {
        self.n_restarts
    }

    /// What is missing for long enough to be asked for, once for each hole; holes that are too large
    /// become gaps.
    pub(super) fn due(
        &mut self,
        now: Instant,
        passed: &mut Vec<Passed>,
    ) -> Vec<(LaneKey, RangeInclusive<u64>)> {
        let mut wanted = Vec::new();
        for (key, lane) in &mut self.lanes {
            let n_waited = lane.waiting.len();
            while let (Some(hole), Some(ids)) = (lane.hole, lane.missing()) {
                if hole.is_asked || now.duration_since(hole.since) < self.patience {
                    break;
                }
                let n_ids = ids.end() - ids.start() + 1;
                if n_ids <= self.largest_gap {
                    lane.hole = Some(Hole {
                        is_asked: true,
                        ..hole
                    });
                    wanted.push((*key, ids));
                    break;
                }
                let detail = format!("{n_ids} ids, where {} may be fetched", self.largest_gap);
                lane.give_up(*key, ids, GapReason::TooLarge, detail, passed);
                lane.look_for_hole(now);
            }
            self.n_waiting = self.n_waiting + lane.waiting.len() - n_waited;
        }
        wanted
    }

    /// Takes an answer about the ids that were asked for.
    pub(super) fn answer(
        &mut self,
        key: LaneKey,
        answer: Answer,
        now: Instant,
        passed: &mut Vec<Passed>,
    ) {
        let (ids, reason, detail) = match answer {
            Answer::Events(events) => {
                for event in events {
                    self.take(event, now, passed);
                }
                return self.ask_at_once(key, now);
            }
            Answer::Missing { ids, detail } => (ids, GapReason::NotAtExchange, detail),
            Answer::Unreachable { ids, detail } => (ids, GapReason::Unreachable, detail),
        };
        if let Some(lane) = self.lanes.get_mut(&key) {
            let n_waited = lane.waiting.len();
            lane.give_up(key, ids, reason, detail, passed);
            self.n_waiting = self.n_waiting + lane.waiting.len() - n_waited;
        }
        self.ask_at_once(key, now);
    }

    fn ask_at_once(&mut self, key: LaneKey, now: Instant) {
        // What is still missing is asked for at once.
        let at_once = now.checked_sub(self.patience).unwrap_or(now);
        if let Some(lane) = self.lanes.get_mut(&key) {
            lane.hole = None;
            lane.look_for_hole(at_once);
        }
    }

    /// Whether nothing waits and nothing is asked for.
    pub(super) fn is_settled(&self) -> bool {
        self.lanes.values().all(|lane| lane.missing().is_none())
    }
}

#[cfg(test)]
mod tests;
