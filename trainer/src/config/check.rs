//! From a TOML tree to a checked [`Experiment`]: every violation at once.

use market::{AnomalyKind, Feature, FeatureConfig, Interval};

use super::experiment::{
    Boundaries, Candidate, Data, DataKind, DetectorSpace, Evaluate, Experiment, Features, Inject,
    Purge, Register, Scope, Search, Simulate, Split, SplitMethod, ThresholdRule,
};
use super::section::{Section, Violations, not_among};
use super::tree::{Node, Value};

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

/// Checks the whole document.
pub(super) fn check(root: &Node, out: &mut Violations) -> Option<Experiment> {
    let mut document = Section::root(root);
    let mut head = document.table("experiment", out);
    let name = head.required_string("name", out);
    if let Some(name) = &name {
        check_name(&head, "name", name, out);
    }
    let seed = head.integer("seed", 0..=i64::MAX, out).unwrap_or(42);
    head.finish(out);

    let data_section = document.table("data", out);
    let simulate = check_simulate(document.table("simulate", out), out);
    let data = check_data(data_section, simulate, out);
    let kind = data.as_ref().map(|data| data.kind);
    let features = check_features(document.table("features", out), data.as_ref(), out);
    let inject = check_inject(document.table("inject", out), kind, out);
    let split = check_split(document.table("split", out), data.as_ref(), out);
    let candidates = check_candidates(&mut document, kind, data.as_ref(), out);
    let mut search_section = document.table("search", out);
    let max_trials = search_section
        .integer("max_trials", 1..=100_000, out)
        .unwrap_or(64);
    search_section.finish(out);
    let evaluate = check_evaluate(document.table("evaluate", out), data.as_ref(), out);
    let register = check_register(document.table("register", out), out);
    document.finish(out);
    if !out.is_empty() {
        return None;
    }
    Some(Experiment {
        name: name?,
        seed: seed.unsigned_abs(),
        data: data?,
        features: features?,
        inject,
        split: split?,
        candidates,
        search: Search {
            max_trials: count(max_trials),
        },
        evaluate: evaluate?,
        register,
    })
}

fn check_name(section: &Section<'_>, key: &str, name: &str, out: &mut Violations) {
    if name.len() > 250 || name.contains(['/', ':', '\n']) {
        section.report(
            key,
            format!("is `{name}`; a name has at most 250 bytes and none of `/`, `:`"),
            out,
        );
    }
}

fn check_simulate(mut section: Section<'_>, out: &mut Violations) -> Option<Simulate> {
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

fn check_data(
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
            if section.has("events") && !(section.has("time") && section.has("symbol_column")) {
                section.report(
                    "events",
                    "needs `data.time` and `data.symbol_column` to find its rows",
                    out,
                );
            }
            if (from.is_some() || to.is_some()) && time.is_none() {
                let key = if from.is_some() { "from" } else { "to" };
                section.report(key, "needs `data.time`, the table's time column", out);
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
            for key in ["time", "symbol_column", "label"] {
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
        events,
        simulate,
        max_train_rows: count(max_train_rows),
    })
}

fn check_features(
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
    match data.map(|data| (data.kind, data.interval)) {
        Some((DataKind::Features, _)) => {
            columns = used;
            for key in ENGINE_KEYS {
                if section.has(key) {
                    section.report(
                        key,
                        "has no effect on kind = \"features\": the table is taken as it is",
                        out,
                    );
                }
            }
        }
        Some((_, interval)) => {
            let names = used.unwrap_or_else(|| DEFAULT_FEATURES.map(str::to_owned).to_vec());
            let known: Vec<&str> = Feature::ALL.iter().map(|feature| feature.name()).collect();
            for name in names {
                match name.parse::<Feature>() {
                    Ok(feature) => engine.push(feature),
                    Err(_) => section.report("use", not_among(&name, &known), out),
                }
            }
            if let Some(interval) = interval {
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

fn check_inject(
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
        super::section::as_number,
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

fn check_split(
    mut section: Section<'_>,
    data: Option<&Data>,
    out: &mut Violations,
) -> Option<Split> {
    #[derive(Clone, Copy)]
    enum Method {
        Known(SplitMethod),
        Random,
        WalkForward,
    }
    let has_time = data.is_some_and(|data| data.kind != DataKind::Features || data.time.is_some());
    let default = if has_time {
        SplitMethod::Time
    } else {
        SplitMethod::InSample
    };
    let choices = [
        ("time", Method::Known(SplitMethod::Time)),
        ("in_sample", Method::Known(SplitMethod::InSample)),
        ("random", Method::Random),
        ("walk_forward", Method::WalkForward),
    ];
    let method = match section.choice("method", &choices[..], out) {
        None => default,
        Some(Method::Known(method)) => method,
        Some(Method::Random) => {
            let why = "is `random`: a random split lets the model see the future of the rows it is judged on; use \"time\"";
            section.report("method", why, out);
            default
        }
        Some(Method::WalkForward) => {
            section.report(
                "method",
                "is `walk_forward`, which this version doesn't offer; use \"time\"",
                out,
            );
            default
        }
    };
    if data.is_some() && method == SplitMethod::Time && !has_time {
        section.report(
            "method",
            "is `time`, but the table has no time column: set `data.time`, or use \"in_sample\"",
            out,
        );
    }
    if method == SplitMethod::InSample && has_time && section.has("method") {
        section.report(
            "method",
            "is `in_sample`, which is for tables without time; use \"time\"",
            out,
        );
    }
    let fraction = |share: f64| share > 0.0 && share < 1.0;
    let train = section
        .number("train", "between 0 and 1", fraction, out)
        .unwrap_or(0.6);
    let validation = section
        .number("validation", "between 0 and 1", fraction, out)
        .unwrap_or(0.2);
    if train + validation >= 1.0 - 1e-9 {
        section.report(
            "train",
            format!(
                "and `split.validation` add up to {}; nothing is left to test",
                train + validation
            ),
            out,
        );
    }
    let train_until = section.instant_us("train_until", out);
    let validation_until = section.instant_us("validation_until", out);
    if let (Some(first), Some(second)) = (train_until, validation_until)
        && first >= second
    {
        section.report("validation_until", "is not after `split.train_until`", out);
    }
    if let Some(data) = data {
        for (key, instant) in [
            ("train_until", train_until),
            ("validation_until", validation_until),
        ] {
            let Some(instant) = instant else { continue };
            if data.from.is_some_and(|from| instant <= from)
                || data.to.is_some_and(|to| instant >= to)
            {
                section.report(key, "lies outside of `data.from` .. `data.to`", out);
            }
        }
    }
    let purge = match section.take("purge").map(|node| &node.value) {
        None => Purge::Auto,
        Some(Value::String(text)) if text == "auto" => Purge::Auto,
        Some(Value::String(text)) => match super::section::parse_duration_us(text) {
            Some(duration) => Purge::Duration(duration),
            None => {
                section.report(
                    "purge",
                    format!("is `{text}`; write \"auto\" or a duration such as \"1h\""),
                    out,
                );
                Purge::Auto
            }
        },
        Some(other) => {
            section.report(
                "purge",
                format!(
                    "is {}; write \"auto\" or a duration such as \"1h\"",
                    other.type_name()
                ),
                out,
            );
            Purge::Auto
        }
    };
    let boundaries = section
        .choice(
            "boundaries",
            &[
                ("common", Boundaries::Common),
                ("per_symbol", Boundaries::PerSymbol),
            ],
            out,
        )
        .unwrap_or(Boundaries::Common);
    section.finish(out);
    Some(Split {
        method,
        train,
        validation,
        train_until,
        validation_until,
        purge,
        boundaries,
    })
}

fn check_candidates(
    document: &mut Section<'_>,
    kind: Option<DataKind>,
    data: Option<&Data>,
    out: &mut Violations,
) -> Vec<Candidate> {
    let sections = document.tables("candidates", out);
    if sections.is_empty() && !document.has("candidates") {
        out.push(
            None,
            "candidates",
            "is missing; add a [[candidates]] table with a `detector`",
        );
    }
    let mut candidates: Vec<Candidate> = Vec::new();
    for mut section in sections {
        section.require("detector", out);
        let choices = [("isolation_forest", true), ("max_z", false)];
        let is_forest = section.choice("detector", &choices, out);
        let default_name = match is_forest {
            Some(false) => "max_z",
            _ => "isolation_forest",
        };
        let name = section
            .string("name", out)
            .unwrap_or_else(|| default_name.to_owned());
        check_name(&section, "name", &name, out);
        if candidates.iter().any(|other| other.name == name) {
            section.report(
                "name",
                format!("is `{name}`, the name of another candidate"),
                out,
            );
        }
        let scope = section
            .choice(
                "scope",
                &[("global", Scope::Global), ("per_symbol", Scope::PerSymbol)],
                out,
            )
            .unwrap_or(Scope::Global);
        let without_symbols = kind == Some(DataKind::Features)
            && data.is_some_and(|data| data.symbol_column.is_none());
        if scope == Scope::PerSymbol && without_symbols {
            section.report(
                "scope",
                "is `per_symbol`, but the table has no `data.symbol_column`",
                out,
            );
        }
        let detector = match is_forest {
            Some(true) => DetectorSpace::IsolationForest {
                n_trees: count_space(&mut section, "n_trees", 1, 100_000, 100, out),
                sample_size: count_space(&mut section, "sample_size", 2, 16_777_216, 256, out),
                max_depth: optional_count_space(&mut section, "max_depth", 1, 64, out),
                max_features: optional_count_space(&mut section, "max_features", 1, 100_000, out),
            },
            Some(false) => DetectorSpace::MaxZ,
            None => continue,
        };
        section.finish(out);
        candidates.push(Candidate {
            name,
            scope,
            detector,
        });
    }
    candidates
}

fn count_space(
    section: &mut Section<'_>,
    key: &'static str,
    low: usize,
    high: usize,
    default: usize,
    out: &mut Violations,
) -> Vec<usize> {
    let expected = format!("an integer from {low} to {high}");
    let values = section.space(key, &expected, |value| as_count(value, low, high), out);
    values
        .filter(|values| !values.is_empty())
        .unwrap_or_else(|| vec![default])
}

fn optional_count_space(
    section: &mut Section<'_>,
    key: &'static str,
    low: usize,
    high: usize,
    out: &mut Violations,
) -> Vec<Option<usize>> {
    let expected = format!("an integer from {low} to {high}");
    let values = section.space(
        key,
        &expected,
        |value| as_count(value, low, high).map(Some),
        out,
    );
    values
        .filter(|values| !values.is_empty())
        .unwrap_or_else(|| vec![None])
}

fn as_count(value: &Value, low: usize, high: usize) -> Option<usize> {
    match value {
        Value::Integer(integer) => usize::try_from(*integer)
            .ok()
            .filter(|count| (low..=high).contains(count)),
        _ => None,
    }
}

fn check_evaluate(
    mut section: Section<'_>,
    data: Option<&Data>,
    out: &mut Violations,
) -> Option<Evaluate> {
    let budget = section.number(
        "alerts_per_symbol_day",
        "above 0",
        |budget| budget > 0.0,
        out,
    );
    let quantile = section.number(
        "threshold_quantile",
        "between 0 and 1",
        |q| q > 0.0 && q < 1.0,
        out,
    );
    if section.has("alerts_per_symbol_day") && section.has("threshold_quantile") {
        section.report(
            "threshold_quantile",
            "and `evaluate.alerts_per_symbol_day` exclude one another",
            out,
        );
    }
    let has_time = data.is_some_and(|data| data.kind != DataKind::Features || data.time.is_some());
    if data.is_some() && budget.is_some() && !has_time {
        section.report(
            "alerts_per_symbol_day",
            "needs time; a table without it takes `threshold_quantile`",
            out,
        );
    }
    let threshold = match (budget, quantile) {
        (Some(budget), _) => ThresholdRule::AlertsPerSymbolDay(budget),
        (None, Some(quantile)) => ThresholdRule::Quantile(quantile),
        (None, None) if has_time => ThresholdRule::AlertsPerSymbolDay(1.0),
        (None, None) => ThresholdRule::Quantile(0.95),
    };
    let resamples = section
        .integer("resamples", 0..=100_000, out)
        .unwrap_or(200);
    let confidence = section
        .number("confidence", "between 0 and 1", |c| c > 0.0 && c < 1.0, out)
        .unwrap_or(0.95);
    let block = section.integer("block", 1..=i64::MAX, out).map(count);
    let episode_gap = section
        .integer("episode_gap", 0..=1_000_000, out)
        .unwrap_or(5);
    let importance_rows = section
        .integer("importance_rows", 0..=10_000_000, out)
        .unwrap_or(20_000);
    section.finish(out);
    Some(Evaluate {
        threshold,
        resamples: count(resamples),
        confidence,
        block,
        episode_gap: count(episode_gap),
        importance_rows: count(importance_rows),
    })
}

fn check_register(mut section: Section<'_>, out: &mut Violations) -> Option<Register> {
    if !section.is_present() {
        return None;
    }
    let model = section.required_string("model", out);
    if let Some(model) = &model {
        check_name(&section, "model", model, out);
    }
    let alias = section.string("alias", out);
    if let Some(alias) = &alias {
        let is_version = alias
            .strip_prefix('v')
            .is_some_and(|rest| !rest.is_empty() && rest.bytes().all(|b| b.is_ascii_digit()));
        let allowed = alias
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || byte == b'_' || byte == b'-');
        if !allowed || is_version || alias == "latest" {
            section.report("alias", format!("is `{alias}`; an alias has letters, digits, `_` and `-`, and is neither `latest` nor a version such as `v1`"), out);
        }
    }
    section.finish(out);
    Some(Register {
        model: model?,
        alias,
    })
}

fn count(integer: i64) -> usize {
    usize::try_from(integer).unwrap_or(0)
}
