//! The short way to read a trade: the very bytes that [`TradeWriter`](super::TradeWriter) writes, without escapes.
//!
//! Whatever looks otherwise is left to `serde_json`, which decides what it means; so this may say no, never something
//! else.

use super::trade::WireTrade;
use crate::trade::Side;

/// Powers of ten that a binary64 holds exactly.
const POWERS: [f64; 19] = [
    1e0, 1e1, 1e2, 1e3, 1e4, 1e5, 1e6, 1e7, 1e8, 1e9, 1e10, 1e11, 1e12, 1e13, 1e14, 1e15, 1e16,
    1e17, 1e18,
];

/// The largest whole number up to which all are binary64 values.
const EXACT: u64 = 1 << 53;

/// The trade, if these bytes are in the usual form.
pub(super) fn read(value: &[u8]) -> Option<WireTrade<'_>> {
    let rest = value.strip_prefix(br#"{"symbol":""#)?;
    let end = rest.iter().position(|byte| *byte == b'"')?;
    let (symbol, rest) = rest.split_at(end);
    let symbol = plain(symbol)?;
    let rest = rest.strip_prefix(b"\"")?;
    let (trade_id, rest) = match rest.strip_prefix(br#","trade_id":"#) {
        Some(rest) => {
            let (trade_id, rest) = integer(rest)?;
            (Some(trade_id), rest)
        }
        None => (None, rest),
    };
    let (price, rest) = number(rest.strip_prefix(br#","price":"#)?)?;
    let (quantity, rest) = number(rest.strip_prefix(br#","quantity":"#)?)?;
    let rest = rest.strip_prefix(br#","side":""#)?;
    let (side, rest) = match rest.strip_prefix(b"buy\"") {
        Some(rest) => (Side::Buy, rest),
        None => (Side::Sell, rest.strip_prefix(b"sell\"")?),
    };
    let (event_time, rest) = integer(rest.strip_prefix(br#","event_time":"#)?)?;
    let label = match rest {
        b"}" => None,
        _ => {
            let rest = rest.strip_prefix(br#","label":""#)?;
            Some(plain(rest.strip_suffix(b"\"}")?)?)
        }
    };
    Some(WireTrade {
        symbol: symbol.into(),
        trade_id,
        price,
        quantity,
        side,
        event_time: i64::try_from(event_time).ok()?,
        label: label.map(Into::into),
    })
}

/// Text that JSON writes as it is.
fn plain(text: &[u8]) -> Option<&str> {
    let is_plain = text
        .iter()
        .all(|byte| (0x20..0x7f).contains(byte) && !matches!(byte, b'"' | b'\\'));
    if text.is_empty() || !is_plain {
        return None;
    }
    std::str::from_utf8(text).ok()
}

/// A whole number of up to 19 digits, and what follows it.
fn integer(text: &[u8]) -> Option<(u64, &[u8])> {
    let (value, n_digits) = digits(text, 0);
    let is_usual = (1..=19).contains(&n_digits) && (n_digits == 1 || text[0] != b'0');
    is_usual.then(|| (value, &text[n_digits..]))
}

/// Appends the digits that `text` begins with to a number; the result may have wrapped beyond 19 digits.
fn digits(text: &[u8], mut value: u64) -> (u64, usize) {
    let mut n_digits = 0;
    while let Some(byte) = text.get(n_digits)
        && byte.is_ascii_digit()
    {
        value = value.wrapping_mul(10).wrapping_add(u64::from(byte - b'0'));
        n_digits += 1;
    }
    (value, n_digits)
}

/// A positive decimal, and what follows it. Both the digits and the power of ten are exact, so their quotient is the
/// nearest value (Clinger, *How to read floating point numbers accurately*, 1990).
fn number(text: &[u8]) -> Option<(f64, &[u8])> {
    let (whole, n_whole) = digits(text, 0);
    if n_whole == 0 || (n_whole > 1 && text[0] == b'0') {
        return None;
    }
    let (value, n_decimals, rest) = match text[n_whole..].strip_prefix(b".") {
        Some(decimals) => {
            let (value, n_decimals) = digits(decimals, whole);
            if n_decimals == 0 {
                return None;
            }
            (value, n_decimals, &decimals[n_decimals..])
        }
        None => (whole, 0, &text[n_whole..]),
    };
    let is_exact = n_whole + n_decimals <= 19 && value <= EXACT;
    if !is_exact || matches!(rest.first(), Some(b'e' | b'E' | b'+' | b'-')) {
        return None;
    }
    Some((value as f64 / POWERS.get(n_decimals)?, rest))
}
