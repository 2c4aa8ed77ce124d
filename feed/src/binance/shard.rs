//! One connection's worth of streams, kept alive: a new connection before the old one ends.

use std::sync::Arc;
use std::time::Duration;

use rand_xoshiro::Xoshiro256PlusPlus;
use rand_xoshiro::rand_core::{Rng, SeedableRng};
use tokio::sync::watch;
use tokio::time::{Instant, sleep, sleep_until};
use tokio_util::sync::CancellationToken;

use super::connection::{Link, Running, Stage};
use super::limits::Window;
use crate::telemetry::Telemetry;

/// A shard's part of the settings.
#[derive(Debug)]
pub(super) struct Shard {
    pub(super) link: Link,
    pub(super) connects: Arc<Window>,
    pub(super) age: Duration,
    pub(super) overlap: Duration,
    pub(super) backoff: (Duration, Duration),
    pub(super) telemetry: Arc<Telemetry>,
    pub(super) seed: u64,
    /// Whether the shard listens.
    pub(super) is_up: watch::Sender<bool>,
}

impl Shard {
    /// Runs until `stop`.
    pub(super) async fn run(self, stop: CancellationToken) {
        let mut random = Xoshiro256PlusPlus::seed_from_u64(self.seed);
        let mut n_failures = 0_u32;
        let mut current: Option<Running> = None;
        while !stop.is_cancelled() {
            let running = match current.take() {
                Some(running) => running,
                None => {
                    tokio::select! {
                        () = self.connects.pass() => {}
                        () = stop.cancelled() => break,
                    }
                    self.link.start()
                }
            };
            let began = Instant::now();
            match self.keep(running, &stop, &mut random).await {
                Outcome::Replaced(next) => {
                    n_failures = 0;
                    current = Some(next);
                }
                Outcome::Ended(reason) => {
                    self.is_up.send_replace(false);
                    if stop.is_cancelled() {
                        break;
                    }
                    tracing::warn!(reason, "the connection ended");
                    self.telemetry.reconnect(reason);
                    // One that had lasted is tried again soon.
                    n_failures = if began.elapsed() > self.backoff.1 {
                        0
                    } else {
                        n_failures + 1
                    };
                    let wait = self.wait(n_failures, &mut random);
                    tokio::select! {
                        () = sleep(wait) => {}
                        () = stop.cancelled() => break,
                    }
                }
                Outcome::Stopped => break,
            }
        }
        self.is_up.send_replace(false);
    }

    /// Keeps a connection until it has ended or a younger one has taken its place.
    async fn keep(
        &self,
        mut running: Running,
        stop: &CancellationToken,
        random: &mut Xoshiro256PlusPlus,
    ) -> Outcome {
        let replace_at = Instant::now() + self.age;
        let reason = loop {
            let stage = *running.stage.borrow_and_update();
            match stage {
                Stage::Live => {
                    self.is_up.send_replace(true);
                }
                Stage::Leaving => break "server_shutdown",
                Stage::Ended => return Outcome::Ended(ended(running).await),
                Stage::Opening => {}
            }
            tokio::select! {
                changed = running.stage.changed() => {
                    if changed.is_err() {
                        return Outcome::Ended(ended(running).await);
                    }
                }
                () = sleep_until(replace_at) => break "age",
                () = stop.cancelled() => {
                    running.stop.cancel();
                    ended(running).await;
                    return Outcome::Stopped;
                }
            }
        };
        self.telemetry.reconnect(reason);
        match self.replacement(&mut running, stop, random).await {
            Some(next) => {
                // A while longer: what the new one missed at its start comes by the old one.
                tokio::select! {
                    () = sleep(self.overlap) => {}
                    () = stop.cancelled() => {}
                }
                running.stop.cancel();
                ended(running).await;
                if stop.is_cancelled() {
                    // Nobody else would end it, and it would go on writing.
                    next.stop.cancel();
                    ended(next).await;
                    return Outcome::Stopped;
                }
                Outcome::Replaced(next)
            }
            None if stop.is_cancelled() => {
                running.stop.cancel();
                ended(running).await;
                Outcome::Stopped
            }
            None => Outcome::Ended(ended(running).await),
        }
    }

    /// A connection that has everything; others are tried until there is one, while the old one
    /// goes on. `None` if the old one ended first, or somebody asked to stop.
    async fn replacement(
        &self,
        running: &mut Running,
        stop: &CancellationToken,
        random: &mut Xoshiro256PlusPlus,
    ) -> Option<Running> {
        let mut n_failures = 0;
        loop {
            tokio::select! {
                () = self.connects.pass() => {}
                () = gone(running) => return None,
                () = stop.cancelled() => return None,
            }
            let mut next = self.link.start();
            let came = tokio::select! {
                stage = next.stage.wait_for(|stage| *stage != Stage::Opening) => {
                    let is_live = stage.is_ok_and(|stage| *stage != Stage::Ended);
                    Some(is_live)
                }
                () = gone(running) => None,
                () = stop.cancelled() => Some(false),
            };
            // Without the old one, it has nothing to wait for any more.
            if came.unwrap_or(true) && !stop.is_cancelled() {
                return Some(next);
            }
            next.stop.cancel();
            let reason = ended(next).await;
            if stop.is_cancelled() {
                return None;
            }
            tracing::warn!(reason, "a replacement failed: the old connection goes on");
            self.telemetry.reconnect(reason);
            n_failures += 1;
            let wait = self.wait(n_failures, random);
            tokio::select! {
                () = sleep(wait) => {}
                () = gone(running) => return None,
                () = stop.cancelled() => return None,
            }
        }
    }

    /// Twice as long after each failure, and between half of that and all of it.
    fn wait(&self, n_failures: u32, random: &mut Xoshiro256PlusPlus) -> Duration {
        let (least, most) = self.backoff;
        let wait = least.saturating_mul(1_u32 << n_failures.min(20)).min(most);
        let share = (random.next_u64() >> 11) as f64 / (1_u64 << 53) as f64;
        wait.mul_f64(0.5 + 0.5 * share)
    }
}

enum Outcome {
    Replaced(Running),
    Ended(&'static str),
    Stopped,
}

/// Waits until a connection has ended.
async fn gone(running: &mut Running) {
    // Its end is the end of what is told of it, too.
    drop(running.stage.wait_for(|stage| *stage == Stage::Ended).await);
}

async fn ended(running: Running) -> &'static str {
    // Only a panic has no reason.
    running.task.await.unwrap_or("failed")
}
