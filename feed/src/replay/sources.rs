//! Many files as one history, in the order of time.
//!
//! Files of one symbol follow each other; those of different symbols are read beside each other,
//! each on a thread of its own, a few thousand rows ahead. A file that holds several symbols one
//! after the other is read once for each of them.

use std::cmp::Reverse;
use std::collections::binary_heap::PeekMut;
use std::collections::{BTreeMap, BTreeSet, BinaryHeap, HashMap};
use std::ops::ControlFlow;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};

use anyhow::{Context, Result, bail};
use history::{DataObject, HistoryError, ReadOptions, for_each_good_trade};
use market::Trade;
use terminal::progress::list;

use crate::time::show_time;

/// Rows that are read at a time.
const BATCH: usize = 8_192;
/// Batches that wait for the merge.
const AHEAD: usize = 4;
/// More than this many symbols would be more threads and open files than a machine gladly has.
const MOST_SOURCES: usize = 2_000;

/// What to do about a row that can't be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum OnError {
    /// Stop, and name it.
    Fail,
    /// Leave it out, count it, and name the first ones.
    Skip,
}

/// Rows that were left out.
#[derive(Debug, Clone, Default)]
pub struct Refused {
    /// How many.
    pub count: u64,
    /// The first ones: file, row and reason.
    pub first: Vec<String>,
}

impl Refused {
    /// How many are named.
    const NAMED: usize = 20;

    fn add(&mut self, error: &HistoryError) {
        self.count += 1;
        if self.first.len() < Self::NAMED {
            self.first.push(error.to_string());
        }
    }
}

/// Files, grouped into those that follow each other.
#[derive(Debug)]
pub struct Sources {
    chains: Vec<Chain>,
    on_error: OnError,
    refused: Arc<Mutex<Refused>>,
}

#[derive(Debug, Clone)]
struct Chain {
    objects: Vec<DataObject>,
    options: ReadOptions,
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
        let mut merged = Merged {
            sources: Vec::new(),
            order: BinaryHeap::new(),
            names: Names::default(),
            labels: Names::default(),
            refused: Arc::clone(&self.refused),
            is_started: false,
        };
        for (idx, chain) in self.chains.iter().enumerate() {
            let (sender, batches) = sync_channel(AHEAD);
            let chain = chain.clone();
            let on_error = self.on_error;
            let refused = Arc::clone(&self.refused);
            std::thread::Builder::new()
                .name(format!("read-{idx}"))
                .spawn(move || read_chain(&chain, on_error, &refused, &sender))
                .context("start a thread to read on")?;
            merged.sources.push(Source {
                batches,
                rows: Vec::new().into_iter(),
                next: None,
                symbols: Vec::new(),
                labels: Vec::new(),
            });
        }
        Ok(merged)
    }
}

/// The symbols of a file, and whether it has one after the other instead of the order of time.
fn symbols_of(
    object: &DataObject,
    options: &ReadOptions,
    on_error: OnError,
) -> Result<(Vec<String>, bool)> {
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

/// A row on its way; symbol and label are places among those that its source has told of.
#[derive(Debug, Clone, Copy)]
struct Row {
    symbol: u32,
    label: u32,
    trade: Trade,
}

/// No label.
const UNLABELLED: u32 = u32::MAX;

#[derive(Debug, Default)]
struct Batch {
    rows: Vec<Row>,
    new_symbols: Vec<String>,
    new_labels: Vec<String>,
}

fn read_chain(
    chain: &Chain,
    on_error: OnError,
    refused: &Mutex<Refused>,
    sender: &SyncSender<Result<Batch, HistoryError>>,
) {
    let mut symbols = Names::default();
    let mut labels = Names::default();
    let mut batch = Batch::default();
    let mut last = i64::MIN;
    let mut late: Option<HistoryError> = None;
    let mut is_left = false;
    for object in &chain.objects {
        // The places of the file's symbols among the chain's.
        let mut places: Vec<Option<u32>> = Vec::new();
        let read = for_each_good_trade(
            object,
            &chain.options,
            |row| {
                if row.trade.event_time < last {
                    late = Some(late_row(object, row.row, row.trade.event_time, last));
                    return ControlFlow::Break(());
                }
                last = row.trade.event_time;
                let symbol = match places.get(row.symbol_idx) {
                    Some(Some(place)) => *place,
                    _ => {
                        let place = symbols.place(row.symbol, &mut batch.new_symbols);
                        places.resize(places.len().max(row.symbol_idx + 1), None);
                        places[row.symbol_idx] = Some(place);
                        place
                    }
                };
                let label = match row.label {
                    Some(label) => labels.place(label, &mut batch.new_labels),
                    None => UNLABELLED,
                };
                batch.rows.push(Row {
                    symbol,
                    label,
                    trade: row.trade,
                });
                if batch.rows.len() == BATCH {
                    let full = std::mem::take(&mut batch);
                    batch.rows.reserve_exact(BATCH);
                    // Nobody reads any more.
                    is_left = sender.send(Ok(full)).is_err();
                    if is_left {
                        return ControlFlow::Break(());
                    }
                }
                ControlFlow::Continue(())
            },
            |error| match on_error {
                OnError::Fail => Err(error),
                OnError::Skip => {
                    let mut refused = refused.lock().unwrap_or_else(PoisonError::into_inner);
                    refused.add(&error);
                    Ok(())
                }
            },
        );
        if is_left {
            return;
        }
        if let Some(error) = late.take().or(read.err()) {
            // What was good before it goes first.
            drop(sender.send(Ok(std::mem::take(&mut batch))));
            drop(sender.send(Err(error)));
            return;
        }
    }
    drop(sender.send(Ok(batch)));
}

fn late_row(object: &DataObject, row: u64, event_time: i64, last: i64) -> HistoryError {
    HistoryError::Row {
        uri: object.uri.clone(),
        row,
        reason: format!(
            "its time {} is before {} of what was read before it; files of a symbol must follow \
             each other in time by their names",
            show_time(event_time),
            show_time(last)
        ),
    }
}

/// Names and their places.
#[derive(Debug, Default)]
struct Names {
    places: HashMap<String, u32>,
    names: Vec<Arc<str>>,
    last: u32,
}

impl Names {
    /// The place of a name; a new one is added to `new`, too.
    fn place(&mut self, name: &str, new: &mut Vec<String>) -> u32 {
        if let Some(last) = self.names.get(self.last as usize)
            && **last == *name
        {
            return self.last;
        }
        let place = match self.places.get(name) {
            Some(place) => *place,
            None => {
                let place = self.names.len() as u32;
                self.places.insert(name.to_owned(), place);
                self.names.push(name.into());
                new.push(name.to_owned());
                place
            }
        };
        self.last = place;
        place
    }
}

#[derive(Debug)]
struct Source {
    batches: Receiver<Result<Batch, HistoryError>>,
    rows: std::vec::IntoIter<Row>,
    next: Option<Row>,
    /// Its places of names to those of all.
    symbols: Vec<u32>,
    labels: Vec<u32>,
}

/// A trade of the merged history.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct MergedTrade {
    /// The place of its symbol; see [`Merged::symbol`].
    pub symbol: u32,
    /// The trade.
    pub trade: Trade,
    /// The place of its label; see [`Merged::label`].
    pub label: Option<u32>,
}

/// The trades of all files, in the order of time.
#[derive(Debug)]
pub struct Merged {
    sources: Vec<Source>,
    order: BinaryHeap<Reverse<(i64, usize)>>,
    names: Names,
    labels: Names,
    refused: Arc<Mutex<Refused>>,
    is_started: bool,
}

impl Merged {
    /// The next trade; `None` at the end.
    ///
    /// # Errors
    /// What can't be read, with its file and row.
    pub fn next_trade(&mut self) -> Result<Option<MergedTrade>> {
        if !self.is_started {
            self.is_started = true;
            for idx in 0..self.sources.len() {
                if let Some(time) = self.sources[idx].advance(&mut self.names, &mut self.labels)? {
                    self.order.push(Reverse((time, idx)));
                }
            }
        }
        let Some(mut first) = self.order.peek_mut() else {
            return Ok(None);
        };
        let idx = first.0.1;
        let source = &mut self.sources[idx];
        let Some(row) = source.next.take() else {
            return Ok(None);
        };
        let found = MergedTrade {
            symbol: source.symbols[row.symbol as usize],
            trade: row.trade,
            label: (row.label != UNLABELLED).then(|| source.labels[row.label as usize]),
        };
        match source.advance(&mut self.names, &mut self.labels)? {
            Some(time) => *first = Reverse((time, idx)),
            None => drop(PeekMut::pop(first)),
        }
        Ok(Some(found))
    }

    /// The symbol at a place.
    pub fn symbol(&self, place: u32) -> &Arc<str> {
        &self.names.names[place as usize]
    }

    /// How many symbols have been seen so far.
    pub fn n_symbols(&self) -> usize {
        self.names.names.len()
    }

    /// The label at a place.
    pub fn label(&self, place: u32) -> &str {
        &self.labels.names[place as usize]
    }

    /// What was left out so far.
    pub fn refused(&self) -> Refused {
        let refused = self.refused.lock().unwrap_or_else(PoisonError::into_inner);
        refused.clone()
    }
}

impl Source {
    /// Fetches the next row and tells its time.
    fn advance(&mut self, names: &mut Names, labels: &mut Names) -> Result<Option<i64>> {
        loop {
            if let Some(row) = self.rows.next() {
                self.next = Some(row);
                return Ok(Some(row.trade.event_time));
            }
            // Its thread has ended: so has the source.
            let Ok(batch) = self.batches.recv() else {
                return Ok(None);
            };
            let batch = batch?;
            let mut unused = Vec::new();
            for name in &batch.new_symbols {
                self.symbols.push(names.place(name, &mut unused));
            }
            for label in &batch.new_labels {
                self.labels.push(labels.place(label, &mut unused));
            }
            self.rows = batch.rows.into_iter();
        }
    }
}
