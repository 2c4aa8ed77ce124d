//! What several threads have read, in the order of time.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::collections::binary_heap::PeekMut;
use std::sync::mpsc::Receiver;
use std::sync::{Arc, Mutex, PoisonError};

use anyhow::Result;
use history::HistoryError;
use market::Trade;

use super::chain::{Batch, Row, UNLABELLED};
use super::names::Names;
use super::refused::Refused;

/// What a thread has read.
#[derive(Debug)]
pub(super) struct Source {
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
    pub(super) fn new(sources: Vec<Source>, refused: Arc<Mutex<Refused>>) -> Self {
        Self {
            sources,
            order: BinaryHeap::new(),
            names: Names::default(),
            labels: Names::default(),
            refused,
            is_started: false,
        }
    }

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
        self.names.name(place)
    }

    /// How many symbols have been seen so far.
    pub fn n_symbols(&self) -> usize {
        self.names.len()
    }

    /// The label at a place.
    pub fn label(&self, place: u32) -> &str {
        self.labels.name(place)
    }

    /// What was left out so far.
    pub fn refused(&self) -> Refused {
        let refused = self.refused.lock().unwrap_or_else(PoisonError::into_inner);
        refused.clone()
    }
}

impl Source {
    pub(super) fn new(batches: Receiver<Result<Batch, HistoryError>>) -> Self {
        Self {
            batches,
            rows: Vec::new().into_iter(),
            next: None,
            symbols: Vec::new(),
            labels: Vec::new(),
        }
    }

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
