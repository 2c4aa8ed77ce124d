//! Reads the history of an experiment, and what is known to have happened in it.

use std::ops::ControlFlow;
use std::path::Path;

use anyhow::{Context, bail};
use history::{DataObject, HistoryError, Location, ReadOptions, Storage};
use market::{
    Arrivals, CandleField, DAY_US, Event, EventId, Feature, SimulateConfig, SimulatedSymbol,
};

use super::market::{SymbolHistory, mark_events};
use crate::config::{Data, DataKind, Experiment, ExperimentFile};
use crate::interrupt::Interrupt;
use crate::progress::{list, plural};

/// A market history as it was found.
#[derive(Debug)]
pub struct Loaded {
    /// By symbol, symbols in ascending order.
    pub history: Vec<(String, SymbolHistory)>,
    /// Known events, numbered from 1.
    pub events: Vec<Event>,
    /// Trades that one file repeated from another and that were dropped.
    pub n_duplicates: u64,
    /// What a user should know of the data.
    pub notes: Vec<String>,
}

/// What is wrong with a label column that has these labels and no others.
pub(super) fn no_normal_row(labels: &[String]) -> String {
    let seen: Vec<String> = labels
        .iter()
        .take(3)
        .map(|label| match label.as_str() {
            "anomaly" => "`anomaly` (1, or true)".to_owned(),
            label => format!("`{label}`"),
        })
        .collect();
    let more = if labels.len() > seen.len() {
        ", …"
    } else {
        ""
    };
    format!(
        "labels every row an anomaly: it holds {}{more}; normal are empty, null, 0, false, `normal`, `benign`, `none` and `ok`",
        seen.join(", ")
    )
}

/// The objects that `data.source` names, sorted; relative to the experiment file.
///
/// # Errors
/// When a source names nothing, or can't be listed.
pub fn resolve(file: &ExperimentFile) -> anyhow::Result<Vec<DataObject>> {
    let base = base_folder(&file.path);
    let storage = Storage::from_env();
    let mut objects = Vec::new();
    for source in &file.experiment.data.source {
        let location = Location::parse(source, base)?;
        objects.extend(location.resolve(&storage)?);
    }
    objects.sort_by(|a, b| a.uri.cmp(&b.uri));
    objects.dedup_by(|a, b| a.uri == b.uri);
    Ok(objects)
}

/// The folder that relative sources start from.
pub fn base_folder(experiment: &Path) -> &Path {
    match experiment.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder,
        _ => Path::new("."),
    }
}

/// Reads trades or candles and labels the known events.
///
/// # Errors
/// What can't be read, by file and row; a feature that the data can't give; no rows at all.
pub fn load(
    file: &ExperimentFile,
    objects: &[DataObject],
    interrupt: &Interrupt,
) -> anyhow::Result<Loaded> {
    let data = &file.experiment.data;
    let interval = data.interval.context("data.interval is missing")?;
    let options = read_options(data);
    let objects_read = objects.to_vec();
    let explain = |error| explain(error, data, objects, interrupt);
    let mut next_id = EventId::FIRST;
    let mut events = Vec::new();
    let mut history = Vec::new();
    let mut n_duplicates = 0;
    match data.kind {
        _ if data.simulate.is_some() => history = simulate(&file.experiment)?,
        DataKind::Trades => {
            let read = move || history::read_trades(&objects_read, &options);
            for symbol in interrupt.leave_when_asked(read)?.map_err(explain)? {
                n_duplicates += symbol.n_duplicates;
                let mut trades = symbol.trades;
                let times: Vec<i64> = trades.iter().map(|trade| trade.event_time).collect();
                let ids = label_events(
                    &symbol.symbol,
                    symbol.labels.as_ref(),
                    &times,
                    1,
                    &mut next_id,
                    &mut events,
                )?;
                for (trade, id) in trades.iter_mut().zip(ids) {
                    trade.event = id;
                }
                history.push((symbol.symbol, SymbolHistory::Trades(trades)));
            }
        }
        DataKind::Candles => {
            let read = move || history::read_candles(&objects_read, interval, &options);
            for symbol in interrupt.leave_when_asked(read)?.map_err(explain)? {
                let mut candles = symbol.candles;
                check_fields(&symbol.symbol, &candles, &file.experiment.features.engine)?;
                let times: Vec<i64> = candles.iter().map(|candle| candle.open_time).collect();
                let ids = label_events(
                    &symbol.symbol,
                    symbol.labels.as_ref(),
                    &times,
                    interval.micros(),
                    &mut next_id,
                    &mut events,
                )?;
                for (candle, id) in candles.iter_mut().zip(ids) {
                    candle.event = id;
                }
                history.push((symbol.symbol, SymbolHistory::Candles(candles)));
            }
        }
        DataKind::Features => bail!("a table of features has no history"),
    }
    history.retain(|(_, history)| !history.is_empty());
    history.sort_by(|a, b| a.0.cmp(&b.0));
    if history.is_empty() {
        return Err(no_rows(data, objects, interrupt)?);
    }
    check_normal_row(&history, &events)?;
    let mut notes = Vec::new();
    if let Some(source) = &data.events {
        let known = read_events(source, base_folder(&file.path), &mut next_id)?;
        let known = take_known(source, known, &history, interval.micros(), &mut notes)?;
        mark_events(&mut history, interval.micros(), &known);
        events.extend(known);
    }
    Ok(Loaded {
        history,
        events,
        n_duplicates,
        notes,
    })
}

/// Says what in the experiment file asks for what a file doesn't hold.
fn explain(
    error: HistoryError,
    data: &Data,
    objects: &[DataObject],
    interrupt: &Interrupt,
) -> anyhow::Error {
    match &error {
        HistoryError::OtherContent { wanted, .. } => {
            let kind = format!("`data.kind` is `{wanted}`, which the data don't hold");
            anyhow::Error::from(error).context(kind)
        }
        HistoryError::MissingSymbol { .. } if data.from.is_some() || data.to.is_some() => {
            match range_of(data, objects, interrupt) {
                Ok(Some((first, last)))
                    if data.from.is_some_and(|from| last < from)
                        || data.to.is_some_and(|to| first >= to) =>
                {
                    no_rows_between(data.kind.as_str(), Some((first, last)))
                }
                _ => error.into(),
            }
        }
        _ => error.into(),
    }
}

/// Why there is nothing to work on. Fails only when interrupted.
fn no_rows(
    data: &Data,
    objects: &[DataObject],
    interrupt: &Interrupt,
) -> anyhow::Result<anyhow::Error> {
    let kind = data.kind.as_str();
    if data.simulate.is_some() || (data.from.is_none() && data.to.is_none()) {
        return Ok(anyhow::anyhow!("the data hold no {kind}"));
    }
    Ok(no_rows_between(kind, range_of(data, objects, interrupt)?))
}

/// The refusal of a time range in which the data have no `rows`; they have some in `range`.
pub(super) fn no_rows_between(rows: &str, range: Option<(i64, i64)>) -> anyhow::Error {
    let there = range.map_or(String::new(), |(first, last)| {
        format!(
            "; there are some from {} to {}",
            show_time(first),
            show_time(last)
        )
    });
    anyhow::anyhow!(
        "the data hold no {rows} in the time range that `data.from` and `data.to` set{there}"
    )
}

pub(super) fn show_time(time: i64) -> String {
    match jiff::Timestamp::from_microsecond(time) {
        Ok(time) => time.to_string(),
        Err(_) => format!("{time} µs"),
    }
}

/// The times of the first and the last row of the wanted symbols, whatever the time range; `None`
/// where there is no row, or where the files can't be read to their ends. Fails only when
/// interrupted.
fn range_of(
    data: &Data,
    objects: &[DataObject],
    interrupt: &Interrupt,
) -> anyhow::Result<Option<(i64, i64)>> {
    let options = ReadOptions {
        from: None,
        to: None,
        ..read_options(data)
    };
    let (kind, interval) = (
        data.kind,
        data.interval.context("data.interval is missing")?,
    );
    let objects = objects.to_vec();
    let read = move || {
        let mut range: Option<(i64, i64)> = None;
        let mut widen = |time: i64| {
            let (first, last) = range.unwrap_or((time, time));
            range = Some((first.min(time), last.max(time)));
            ControlFlow::Continue(())
        };
        for object in &objects {
            let done = match kind {
                DataKind::Trades => {
                    history::for_each_trade(object, &options, |row| widen(row.trade.event_time))
                }
                _ => history::for_each_candle(object, interval, &options, |row| {
                    widen(row.candle.open_time)
                }),
            };
            done.ok()?;
        }
        range
    };
    Ok(interrupt.leave_when_asked(read)?)
}

/// Refuses a history whose label column leaves no row normal.
fn check_normal_row(history: &[(String, SymbolHistory)], events: &[Event]) -> anyhow::Result<()> {
    let is_labelled = |history: &SymbolHistory| match history {
        SymbolHistory::Trades(trades) => trades.iter().all(|trade| trade.event.is_some()),
        SymbolHistory::Candles(candles) => candles.iter().all(|candle| candle.event.is_some()),
    };
    if history.iter().all(|(_, history)| is_labelled(history)) {
        let mut kinds: Vec<String> = events.iter().map(|event| event.kind.clone()).collect();
        kinds.sort();
        kinds.dedup();
        bail!("the data's label column {}", no_normal_row(&kinds));
    }
    Ok(())
}

/// The events of symbols and times that the data have; `notes` tells of the others.
fn take_known(
    source: &str,
    mut known: Vec<Event>,
    history: &[(String, SymbolHistory)],
    interval_us: i64,
    notes: &mut Vec<String>,
) -> anyhow::Result<Vec<Event>> {
    let n_all = known.len();
    let mut strangers: Vec<String> = Vec::new();
    known.retain(|event| {
        let is_there = history.iter().any(|(symbol, _)| *symbol == event.symbol);
        if !is_there {
            strangers.push(event.symbol.clone());
        }
        is_there
    });
    let n_strange = strangers.len() as u64;
    strangers.sort();
    strangers.dedup();
    if known.is_empty() && n_all > 0 {
        let symbols: Vec<&String> = history.iter().map(|(symbol, _)| symbol).collect();
        bail!(
            "none of the {} of `{source}` is of a symbol that the data have: they are of {}, the data of {}",
            plural(n_strange, "event"),
            list(&strangers),
            list(&symbols)
        );
    }
    if n_strange > 0 {
        notes.push(format!(
            "{} of {} that the data don't have {} left out: {}",
            plural(n_strange, "event"),
            plural(strangers.len() as u64, "symbol"),
            if n_strange == 1 { "is" } else { "are" },
            list(&strangers)
        ));
    }
    let n_before = known.len();
    known.retain(|event| {
        history.iter().any(|(symbol, history)| {
            let (first, last) = history.range();
            *symbol == event.symbol && event.end > first && event.start < last + interval_us
        })
    });
    let n_outside = (n_before - known.len()) as u64;
    if n_outside > 0 {
        notes.push(format!(
            "{} outside of the time range of the data {} left out",
            plural(n_outside, "event"),
            if n_outside == 1 { "is" } else { "are" },
        ));
    }
    Ok(known)
}

/// Makes up the history that `[simulate]` describes, from `data.from` (2024 when absent) on.
fn simulate(experiment: &Experiment) -> anyhow::Result<Vec<(String, SymbolHistory)>> {
    const YEAR_2024_US: i64 = 1_704_067_200_000_000;
    let data = &experiment.data;
    let simulate = data.simulate.as_ref().context("[simulate] is missing")?;
    let interval = data.interval.context("data.interval is missing")?;
    let names = data
        .symbols
        .clone()
        .unwrap_or_else(|| ["AAAUSD", "BBBUSD", "CCCUSD"].map(str::to_owned).to_vec());
    let symbol = |(name, price): (&String, f64)| {
        let symbol = SimulatedSymbol::new(name.clone(), price);
        SimulatedSymbol {
            hourly_volatility: simulate.hourly_volatility,
            ..symbol
        }
    };
    #[expect(
        clippy::cast_precision_loss,
        clippy::cast_possible_truncation,
        reason = "at most ten years in µs"
    )]
    let duration = (simulate.days * DAY_US as f64) as i64;
    let config = SimulateConfig {
        seed: simulate.seed.unwrap_or(experiment.seed),
        symbols: names
            .iter()
            .zip([100.0, 2_000.0, 40_000.0, 1.0, 10.0].into_iter().cycle())
            .map(symbol)
            .collect(),
        start: data.from.unwrap_or(YEAR_2024_US),
        duration,
        trades_per_second: simulate.trades_per_second,
        arrivals: Arrivals::default(),
        regimes: Vec::new(),
    }
    .check()?;
    let history = |name: &String| match data.kind {
        DataKind::Candles => config
            .candles(name, interval)
            .map(|candles| SymbolHistory::Candles(candles.collect())),
        _ => config
            .trades(name)
            .map(|trades| SymbolHistory::Trades(trades.collect())),
    };
    names
        .iter()
        .map(|name| {
            Ok((
                name.clone(),
                history(name).with_context(|| format!("`{name}` can't be simulated"))?,
            ))
        })
        .collect()
}

fn read_options(data: &Data) -> ReadOptions {
    ReadOptions {
        symbols: data.symbols.clone().unwrap_or_default(),
        from: data.from,
        to: data.to,
        default_symbol: data.symbol.clone(),
        ..ReadOptions::default()
    }
}

/// Runs of rows with the same label are events; a row's duration is `row_us`.
fn label_events(
    symbol: &str,
    labels: Option<&history::Labels>,
    times: &[i64],
    row_us: i64,
    next_id: &mut EventId,
    events: &mut Vec<Event>,
) -> anyhow::Result<Vec<Option<EventId>>> {
    let Some(labels) = labels else {
        return Ok(vec![None; times.len()]);
    };
    let mut ids = Vec::with_capacity(times.len());
    let mut current: Option<Event> = None;
    for (row, &time) in times.iter().enumerate() {
        let label = labels.get(row);
        if current.as_ref().map(|event| event.kind.as_str()) != label {
            events.extend(current.take());
            if let Some(kind) = label {
                current = Some(new_event(symbol, kind, time, next_id)?);
            }
        }
        if let Some(event) = &mut current {
            event.end = time + row_us;
        }
        ids.push(current.as_ref().map(|event| event.id));
    }
    events.extend(current);
    Ok(ids)
}

fn new_event(symbol: &str, kind: &str, start: i64, next_id: &mut EventId) -> anyhow::Result<Event> {
    let id = *next_id;
    *next_id = id.next().context("more events than can be numbered")?;
    Ok(Event {
        id,
        symbol: symbol.to_owned(),
        kind: kind.to_owned(),
        start,
        end: start,
        magnitude: f64::NAN,
    })
}

/// Refuses a feature whose column the candles lack, by name.
fn check_fields(
    symbol: &str,
    candles: &[market::Candle],
    features: &[Feature],
) -> anyhow::Result<()> {
    let missing = |field: CandleField| {
        candles.iter().any(|candle| match field {
            CandleField::BuyVolume => candle.buy_volume.is_none(),
            CandleField::QuoteVolume => candle.quote_volume.is_none(),
            CandleField::TradeCount => candle.trade_count.is_none(),
        })
    };
    for feature in features {
        for field in feature.needs() {
            if missing(*field) {
                bail!(
                    "feature `{}` needs the {} of every candle, which the data of `{symbol}` lack; take it out of `features.use`",
                    feature.name(),
                    field.as_str()
                );
            }
        }
    }
    Ok(())
}

/// Reads a CSV file of known events: `symbol,start,end,kind` (times as RFC 3339 or ms since the
/// epoch), further columns ignored, `magnitude` taken where it stands.
fn read_events(source: &str, base: &Path, next_id: &mut EventId) -> anyhow::Result<Vec<Event>> {
    let path = base.join(source);
    let shown = path.display();
    let text = std::fs::read_to_string(&path)
        .with_context(|| format!("can't read the events file `{shown}`"))?;
    let mut lines = text
        .lines()
        .enumerate()
        .filter(|(_, line)| !line.trim().is_empty() && !line.starts_with('#'));
    let Some((_, header)) = lines.next() else {
        bail!("`{shown}` is empty")
    };
    let names: Vec<&str> = header.split(',').map(str::trim).collect();
    let column = |name: &str| names.iter().position(|other| *other == name);
    let required = |name: &str| {
        column(name).with_context(|| {
            format!("`{shown}` has no column `{name}`; it needs symbol, start, end, kind")
        })
    };
    let (symbol, start, end, kind) = (
        required("symbol")?,
        required("start")?,
        required("end")?,
        required("kind")?,
    );
    let magnitude = column("magnitude");
    let mut events = Vec::new();
    for (index, line) in lines {
        let fields: Vec<&str> = line.split(',').map(str::trim).collect();
        let place = || format!("`{shown}`, line {}", index + 1);
        if fields.len() != names.len() {
            bail!(
                "{}: {} fields, where the header has {}",
                place(),
                fields.len(),
                names.len()
            );
        }
        let instant = |text: &str| {
            crate::config::parse_instant_us(text)
                .or_else(|| text.parse::<i64>().ok().and_then(|ms| ms.checked_mul(1000)))
                .with_context(|| format!("{}: `{text}` is no time", place()))
        };
        let mut event = new_event(
            fields[symbol],
            fields[kind],
            instant(fields[start])?,
            next_id,
        )?;
        event.end = instant(fields[end])?;
        if event.end <= event.start {
            bail!("{}: the event ends before it begins", place());
        }
        if let Some(text) = magnitude
            .map(|column| fields[column])
            .filter(|text| !text.is_empty())
        {
            event.magnitude = text
                .parse()
                .with_context(|| format!("{}: `{text}` is no number", place()))?;
        }
        events.push(event);
    }
    Ok(events)
}
