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
    /// End of the test; `i64::MAX` for the last one.
    pub test_end: i64,
}

impl Bounds {
    /// The part of a row at `time`; rows after the test belong to none.
    pub fn part_of(&self, time: i64) -> Part {
        if time >= self.test_end {
            Part::Purged
        } else if time < self.train_end {
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
    /// In time, at least once; each fold has one entry per symbol. Tests of consecutive folds
    /// adjoin, and what a fold fits and chooses on lies before its test.
    Time(Vec<Vec<Bounds>>),
}

impl Plan {
    /// How often rows are split: 1, or the folds of a walk forward.
    pub fn n_folds(&self) -> usize {
        match self {
            Self::InSample => 1,
            Self::Time(folds) => folds.len(),
        }
    }

    /// The part of a row in the whole: as in the first fold, with the tests of all.
    pub fn part_of(&self, symbol: u32, time: i64) -> Part {
        match self {
            Self::InSample => Part::InSample,
            Self::Time(folds) => Bounds {
                test_end: i64::MAX,
                ..folds[0][symbol as usize]
            }
            .part_of(time),
        }
    }

    /// The part of a row in one fold.
    pub fn part_in(&self, fold: usize, symbol: u32, time: i64) -> Part {
        match self {
            Self::InSample => Part::InSample,
            Self::Time(folds) => folds[fold][symbol as usize].part_of(time),
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
    let n_symbols = symbols.len().max(1);
    let by_symbol = match split.boundaries {
        Boundaries::Common => {
            let folds = folds_of(split, time.to_vec(), purge_us)
                .ok_or_else(|| empty(Part::Train, time.len(), None))?;
            for bounds in &folds {
                check_parts(bounds, time.iter().copied(), time.len(), None)?;
            }
            vec![folds; n_symbols]
        }
        Boundaries::PerSymbol => {
            let mut times: Vec<Vec<i64>> = vec![Vec::new(); n_symbols];
            for (row, &time) in time.iter().enumerate() {
                times[symbol.get(row).map_or(0, |&symbol| symbol as usize)].push(time);
            }
            let mut all = Vec::with_capacity(n_symbols);
            for (index, times) in times.into_iter().enumerate() {
                let name = symbols.get(index).map(String::as_str);
                let folds = folds_of(split, times.clone(), purge_us)
                    .ok_or_else(|| empty(Part::Train, times.len(), name))?;
                for bounds in &folds {
                    check_parts(bounds, times.iter().copied(), times.len(), name)?;
                }
                all.push(folds);
            }
            all
        }
    };
    let fold = |fold: usize| by_symbol.iter().map(|folds| folds[fold]).collect();
    Ok(Plan::Time((0..split.folds).map(fold).collect()))
}

/// The instants at which the shares of the rows are reached, fold by fold; `None` without rows.
/// The first fold is split as without folds, and its test is cut into equal shares of the rows.
/// Each later fold tests one of them; its purge comes off what it validates on, so that no test
/// row is left out.
fn folds_of(split: &Split, mut times: Vec<i64>, purge_us: i64) -> Option<Vec<Bounds>> {
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
    let before_test = split.train + split.validation;
    let validation_end = split
        .validation_until
        .unwrap_or_else(|| at_share(before_test));
    let mut folds = vec![Bounds {
        train_end,
        validation_start: train_end.saturating_add(purge_us),
        validation_end,
        test_start: validation_end.saturating_add(purge_us),
        test_end: i64::MAX,
    }];
    #[expect(clippy::cast_precision_loss, reason = "at most 100 folds")]
    for fold in 1..split.folds {
        let share = before_test + (1.0 - before_test) * fold as f64 / split.folds as f64;
        let test_start = at_share(share);
        let train_end = at_share(share - split.validation);
        if let Some(before) = folds.last_mut() {
            before.test_end = test_start;
        }
        folds.push(Bounds {
            train_end,
            validation_start: train_end.saturating_add(purge_us),
            validation_end: test_start.saturating_sub(purge_us),
            test_start,
            test_end: i64::MAX,
        });
    }
    Some(folds)
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
            folds: 1,
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
    fn walking_forward_tests_every_later_row_once_by_what_came_before() {
        let times: Vec<i64> = (0..1000).collect();
        let walk = Split {
            method: SplitMethod::WalkForward,
            folds: 4,
            ..split()
        };
        let plan = plan(&walk, &times, &[], &["A".to_owned()], 7).unwrap();
        assert_eq!(plan.n_folds(), 4);
        let mut tested = 0;
        for fold in 0..4 {
            let parts: Vec<Part> = times
                .iter()
                .map(|&time| plan.part_in(fold, 0, time))
                .collect();
            let of = |part| {
                (0..1000)
                    .filter(|&row| parts[row] == part)
                    .collect::<Vec<_>>()
            };
            let (train, validation, test) = (of(Part::Train), of(Part::Validation), of(Part::Test));
            assert_eq!(train, (0..600 + 50 * fold).collect::<Vec<_>>());
            assert!(validation[0] > train[train.len() - 1] + 7);
            assert!(test[0] > validation[validation.len() - 1] + 7);
            for row in test {
                assert_eq!(plan.part_of(0, row as i64), Part::Test);
                tested += 1;
            }
        }
        let all = times
            .iter()
            .filter(|&&time| plan.part_of(0, time) == Part::Test);
        assert_eq!(all.count(), tested);
        assert_eq!(tested, 193);
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
