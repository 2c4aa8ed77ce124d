//! Many files as one history, in the order of time.
//!
//! Files of one symbol follow each other; those of different symbols are read beside each other,
//! each on a thread of its own, a few thousand rows ahead. A file that holds several symbols one
//! after the other is read once for each of them.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::ControlFlow;
use std::sync::mpsc::sync_channel;
use std::sync::{Arc, Mutex};

use anyhow::{Context, Result, bail};
use history::{DataObject, ReadOptions, for_each_good_trade, symbols_in_order};
use terminal::progress::list;

use super::chain::{Chain, read_chain};
use super::merged::{Merged, Source};
use super::refused::{OnError, Refused};

/// Batches that wait for the merge.
const AHEAD: usize = 4;
/// More than this many symbols would be more threads and open files than a machine gladly has.
const MOST_SOURCES: usize = 2_000;

/// Files, grouped into those that follow each other.
#[derive(Debug)]
pub struct Sources {
    chains: Vec<Chain>,
    on_error: OnError,
    refused: Arc<Mutex<Refused>>,
}

impl Sources {
    /// Groups files by symbol. Files whose names tell none are looked through once.
    ///
    /// # Errors
    /// When such a file can't be read, or none has a symbol that was asked for.
    pub fn new(objects: &[DataObject], options: &ReadOptions, on_error: OnError) -> Result<Self> {
        let mut by_symbol: BTreeMap<&str, Vec<DataObject>> = BTreeMap::new();
        let mut chains = Vec::new();
        let mut found: BTreeSet<String> = BTreeSet::new();
        let refused = Arc::<Mutex<Refused>>::default();
        for object in objects {
            if let Some(symbol) = object.symbol() {
                by_symbol.entry(symbol).or_default().push(object.clone());
                continue;
            }
            let chain = |options: ReadOptions| Chain {
                objects: vec![object.clone()],
                options,
            };
            let (symbols, is_apart) = symbols_of(object, options, on_error)?;
            found.extend(symbols.iter().cloned());
            if !is_apart {
                chains.push(chain(options.clone()));
                continue;
            }
            for symbol in symbols {
                let mut options = options.clone();
                options.symbols = vec![symbol];
                chains.push(chain(options));
            }
        }
        found.extend(by_symbol.keys().map(|symbol| (*symbol).to_owned()));
        let missing = options
            .symbols
            .iter()
            .filter(|symbol| !found.contains(*symbol));
        let missing: Vec<&String> = missing.collect();
        if !missing.is_empty() {
            bail!("no trade of {} is in these files", list(&missing));
        }
        for (_, objects) in by_symbol {
            chains.push(Chain {
                objects,
                options: options.clone(),
            });
        }
        if chains.len() > MOST_SOURCES {
            bail!(
                "there are {} symbols; at most {MOST_SOURCES} can be read at once: choose some with --symbols",
                chains.len()
            );
        }
        Ok(Self {
            chains,
            on_error,
            refused,
        })
    }

    /// Reads everything, in the order of time; what happens at once stays in the order of files.
    ///
    /// # Errors
    /// When threads can't be started.
    pub fn read(&self) -> Result<Merged> {
        let mut sources = Vec::new();
        for (idx, chain) in self.chains.iter().enumerate() {
            let (sender, batches) = sync_channel(AHEAD);
            let chain = chain.clone();
            let on_error = self.on_error;
            let refused = Arc::clone(&self.refused);
            std::thread::Builder::new()
                .name(format!("read-{idx}"))
                .spawn(move || read_chain(&chain, on_error, &refused, &sender))
                .context("start a thread to read on")?;
            sources.push(Source::new(batches));
        }
        Ok(Merged::new(sources, Arc::clone(&self.refused)))
    }
}

/// The symbols of a file, and whether it has one after the other instead of the order of time.
fn symbols_of(
    object: &DataObject,
    options: &ReadOptions,
    on_error: OnError,
) -> Result<(Vec<String>, bool)> {
    if let Some(symbols) = symbols_in_order(object, options)? {
        return Ok((symbols, false));
    }
    // Which rows count depends on everything that stands in them.
    let mut symbols: Vec<String> = Vec::new();
    let mut last = i64::MIN;
    let mut is_in_order = true;
    let mut is_known: Vec<bool> = Vec::new();
    for_each_good_trade(
        object,
        options,
        |row| {
            let idx = row.symbol_idx;
            if is_known.get(idx) != Some(&true) {
                is_known.resize(is_known.len().max(idx + 1), false);
                is_known[idx] = true;
                symbols.push(row.symbol.to_owned());
            }
            is_in_order &= row.trade.event_time >= last;
            last = row.trade.event_time;
            ControlFlow::Continue(())
        },
        |error| match on_error {
            OnError::Fail => Err(error),
            // It is counted when it is read in earnest.
            OnError::Skip => Ok(()),
        },
    )?;
    symbols.sort();
    Ok((symbols, !is_in_order))
}
