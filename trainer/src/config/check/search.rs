//! `[search]`.

use super::count;
use crate::config::experiment::{Search, SearchMethod};
use crate::config::section::{Section, Violations};

pub(super) fn check_search(mut section: Section<'_>, out: &mut Violations) -> Search {
    let methods = [
        ("grid", SearchMethod::Grid),
        ("random", SearchMethod::Random),
        ("halving", SearchMethod::Halving),
    ];
    let method = section
        .choice("method", &methods, out)
        .unwrap_or(SearchMethod::Grid);
    let max_trials = section.integer("max_trials", 1..=100_000, out);
    let max_time = duration(&mut section, "max_time", out);
    let trial_limit = duration(&mut section, "trial_limit", out);
    let threads = section.integer("threads", 1..=4_096, out).map(count);
    let reduction = section.integer("reduction", 2..=100, out);
    if method != SearchMethod::Halving && section.has("reduction") {
        section.report(
            "reduction",
            "has no effect here; only method `halving` has it",
            out,
        );
    }
    section.finish(out);
    Search {
        method,
        max_trials: count(max_trials.unwrap_or(64)),
        max_time,
        trial_limit,
        threads,
        reduction: count(reduction.unwrap_or(3)),
    }
}

/// A duration of more than nothing.
fn duration(section: &mut Section<'_>, key: &'static str, out: &mut Violations) -> Option<i64> {
    let duration = section.duration_us(key, out)?;
    if duration <= 0 {
        section.report(key, "is no time at all; allowed: more than 0", out);
        return None;
    }
    Some(duration)
}
