//! Metrics in the format of Prometheus.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError, Weak};

use health::Health;
use prometheus_client::collector::Collector;
use prometheus_client::encoding::text::encode;
use prometheus_client::encoding::{DescriptorEncoder, EncodeLabelSet, EncodeMetric};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::counter::{ConstCounter, Counter};
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::{ConstGauge, Gauge};
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::{Registry, Unit};

use crate::kafka::Producer;

/// Seconds from an exchange's match to our parser.
const DELAY: [f64; 12] = [
    0.001, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 5.0, 30.0, 300.0,
];

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct SymbolLabels {
    symbol: Arc<str>,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ReasonLabels {
    reason: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct StreamLabels {
    stream: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct StatusLabels {
    status: u16,
}

/// All metrics of one process, and whether it is ready.
#[derive(Debug)]
pub struct Telemetry {
    registry: Registry,
    is_ready: AtomicBool,
    producer: Arc<Mutex<Weak<Producer>>>,
    trades: Counter,
    messages: Family<StreamLabels, Counter>,
    refused_frames: Family<ReasonLabels, Counter>,
    reconnects: Family<ReasonLabels, Counter>,
    connections: Gauge,
    duplicates: Family<SymbolLabels, Counter>,
    gaps: Family<SymbolLabels, Counter>,
    missing: Family<SymbolLabels, Counter>,
    refilled: Family<SymbolLabels, Counter>,
    rest: Family<StatusLabels, Counter>,
    doubtful: Family<SymbolLabels, Counter>,
    restarts: Counter,
    lost_transactions: Counter,
    delay: Histogram,
}

impl Default for Telemetry {
    fn default() -> Self {
        let mut registry = Registry::with_prefix("feed");
        let telemetry = Self {
            registry: Registry::default(),
            is_ready: AtomicBool::new(false),
            producer: Arc::default(),
            trades: Counter::default(),
            messages: Family::default(),
            refused_frames: Family::default(),
            reconnects: Family::default(),
            connections: Gauge::default(),
            duplicates: Family::default(),
            gaps: Family::default(),
            missing: Family::default(),
            refilled: Family::default(),
            rest: Family::default(),
            doubtful: Family::default(),
            restarts: Counter::default(),
            lost_transactions: Counter::default(),
            delay: Histogram::new(DELAY),
        };
        let t = &telemetry;
        registry.register("trades", "Trades handed to the sink", t.trades.clone());
        registry.register(
            "ws_messages",
            "Events received by WebSocket, by kind of stream",
            t.messages.clone(),
        );
        registry.register(
            "ws_frames_refused",
            "Frames that are no known event",
            t.refused_frames.clone(),
        );
        registry.register(
            "ws_reconnects",
            "Connections opened anew, by reason",
            t.reconnects.clone(),
        );
        registry.register("ws_connections", "Connections open", t.connections.clone());
        registry.register(
            "trade_duplicates",
            "Events that had been seen and were dropped",
            t.duplicates.clone(),
        );
        registry.register(
            "trade_gaps",
            "Gaps that could not be filled and were recorded",
            t.gaps.clone(),
        );
        registry.register("trades_missing", "Ids in recorded gaps", t.missing.clone());
        registry.register(
            "trades_refilled",
            "Events fetched by REST",
            t.refilled.clone(),
        );
        registry.register(
            "rest_requests",
            "REST requests, by status (0: no answer)",
            t.rest.clone(),
        );
        registry.register(
            "trade_ids_doubted",
            "Events whose id was too far from the others' to be believed at once",
            t.doubtful.clone(),
        );
        registry.register(
            "ids_begun_anew",
            "Symbols whose ids began anew",
            t.restarts.clone(),
        );
        registry.register(
            "kafka_transactions_lost",
            "Transactions that were lost, and whose events were fetched again",
            t.lost_transactions.clone(),
        );
        registry.register_with_unit(
            "exchange_delay",
            "Time from an exchange's match to here",
            Unit::Seconds,
            t.delay.clone(),
        );
        registry.register_collector(Box::new(KafkaState(Arc::clone(&t.producer))));
        Self {
            registry,
            ..telemetry
        }
    }
}

impl Telemetry {
    /// Says whether work is under way as it should be.
    pub fn set_ready(&self, is_ready: bool) {
        self.is_ready.store(is_ready, Ordering::Relaxed);
    }

    /// Shows what this producer knows, as long as there is one.
    pub fn watch_producer(&self, producer: Weak<Producer>) {
        *self.producer.lock().unwrap_or_else(PoisonError::into_inner) = producer;
    }

    /// Trades were handed to the sink.
    pub fn trades_made(&self, n: u64) {
        self.trades.inc_by(n);
    }

    /// An event came by WebSocket.
    pub fn message(&self, stream: &'static str) {
        self.messages.get_or_create(&StreamLabels { stream }).inc();
    }

    /// A frame was no known event.
    pub fn refused_frame(&self, reason: &'static str) {
        let labels = ReasonLabels { reason };
        self.refused_frames.get_or_create(&labels).inc();
    }

    /// A connection is opened anew.
    pub fn reconnect(&self, reason: &'static str) {
        self.reconnects
            .get_or_create(&ReasonLabels { reason })
            .inc();
    }

    /// How many connections there are.
    pub fn connections(&self, change: i64) {
        self.connections.inc_by(change);
    }

    /// An event had been seen.
    pub fn duplicate(&self, symbol: &Arc<str>) {
        let labels = SymbolLabels {
            symbol: Arc::clone(symbol),
        };
        self.duplicates.get_or_create(&labels).inc();
    }

    /// A gap of so many ids was recorded.
    pub fn gap(&self, symbol: &Arc<str>, n_ids: u64) {
        let labels = SymbolLabels {
            symbol: Arc::clone(symbol),
        };
        self.gaps.get_or_create(&labels).inc();
        self.missing.get_or_create(&labels).inc_by(n_ids);
    }

    /// Events were fetched by REST.
    pub fn refilled(&self, symbol: &Arc<str>, n: u64) {
        let labels = SymbolLabels {
            symbol: Arc::clone(symbol),
        };
        self.refilled.get_or_create(&labels).inc_by(n);
    }

    /// An event's id was not believed at once.
    pub fn doubtful(&self, symbol: &Arc<str>) {
        let labels = SymbolLabels {
            symbol: Arc::clone(symbol),
        };
        self.doubtful.get_or_create(&labels).inc();
    }

    /// So many symbols' ids have begun anew.
    pub fn restarts(&self, n: u64) {
        let more = n.saturating_sub(self.restarts.get());
        if more > 0 {
            self.restarts.inc_by(more);
        }
    }

    /// A transaction was lost.
    pub fn transaction_lost(&self) {
        self.lost_transactions.inc();
    }

    /// A REST request was answered; 0 if it was not.
    pub fn rest(&self, status: u16) {
        self.rest.get_or_create(&StatusLabels { status }).inc();
    }

    /// An exchange's event reached us after so many seconds.
    pub fn delay(&self, seconds: f64) {
        self.delay.observe(seconds.max(0.0));
    }
}

impl Health for Telemetry {
    fn metrics(&self) -> Result<String, std::fmt::Error> {
        let mut text = String::with_capacity(8 * 1024);
        encode(&mut text, &self.registry)?;
        Ok(text)
    }

    fn is_ready(&self) -> bool {
        self.is_ready.load(Ordering::Relaxed)
    }
}

/// What is asked for when metrics are read.
#[derive(Debug)]
struct KafkaState(Arc<Mutex<Weak<Producer>>>);

impl Collector for KafkaState {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), std::fmt::Error> {
        let producer = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(producer) = producer.upgrade() else {
            return Ok(());
        };
        let waiting = encoder.encode_descriptor(
            "kafka_records_waiting",
            "Records in memory that no broker has acknowledged",
            None,
            MetricType::Gauge,
        )?;
        let number = i64::try_from(producer.n_waiting()).unwrap_or(i64::MAX);
        ConstGauge::new(number).encode(waiting)?;
        for (name, help, number) in [
            (
                "kafka_records_delivered",
                "Records that brokers have acknowledged",
                producer.n_delivered(),
            ),
            (
                "kafka_records_failed",
                "Records that brokers have refused",
                producer.n_failed(),
            ),
        ] {
            let metric = encoder.encode_descriptor(name, help, None, MetricType::Counter)?;
            ConstCounter::new(number).encode(metric)?;
        }
        Ok(())
    }
}
