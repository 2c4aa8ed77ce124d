//! `[data]` and `[simulate]`.

use market::Interval;

use super::count;
use crate::config::experiment::{Data, DataKind, Simulate};
use crate::config::section::{Section, Violations};

pub(super) fn check_simulate(mut section: Section<'_>, out: &mut Violations) -> Option<Simulate> {
    if !section.is_present() {
        return None;
    }
    let days = section.number(
        "days",
        "above 0, at most 3660",
        |days| days > 0.0 && days <= 3660.0,
        out,
    );
    let rate = section.number(
        "trades_per_second",
        "above 0, at most 10000",
        |rate| rate > 0.0 && rate <= 1e4,
        out,
    );
    let volatility = section.number(
        "hourly_volatility",
        "above 0, at most 0.5",
        |sd| sd > 0.0 && sd <= 0.5,
        out,
    );
    let seed = section
        .integer("seed", 0..=i64::MAX, out)
        .map(i64::unsigned_abs);
    section.finish(out);
    Some(Simulate {
        days: days.unwrap_or(14.0),
        trades_per_second: rate.unwrap_or(0.5),
        hourly_volatility: volatility.unwrap_or(0.005),
        seed,
    })
}

pub(super) fn check_data(
    mut section: Section<'_>,
    simulate: Option<Simulate>,
    out: &mut Violations,
) -> Option<Data> {
    if simulate.is_none() {
        section.require("source", out);
    } else if section.has("source") {
        section.report("source", "and [simulate] exclude one another", out);
    }
    section.require("kind", out);
    let source = section
        .strings("source", out)
        .or_else(|| simulate.is_some().then(Vec::new));
    let kind = section.choice(
        "kind",
        &[
            ("trades", DataKind::Trades),
            ("candles", DataKind::Candles),
            ("features", DataKind::Features),
        ],
        out,
    );
    let interval = section.string("interval", out).and_then(|text| {
        let parsed = text.parse::<Interval>();
        if let Err(error) = &parsed {
            section.report("interval", format!("is `{text}`: {error}"), out);
        }
        parsed.ok()
    });
    let symbols = section.strings("symbols", out);
    let symbol = section.string("symbol", out);
    let from = section.instant_us("from", out);
    let to = section.instant_us("to", out);
    if let (Some(from), Some(to)) = (from, to)
        && from >= to
    {
        section.report(
            "to",
            "is not after `data.from`: the time range is empty",
            out,
        );
    }
    let label = section.string("label", out);
    let time = section.string("time", out);
    let symbol_column = section.string("symbol_column", out);
    let engine = section.string("engine", out);
    let events = section.string("events", out);
    let max_train_rows = section
        .integer("max_train_rows", 1..=100_000_000, out)
        .unwrap_or(1_000_000);
    match kind {
        Some(DataKind::Features) if simulate.is_some() => {
            section.report(
                "kind",
                "is `features`, but [simulate] makes trades or candles",
                out,
            );
        }
        Some(DataKind::Features) => {
            if section.has("events") {
                section.report(
                    "events",
                    "is for kind = \"trades\" or \"candles\"; a table has its labels in `data.label`",
                    out,
                );
            }
            if (from.is_some() || to.is_some()) && time.is_none() {
                let key = if from.is_some() { "from" } else { "to" };
                section.report(key, "needs `data.time`, the table's time column", out);
            }
            if engine.is_some() && !section.has("interval") {
                section.report(
                    "engine",
                    "needs `data.interval`, the length of the candles that the rows are of",
                    out,
                );
            }
            if symbols.is_some() && symbol_column.is_none() {
                section.report(
                    "symbols",
                    "needs `data.symbol_column`, the table's symbol column",
                    out,
                );
            }
        }
        Some(kind) => {
            if !section.has("interval") {
                out.push(
                    section.origin(),
                    section.path_of("interval"),
                    format!("is missing; kind = \"{}\" needs it", kind.as_str()),
                );
            }
            for key in ["time", "symbol_column", "label", "engine"] {
                if section.has(key) {
                    section.report(
                        key,
                        format!(
                            "is for kind = \"features\"; the columns of {} have fixed names",
                            kind.as_str()
                        ),
                        out,
                    );
                }
            }
        }
        None => {}
    }
    section.finish(out);
    Some(Data {
        source: source?,
        kind: kind?,
        interval,
        symbols,
        symbol,
        from,
        to,
        label,
        time,
        symbol_column,
        engine,
        events,
        simulate,
        max_train_rows: count(max_train_rows),
    })
}
