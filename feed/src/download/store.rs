//! The folder that a history is written to, and its manifest.

use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use history::{
    Labels, Location, Storage, SymbolCandles, SymbolTrades, Written, read_bytes, write_bytes,
    write_candles_hashed, write_trades_hashed,
};
use market::{Candle, Trade};

use super::manifest::{Kind, Manifest, Origin, Partition};
use crate::time::show_time;

const MANIFEST: &str = "_manifest.json";
/// A manifest is written no more often, but at the end.
const BETWEEN: Duration = Duration::from_secs(2);

/// A folder or a prefix on S3.
#[derive(Debug)]
pub struct Store {
    storage: Storage,
    base: String,
    manifest: Manifest,
    saved: Instant,
    is_changed: bool,
}

/// The rows of one partition.
#[derive(Debug)]
pub(super) enum Rows {
    Trades(Vec<Trade>, Option<Labels>),
    Candles(Vec<Candle>),
}

/// A partition to be written, by any thread.
#[derive(Debug, Clone)]
pub(super) struct Target {
    storage: Storage,
    uri: String,
    symbol: String,
    date: String,
    file: String,
}

impl Store {
    /// Opens the history at `out` (a path or `s3://…`), and makes sure that it can be written.
    ///
    /// # Errors
    /// When it can't, or holds something else.
    pub fn open(storage: &Storage, out: &str, kind: Kind) -> Result<Self> {
        let base = out.trim_end_matches('/').to_owned();
        Location::parse(&base, Path::new("."))?.check_bucket(storage)?;
        let uri = format!("{base}/{MANIFEST}");
        let manifest = match read_bytes(storage, &uri)? {
            None => Manifest::new(kind),
            Some(bytes) => Manifest::from_bytes(&bytes)
                .with_context(|| format!("`{uri}` is no manifest of a history"))?,
        };
        if manifest.kind != kind {
            bail!(
                "`{base}` holds {}, not {kind}: choose another --out",
                manifest.kind
            );
        }
        let mut store = Self {
            storage: storage.clone(),
            base,
            manifest,
            saved: Instant::now(),
            is_changed: true,
        };
        // What can't be written is said before anything is fetched.
        store.save()?;
        Ok(store)
    }

    /// What there is.
    pub fn manifest(&self) -> &Manifest {
        &self.manifest
    }

    /// Whether the partition is in the manifest and its file is there, as large as it was written.
    pub(super) fn has(&self, symbol: &str, date: &str) -> Option<&Partition> {
        let partition = self.manifest.get(symbol, date)?;
        let uri = format!("{}/{}", self.base, partition.file);
        let location = Location::parse(&uri, Path::new(".")).ok()?;
        let objects = location.resolve(&self.storage).ok()?;
        let is_whole = matches!(&objects[..], [object] if object.size_bytes == partition.bytes);
        is_whole.then_some(partition)
    }

    pub(super) fn target(&self, symbol: &str, date: &str) -> Target {
        let file = format!(
            "symbol={symbol}/date={date}/{}",
            self.manifest.kind.file_name()
        );
        Target {
            storage: self.storage.clone(),
            uri: format!("{}/{file}", self.base),
            symbol: symbol.to_owned(),
            date: date.to_owned(),
            file,
        }
    }

    /// Adds a partition that was written.
    pub(super) fn add(&mut self, partition: Partition) -> Result<()> {
        self.manifest.insert(partition);
        self.is_changed = true;
        if self.saved.elapsed() >= BETWEEN {
            self.save()?;
        }
        Ok(())
    }

    /// Writes the manifest, if it has changed.
    ///
    /// # Errors
    /// When it can't be written.
    pub fn save(&mut self) -> Result<()> {
        if self.is_changed {
            let uri = format!("{}/{MANIFEST}", self.base);
            write_bytes(&self.storage, &uri, &self.manifest.to_bytes()?)?;
            self.is_changed = false;
            self.saved = Instant::now();
        }
        Ok(())
    }
}

impl Target {
    /// The SHA-256 (hex) that the partition's file would have.
    pub(super) fn digest(mut self, rows: Rows, origin: Origin) -> Result<String> {
        let folder = tempfile::tempdir().context("make a folder to compare in")?;
        self.uri = folder.path().join("part.parquet").display().to_string();
        Ok(self.write(rows, origin)?.sha256)
    }

    /// Writes the partition's file.
    pub(super) fn write(self, rows: Rows, origin: Origin) -> Result<Partition> {
        let Written {
            n_rows,
            size_bytes,
            sha256,
        } = match rows {
            Rows::Trades(trades, labels) => {
                let symbols = [SymbolTrades {
                    symbol: self.symbol.clone(),
                    trades,
                    labels,
                    n_duplicates: 0,
                }];
                write_trades_hashed(&self.storage, &self.uri, &symbols)?
            }
            Rows::Candles(candles) => {
                let symbols = [SymbolCandles {
                    symbol: self.symbol.clone(),
                    candles,
                    labels: None,
                }];
                write_candles_hashed(&self.storage, &self.uri, &symbols)?
            }
        };
        Ok(Partition {
            symbol: self.symbol,
            date: self.date,
            file: self.file,
            rows: n_rows,
            bytes: size_bytes,
            sha256,
            origin,
        })
    }
}

/// The day of a time: `2024-01-05`.
pub(super) fn date_of(micros: i64) -> String {
    let text = show_time(micros);
    text.split_once('T')
        .map_or(text.clone(), |(date, _)| date.to_owned())
}
