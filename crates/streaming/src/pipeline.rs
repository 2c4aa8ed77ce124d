//! Records in, candles, scored rows and alerts out.

use std::ops::Range;
use std::sync::Arc;

use market::{Candle, FeatureRow, Interval, WireCandle};
use ndarray::ArrayView2;
use serde::Serialize;

use crate::incidents::{Incidents, Look, alert_id};
use crate::judge::{Judge, JudgeError, Score};
use crate::partition::{Partition, Reason, Record, Sink};
use crate::settings::Settings;
use crate::wire::{Alert, Features, Pending, ScoredRow, Verdict, contributions};

/// Where an output belongs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Channel {
    /// Closed candles of this length.
    Candles(Interval),
    /// Feature rows with their scores.
    Features,
    /// Alerts.
    Alerts,
    /// Records that came too late, as they were.
    Late,
    /// Records that can't be taken, as they were.
    DeadLetters,
}

/// Something to be said.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Output<'a> {
    /// Where it belongs.
    pub channel: Channel,
    /// Its key: the symbol, or what the record had.
    pub key: Option<&'a [u8]>,
    /// Its value: JSON, or what the record had.
    pub value: Option<&'a [u8]>,
    /// Of a record that is passed on: its offset.
    pub offset: Option<i64>,
    /// Of a record that is refused: a word for why, and the reason itself.
    pub reason: Option<(&'static str, &'a str)>,
}

/// What is to be said, in one piece of memory that is used again.
#[derive(Debug, Default)]
pub struct Outputs {
    bytes: Vec<u8>,
    entries: Vec<Entry>,
}

#[derive(Debug)]
struct Entry {
    channel: Channel,
    key: Option<Range<usize>>,
    value: Option<Range<usize>>,
    offset: Option<i64>,
    reason: Option<(&'static str, Range<usize>)>,
}

impl Outputs {
    /// Everything, in order.
    pub fn iter(&self) -> impl Iterator<Item = Output<'_>> {
        let piece = |range: &Range<usize>| &self.bytes[range.clone()];
        self.entries.iter().map(move |entry| Output {
            channel: entry.channel,
            key: entry.key.as_ref().map(piece),
            value: entry.value.as_ref().map(piece),
            offset: entry.offset,
            reason: entry
                .reason
                .as_ref()
                .map(|(word, text)| (*word, std::str::from_utf8(piece(text)).unwrap_or_default())),
        })
    }

    /// How many there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether there is nothing to say.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// Forgets everything.
    pub fn clear(&mut self) {
        self.bytes.clear();
        self.entries.clear();
    }

    fn keep(&mut self, bytes: &[u8]) -> Range<usize> {
        let start = self.bytes.len();
        self.bytes.extend_from_slice(bytes);
        start..self.bytes.len()
    }

    fn json(&mut self, channel: Channel, symbol: &str, value: &impl Serialize) {
        let key = self.keep(symbol.as_bytes());
        let start = self.bytes.len();
        // Writing to memory doesn't fail, and neither does plain data with string keys.
        serde_json::to_writer(&mut self.bytes, value).ok();
        self.entries.push(Entry {
            channel,
            key: Some(key),
            value: Some(start..self.bytes.len()),
            offset: None,
            reason: None,
        });
    }

    fn record(&mut self, channel: Channel, record: &Record<'_>, reason: Option<&Reason>) {
        let entry = Entry {
            channel,
            key: record.key.map(|key| self.keep(key)),
            value: record.value.map(|value| self.keep(value)),
            offset: Some(record.offset),
            reason: reason.map(|reason| (reason.word(), self.keep(reason.to_string().as_bytes()))),
        };
        self.entries.push(entry);
    }
}

/// A partition, what its models remember, and rows that wait to be judged.
///
/// Records are pushed, then [`judge`](Self::judge)d with the model that is in force; what comes out does not depend on
/// how many are pushed before that. Between the two the pipeline must not be stored.
#[derive(Debug)]
pub struct Pipeline {
    partition: Partition,
    incidents: Incidents,
    pending: Vec<Pending>,
    /// Reused by every call.
    matrix: Vec<f64>,
    symbols: Vec<Arc<str>>,
    scores: Vec<Result<Score, JudgeError>>,
}

/// Puts what needs no judge into the outputs, and the rest aside.
struct Split<'a> {
    out: &'a mut Outputs,
    pending: &'a mut Vec<Pending>,
}

impl Sink for Split<'_> {
    fn candle(&mut self, symbol: &Arc<str>, interval: Interval, candle: &Candle) {
        let value = WireCandle::new(&**symbol, interval.to_string(), candle);
        self.out.json(Channel::Candles(interval), symbol, &value);
    }

    fn row(&mut self, symbol: &Arc<str>, row: &FeatureRow, label: Option<&str>, is_open: bool) {
        self.pending.push(Pending {
            symbol: Arc::clone(symbol),
            row: *row,
            label: label.map(Into::into),
            is_open,
        });
    }

    fn late(&mut self, record: &Record<'_>) {
        self.out.record(Channel::Late, record, None);
    }

    fn refuse(&mut self, record: &Record<'_>, reason: &Reason) {
        self.out.record(Channel::DeadLetters, record, Some(reason));
    }
}

/// What judging rows came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Judged {
    /// Closed rows that have a score.
    pub scored: u64,
    /// Closed rows whose windows aren't full.
    pub not_ready: u64,
    /// Closed rows that the model refused.
    pub failed: u64,
    /// Looks at candles that were still open.
    pub early: u64,
    /// Closed rows beyond the threshold.
    pub flagged: u64,
    /// Alerts.
    pub alerts: u64,
}

impl Judged {
    /// Adds another count.
    pub fn add(&mut self, other: Judged) {
        self.scored += other.scored;
        self.not_ready += other.not_ready;
        self.failed += other.failed;
        self.early += other.early;
        self.flagged += other.flagged;
        self.alerts += other.alerts;
    }
}

/// A judged row, for whoever looks on.
#[derive(Debug, Clone, Copy)]
pub struct JudgedRow<'a> {
    /// Its symbol.
    pub symbol: &'a Arc<str>,
    /// The row.
    pub row: &'a FeatureRow,
    /// The kind of the labelled event that its candle belongs to.
    pub label: Option<&'a str>,
    /// Its score; `None` where its windows aren't full or the model refused it.
    pub score: Option<&'a Score>,
    /// The alert that it gave.
    pub alert: Option<&'a Alert>,
    /// Whether its candle is still open.
    pub is_open: bool,
}

impl Pipeline {
    /// A pipeline that has seen nothing.
    #[must_use]
    pub fn new(settings: Arc<Settings>) -> Self {
        Self::of(Partition::new(settings), Incidents::default())
    }

    /// A pipeline of these parts.
    #[must_use]
    pub fn of(partition: Partition, incidents: Incidents) -> Self {
        Self {
            partition,
            incidents,
            pending: Vec::new(),
            matrix: Vec::new(),
            symbols: Vec::new(),
            scores: Vec::new(),
        }
    }

    /// What its records alone decide.
    #[must_use]
    pub fn partition(&self) -> &Partition {
        &self.partition
    }

    /// What its models had a say in.
    #[must_use]
    pub fn incidents(&self) -> &Incidents {
        &self.incidents
    }

    /// As [`incidents`](Self::incidents), to ask whether they changed.
    pub fn incidents_mut(&mut self) -> &mut Incidents {
        &mut self.incidents
    }

    /// Takes the next record.
    pub fn push(&mut self, record: &Record<'_>, out: &mut Outputs) {
        let pending = &mut self.pending;
        self.partition.push(record, &mut Split { out, pending });
    }

    /// Says what is left to say where no record will follow.
    pub fn finish(&mut self, out: &mut Outputs) {
        let pending = &mut self.pending;
        self.partition.finish(&mut Split { out, pending });
    }

    /// Judges all rows that wait, in order; `look` sees each of them.
    pub fn judge(
        &mut self,
        judge: &dyn Judge,
        out: &mut Outputs,
        mut look: impl FnMut(&JudgedRow<'_>),
    ) -> Judged {
        let mut judged = Judged::default();
        if self.pending.is_empty() {
            return judged;
        }
        self.score(judge);
        let settings = Arc::clone(self.partition.settings());
        let interval = settings.features.interval();
        let mut saying = Saying {
            judge,
            interval: interval.to_string(),
            rows_per_day: interval.per_day() as f64,
            quiet: settings.quiet,
            incidents: &mut self.incidents,
            out,
            judged: &mut judged,
        };
        let mut scores = self.scores.drain(..);
        for pending in self.pending.drain(..) {
            let is_ready = pending.row.ready(judge.features());
            let score = if is_ready { scores.next() } else { None };
            let alert = saying.say(&pending, score.as_ref());
            look(&JudgedRow {
                symbol: &pending.symbol,
                row: &pending.row,
                label: pending.label.as_deref(),
                score: score.as_ref().and_then(|score| score.as_ref().ok()),
                alert: alert.as_ref(),
                is_open: pending.is_open,
            });
        }
        judged
    }

    /// Scores the rows that wait and are ready, all at once.
    fn score(&mut self, judge: &dyn Judge) {
        let features = judge.features();
        self.matrix.clear();
        self.symbols.clear();
        self.scores.clear();
        for pending in &self.pending {
            if pending.row.ready(features) {
                let values = features.iter().map(|feature| pending.row.value(*feature));
                self.matrix.extend(values);
                self.symbols.push(Arc::clone(&pending.symbol));
            }
        }
        let shape = (self.symbols.len(), features.len());
        if let Ok(rows) = ArrayView2::from_shape(shape, &self.matrix) {
            judge.score(&self.symbols, rows, &mut self.scores);
        }
    }
}

/// Says what was found out about rows.
struct Saying<'a> {
    judge: &'a dyn Judge,
    interval: String,
    rows_per_day: f64,
    quiet: i64,
    incidents: &'a mut Incidents,
    out: &'a mut Outputs,
    judged: &'a mut Judged,
}

impl Saying<'_> {
    fn say(
        &mut self,
        pending: &Pending,
        score: Option<&Result<Score, JudgeError>>,
    ) -> Option<Alert> {
        let ok = score.and_then(|score| score.as_ref().ok());
        self.count(pending, score);
        let values: Vec<f64> = match ok {
            Some(_) => {
                let features = self.judge.features().iter();
                features
                    .map(|feature| pending.row.value(*feature))
                    .collect()
            }
            None => Vec::new(),
        };
        let is_wanted = !pending.is_open || ok.is_some_and(|score| score.flagged);
        // A model that scores a row can say what its members think of it.
        let votes = match ok.filter(|_| is_wanted) {
            Some(score) => self
                .judge
                .votes(&pending.symbol, &values, score)
                .unwrap_or_default(),
            None => Vec::new(),
        };
        let threshold = self.judge.threshold();
        if !pending.is_open {
            let row = ScoredRow {
                symbol: &pending.symbol,
                interval: &self.interval,
                open_time: pending.row.candle.open_time,
                filled: pending.row.filled,
                close: pending.row.candle.close,
                volume: pending.row.candle.volume,
                features: Features(&pending.row),
                verdict: ok.map(|score| Verdict::new(score, threshold, &votes)),
                error: match score {
                    Some(Err(error)) => Some(error.to_string()),
                    _ => None,
                },
                model: self.judge.model(),
                label: pending.label.as_deref(),
            };
            self.out.json(Channel::Features, &pending.symbol, &row);
        }
        let look = Look {
            open_time: pending.row.candle.open_time,
            flagged: ok.is_some_and(|score| score.flagged),
            score: ok.map_or(0.0, |score| score.score),
            is_open: pending.is_open,
        };
        let id = || {
            alert_id(
                &pending.symbol,
                &self.interval,
                look.open_time,
                self.judge.model(),
            )
        };
        let place = self
            .incidents
            .judge(&pending.symbol, look, self.quiet, id)?;
        let score = ok?;
        let shares = self
            .judge
            .shares(&pending.symbol, &values)
            .unwrap_or_else(|_| vec![0.0; values.len()]);
        let (severity, severity_score) = self.judge.severity(score, &votes, self.rows_per_day);
        let alert = Alert {
            alert_id: place.alert_id,
            incident_id: place.incident_id,
            sequence: place.sequence,
            symbol: pending.symbol.to_string(),
            event_time: look.open_time,
            interval: self.interval.clone(),
            early: pending.is_open,
            score: score.score,
            raw_score: score.raw,
            threshold,
            severity,
            severity_score,
            votes,
            contributions: contributions(self.judge.features(), &values, &shares),
            model: self.judge.model().clone(),
            label: pending.label.as_deref().map(str::to_owned),
        };
        self.out.json(Channel::Alerts, &pending.symbol, &alert);
        self.judged.alerts += 1;
        Some(alert)
    }

    fn count(&mut self, pending: &Pending, score: Option<&Result<Score, JudgeError>>) {
        let counts = &mut *self.judged;
        match score {
            _ if pending.is_open => counts.early += 1,
            None => counts.not_ready += 1,
            Some(Err(_)) => counts.failed += 1,
            Some(Ok(score)) => {
                counts.scored += 1;
                counts.flagged += u64::from(score.flagged);
            }
        }
    }
}
