//! One trade as JSON.

use std::borrow::Cow;

use serde::{Deserialize, Serialize};
use thiserror::Error;

use super::number::{write_integer, write_number};
use crate::trade::{Side, Trade, TradeError};

/// A trade's value in `raw-trades`.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct WireTrade<'a> {
    /// The symbol; the record's key as well.
    pub symbol: Cow<'a, str>,
    /// The exchange's id; absent where the source has none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub trade_id: Option<u64>,
    /// Price in the quote asset.
    pub price: f64,
    /// Quantity in the base asset.
    pub quantity: f64,
    /// The taker's side.
    pub side: Side,
    /// µs since the epoch.
    pub event_time: i64,
    /// The kind of the labelled event that the trade belongs to, if it does.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub label: Option<Cow<'a, str>>,
}

impl WireTrade<'_> {
    /// The trade itself; its label is left behind.
    pub fn trade(&self) -> Trade {
        Trade {
            event_time: self.event_time,
            trade_id: self.trade_id,
            price: self.price,
            quantity: self.quantity,
            side: self.side,
            event: None,
        }
    }
}

/// Writes the trades of one symbol as the JSON of [`WireTrade`].
#[derive(Debug, Clone)]
pub struct TradeWriter {
    /// `{"symbol":"…"`
    start: Vec<u8>,
}

impl TradeWriter {
    /// The writer of a symbol's trades.
    pub fn new(symbol: &str) -> TradeWriter {
        let mut start = br#"{"symbol":"#.to_vec();
        write_text(symbol, &mut start);
        TradeWriter { start }
    }

    /// Appends one trade, without a line feed. The trade must be one ([`Trade::check`]).
    pub fn write(&self, trade: &Trade, label: Option<&str>, out: &mut Vec<u8>) {
        out.extend_from_slice(&self.start);
        if let Some(trade_id) = trade.trade_id {
            out.extend_from_slice(br#","trade_id":"#);
            write_integer(trade_id, out);
        }
        out.extend_from_slice(br#","price":"#);
        write_number(trade.price, out);
        out.extend_from_slice(br#","quantity":"#);
        write_number(trade.quantity, out);
        out.extend_from_slice(match trade.side {
            Side::Buy => br#","side":"buy","event_time":"#,
            Side::Sell => br#","side":"sell","event_time":"#,
        });
        if trade.event_time < 0 {
            out.push(b'-');
        }
        write_integer(trade.event_time.unsigned_abs(), out);
        if let Some(label) = label {
            out.extend_from_slice(br#","label":"#);
            write_text(label, out);
        }
        out.push(b'}');
    }
}

fn write_text(text: &str, out: &mut Vec<u8>) {
    // Writing to a Vec doesn't fail, and neither does text.
    serde_json::to_writer(out, text).ok();
}

/// Why a value isn't a trade.
#[derive(Debug, Error)]
pub enum WireError {
    /// It isn't JSON, or not an object with a trade's members.
    #[error("not a trade")]
    Json(#[from] serde_json::Error),
    /// A member that a trade needs is missing.
    #[error("it has no `{0}`")]
    Missing(&'static str),
    /// A time that is none.
    #[error("`timestamp` `{0}` is not a time")]
    Time(String),
    /// Neither the value nor the key names the symbol.
    #[error("it names no symbol, and its key is no text")]
    Symbol,
    /// A value that no real trade has.
    #[error(transparent)]
    Trade(#[from] TradeError),
}

/// What a value may hold: our own members, or the minimal ones.
#[derive(Deserialize)]
struct Members<'a> {
    #[serde(borrow)]
    symbol: Option<Cow<'a, str>>,
    trade_id: Option<u64>,
    price: Option<f64>,
    quantity: Option<f64>,
    volume: Option<f64>,
    side: Option<Side>,
    event_time: Option<i64>,
    timestamp: Option<f64>,
    #[serde(borrow)]
    label: Option<Cow<'a, str>>,
}

/// Reads a trade's value.
///
/// Beside what [`TradeWriter`] writes, the minimal `{"timestamp", "price", "volume"}` is taken, with
/// the symbol in the record's key; its time is in seconds, milliseconds or microseconds, told apart
/// by their size, and, as it names no side, it counts as bought. Unknown members are passed over.
///
/// # Errors
/// What is missing or wrong.
pub fn parse_trade<'a>(value: &'a [u8], key: Option<&'a [u8]>) -> Result<WireTrade<'a>, WireError> {
    if let Some(trade) = super::fast::read(value) {
        trade.trade().check()?;
        return Ok(trade);
    }
    parse_any(value, key)
}

/// Reads a trade's value in whatever form it has.
fn parse_any<'a>(value: &'a [u8], key: Option<&'a [u8]>) -> Result<WireTrade<'a>, WireError> {
    let members: Members<'a> = serde_json::from_slice(value)?;
    let symbol = match members.symbol {
        Some(symbol) if !symbol.is_empty() => symbol,
        _ => {
            let key = key.and_then(|key| std::str::from_utf8(key).ok());
            let key = key.filter(|key| !key.is_empty());
            Cow::Borrowed(key.ok_or(WireError::Symbol)?)
        }
    };
    let is_minimal = members.event_time.is_none() && members.timestamp.is_some();
    let event_time = match (members.event_time, members.timestamp) {
        (Some(event_time), _) => event_time,
        (None, Some(timestamp)) => micros(timestamp)?,
        (None, None) => return Err(WireError::Missing("event_time")),
    };
    let quantity = members.quantity.or(members.volume);
    let side = match members.side {
        Some(side) => side,
        None if is_minimal => Side::Buy,
        None => return Err(WireError::Missing("side")),
    };
    let trade = WireTrade {
        symbol,
        trade_id: members.trade_id,
        price: members.price.ok_or(WireError::Missing("price"))?,
        quantity: quantity.ok_or(WireError::Missing("quantity"))?,
        side,
        event_time,
        label: members.label.filter(|label| !label.is_empty()),
    };
    trade.trade().check()?;
    Ok(trade)
}

fn micros(timestamp: f64) -> Result<i64, WireError> {
    let scale = match timestamp.abs() {
        size if size < 1e11 => 1e6,
        size if size < 1e14 => 1e3,
        size if size < 1e17 => 1.0,
        _ => return Err(WireError::Time(timestamp.to_string())),
    };
    Ok((timestamp * scale).round() as i64)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn minimal_trades_are_taken_with_their_key() {
        let value = br#"{"timestamp":1514764800.5,"price":10,"volume":0.25,"more":[1]}"#;
        let trade = parse_trade(value, Some(b"BTCUSDT")).unwrap();
        assert_eq!(trade.symbol, "BTCUSDT");
        assert_eq!(trade.event_time, 1_514_764_800_500_000);
        assert_eq!((trade.price, trade.quantity), (10.0, 0.25));
        let millis = br#"{"timestamp":1514764800123,"price":10,"volume":1}"#;
        let trade = parse_trade(millis, Some(b"A")).unwrap();
        assert_eq!(trade.event_time, 1_514_764_800_123_000);
    }

    #[test]
    fn what_is_no_trade_is_refused_with_a_reason() {
        for (value, reason) in [
            (&br"x"[..], "not a trade"),
            (br"[]", "not a trade"),
            (br#"{"symbol":"A"}"#, "it has no `event_time`"),
            (
                br#"{"event_time":1,"price":1,"quantity":1,"side":"buy"}"#,
                "it names no symbol, and its key is no text",
            ),
            (
                br#"{"symbol":"A","event_time":1,"price":1,"quantity":1}"#,
                "it has no `side`",
            ),
            (
                br#"{"symbol":"A","event_time":1,"quantity":1,"side":"buy"}"#,
                "it has no `price`",
            ),
            (
                br#"{"symbol":"A","event_time":1,"price":-1,"quantity":1,"side":"buy"}"#,
                "price `-1` is not between",
            ),
            (
                br#"{"symbol":"A","timestamp":1e19,"price":1,"volume":1}"#,
                "is not a time",
            ),
        ] {
            let error = parse_trade(value, None).unwrap_err().to_string();
            assert!(error.contains(reason), "{error} / {reason}");
        }
    }

    #[test]
    fn the_short_way_is_taken_by_the_usual_trade_and_by_nothing_unusual() {
        let usual = br#"{"symbol":"BTCUSDT","trade_id":7,"price":42000.5,"quantity":0.001,"side":"sell","event_time":1704067200000000}"#;
        assert!(crate::wire::fast::read(usual).is_some());
        let usual = String::from_utf8(usual.to_vec()).unwrap();
        for (from, to) in [
            ("42000.5", "042000.5"),
            ("42000.5", "42000."),
            ("42000.5", ".5"),
            ("42000.5", "4.2e4"),
            ("42000.5", "42000.512345678901234"),
            ("42000.5", "-1.5"),
            ("0.001", "\"0.001\""),
            ("BTCUSDT", ""),
            ("BTCUSDT", "BTC\\u0055SDT"),
            (":7,", ":007,"),
            (":7,", ":18446744073709551616,"),
            ("sell", "SELL"),
            ("000}", "000,\"label\":\"\"}"),
            ("000}", "000 }"),
            ("000}", "000}}"),
            ("000}", "000"),
        ] {
            let value = usual.replacen(from, to, 1);
            assert!(
                crate::wire::fast::read(value.as_bytes()).is_none(),
                "{value}"
            );
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(2_000))]

        #[test]
        fn the_short_way_reads_what_serde_json_reads(
            text in "[0-9]{1,20}(\\.[0-9]{1,20})?([eE][0-9])?",
            id in "[0-9]{1,20}",
        ) {
            let value = format!(
                r#"{{"symbol":"A","trade_id":{id},"price":{text},"quantity":1,"side":"buy","event_time":1}}"#
            );
            if let Some(trade) = crate::wire::fast::read(value.as_bytes()) {
                let members: Members<'_> = serde_json::from_str(&value).unwrap();
                prop_assert_eq!(Some(trade.price), members.price);
                prop_assert_eq!(trade.trade_id, members.trade_id);
            }
        }

        #[test]
        fn writes_what_serde_json_writes_and_reads_it_back(
            symbol in "\\PC{1,12}",
            trade_id in proptest::option::of(any::<u64>()),
            price in prop_oneof![1e-18..1e18_f64, (1_u64..1_000_000_000).prop_map(|n| n as f64 / 100.0)],
            quantity in prop_oneof![1e-18..1e18_f64, (1_u64..1_000_000_000).prop_map(|n| n as f64 / 1e5)],
            is_buy in any::<bool>(),
            event_time in -253_402_300_799_999_999_i64..253_402_300_800_000_000,
            label in proptest::option::of("\\PC{1,12}"),
        ) {
            let side = if is_buy { Side::Buy } else { Side::Sell };
            let wire = WireTrade {
                symbol: symbol.as_str().into(),
                trade_id,
                price,
                quantity,
                side,
                event_time,
                label: label.as_deref().map(Cow::Borrowed),
            };
            let mut written = Vec::new();
            TradeWriter::new(&symbol).write(&wire.trade(), label.as_deref(), &mut written);
            prop_assert_eq!(
                String::from_utf8(written.clone()).unwrap(),
                serde_json::to_string(&wire).unwrap()
            );
            let read = parse_trade(&written, None).unwrap();
            prop_assert_eq!(&read, &parse_any(&written, None).unwrap());
            prop_assert_eq!(&read.symbol, &wire.symbol);
            prop_assert_eq!(read.event_time, wire.event_time);
            prop_assert_eq!((read.price, read.quantity), (price, quantity));
            prop_assert_eq!(read.label, wire.label);
        }
    }
}
