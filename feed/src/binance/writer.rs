//! Events, gaps and positions into topics, in transactions.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Result, anyhow, bail};
use market::{Topic, TradeWriter, WireCandle, WireGap};
use terminal::exit::Environment;
use terminal::interrupt::Interrupt;
use tokio::task::{JoinHandle, spawn_blocking};
use tokio_util::sync::CancellationToken;

use super::frames::{Event, Payload};
use super::ledger::{LaneKey, Passed};
use super::positions::Positions;
use super::settings::{BinanceSettings, StreamKind};
use crate::kafka::{Destination, Found, KafkaSettings, Producer, Record, ensure_topics};
use crate::telemetry::Telemetry;

/// After being asked to stop, what waits has so long to get into Kafka.
const LAST: Duration = Duration::from_secs(30);
/// At the start, brokers that know the topics may take so long to begin with transactions.
const FIRST: Duration = Duration::from_secs(60);

/// What is in the topics.
#[derive(Debug, Clone, Default)]
pub(super) struct Counts {
    pub(super) written: BTreeMap<StreamKind, u64>,
    pub(super) n_gaps: u64,
    pub(super) n_missing: u64,
}

/// Writes what the ledger passes on.
#[derive(Debug)]
pub(super) struct Writer {
    session: Session,
    producer: Arc<Producer>,
    standing_at: Destination,
    symbols: Vec<(Arc<str>, TradeWriter)>,
    /// The topic of each kind: its name without the prefix, and where it is.
    topics: BTreeMap<StreamKind, (Topic, Destination)>,
    gaps: Destination,
    telemetry: Arc<Telemetry>,
    /// Nobody waits for Kafka any more.
    given_up: CancellationToken,
    value: Vec<u8>,
    /// The last id of each lane in the open transaction.
    changed: BTreeMap<LaneKey, u64>,
    uncommitted: Counts,
    committing: Option<JoinHandle<Result<bool>>>,
    pub(super) counts: Counts,
}

impl Writer {
    /// Makes sure of the topics, ends whoever writes under our name, and tells what the topics hold.
    pub(super) async fn open(
        settings: &BinanceSettings,
        kafka: &KafkaSettings,
        telemetry: Arc<Telemetry>,
        interrupt: &Interrupt,
    ) -> Result<(Self, BTreeMap<LaneKey, u64>)> {
        let kinds = settings.streams.kinds();
        let of_kinds = kinds.iter().map(|kind| settings.streams.topic(*kind));
        let names: Vec<String> = of_kinds
            .chain([Topic::Gaps, Topic::FeedPositions])
            .map(|topic| kafka.topic(topic))
            .collect();
        let mut found = ensure_topics(kafka, &names).await?;
        let (Some(positions_topic), Some(gaps)) = (found.pop(), found.pop()) else {
            bail!("topics were not looked at");
        };
        let topics = kinds
            .iter()
            .zip(found)
            .map(|(kind, found)| (*kind, (settings.streams.topic(*kind), found.into())))
            .collect();
        let given_up = CancellationToken::new();
        tokio::spawn({
            let (given_up, interrupt) = (given_up.clone(), interrupt.clone());
            async move {
                interrupt.requested().await;
                tokio::time::sleep(LAST).await;
                given_up.cancel();
            }
        });
        let began = Instant::now();
        let interrupt = interrupt.clone();
        let is_over = move || interrupt.is_asked() || began.elapsed() > FIRST;
        let session = Session {
            kafka: kafka.clone(),
            instance: settings.instance.clone(),
            transaction_timeout: settings.transaction_timeout,
            positions: Positions::new(&settings.symbols, &settings.instance),
            topic: positions_topic.clone(),
        };
        let new = session.clone();
        let begun = spawn_blocking(move || new.begin(false, is_over)).await??;
        let Some((producer, last)) = begun else {
            bail!(Environment(format!(
                "the brokers at `{}` did not begin a transaction within {} s",
                kafka.brokers,
                FIRST.as_secs()
            )));
        };
        telemetry.watch_producer(Arc::downgrade(&producer));
        let names = settings.symbols.iter();
        let writer = Self {
            session,
            producer,
            standing_at: positions_topic.into(),
            symbols: names
                .map(|name| (Arc::clone(name), TradeWriter::new(name)))
                .collect(),
            topics,
            gaps: gaps.into(),
            telemetry,
            given_up,
            value: Vec::with_capacity(512),
            changed: BTreeMap::new(),
            uncommitted: Counts::default(),
            committing: None,
            counts: Counts::default(),
        };
        Ok((writer, last))
    }

    /// Leaves a transaction that is lost, and tells what the topics hold.
    ///
    /// # Errors
    /// When another feed has taken our place, or somebody asked to stop.
    pub(super) async fn reopen(&mut self) -> Result<BTreeMap<LaneKey, u64>> {
        if let Some(committing) = self.committing.take() {
            // What became of it, the topics tell.
            drop(committing.await);
        }
        self.producer.abandon();
        self.changed.clear();
        self.uncommitted = Counts::default();
        let (session, given_up) = (self.session.clone(), self.given_up.clone());
        let begun = spawn_blocking(move || session.begin(true, || given_up.is_cancelled()));
        let begun = begun.await??;
        let (producer, last) = begun.ok_or_else(gave_up)?;
        self.telemetry.watch_producer(Arc::downgrade(&producer));
        self.producer = producer;
        Ok(last)
    }

    /// Writes one after the other, waiting while Kafka is away.
    pub(super) async fn write(&mut self, passed: &mut Vec<Passed>) -> Result<()> {
        for passed in passed.drain(..) {
            match passed {
                Passed::Event(event) => self.event(&event).await?,
                Passed::Gap {
                    lane: (symbol, kind),
                    ids,
                    reason,
                    detail,
                } => {
                    let name = Arc::clone(&self.symbols[symbol].0);
                    let (topic, _) = &self.topics[&kind];
                    let id_of = |id: u64| match kind {
                        StreamKind::Kline1m => id * market::MINUTE_US as u64,
                        _ => id,
                    };
                    let n_ids = ids.end() - ids.start() + 1;
                    let gap = WireGap {
                        symbol: name.to_string(),
                        topic: topic.to_string(),
                        first_id: id_of(*ids.start()),
                        last_id: id_of(*ids.end()),
                        reason,
                        detail,
                    };
                    tracing::warn!(
                        symbol = gap.symbol,
                        first = gap.first_id,
                        last = gap.last_id,
                        reason = reason.as_str(),
                        detail = gap.detail,
                        "a gap is left"
                    );
                    self.telemetry.gap(&name, n_ids);
                    let value = serde_json::to_vec(&gap)?;
                    self.send(&self.gaps, &name, &value).await?;
                    self.uncommitted.n_gaps += 1;
                    self.uncommitted.n_missing += n_ids;
                    self.changed.insert((symbol, kind), *ids.end());
                }
            }
        }
        Ok(())
    }

    async fn event(&mut self, event: &Event) -> Result<()> {
        let (name, writer) = &self.symbols[event.symbol];
        let (_, destination) = &self.topics[&event.kind];
        self.value.clear();
        match &event.payload {
            Payload::Trade(trade) => writer.write(trade, None, &mut self.value),
            Payload::Candle(candle) => {
                let candle = WireCandle::new(name.as_ref(), "1m", candle);
                serde_json::to_writer(&mut self.value, &candle)?;
            }
        }
        self.send(destination, name, &self.value).await?;
        self.telemetry.trades_made(1);
        *self.uncommitted.written.entry(event.kind).or_default() += 1;
        self.changed.insert((event.symbol, event.kind), event.id);
        Ok(())
    }

    async fn send(&self, destination: &Destination, key: &str, value: &[u8]) -> Result<()> {
        let record = Record {
            destination,
            partition: destination.partition_of(key),
            key,
            value,
        };
        if self.producer.try_send(record)? {
            return Ok(());
        }
        tokio::select! {
            sent = self.producer.send_async(record) => sent,
            () = self.given_up.cancelled() => Err(gave_up()),
        }
    }

    /// Whether there is anything to commit.
    pub(super) fn is_dirty(&self) -> bool {
        !self.changed.is_empty()
    }

    /// Whether a transaction is being committed; nothing may be written meanwhile.
    pub(super) fn is_committing(&self) -> bool {
        self.committing.is_some()
    }

    /// Ends the transaction in the background: what it wrote, and where each lane stands by it.
    pub(super) async fn start_commit(&mut self) -> Result<()> {
        for (lane, last) in std::mem::take(&mut self.changed) {
            let (key, value) = self.session.positions.of_lane(lane, last)?;
            self.send(&self.standing_at, &key, &value).await?;
        }
        let (producer, given_up) = (Arc::clone(&self.producer), self.given_up.clone());
        self.committing = Some(spawn_blocking(move || {
            let is_done = producer.commit(|| given_up.is_cancelled())?;
            if is_done {
                producer.begin()?;
            }
            Ok(is_done)
        }));
        Ok(())
    }

    /// Waits for the end of the transaction that is being committed.
    ///
    /// # Errors
    /// It is lost.
    pub(super) async fn committed(&mut self) -> Result<()> {
        let Some(committing) = &mut self.committing else {
            return Ok(());
        };
        let is_done = committing.await;
        self.committing = None;
        if !is_done?? {
            return Err(gave_up());
        }
        self.counts.add(std::mem::take(&mut self.uncommitted));
        Ok(())
    }

    /// Writes what is left and waits until everything is in Kafka.
    ///
    /// # Errors
    /// When it is not.
    pub(super) async fn finish(&mut self, passed: &mut Vec<Passed>) -> Result<()> {
        self.committed().await?;
        self.write(passed).await?;
        if self.is_dirty() {
            self.start_commit().await?;
            self.committed().await?;
        }
        Ok(())
    }
}

impl Counts {
    fn add(&mut self, more: Self) {
        for (kind, n) in more.written {
            *self.written.entry(kind).or_default() += n;
        }
        self.n_gaps += more.n_gaps;
        self.n_missing += more.n_missing;
    }
}

fn gave_up() -> anyhow::Error {
    anyhow!("Kafka is away, and what waits in memory is lost; the next start fetches it again")
}

/// A producer, and what it found in the topics.
type Begun = (Arc<Producer>, BTreeMap<LaneKey, u64>);

/// What it takes to begin under a name.
#[derive(Debug, Clone)]
struct Session {
    kafka: KafkaSettings,
    instance: String,
    transaction_timeout: Duration,
    positions: Positions,
    topic: Found,
}

impl Session {
    /// Begins to write under our name, once more where `is_again`; `None` if somebody gave up before
    /// the brokers answered.
    fn begin(self, is_again: bool, is_given_up: impl Fn() -> bool) -> Result<Option<Begun>> {
        let at_most = self.transaction_timeout;
        let producer = Producer::transactional(&self.kafka, &self.instance, at_most)?;
        if !producer.fence(&is_given_up)? {
            return Ok(None);
        }
        if is_again {
            let standing = self.positions.read(&self.kafka, &self.topic)?;
            self.positions.check_owner(&standing)?;
        }
        let signed = self
            .positions
            .sign(&producer, &self.kafka, &self.topic, is_given_up)?;
        let Some(standing) = signed else {
            return Ok(None);
        };
        producer.begin()?;
        Ok(Some((Arc::new(producer), standing.last)))
    }
}
