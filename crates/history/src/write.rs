//! Writing Parquet, at once and completely or not at all.

use std::fs;
use std::io::{self, BufWriter, Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use object_store::path::Path as Key;
use object_store::{ObjectStoreExt, PutPayload};
use polars::io::parquet::write::{BatchedWriter, ParquetCompression, ParquetWriter};
use polars::prelude::{DataFrame, PolarsError};
use tempfile::NamedTempFile;

use crate::candles::SymbolCandles;
use crate::error::{HistoryError, Result};
use crate::fingerprint::hash;
use crate::location::split_s3_uri;
use crate::options::Labels;
use crate::storage::{Storage, block_on};
use crate::table::Table;
use crate::trades::SymbolTrades;

/// Rows per row group, whatever the sizes that the rows arrive in: large enough to decode
/// quickly, small enough to skip by time.
const ROW_GROUP_ROWS: usize = 1 << 17;

/// S3 wants parts of 5 MiB or more, 10,000 at most: these allow 160 GB.
const PART_BYTES: usize = 16 << 20;

/// Writes a Parquet file (zstd) piece by piece.
///
/// The rows go to a temporary file; [`finish`](Self::finish) puts it in its place (locally by a
/// rename in the same folder, on S3 by an upload), so that no reader ever sees half a file.
/// Without `finish` nothing is left behind. The same rows give the same bytes, however they were
/// divided into pieces.
pub struct TableWriter {
    uri: String,
    storage: Storage,
    file: NamedTempFile,
    writer: Option<BatchedWriter<BufWriter<Watched>>>,
    failure: Failure,
    pending: Option<DataFrame>,
    n_rows: u64,
}

/// What was written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Written {
    /// Rows.
    pub n_rows: u64,
    /// The file's size.
    pub size_bytes: u64,
    /// SHA-256 (hex) of the file.
    pub sha256: String,
}

/// Why a write failed, if one did.
type Failure = Arc<Mutex<Option<io::Error>>>;

/// A file that remembers why a write failed: Polars may keep no more of it than its text.
struct Watched {
    file: fs::File,
    failure: Failure,
}

impl Watched {
    fn remember<T>(&self, outcome: io::Result<T>) -> io::Result<T> {
        if let Err(error) = &outcome {
            let copy = match error.raw_os_error() {
                Some(code) => io::Error::from_raw_os_error(code),
                None => io::Error::new(error.kind(), error.to_string()),
            };
            *self.failure.lock().unwrap_or_else(PoisonError::into_inner) = Some(copy);
        }
        outcome
    }
}

impl io::Write for Watched {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let outcome = self.file.write(bytes);
        self.remember(outcome)
    }

    fn flush(&mut self) -> io::Result<()> {
        let outcome = self.file.flush();
        self.remember(outcome)
    }
}

impl std::fmt::Debug for TableWriter {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("TableWriter")
            .field("uri", &self.uri)
            .field("n_rows", &self.n_rows)
            .finish_non_exhaustive()
    }
}

impl TableWriter {
    /// Prepares to write `uri`, a path or an `s3://` URI; missing local folders are made.
    pub fn create(storage: &Storage, uri: &str) -> Result<Self> {
        let mut builder = tempfile::Builder::new();
        builder.prefix(".").suffix(".tmp");
        #[cfg(unix)]
        {
            // As any new file: the process's mask decides, not the temporary file's privacy.
            use std::os::unix::fs::PermissionsExt;
            builder.permissions(fs::Permissions::from_mode(0o666));
        }
        let failed = |error| HistoryError::io(uri, "create", error);
        let file = if let Some((bucket, key)) = split_s3_uri(uri) {
            if bucket.is_empty() || key.is_empty() || key.ends_with('/') {
                return Err(HistoryError::InvalidLocation {
                    location: uri.to_owned(),
                    reason: "a file on s3 is `s3://BUCKET/KEY`".to_owned(),
                });
            }
            // Fail before the work, not after it, where credentials are missing.
            storage.bucket(bucket, uri)?;
            builder.tempfile().map_err(failed)?
        } else {
            let folder = folder_of(Path::new(uri));
            if Path::new(uri).is_dir() {
                return Err(failed(io::ErrorKind::IsADirectory.into()));
            }
            fs::create_dir_all(&folder).map_err(failed)?;
            builder.tempfile_in(&folder).map_err(failed)?
        };
        Ok(Self {
            uri: uri.to_owned(),
            storage: storage.clone(),
            file,
            writer: None,
            failure: Failure::default(),
            pending: None,
            n_rows: 0,
        })
    }

    /// Appends rows; every table must have the same columns.
    pub fn append(&mut self, table: Table) -> Result<()> {
        let frame = table.into_frame().map_err(|error| self.failed(error))?;
        self.n_rows += frame.height() as u64;
        if self.writer.is_none() {
            let file = self
                .file
                .reopen()
                .map_err(|error| HistoryError::io(&self.uri, "create", error))?;
            let file = Watched {
                file,
                failure: Arc::clone(&self.failure),
            };
            let writer = ParquetWriter::new(BufWriter::with_capacity(1 << 20, file))
                .with_compression(ParquetCompression::Zstd(None))
                .with_row_group_size(Some(ROW_GROUP_ROWS))
                .batched(frame.schema())
                .map_err(|error| self.failed(error))?;
            self.writer = Some(writer);
        }
        let mut pending = match self.pending.take() {
            Some(mut pending) => {
                pending
                    .vstack_mut(&frame)
                    .map_err(|error| self.failed(error))?;
                pending
            }
            None => frame,
        };
        while pending.height() >= ROW_GROUP_ROWS {
            let (group, rest) = pending.split_at(ROW_GROUP_ROWS as i64);
            self.write_group(group)?;
            pending = rest;
        }
        self.pending = Some(pending);
        Ok(())
    }

    /// Completes the file and puts it in its place; returns the number of rows.
    pub fn finish(self) -> Result<u64> {
        Ok(self.complete(false)?.n_rows)
    }

    /// As [`finish`](Self::finish), and tells what was written byte for byte.
    pub fn finish_hashed(self) -> Result<Written> {
        self.complete(true)
    }

    fn complete(mut self, is_hashed: bool) -> Result<Written> {
        match self.pending.take() {
            Some(pending) if pending.height() > 0 => self.write_group(pending)?,
            _ => {}
        }
        let Some(writer) = self.writer.take() else {
            return Err(HistoryError::InvalidContent {
                uri: self.uri,
                reason: "not even the names of its columns are known".to_owned(),
            });
        };
        writer.finish().map_err(|error| self.failed(error))?;
        drop(writer);
        let Self {
            uri,
            storage,
            mut file,
            n_rows,
            ..
        } = self;
        let (size_bytes, sha256) = if is_hashed {
            let unreadable = |error| HistoryError::io(&uri, "read the temporary copy of", error);
            file.as_file_mut().rewind().map_err(unreadable)?;
            hash(file.as_file_mut()).map_err(unreadable)?
        } else {
            (0, String::new())
        };
        if let Some((bucket, key)) = split_s3_uri(&uri) {
            upload(&storage, &uri, bucket, key, file.as_file_mut())?;
        } else {
            let failed = |error| HistoryError::io(&uri, "write", error);
            file.as_file().sync_all().map_err(failed)?;
            file.persist(&uri).map_err(|error| failed(error.error))?;
        }
        Ok(Written {
            n_rows,
            size_bytes,
            sha256,
        })
    }

    fn write_group(&mut self, mut group: DataFrame) -> Result<()> {
        group.rechunk_mut();
        let outcome = match &mut self.writer {
            Some(writer) => writer.write_batch(&group),
            None => Ok(()),
        };
        outcome.map_err(|error| self.failed(error))
    }

    /// A full disk is the disk's error, not Polars'.
    fn failed(&self, error: PolarsError) -> HistoryError {
        let failure = self
            .failure
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .take();
        if let Some(failure) = failure {
            return HistoryError::io(&self.uri, "write", failure);
        }
        match error {
            PolarsError::IO { error, .. } => {
                let error = io::Error::new(error.kind(), error.to_string());
                HistoryError::io(&self.uri, "write", error)
            }
            error => HistoryError::parquet(&self.uri, "write", error),
        }
    }
}

/// Writes one table as a Parquet file; see [`TableWriter`].
pub fn write_table(storage: &Storage, uri: &str, table: Table) -> Result<u64> {
    let mut writer = TableWriter::create(storage, uri)?;
    writer.append(table)?;
    writer.finish()
}

/// Writes trades as Parquet, symbol after symbol; returns the number of rows.
///
/// # Errors
///
/// Also trades that could not be read back: out of order, or refused by
/// [`Trade::check`](market::Trade::check).
pub fn write_trades(storage: &Storage, uri: &str, symbols: &[SymbolTrades]) -> Result<u64> {
    trades_writer(storage, uri, symbols)?.finish()
}

/// As [`write_trades`], and tells what was written byte for byte.
///
/// # Errors
///
/// As [`write_trades`].
pub fn write_trades_hashed(
    storage: &Storage,
    uri: &str,
    symbols: &[SymbolTrades],
) -> Result<Written> {
    trades_writer(storage, uri, symbols)?.finish_hashed()
}

fn trades_writer(storage: &Storage, uri: &str, symbols: &[SymbolTrades]) -> Result<TableWriter> {
    let is_labelled = symbols.iter().any(|symbol| symbol.labels.is_some());
    let mut writer = TableWriter::create(storage, uri)?;
    for SymbolTrades {
        symbol,
        trades,
        labels,
        ..
    } in symbols
    {
        let refuse = |idx: usize, reason: String| HistoryError::InvalidContent {
            uri: uri.to_owned(),
            reason: format!("trade {idx} of `{symbol}`: {reason}"),
        };
        for (idx, trade) in trades.iter().enumerate() {
            trade
                .check()
                .map_err(|error| refuse(idx, error.to_string()))?;
            if idx > 0 && trades[idx - 1].event_time > trade.event_time {
                return Err(refuse(
                    idx,
                    "its time is before the previous one's".to_owned(),
                ));
            }
        }
        let mut table = Table::new()
            .text("symbol", trades.iter().map(|_| Some(symbol.as_str())))
            .time("event_time", trades.iter().map(|t| t.event_time).collect())
            .optional_integer("trade_id", trades.iter().map(|t| t.trade_id).collect())
            .number("price", trades.iter().map(|t| t.price).collect())
            .number("quantity", trades.iter().map(|t| t.quantity).collect())
            .text("side", trades.iter().map(|t| Some(t.side.as_str())));
        if is_labelled {
            table = table.labels("label", &labels_of(uri, symbol, labels, trades.len())?);
        }
        writer.append(table)?;
    }
    Ok(writer)
}

/// Writes candles as Parquet, symbol after symbol; returns the number of rows.
///
/// # Errors
///
/// Also candles that could not be read back: out of order or repeated.
pub fn write_candles(storage: &Storage, uri: &str, symbols: &[SymbolCandles]) -> Result<u64> {
    candles_writer(storage, uri, symbols)?.finish()
}

/// As [`write_candles`], and tells what was written byte for byte.
///
/// # Errors
///
/// As [`write_candles`].
pub fn write_candles_hashed(
    storage: &Storage,
    uri: &str,
    symbols: &[SymbolCandles],
) -> Result<Written> {
    candles_writer(storage, uri, symbols)?.finish_hashed()
}

fn candles_writer(storage: &Storage, uri: &str, symbols: &[SymbolCandles]) -> Result<TableWriter> {
    let is_labelled = symbols.iter().any(|symbol| symbol.labels.is_some());
    let mut writer = TableWriter::create(storage, uri)?;
    for SymbolCandles {
        symbol,
        candles,
        labels,
    } in symbols
    {
        if let Some(idx) = candles
            .windows(2)
            .position(|pair| pair[0].open_time >= pair[1].open_time)
        {
            return Err(HistoryError::InvalidContent {
                uri: uri.to_owned(),
                reason: format!(
                    "candle {} of `{symbol}` is not after the previous one",
                    idx + 1
                ),
            });
        }
        let mut table = Table::new()
            .text("symbol", candles.iter().map(|_| Some(symbol.as_str())))
            .time("open_time", candles.iter().map(|c| c.open_time).collect())
            .number("open", candles.iter().map(|c| c.open).collect())
            .number("high", candles.iter().map(|c| c.high).collect())
            .number("low", candles.iter().map(|c| c.low).collect())
            .number("close", candles.iter().map(|c| c.close).collect())
            .number("volume", candles.iter().map(|c| c.volume).collect())
            .optional_number(
                "quote_volume",
                candles.iter().map(|c| c.quote_volume).collect(),
            )
            .optional_number("buy_volume", candles.iter().map(|c| c.buy_volume).collect())
            .optional_integer(
                "trade_count",
                candles.iter().map(|c| c.trade_count).collect(),
            );
        if is_labelled {
            table = table.labels("label", &labels_of(uri, symbol, labels, candles.len())?);
        }
        writer.append(table)?;
    }
    Ok(writer)
}

fn labels_of(uri: &str, symbol: &str, labels: &Option<Labels>, n_rows: usize) -> Result<Labels> {
    match labels {
        Some(labels) if labels.codes.len() != n_rows => Err(HistoryError::InvalidContent {
            uri: uri.to_owned(),
            reason: format!(
                "`{symbol}` has {} labels for {n_rows} rows",
                labels.codes.len()
            ),
        }),
        Some(labels) => Ok(labels.clone()),
        None => Ok(Labels {
            codes: vec![0; n_rows],
            ..Labels::default()
        }),
    }
}

pub(crate) fn folder_of(path: &Path) -> PathBuf {
    match path.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder.to_owned(),
        _ => PathBuf::from("."),
    }
}

fn upload(
    storage: &Storage,
    uri: &str,
    bucket: &str,
    key: &str,
    file: &mut fs::File,
) -> Result<()> {
    let client = storage.bucket(bucket, uri)?;
    let key = Key::from(key);
    let unreadable = |error| HistoryError::io(uri, "read the temporary copy of", error);
    let refused = |source| HistoryError::store(uri, "write", source);
    let size_bytes = file.metadata().map_err(unreadable)?.len();
    file.seek(SeekFrom::Start(0)).map_err(unreadable)?;
    if size_bytes <= PART_BYTES as u64 {
        let mut content = Vec::new();
        file.read_to_end(&mut content).map_err(unreadable)?;
        let put = async move { client.put(&key, PutPayload::from(content)).await };
        return block_on(put)?.map(drop).map_err(refused);
    }
    let start = async { client.put_multipart(&key).await };
    let mut parts = block_on(start)?.map_err(refused)?;
    let outcome = (|| {
        loop {
            let mut part = Vec::with_capacity(PART_BYTES);
            let n_read = file
                .by_ref()
                .take(PART_BYTES as u64)
                .read_to_end(&mut part)
                .map_err(unreadable)?;
            if n_read == 0 {
                break;
            }
            block_on(parts.put_part(PutPayload::from(part)))?.map_err(refused)?;
        }
        block_on(parts.complete())?.map_err(refused)
    })();
    if outcome.is_err() {
        // Best effort: what the store keeps of a failed upload is never visible as an object.
        drop(block_on(parts.abort()));
    }
    outcome.map(drop)
}
