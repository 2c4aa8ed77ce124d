//! `kind = "features"`: any numeric table. Its features stay on disk and are read in passes;
//! only time, symbol and label are held in memory.

use std::ops::Range;

use anyhow::{Context, bail};
use detectors::evaluation::EventInfo;
use history::{DataObject, FeatureBatch, FeatureOptions, FeatureScan, INDEX_COLUMN};
use ndarray::ArrayView2;

use super::load::{no_normal_row, no_rows_between, show_time};
use super::prepare::Prepared;
use super::rows::{OnChunk, RowIndex, RowSource};
use super::split;
use crate::config::{Data, Experiment, ExperimentFile, Purge};
use crate::interrupt::Interrupt;
use crate::progress::{Progress, list, plural};

/// Opens the table and prepares its rows.
///
/// # Errors
/// What the table lacks or holds that can't be used, by file, row and column.
pub fn prepare(
    file: &ExperimentFile,
    objects: &[DataObject],
    interrupt: &Interrupt,
    progress: &Progress,
) -> anyhow::Result<Prepared> {
    let experiment = &file.experiment;
    let data = &experiment.data;
    let phase = progress.phase("read", 0);
    let n_incomplete = check_engine(experiment, objects, interrupt)?;
    let scan = open(experiment, objects)?;
    let table = TableRows { scan };
    let mut index = table.index(data, objects, interrupt)?;
    if index.is_empty() {
        if n_incomplete > 0 {
            bail!(
                "no row is ready: the windows of none of {} are full for {}",
                plural(n_incomplete, "row"),
                list(&table.scan.columns().iter().collect::<Vec<_>>())
            );
        }
        if data.from.is_none() && data.to.is_none() {
            bail!("the table has no rows");
        }
        return Err(no_rows_between(
            "rows",
            range_of(experiment, objects, interrupt)?,
        ));
    }
    let interval_us = match (&index.time, data.interval) {
        (None, _) => None,
        (Some(_), Some(interval)) => Some(interval.micros()),
        (Some(times), None) => Some(typical_step(times, &index.symbol)?),
    };
    if let (Some(interval), Some(_)) = (interval_us, &data.label) {
        index.positive = None;
        for event in &mut index.events {
            event.end += interval;
        }
    }
    let not_ready = match n_incomplete {
        0 => String::new(),
        n => format!("; left out, not ready: {}", plural(n, "row")),
    };
    phase.done(&format!(
        "{} × {} from {}{}{not_ready}",
        plural(index.len() as u64, "row"),
        plural(table.scan.n_features() as u64, "feature"),
        plural(objects.len() as u64, "file"),
        show_left_out(table.scan.left_out())
    ));
    let is_plain = experiment.features.config.is_none();
    if index.time.is_some() && is_plain && experiment.split.purge == Purge::Auto {
        progress
            .note("  no purge between the parts: set `split.purge` if features look back in time");
    }
    let times = index.time.as_deref().unwrap_or(&[]);
    let plan = split::plan(
        &experiment.split,
        times,
        &index.symbol,
        &index.symbols,
        longest_window(experiment)?,
    )?;
    index.part = match &index.time {
        Some(times) => times
            .iter()
            .zip(&index.symbol)
            .map(|(&time, &symbol)| plan.part_of(symbol, time))
            .collect(),
        None => vec![plan.part_of(0, 0); index.len()],
    };
    Ok(Prepared {
        source: Box::new(table),
        index,
        calibration: None,
        interval_us,
        candles: Vec::new(),
        counts: None,
        plan,
        n_injected: 0,
    })
}

/// Checks that the engine computed the rows as the experiment says, where it says so; how many rows are left out because
/// a feature's windows weren't full.
///
/// # Errors
/// The first row that was computed in another way, or doesn't say.
fn check_engine(
    experiment: &Experiment,
    objects: &[DataObject],
    interrupt: &Interrupt,
) -> anyhow::Result<u64> {
    let (Some(column), Some(config)) = (&experiment.data.engine, experiment.features.config) else {
        return Ok(0);
    };
    let ours = config.check()?.digest();
    // Labels are texts that are read as codes, whatever they mean.
    let all = FeatureOptions {
        label: Some(column.clone()),
        complete: false,
        ..options(experiment, Some(Vec::new()))
    };
    let mut n_rows = 0;
    FeatureScan::open(objects, &all)?.for_each_index_batch(
        |batch: FeatureBatch| -> anyhow::Result<()> {
            interrupt.check()?;
            n_rows += batch.n_rows as u64;
            let known = batch.label_names.iter().position(|name| *name == ours);
            for (row, &code) in batch.label.iter().flatten().enumerate() {
                if Some(code as usize) == known {
                    continue;
                }
                let row = batch.first_row + row as u64 + 1;
                let name = batch.label_names.get(code as usize);
                match name.map_or("", String::as_str) {
                    "" => bail!(
                        "data row {row} of {} doesn't say in `{column}` how its features were computed",
                        names_of(objects)
                    ),
                    theirs => bail!(
                        "the features of data row {row} of {} were computed in another way (`{column}` is `{theirs}`) than `data.interval` and [features] say (`{ours}`): give `interval`, `window`, `momentum`, `max_gap`, `allowed_lateness`, `macro_window` and `macro_baseline` as the scorer has them, or leave such rows out by `data.from` and `data.to`",
                        names_of(objects)
                    ),
                }
            }
            Ok(())
        },
    )?;
    let complete = options(experiment, experiment.features.columns.clone());
    let complete = FeatureScan::open(objects, &complete)?.n_rows()?;
    Ok(n_rows.saturating_sub(complete))
}

/// How long the features look back, µs; 0 where nobody says.
fn longest_window(experiment: &Experiment) -> anyhow::Result<i64> {
    let Some(config) = experiment.features.config else {
        return Ok(0);
    };
    let n_candles = config.check()?.warm_up(&experiment.features.engine);
    Ok(i64::try_from(n_candles)?.saturating_mul(config.interval.micros()))
}

/// Names that say what a column is. One that is called so would give the answer away as a feature.
pub const LABEL_NAMES: [&str; 7] = [
    "label",
    "labels",
    "is_anomaly",
    "anomaly",
    "target",
    "event",
    "y",
];

/// Opens the table; its schemas are read, its rows are not.
///
/// # Errors
/// What the schemas lack; where neither label nor features are named, a feature that is called
/// like a label.
pub fn open(experiment: &Experiment, objects: &[DataObject]) -> anyhow::Result<FeatureScan> {
    let columns = experiment.features.columns.clone();
    let is_free = columns.is_none() && experiment.data.label.is_none();
    let scan = FeatureScan::open(objects, &options(experiment, columns))?;
    let is_label = |name: &&String| {
        let mut known = LABEL_NAMES.iter();
        known.any(|label| label.eq_ignore_ascii_case(name))
    };
    if is_free && let Some(column) = scan.columns().iter().find(is_label) {
        bail!(
            "column `{column}` of {} would be a feature, but is named like a label: set `data.label` to it, or list the features in `features.use`",
            names_of(objects)
        );
    }
    Ok(scan)
}

/// `; left out, …`: the columns that aren't features and why, as long as there are.
fn show_left_out(names: &[String]) -> String {
    let (indexes, others): (Vec<&String>, Vec<&String>) =
        names.iter().partition(|name| *name == INDEX_COLUMN);
    let mut said = String::new();
    for (why, names) in [("not numeric", others), ("an index", indexes)] {
        if !names.is_empty() {
            said.push_str(&format!("; left out, {why}: {}", list(&names)));
        }
    }
    said
}

fn options(experiment: &Experiment, columns: Option<Vec<String>>) -> FeatureOptions {
    let data = &experiment.data;
    FeatureOptions {
        // What the engine leaves empty isn't ready.
        complete: data.engine.is_some(),
        columns,
        label: data.label.clone(),
        time: data.time.clone(),
        symbol: data.symbol_column.clone(),
        symbols: data.symbols.clone().unwrap_or_default(),
        from: data.from,
        to: data.to,
    }
}

/// A table on disk or S3.
struct TableRows {
    scan: FeatureScan,
}

impl TableRows {
    /// Time, symbol and label of every row. Events are runs of rows of one symbol with one label.
    fn index(
        &self,
        data: &Data,
        objects: &[DataObject],
        interrupt: &Interrupt,
    ) -> anyhow::Result<RowIndex> {
        let mut index = RowIndex {
            time: data.time.is_some().then(Vec::new),
            ..RowIndex::default()
        };
        let mut labels: Vec<u32> = Vec::new();
        let mut names = (std::sync::Arc::default(), std::sync::Arc::default());
        self.scan
            .for_each_index_batch(|batch: FeatureBatch| -> anyhow::Result<()> {
                interrupt.check()?;
                if let (Some(all), Some(times)) = (&mut index.time, batch.time) {
                    all.extend(times);
                }
                match batch.symbol {
                    Some(symbols) => index.symbol.extend(symbols),
                    None => index.symbol.resize(index.symbol.len() + batch.n_rows, 0),
                }
                labels.extend(batch.label.unwrap_or_default());
                names = (batch.symbol_names, batch.label_names);
                Ok(())
            })?;
        index.symbols = names.0.to_vec();
        if index.symbols.is_empty() {
            index.symbols.push(data.symbol.clone().unwrap_or_default());
        }
        if let Some(times) = &index.time {
            check_order(times, &index.symbol, &index.symbols)
                .with_context(|| format!("the times of {} are out of order", names_of(objects)))?;
        }
        if labels.iter().all(|&label| label != 0) && !labels.is_empty() {
            let column = data.label.as_deref().unwrap_or_default();
            bail!(
                "column `{column}` of {} {}",
                names_of(objects),
                no_normal_row(&names.1[1..])
            );
        }
        if index.time.is_some() {
            (index.event, index.events) = events_of(&index, &labels, &names.1);
        } else {
            let labelled = |row: usize| labels.get(row).is_some_and(|&label| label != 0);
            index.positive = Some((0..index.len()).map(labelled).collect());
            index.event = Vec::new();
        }
        Ok(index)
    }
}

impl RowSource for TableRows {
    fn feature_names(&self) -> &[String] {
        self.scan.columns()
    }

    fn scan(&self, rows: Range<usize>, on_chunk: &mut OnChunk<'_>) -> anyhow::Result<()> {
        let n_features = self.scan.n_features();
        let rows = rows.start as u64..rows.end as u64;
        self.scan
            .for_each_batch_of_rows(rows, |batch: FeatureBatch| {
                let view = ArrayView2::from_shape((batch.n_rows, n_features), &batch.values)?;
                on_chunk(usize::try_from(batch.first_row)?, view)
            })
    }
}

/// Times must ascend strictly within each symbol.
fn check_order(times: &[i64], symbol: &[u32], names: &[String]) -> anyhow::Result<()> {
    let mut last: Vec<Option<(i64, usize)>> = vec![None; names.len()];
    for (row, (&time, &symbol)) in times.iter().zip(symbol).enumerate() {
        if let Some((before, at)) = last[symbol as usize]
            && before >= time
        {
            let name = &names[symbol as usize];
            let whose = if name.is_empty() {
                String::new()
            } else {
                format!(" of `{name}`")
            };
            let what = if before == time {
                "has the time of"
            } else {
                "comes before"
            };
            bail!(
                "data row {}{whose} ({}) {what} data row {} ({}): times must ascend strictly; sort the table, or set `data.symbol_column`",
                row + 1,
                show_time(time),
                at + 1,
                show_time(before),
            );
        }
        last[symbol as usize] = Some((time, row));
    }
    Ok(())
}

/// The first file, and how many there are besides.
fn names_of(objects: &[DataObject]) -> String {
    match objects {
        [] => "no file".to_owned(),
        [only] => format!("`{}`", only.uri),
        [first, others @ ..] => format!("`{}` and {} files besides", first.uri, others.len()),
    }
}

/// The first and the last time of the table, whatever the time range; `None` without rows.
fn range_of(
    experiment: &Experiment,
    objects: &[DataObject],
    interrupt: &Interrupt,
) -> anyhow::Result<Option<(i64, i64)>> {
    let options = FeatureOptions {
        label: None,
        from: None,
        to: None,
        ..options(experiment, Some(Vec::new()))
    };
    let mut range: Option<(i64, i64)> = None;
    FeatureScan::open(objects, &options)?.for_each_index_batch(
        |batch: FeatureBatch| -> anyhow::Result<()> {
            interrupt.check()?;
            for time in batch.time.unwrap_or_default() {
                let (first, last) = range.unwrap_or((time, time));
                range = Some((first.min(time), last.max(time)));
            }
            Ok(())
        },
    )?;
    Ok(range)
}

/// The median step between consecutive rows of a symbol, µs.
fn typical_step(times: &[i64], symbol: &[u32]) -> anyhow::Result<i64> {
    let mut last: std::collections::BTreeMap<u32, i64> = std::collections::BTreeMap::new();
    let mut steps: Vec<i64> = Vec::with_capacity(times.len());
    for (&time, &symbol) in times.iter().zip(symbol) {
        if let Some(before) = last.insert(symbol, time) {
            steps.push(time - before);
        }
    }
    if steps.is_empty() {
        bail!("the time between rows can't be told from one row per symbol; set `data.interval`");
    }
    let middle = steps.len() / 2;
    Ok(*steps.select_nth_unstable(middle).1)
}

/// Runs of rows of one symbol with one label, in row order; ends are the last row's time.
fn events_of(index: &RowIndex, labels: &[u32], names: &[String]) -> (Vec<u32>, Vec<EventInfo>) {
    let mut event = vec![0; index.len()];
    let mut events: Vec<EventInfo> = Vec::new();
    let Some(times) = &index.time else {
        return (event, events);
    };
    // The event that each symbol is in: its number and its label.
    let mut open: Vec<Option<(usize, u32)>> = vec![None; index.symbols.len()];
    for (row, &label) in labels.iter().enumerate() {
        let symbol = index.symbol[row];
        let open = &mut open[symbol as usize];
        if label == 0 {
            *open = None;
            continue;
        }
        let number = match *open {
            Some((number, of)) if of == label => number,
            _ => {
                events.push(EventInfo {
                    kind: names[label as usize].clone(),
                    start: times[row],
                    end: times[row],
                    magnitude: None,
                    symbol,
                });
                events.len() - 1
            }
        };
        *open = Some((number, label));
        events[number].end = times[row];
        event[row] = u32::try_from(number + 1).unwrap_or(u32::MAX);
    }
    (event, events)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn events_are_runs_of_one_label_within_a_symbol() {
        let index = RowIndex {
            time: Some(vec![10, 10, 20, 20, 30, 30, 40]),
            symbol: vec![0, 1, 0, 1, 0, 1, 0],
            symbols: vec!["A".to_owned(), "B".to_owned()],
            ..RowIndex::default()
        };
        let names = ["".to_owned(), "pump".to_owned(), "crash".to_owned()];
        let (event, events) = events_of(&index, &[1, 0, 1, 2, 2, 2, 0], &names);
        assert_eq!(event, [1, 0, 1, 2, 3, 2, 0]);
        let kinds: Vec<(&str, u32, i64, i64)> = events
            .iter()
            .map(|event| (event.kind.as_str(), event.symbol, event.start, event.end))
            .collect();
        assert_eq!(
            kinds,
            [
                ("pump", 0, 10, 20),
                ("crash", 1, 20, 30),
                ("crash", 0, 30, 30)
            ]
        );
    }

    #[test]
    fn times_that_go_back_or_stand_still_are_refused_by_row() {
        let names = ["A".to_owned(), "B".to_owned()];
        check_order(&[1, 1, 2, 2], &[0, 1, 0, 1], &names).unwrap();
        let twice = check_order(&[1, 1], &[0, 0], &names)
            .unwrap_err()
            .to_string();
        assert!(twice.contains("has the time of data row 1 "), "{twice}");
        let back = check_order(&[5, 1, 4], &[0, 1, 0], &names)
            .unwrap_err()
            .to_string();
        assert!(
            back.starts_with(
                "data row 3 of `A` (1970-01-01T00:00:00.000004Z) comes before data row 1 "
            ),
            "{back}"
        );
    }

    #[test]
    fn the_typical_step_is_the_median_within_symbols() {
        assert_eq!(
            typical_step(&[0, 3, 60, 63, 120, 600], &[0, 1, 0, 1, 0, 1]).unwrap(),
            60
        );
        assert!(typical_step(&[0], &[0]).is_err());
    }
}
