//! What Binance sends, as events.

use std::borrow::Cow;
use std::collections::HashMap;
use std::sync::Arc;

use market::{Candle, MINUTE_US, Side, Trade};
use serde::Deserialize;

use super::settings::StreamKind;

/// An event of a symbol that is listened to.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Event {
    /// The place of the symbol.
    pub(super) symbol: usize,
    pub(super) kind: StreamKind,
    /// Consecutive within symbol and kind; for candles the number of the minute.
    pub(super) id: u64,
    pub(super) payload: Payload,
}

#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Payload {
    Trade(Trade),
    Candle(Candle),
}

/// What a frame is.
#[derive(Debug, PartialEq)]
pub(super) enum Frame {
    Event(Event),
    /// A candle that is still open.
    Open,
    /// The server goes away.
    Shutdown,
    /// The answer to a subscription.
    Subscribed {
        id: u64,
    },
    /// A subscription was refused.
    Refused {
        reason: String,
    },
    /// Nothing that is known, and why.
    Unknown(&'static str),
}

/// What tells one frame from another; nothing else of it is looked at.
#[derive(Deserialize)]
struct Head<'a> {
    #[serde(borrow)]
    data: Option<Kind<'a>>,
    #[serde(borrow)]
    e: Option<Cow<'a, str>>,
    #[serde(borrow)]
    s: Option<Cow<'a, str>>,
    id: Option<u64>,
    result: Option<serde::de::IgnoredAny>,
    #[serde(borrow)]
    msg: Option<Cow<'a, str>>,
    error: Option<Refusal>,
}

#[derive(Deserialize)]
struct Kind<'a> {
    #[serde(borrow)]
    e: Option<Cow<'a, str>>,
    #[serde(borrow)]
    s: Option<Cow<'a, str>>,
}

#[derive(Deserialize)]
struct Refusal {
    msg: String,
}

/// A frame of a combined stream.
#[derive(Deserialize)]
struct Combined<T> {
    data: T,
}

/// A trade, single or aggregate.
#[derive(Deserialize)]
struct TradeBody<'a> {
    t: Option<u64>,
    a: Option<u64>,
    #[serde(borrow)]
    p: Cow<'a, str>,
    #[serde(borrow)]
    q: Cow<'a, str>,
    #[serde(rename = "T")]
    time: i64,
    m: bool,
}

#[derive(Deserialize)]
struct KlineBody<'a> {
    #[serde(borrow)]
    k: Kline<'a>,
}

#[derive(Deserialize)]
struct Kline<'a> {
    t: i64,
    #[serde(borrow)]
    o: Cow<'a, str>,
    #[serde(borrow)]
    c: Cow<'a, str>,
    #[serde(borrow)]
    h: Cow<'a, str>,
    #[serde(borrow)]
    l: Cow<'a, str>,
    #[serde(borrow)]
    v: Cow<'a, str>,
    n: u64,
    x: bool,
    #[serde(borrow)]
    q: Cow<'a, str>,
    #[serde(rename = "V", borrow)]
    bought: Cow<'a, str>,
    #[serde(borrow)]
    i: Cow<'a, str>,
}

/// The symbols that are listened to, by name.
#[derive(Debug, Clone)]
pub(super) struct Symbols {
    places: Arc<HashMap<Arc<str>, usize>>,
}

impl Symbols {
    pub(super) fn new(names: &[Arc<str>]) -> Self {
        Self {
            places: Arc::new(
                names
                    .iter()
                    .cloned()
                    .enumerate()
                    .map(|(i, n)| (n, i))
                    .collect(),
            ),
        }
    }
}

impl Symbols {
    /// Reads one text frame; it never fails, since nobody can be asked to send another.
    pub(super) fn read(&self, text: &[u8]) -> Frame {
        let Ok(head) = serde_json::from_slice::<Head<'_>>(text) else {
            return Frame::Unknown("garbage");
        };
        let is_combined = head.data.is_some();
        let (event, symbol) = match head.data {
            Some(data) => (data.e, data.s),
            None => (head.e, head.s),
        };
        let Some(event) = event.as_deref() else {
            let message = head.msg.map(Cow::into_owned);
            return match (head.error.map(|error| error.msg).or(message), head.id) {
                (Some(reason), _) => Frame::Refused { reason },
                (None, Some(id)) if head.result.is_none() => Frame::Subscribed { id },
                _ => Frame::Unknown("no_event"),
            };
        };
        let kind = match event {
            "trade" => StreamKind::Trade,
            "aggTrade" => StreamKind::AggTrade,
            "kline" => StreamKind::Kline1m,
            "serverShutdown" => return Frame::Shutdown,
            _ => return Frame::Unknown("other_event"),
        };
        let place = symbol.as_deref().and_then(|name| self.places.get(name));
        let Some(&symbol) = place else {
            return Frame::Unknown("other_symbol");
        };
        let frame = match kind {
            StreamKind::Kline1m => {
                body::<KlineBody<'_>>(text, is_combined).and_then(|body| body.k.frame(symbol))
            }
            kind => body::<TradeBody<'_>>(text, is_combined)
                .and_then(|body| body.event(symbol, kind))
                .map(Frame::Event),
        };
        frame.unwrap_or(Frame::Unknown("invalid_event"))
    }
}

fn body<'a, T: Deserialize<'a>>(text: &'a [u8], is_combined: bool) -> Option<T> {
    if is_combined {
        let combined: Combined<T> = serde_json::from_slice(text).ok()?;
        return Some(combined.data);
    }
    serde_json::from_slice(text).ok()
}

impl TradeBody<'_> {
    fn event(&self, symbol: usize, kind: StreamKind) -> Option<Event> {
        let id = match kind {
            StreamKind::AggTrade => self.a,
            _ => self.t,
        }?;
        let trade = trade_of(id, &self.p, &self.q, self.time, self.m)?;
        Some(Event {
            symbol,
            kind,
            id,
            payload: Payload::Trade(trade),
        })
    }
}

impl Kline<'_> {
    fn frame(&self, symbol: usize) -> Option<Frame> {
        if self.i != "1m" {
            return None;
        }
        if !self.x {
            return Some(Frame::Open);
        }
        let candle = Candle {
            open_time: micros(self.t)?,
            open: self.o.parse().ok()?,
            high: self.h.parse().ok()?,
            low: self.l.parse().ok()?,
            close: self.c.parse().ok()?,
            volume: self.v.parse().ok()?,
            quote_volume: Some(self.q.parse().ok()?),
            buy_volume: Some(self.bought.parse().ok()?),
            trade_count: Some(self.n),
            event: None,
        };
        candle_event(symbol, candle).map(Frame::Event)
    }
}

/// A closed candle as an event; `None` if no real candle is so.
pub(super) fn candle_event(symbol: usize, candle: Candle) -> Option<Event> {
    candle.check(market::Interval::MINUTE).ok()?;
    Some(Event {
        symbol,
        kind: StreamKind::Kline1m,
        id: u64::try_from(candle.open_time / MINUTE_US).ok()?,
        payload: Payload::Candle(candle),
    })
}

/// The exchange counts in signed numbers of 64 bits.
const LARGEST_ID: u64 = i64::MAX as u64;

/// A trade of its members as Binance writes them; `None` if no real trade is so.
pub(super) fn trade_of(
    id: u64,
    price: &str,
    quantity: &str,
    time: i64,
    is_buyer_maker: bool,
) -> Option<Trade> {
    if id > LARGEST_ID {
        return None;
    }
    let trade = Trade {
        event_time: micros(time)?,
        trade_id: Some(id),
        price: price.parse().ok()?,
        quantity: quantity.parse().ok()?,
        // A buyer who made the order book was met by a seller who took from it.
        side: if is_buyer_maker {
            Side::Sell
        } else {
            Side::Buy
        },
        event: None,
    };
    trade.check().is_ok().then_some(trade)
}

/// Milliseconds or microseconds, told apart by their size; `None` for what is neither.
pub(super) fn micros(time: i64) -> Option<i64> {
    match time {
        // 1973 to 5138, both.
        100_000_000_000..100_000_000_000_000 => Some(time * 1_000),
        100_000_000_000_000..100_000_000_000_000_000 => Some(time),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn symbols() -> Symbols {
        Symbols::new(&["BNBBTC".into(), "BTCUSDT".into()])
    }

    #[test]
    fn trades_are_read_raw_and_combined_in_both_units() {
        let raw = br#"{"e":"trade","E":1672515782136,"s":"BNBBTC","t":12345,"p":"0.001","q":"100","T":1672515782136,"m":true,"M":true}"#;
        let Frame::Event(event) = symbols().read(raw) else {
            panic!("not an event");
        };
        assert_eq!(
            (event.symbol, event.kind, event.id),
            (0, StreamKind::Trade, 12345)
        );
        let Payload::Trade(trade) = event.payload else {
            panic!("not a trade");
        };
        assert_eq!(trade.event_time, 1_672_515_782_136_000);
        assert_eq!(
            (trade.price, trade.quantity, trade.side),
            (0.001, 100.0, Side::Sell)
        );
        let text =
            String::from_utf8_lossy(raw).replace("\"T\":1672515782136", "\"T\":1672515782136000");
        let combined = format!(r#"{{"stream":"bnbbtc@trade","data":{text}}}"#);
        assert_eq!(symbols().read(combined.as_bytes()), Frame::Event(event));
    }

    #[test]
    fn only_closed_candles_count() {
        let frame = |closed: bool| {
            let text = format!(
                r#"{{"stream":"btcusdt@kline_1m","data":{{"e":"kline","E":1,"s":"BTCUSDT","k":{{"t":1672515780000,"T":1672515839999,"s":"BTCUSDT","i":"1m","f":100,"L":200,"o":"1.0","c":"2.0","h":"2.5","l":"0.5","v":"1000","n":100,"x":{closed},"q":"1.5","V":"500","Q":"0.5","B":"0"}}}}}}"#
            );
            symbols().read(text.as_bytes())
        };
        assert_eq!(frame(false), Frame::Open);
        let Frame::Event(event) = frame(true) else {
            panic!("not an event");
        };
        assert_eq!(event.id, 1_672_515_780 / 60);
    }

    #[test]
    fn what_is_no_event_is_told_apart() {
        for (text, frame) in [
            (r#"{"result":null,"id":3}"#, Frame::Subscribed { id: 3 }),
            (
                r#"{"code":2,"msg":"Invalid request","id":3}"#,
                Frame::Refused {
                    reason: "Invalid request".to_owned(),
                },
            ),
            (r#"{"e":"serverShutdown","E":1}"#, Frame::Shutdown),
            (
                r#"{"stream":"!serverShutdown","data":{"e":"serverShutdown","E":1}}"#,
                Frame::Shutdown,
            ),
            (
                r#"{"e":"depthUpdate","s":"BNBBTC","a":[["1","2"]]}"#,
                Frame::Unknown("other_event"),
            ),
            (
                r#"{"e":"trade","s":"ÄÖUSDT","t":1}"#,
                Frame::Unknown("other_symbol"),
            ),
            (
                r#"{"e":"trade","s":"BNBBTC","t":1}"#,
                Frame::Unknown("invalid_event"),
            ),
            (
                r#"{"e":"trade","s":"BNBBTC","t":1,"p":"-1","q":"1","T":1672515782136,"m":true}"#,
                Frame::Unknown("invalid_event"),
            ),
            (
                r#"{"e":"trade","s":"BNBBTC","t":1,"p":"1","q":"1","T":1672515782,"m":true}"#,
                Frame::Unknown("invalid_event"),
            ),
            (
                r#"{"e":"trade","s":"BNBBTC","t":18446744073709551615,"p":"1","q":"1","T":1672515782136,"m":true}"#,
                Frame::Unknown("invalid_event"),
            ),
            ("{", Frame::Unknown("garbage")),
            ("[1]", Frame::Unknown("garbage")),
            ("{}", Frame::Unknown("no_event")),
        ] {
            assert_eq!(symbols().read(text.as_bytes()), frame, "{text}");
        }
    }
}
