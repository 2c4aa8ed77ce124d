//! Which ids have been passed on, and which are missing.
//!
//! Pure bookkeeping: no clock but the one that is handed in, no IO. Each symbol and kind has a lane
//! whose ids go out one after the other; what comes too early waits, what comes again is dropped.
//! Where too much would wait, the latest are let go: they can be fetched, as the gap before them is.

use std::collections::BTreeMap;
use std::ops::RangeInclusive;
use std::time::{Duration, Instant};

use market::GapReason;

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

#[derive(Debug, Default)]
struct Lane {
    /// The next id to pass on; unknown before the first event.
    next: Option<u64>,
    /// Whether `next` comes from a topic, and no event has confirmed it.
    is_resumed: bool,
    waiting: BTreeMap<u64, Payload>,
    /// The highest id that came.
    highest: u64,
    hole: Option<Hole>,
}

/// The ids before the first that waits are missing.
#[derive(Debug, Clone, Copy)]
struct Hole {
    since: Instant,
    is_asked: bool,
}

/// All lanes.
#[derive(Debug)]
pub(super) struct Ledger {
    lanes: BTreeMap<LaneKey, Lane>,
    patience: Duration,
    largest_gap: u64,
    most_waiting: usize,
}

/// A topic that is so far ahead of the exchange was not written by it.
const NOT_AHEAD: u64 = 1_000_000;

impl Ledger {
    pub(super) fn new(patience: Duration, largest_gap: u64, most_waiting: usize) -> Self {
        Self {
            lanes: BTreeMap::new(),
            patience,
            largest_gap,
            most_waiting,
        }
    }

    /// The topic's last id of a lane: what comes after it is next.
    pub(super) fn resume(&mut self, lane: LaneKey, last: u64) {
        let lane = self.lanes.entry(lane).or_default();
        lane.next = Some(last.saturating_add(1));
        lane.is_resumed = true;
    }

    /// Takes an event; what can go out is appended to `passed`.
    pub(super) fn take(&mut self, event: Event, now: Instant, passed: &mut Vec<Passed>) -> Taken {
        let key = (event.symbol, event.kind);
        let lane = self.lanes.entry(key).or_default();
        if lane.is_resumed {
            lane.is_resumed = false;
            if lane
                .next
                .is_some_and(|next| next > event.id.saturating_add(NOT_AHEAD))
            {
                tracing::warn!(
                    next = lane.next,
                    id = event.id,
                    "the topic's ids are not the exchange's: beginning with the exchange's"
                );
                lane.next = None;
            }
        }
        let next = *lane.next.get_or_insert(event.id);
        if event.id < next || lane.waiting.contains_key(&event.id) {
            return Taken::Duplicate;
        }
        lane.highest = lane.highest.max(event.id);
        if event.id > next {
            if lane.waiting.len() < self.most_waiting {
                lane.waiting.insert(event.id, event.payload);
            }
            lane.look_for_hole(now);
            return Taken::Waits;
        }
        lane.next = Some(next + 1);
        passed.push(Passed::Event(event));
        lane.drain(key, passed);
        lane.look_for_hole(now);
        Taken::Passed
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
        match answer {
            Answer::Events(events) => {
                for event in events {
                    self.take(event, now, passed);
                }
            }
            Answer::Missing { ids, detail } => {
                if let Some(lane) = self.lanes.get_mut(&key) {
                    lane.give_up(key, ids, GapReason::NotAtExchange, detail, passed);
                }
            }
            Answer::Unreachable { ids, detail } => {
                if let Some(lane) = self.lanes.get_mut(&key) {
                    lane.give_up(key, ids, GapReason::Unreachable, detail, passed);
                }
            }
        }
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

impl Lane {
    /// The ids before the first that waits; or, where the latest were let go, up to those.
    fn missing(&self) -> Option<RangeInclusive<u64>> {
        let next = self.next?;
        match self.waiting.first_key_value() {
            Some((first, _)) => (*first > next).then(|| next..=first - 1),
            None => (self.highest >= next).then_some(next..=self.highest),
        }
    }

    fn look_for_hole(&mut self, now: Instant) {
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
    fn give_up(
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

#[cfg(test)]
mod tests {
    use market::{Side, Trade};
    use proptest::prelude::*;

    use super::*;

    const LANE: LaneKey = (0, StreamKind::Trade);

    fn event(id: u64) -> Event {
        Event {
            symbol: 0,
            kind: StreamKind::Trade,
            id,
            payload: Payload::Trade(Trade {
                event_time: 1,
                trade_id: Some(id),
                price: 1.0,
                quantity: 1.0,
                side: Side::Buy,
                event: None,
            }),
        }
    }

    fn ids(passed: &[Passed]) -> Vec<(u64, bool)> {
        let mut all = Vec::new();
        for passed in passed {
            match passed {
                Passed::Event(event) => all.push((event.id, true)),
                Passed::Gap { ids, .. } => all.extend(ids.clone().map(|id| (id, false))),
            }
        }
        all
    }

    fn there(range: RangeInclusive<u64>) -> Vec<(u64, bool)> {
        range.map(|id| (id, true)).collect()
    }

    #[test]
    fn a_hole_is_waited_for_then_asked_for_once_then_filled() {
        let mut ledger = Ledger::new(Duration::from_secs(1), 100, 10);
        let start = Instant::now();
        let mut passed = Vec::new();
        for id in [5, 6, 9, 10, 6] {
            ledger.take(event(id), start, &mut passed);
        }
        assert_eq!(ids(&passed), there(5..=6));
        assert!(ledger.due(start, &mut passed).is_empty());
        let later = start + Duration::from_secs(1);
        assert_eq!(ledger.due(later, &mut passed), [(LANE, 7..=8)]);
        assert!(ledger.due(later, &mut passed).is_empty());
        ledger.answer(LANE, Answer::Events(vec![event(7)]), later, &mut passed);
        assert_eq!(ledger.due(later, &mut passed), [(LANE, 8..=8)]);
        let detail = String::new();
        ledger.answer(
            LANE,
            Answer::Missing { ids: 8..=8, detail },
            later,
            &mut passed,
        );
        assert_eq!(
            ids(&passed),
            [
                (5, true),
                (6, true),
                (7, true),
                (8, false),
                (9, true),
                (10, true)
            ]
        );
        assert!(ledger.is_settled());
    }

    #[test]
    fn what_comes_by_itself_is_not_asked_for() {
        let mut ledger = Ledger::new(Duration::from_secs(1), 100, 10);
        let start = Instant::now();
        let mut passed = Vec::new();
        for id in [1, 3, 2] {
            ledger.take(event(id), start, &mut passed);
        }
        let later = start + Duration::from_secs(5);
        assert!(ledger.due(later, &mut passed).is_empty());
        assert_eq!(ids(&passed), there(1..=3));
    }

    #[test]
    fn beyond_the_bound_the_latest_are_let_go_and_fetched_later() {
        let mut ledger = Ledger::new(Duration::ZERO, 100, 2);
        let now = Instant::now();
        let mut passed = Vec::new();
        for id in [1, 3, 4, 5, 6] {
            ledger.take(event(id), now, &mut passed);
        }
        assert_eq!(ledger.due(now, &mut passed), [(LANE, 2..=2)]);
        ledger.answer(LANE, Answer::Events(vec![event(2)]), now, &mut passed);
        assert_eq!(ids(&passed), there(1..=4));
        assert_eq!(ledger.due(now, &mut passed), [(LANE, 5..=6)]);
    }

    #[test]
    fn a_topic_of_other_ids_is_no_reason_to_drop_everything() {
        let mut ledger = Ledger::new(Duration::ZERO, 100, 2);
        ledger.resume(LANE, 1 << 62);
        let mut passed = Vec::new();
        ledger.take(event(7), Instant::now(), &mut passed);
        assert_eq!(ids(&passed), there(7..=7));
        let mut ledger = Ledger::new(Duration::ZERO, 100, 2);
        ledger.resume(LANE, 7);
        ledger.take(event(7), Instant::now(), &mut passed);
        assert_eq!(passed.len(), 1);
    }

    /// The first hole was closed meanwhile; the next one was never asked about.
    #[test]
    fn a_late_refusal_gives_up_only_what_was_asked_for() {
        let mut ledger = Ledger::new(Duration::ZERO, 100, 100);
        let now = Instant::now();
        let mut passed = Vec::new();
        ledger.take(event(1), now, &mut passed);
        ledger.take(event(3), now, &mut passed);
        let asked = ledger.due(now, &mut passed);
        assert_eq!(asked, [(LANE, 2..=2)]);
        ledger.take(event(2), now, &mut passed);
        ledger.take(event(6), now, &mut passed);
        let answer = Answer::Unreachable {
            ids: 2..=2,
            detail: String::new(),
        };
        ledger.answer(LANE, answer, now, &mut passed);
        ledger.take(event(4), now, &mut passed);
        ledger.take(event(5), now, &mut passed);
        assert_eq!(passed.len(), 6);
        assert!(passed.iter().all(|p| matches!(p, Passed::Event(_))));
    }

    proptest! {
        /// Whatever is lost, repeated or swapped, and whatever REST has: every id goes out once, in
        /// order, as an event or in a gap.
        #[test]
        fn every_id_once_and_in_order(
            arrivals in proptest::collection::vec((0_u64..40, 0_u8..10), 1..120),
            at_exchange in proptest::collection::vec(any::<bool>(), 41),
            most_waiting in 1_usize..8,
            largest_gap in 1_u64..40,
        ) {
            let mut ledger = Ledger::new(Duration::ZERO, largest_gap, most_waiting);
            let now = Instant::now();
            let mut passed = Vec::new();
            ledger.take(event(0), now, &mut passed);
            let ask = |ledger: &mut Ledger, passed: &mut Vec<Passed>, kind: u8| {
                for (lane, wanted) in ledger.due(now, passed) {
                    let first = *wanted.start();
                    let has = |id: &u64| at_exchange[*id as usize];
                    let answer = if kind == 0 {
                        Answer::Unreachable { ids: wanted, detail: String::new() }
                    } else if has(&first) {
                        Answer::Events(wanted.take_while(has).take(3).map(event).collect())
                    } else {
                        let n = wanted.clone().take_while(|id| !has(id)).count() as u64;
                        Answer::Missing { ids: first..=first + n - 1, detail: String::new() }
                    };
                    ledger.answer(lane, answer, now, passed);
                }
            };
            for (id, kind) in arrivals {
                ledger.take(event(id), now, &mut passed);
                if kind < 5 {
                    ask(&mut ledger, &mut passed, kind);
                }
            }
            while !ledger.is_settled() {
                ask(&mut ledger, &mut passed, 1);
            }
            let found: Vec<u64> = ids(&passed).iter().map(|(id, _)| *id).collect();
            let expected: Vec<u64> = (0..found.len() as u64).collect();
            prop_assert_eq!(found, expected);
        }
    }
}
