//! Looks before a feed begins: are its symbols there, and could what is lost be fetched?

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Result, bail};
use market::Interval;
use serde::Deserialize;
use serde::de::IgnoredAny;
use terminal::exit::Environment;

use super::super::settings::StreamKind;
use super::Rest;
use super::asking::Failure;

/// The status of a symbol that is traded.
const TRADED: &str = "TRADING";
/// Symbols in one question.
const SYMBOLS: usize = 100;
/// So long whoever starts a feed waits for an answer.
const AT_START: Duration = Duration::from_secs(30);

#[derive(Deserialize)]
struct ExchangeInfo {
    symbols: Vec<SymbolInfo>,
}

#[derive(Deserialize)]
struct SymbolInfo {
    symbol: String,
    status: String,
}

impl Rest {
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
    pub(in crate::binance) async fn check_refill(&self, kinds: &[StreamKind]) -> Result<()> {
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
}
