//! REST: what the connections lost, and which symbols there are.

use std::ops::RangeInclusive;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use market::{Candle, DAY_US, Interval, MINUTE_US};
use reqwest::StatusCode;
use reqwest::header::{HeaderMap, RETRY_AFTER};
use serde::Deserialize;
use serde::de::{DeserializeOwned, IgnoredAny};
use terminal::exit::Environment;
use tokio::time::sleep;

use super::frames::{Event, Payload, candle_event, micros, trade_of};
use super::ledger::{Answer, LaneKey};
use super::limits::Budget;
use super::settings::StreamKind;
use crate::telemetry::Telemetry;

/// Events of one answer, at most.
const PAGE: u64 = 1_000;
/// A request takes no longer.
const ANSWER: Duration = Duration::from_secs(15);
/// How often the exchange may say "not now" to one request.
const PATIENCE: u32 = 50;
/// Where it doesn't say for how long.
const NOT_NOW: Duration = Duration::from_secs(60);
/// Symbols in one question.
const SYMBOLS: usize = 100;

/// Asks Binance.
#[derive(Debug)]
pub(crate) struct Rest {
    client: reqwest::Client,
    trades: String,
    data: String,
    symbols: Vec<Arc<str>>,
    attempts: u32,
    budget: Budget,
    telemetry: Arc<Telemetry>,
}

/// What asking depends on.
#[derive(Debug, Clone)]
pub(crate) struct RestSettings {
    /// Where trades are asked for.
    pub(crate) trades: String,
    /// Where aggregate trades, candles and the list of symbols are asked for.
    pub(crate) data: String,
    pub(crate) symbols: Vec<Arc<str>>,
    pub(crate) attempts: u32,
    pub(crate) weight_per_minute: u32,
    /// To trust beside the system's, as PEM.
    pub(crate) ca: Option<Vec<u8>>,
}

/// A client that trusts the system's certificate authorities and perhaps one more.
pub(crate) fn http_client(ca: Option<&[u8]>, at_most: Option<Duration>) -> Result<reqwest::Client> {
    let mut builder = reqwest::Client::builder()
        .connect_timeout(Duration::from_secs(10))
        .read_timeout(Duration::from_secs(60))
        .user_agent(concat!("foreshock-feed/", env!("CARGO_PKG_VERSION")));
    if let Some(at_most) = at_most {
        builder = builder.timeout(at_most);
    }
    for certificate in reqwest::Certificate::from_pem_bundle(ca.unwrap_or_default())
        .context("the --ca file holds no readable certificate")?
    {
        builder = builder.add_root_certificate(certificate);
    }
    builder.build().context("set up the HTTP client")
}

#[derive(Deserialize)]
struct RestTrade {
    id: u64,
    price: String,
    qty: String,
    time: i64,
    #[serde(rename = "isBuyerMaker")]
    is_buyer_maker: bool,
}

#[derive(Deserialize)]
struct RestAggTrade {
    a: u64,
    p: String,
    q: String,
    #[serde(rename = "T")]
    time: i64,
    m: bool,
}

/// Open time, open, high, low, close, volume, close time, quote volume, count, bought, …
#[derive(Deserialize)]
struct RestKline(
    i64,
    String,
    String,
    String,
    String,
    String,
    IgnoredAny,
    String,
    u64,
    String,
    IgnoredAny,
    IgnoredAny,
);

#[derive(Deserialize)]
struct Refusal {
    code: i64,
    msg: String,
}

/// Why a request gave nothing.
enum Failure {
    /// The exchange won't have it.
    Refused {
        status: StatusCode,
        refusal: Option<Refusal>,
    },
    /// No answer, however often.
    Unreachable(anyhow::Error),
}

impl Rest {
    pub(crate) fn new(settings: &RestSettings, telemetry: Arc<Telemetry>) -> Result<Self> {
        let base = |url: &str| -> Result<String> {
            let url = url.trim_end_matches('/');
            match url::Url::parse(url) {
                Ok(parsed) if matches!(parsed.scheme(), "http" | "https") => Ok(url.to_owned()),
                _ => bail!(Environment(format!(
                    "`{url}` is no address of a REST server"
                ))),
            }
        };
        Ok(Self {
            client: http_client(settings.ca.as_deref(), Some(ANSWER))?,
            trades: base(&settings.trades)?,
            data: base(&settings.data)?,
            symbols: settings.symbols.clone(),
            attempts: settings.attempts.max(1),
            budget: Budget::new(settings.weight_per_minute),
            telemetry,
        })
    }

    /// Makes sure that every symbol is traded.
    ///
    /// # Errors
    /// The symbols that are not, or that nobody answers.
    pub(crate) async fn check_symbols(&self) -> Result<()> {
        let mut unknown = Vec::new();
        for chunk in self.symbols.chunks(SYMBOLS) {
            if self.knows(chunk).await? {
                continue;
            }
            // Which of them, the exchange doesn't say.
            for symbol in chunk {
                if !self.knows(std::slice::from_ref(symbol)).await? {
                    unknown.push(symbol);
                }
            }
        }
        if !unknown.is_empty() {
            bail!(
                "Binance doesn't know {}",
                terminal::progress::list(&unknown)
            );
        }
        Ok(())
    }

    async fn knows(&self, symbols: &[Arc<str>]) -> Result<bool> {
        let names: Vec<&str> = symbols.iter().map(AsRef::as_ref).collect();
        let query = [("symbols", serde_json::to_string(&names)?)];
        let url = format!("{}/api/v3/exchangeInfo", self.data);
        match self.get::<IgnoredAny>(&url, &query, 20).await {
            Ok(_) => Ok(true),
            Err(Failure::Refused {
                refusal: Some(refusal),
                ..
            }) if refusal.code == -1121 || refusal.code == -1100 => Ok(false),
            Err(failure) => Err(failure.error().context(Environment(format!(
                "Binance can't be asked for its symbols at `{}`",
                self.data
            )))),
        }
    }

    /// Fetches the first of the missing events; the ledger asks again for what is left.
    pub(super) async fn fetch(&self, lane: LaneKey, ids: RangeInclusive<u64>) -> Answer {
        let mut attempt = 0;
        loop {
            attempt += 1;
            let events = match self.page(lane, &ids).await {
                Ok(events) => events,
                Err(failure) => {
                    let detail = format!("{:#}", failure.error());
                    tracing::warn!(detail, symbol = %self.symbols[lane.0], "missing events can't be fetched");
                    return Answer::Unreachable { ids, detail };
                }
            };
            let first = *ids.start();
            let there: Vec<Event> = (first..)
                .zip(events.iter().filter(|event| event.id >= first))
                .take_while(|(id, event)| event.id == *id && ids.contains(id))
                .map(|(_, event)| event.clone())
                .collect();
            if !there.is_empty() {
                self.telemetry
                    .refilled(&self.symbols[lane.0], there.len() as u64);
                return Answer::Events(there);
            }
            // A server may lag behind the stream: a hole is believed the last time only.
            if attempt == self.attempts {
                let after = events
                    .iter()
                    .map(|event| event.id)
                    .filter(|id| *id > first)
                    .min();
                let last = after.map_or(*ids.end(), |id| (id - 1).min(*ids.end()));
                let detail = match after {
                    Some(id) => format!("asked from {first} on, the exchange begins with {id}"),
                    None => format!("asked from {first} on, the exchange has nothing"),
                };
                return Answer::Missing {
                    ids: first..=last,
                    detail,
                };
            }
            sleep(Duration::from_millis(200 << attempt.min(6))).await;
        }
    }

    async fn page(
        &self,
        (symbol, kind): LaneKey,
        ids: &RangeInclusive<u64>,
    ) -> Result<Vec<Event>, Failure> {
        let n_wanted = (ids.end() - ids.start() + 1).min(PAGE);
        let mut query = vec![
            ("symbol", self.symbols[symbol].to_string()),
            ("limit", n_wanted.to_string()),
        ];
        let first = *ids.start();
        let trade = |id: u64, price: &str, quantity: &str, time: i64, is_buyer_maker: bool| {
            trade_of(id, price, quantity, time, is_buyer_maker).map(|trade| Event {
                symbol,
                kind,
                id,
                payload: Payload::Trade(trade),
            })
        };
        Ok(match kind {
            StreamKind::Trade => {
                query.push(("fromId", first.to_string()));
                let url = format!("{}/api/v3/historicalTrades", self.trades);
                let trades: Vec<RestTrade> = self.get(&url, &query, 25).await?;
                let event = |t: &RestTrade| trade(t.id, &t.price, &t.qty, t.time, t.is_buyer_maker);
                trades.iter().filter_map(event).collect()
            }
            StreamKind::AggTrade => {
                query.push(("fromId", first.to_string()));
                let url = format!("{}/api/v3/aggTrades", self.data);
                let trades: Vec<RestAggTrade> = self.get(&url, &query, 4).await?;
                let event = |t: &RestAggTrade| trade(t.a, &t.p, &t.q, t.time, t.m);
                trades.iter().filter_map(event).collect()
            }
            StreamKind::Kline1m => {
                let from = first as i64 * MINUTE_US;
                let to = from + n_wanted as i64 * MINUTE_US;
                let name = &self.symbols[symbol];
                let klines = self.klines(name, Interval::MINUTE, from, to).await?;
                let event = |candle| candle_event(symbol, candle);
                klines.into_iter().filter_map(event).collect()
            }
        })
    }

    /// The closed candles of a day, in order of time.
    ///
    /// # Errors
    /// When they can't be had.
    pub(crate) async fn day_of_klines(
        &self,
        symbol: &str,
        interval: Interval,
        day: i64,
    ) -> Result<Vec<Candle>> {
        let mut candles: Vec<Candle> = Vec::new();
        let mut from = day;
        let end = day + DAY_US;
        while from < end {
            let page = self.klines(symbol, interval, from, end).await;
            let page = page.map_err(Failure::error)?;
            let Some(last) = page.last() else { break };
            from = last.open_time + interval.micros();
            candles.extend(page);
        }
        Ok(candles)
    }

    /// The first of the candles that begin in a span of time (µs, the end is outside).
    async fn klines(
        &self,
        symbol: &str,
        interval: Interval,
        from: i64,
        to: i64,
    ) -> Result<Vec<Candle>, Failure> {
        let query = [
            ("symbol", symbol.to_owned()),
            ("limit", PAGE.to_string()),
            ("interval", interval.to_string()),
            ("startTime", (from / 1_000).to_string()),
            ("endTime", (to / 1_000 - 1).to_string()),
        ];
        let url = format!("{}/api/v3/klines", self.data);
        let klines: Vec<RestKline> = self.get(&url, &query, 2).await?;
        let candle = |kline: &RestKline| kline.candle();
        let candles = klines.iter().filter_map(candle);
        Ok(candles
            .filter(|candle| candle.check(interval).is_ok())
            .collect())
    }

    async fn get<T: DeserializeOwned>(
        &self,
        url: &str,
        query: &[(&str, String)],
        weight: u32,
    ) -> Result<T, Failure> {
        let (mut n_failures, mut n_refusals) = (0, 0);
        loop {
            self.budget.spend(weight).await;
            let answer = self
                .client
                .get(url)
                .header("X-MBX-TIME-UNIT", "MICROSECOND")
                .query(query)
                .send()
                .await;
            let error = match answer {
                Err(error) => {
                    self.telemetry.rest(0);
                    anyhow::Error::new(error)
                }
                Ok(answer) => {
                    let status = answer.status();
                    self.telemetry.rest(status.as_u16());
                    if let Some(used) = number(answer.headers(), "x-mbx-used-weight-1m") {
                        self.budget.observe(used).await;
                    }
                    if matches!(status.as_u16(), 429 | 418) {
                        let wait = retry_after(answer.headers());
                        tracing::warn!(
                            status = status.as_u16(),
                            ?wait,
                            "the exchange wants to be left alone"
                        );
                        self.budget.block(wait).await;
                        n_refusals += 1;
                        if n_refusals < PATIENCE {
                            continue;
                        }
                        let error = anyhow::anyhow!("status {status}, {n_refusals} times");
                        return Err(Failure::Unreachable(error));
                    }
                    if status.is_client_error() {
                        let refusal = answer.json().await.ok();
                        return Err(Failure::Refused { status, refusal });
                    }
                    let text = match answer.error_for_status() {
                        Ok(answer) => answer.bytes().await,
                        Err(error) => Err(error),
                    };
                    match text {
                        Ok(text) => match serde_json::from_slice(&text) {
                            Ok(value) => return Ok(value),
                            Err(error) => anyhow::Error::new(error).context("read the answer"),
                        },
                        Err(error) => anyhow::Error::new(error),
                    }
                }
            };
            n_failures += 1;
            if n_failures >= self.attempts {
                return Err(Failure::Unreachable(error));
            }
            sleep(Duration::from_millis(250 << n_failures.min(6))).await;
        }
    }
}

impl Failure {
    fn error(self) -> anyhow::Error {
        match self {
            Self::Refused {
                status,
                refusal: Some(Refusal { code, msg }),
            } => anyhow::anyhow!("status {status}: {msg} ({code})"),
            Self::Refused { status, .. } => anyhow::anyhow!("status {status}"),
            Self::Unreachable(error) => error,
        }
    }
}

impl RestKline {
    fn candle(&self) -> Option<Candle> {
        Some(Candle {
            open_time: micros(self.0)?,
            open: self.1.parse().ok()?,
            high: self.2.parse().ok()?,
            low: self.3.parse().ok()?,
            close: self.4.parse().ok()?,
            volume: self.5.parse().ok()?,
            quote_volume: Some(self.7.parse().ok()?),
            buy_volume: Some(self.9.parse().ok()?),
            trade_count: Some(self.8),
            event: None,
        })
    }
}

fn number(headers: &HeaderMap, name: &str) -> Option<u32> {
    headers.get(name)?.to_str().ok()?.parse().ok()
}

fn retry_after(headers: &HeaderMap) -> Duration {
    let seconds = headers
        .get(RETRY_AFTER)
        .and_then(|value| value.to_str().ok()?.parse().ok());
    seconds.map_or(NOT_NOW, Duration::from_secs)
}
