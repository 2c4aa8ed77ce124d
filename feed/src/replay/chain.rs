//! Files that follow each other, read by a thread of their own.

use std::ops::ControlFlow;
use std::sync::mpsc::SyncSender;
use std::sync::{Mutex, PoisonError};

use history::{DataObject, HistoryError, ReadOptions, for_each_good_trade};
use market::Trade;

use super::names::Names;
use super::refused::{OnError, Refused};
use crate::time::show_time;

/// Rows that are read at a time.
const BATCH: usize = 8_192;

/// Files that follow each other.
#[derive(Debug, Clone)]
pub(super) struct Chain {
    pub(super) objects: Vec<DataObject>,
    pub(super) options: ReadOptions,
}

/// A row on its way; symbol and label are places among those that its source has told of.
#[derive(Debug, Clone, Copy)]
pub(super) struct Row {
    pub(super) symbol: u32,
    pub(super) label: u32,
    pub(super) trade: Trade,
}

/// No label.
pub(super) const UNLABELLED: u32 = u32::MAX;

#[derive(Debug, Default)]
pub(super) struct Batch {
    pub(super) rows: Vec<Row>,
    pub(super) new_symbols: Vec<String>,
    pub(super) new_labels: Vec<String>,
}

/// Reads on until nobody listens or there is no more.
pub(super) fn read_chain(
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
