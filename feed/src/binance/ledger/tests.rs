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
fn one_budget_for_all_lanes() {
    let mut ledger = Ledger::new(Duration::ZERO, 100, 3);
    let now = Instant::now();
    let mut passed = Vec::new();
    let of = |symbol, id| Event {
        symbol,
        ..event(id)
    };
    for symbol in 0..3 {
        for id in [1, 3, 4] {
            ledger.take(of(symbol, id), now, &mut passed);
        }
    }
    let waiting = |ledger: &Ledger| -> Vec<usize> {
        ledger
            .lanes
            .values()
            .map(|lane| lane.waiting.len())
            .collect()
    };
    assert_eq!((waiting(&ledger), ledger.n_waiting), (vec![2, 1, 0], 3));
    // What went out makes room.
    ledger.take(of(0, 2), now, &mut passed);
    ledger.take(of(2, 4), now, &mut passed);
    assert_eq!((waiting(&ledger), ledger.n_waiting), (vec![0, 1, 1], 2));
    let wanted = ledger.due(now, &mut passed);
    assert_eq!(wanted.len(), 2);
    for (key, _) in wanted {
        let detail = String::new();
        let answer = Answer::Unreachable { ids: 2..=3, detail };
        ledger.answer(key, answer, now, &mut passed);
    }
    assert_eq!((waiting(&ledger), ledger.n_waiting), (vec![0, 0, 0], 0));
}

#[test]
fn one_wrong_id_neither_makes_a_gap_nor_silences_the_lane() {
    let far = 1_000_000_000_000_000;
    for first_ids in [vec![1, 2, far, 3, 4], vec![1, 2, far, far, 3, 4]] {
        let mut ledger = Ledger::new(Duration::ZERO, 100, 10);
        let (now, mut passed) = (Instant::now(), Vec::new());
        for id in first_ids {
            let taken = ledger.take(event(id), now, &mut passed);
            assert_eq!(taken == Taken::Doubtful, id == far);
            assert!(ledger.due(now, &mut passed).is_empty());
        }
        assert_eq!(ids(&passed), there(1..=4));
    }
    // A second one that is near is believed: so much was really missed.
    let mut ledger = Ledger::new(Duration::ZERO, 100, 10);
    let (now, mut passed) = (Instant::now(), Vec::new());
    for id in [1, far, far + 1] {
        ledger.take(event(id), now, &mut passed);
    }
    assert!(ledger.due(now, &mut passed).is_empty());
    let gap = |passed: &Passed| match passed {
        Passed::Gap { ids, reason, .. } => Some((ids.clone(), *reason)),
        Passed::Event(_) => None,
    };
    let gaps: Vec<_> = passed.iter().filter_map(gap).collect();
    assert_eq!(gaps, [(2..=far - 1, GapReason::TooLarge)]);
    assert_eq!(passed.len(), 4);
}

#[test]
fn a_topic_of_other_ids_is_no_reason_to_drop_everything() {
    // Of a topic, and of a first event that was wrong.
    for is_resumed in [true, false] {
        let mut ledger = Ledger::new(Duration::ZERO, 100, 2);
        let mut passed = Vec::new();
        let now = Instant::now();
        if is_resumed {
            ledger.resume(LANE, 1 << 62);
        } else {
            ledger.take(event(1 << 62), now, &mut passed);
            passed.clear();
        }
        assert_eq!(ledger.take(event(7), now, &mut passed), Taken::Doubtful);
        ledger.take(event(8), now, &mut passed);
        ledger.take(event(9), now, &mut passed);
        assert_eq!((ids(&passed), ledger.n_restarts()), (there(7..=9), 1));
    }
    let mut ledger = Ledger::new(Duration::ZERO, 100, 2);
    ledger.resume(LANE, 7);
    let mut passed = Vec::new();
    ledger.take(event(7), Instant::now(), &mut passed);
    assert_eq!(passed.len(), 0);
}

#[test]
fn what_did_not_get_into_the_topic_is_missing_again() {
    for committed in [Some(11), None] {
        let mut ledger = Ledger::new(Duration::ZERO, 100, 10);
        let (now, mut passed) = (Instant::now(), Vec::new());
        for id in [10, 11, 12, 13, 15] {
            ledger.take(event(id), now, &mut passed);
        }
        passed.clear();
        let last = committed.map(|last| (LANE, last)).into_iter().collect();
        ledger.rewind(&last, now);
        let first = committed.map_or(10, |last| last + 1);
        assert_eq!(ledger.due(now, &mut passed), [(LANE, first..=14)]);
        let answer = Answer::Events((first..=14).map(event).collect());
        ledger.answer(LANE, answer, now, &mut passed);
        assert_eq!(ids(&passed), there(first..=15));
        // Nothing waits: what had been passed on is missing all the same.
        ledger.rewind(&last, now);
        passed.clear();
        assert_eq!(ledger.due(now, &mut passed), [(LANE, first..=15)]);
    }
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
    /// Whatever is lost, repeated or swapped, whatever REST has and however late it answers,
    /// and wherever a transaction or the whole feed ends: every id goes out once, in order, as
    /// an event or in a gap; and nothing that came ends in a gap while it can be kept.
    #[test]
    fn every_id_once_and_in_order(
        arrivals in proptest::collection::vec((0_u64..40, 0_u8..12), 1..120),
        at_exchange in proptest::collection::vec(any::<bool>(), 41),
        most_waiting in 1_usize..8,
        largest_gap in 1_u64..40,
    ) {
        let new = || Ledger::new(Duration::ZERO, largest_gap, most_waiting);
        let mut ledger = new();
        let now = Instant::now();
        let mut passed = Vec::new();
        let mut asked = std::collections::VecDeque::new();
        // What is in the topic for good.
        let mut n_committed = 0;
        let has = |id: &u64| at_exchange[*id as usize];
        let answer = |ledger: &mut Ledger, wanted: RangeInclusive<u64>, is_away, passed: &mut Vec<Passed>| {
            let first = *wanted.start();
            let answer = if is_away {
                Answer::Unreachable { ids: wanted, detail: String::new() }
            } else if has(&first) {
                Answer::Events(wanted.take_while(has).take(3).map(event).collect())
            } else {
                let n = wanted.clone().take_while(|id| !has(id)).count() as u64;
                Answer::Missing { ids: first..=first + n - 1, detail: String::new() }
            };
            ledger.answer(LANE, answer, now, passed);
        };
        let last_of = |passed: &[Passed]| ids(passed).last().map(|(id, _)| (LANE, *id));
        ledger.take(event(0), now, &mut passed);
        for (id, kind) in arrivals.iter().copied() {
            ledger.take(event(id), now, &mut passed);
            match kind {
                0..4 => asked.extend(ledger.due(now, &mut passed).into_iter().map(|(_, ids)| ids)),
                4..6 => {
                    if let Some(ids) = asked.pop_front() {
                        answer(&mut ledger, ids, kind == 4, &mut passed);
                    }
                }
                6 => n_committed = passed.len(),
                7 => {
                    // A transaction is lost; questions are still under way.
                    passed.truncate(n_committed);
                    ledger.rewind(&last_of(&passed).into_iter().collect(), now);
                }
                8 if n_committed > 0 => {
                    // Killed, and started again.
                    passed.truncate(n_committed);
                    ledger = new();
                    asked.clear();
                    if let Some((lane, last)) = last_of(&passed) {
                        ledger.resume(lane, last);
                    }
                }
                _ => {}
            }
        }
        // The market goes on; whoever was killed learns by it what it lacks.
        ledger.take(event(40), now, &mut passed);
        while let Some(ids) = asked.pop_front() {
            answer(&mut ledger, ids, false, &mut passed);
        }
        while !ledger.is_settled() {
            for (_, ids) in ledger.due(now, &mut passed) {
                answer(&mut ledger, ids, false, &mut passed);
            }
        }
        prop_assert_eq!(ledger.n_waiting, 0);
        let found: Vec<u64> = ids(&passed).iter().map(|(id, _)| *id).collect();
        prop_assert_eq!(found, (0..=40).collect::<Vec<u64>>());
    }

    /// What was received is never recorded as missing, as long as there is room for it.
    #[test]
    fn what_came_is_not_in_a_gap(
        arrivals in proptest::collection::vec((0_u64..40, 0_u8..6), 1..120),
        largest_gap in 1_u64..40,
    ) {
        let mut ledger = Ledger::new(Duration::ZERO, largest_gap, 1_000);
        let (now, mut passed) = (Instant::now(), Vec::new());
        let mut asked = std::collections::VecDeque::new();
        ledger.take(event(0), now, &mut passed);
        let mut in_time = std::collections::BTreeSet::from([0]);
        for (id, kind) in arrivals {
            if ledger.take(event(id), now, &mut passed) != Taken::Duplicate {
                in_time.insert(id);
            }
            match kind {
                0 => asked.extend(ledger.due(now, &mut passed)),
                1 => {
                    if let Some((lane, ids)) = asked.pop_front() {
                        let detail = String::new();
                        ledger.answer(lane, Answer::Unreachable { ids, detail }, now, &mut passed);
                    }
                }
                _ => {}
            }
        }
        let mut gone = ids(&passed).into_iter().filter(|(_, is_there)| !is_there);
        prop_assert!(gone.all(|(id, _)| !in_time.contains(&id)));
    }
}
