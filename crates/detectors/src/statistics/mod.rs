//! Detectors that compare single features with what history says of them, in words that people read.
//!
//! Their statistics are a small JSON text, made by `to_json`, that may be edited and read again with
//! `from_json`; what makes no sense in it is refused by its key.

mod candle_z;
mod json;
mod sliding_window;

pub use candle_z::{CandleStatistics, CandleZ, CandleZConfig, FeatureStatistics};
pub use sliding_window::{SlidingWindow, SlidingWindowConfig, WindowLimits, WindowStatistics};

use crate::error::{Error, Result};

/// The columns that a detector looks at, with their names: those of `wanted` by name; without it, those
/// of `usual` that there are. Where columns have no names, all of them, called `column_0` and so on.
fn columns(
    names: Option<&[String]>,
    n_columns: usize,
    wanted: Option<&[String]>,
    usual: &[&str],
) -> Result<Vec<(usize, String)>> {
    let Some(names) = names else {
        if let Some(wanted) = wanted {
            return Err(Error::invalid(
                "features",
                wanted.join(", "),
                "columns without names can't be chosen by name",
            ));
        }
        return Ok((0..n_columns).map(|i| (i, format!("column_{i}"))).collect());
    };
    let place = |name: &str| names.iter().position(|other| other == name);
    let found: Vec<(usize, String)> = match wanted {
        Some(wanted) => wanted
            .iter()
            .map(|name| {
                place(name).map(|i| (i, name.clone())).ok_or_else(|| {
                    Error::invalid("features", name, "a feature of the data is needed")
                })
            })
            .collect::<Result<_>>()?,
        None => usual
            .iter()
            .filter_map(|name| place(name).map(|i| (i, (*name).to_owned())))
            .collect(),
    };
    if found.is_empty() {
        return Err(Error::invalid(
            "features",
            names.join(", "),
            "none of the features that this detector knows is among these; name some in `features`",
        ));
    }
    Ok(found)
}

/// Checks of the key `features`, where it is given.
fn check_features(checks: &mut crate::params::Checks, features: Option<&[String]>) {
    if let Some(features) = features {
        let mut sorted = features.to_vec();
        sorted.sort_unstable();
        sorted.dedup();
        let holds = !features.is_empty() && sorted.len() == features.len();
        let shown = format!("[{}]", features.join(", "));
        checks.that("features", shown, holds, "names, at least one, each once");
    }
}
