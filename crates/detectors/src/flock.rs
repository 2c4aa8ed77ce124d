//! Cross-symbol DBSCAN: who left the flock at this minute.

use ndarray::ArrayView2;
use serde::{Deserialize, Serialize};

use crate::detector::check_finite;
use crate::error::{Error, ParamsError, Result};
use crate::params::Checks;
use crate::threshold::quantile_of;

/// Parameters of the cross-symbol DBSCAN.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct FlockConfig {
    /// Radius, in standard deviations of the symbols' own moves, above 0. Default 3.
    pub eps: f64,
    /// The radius grows with the flock: at least this many times the median distance of the symbols
    /// from the middle of all, 0 to 1,000. Default 3.
    pub tolerance: f64,
    /// The share of the symbols that must lie within the radius of one for it to be in the flock,
    /// itself among them; above 0 and at most 1. Default 0.5: more than half agree.
    pub share: f64,
}

impl Default for FlockConfig {
    fn default() -> Self {
        Self {
            eps: 3.0,
            tolerance: 3.0,
            share: 0.5,
        }
    }
}

impl FlockConfig {
    /// The keys of an experiment file.
    pub const KEYS: &'static [&'static str] = &["eps", "tolerance", "share"];

    /// Checks every parameter and lists all violations.
    ///
    /// # Errors
    /// Values out of range.
    pub fn check(&self) -> Result<(), ParamsError> {
        let violations = Checks::default()
            .above("eps", self.eps, 0.0, 1e9)
            .within("tolerance", self.tolerance, 0.0..=1_000.0)
            .above("share", self.share, 0.0, 1.0)
            .done();
        if violations.is_empty() {
            Ok(())
        } else {
            Err(ParamsError {
                detector: "flock",
                violations,
            })
        }
    }

    /// Which of the symbols left the flock, by `moves`, (n_symbols, n_features): the moves of all
    /// symbols at one time, each in standard deviations of that symbol's own history.
    ///
    /// A symbol is core where at least the share of all symbols lies within the radius; the score of
    /// any is its distance to the nearest core symbol in units of the radius, beyond 1: it left. A move
    /// that all make is nobody's anomaly. Where symbols agree on nothing (no core), there is no flock to
    /// leave: [`None`]. O(n²) for n symbols.
    ///
    /// # Errors
    /// Parameters out of range, fewer than 3 symbols, no features, a value that isn't finite.
    pub fn scores(&self, moves: ArrayView2<'_, f64>) -> Result<Option<Vec<f64>>> {
        self.check()?;
        let (n, dims) = moves.dim();
        if n < 3 || dims == 0 {
            return Err(Error::invalid(
                "symbols",
                n,
                "at least 3, with a move each, are needed to speak of a flock",
            ));
        }
        check_finite("moves", moves)?;
        let middle: Vec<f64> = (0..dims)
            .map(|j| quantile_of(&mut moves.column(j).to_vec(), 0.5))
            .collect();
        let mut spread: Vec<f64> = moves
            .rows()
            .into_iter()
            .map(|row| distance(row.iter().zip(&middle)))
            .collect();
        let radius = (self.tolerance * quantile_of(&mut spread, 0.5)).clamp(self.eps, 1e300);
        let needed = (self.share * n as f64).floor() as usize + usize::from(self.share < 1.0);
        let between = |a: usize, b: usize| distance(moves.row(a).iter().zip(moves.row(b)));
        let is_core = |a: &usize| (0..n).filter(|b| between(*a, *b) <= radius).count() >= needed;
        let core: Vec<usize> = (0..n).filter(is_core).collect();
        if core.is_empty() {
            return Ok(None);
        }
        let nearest = |a: usize| {
            let distances = core.iter().map(|b| between(a, *b));
            distances.fold(f64::INFINITY, f64::min).min(f64::MAX)
        };
        Ok(Some((0..n).map(|a| nearest(a) / radius).collect()))
    }
}

fn distance<'a>(pairs: impl Iterator<Item = (&'a f64, &'a f64)> + Clone) -> f64 {
    let halves = pairs.map(|(a, b)| (a / 2.0 - b / 2.0).abs());
    let largest = halves.clone().fold(0.0, f64::max);
    if largest <= 0.0 {
        return 0.0;
    }
    // In units of the largest, so that no square overflows.
    let sum: f64 = halves.map(|half| (half / largest).powi(2)).sum();
    (largest * sum.sqrt() * 2.0).min(f64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use ndarray::{Array2, array};

    #[test]
    fn who_moves_alone_left_the_flock() {
        let config = FlockConfig::default();
        let moves = array![[0.1], [-0.4], [0.3], [9.0], [0.0]];
        let scores = config.scores(moves.view()).unwrap().unwrap();
        assert!((scores[3] - 8.7 / 3.0).abs() < 1e-12, "{scores:?}");
        assert!(scores.iter().filter(|s| **s > 1.0).count() == 1);
        // All crash: nobody left. One that doesn't move then did.
        let crash = array![[-20.0], [-21.0], [-19.5], [-20.2], [-20.9], [0.0]];
        let scores = config.scores(crash.view()).unwrap().unwrap();
        assert!(
            scores[..5].iter().all(|s| *s <= 1.0) && scores[5] > 5.0,
            "{scores:?}"
        );
        // A wild minute widens the flock.
        let wild = array![[-8.0], [-4.0], [0.0], [4.0], [8.0], [11.0]];
        let scores = config.scores(wild.view()).unwrap().unwrap();
        assert!(scores.iter().all(|s| *s <= 1.0), "{scores:?}");
    }

    #[test]
    fn without_a_flock_nobody_left_it_and_nonsense_is_refused() {
        let config = FlockConfig {
            eps: 0.5,
            tolerance: 0.0,
            ..FlockConfig::default()
        };
        let moves = array![[0.0], [5.0], [10.0], [15.0]];
        assert_eq!(config.scores(moves.view()).unwrap(), None);
        assert!(config.scores(Array2::zeros((2, 1)).view()).is_err());
        assert!(
            config
                .scores(array![[0.0], [f64::NAN], [1.0]].view())
                .is_err()
        );
        let bad = FlockConfig {
            share: 0.0,
            eps: f64::NAN,
            ..config
        };
        assert_eq!(bad.check().unwrap_err().violations.len(), 2);
    }
}
