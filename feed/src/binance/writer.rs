//! Events and gaps into topics.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use market::{Topic, TradeWriter, WireCandle, WireGap, parse_trade};
use rdkafka::Message;
use terminal::interrupt::Interrupt;

use super::frames::{Event, Payload};
use super::ledger::{Ledger, Passed};
use super::settings::{BinanceSettings, StreamKind};
use crate::kafka::{
    Destination, Found, KafkaSettings, Producer, Record, Tail, ensure_topic, read_tail,
};
use crate::telemetry::Telemetry;

/// How far back a partition is searched for a symbol's last record.
const AT_MOST: i64 = 10_000_000;
/// After being asked to stop, what waits has so long to get into Kafka.
const LAST: Duration = Duration::from_secs(30);

/// Writes what the ledger passes on.
#[derive(Debug)]
pub(super) struct Writer {
    producer: Arc<Producer>,
    symbols: Vec<(Arc<str>, TradeWriter)>,
    /// The topic of each kind: its name without the prefix, and where it is.
    topics: BTreeMap<StreamKind, (Topic, Destination)>,
    gaps: Destination,
    telemetry: Arc<Telemetry>,
    interrupt: Interrupt,
    value: Vec<u8>,
    pub(super) n_written: BTreeMap<StreamKind, u64>,
    pub(super) n_gaps: u64,
    pub(super) n_missing: u64,
}

impl Writer {
    /// Makes sure of the topics, and tells the ledger what they hold.
    pub(super) async fn open(
        settings: &BinanceSettings,
        kafka: &KafkaSettings,
        ledger: &mut Ledger,
        telemetry: Arc<Telemetry>,
        interrupt: Interrupt,
    ) -> Result<Self> {
        let mut topics = BTreeMap::new();
        for kind in settings.streams.kinds() {
            let topic = settings.streams.topic(*kind);
            let found = ensure_topic(kafka, &kafka.topic(topic)).await?;
            resume(settings, kafka, &found, *kind, ledger).await?;
            topics.insert(*kind, (topic, found.into()));
        }
        let gaps = ensure_topic(kafka, &kafka.topic(Topic::Gaps)).await?.into();
        let producer = Arc::new(Producer::new(kafka)?);
        telemetry.watch_producer(Arc::downgrade(&producer));
        let names = settings.symbols.iter();
        Ok(Self {
            producer,
            symbols: names
                .map(|name| (Arc::clone(name), TradeWriter::new(name)))
                .collect(),
            topics,
            gaps,
            telemetry,
            interrupt,
            value: Vec::with_capacity(512),
            n_written: BTreeMap::new(),
            n_gaps: 0,
            n_missing: 0,
        })
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
                    self.n_gaps += 1;
                    self.n_missing += n_ids;
                    let value = serde_json::to_vec(&gap)?;
                    send(&self.producer, &self.interrupt, &self.gaps, &name, &value).await?;
                    // A later id in the topic would hide the gap from the next start.
                    self.settle().await?;
                }
            }
        }
        Ok(())
    }

    /// Waits until everything is in Kafka, however long it is away.
    async fn settle(&self) -> Result<()> {
        let settled = async {
            while self.producer.n_waiting() > 0 {
                self.producer.check()?;
                tokio::time::sleep(Duration::from_millis(2)).await;
            }
            self.producer.check()
        };
        tokio::select! {
            settled = settled => settled,
            () = patience_after(&self.interrupt) => Err(gave_up(&self.producer)),
        }
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
        send(
            &self.producer,
            &self.interrupt,
            destination,
            name,
            &self.value,
        )
        .await?;
        self.telemetry.trades_made(1);
        *self.n_written.entry(event.kind).or_default() += 1;
        Ok(())
    }

    /// Waits until everything is in Kafka.
    pub(super) async fn finish(&self) -> Result<()> {
        let producer = Arc::clone(&self.producer);
        tokio::task::spawn_blocking(move || producer.flush(LAST)).await?
    }

    /// # Errors
    /// When the producer has failed for good.
    pub(super) fn check(&self) -> Result<()> {
        self.producer.check()
    }
}

async fn send(
    producer: &Producer,
    interrupt: &Interrupt,
    destination: &Destination,
    key: &str,
    value: &[u8],
) -> Result<()> {
    let record = Record {
        destination,
        partition: destination.partition_of(key),
        key,
        value,
        header: None,
    };
    if producer.try_send(record)? {
        return Ok(());
    }
    tokio::select! {
        sent = producer.send_async(record) => sent,
        () = patience_after(interrupt) => Err(gave_up(producer)),
    }
}

/// Ends some time after somebody asked to stop.
async fn patience_after(interrupt: &Interrupt) {
    interrupt.requested().await;
    tokio::time::sleep(LAST).await;
}

fn gave_up(producer: &Producer) -> anyhow::Error {
    producer.abandon();
    anyhow::anyhow!(
        "Kafka is away, and what waits in memory is lost; the next start fetches it again"
    )
}

/// Tells the ledger the last id of each symbol in a topic.
async fn resume(
    settings: &BinanceSettings,
    kafka: &KafkaSettings,
    found: &Found,
    kind: StreamKind,
    ledger: &mut Ledger,
) -> Result<()> {
    let (kafka, found) = (kafka.clone(), found.clone());
    let symbols = settings.symbols.clone();
    let last = tokio::task::spawn_blocking(move || last_ids(&kafka, &found, kind, &symbols));
    for (symbol, last) in last.await??.into_iter().enumerate() {
        if let Some(last) = last {
            ledger.resume((symbol, kind), last);
        }
    }
    Ok(())
}

fn last_ids(
    kafka: &KafkaSettings,
    found: &Found,
    kind: StreamKind,
    symbols: &[Arc<str>],
) -> Result<Vec<Option<u64>>> {
    let destination = Destination::from(found.clone());
    let partitions: Vec<i32> = symbols
        .iter()
        .map(|s| destination.partition_of(s))
        .collect();
    let last = std::cell::RefCell::new(vec![None; symbols.len()]);
    let is_complete = read_tail(
        kafka,
        found,
        Tail { at_most: AT_MOST },
        |_, message| {
            let Some(symbol) = message
                .key()
                .and_then(|key| symbols.iter().position(|symbol| symbol.as_bytes() == key))
            else {
                return;
            };
            let value = message.payload().unwrap_or_default();
            let id = match kind {
                StreamKind::Kline1m => serde_json::from_slice::<WireCandle>(value)
                    .ok()
                    .and_then(|candle| u64::try_from(candle.open_time / market::MINUTE_US).ok()),
                _ => parse_trade(value, message.key())
                    .ok()
                    .and_then(|trade| trade.trade_id),
            };
            if let Some(id) = id {
                // The last record counts, not the highest id: others may have written before us.
                last.borrow_mut()[symbol] = Some(id);
            }
        },
        |partition| {
            let last = last.borrow();
            let mut of_partition = (0..symbols.len()).filter(|idx| partitions[*idx] == partition);
            of_partition.all(|idx| last[idx].is_some())
        },
    )
    .with_context(|| format!("look where `{}` ends", found.name))?;
    let last = last.into_inner();
    ensure!(last.len() == symbols.len(), "symbols were lost");
    for ((symbol, last), partition) in symbols.iter().zip(&last).zip(partitions) {
        let is_seen = usize::try_from(partition).is_ok_and(|p| is_complete.get(p) == Some(&true));
        if last.is_none() && !is_seen {
            tracing::warn!(
                %symbol,
                topic = found.name,
                records = AT_MOST,
                "the last records hold none of this symbol: what it traded since its last one is lost"
            );
        }
    }
    Ok(last)
}
