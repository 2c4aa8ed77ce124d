//! Files on disk, or on S3, into partitions.

use std::collections::BTreeMap;

use anyhow::{Result, bail};
use history::{DataObject, Labels, ReadOptions, fingerprint, read_candles};
use market::{DAY_US, Trade};
use terminal::exit::Environment;
use terminal::interrupt::Interrupt;
use terminal::progress::Phase;

use super::days::Outcome;
use super::manifest::{Kind, Origin};
use super::store::{Rows, Store, date_of};
use crate::replay::{OnError, Refused, Sources};

/// The rows of a symbol's present day.
#[derive(Default)]
struct Day {
    number: i64,
    trades: Vec<Trade>,
    labels: Labels,
    is_labelled: bool,
}

/// Reads files in the order of time and writes a partition for each symbol and day.
///
/// # Errors
/// What can't be read or written, and a partition that other files gave rows to.
pub fn convert(
    store: &mut Store,
    objects: &[DataObject],
    options: &ReadOptions,
    on_error: OnError,
    interrupt: &Interrupt,
    phase: &Phase,
) -> Result<(Outcome, Refused)> {
    // What is done about a row changes what a day is made of.
    let mut uri = "files".to_owned();
    if let Some(symbol) = &options.default_symbol {
        uri += &format!(", of {symbol} where they name none");
    }
    if on_error == OnError::Skip {
        uri += ", without rows that can't be read";
    }
    let origin = Origin {
        uri,
        sha256: Some(fingerprint(objects)?.hash),
    };
    let mut outcome = Outcome::default();
    let mut refused = Refused::default();
    match store.manifest().kind {
        Kind::Klines(interval) => {
            if on_error == OnError::Skip {
                bail!(Environment(
                    "--on-error skip is for trades: a candle that can't be read would be a hole"
                        .to_owned()
                ));
            }
            for symbol in read_candles(objects, interval, options)? {
                let by_day = symbol.candles.chunk_by(|a, b| {
                    a.open_time.div_euclid(DAY_US) == b.open_time.div_euclid(DAY_US)
                });
                for day in by_day {
                    if interrupt.is_asked() {
                        outcome.is_stopped = true;
                        break;
                    }
                    let date = date_of(day[0].open_time);
                    let rows = || Rows::Candles(day.to_vec());
                    put(store, &symbol.symbol, &date, rows, &origin, &mut outcome)?;
                    phase.advance(1);
                }
            }
        }
        Kind::Trades | Kind::AggTrades => {
            let sources = Sources::new(objects, options, on_error)?;
            let mut merged = sources.read()?;
            let mut days: BTreeMap<u32, Day> = BTreeMap::new();
            while let Some(next) = merged.next_trade()? {
                let number = next.trade.event_time.div_euclid(DAY_US);
                let day = days.entry(next.symbol).or_default();
                if day.number != number && !day.trades.is_empty() {
                    let full = std::mem::take(day);
                    full.put(store, merged.symbol(next.symbol), &origin, &mut outcome)?;
                    phase.advance(1);
                    if interrupt.is_asked() {
                        outcome.is_stopped = true;
                        break;
                    }
                }
                day.number = number;
                day.trades.push(next.trade);
                let label = next.label.map(|label| merged.label(label));
                day.is_labelled |= label.is_some();
                day.labels.push(label);
            }
            if !outcome.is_stopped {
                for (symbol, day) in days {
                    day.put(store, merged.symbol(symbol), &origin, &mut outcome)?;
                    phase.advance(1);
                }
            }
            refused = merged.refused();
        }
    }
    Ok((outcome, refused))
}

impl Day {
    fn put(
        self,
        store: &mut Store,
        symbol: &str,
        origin: &Origin,
        outcome: &mut Outcome,
    ) -> Result<()> {
        let date = date_of(self.number * DAY_US);
        let labels = self.is_labelled.then_some(self.labels);
        let rows = || Rows::Trades(self.trades.clone(), labels.clone());
        put(store, symbol, &date, rows, origin, outcome)
    }
}

fn put(
    store: &mut Store,
    symbol: &str,
    date: &str,
    rows: impl Fn() -> Rows,
    origin: &Origin,
    outcome: &mut Outcome,
) -> Result<()> {
    let known = store.has(symbol, date).cloned();
    let from_others = store
        .manifest()
        .get(symbol, date)
        .filter(|known| known.origin != *origin);
    if let Some(others) = from_others {
        // More files, and perhaps the same day: its bytes depend on its rows alone.
        let expected = others.sha256.clone();
        let found = store.target(symbol, date).digest(rows(), origin.clone())?;
        if found != expected {
            bail!(
                "symbol={symbol}/date={date} is there already, and comes from other files with other \
                 rows: convert all files of a day at once, or choose another --out"
            );
        }
        if known.is_some() {
            outcome.n_there += 1;
            return Ok(());
        }
    } else if known.is_some() {
        outcome.n_there += 1;
        return Ok(());
    }
    let partition = store.target(symbol, date).write(rows(), origin.clone())?;
    outcome.n_written += 1;
    outcome.n_rows += partition.rows;
    outcome.n_bytes += partition.bytes;
    store.add(partition)
}
