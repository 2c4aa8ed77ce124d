//! Which rows train, validate and test: in event time, with a purge between.

use std::fmt;

use crate::config::{Boundaries, Purge, Split, SplitMethod};

/// The part that a row belongs to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum Part {
    /// Fitted on.
    Train,
    /// Between two parts; belongs to none.
    Purged,
    /// Chooses the candidate and sets the threshold.
    Validation,
    /// Judges, once.
    Test,
    /// Tables without time: fitted on, scored and judged.
    InSample,
}

impl Part {
    /// Its name in a scores file.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Train => "train",
            Self::Purged => "purged",
            Self::Validation => "validation",
            Self::Test => "test",
            Self::InSample => "in_sample",
        }
    }
}

impl fmt::Display for Part {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Where one symbol's parts begin and end, µs since the epoch; ends are exclusive.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Bounds {
    /// End of training.
    pub train_end: i64,
    /// Begin of validation: `train_end` and the purge.
    pub validation_start: i64,
    /// End of validation.
    pub validation_end: i64,
    /// Begin of the test: `validation_end` and the purge.
    pub test_start: i64,
}

impl Bounds {
    /// The part of a row at `time`.
    pub fn part_of(&self, time: i64) -> Part {
        if time < self.train_end {
            Part::Train
        } else if time < self.validation_start {
            Part::Purged
        } else if time < self.validation_end {
            Part::Validation
        } else if time < self.test_start {
            Part::Purged
        } else {
            Part::Test
        }
    }
}

/// How the rows are split.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Plan {
    /// Fit and score the same rows.
    InSample,
    /// In time; one entry per symbol.
    Time(Vec<Bounds>),
}

impl Plan {
    /// The part of a row.
    pub fn part_of(&self, symbol: u32, time: i64) -> Part {
        match self {
            Self::InSample => Part::InSample,
            Self::Time(bounds) => bounds[symbol as usize].part_of(time),
        }
    }
}

/// Why rows couldn't be split.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum SplitError {
    /// A part has no rows.
    #[error(
        "the {part} part is empty: {n_rows} rows can be scored in all{whose}; take a longer time range or other shares in [split]"
    )]
    Empty {
        /// Which.
        part: Part,
        /// How many rows there are.
        n_rows: usize,
        /// Of which symbol, as a message says it.
        whose: String,
    },
}

/// Plans the split of rows with `time` (µs) and `symbol` (index below `n_symbols`; empty: all 0).
/// `auto_purge_us` is the longest feature window.
///
/// # Errors
/// [`SplitError::Empty`] when a part would have no rows; with boundaries per
/// symbol, when one of any symbol would.
pub fn plan(
    split: &Split,
    time: &[i64],
    symbol: &[u32],
    symbols: &[String],
    auto_purge_us: i64,
) -> Result<Plan, SplitError> {
    if split.method == SplitMethod::InSample {
        return Ok(Plan::InSample);
    }
    let purge_us = match split.purge {
        Purge::Auto => auto_purge_us,
        Purge::Duration(duration) => duration,
    };
    let bounds = match split.boundaries {
        Boundaries::Common => {
            let bounds = bounds_of(split, time.to_vec(), purge_us)
                .ok_or_else(|| empty(Part::Train, time.len(), None))?;
            check_parts(&bounds, time.iter().copied(), time.len(), None)?;
            vec![bounds; symbols.len().max(1)]
        }
        Boundaries::PerSymbol => {
            let mut times: Vec<Vec<i64>> = vec![Vec::new(); symbols.len().max(1)];
            for (row, &time) in time.iter().enumerate() {
                times[symbol.get(row).map_or(0, |&symbol| symbol as usize)].push(time);
            }
            let mut all = Vec::with_capacity(times.len());
            for (index, times) in times.into_iter().enumerate() {
                let name = symbols.get(index).map(String::as_str);
                let n_rows = times.len();
                let bounds = bounds_of(split, times.clone(), purge_us)
                    .ok_or_else(|| empty(Part::Train, n_rows, name))?;
                check_parts(&bounds, times.into_iter(), n_rows, name)?;
                all.push(bounds);
            }
            all
        }
    };
    Ok(Plan::Time(bounds))
}

/// The instants at which the shares of the rows are reached; `None` without rows.
fn bounds_of(split: &Split, mut times: Vec<i64>, purge_us: i64) -> Option<Bounds> {
    let n_rows = times.len();
    if n_rows == 0 {
        return None;
    }
    let mut at_share = |share: f64| {
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            clippy::cast_precision_loss,
            reason = "a share of a row count"
        )]
        let index = ((share * n_rows as f64).round() as usize).min(n_rows - 1);
        *times.select_nth_unstable(index).1
    };
    let train_end = split.train_until.unwrap_or_else(|| at_share(split.train));
    let validation_end = split
        .validation_until
        .unwrap_or_else(|| at_share(split.train + split.validation));
    Some(Bounds {
        train_end,
        validation_start: train_end.saturating_add(purge_us),
        validation_end,
        test_start: validation_end.saturating_add(purge_us),
    })
}

fn check_parts(
    bounds: &Bounds,
    times: impl Iterator<Item = i64>,
    n_rows: usize,
    symbol: Option<&str>,
) -> Result<(), SplitError> {
    let mut counts = [0_usize; 5];
    for time in times {
        counts[bounds.part_of(time) as usize] += 1;
    }
    for part in [Part::Train, Part::Validation, Part::Test] {
        if counts[part as usize] == 0 {
            return Err(empty(part, n_rows, symbol));
        }
    }
    Ok(())
}

fn empty(part: Part, n_rows: usize, symbol: Option<&str>) -> SplitError {
    SplitError::Empty {
        part,
        n_rows,
        whose: symbol
            .map(|symbol| format!(" of `{symbol}`"))
            .unwrap_or_default(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn split() -> Split {
        Split {
            method: SplitMethod::Time,
            train: 0.6,
            validation: 0.2,
            train_until: None,
            validation_until: None,
            purge: Purge::Auto,
            boundaries: Boundaries::Common,
        }
    }

    fn parts(plan: &Plan, times: &[i64], symbol: &[u32]) -> Vec<Part> {
        times
            .iter()
            .enumerate()
            .map(|(row, &time)| plan.part_of(symbol.get(row).copied().unwrap_or(0), time))
            .collect()
    }

    #[test]
    fn parts_follow_one_another_with_a_purge_between() {
        let times: Vec<i64> = (0..100).collect();
        let symbols = ["A".to_owned()];
        let plan = plan(&split(), &times, &[], &symbols, 5).unwrap();
        let parts = parts(&plan, &times, &[]);
        let count = |part| parts.iter().filter(|&&other| other == part).count();
        assert_eq!(
            [
                count(Part::Train),
                count(Part::Purged),
                count(Part::Validation),
                count(Part::Test)
            ],
            [60, 10, 15, 15]
        );
        assert!(parts[..60].iter().all(|&part| part == Part::Train));
        assert!(parts[60..65].iter().all(|&part| part == Part::Purged));
        assert_eq!(parts[99], Part::Test);
    }

    #[test]
    fn boundaries_may_be_each_symbols_own() {
        let times: Vec<i64> = (0..50).chain(1000..1050).collect();
        let symbol: Vec<u32> = std::iter::repeat_n(0, 50)
            .chain(std::iter::repeat_n(1, 50))
            .collect();
        let symbols = ["A".to_owned(), "B".to_owned()];
        let common = plan(&split(), &times, &symbol, &symbols, 0).unwrap();
        assert_eq!(parts(&common, &times, &symbol)[49], Part::Train);
        let own = Split {
            boundaries: Boundaries::PerSymbol,
            ..split()
        };
        let own = plan(&own, &times, &symbol, &symbols, 0).unwrap();
        let parts = parts(&own, &times, &symbol);
        assert_eq!(
            (parts[49], parts[50], parts[99]),
            (Part::Test, Part::Train, Part::Test)
        );
    }

    #[test]
    fn an_empty_part_is_refused_by_name() {
        let symbols = ["A".to_owned()];
        let refused = plan(&split(), &[1, 2, 3], &[], &symbols, 100).unwrap_err();
        assert_eq!(
            refused,
            SplitError::Empty {
                part: Part::Validation,
                n_rows: 3,
                whose: String::new()
            }
        );
        let none = plan(&split(), &[], &[], &symbols, 0).unwrap_err();
        assert!(
            none.to_string().contains("the train part is empty"),
            "{none}"
        );
    }
}
