//! What to listen to, where, and how patiently.

use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Result, bail};
use market::Topic;

use super::rest::RestSettings;

/// The kinds of streams.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum StreamKind {
    /// Every trade.
    Trade,
    /// Trades of one order at one price, merged.
    AggTrade,
    /// Candles of a minute.
    Kline1m,
}

impl StreamKind {
    pub(super) const ALL: [Self; 3] = [Self::Trade, Self::AggTrade, Self::Kline1m];

    /// The name in a subscription: `btcusdt@trade`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Trade => "trade",
            Self::AggTrade => "aggTrade",
            Self::Kline1m => "kline_1m",
        }
    }
}

/// Which kinds are asked for; at least one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Streams(Vec<StreamKind>);

impl Streams {
    /// The kinds, each once.
    pub fn kinds(&self) -> &[StreamKind] {
        &self.0
    }

    /// The topic of a kind. Aggregate trades are the trades once more, under other ids: where both
    /// are asked for, they have a topic of their own.
    pub fn topic(&self, kind: StreamKind) -> Topic {
        match kind {
            StreamKind::Trade => Topic::RawTrades,
            StreamKind::AggTrade if self.0.contains(&StreamKind::Trade) => Topic::AggTrades,
            StreamKind::AggTrade => Topic::RawTrades,
            StreamKind::Kline1m => Topic::Kline1m,
        }
    }
}

impl FromStr for Streams {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let mut kinds = Vec::new();
        for name in text.split(',').map(str::trim) {
            let kind = StreamKind::ALL
                .into_iter()
                .find(|kind| kind.as_str() == name)
                .ok_or_else(|| {
                    format!("there is no stream `{name}`; trade, aggTrade and kline_1m there are")
                })?;
            if !kinds.contains(&kind) {
                kinds.push(kind);
            }
        }
        Ok(Self(kinds))
    }
}

/// Everything that the exchange's side of a feed depends on.
#[derive(Debug, Clone)]
pub struct BinanceSettings {
    /// Symbols, in capitals.
    pub symbols: Vec<Arc<str>>,
    /// The kinds of streams of each symbol.
    pub streams: Streams,
    /// Where WebSocket connections go: `wss://HOST[:PORT]`.
    pub websocket: String,
    /// Where missing trades are asked for: `https://HOST`.
    pub rest: String,
    /// Where aggregate trades, candles and the list of symbols are asked for.
    pub rest_data: String,
    /// A certificate authority to trust beside the system's, as PEM.
    pub ca: Option<Vec<u8>>,
    /// Streams of one connection; 1024 is the exchange's limit.
    pub streams_per_connection: usize,
    /// A connection is replaced at this age; the exchange cuts it after 24 hours.
    pub connection_age: Duration,
    /// How long the old connection is kept beside the new one.
    pub overlap: Duration,
    /// Without any frame for so long, a connection counts as dead.
    pub silence: Duration,
    /// The shortest and the longest wait before a connection is tried again.
    pub backoff: (Duration, Duration),
    /// Connections that may be opened in five minutes.
    pub connects_per_5m: usize,
    /// Weight that REST requests may use in a minute.
    pub weight_per_minute: u32,
    /// How long a missing id is waited for before it is asked for.
    pub patience: Duration,
    /// How long missing ids are asked for before they count as unreachable.
    pub give_up_after: Duration,
    /// The most ids of one gap that are fetched.
    pub largest_gap: u64,
    /// Events that wait for a gap before them; what comes beyond is fetched later.
    pub most_waiting: usize,
    /// Events that wait for a transaction before theirs; beyond it sockets aren't read.
    pub most_passed: usize,
    /// How often a transaction is committed.
    pub commit_every: Duration,
    /// A transaction that lasts longer is ended by the brokers.
    pub transaction_timeout: Duration,
    /// Of one name there is one feed at a time.
    pub instance: String,
}

impl BinanceSettings {
    pub(super) fn rest_settings(&self) -> RestSettings {
        RestSettings {
            trades: self.rest.clone(),
            data: self.rest_data.clone(),
            symbols: self.symbols.clone(),
            give_up_after: self.give_up_after,
            at_once: 1,
            weight_per_minute: self.weight_per_minute,
            ca: self.ca.clone(),
        }
    }
}

/// Symbols of a list, in capitals, each once.
///
/// # Errors
/// When one is none.
pub fn symbols_of(text: &str) -> Result<Vec<Arc<str>>> {
    let mut symbols: Vec<Arc<str>> = Vec::new();
    for name in text.split(',').map(str::trim) {
        let is_word = !name.is_empty()
            && !name
                .chars()
                .any(|c| c.is_whitespace() || "@/?&".contains(c));
        if !is_word {
            bail!("`{name}` is no symbol; --symbols is a list such as BTCUSDT,ETHUSDT");
        }
        let symbol: Arc<str> = name.to_uppercase().into();
        if symbols.contains(&symbol) {
            bail!("symbol `{symbol}` is named twice");
        }
        symbols.push(symbol);
    }
    Ok(symbols)
}
