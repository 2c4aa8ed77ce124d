//! Scoring for callers: on threads beside the loop's, so many at once, and what comes of it.

use std::panic::resume_unwind;
use std::sync::Arc;

use serde::Serialize;
use streaming::wire::contributions;
use streaming::{Judge, Severity, Vote, wire::Contribution};
use tokio::sync::Semaphore;

use super::error::Refusal;
use super::rows::Row;
use crate::shadow::try_score_one;

/// So many pieces of work at once; the others wait in line, which is as long as requests are let in.
#[derive(Debug, Clone)]
pub(super) struct Scoring(Arc<Semaphore>);

impl Scoring {
    pub(super) fn new(n_threads: usize) -> Self {
        Self(Arc::new(Semaphore::new(n_threads)))
    }

    /// Does work that takes a while away from the threads that answer.
    ///
    /// # Errors
    /// The scorer is stopping.
    pub(super) async fn run<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, Refusal> {
        let Ok(slot) = Arc::clone(&self.0).acquire_owned().await else {
            return Err(Refusal::unavailable("the scorer is stopping"));
        };
        let done = tokio::task::spawn_blocking(move || {
            // Given back when the work is done, whether or not anybody still waits for it.
            let _slot = slot;
            work()
        });
        match done.await {
            Ok(result) => Ok(result),
            Err(error) if error.is_panic() => resume_unwind(error.into_panic()),
            Err(_) => Err(Refusal::unavailable("the scorer is stopping")),
        }
    }
}

/// What a model says of a row.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub(super) struct Prediction {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) symbol: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) event_time: Option<i64>,
    pub(super) score: f64,
    pub(super) raw_score: f64,
    pub(super) threshold: f64,
    pub(super) flagged: bool,
    pub(super) severity: Severity,
    pub(super) severity_score: f64,
    pub(super) votes: Vec<Vote>,
    pub(super) contributions: Vec<Contribution>,
}

/// Scores a row, and explains the score.
///
/// # Errors
/// Why the model refuses it.
pub(super) fn predict(
    judge: &dyn Judge,
    row: Row,
    rows_per_day: f64,
) -> Result<Prediction, String> {
    let symbol = row.symbol.as_deref().unwrap_or_default();
    let score = try_score_one(judge, symbol, &row.values)?;
    let said = |error: streaming::JudgeError| error.to_string();
    let votes = judge.votes(symbol, &row.values, &score).map_err(said)?;
    let shares = judge.shares(symbol, &row.values).map_err(said)?;
    let (severity, severity_score) = judge.severity(&score, &votes, rows_per_day);
    Ok(Prediction {
        contributions: contributions(judge.features(), &row.values, &shares),
        symbol: row.symbol,
        event_time: row.event_time,
        score: score.score,
        raw_score: score.raw,
        threshold: judge.threshold(),
        flagged: score.flagged,
        severity,
        severity_score,
        votes,
    })
}
