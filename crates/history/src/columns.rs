//! The names that columns go by, in CSV headers and Parquet schemas alike.

/// What a column is to trades and candles.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Role {
    Symbol,
    Time,
    Label,
    TradeId,
    Price,
    Quantity,
    Side,
    IsBuyerMaker,
    Open,
    High,
    Low,
    Close,
    Volume,
    QuoteVolume,
    BuyVolume,
    TradeCount,
}

impl Role {
    /// How many there are.
    pub(crate) const COUNT: usize = Self::TradeCount as usize + 1;

    /// Our own name for the column; with `Time` it is the candles' one.
    pub(crate) fn name(self) -> &'static str {
        self.names()[0]
    }

    fn names(self) -> &'static [&'static str] {
        match self {
            Self::Symbol => &["symbol", "pair", "ticker"],
            Self::Time => &[
                "open_time",
                "event_time",
                "timestamp",
                "time",
                "datetime",
                "date",
                "transact_time",
            ],
            Self::Label => &["label"],
            Self::TradeId => &["trade_id", "id", "agg_trade_id", "a"],
            Self::Price => &["price", "p"],
            Self::Quantity => &["quantity", "qty", "amount", "size", "q"],
            Self::Side => &["side", "taker_side"],
            Self::IsBuyerMaker => &["is_buyer_maker", "isbuyermaker", "m"],
            Self::Open => &["open"],
            Self::High => &["high"],
            Self::Low => &["low"],
            Self::Close => &["close"],
            Self::Volume => &["volume", "vol", "base_volume"],
            Self::QuoteVolume => &["quote_volume", "quote_asset_volume", "quotevolume"],
            Self::BuyVolume => &[
                "buy_volume",
                "taker_buy_volume",
                "taker_buy_base_volume",
                "taker_buy_base_asset_volume",
            ],
            Self::TradeCount => &[
                "trade_count",
                "count",
                "number_of_trades",
                "trades",
                "n_trades",
            ],
        }
    }

    /// The column that plays this role: its first known name wins over later ones.
    pub(crate) fn find(self, columns: &[String]) -> Option<usize> {
        self.names().iter().find_map(|name| {
            columns
                .iter()
                .position(|column| normal_name(column) == *name)
        })
    }
}

/// What the ids of a file's trades count. The two can't be told apart by their numbers, and the
/// trades of one are, merged, those of the other.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum TradeIds {
    Unknown,
    /// Binance `trades`.
    Single,
    /// Binance `aggTrades`.
    Aggregate,
}

impl TradeIds {
    pub(crate) fn of(columns: &[String]) -> Self {
        let column = Role::TradeId.find(columns);
        match column.map(|idx| normal_name(&columns[idx])).as_deref() {
            Some("agg_trade_id" | "a") => Self::Aggregate,
            Some("id") => Self::Single,
            _ => Self::Unknown,
        }
    }
}

/// Lower case, trimmed, blanks as underscores: `Open Time` is `open_time`.
fn normal_name(column: &str) -> String {
    column
        .trim_start_matches('\u{feff}')
        .trim()
        .to_ascii_lowercase()
        .replace([' ', '-'], "_")
}
