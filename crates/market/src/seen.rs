//! Which trade ids have been seen, in bounded memory.

use std::collections::VecDeque;

use serde::{Deserialize, Serialize};

/// How many runs of ids are remembered beyond those within the lateness horizon.
const KEPT_RUNS: usize = 256;

/// The trade ids seen so far, as runs of consecutive ids.
///
/// Exchanges number the trades of a symbol without holes, so one run usually holds all of history. Where ids have holes,
/// runs whose latest trade lies behind the lateness horizon are forgotten, oldest first, beyond [`KEPT_RUNS`]: a repeat
/// of such a trade is late anyway. Within the horizon every id is known exactly, in any order.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub(crate) struct SeenIds {
    runs: VecDeque<Run>,
    prune_at: usize,
}

#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
struct Run {
    first: u64,
    last: u64,
    latest_event_time: i64,
}

impl SeenIds {
    /// Remembers the id; whether it is new. `horizon` is the earliest event time that is not late.
    #[inline]
    pub(crate) fn insert(&mut self, id: u64, event_time: i64, horizon: i64) -> bool {
        if let Some(run) = self.runs.back_mut()
            && id > run.last
            && id - run.last == 1
        {
            run.last = id;
            run.latest_event_time = run.latest_event_time.max(event_time);
            return true;
        }
        self.insert_anywhere(id, event_time, horizon)
    }

    fn insert_anywhere(&mut self, id: u64, event_time: i64, horizon: i64) -> bool {
        // The first run that does not end before the id.
        let idx = self.runs.partition_point(|run| run.last < id);
        if self.runs.get(idx).is_some_and(|run| run.first <= id) {
            return false;
        }
        let follows = idx > 0 && id - self.runs[idx - 1].last == 1;
        let precedes = self.runs.get(idx).is_some_and(|run| run.first - id == 1);
        match (follows, precedes) {
            (true, true) => {
                if let Some(next) = self.runs.remove(idx) {
                    let run = &mut self.runs[idx - 1];
                    run.last = next.last;
                    run.latest_event_time = run
                        .latest_event_time
                        .max(next.latest_event_time)
                        .max(event_time);
                }
            }
            (true, false) => {
                let run = &mut self.runs[idx - 1];
                run.last = id;
                run.latest_event_time = run.latest_event_time.max(event_time);
            }
            (false, true) => {
                let run = &mut self.runs[idx];
                run.first = id;
                run.latest_event_time = run.latest_event_time.max(event_time);
            }
            (false, false) => {
                self.runs.insert(
                    idx,
                    Run {
                        first: id,
                        last: id,
                        latest_event_time: event_time,
                    },
                );
                if self.runs.len() >= self.prune_at.max(2 * KEPT_RUNS) {
                    self.prune(horizon);
                }
            }
        }
        true
    }

    /// Whether the stored runs are in order and apart.
    pub(crate) fn is_consistent(&self) -> bool {
        self.runs.iter().all(|run| run.first <= run.last)
            && self
                .runs
                .iter()
                .zip(self.runs.iter().skip(1))
                .all(|(left, right)| left.last < right.first)
    }

    fn prune(&mut self, horizon: i64) {
        let mut latest: Vec<i64> = self.runs.iter().map(|run| run.latest_event_time).collect();
        latest.sort_unstable();
        let cutoff = latest[latest.len() - KEPT_RUNS].min(horizon);
        self.runs.retain(|run| run.latest_event_time >= cutoff);
        self.prune_at = 2 * self.runs.len();
    }

    #[cfg(test)]
    pub(crate) fn n_runs(&self) -> usize {
        self.runs.len()
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn agrees_with_a_set(ids in prop::collection::vec(0u64..200, 0..400)) {
            let mut seen = SeenIds::default();
            let mut set = HashSet::new();
            for id in ids {
                prop_assert_eq!(seen.insert(id, 0, 0), set.insert(id));
            }
        }
    }

    #[test]
    fn consecutive_ids_cost_one_run_and_holes_stay_bounded() {
        let mut seen = SeenIds::default();
        for id in 0..100_000 {
            assert!(seen.insert(id, id as i64, id as i64 - 5));
        }
        assert_eq!(seen.n_runs(), 1);
        for id in 0..100_000 {
            assert!(!seen.insert(id, id as i64, 100_000));
        }
        let mut seen = SeenIds::default();
        for step in 0..100_000 {
            assert!(seen.insert(step * 3, step as i64, step as i64 - 1000));
            assert!(seen.n_runs() <= 4 * 1000 + 4 * KEPT_RUNS);
        }
        // Everything within the horizon is still known.
        for step in 99_000..100_000 {
            assert!(!seen.insert(step * 3, step as i64, 99_000));
        }
    }

    #[test]
    fn handles_the_ends_of_the_range() {
        let mut seen = SeenIds::default();
        for id in [u64::MAX, 0, u64::MAX - 1, 1] {
            assert!(seen.insert(id, 0, 0));
            assert!(!seen.insert(id, 0, 0));
        }
        assert_eq!(seen.n_runs(), 2);
    }
}
