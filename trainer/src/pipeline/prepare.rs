//! From an experiment's data to rows with features, labels and parts.

use anyhow::{Context, bail};
use detectors::evaluation::EventInfo;
use history::DataObject;
use market::{
    Event, EventId, Feature, InjectConfig, InjectTarget, TimeRange, inject_candles, inject_trades,
};

use super::load::{self, Loaded};
use super::market::{Counts, MarketTable, SymbolHistory, compute};
use super::rows::{InMemory, RowIndex, RowSource};
use super::split::{self, Part, Plan};
use super::table;
use crate::config::{DataKind, Experiment, ExperimentFile};
use crate::interrupt::Interrupt;
use crate::progress::{Progress, plural};

/// Rows that are ready to be fitted on, scored and judged.
pub struct Prepared {
    /// Where the features come from.
    pub source: Box<dyn RowSource>,
    /// What else is known of the rows.
    pub index: RowIndex,
    /// Validation rows of the history before injection: what thresholds are calibrated on, so
    /// that the injected anomalies don't use up the alert budget. `None` where nothing was injected.
    pub calibration: Option<(Box<dyn RowSource>, RowIndex)>,
    /// A candle's length, µs; `None` without time.
    pub interval_us: Option<i64>,
    /// Candles of each symbol as the model sees them; empty for tables.
    pub candles: Vec<Vec<market::Candle>>,
    /// What the engine met; `None` for tables.
    pub counts: Option<Counts>,
    /// How the rows are split.
    pub plan: Plan,
    /// How many events were injected.
    pub n_injected: usize,
}

impl Prepared {
    /// Gives every row its part in `fold`, or, for `None`, in the whole.
    pub fn enter(&mut self, fold: Option<usize>) {
        let plan = &self.plan;
        let calibration = self.calibration.as_mut().map(|(_, index)| index);
        for index in [&mut self.index].into_iter().chain(calibration) {
            let Some(times) = &index.time else { continue };
            for ((part, &time), &symbol) in index.part.iter_mut().zip(times).zip(&index.symbol) {
                *part = match fold {
                    Some(fold) => plan.part_in(fold, symbol, time),
                    None => plan.part_of(symbol, time),
                };
            }
        }
    }

    /// What models are fitted on: the history before injection where there is one, unless anomalies
    /// were injected `into_train`. A walk forward trains on what an earlier fold tested.
    pub fn training(&self, into_train: bool) -> (&dyn RowSource, &RowIndex) {
        match &self.calibration {
            Some((source, index)) if !into_train => (source.as_ref(), index),
            _ => (self.source.as_ref(), &self.index),
        }
    }
}

impl std::fmt::Debug for Prepared {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Prepared")
            .field("n_rows", &self.index.len())
            .field("plan", &self.plan)
            .finish_non_exhaustive()
    }
}

/// Reads, injects, computes features and splits.
///
/// # Errors
/// What can't be read or used, with file, row and reason; an empty part.
pub fn prepare(
    file: &ExperimentFile,
    objects: &[DataObject],
    interrupt: &Interrupt,
    progress: &Progress,
) -> anyhow::Result<Prepared> {
    match file.experiment.data.kind {
        DataKind::Features => table::prepare(file, objects, interrupt, progress),
        DataKind::Trades | DataKind::Candles => {
            let phase = progress.phase("read", 0);
            let loaded = load::load(file, objects, interrupt)?;
            let n_rows: usize = loaded
                .history
                .iter()
                .map(|(_, history)| history.len())
                .sum();
            let kind = file.experiment.data.kind.as_str();
            let source = match file.experiment.data.simulate {
                Some(_) => "simulated".to_owned(),
                None => format!("from {}", plural(objects.len() as u64, "file")),
            };
            let duplicates = match loaded.n_duplicates {
                0 => String::new(),
                n => format!("; {} dropped", plural(n, "duplicate trade")),
            };
            phase.done(&format!(
                "{} of {} {source}{duplicates}",
                plural(n_rows as u64, kind.trim_end_matches('s')),
                plural(loaded.history.len() as u64, "symbol"),
            ));
            for note in &loaded.notes {
                progress.note(&format!("  {note}"));
            }
            prepare_market(&file.experiment, loaded, interrupt, progress)
        }
    }
}

fn prepare_market(
    experiment: &Experiment,
    loaded: Loaded,
    interrupt: &Interrupt,
    progress: &Progress,
) -> anyhow::Result<Prepared> {
    let config = experiment
        .features
        .config
        .context("the feature engine has no configuration")?;
    let interval_us = config.interval.micros();
    let features = &experiment.features.engine;
    let symbols: Vec<String> = loaded
        .history
        .iter()
        .map(|(symbol, _)| symbol.clone())
        .collect();

    let phase = progress.phase("features", loaded.history.len() as u64);
    let mut clean = compute(&loaded.history, &config, features, || {
        phase.advance(1);
        Ok(interrupt.check()?)
    })?;
    phase.done(&format!(
        "{} × {} from {}, {} of them not ready",
        plural(clean.time.len() as u64, "row"),
        plural(features.len() as u64, "feature"),
        plural(clean.counts.candles, "candle"),
        clean.counts.not_ready
    ));
    if clean.time.is_empty() {
        bail!(
            "no row is ready: {} can't fill the feature windows; take a longer time range or smaller windows",
            plural(clean.counts.candles, "candle")
        );
    }
    clean.counts.add_duplicates(loaded.n_duplicates);
    let valid = config.check()?;
    let longest = features
        .iter()
        .map(|feature| feature.warm_up(&valid))
        .max()
        .unwrap_or(0);
    let auto_purge_us = i64::try_from(longest)?.saturating_mul(interval_us);
    let plan = split::plan(
        &experiment.split,
        &clean.time,
        &clean.symbol,
        &symbols,
        auto_purge_us,
    )?;

    let mut events = loaded.events;
    let n_known = events.len();
    let Some(inject) = &experiment.inject else {
        let candles = clean.candles.clone();
        let counts = clean.counts;
        let (source, index) = rows_of(clean, features, &symbols, &events, &plan)?;
        return Ok(Prepared {
            source,
            index,
            calibration: None,
            interval_us: Some(interval_us),
            candles,
            counts: Some(counts),
            plan,
            n_injected: 0,
        });
    };

    let phase = progress.phase("inject", loaded.history.len() as u64);
    let inject = (
        InjectConfig {
            kinds: inject.kinds.clone(),
            events_per_symbol_day: inject.events_per_symbol_day,
            magnitude: inject.magnitude,
            ..InjectConfig::new(inject.seed.unwrap_or(experiment.seed))
        }
        .check()?,
        inject.into_train,
    );
    let mut history = loaded.history;
    let warm_from = first_times(&clean, symbols.len());
    for (index, (symbol, history)) in history.iter_mut().enumerate() {
        let first_id = events
            .iter()
            .map(|event| event.id)
            .max()
            .and_then(EventId::next)
            .unwrap_or(EventId::FIRST);
        let allowed = allowed_ranges(&plan, index, warm_from[index], inject.1);
        let target = InjectTarget {
            symbol,
            interval: config.interval,
            allowed: &allowed,
            first_id,
        };
        let injected = match history {
            SymbolHistory::Trades(trades) => inject_trades(&inject.0, &target, trades)?,
            SymbolHistory::Candles(candles) => inject_candles(&inject.0, &target, candles)?,
        };
        events.extend(injected);
        phase.advance(1);
    }
    let n_injected = events.len() - n_known;
    let mut table = compute(&history, &config, features, || Ok(interrupt.check()?))?;
    table.counts.add_duplicates(loaded.n_duplicates);
    phase.done(&format!("{n_injected} events"));
    drop(history);

    let candles = table.candles.clone();
    let counts = table.counts;
    let calibration = rows_of(clean, features, &symbols, &[], &plan)?;
    let (source, index) = rows_of(table, features, &symbols, &events, &plan)?;
    Ok(Prepared {
        source,
        index,
        calibration: Some(calibration),
        interval_us: Some(interval_us),
        candles,
        counts: Some(counts),
        plan,
        n_injected,
    })
}

/// When each symbol's first ready row is; the end of time for a symbol without one.
fn first_times(table: &MarketTable, n_symbols: usize) -> Vec<i64> {
    let mut first = vec![i64::MAX; n_symbols];
    for (&symbol, &time) in table.symbol.iter().zip(&table.time) {
        let slot = &mut first[symbol as usize];
        *slot = (*slot).min(time);
    }
    first
}

/// Events lie within one part, never in a purge or a warm-up.
fn allowed_ranges(plan: &Plan, symbol: usize, warm_from: i64, into_train: bool) -> Vec<TimeRange> {
    let Plan::Time(folds) = plan else {
        return vec![TimeRange::ALL];
    };
    let first = &folds[0][symbol];
    let train = into_train.then_some((i64::MIN, first.train_end));
    let validation = (first.validation_start, first.validation_end);
    let tests = folds
        .iter()
        .map(|bounds| (bounds[symbol].test_start, bounds[symbol].test_end));
    let mut ranges: Vec<TimeRange> = train
        .into_iter()
        .chain([validation])
        .chain(tests)
        .map(|(start, end)| TimeRange {
            start: start.max(warm_from),
            end,
        })
        .collect();
    ranges.retain(|range| range.start < range.end);
    ranges
}

fn rows_of(
    table: MarketTable,
    features: &[Feature],
    symbols: &[String],
    events: &[Event],
    plan: &Plan,
) -> anyhow::Result<(Box<dyn RowSource>, RowIndex)> {
    let numbers: std::collections::BTreeMap<u32, u32> = events
        .iter()
        .zip(1_u32..)
        .map(|(event, number)| (event.id.get(), number))
        .collect();
    let event = table
        .event
        .iter()
        .map(|id| numbers.get(id).copied().unwrap_or(0))
        .collect();
    let part: Vec<Part> = table
        .symbol
        .iter()
        .zip(&table.time)
        .map(|(&symbol, &time)| plan.part_of(symbol, time))
        .collect();
    let infos = events
        .iter()
        .map(|event| {
            let symbol = symbols.iter().position(|name| *name == event.symbol);
            symbol.map(|symbol| EventInfo {
                kind: event.kind.clone(),
                start: event.start,
                end: event.end,
                magnitude: event.magnitude.is_finite().then_some(event.magnitude),
                symbol: u32::try_from(symbol).unwrap_or(0),
            })
        })
        .collect::<Option<Vec<EventInfo>>>()
        .context("a known event names a symbol that the data don't have")?;
    let names = features
        .iter()
        .map(|feature| feature.name().to_owned())
        .collect();
    let index = RowIndex {
        time: Some(table.time),
        symbol: table.symbol,
        event,
        positive: None,
        part,
        symbols: symbols.to_vec(),
        events: infos,
    };
    Ok((
        Box::new(InMemory {
            names,
            values: table.values,
        }),
        index,
    ))
}
