//! The whole feed: connections, ledger, REST and Kafka, until somebody stops it.

use std::collections::BTreeMap;
use std::ops::RangeInclusive;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use futures::StreamExt;
use serde::Serialize;
use terminal::interrupt::Interrupt;
use tokio::sync::{mpsc, watch};
use tokio::time::MissedTickBehavior;
use tokio_util::sync::CancellationToken;

use super::connection::Link;
use super::frames::{Event, Symbols};
use super::ledger::{Answer, LaneKey, Ledger, Passed, Taken};
use super::limits::Window;
use super::positions::Replaced;
use super::rest::Rest;
use super::settings::{BinanceSettings, StreamKind};
use super::shard::Shard;
use super::tls::Opener;
use super::writer::Writer;
use crate::kafka::KafkaSettings;
use crate::telemetry::Telemetry;

/// Events between the sockets and the ledger; beyond it sockets aren't read.
const EVENTS: usize = 10_000;

/// What a feed did.
#[derive(Debug, Clone, Serialize)]
pub struct Report {
    /// Events that went into Kafka, by stream.
    pub written: BTreeMap<&'static str, u64>,
    /// Events that had been seen.
    pub duplicates: u64,
    /// Gaps that were recorded.
    pub gaps: u64,
    /// Ids in them.
    pub missing: u64,
    /// Events that still waited for others at the end; the next start fetches them.
    pub is_settled: bool,
}

/// Checks symbols, prepares topics and runs until `interrupt`; `started` is told once.
///
/// # Errors
/// Before anything starts: an unknown symbol, topics that are not as they must be, nobody there.
/// Later: Kafka's producer has failed for good.
pub async fn run(
    settings: &BinanceSettings,
    kafka: &KafkaSettings,
    interrupt: &Interrupt,
    telemetry: &Arc<Telemetry>,
    started: impl FnOnce(),
) -> Result<Report> {
    let rest = Arc::new(Rest::new(&settings.rest_settings(), Arc::clone(telemetry))?);
    rest.check_symbols(true).await?;
    rest.check_refill(settings.streams.kinds()).await?;
    let opener = Opener::new(&settings.websocket, settings.ca.as_deref())?;
    let mut ledger = Ledger::new(
        settings.patience,
        settings.largest_gap,
        settings.most_waiting,
    );
    let (writer, last) = Writer::open(settings, kafka, Arc::clone(telemetry), interrupt).await?;
    for (lane, last) in last {
        ledger.resume(lane, last);
    }
    started();

    let stop = CancellationToken::new();
    let (events, received) = mpsc::channel(EVENTS);
    let shards = start_shards(settings, opener, &events, telemetry, &stop);
    drop(events);
    let watching = tokio::spawn(watch_readiness(shards.up, Arc::clone(telemetry)));
    let (wanted, answers, asking) = start_asking(Arc::clone(&rest));
    let mut desk = Desk {
        ledger,
        writer,
        wanted,
        telemetry: Arc::clone(telemetry),
        symbols: settings.symbols.clone(),
        passed: Vec::new(),
        most_passed: settings.most_passed,
        n_duplicates: 0,
        n_lost: 0,
        stop: stop.clone(),
    };
    let outcome = desk.work(received, answers, interrupt, settings).await;
    stop.cancel();
    watching.abort();
    asking.abort();
    for shard in shards.tasks {
        // A shard has nothing to say at its end.
        drop(shard.await);
    }
    telemetry.set_ready(false);
    outcome?;
    let finished = desk.writer.finish(&mut desk.passed).await;
    finished.context("not everything is in Kafka; the next start fetches it again")?;
    let counts = &desk.writer.counts;
    Ok(Report {
        written: StreamKind::ALL
            .into_iter()
            .filter_map(|kind| Some((kind.as_str(), *counts.written.get(&kind)?)))
            .collect(),
        duplicates: desk.n_duplicates,
        gaps: counts.n_gaps,
        missing: counts.n_missing,
        is_settled: desk.ledger.is_settled(),
    })
}

/// Looks whether the exchange can be reached: what was looked at, and what was found.
pub async fn probe(
    settings: &BinanceSettings,
    telemetry: &Arc<Telemetry>,
) -> Vec<(String, Result<String>)> {
    let rest = || Rest::new(&settings.rest_settings(), Arc::clone(telemetry));
    let symbols = async {
        rest()?.check_symbols(true).await?;
        Ok("knows and trades every symbol".to_owned())
    };
    let refill = async {
        rest()?.check_refill(settings.streams.kinds()).await?;
        Ok("what is lost could be fetched again".to_owned())
    };
    let socket = async {
        let mut socket = Opener::new(&settings.websocket, settings.ca.as_deref())?
            .open()
            .await?;
        // It was only to see whether it opens.
        drop(socket.close(None).await);
        Ok("opens".to_owned())
    };
    vec![
        (format!("REST at `{}`", settings.rest_data), symbols.await),
        (format!("REST at `{}`", settings.rest), refill.await),
        (
            format!("WebSocket at `{}`", settings.websocket),
            socket.await,
        ),
    ]
}

struct Shards {
    tasks: Vec<tokio::task::JoinHandle<()>>,
    up: Vec<watch::Receiver<bool>>,
}

fn start_shards(
    settings: &BinanceSettings,
    opener: Opener,
    events: &mpsc::Sender<Event>,
    telemetry: &Arc<Telemetry>,
    stop: &CancellationToken,
) -> Shards {
    const WINDOW: Duration = Duration::from_secs(300);
    let streams: Vec<String> = settings
        .symbols
        .iter()
        .flat_map(|symbol| {
            let symbol = symbol.to_lowercase();
            let kinds = settings.streams.kinds().iter();
            kinds.map(move |kind| format!("{symbol}@{}", kind.as_str()))
        })
        .collect();
    let connects = Arc::new(Window::new(settings.connects_per_5m, WINDOW));
    let symbols = Symbols::new(&settings.symbols);
    let mut shards = Shards {
        tasks: Vec::new(),
        up: Vec::new(),
    };
    for (idx, streams) in streams
        .chunks(settings.streams_per_connection.max(1))
        .enumerate()
    {
        let (is_up, up) = watch::channel(false);
        let shard = Shard {
            link: Link {
                opener: opener.clone(),
                symbols: symbols.clone(),
                streams: streams.into(),
                silence: settings.silence,
                events: events.clone(),
                telemetry: Arc::clone(telemetry),
            },
            connects: Arc::clone(&connects),
            age: settings.connection_age,
            overlap: settings.overlap,
            backoff: settings.backoff,
            telemetry: Arc::clone(telemetry),
            seed: u64::from(std::process::id()) << 32 | idx as u64,
            is_up,
        };
        shards.tasks.push(tokio::spawn(shard.run(stop.clone())));
        shards.up.push(up);
    }
    shards
}

/// Ready is who listens to everything.
async fn watch_readiness(mut up: Vec<watch::Receiver<bool>>, telemetry: Arc<Telemetry>) {
    loop {
        telemetry.set_ready(up.iter().all(|up| *up.borrow()));
        let changes = up.iter_mut().map(|up| Box::pin(up.changed()));
        if futures::future::select_all(changes).await.0.is_err() {
            return;
        }
    }
}

type Wanted = (LaneKey, RangeInclusive<u64>);

/// Questions at once. What they may cost is one budget; but one that waits for a server that lags
/// must not hold the others up.
const QUESTIONS: usize = 16;

fn start_asking(
    rest: Arc<Rest>,
) -> (
    mpsc::UnboundedSender<Wanted>,
    mpsc::UnboundedReceiver<(LaneKey, Answer)>,
    tokio::task::JoinHandle<()>,
) {
    // A lane has one question at most, so both are as bounded as the lanes.
    let (wanted, questions) = mpsc::unbounded_channel::<Wanted>();
    let (answered, answers) = mpsc::unbounded_channel();
    let questions = futures::stream::unfold(questions, |mut questions| async {
        Some((questions.recv().await?, questions))
    });
    let task = tokio::spawn(questions.for_each_concurrent(
        QUESTIONS,
        move |(lane, ids): Wanted| {
            let (rest, answered) = (Arc::clone(&rest), answered.clone());
            async move {
                // Whoever asked may have ended.
                drop(answered.send((lane, rest.fetch(lane, ids).await)));
            }
        },
    ));
    (wanted, answers, task)
}

/// Where everything comes together, one thing after the other.
struct Desk {
    ledger: Ledger,
    writer: Writer,
    wanted: mpsc::UnboundedSender<Wanted>,
    telemetry: Arc<Telemetry>,
    symbols: Vec<Arc<str>>,
    passed: Vec<Passed>,
    most_passed: usize,
    n_duplicates: u64,
    /// Transactions that were lost since one was not.
    n_lost: u32,
    stop: CancellationToken,
}

/// So many transactions may be lost one after the other.
const MOST_LOST: u32 = 5;

impl Desk {
    async fn work(
        &mut self,
        mut events: mpsc::Receiver<Event>,
        mut answers: mpsc::UnboundedReceiver<(LaneKey, Answer)>,
        interrupt: &Interrupt,
        settings: &BinanceSettings,
    ) -> Result<()> {
        let every = |time: Duration| {
            let mut every = tokio::time::interval(time.max(Duration::from_millis(10)));
            every.set_missed_tick_behavior(MissedTickBehavior::Delay);
            every
        };
        let mut look = every(settings.patience / 4);
        let mut commit = every(settings.commit_every);
        loop {
            let mut done = Ok(());
            tokio::select! {
                // While Kafka is away, this is where reading ends.
                event = events.recv(), if self.passed.len() < self.most_passed => match event {
                    Some(event) => self.take(event),
                    None => return Ok(()),
                },
                Some((lane, answer)) = answers.recv() => {
                    self.ledger.answer(lane, answer, Instant::now(), &mut self.passed);
                    self.ask();
                }
                _ = look.tick() => self.ask(),
                _ = commit.tick(), if self.writer.is_dirty() && !self.writer.is_committing() => {
                    done = self.writer.start_commit().await;
                }
                committed = self.writer.committed(), if self.writer.is_committing() => {
                    self.n_lost = if committed.is_ok() { 0 } else { self.n_lost };
                    done = committed;
                }
                () = interrupt.requested(), if !self.stop.is_cancelled() => {
                    // Connections end; what they had sent before is still taken.
                    self.stop.cancel();
                }
            }
            if done.is_ok() && !self.writer.is_committing() {
                done = self.writer.write(&mut self.passed).await;
            }
            if let Err(error) = done {
                self.go_back(error).await?;
            }
        }
    }

    /// After a transaction that was lost: what it held is missing again.
    async fn go_back(&mut self, error: anyhow::Error) -> Result<()> {
        self.n_lost += 1;
        if self.stop.is_cancelled() || self.n_lost > MOST_LOST {
            return Err(error);
        }
        tracing::warn!(
            error = format!("{error:#}"),
            "a transaction is lost: what it held is fetched again"
        );
        self.telemetry.transaction_lost();
        let last = loop {
            tokio::time::sleep(Duration::from_millis(250) * self.n_lost).await;
            match self.writer.reopen().await {
                Ok(last) => break last,
                Err(error) if error.is::<Replaced>() || self.n_lost >= MOST_LOST => {
                    return Err(error);
                }
                Err(error) => {
                    tracing::warn!(error = format!("{error:#}"), "trying again");
                    self.n_lost += 1;
                }
            }
        };
        // None of it was written, or none of it counts.
        self.passed.clear();
        self.ledger.rewind(&last, Instant::now());
        Ok(())
    }

    fn take(&mut self, event: Event) {
        let symbol = event.symbol;
        match self.ledger.take(event, Instant::now(), &mut self.passed) {
            Taken::Duplicate => {
                self.n_duplicates += 1;
                self.telemetry.duplicate(&self.symbols[symbol]);
            }
            Taken::Doubtful => self.telemetry.doubtful(&self.symbols[symbol]),
            Taken::Passed | Taken::Waits => {}
        }
        self.telemetry.restarts(self.ledger.n_restarts());
    }

    fn ask(&mut self) {
        for wanted in self.ledger.due(Instant::now(), &mut self.passed) {
            // Whoever asks ends after us.
            drop(self.wanted.send(wanted));
        }
    }
}
