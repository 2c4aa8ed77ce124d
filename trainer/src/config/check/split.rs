//! `[split]`.

use super::count;
use crate::config::experiment::{Boundaries, Data, DataKind, Purge, Split, SplitMethod};
use crate::config::section::{Section, Violations, parse_duration_us};
use crate::config::tree::Value;

pub(super) fn check_split(
    mut section: Section<'_>,
    data: Option<&Data>,
    out: &mut Violations,
) -> Option<Split> {
    #[derive(Clone, Copy)]
    enum Method {
        Known(SplitMethod),
        Random,
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
        ("walk_forward", Method::Known(SplitMethod::WalkForward)),
    ];
    let method = match section.choice("method", &choices[..], out) {
        None => default,
        Some(Method::Known(method)) => method,
        Some(Method::Random) => {
            let why = "is `random`: a random split lets the model see the future of the rows it is judged on; use \"time\"";
            section.report("method", why, out);
            default
        }
    };
    if data.is_some() && method != SplitMethod::InSample && !has_time {
        section.report(
            "method",
            "needs time, but the table has no time column: set `data.time`, or use \"in_sample\"",
            out,
        );
    }
    let is_walk = method == SplitMethod::WalkForward;
    for (key, allowed) in [
        ("folds", is_walk),
        ("train_until", !is_walk),
        ("validation_until", !is_walk),
    ] {
        if section.has(key) && !allowed {
            let which = if is_walk { "doesn't go" } else { "only goes" };
            section.report(key, format!("{which} with method = \"walk_forward\""), out);
        }
    }
    let folds = section
        .integer("folds", 2..=100, out)
        .unwrap_or(if is_walk { 4 } else { 1 });
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
        Some(Value::String(text)) => match parse_duration_us(text) {
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
        folds: count(folds),
        purge,
        boundaries,
    })
}
