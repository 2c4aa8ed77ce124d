//! REST: what the connections lost, and which symbols there are.

use std::ops::RangeInclusive;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use market::{Candle, DAY_US, Interval, MINUTE_US};
use reqwest::StatusCode;
use reqwest::header::{HeaderMap, RETRY_AFTER};
use serde::Deserialize;
use serde::de::{DeserializeOwned, IgnoredAny};
use terminal::exit::Environment;
use tokio::sync::Semaphore;
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
/// The status of a symbol that is traded.
const TRADED: &str = "TRADING";
/// Symbols in one question.
const SYMBOLS: usize = 100;
/// The longest wait between two tries, where nothing says how long.
const LONGEST_WAIT: Duration = Duration::from_secs(30);
/// So long whoever starts a feed waits for an answer.
const AT_START: Duration = Duration::from_secs(30);
/// So many answers must agree that an id isn't there.
const BELIEVED: u32 = 3;

/// Asks Binance.
#[derive(Debug)]
pub(crate) struct Rest {
    client: reqwest::Client,
    trades: String,
    data: String,
    symbols: Vec<Arc<str>>,
    give_up_after: Duration,
    /// Who may ask now: an answer that says "not now" is heard before the next question.
    turns: Semaphore,
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
    /// How long one question is asked again before it counts as unanswered.
    pub(crate) give_up_after: Duration,
    /// Requests at once.
    pub(crate) at_once: usize,
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
struct ExchangeInfo {
    symbols: Vec<SymbolInfo>,
}

#[derive(Deserialize)]
struct SymbolInfo {
    symbol: String,
    status: String,
}

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
            give_up_after: settings.give_up_after,
            turns: Semaphore::new(settings.at_once.max(1)),
            budget: Budget::new(settings.weight_per_minute),
            telemetry,
        })
    }

    /// Makes sure that the exchange knows every symbol and, where `is_live`, trades it now.
    ///
    /// # Errors
    /// The symbols that are not so, or that nobody answers.
    pub(crate) async fn check_symbols(&self, is_live: bool) -> Result<()> {
        let mut unknown = Vec::new();
        let mut resting = Vec::new();
        for chunk in self.symbols.chunks(SYMBOLS) {
            if let Some(found) = self.look_up(chunk).await? {
                resting.extend(found);
                continue;
            }
            // Which of them, the exchange doesn't say.
            for symbol in chunk {
                match self.look_up(std::slice::from_ref(symbol)).await? {
                    Some(found) => resting.extend(found),
                    None => unknown.push(symbol),
                }
            }
        }
        if !unknown.is_empty() {
            bail!(
                "Binance doesn't know {}",
                terminal::progress::list(&unknown)
            );
        }
        if is_live && let Some(SymbolInfo { symbol, status }) = resting.first() {
            bail!(
                "`{symbol}` is not traded now: its status is `{status}`, not `{TRADED}` ({} so)",
                terminal::progress::plural(resting.len() as u64, "symbol")
            );
        }
        Ok(())
    }

    /// Those of the symbols that aren't traded now; `None` if one of them is unknown.
    async fn look_up(&self, symbols: &[Arc<str>]) -> Result<Option<Vec<SymbolInfo>>> {
        let names: Vec<&str> = symbols.iter().map(AsRef::as_ref).collect();
        let query = [("symbols", serde_json::to_string(&names)?)];
        let url = format!("{}/api/v3/exchangeInfo", self.data);
        let at_most = self.give_up_after.min(AT_START);
        match self.get::<ExchangeInfo>(&url, &query, 20, at_most).await {
            Ok(mut found) => {
                found.symbols.retain(|found| found.status != TRADED);
                Ok(Some(found.symbols))
            }
            Err(Failure::Refused {
                refusal: Some(refusal),
                ..
            }) if refusal.code == -1121 || refusal.code == -1100 => Ok(None),
            Err(failure) => Err(failure.error().context(Environment(format!(
                "Binance can't be asked for its symbols at `{}`",
                self.data
            )))),
        }
    }

    /// Makes sure that what is missing could be fetched.
    ///
    /// # Errors
    /// An [`Environment`] error that says where not, and why.
    pub(super) async fn check_refill(&self, kinds: &[StreamKind]) -> Result<()> {
        let Some(symbol) = self.symbols.first() else {
            return Ok(());
        };
        let query = |more: Option<(&'static str, String)>| {
            let own = [("symbol", symbol.to_string()), ("limit", "1".to_owned())];
            own.into_iter().chain(more).collect::<Vec<_>>()
        };
        let at_most = self.give_up_after.min(AT_START);
        for kind in kinds {
            let (base, option, path, query) = match kind {
                StreamKind::Trade => (&self.trades, "rest-url", "historicalTrades", query(None)),
                StreamKind::AggTrade => (&self.data, "rest-data-url", "aggTrades", query(None)),
                StreamKind::Kline1m => {
                    let interval = ("interval", Interval::MINUTE.to_string());
                    (&self.data, "rest-data-url", "klines", query(Some(interval)))
                }
            };
            let url = format!("{base}/api/v3/{path}");
            let asked = self.get::<IgnoredAny>(&url, &query, 25, at_most).await;
            asked.map_err(|failure| {
                failure.error().context(Environment(format!(
                    "what a connection loses could not be fetched again: `{url}` can't be asked \
                     (--{option})"
                )))
            })?;
        }
        Ok(())
    }

    /// Fetches the first of the missing events; the ledger asks again for what is left.
    pub(super) async fn fetch(&self, lane: LaneKey, ids: RangeInclusive<u64>) -> Answer {
        let began = Instant::now();
        let (mut n_tries, mut n_absent) = (0_u32, 0);
        let first = *ids.start();
        let unreachable = |detail: String| {
            tracing::warn!(detail, symbol = %self.symbols[lane.0], "missing events can't be fetched");
            let ids = ids.clone();
            Answer::Unreachable { ids, detail }
        };
        loop {
            let events = match self.page(lane, &ids).await {
                Ok(events) => events,
                Err(failure) => return unreachable(format!("{:#}", failure.error())),
            };
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
            // A server may lag behind the stream. Only one that has later ids can tell that these
            // are not there, and only if it says so again.
            let later = events.iter().map(|event| event.id);
            if let Some(later) = later.filter(|id| *id > first).min() {
                n_absent += 1;
                if n_absent == BELIEVED {
                    return Answer::Missing {
                        ids: first..=(later - 1).min(*ids.end()),
                        detail: format!("asked from {first} on, the exchange begins with {later}"),
                    };
                }
            } else if began.elapsed() >= self.give_up_after {
                return unreachable(format!("asked from {first} on, the exchange has nothing"));
            }
            n_tries += 1;
            sleep(wait_after(n_tries)).await;
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
                let trades: Vec<RestTrade> = self.get(&url, &query, 25, self.give_up_after).await?;
                let event = |t: &RestTrade| trade(t.id, &t.price, &t.qty, t.time, t.is_buyer_maker);
                trades.iter().filter_map(event).collect()
            }
            StreamKind::AggTrade => {
                query.push(("fromId", first.to_string()));
                let url = format!("{}/api/v3/aggTrades", self.data);
                let trades: Vec<RestAggTrade> =
                    self.get(&url, &query, 4, self.give_up_after).await?;
                let event = |t: &RestAggTrade| trade(t.a, &t.p, &t.q, t.time, t.m);
                trades.iter().filter_map(event).collect()
            }
            StreamKind::Kline1m => {
                let from = first as i64 * MINUTE_US;
                let name = &self.symbols[symbol];
                // One more, and no end: what comes after a hole shows that it is one.
                let span = (from, None);
                let klines = self.klines(name, Interval::MINUTE, span, n_wanted + 1);
                let good = |kline: &RestKline| kline.candle().ok();
                let candles: Vec<Candle> = klines.await?.iter().filter_map(good).collect();
                let event = |candle| candle_event(symbol, candle);
                candles.into_iter().filter_map(event).collect()
            }
        })
    }

    /// The closed candles of a day, in order of time.
    ///
    /// # Errors
    /// When they can't be had, or one of them is none.
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
            let page = self.klines(symbol, interval, (from, Some(end)), PAGE).await;
            let page = page.map_err(Failure::error)?;
            let n_before = candles.len();
            for (row, kline) in page.iter().enumerate() {
                let candle = kline.candle().and_then(|candle| {
                    candle.check(interval)?;
                    Ok(candle)
                });
                candles.push(candle.with_context(|| {
                    format!(
                        "row {} of the candles of `{symbol}` from {} on",
                        row + 1,
                        crate::time::show_time(from)
                    )
                })?);
            }
            let Some(last) = candles[n_before..].last() else {
                break;
            };
            from = last.open_time + interval.micros();
        }
        Ok(candles)
    }

    /// The first of the candles that begin in a span of time (µs, the end is outside).
    async fn klines(
        &self,
        symbol: &str,
        interval: Interval,
        (from, to): (i64, Option<i64>),
        limit: u64,
    ) -> Result<Vec<RestKline>, Failure> {
        let mut query = vec![
            ("symbol", symbol.to_owned()),
            ("limit", limit.min(PAGE).to_string()),
            ("interval", interval.to_string()),
            ("startTime", (from / 1_000).to_string()),
        ];
        if let Some(to) = to {
            query.push(("endTime", (to / 1_000 - 1).to_string()));
        }
        let url = format!("{}/api/v3/klines", self.data);
        self.get(&url, &query, 2, self.give_up_after).await
    }

    async fn get<T: DeserializeOwned>(
        &self,
        url: &str,
        query: &[(&str, String)],
        weight: u32,
        at_most: Duration,
    ) -> Result<T, Failure> {
        let began = Instant::now();
        let (mut n_failures, mut n_refusals) = (0, 0);
        loop {
            // It is never closed.
            let turn = self.turns.acquire().await.ok();
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
                    // A firewall's 403 and a server's 408 pass; the rest says what is wrong with us.
                    let passes = matches!(status.as_u16(), 403 | 408);
                    if status.as_u16() == 403 {
                        self.budget.block(LONGEST_WAIT.min(at_most)).await;
                    }
                    if status.is_client_error() && !passes {
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
            drop(turn);
            n_failures += 1;
            if began.elapsed() >= at_most {
                return Err(Failure::Unreachable(error));
            }
            sleep(wait_after(n_failures).min(at_most)).await;
        }
    }
}

impl Failure {
    fn error(self) -> anyhow::Error {
        match self {
            Self::Refused { status, .. } if matches!(status.as_u16(), 401 | 451) => {
                anyhow::anyhow!(
                    "status {status}: it doesn't serve us, from here or without a key; another \
                     address may"
                )
            }
            Self::Refused {
                status,
                refusal: Some(Refusal { code, msg }),
            } => anyhow::anyhow!("status {status}: {msg} ({code})"),
            Self::Refused { status, .. } => anyhow::anyhow!("status {status}"),
            Self::Unreachable(error) => error,
        }
    }
}

/// Twice as long after each try.
fn wait_after(n_tries: u32) -> Duration {
    Duration::from_millis(250 << n_tries.min(10)).min(LONGEST_WAIT)
}

impl RestKline {
    fn candle(&self) -> Result<Candle> {
        let number = |text: &str| -> Result<f64> {
            text.parse()
                .map_err(|_| anyhow::anyhow!("`{text}` is no number"))
        };
        Ok(Candle {
            open_time: micros(self.0).with_context(|| format!("`{}` is no time", self.0))?,
            open: number(&self.1)?,
            high: number(&self.2)?,
            low: number(&self.3)?,
            close: number(&self.4)?,
            volume: number(&self.5)?,
            quote_volume: Some(number(&self.7)?),
            buy_volume: Some(number(&self.9)?),
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
