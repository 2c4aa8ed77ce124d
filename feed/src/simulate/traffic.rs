//! The trades of all symbols in one order.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::collections::binary_heap::PeekMut;

use market::{
    AnomalyKind, InjectStream, Interval, SimulatedSymbol, SimulatedTrades, Trade,
    ValidInjectConfig, ValidSimulateConfig,
};

/// A trade of one of the symbols.
#[derive(Debug, Clone, Copy)]
pub struct SimulatedTrade {
    /// The place of its symbol among the configured ones.
    pub symbol: usize,
    /// The trade; ids count from 1 in each symbol, without a gap.
    pub trade: Trade,
    /// The kind of its event.
    pub label: Option<AnomalyKind>,
}

/// The trades of all symbols, in order of time; those of one moment in the order of symbols.
#[derive(Debug)]
pub struct Traffic {
    sources: Vec<Source>,
    /// The next trade of each symbol is in its source; here is when it happens.
    order: BinaryHeap<Reverse<(i64, usize)>>,
}

#[derive(Debug)]
struct Source {
    symbol: SimulatedSymbol,
    trades: Trades,
    next: Option<(Trade, Option<AnomalyKind>)>,
    n_trades: u64,
}

#[derive(Debug)]
enum Trades {
    Plain(Box<SimulatedTrades>),
    Injected(Box<InjectStream<SimulatedTrades>>),
}

impl Traffic {
    /// The traffic of a market; anomalies lie on candles of `interval`.
    pub fn new(
        market: &ValidSimulateConfig,
        anomalies: Option<&ValidInjectConfig>,
        interval: Interval,
    ) -> Self {
        let mut traffic = Self {
            sources: Vec::new(),
            order: BinaryHeap::new(),
        };
        for symbol in &market.config().symbols {
            let Some(trades) = market.trades(&symbol.name) else {
                continue;
            };
            let trades = match anomalies {
                None => Trades::Plain(Box::new(trades)),
                Some(config) => Trades::Injected(Box::new(InjectStream::new(
                    config,
                    &symbol.name,
                    interval,
                    symbol.median_quantity,
                    trades,
                ))),
            };
            let mut source = Source {
                symbol: symbol.clone(),
                trades,
                next: None,
                n_trades: 0,
            };
            if let Some(event_time) = source.advance() {
                traffic
                    .order
                    .push(Reverse((event_time, traffic.sources.len())));
            }
            traffic.sources.push(source);
        }
        traffic
    }
}

impl Source {
    /// Fetches the next trade and tells its time.
    fn advance(&mut self) -> Option<i64> {
        let (mut trade, label) = match &mut self.trades {
            Trades::Plain(trades) => (trades.next()?, None),
            Trades::Injected(trades) => trades.next()?,
        };
        if label.is_some() {
            self.symbol.round(&mut trade);
        }
        self.n_trades += 1;
        trade.trade_id = Some(self.n_trades);
        self.next = Some((trade, label));
        Some(trade.event_time)
    }
}

impl Iterator for Traffic {
    type Item = SimulatedTrade;

    fn next(&mut self) -> Option<SimulatedTrade> {
        let mut first = self.order.peek_mut()?;
        let symbol = first.0.1;
        let source = &mut self.sources[symbol];
        let (trade, label) = source.next.take()?;
        match source.advance() {
            Some(event_time) => *first = Reverse((event_time, symbol)),
            None => drop(PeekMut::pop(first)),
        }
        Some(SimulatedTrade {
            symbol,
            trade,
            label,
        })
    }
}
