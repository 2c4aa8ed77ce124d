//! The challenger: another version of the model that scores what the champion scored, and never alerts.
//!
//! It has a thread and a bounded queue of its own; what doesn't fit is dropped and counted. The rows are those of
//! `features`, as they were committed: they hold every warm feature, exactly, so that it scores what it would have
//! scored in the champion's place.

mod board;

use std::borrow::Cow;
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::time::{Duration, Instant};

use market::Feature;
use ndarray::ArrayView2;
use serde::de::{Deserializer, IgnoredAny, MapAccess, Visitor};
use serde::{Deserialize, Serialize};
use streaming::{Judge, ModelId, Score};
use tokio::sync::broadcast;

use crate::api::feed::{Batch, Kind, Piece, Told};
use crate::api::memory::{Challenged, Memory};
use crate::limits::{Beside, LimitsInForce};
use crate::model::Current;
use crate::telemetry::Telemetry;
pub(crate) use board::{Board, Pair};

/// Commits that may wait to be scored.
const MOST_BATCHES: usize = 1_024;
/// What they may hold together.
const MOST_BYTES: usize = 64 << 20;
/// How often agreement is computed for the metrics.
const AGREEMENT: Duration = Duration::from_secs(2);

/// Where rows are handed to the challenger.
#[derive(Debug)]
pub(crate) struct ShadowQueue {
    sender: SyncSender<Batch>,
    queued: Arc<AtomicUsize>,
    current: Current,
    telemetry: Arc<Telemetry>,
}

impl ShadowQueue {
    /// Hands rows over, if there is a challenger and room.
    pub(crate) fn offer(&self, batch: Batch) {
        let n_rows = batch.n_scores();
        if n_rows == 0 || self.current.get().is_none() {
            return;
        }
        let n_bytes = batch.n_bytes();
        let queued = self.queued.fetch_add(n_bytes, Ordering::Relaxed);
        if queued + n_bytes > MOST_BYTES || self.sender.try_send(batch).is_err() {
            self.queued.fetch_sub(n_bytes, Ordering::Relaxed);
            self.telemetry.shadow.dropped(n_rows);
        }
    }
}

/// What the challenger works with.
#[derive(Debug)]
pub(crate) struct Shadow {
    pub(crate) current: Current,
    /// Those that vote beside the champion.
    pub(crate) limits: LimitsInForce,
    pub(crate) board: Arc<Board>,
    pub(crate) memory: Option<Arc<Memory>>,
    pub(crate) events: broadcast::Sender<Arc<Told>>,
    pub(crate) telemetry: Arc<Telemetry>,
}

/// A row as it stands in `features`.
#[derive(Deserialize)]
struct Row<'a> {
    #[serde(borrow)]
    symbol: Cow<'a, str>,
    #[serde(borrow)]
    interval: Cow<'a, str>,
    open_time: i64,
    features: Values,
    score: Option<f64>,
    #[serde(default)]
    flagged: bool,
    model: ModelId,
}

/// Features by their place; NaN where they aren't warm.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Values([f64; Feature::COUNT]);

impl<'de> Deserialize<'de> for Values {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Named;
        impl<'de> Visitor<'de> for Named {
            type Value = Values;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("features by name")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Values, A::Error> {
                let mut values = [f64::NAN; Feature::COUNT];
                while let Some(name) = map.next_key::<Cow<'de, str>>()? {
                    match name.parse::<Feature>() {
                        Ok(feature) => values[feature.index()] = map.next_value()?,
                        Err(_) => drop(map.next_value::<IgnoredAny>()?),
                    }
                }
                Ok(Values(values))
            }
        }
        deserializer.deserialize_map(Named)
    }
}

/// What is told of a row.
#[derive(Serialize)]
struct Word<'a> {
    symbol: &'a str,
    interval: &'a str,
    open_time: i64,
    score: f64,
    raw_score: f64,
    threshold: f64,
    flagged: bool,
    /// Of the champion.
    champion_score: Option<f64>,
    model: &'a ModelId,
}

impl Shadow {
    /// Scores on a thread of its own, as long as rows may come.
    ///
    /// # Errors
    /// There is no thread to be had.
    pub(crate) fn start(self) -> std::io::Result<ShadowQueue> {
        let (sender, receiver) = sync_channel(MOST_BATCHES);
        let queued = Arc::new(AtomicUsize::new(0));
        let queue = ShadowQueue {
            sender,
            queued: Arc::clone(&queued),
            current: self.current.clone(),
            telemetry: Arc::clone(&self.telemetry),
        };
        let thread = std::thread::Builder::new().name("shadow".to_owned());
        thread.spawn(move || self.run(&receiver, &queued))?;
        Ok(queue)
    }

    fn run(self, receiver: &Receiver<Batch>, queued: &AtomicUsize) {
        let mut due = Instant::now();
        let mut beside = Beside::default();
        while let Ok(batch) = receiver.recv() {
            queued.fetch_sub(batch.n_bytes(), Ordering::Relaxed);
            // One model for a whole batch.
            if let Some(judge) = self.judge(&mut beside) {
                let scores = batch.pieces().filter(|piece| piece.kind == Kind::Score);
                scores.for_each(|piece| self.row(&*judge, &piece));
            }
            if Instant::now() >= due {
                due = Instant::now() + AGREEMENT;
                let summary = self.board.summary();
                self.telemetry.shadow.agree(
                    summary.agreement.unwrap_or(f64::NAN),
                    summary.rank_correlation.unwrap_or(f64::NAN),
                );
            }
        }
    }

    /// What judges, as it would in the champion's place: with the limits beside it, where they fit.
    fn judge(&self, beside: &mut Beside) -> Option<Arc<dyn Judge>> {
        let model = self.current.get()?;
        Some(beside.judge(model, &self.limits, None))
    }

    fn row(&self, judge: &dyn Judge, piece: &Piece<'_>) {
        let row: Row<'_> = match serde_json::from_slice(piece.value) {
            Ok(row) => row,
            Err(error) => {
                tracing::error!(%error, "a row of our own can't be read");
                return;
            }
        };
        let values = judge.features().iter().map(|f| row.features.0[f.index()]);
        let values: Vec<f64> = values.collect();
        if values.iter().any(|value| value.is_nan()) {
            self.board.not_ready();
            return;
        }
        let Some(score) = score_one(judge, &row.symbol, &values) else {
            self.telemetry.shadow.failed();
            self.board.failed();
            return;
        };
        self.telemetry.shadow.scored(score.score);
        if let Some(champion) = row.score {
            let pair = Pair {
                champion,
                challenger: score.score,
                by_champion: row.flagged,
                by_challenger: score.flagged,
            };
            if let Some(by) = pair.flagged_by() {
                self.telemetry.shadow.flagged(by);
            }
            self.board.compare(&row.model, judge.model(), pair);
        }
        if let Some(memory) = &self.memory {
            memory.challenge(
                piece.id,
                Challenged {
                    version: judge.model().version.as_str().into(),
                    score: score.score,
                    raw_score: score.raw,
                    threshold: judge.threshold(),
                    flagged: score.flagged,
                },
            );
        }
        if self.events.receiver_count() > 0 {
            self.tell(judge, &row, score);
        }
    }

    fn tell(&self, judge: &dyn Judge, row: &Row<'_>, score: Score) {
        let word = Word {
            symbol: &row.symbol,
            interval: &row.interval,
            open_time: row.open_time,
            score: score.score,
            raw_score: score.raw,
            threshold: judge.threshold(),
            flagged: score.flagged,
            champion_score: row.score,
            model: judge.model(),
        };
        // Plain data: it can be written.
        let data = serde_json::to_string(&word).unwrap_or_default();
        let told = Told {
            id: None,
            kind: Kind::Challenger,
            symbol: (&*row.symbol).into(),
            data: data.into(),
        };
        // Whoever listened may have gone.
        self.events.send(Arc::new(told)).ok();
    }
}

/// Scores one row by itself: the loop's threads are not borrowed for it.
pub(crate) fn score_one(judge: &dyn Judge, symbol: &str, values: &[f64]) -> Option<Score> {
    try_score_one(judge, symbol, values).ok()
}

/// As [`score_one`], with the reason why not.
///
/// # Errors
/// Why the model refuses the row.
pub(crate) fn try_score_one(
    judge: &dyn Judge,
    symbol: &str,
    values: &[f64],
) -> Result<Score, String> {
    let rows = ArrayView2::from_shape((1, values.len()), values).map_err(|e| e.to_string())?;
    let mut scores = Vec::with_capacity(1);
    judge.score(&[Arc::from(symbol)], rows, &mut scores);
    match scores.pop() {
        Some(Ok(score)) => Ok(score),
        Some(Err(error)) => Err(error.to_string()),
        None => Err("the model does not say".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fixed::Fixed;
    use crate::limits::Limits;

    fn row(place: i64, price_range: f64, score: Option<f64>) -> String {
        let verdict = score.map_or_else(String::new, |score| {
            format!(
                r#""score":{score},"raw_score":1.0,"threshold":3.0,"flagged":{},"votes":[],"#,
                score > 3.0
            )
        });
        format!(
            r#"{{"symbol":"A","interval":"1m","open_time":{place},"filled":false,"close":1.0,"volume":1.0,"features":{{"price_range":{price_range},"log_return":0.0,"unheard_of":[1]}},{verdict}"model":{{"name":"m","version":"1","run_id":"r"}}}}"#
        )
    }

    fn shadow(current: &Current) -> Shadow {
        Shadow {
            current: current.clone(),
            limits: LimitsInForce::default(),
            board: Arc::default(),
            memory: Memory::new(100, 1 << 20).map(Arc::new),
            events: broadcast::channel(16).0,
            telemetry: Arc::default(),
        }
    }

    #[test]
    fn rows_are_scored_and_compared() {
        let current = Current::with(Arc::new(Fixed::new("2", 2.0)));
        let shadow = shadow(&current);
        let mut told = shadow.events.subscribe();
        let rows = [
            row(0, 1.0, Some(1.0)),
            row(1, 2.0, Some(2.0)),
            row(2, 4.0, Some(4.0)),
            row(3, 5.0, None),
        ];
        let judge = current.get().unwrap();
        for (place, row) in rows.iter().enumerate() {
            let id = place as u64 + 1;
            shadow.memory.as_ref().unwrap().remember(id, row.as_bytes());
            let piece = Piece {
                id,
                kind: Kind::Score,
                symbol: "A",
                value: row.as_bytes(),
            };
            shadow.row(&*judge, &piece);
        }
        let not_warm = row(4, 1.0, Some(1.0)).replace("log_return", "return");
        let refused = row(5, 1.0, Some(1.0)).replace("\"A\"", "\"UNKNOWN\"");
        for value in [not_warm.as_bytes(), refused.as_bytes(), b"{"] {
            let piece = Piece {
                id: 9,
                kind: Kind::Score,
                symbol: "A",
                value,
            };
            shadow.row(&*judge, &piece);
        }
        let summary = shadow.board.summary();
        assert_eq!(
            (summary.compared, summary.not_ready, summary.failed),
            (3, 1, 1)
        );
        assert_eq!(
            (
                summary.flagged.both,
                summary.flagged.champion,
                summary.flagged.challenger
            ),
            (1, 0, 1)
        );
        assert_eq!(summary.agreement, Some(0.5));
        assert!((summary.rank_correlation.unwrap() - 1.0).abs() < 1e-12);
        let told = told.try_recv().unwrap();
        let word: serde_json::Value = serde_json::from_str(&told.data).unwrap();
        assert_eq!(
            (word["score"].as_f64(), word["champion_score"].as_f64()),
            (Some(2.0), Some(1.0))
        );
        assert_eq!(word["model"]["version"], "2");
        let all = Default::default();
        let (remembered, _) = shadow.memory.as_ref().unwrap().newest(&all, None, 9);
        let said: Vec<f64> = remembered
            .iter()
            .map(|row| row.challenger.as_ref().unwrap().score)
            .collect();
        assert_eq!(said, [8.0, 4.0, 2.0]);
    }

    #[test]
    fn limits_vote_as_they_do_beside_the_champion() {
        let shadow = shadow(&Current::with(Arc::new(Fixed::new("2", 1.0))));
        let mut beside = Beside::default();
        let flagged = |judge: &dyn Judge| {
            let row = row(0, 2.0, Some(1.0));
            let piece = Piece {
                id: 1,
                kind: Kind::Score,
                symbol: "A",
                value: row.as_bytes(),
            };
            shadow.row(judge, &piece);
            shadow.board.summary().flagged.challenger
        };
        let alone = shadow.judge(&mut beside).unwrap();
        assert_eq!((alone.limits(), flagged(&*alone)), (None, 0));
        let limits = r#"{"candle_z": {"format": "foreshock-candle-statistics", "version": 1, "n_rows": 10,
            "features": {"price_range": {"mean": 0.0, "sd": 1.0, "limit": 1.5}}}, "votes": 1}"#;
        shadow.limits.set(Limits::parse(limits).unwrap());
        let with = shadow.judge(&mut beside).unwrap();
        assert!(with.limits().is_some());
        assert_eq!(flagged(&*with), 1);
    }

    #[test]
    fn what_it_is_too_slow_for_is_dropped_and_counted() {
        let current = Current::default();
        let telemetry = Arc::new(Telemetry::default());
        let (sender, _receiver) = sync_channel(1);
        let queue = ShadowQueue {
            sender,
            queued: Arc::default(),
            current: current.clone(),
            telemetry: Arc::clone(&telemetry),
        };
        let offer = || {
            let mut batch = Batch::default();
            batch.push(1, Kind::Score, b"A", b"{}");
            batch.push(2, Kind::Alert, b"A", b"{}");
            queue.offer(batch);
        };
        // Without a challenger nothing is missed.
        offer();
        assert_eq!(telemetry.shadow.n_dropped(), 0);
        current.set(Some(Arc::new(Fixed::new("2", 1.0))));
        offer();
        assert_eq!(telemetry.shadow.n_dropped(), 0);
        offer();
        offer();
        assert_eq!(telemetry.shadow.n_dropped(), 2);
    }
}
