//! Market history as files: Binance dumps, other CSV, and Parquet; local or on S3.
//!
//! A [`Location`] names a file, a folder, a glob or an `s3://` URI; [`Location::resolve`] finds
//! the [`DataObject`]s behind it. From these,
//!
//! - [`read_trades`] and [`read_candles`] read whole histories per symbol, [`for_each_trade`] and
//!   [`for_each_candle`] one file in bounded memory;
//! - [`FeatureScan`] passes over any numeric table, however large, as often as needed;
//! - [`fingerprint`] tells exactly what was read;
//! - [`write_trades`], [`write_candles`] and, for any other [`Table`], [`write_table`] or the
//!   piecewise [`TableWriter`] write Parquet.
//!
//! # What is read
//!
//! | file | recognized by |
//! | --- | --- |
//! | Binance `trades`, `aggTrades`, `klines` (spot and futures) | column names, or without a header the number of columns |
//! | OHLCV CSV in any column order, trades CSV with a side | column names |
//! | our own Parquet, and any with such columns | column names |
//!
//! CSV may be plain, `.gz` or `.zip`. Columns are known by the names that exchanges and tools use
//! for them (`timestamp`, `open_time`, `qty`, `amount`, `taker_buy_volume`, …), whatever their
//! case. Times are numbers of seconds, milliseconds, microseconds or nanoseconds, told apart by
//! their size, or ISO 8601 text (UTC if it names no zone). The symbol comes from a column, else
//! from a `symbol=XXX/` folder, else from the file's name (`BTCUSDT-1m-2024-01.zip`), else from
//! [`ReadOptions::default_symbol`].
//!
//! # What is written
//!
//! Parquet, one row per trade or candle, columns in this order:
//!
//! | trades | candles | type |
//! | --- | --- | --- |
//! | `symbol` | `symbol` | String |
//! | `event_time` | `open_time` | Datetime(µs, UTC) |
//! | `trade_id` | | UInt64, may be null |
//! | `price`, `quantity` | `open`, `high`, `low`, `close`, `volume` | Float64 |
//! | | `quote_volume`, `buy_volume` | Float64, may be null |
//! | | `trade_count` | UInt64, may be null |
//! | `side` | | String, `buy` or `sell` (the taker's) |
//! | `label` | `label` | String, null for normal rows; only where there are labels |
//!
//! A table of features has `symbol`, `open_time`, one Float64 column per feature and perhaps
//! `label`; [`FeatureScan`] takes any other table just as well.
//!
//! # Refusal
//!
//! What cannot be read is refused with the file, the row and the reason ([`HistoryError`]), and
//! nothing is dropped or sorted in silence.

mod bytes;
mod candles;
mod columns;
mod convert;
mod error;
mod features;
mod features_csv;
mod features_parquet;
mod fingerprint;
mod location;
mod options;
mod parquet;
mod parquet_rows;
mod records;
mod rows;
mod source;
mod storage;
mod symbol;
mod table;
mod text;
mod time;
mod trades;
mod write;

pub use bytes::{read_bytes, write_bytes};
pub use candles::{CandleRow, SymbolCandles, for_each_candle, read_candles};
pub use convert::{Converted, convert_candles, convert_trades};
pub use error::{HistoryError, Result};
pub use features::{FeatureBatch, FeatureOptions, FeatureScan, INDEX_COLUMN};
pub use fingerprint::{Fingerprint, ObjectFingerprint, fingerprint};
pub use location::{DataObject, FileFormat, Location};
pub use options::{CsvLayout, Labels, ReadOptions};
pub use storage::{S3Config, Storage};
pub use table::Table;
pub use trades::{
    SymbolTrades, TradeRow, for_each_good_trade, for_each_trade, read_trades, symbols_in_order,
};
pub use write::{
    TableWriter, Written, write_candles, write_candles_hashed, write_table, write_trades,
    write_trades_hashed,
};
