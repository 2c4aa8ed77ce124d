//! From the loop to whoever is told: copies of what was committed, through a bounded queue.
//!
//! The loop copies bytes and goes on; it never waits, and where nobody wants anything it copies nothing. One thread
//! takes the copies up: it remembers rows, streams events and hands rows on to the challenger.

use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};

use streaming::{Channel, Outputs};
use tokio::sync::broadcast;

use super::memory::Memory;
use crate::shadow::ShadowQueue;
use crate::stream::Listener;
use crate::telemetry::Telemetry;

/// Commits that may wait to be told.
const MOST_BATCHES: usize = 4_096;
/// What they may hold together.
const MOST_BYTES: usize = 64 << 20;

/// What is told.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) enum Kind {
    /// A closed candle.
    Candle,
    /// A scored row.
    Score,
    /// An alert.
    Alert,
    /// A verdict on drift.
    Drift,
    /// What the challenger says of a row.
    Challenger,
}

impl Kind {
    /// All of them.
    pub(crate) const ALL: [Kind; 5] = [
        Kind::Candle,
        Kind::Score,
        Kind::Alert,
        Kind::Drift,
        Kind::Challenger,
    ];

    /// As it is called in the stream.
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Candle => "candle",
            Self::Score => "score",
            Self::Alert => "alert",
            Self::Drift => "drift",
            Self::Challenger => "challenger",
        }
    }

    /// All of them, as they are called, for messages.
    pub(crate) fn words() -> String {
        Self::ALL
            .map(|kind| format!("`{}`", kind.as_str()))
            .join(", ")
    }

    fn of(channel: Channel) -> Option<Self> {
        match channel {
            Channel::Candles(_) => Some(Self::Candle),
            Channel::Features => Some(Self::Score),
            Channel::Alerts => Some(Self::Alert),
            Channel::Drift => Some(Self::Drift),
            Channel::Late | Channel::DeadLetters => None,
        }
    }

    /// Whether it is about one symbol. A verdict on drift is about all of a partition.
    pub(crate) fn has_symbol(self) -> bool {
        self != Self::Drift
    }
}

/// How many want each kind.
#[derive(Debug, Default)]
pub(crate) struct Wants([AtomicUsize; Kind::ALL.len()]);

impl Wants {
    fn wants(&self, kind: Kind) -> bool {
        self.0[kind as usize].load(Ordering::Relaxed) > 0
    }

    fn is_empty(&self) -> bool {
        Kind::ALL.into_iter().all(|kind| !self.wants(kind))
    }
}

/// As long as it lives, these kinds are wanted.
#[derive(Debug)]
pub(crate) struct Want {
    wants: Arc<Wants>,
    kinds: Vec<Kind>,
}

impl Want {
    pub(crate) fn new(wants: &Arc<Wants>, kinds: Vec<Kind>) -> Self {
        for kind in &kinds {
            wants.0[*kind as usize].fetch_add(1, Ordering::Relaxed);
        }
        Self {
            wants: Arc::clone(wants),
            kinds,
        }
    }
}

impl Drop for Want {
    fn drop(&mut self) {
        for kind in &self.kinds {
            self.wants.0[*kind as usize].fetch_sub(1, Ordering::Relaxed);
        }
    }
}

/// A piece of what a commit said.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Piece<'a> {
    /// Numbers rise over all that was said.
    pub(crate) id: u64,
    pub(crate) kind: Kind,
    /// Its record's key, which isn't a symbol where the kind has none.
    pub(crate) symbol: &'a str,
    /// JSON.
    pub(crate) value: &'a [u8],
}

/// What one commit said of one partition.
#[derive(Debug, Default)]
pub(crate) struct Batch {
    bytes: Vec<u8>,
    pieces: Vec<Stored>,
}

#[derive(Debug)]
struct Stored {
    id: u64,
    kind: Kind,
    key: Range<usize>,
    value: Range<usize>,
}

impl Batch {
    pub(crate) fn push(&mut self, id: u64, kind: Kind, key: &[u8], value: &[u8]) {
        let start = self.bytes.len();
        self.bytes.extend_from_slice(key);
        let middle = self.bytes.len();
        self.bytes.extend_from_slice(value);
        self.pieces.push(Stored {
            id,
            kind,
            key: start..middle,
            value: middle..self.bytes.len(),
        });
    }

    pub(crate) fn pieces(&self) -> impl Iterator<Item = Piece<'_>> {
        self.pieces.iter().map(|piece| Piece {
            id: piece.id,
            kind: piece.kind,
            // The pipeline writes symbols and names of models, which are text.
            symbol: std::str::from_utf8(&self.bytes[piece.key.clone()]).unwrap_or_default(),
            value: &self.bytes[piece.value.clone()],
        })
    }

    pub(crate) fn n_bytes(&self) -> usize {
        self.bytes.len()
    }

    pub(crate) fn n_scores(&self) -> usize {
        let is_score = |piece: &&Stored| piece.kind == Kind::Score;
        self.pieces.iter().filter(is_score).count()
    }
}

/// Something that was told, for the stream.
#[derive(Debug)]
pub(crate) struct Told {
    /// Its number; `None` for what comes after the fact, out of order.
    pub(crate) id: Option<u64>,
    pub(crate) kind: Kind,
    pub(crate) symbol: Box<str>,
    /// JSON in one line.
    pub(crate) data: Box<str>,
}

/// What the loop calls after each commit.
pub(crate) fn listener(wants: Arc<Wants>, telemetry: Arc<Telemetry>) -> (Listener, Inlet) {
    let (sender, receiver) = sync_channel(MOST_BATCHES);
    let queued = Arc::new(AtomicUsize::new(0));
    let inlet = Inlet {
        receiver,
        queued: Arc::clone(&queued),
    };
    let mut next = 0_u64;
    let listener = move |outputs: &Outputs| {
        if !wants.is_empty() {
            copy(outputs, &wants, &mut next, &queued, &sender, &telemetry);
        }
    };
    (Box::new(listener), inlet)
}

/// Where the copies come out.
#[derive(Debug)]
pub(crate) struct Inlet {
    receiver: Receiver<Batch>,
    queued: Arc<AtomicUsize>,
}

fn copy(
    outputs: &Outputs,
    wants: &Wants,
    next: &mut u64,
    queued: &AtomicUsize,
    sender: &SyncSender<Batch>,
    telemetry: &Telemetry,
) {
    let mut batch = Batch::default();
    let mut untold = 0;
    let room = MOST_BYTES.saturating_sub(queued.load(Ordering::Relaxed));
    for output in outputs.iter() {
        let Some(kind) = Kind::of(output.channel).filter(|kind| wants.wants(*kind)) else {
            continue;
        };
        let (Some(key), Some(value)) = (output.key, output.value) else {
            continue;
        };
        *next += 1;
        match batch.bytes.len() + key.len() + value.len() <= room {
            true => batch.push(*next, kind, key, value),
            false => untold += 1,
        }
    }
    if !batch.pieces.is_empty() {
        let (n_bytes, n_pieces) = (batch.bytes.len(), batch.pieces.len());
        queued.fetch_add(n_bytes, Ordering::Relaxed);
        if sender.try_send(batch).is_err() {
            queued.fetch_sub(n_bytes, Ordering::Relaxed);
            untold += n_pieces;
        }
    }
    if untold > 0 {
        telemetry.http.untold(untold);
    }
}

/// Whom the copies are told.
#[derive(Debug)]
pub(crate) struct Teller {
    pub(crate) memory: Option<Arc<Memory>>,
    pub(crate) events: broadcast::Sender<Arc<Told>>,
    pub(crate) shadow: Option<ShadowQueue>,
}

impl Teller {
    /// Tells on a thread of its own, until the loop is gone.
    ///
    /// # Errors
    /// There is no thread to be had.
    pub(crate) fn start(self, inlet: Inlet) -> std::io::Result<()> {
        let thread = std::thread::Builder::new().name("teller".to_owned());
        thread.spawn(move || self.run(&inlet)).map(drop)
    }

    fn run(self, inlet: &Inlet) {
        while let Ok(batch) = inlet.receiver.recv() {
            inlet.queued.fetch_sub(batch.bytes.len(), Ordering::Relaxed);
            self.tell(&batch);
            // Rows are remembered before the challenger speaks of them.
            if let Some(shadow) = &self.shadow {
                shadow.offer(batch);
            }
        }
    }

    pub(crate) fn tell(&self, batch: &Batch) {
        let is_heard = self.events.receiver_count() > 0;
        for piece in batch.pieces() {
            if let Some(memory) = &self.memory {
                match piece.kind {
                    Kind::Score => memory.remember(piece.id, piece.value),
                    Kind::Alert => memory.alert(piece.value),
                    Kind::Candle | Kind::Drift | Kind::Challenger => {}
                }
            }
            if is_heard && let Ok(data) = std::str::from_utf8(piece.value) {
                let told = Told {
                    id: Some(piece.id),
                    kind: piece.kind,
                    symbol: piece.symbol.into(),
                    data: data.into(),
                };
                // Whoever listened may have gone.
                self.events.send(Arc::new(told)).ok();
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_is_copied_that_nobody_wants_and_no_more_than_there_is_room() {
        let telemetry = Arc::new(Telemetry::default());
        let wants = Arc::new(Wants::default());
        assert!(wants.is_empty());
        let want = Want::new(&wants, vec![Kind::Score, Kind::Alert]);
        assert!(!wants.is_empty() && wants.wants(Kind::Score) && !wants.wants(Kind::Candle));
        drop(want);
        assert!(wants.is_empty());

        // A queue that nobody empties fills up, and the loop goes on.
        let (sender, receiver) = sync_channel(2);
        let queued = AtomicUsize::new(0);
        let _want = Want::new(&wants, vec![Kind::Score]);
        let outputs = outputs();
        let mut next = 0;
        for _ in 0..5 {
            copy(&outputs, &wants, &mut next, &queued, &sender, &telemetry);
        }
        let n_rows = next / 5;
        assert!(n_rows > 0);
        assert_eq!(telemetry.http.n_untold(), 3 * n_rows);
        let batch: Batch = receiver.recv().unwrap();
        assert_eq!(batch.n_scores() as u64, n_rows);
        // No room is left: not even a piece is copied.
        let queued = AtomicUsize::new(MOST_BYTES);
        copy(&outputs, &wants, &mut next, &queued, &sender, &telemetry);
        assert_eq!(telemetry.http.n_untold(), 4 * n_rows);
    }

    /// What a pipeline says of a few minutes of trades.
    fn outputs() -> Outputs {
        use market::{FeatureConfig, Interval};
        use streaming::{Pipeline, Record, Settings};

        let features = FeatureConfig::new(Interval::TEN_SECONDS).check().unwrap();
        let mut pipeline = Pipeline::new(Arc::new(Settings::new(features)), 0);
        let mut outputs = Outputs::default();
        for offset in 0..60_i64 {
            let time = 1_700_000_000_000_000 + offset * 5_000_000;
            let value = format!(
                r#"{{"symbol":"A","trade_id":{offset},"price":1.5,"quantity":1,"side":"buy","event_time":{time}}}"#
            );
            let record = Record {
                offset,
                key: Some(b"A"),
                value: Some(value.as_bytes()),
            };
            pipeline.push(&record, &mut outputs);
        }
        pipeline.judge(&crate::fixed::Fixed::new("1", 1.0), &mut outputs, |_| ());
        outputs
    }
}
