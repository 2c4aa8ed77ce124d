//! What the exchange allows in a span of time.

use std::collections::VecDeque;
use std::time::Duration;

use tokio::sync::Mutex;
use tokio::time::{Instant, sleep_until};

/// Lets at most so many pass in each span.
#[derive(Debug)]
pub(super) struct Window {
    at_most: usize,
    span: Duration,
    passed: Mutex<VecDeque<Instant>>,
}

impl Window {
    pub(super) fn new(at_most: usize, span: Duration) -> Self {
        Self {
            at_most: at_most.max(1),
            span,
            passed: Mutex::default(),
        }
    }

    /// Waits until one more may pass.
    pub(super) async fn pass(&self) {
        // Held while waiting: those who come later pass later.
        let mut passed = self.passed.lock().await;
        let now = Instant::now();
        while passed
            .front()
            .is_some_and(|first| *first + self.span <= now)
        {
            passed.pop_front();
        }
        if passed.len() >= self.at_most
            && let Some(first) = passed.pop_front()
        {
            sleep_until(first + self.span).await;
        }
        passed.push_back(Instant::now());
    }
}

/// Weight that may be used in a minute, as the exchange counts it.
#[derive(Debug)]
pub(super) struct Budget {
    per_span: u32,
    span: Duration,
    state: Mutex<Spent>,
}

#[derive(Debug)]
struct Spent {
    since: Instant,
    weight: u32,
    /// Nothing may be asked before.
    blocked_until: Instant,
}

const MINUTE: Duration = Duration::from_secs(60);

impl Budget {
    pub(super) fn new(per_minute: u32) -> Self {
        Self::of(per_minute, MINUTE)
    }

    fn of(per_span: u32, span: Duration) -> Self {
        let now = Instant::now();
        Self {
            per_span,
            span,
            state: Mutex::new(Spent {
                since: now,
                weight: 0,
                blocked_until: now,
            }),
        }
    }

    /// Waits until a request of this weight may be made, and counts it.
    pub(super) async fn spend(&self, weight: u32) {
        let mut spent = self.state.lock().await;
        sleep_until(spent.blocked_until).await;
        if spent.since.elapsed() >= self.span {
            spent.restart();
        }
        if spent.weight > 0 && spent.weight + weight > self.per_span {
            sleep_until(spent.since + self.span).await;
            spent.restart();
        }
        spent.weight += weight;
    }

    /// The exchange's own count; others may ask from the same address.
    pub(super) async fn observe(&self, weight: u32) {
        let mut spent = self.state.lock().await;
        spent.weight = spent.weight.max(weight);
    }

    /// The exchange wants to be left alone for so long.
    pub(super) async fn block(&self, time: Duration) {
        let mut spent = self.state.lock().await;
        spent.blocked_until = spent.blocked_until.max(Instant::now() + time);
    }
}

impl Spent {
    fn restart(&mut self) {
        self.since = Instant::now();
        self.weight = 0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Long enough that what comes too soon is seen.
    const SPAN: Duration = Duration::from_millis(100);

    #[tokio::test]
    async fn a_window_lets_no_more_through_than_it_may() {
        let window = Window::new(3, SPAN);
        let began = Instant::now();
        let mut times = Vec::new();
        for _ in 0..10 {
            window.pass().await;
            times.push(began.elapsed());
        }
        for four in times.windows(4) {
            assert!(
                four[3] - four[0] >= SPAN - Duration::from_millis(1),
                "{times:?}"
            );
        }
    }

    #[tokio::test]
    async fn a_budget_is_kept_and_a_block_obeyed() {
        let budget = Budget::of(100, SPAN);
        let began = Instant::now();
        for _ in 0..5 {
            budget.spend(25).await;
        }
        assert!(began.elapsed() >= SPAN);
        let began = Instant::now();
        budget.block(2 * SPAN).await;
        budget.spend(25).await;
        assert!(began.elapsed() >= 2 * SPAN);
        budget.observe(99).await;
        let since = budget.state.lock().await.since;
        budget.spend(25).await;
        assert!(since.elapsed() >= SPAN);
    }
}
