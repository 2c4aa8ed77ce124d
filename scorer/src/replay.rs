//! The same pipeline over files, without Kafka: the backtest.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::sync::Arc;

use history::SymbolTrades;
use market::TradeWriter;
use streaming::pipeline::{Judged, JudgedRow};
use streaming::{Judge, Outputs, PartitionCounts, Pipeline, Record, Settings};

/// How many trades are taken before rows are judged.
const BATCH: usize = 10_000;

/// What a replay came to.
#[derive(Debug, Clone, Copy)]
pub struct Replayed {
    /// What became of the trades.
    pub counts: PartitionCounts,
    /// What became of the rows.
    pub judged: Judged,
}

/// Sends trades through a pipeline in the order of their times (equal ones in the order of symbols), as one partition.
/// `say` is handed what is said, piece by piece; `look` sees each judged row.
///
/// The trades go through the very bytes that a topic would hold. With `finish`, candles that the last trades leave open
/// are closed and judged, which a running scorer would not do yet.
///
/// # Errors
/// What `say` returns.
pub fn replay<E>(
    settings: &Arc<Settings>,
    judge: &dyn Judge,
    symbols: &[SymbolTrades],
    finish: bool,
    mut say: impl FnMut(&Outputs) -> Result<(), E>,
    mut look: impl FnMut(&JudgedRow<'_>),
) -> Result<Replayed, E> {
    let mut pipeline = Pipeline::new(Arc::clone(settings), 0);
    let mut outputs = Outputs::default();
    let mut judged = Judged::default();
    let writers: Vec<TradeWriter> = symbols
        .iter()
        .map(|symbol| TradeWriter::new(&symbol.symbol))
        .collect();
    let time_of = |symbol: usize, place: usize| {
        let trade = symbols[symbol].trades.get(place)?;
        Some(Reverse((trade.event_time, symbol, place)))
    };
    let mut next: BinaryHeap<_> = (0..symbols.len())
        .filter_map(|symbol| time_of(symbol, 0))
        .collect();
    let mut value = Vec::new();
    let mut offset = 0;
    while let Some(Reverse((_, symbol, place))) = next.pop() {
        let of = &symbols[symbol];
        let label = of.labels.as_ref().and_then(|labels| labels.get(place));
        value.clear();
        writers[symbol].write(&of.trades[place], label, &mut value);
        let record = Record {
            offset,
            key: Some(of.symbol.as_bytes()),
            value: Some(&value),
        };
        pipeline.push(&record, &mut outputs);
        offset += 1;
        next.extend(time_of(symbol, place + 1));
        if offset % BATCH as i64 == 0 || next.is_empty() {
            if next.is_empty() && finish {
                pipeline.finish(&mut outputs);
            }
            judged.add(pipeline.judge(judge, &mut outputs, &mut look));
            say(&outputs)?;
            outputs.clear();
        }
    }
    Ok(Replayed {
        counts: pipeline.partition().counts(),
        judged,
    })
}
