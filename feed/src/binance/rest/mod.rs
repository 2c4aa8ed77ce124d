//! REST: what the connections lost, and which symbols there are.

mod asking;
mod checks;
mod rows;

use std::ops::RangeInclusive;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use market::{Candle, DAY_US, Interval, MINUTE_US};
use terminal::exit::Environment;
use tokio::sync::Semaphore;
use tokio::time::sleep;

pub(crate) use self::asking::http_client;
use self::asking::{Failure, wait_after};
use self::rows::{RestAggTrade, RestKline, RestTrade};
use super::frames::{Event, Payload, candle_event, trade_of};
use super::ledger::{Answer, LaneKey};
use super::limits::Budget;
use super::settings::StreamKind;
use crate::telemetry::Telemetry;

/// Events of one answer, at most.
const PAGE: u64 = 1_000;
/// A request takes no longer.
const ANSWER: Duration = Duration::from_secs(15);
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
}
