//! Saying what was closed: by later records, early, and where a symbol has fallen silent.

use std::sync::Arc;

use market::CandleBuilder;

use super::Partition;
use super::sink::Sink;
use super::symbol::Symbol;
use crate::settings::Source;

impl Partition {
    /// Hands on what a symbol has closed.
    pub(super) fn say(&mut self, place: usize, sink: &mut impl Sink) {
        let has_closed = |symbol: &Symbol| symbol.builders.iter().any(CandleBuilder::has_closed);
        if self.rows.is_empty() && !has_closed(&self.symbols[place]) {
            return;
        }
        let symbol = Arc::make_mut(&mut self.symbols[place]);
        let interval = self.settings.features.interval();
        let lengths = self.settings.candles.iter();
        for (builder, length) in symbol
            .builders
            .iter_mut()
            .zip(lengths.filter(|length| **length != interval))
        {
            while let Some(candle) = builder.pop_closed() {
                sink.candle(&symbol.name, *length, &candle);
            }
        }
        let is_published =
            self.settings.source == Source::Trades && self.settings.candles.contains(&interval);
        for row in self.rows.drain(..) {
            self.counts.rows += 1;
            if is_published && !row.filled {
                sink.candle(&symbol.name, interval, &row.candle);
            }
            sink.row(&symbol.name, &row, symbol.label_of(&row), false);
        }
    }

    /// Judges the candle that is still open, where that is wanted.
    pub(super) fn look_early(&mut self, place: usize, event_time: i64, sink: &mut impl Sink) {
        let Some(every) = self.settings.early else {
            return;
        };
        let symbol = Arc::make_mut(&mut self.symbols[place]);
        if event_time < symbol.early_at.saturating_add(every) {
            return;
        }
        if let Some(row) = symbol.engine.preview() {
            symbol.early_at = event_time;
            sink.row(&symbol.name, &row, symbol.label_of(&row), true);
        }
    }

    /// Closes the candles of symbols that have fallen silent, once an interval.
    pub(super) fn sweep(&mut self, time: i64, sink: &mut impl Sink) {
        if time < self.sweep_at {
            return;
        }
        let features = self.settings.features.interval().micros();
        let published = self.settings.candles.iter().map(|length| length.micros());
        let step = published.fold(features, i64::min);
        self.sweep_at = time - time.rem_euclid(step) + step;
        let idle = self.settings.idle;
        for place in 0..self.symbols.len() {
            if self.symbols[place].seen_at.saturating_add(idle) <= time {
                self.close_until(place, time - idle, sink);
            }
        }
    }

    pub(super) fn close_until(&mut self, place: usize, moment: i64, sink: &mut impl Sink) {
        let symbol = &self.symbols[place];
        let ends = symbol.builders.iter().filter_map(CandleBuilder::last_end);
        let Some(last) = ends.chain(symbol.engine.last_end()).max() else {
            return;
        };
        // The same moment for all, so that a trade is late for all candles or for none.
        let moment = moment.min(last);
        let symbol = Arc::make_mut(&mut self.symbols[place]);
        symbol.engine.close_until(moment, &mut self.rows);
        for builder in &mut symbol.builders {
            builder.close_until(moment);
        }
        self.say(place, sink);
    }
}
