//! Many trials at once: one that fails is recorded, and harms no other.

use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use detectors::DetectorSet;

use super::fit::{self, FitInput, Record, TooLong, Trial, Watch};
use crate::interrupt::Interrupt;

/// A trial that was fitted.
#[derive(Debug)]
pub struct Fitted {
    /// What it is.
    pub trial: Trial,
    /// What scores.
    pub detectors: DetectorSet,
    /// How the fit went.
    pub record: Record,
    /// How long it took.
    pub spent: Duration,
}

/// A trial that nothing came of.
#[derive(Debug)]
pub struct Failed {
    /// What it was.
    pub trial: Trial,
    /// Why.
    pub reason: String,
    /// How far it came.
    pub record: Record,
    /// How long it took.
    pub spent: Duration,
}

/// How much work trials may be.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// Threads in all.
    pub threads: usize,
    /// What one trial may take.
    pub trial: Option<Duration>,
    /// When no other trial begins; the baseline always does.
    pub end: Option<Instant>,
}

/// What became of trials, each list in the order of the trials.
#[derive(Debug, Default)]
pub struct Attempts {
    /// Those that were fitted.
    pub fitted: Vec<Fitted>,
    /// Those that failed.
    pub failed: Vec<Failed>,
    /// Those that there was no time for.
    pub left_out: Vec<Trial>,
}

enum Attempt {
    Fitted(Box<Fitted>),
    Failed(Failed),
    LeftOut(Trial),
}

/// Fits `trials`, several at once. The first of each candidate are begun before any second one, so
/// that a budget of time leaves no candidate out for another's grid.
///
/// What is fitted doesn't depend on the number of threads.
///
/// # Errors
/// [`crate::interrupt::Interrupted`], and threads that can't be started: what a trial fails of is recorded.
pub fn fit_all(
    trials: Vec<Trial>,
    input: &FitInput<'_>,
    limits: &Limits,
    interrupt: &Interrupt,
    done: impl Fn() + Sync,
) -> anyhow::Result<Attempts> {
    let order = by_turns(&trials);
    let base = input.shelf.base(input);
    let attempt = |place: usize| {
        let trial = trials[order[place]].clone();
        if let Some(before) = input.shelf.take(&base, &trial) {
            done();
            return match before {
                Ok(fitted) => Attempt::Fitted(Box::new(fitted)),
                Err(failed) => Attempt::Failed(failed),
            };
        }
        let is_late = limits.end.is_some_and(|end| Instant::now() >= end);
        if is_late && place > 0 && trial.number > 0 {
            return Attempt::LeftOut(trial);
        }
        let attempt = attempt(trial, input, limits, interrupt);
        match &attempt {
            // What was interrupted hasn't failed.
            _ if interrupt.check().is_err() => {}
            Attempt::Fitted(fitted) => input.shelf.keep(&base, input, Ok(fitted)),
            Attempt::Failed(failed) => input.shelf.keep(&base, input, Err(failed)),
            Attempt::LeftOut(_) => {}
        }
        done();
        attempt
    };
    let mut attempts: Vec<(usize, Attempt)> = at_once(trials.len(), limits.threads, attempt)?
        .into_iter()
        .enumerate()
        .map(|(place, attempt)| (order[place], attempt))
        .collect();
    interrupt.check()?;
    attempts.sort_by_key(|(at, _)| *at);
    let mut all = Attempts::default();
    for (_, attempt) in attempts {
        match attempt {
            Attempt::Fitted(fitted) => all.fitted.push(*fitted),
            Attempt::Failed(failed) => all.failed.push(failed),
            Attempt::LeftOut(trial) => all.left_out.push(trial),
        }
    }
    Ok(all)
}

/// The trials' indices, the first of each candidate before the second of any.
fn by_turns(trials: &[Trial]) -> Vec<usize> {
    let mut seen: BTreeMap<&str, usize> = BTreeMap::new();
    let turns: Vec<usize> = trials
        .iter()
        .map(|trial| {
            let n = seen.entry(&trial.candidate).or_default();
            *n += 1;
            *n
        })
        .collect();
    let mut order: Vec<usize> = (0..trials.len()).collect();
    order.sort_by_key(|&at| turns[at]);
    order
}

fn attempt(trial: Trial, input: &FitInput<'_>, limits: &Limits, interrupt: &Interrupt) -> Attempt {
    let started = Instant::now();
    // The yardstick is always there.
    let limit = limits.trial.filter(|_| trial.number > 0);
    let mut watch = Watch {
        record: Record::default(),
        deadline: limit.map(|limit| started + limit),
        interrupt,
    };
    let fitted = unharmed(|| fit::fit(&trial, input, &mut watch));
    let (record, spent) = (watch.record, started.elapsed());
    let fitted = fitted.and_then(|set| fit::within(spent, limit).map(|()| set));
    match fitted {
        Ok(detectors) => Attempt::Fitted(Box::new(Fitted {
            trial,
            detectors,
            record,
            spent,
        })),
        Err(error) => Attempt::Failed(Failed {
            trial,
            reason: reason(&error, limit),
            record,
            spent,
        }),
    }
}

/// Does `work`; a panic within is an error, and harms nothing else. What `work` had begun to change must
/// not be used after one.
///
/// # Errors
/// That of `work`, or what it panicked with.
pub fn unharmed<T>(work: impl FnOnce() -> anyhow::Result<T>) -> anyhow::Result<T> {
    catch_unwind(AssertUnwindSafe(work))
        .unwrap_or_else(|panic| Err(anyhow::anyhow!("the detector panicked: {}", words(&*panic))))
}

/// Why a trial failed.
pub fn reason(error: &anyhow::Error, limit: Option<Duration>) -> String {
    let stopped = |cause: &(dyn std::error::Error + 'static)| {
        cause.downcast_ref() == Some(&detectors::Error::Stopped)
    };
    match limit {
        Some(limit) if error.chain().any(stopped) => TooLong(limit).to_string(),
        _ => format!("{error:#}"),
    }
}

fn words(panic: &(dyn std::any::Any + Send)) -> &str {
    let text = panic.downcast_ref::<&str>().copied();
    let owned = panic.downcast_ref::<String>().map(String::as_str);
    text.or(owned).unwrap_or("without a word")
}

/// Does `work` for 0 to `n`, several at once, and returns what came of each, in order. Each worker
/// has threads of its own, so that one never takes up another's work while its own clock runs.
///
/// # Errors
/// When threads can't be started.
fn at_once<T: Send>(
    n: usize,
    threads: usize,
    work: impl Fn(usize) -> T + Sync,
) -> anyhow::Result<Vec<T>> {
    let n_workers = threads.min(n).max(1);
    if n_workers == 1 {
        return Ok((0..n).map(work).collect());
    }
    let pools = (0..n_workers)
        .map(|_| {
            rayon::ThreadPoolBuilder::new()
                .num_threads((threads / n_workers).max(1))
                .build()
        })
        .collect::<Result<Vec<_>, _>>()?;
    let next = AtomicUsize::new(0);
    let (next, work) = (&next, &work);
    let mut done: Vec<(usize, T)> = std::thread::scope(|scope| {
        let workers: Vec<_> = pools
            .iter()
            .map(|pool| {
                scope.spawn(move || {
                    let mut done = Vec::new();
                    loop {
                        let at = next.fetch_add(1, Ordering::Relaxed);
                        if at >= n {
                            return done;
                        }
                        done.push((at, pool.install(|| work(at))));
                    }
                })
            })
            .collect();
        workers
            .into_iter()
            .map(|worker| {
                worker
                    .join()
                    .map_err(|panic| anyhow::anyhow!("a worker panicked: {}", words(&*panic)))
            })
            .collect::<anyhow::Result<Vec<_>>>()
    })?
    .into_iter()
    .flatten()
    .collect();
    done.sort_by_key(|(at, _)| *at);
    Ok(done.into_iter().map(|(_, done)| done).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn work_is_done_once_and_in_order_on_any_number_of_threads() {
        for threads in [1, 2, 7] {
            let squares = at_once(20, threads, |at| at * at).unwrap();
            let expected: Vec<usize> = (0..20).map(|at| at * at).collect();
            assert_eq!(squares, expected);
        }
        assert!(at_once(0, 2, |at| at).unwrap().is_empty());
    }

    #[test]
    fn no_candidate_waits_for_the_grid_of_another() {
        let trial = |candidate: &str| Trial {
            candidate: candidate.to_owned(),
            ..Trial::baseline()
        };
        let trials = ["a", "a", "a", "b", "b", "c"].map(trial);
        assert_eq!(by_turns(&trials), [0, 3, 5, 1, 4, 2]);
    }
}
