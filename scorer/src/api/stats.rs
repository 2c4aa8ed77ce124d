//! `GET /v1/stats`: what was done, how fast, and how it scored.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::extract::State;
use axum::http::header;
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use serde_json::{Value, json};

use super::error::Refusal;
use super::memory::Scores;
use super::parameters::Parameters;
use super::predict::write;
use super::predictions::filter;
use super::quantiles::{Quantiles, quantiles};
use super::{Api, milliseconds};
use crate::telemetry::Counts;

/// The windows over which rates are told.
const WINDOWS: [(&str, Duration); 3] = [
    ("1m", Duration::from_secs(60)),
    ("5m", Duration::from_secs(300)),
    ("1h", Duration::from_secs(3_600)),
];
/// Symbols in one answer at most.
const MOST_SYMBOLS: usize = 1_000;

#[derive(Serialize)]
struct OfScores {
    rows: usize,
    flagged: usize,
    quantiles: Option<Quantiles>,
}

impl OfScores {
    fn new(mut scores: Scores) -> Self {
        Self {
            rows: scores.scores.len(),
            flagged: scores.n_flagged,
            quantiles: quantiles(&mut scores.scores),
        }
    }
}

#[derive(Serialize)]
struct Remembered {
    all: OfScores,
    /// By symbol, where that is asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    symbols: Option<BTreeMap<Arc<str>, OfScores>>,
}

pub(super) async fn handle(
    State(api): State<Arc<Api>>,
    mut parameters: Parameters,
) -> Result<Response, Refusal> {
    let filter = filter(&mut parameters);
    let by = parameters.text("by");
    if by.as_ref().is_some_and(|by| by != "symbol") {
        parameters.refuse("by", "`symbol` is needed");
    }
    parameters.finish()?;

    let counts = api.telemetry.counts();
    let now = Instant::now();
    let windows: BTreeMap<&str, Value> = WINDOWS
        .into_iter()
        .map(|(name, window)| {
            let (took, counted) = api.samples.over(window, now, &counts);
            (name, rates(took, &counted))
        })
        .collect();
    let mut answer = json!({
        "started_at": milliseconds(api.started),
        "uptime_seconds": api.started.elapsed().unwrap_or_default().as_secs_f64(),
        "counts": {
            "records": counts.records,
            "records_rejected": counts.rejected,
            "late": counts.late,
            "duplicates": counts.duplicates,
            "candles": counts.candles,
            "rows_scored": counts.scored,
            "rows_failed": counts.failed,
            "rows_flagged": counts.flagged,
            "early_looks": counts.early,
            "alerts": alerts(&counts),
            "untold": api.telemetry.http.n_untold(),
        },
        "latency_seconds": latency(&counts),
        "windows": windows,
        "challenger": api.challenger.as_ref().map(|challenger| json!({
            "alias": challenger.alias,
            "dropped": api.telemetry.shadow.n_dropped(),
            "comparison": challenger.board.summary(),
        })),
        "scores": null,
    });
    let memory = api.memory.clone();
    let json = api
        .scoring
        .run(move || {
            let scores = memory.map(|memory| of_scores(memory.scores(&filter), by.is_some()));
            answer["scores"] = json!(scores);
            write(&answer)
        })
        .await??;
    Ok(([(header::CONTENT_TYPE, "application/json")], json).into_response())
}

fn of_scores(by_symbol: BTreeMap<Arc<str>, Scores>, is_by_symbol: bool) -> Remembered {
    let mut all = Scores::default();
    for scores in by_symbol.values() {
        all.scores.extend(&scores.scores);
        all.n_flagged += scores.n_flagged;
    }
    let symbols = is_by_symbol.then(|| {
        let each = by_symbol.into_iter().take(MOST_SYMBOLS);
        each.map(|(symbol, scores)| (symbol, OfScores::new(scores)))
            .collect()
    });
    Remembered {
        all: OfScores::new(all),
        symbols,
    }
}

fn alerts(counts: &Counts) -> Value {
    let [low, medium, high] = counts.alerts;
    json!({ "LOW": low, "MEDIUM": medium, "HIGH": high })
}

fn latency(counts: &Counts) -> Value {
    json!({
        "commits": counts.n_latencies(),
        "p50": counts.latency(0.5),
        "p99": counts.latency(0.99),
    })
}

fn rates(took: Duration, counts: &Counts) -> Value {
    let seconds = took.as_secs_f64();
    let a_second = |n: u64| (seconds > 0.0).then(|| n as f64 / seconds);
    json!({
        "seconds": seconds,
        "records_per_second": a_second(counts.records),
        "rows_scored_per_second": a_second(counts.scored),
        "rows_flagged": counts.flagged,
        "records_rejected": counts.rejected,
        "alerts": alerts(counts),
        "latency_seconds": latency(counts),
    })
}
