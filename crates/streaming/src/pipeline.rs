//! Records in, candles, scored rows and alerts out.

mod saying;

use std::sync::Arc;

use detectors::DriftMonitor;
use market::{Candle, FeatureRow, Interval, WireCandle};
use ndarray::ArrayView2;

use crate::bytes::StoredError;
use crate::drift::DriftWatch;
use crate::incidents::Incidents;
use crate::judge::{Judge, JudgeError, Score};
use crate::memory::MemoryView;
use crate::outputs::{Channel, Outputs};
use crate::partition::{Partition, Sink};
use crate::record::{Reason, Record};
use crate::settings::Settings;
use crate::snapshot::Frozen;
use crate::wire::{Alert, Pending};

use saying::Saying;

/// A partition, what its models remember, its drift, and rows that wait to be judged.
///
/// Records are pushed, then [`judge`](Self::judge)d with the model that is in force; what comes out does not depend on
/// how many are pushed before that. Between the two the pipeline must not be stored.
#[derive(Debug)]
pub struct Pipeline {
    partition: Partition,
    /// Which partition of the source it is.
    number: i32,
    /// What tells how its features are computed.
    engine: String,
    incidents: Incidents,
    watch: DriftWatch,
    /// The rows of all records before this offset were judged.
    judged_to: i64,
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

/// Keeps closed rows alone, of records whose consequences are out already.
struct Closed<'a> {
    pending: &'a mut Vec<Pending>,
}

impl Sink for Closed<'_> {
    fn candle(&mut self, _: &Arc<str>, _: Interval, _: &Candle) {}

    fn row(&mut self, symbol: &Arc<str>, row: &FeatureRow, _: Option<&str>, is_open: bool) {
        if !is_open {
            self.pending.push(Pending {
                symbol: Arc::clone(symbol),
                row: *row,
                label: None,
                is_open,
            });
        }
    }

    fn late(&mut self, _: &Record<'_>) {}

    fn refuse(&mut self, _: &Record<'_>, _: &Reason) {}
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
    /// Verdicts on drift.
    pub drift: u64,
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
        self.drift += other.drift;
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
    /// A pipeline that has seen nothing of the partition of this number.
    #[must_use]
    pub fn new(settings: Arc<Settings>, number: i32) -> Self {
        let partition = Partition::new(settings);
        Self::of(
            number,
            0,
            partition,
            Incidents::default(),
            DriftWatch::default(),
        )
    }

    /// The pipeline of a partition whose rows up to the record at `judged_to` were judged.
    pub(crate) fn of(
        number: i32,
        judged_to: i64,
        partition: Partition,
        incidents: Incidents,
        watch: DriftWatch,
    ) -> Self {
        Self {
            engine: partition.settings().features.digest(),
            partition,
            number,
            incidents,
            watch,
            judged_to,
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

    /// What watches the rows of the model in force; `None` where that has no baseline, or nothing is to be watched.
    #[must_use]
    pub fn drift(&self) -> Option<&DriftMonitor> {
        self.watch.monitor()
    }

    /// Rows that could not be watched since it was made or restored.
    #[must_use]
    pub fn drift_refused(&self) -> u64 {
        self.watch.n_refused()
    }

    /// What models had a say in, as bytes, where that has changed since it was asked for last: to be written with the
    /// outputs.
    ///
    /// # Errors
    /// When memory for them is lacking.
    pub fn take_memory(&mut self) -> Result<Option<Vec<u8>>, StoredError> {
        let changed = [
            self.incidents.take_changed(),
            std::mem::take(&mut self.watch.changed),
        ];
        if !changed.contains(&true) {
            return Ok(None);
        }
        let view = MemoryView {
            incidents: &self.incidents,
            began: self.watch.began.as_ref(),
        };
        view.to_bytes().map(Some)
    }

    /// The bytes of what can be computed again from records and model: the same state gives the same ones.
    ///
    /// # Errors
    /// When memory for them is lacking; nothing else can go wrong.
    pub fn snapshot(&self) -> Result<Vec<u8>, StoredError> {
        self.freeze().into_bytes()
    }

    /// What a snapshot is made of, at once: the bytes are for whoever has time, on another thread while this one goes on.
    /// As long as a symbol isn't written, it is copied when it changes, so that what was frozen stays as it was.
    #[must_use]
    pub fn freeze(&self) -> Frozen {
        Frozen::new(&self.partition, &self.watch)
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
        let settings = Arc::clone(self.partition.settings());
        self.watch.follow(judge, self.judged_to, settings.drift);
        self.judged_to = self.judged_to.max(self.partition.next_offset());
        if self.pending.is_empty() {
            return judged;
        }
        self.score(judge);
        let interval = settings.features.interval();
        let mut saying = Saying {
            judge,
            interval: interval.to_string(),
            engine: &self.engine,
            rows_per_day: interval.per_day() as f64,
            quiet: settings.quiet,
            incidents: &mut self.incidents,
            watch: &mut self.watch,
            partition: self.number,
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

    /// Takes a record whose consequences are out already; its closed rows are shown to the watch once more.
    pub(crate) fn relive(&mut self, record: &Record<'_>, judge: &dyn Judge) {
        const BATCH: usize = 4_096;
        let pending = &mut self.pending;
        self.partition.push(record, &mut Closed { pending });
        if self.pending.len() >= BATCH {
            self.relived(judge);
        }
    }

    /// Shows the watch what [`relive`](Self::relive) has put aside.
    pub(crate) fn relived(&mut self, judge: &dyn Judge) {
        self.score(judge);
        let features = judge.features();
        let mut values = Vec::new();
        let mut scores = self.scores.drain(..);
        for pending in self.pending.drain(..) {
            if !pending.row.ready(features) {
                continue;
            }
            if let Some(Ok(score)) = scores.next() {
                values.clear();
                values.extend(features.iter().map(|feature| pending.row.value(*feature)));
                let (symbol, row) = (&*pending.symbol, &pending.row);
                // What it says was said then.
                let score = (&score, judge.threshold());
                self.watch
                    .observe(self.number, symbol, row, &values, score)
                    .for_each(drop);
            }
        }
    }

    /// Takes a record whose consequences are out already.
    pub(crate) fn replay(&mut self, record: &Record<'_>) {
        self.partition.replay(record);
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
