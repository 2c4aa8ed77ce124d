//! `[features]` and `[inject]`.

use market::{AnomalyKind, Feature, FeatureConfig};

use super::count;
use crate::config::experiment::{Data, DataKind, Features, Inject};
use crate::config::section::{Section, Violations, as_number, not_among};

const ENGINE_KEYS: [&str; 6] = [
    "window",
    "momentum",
    "max_gap",
    "allowed_lateness",
    "macro_window",
    "macro_baseline",
];
const DEFAULT_FEATURES: [&str; 6] = [
    "log_return_zscore",
    "volume_zscore",
    "price_range",
    "price_zscore",
    "volatility",
    "momentum",
];

pub(super) fn check_features(
    mut section: Section<'_>,
    data: Option<&Data>,
    out: &mut Violations,
) -> Option<Features> {
    let window = section.integer("window", 2..=100_000, out).map(count);
    let momentum = section.integer("momentum", 1..=100_000, out).map(count);
    let max_gap_us = section.duration_us("max_gap", out);
    let allowed_lateness = section.duration_us("allowed_lateness", out);
    let macro_window = section.duration_us("macro_window", out);
    let macro_baseline = section.duration_us("macro_baseline", out);
    let used = section.strings("use", out);
    let mut engine = Vec::new();
    let mut columns = None;
    let mut config = None;
    check_used(&section, used.as_deref().unwrap_or_default(), data, out);
    match data {
        Some(data) if data.kind == DataKind::Features && data.engine.is_none() => {
            columns = used;
            for key in ENGINE_KEYS {
                if section.has(key) {
                    section.report(
                        key,
                        "has no effect on kind = \"features\" without `data.engine`: the table is taken as it is",
                        out,
                    );
                }
            }
        }
        Some(data) => {
            let names = used.unwrap_or_else(|| DEFAULT_FEATURES.map(str::to_owned).to_vec());
            let known: Vec<&str> = Feature::ALL.iter().map(|feature| feature.name()).collect();
            for name in &names {
                match name.parse::<Feature>() {
                    Ok(feature) => engine.push(feature),
                    Err(_) => section.report("use", not_among(name, &known), out),
                }
            }
            if data.kind == DataKind::Features {
                columns = Some(names);
            }
            if let Some(interval) = data.interval {
                let defaults = FeatureConfig::new(interval);
                let wanted = FeatureConfig {
                    interval,
                    window: window.unwrap_or(defaults.window),
                    momentum: momentum.unwrap_or(defaults.momentum),
                    max_gap: max_gap_us
                        .map_or(defaults.max_gap, |gap| count(gap / interval.micros())),
                    allowed_lateness: allowed_lateness.unwrap_or(defaults.allowed_lateness),
                    macro_window: macro_window.unwrap_or(defaults.macro_window),
                    macro_baseline: macro_baseline.unwrap_or(defaults.macro_baseline),
                };
                match wanted.check() {
                    Ok(_) => config = Some(wanted),
                    Err(error) => {
                        for violation in error.violations {
                            let message =
                                format!("is {}; allowed: {}", violation.value, violation.allowed);
                            section.report(violation.key, message, out);
                        }
                    }
                }
            }
        }
        None => {}
    }
    section.finish(out);
    Some(Features {
        config,
        engine,
        columns,
    })
}

/// Features are named once each, and none is the table's label, time or symbol.
fn check_used(section: &Section<'_>, used: &[String], data: Option<&Data>, out: &mut Violations) {
    let others = data.into_iter().flat_map(|data| {
        [
            ("data.label", &data.label),
            ("data.time", &data.time),
            ("data.symbol_column", &data.symbol_column),
            ("data.engine", &data.engine),
        ]
    });
    for (key, column) in others {
        if let Some(column) = column
            && used.contains(column)
        {
            section.report(
                "use",
                format!("names `{column}`, which is `{key}` and can't be a feature, too"),
                out,
            );
        }
    }
    for (position, name) in used.iter().enumerate() {
        // The second one reports it, further ones don't.
        if used[..position].iter().filter(|it| *it == name).count() == 1 {
            section.report("use", format!("names `{name}` twice"), out);
        }
    }
}

pub(super) fn check_inject(
    mut section: Section<'_>,
    kind: Option<DataKind>,
    out: &mut Violations,
) -> Option<Inject> {
    if !section.is_present() {
        return None;
    }
    if kind == Some(DataKind::Features) {
        out.push(
            section.origin(),
            "inject",
            "needs kind = \"trades\" or \"candles\": anomalies go in before features are computed",
        );
    }
    let known: Vec<&str> = AnomalyKind::ALL.iter().map(|kind| kind.as_str()).collect();
    let mut kinds = Vec::new();
    for name in section
        .strings("kinds", out)
        .unwrap_or_else(|| known.iter().map(|name| (*name).to_owned()).collect())
    {
        match name.parse::<AnomalyKind>() {
            Ok(kind) => kinds.push(kind),
            Err(_) => section.report("kinds", not_among(&name, &known), out),
        }
    }
    let rate = section.number(
        "events_per_symbol_day",
        "above 0, at most 1000",
        |rate| rate > 0.0 && rate <= 1000.0,
        out,
    );
    let magnitude = match section.space(
        "magnitude",
        "two numbers above 0, the smaller first",
        as_number,
        out,
    ) {
        None => (3.0, 30.0),
        Some(bounds) => match bounds.as_slice() {
            [low, high] if *low > 0.0 && low <= high && high.is_finite() => (*low, *high),
            _ => {
                section.report(
                    "magnitude",
                    "must be two numbers above 0, the smaller first, such as [3.0, 30.0]",
                    out,
                );
                (3.0, 30.0)
            }
        },
    };
    let seed = section
        .integer("seed", 0..=i64::MAX, out)
        .map(i64::unsigned_abs);
    let into_train = section.boolean("into_train", out).unwrap_or(false);
    section.finish(out);
    Some(Inject {
        kinds,
        events_per_symbol_day: rate.unwrap_or(2.0),
        magnitude,
        seed,
        into_train,
    })
}
