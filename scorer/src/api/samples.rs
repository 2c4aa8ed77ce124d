//! Counts as they were: for rates over the last minutes.

use std::collections::VecDeque;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use crate::telemetry::Counts;

/// How far apart samples are.
pub(super) const EVERY: Duration = Duration::from_secs(5);
/// How far back they go.
const LONGEST: Duration = Duration::from_secs(3_600);

/// Samples of the last hour.
#[derive(Debug, Default)]
pub(super) struct Samples(Mutex<VecDeque<(Instant, Counts)>>);

impl Samples {
    pub(super) fn push(&self, now: Instant, counts: Counts) {
        let mut samples = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        samples.push_back((now, counts));
        // One sample may be as old as the longest time, so that all of it is covered.
        while samples.len() > 2 && now.duration_since(samples[1].0) >= LONGEST {
            samples.pop_front();
        }
    }

    /// What was counted in the last `window`, and in how long really: since the start, where that is later.
    pub(super) fn over(
        &self,
        window: Duration,
        now: Instant,
        counts: &Counts,
    ) -> (Duration, Counts) {
        let samples = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        // The newest sample that is at least so old, or else the oldest.
        let after = samples.partition_point(|(at, _)| now.duration_since(*at) >= window);
        match samples.get(after.saturating_sub(1)) {
            Some((at, before)) => (now.duration_since(*at), counts.since(before)),
            None => (Duration::ZERO, counts.since(counts)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::telemetry::Telemetry;
    use streaming::pipeline::Judged;

    #[test]
    fn rates_are_over_the_time_that_passed() {
        let telemetry = Telemetry::default();
        let samples = Samples::default();
        let start = Instant::now();
        let at = |seconds: u64| start + Duration::from_secs(seconds);
        let score = |scored: u64| {
            telemetry.judged(&Judged {
                scored,
                ..Judged::default()
            });
            telemetry.counts()
        };
        let nothing = samples.over(Duration::from_secs(60), start, &telemetry.counts());
        assert_eq!(nothing.0, Duration::ZERO);
        samples.push(start, telemetry.counts());
        for second in (5..=4_000).step_by(5) {
            samples.push(at(second), score(10));
        }
        let now = telemetry.counts();
        let over = |seconds: u64| {
            let (took, counts) = samples.over(Duration::from_secs(seconds), at(4_000), &now);
            (took.as_secs(), counts.scored)
        };
        assert_eq!(over(60), (60, 120));
        assert_eq!(over(3_600), (3_600, 7_200));
        assert!(samples.0.lock().unwrap().len() <= 722);
        let young = Samples::default();
        young.push(at(4_000), now.clone());
        let later = score(4);
        let (took, counts) = young.over(Duration::from_secs(60), at(4_020), &later);
        assert_eq!((took.as_secs(), counts.scored), (20, 4));
    }
}
