//! What REST answers about trades and candles.

use anyhow::{Context, Result};
use market::Candle;
use serde::Deserialize;
use serde::de::IgnoredAny;

use super::super::frames::micros;

#[derive(Deserialize)]
pub(super) struct RestTrade {
    pub(super) id: u64,
    pub(super) price: String,
    pub(super) qty: String,
    pub(super) time: i64,
    #[serde(rename = "isBuyerMaker")]
    pub(super) is_buyer_maker: bool,
}

#[derive(Deserialize)]
pub(super) struct RestAggTrade {
    pub(super) a: u64,
    pub(super) p: String,
    pub(super) q: String,
    #[serde(rename = "T")]
    pub(super) time: i64,
    pub(super) m: bool,
}

/// Open time, open, high, low, close, volume, close time, quote volume, count, bought, …
#[derive(Deserialize)]
pub(super) struct RestKline(
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

impl RestKline {
    pub(super) fn candle(&self) -> Result<Candle> {
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
