//! From any readable history to our own Parquet.

use market::Interval;

use crate::candles::read_candles;
use crate::error::Result;
use crate::location::DataObject;
use crate::options::ReadOptions;
use crate::storage::Storage;
use crate::trades::read_trades;
use crate::write::{write_candles, write_trades};

/// What a conversion did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Converted {
    /// Rows written.
    pub n_rows: u64,
    /// Symbols among them.
    pub n_symbols: usize,
    /// Trades that overlapping files repeated; see [`read_trades`].
    pub n_duplicates: u64,
}

/// Reads trades as [`read_trades`] does and writes them to one Parquet file.
pub fn convert_trades(
    objects: &[DataObject],
    options: &ReadOptions,
    storage: &Storage,
    uri: &str,
) -> Result<Converted> {
    let symbols = read_trades(objects, options)?;
    Ok(Converted {
        n_rows: write_trades(storage, uri, &symbols)?,
        n_symbols: symbols.len(),
        n_duplicates: symbols.iter().map(|symbol| symbol.n_duplicates).sum(),
    })
}

/// Reads candles as [`read_candles`] does and writes them to one Parquet file.
pub fn convert_candles(
    objects: &[DataObject],
    interval: Interval,
    options: &ReadOptions,
    storage: &Storage,
    uri: &str,
) -> Result<Converted> {
    let symbols = read_candles(objects, interval, options)?;
    Ok(Converted {
        n_rows: write_candles(storage, uri, &symbols)?,
        n_symbols: symbols.len(),
        n_duplicates: 0,
    })
}
