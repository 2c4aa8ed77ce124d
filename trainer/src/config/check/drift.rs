//! `[drift]`.

use super::count;
use crate::config::experiment::Drift;
use crate::config::section::{Section, Violations};

pub(super) fn check_drift(mut section: Section<'_>, out: &mut Violations) -> Drift {
    let run_length = section.number(
        "run_length",
        "10 to 1000000 windows",
        |windows| (10.0..=1e6).contains(&windows),
        out,
    );
    let windows = section.integers("windows", 100..=10_000_000, out);
    if let Some(windows) = &windows
        && !((1..=4).contains(&windows.len()) && windows.is_sorted_by(|a, b| a < b))
    {
        section.report(
            "windows",
            "must be one to four sizes in rows, ascending",
            out,
        );
    }
    let silence = section.duration_us("silence", out);
    if silence.is_some_and(|silence| !(0..=30 * market::DAY_US).contains(&silence)) {
        section.report("silence", "must be 0 to 30 days", out);
    }
    section.finish(out);
    let default = detectors::DriftConfig::default();
    Drift {
        run_length: run_length.unwrap_or(default.run_length),
        windows: windows.map_or(default.windows, |windows| {
            windows.into_iter().map(count).collect()
        }),
        silence,
    }
}
