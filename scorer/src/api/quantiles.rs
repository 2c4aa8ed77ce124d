//! Quantiles of scores.

use serde::Serialize;

/// Of so many scores, linear between order statistics.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub(crate) struct Quantiles {
    pub(crate) rows: usize,
    pub(crate) min: f64,
    pub(crate) p50: f64,
    pub(crate) p90: f64,
    pub(crate) p99: f64,
    pub(crate) p999: f64,
    pub(crate) max: f64,
}

/// Sorts the scores; `None` where there are none.
pub(crate) fn quantiles(scores: &mut [f64]) -> Option<Quantiles> {
    scores.sort_unstable_by(f64::total_cmp);
    let (first, last) = (scores.first()?, scores.last()?);
    let at = |quantile: f64| {
        let place = quantile * (scores.len() - 1) as f64;
        let low = place.floor() as usize;
        let high = (low + 1).min(scores.len() - 1);
        let share = place - low as f64;
        scores[low] * (1.0 - share) + scores[high] * share
    };
    Some(Quantiles {
        rows: scores.len(),
        min: *first,
        p50: at(0.5),
        p90: at(0.9),
        p99: at(0.99),
        p999: at(0.999),
        max: *last,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_are_numpys() {
        let found = quantiles(&mut [3.0, 1.0, 2.0, 10.0]).unwrap();
        assert_eq!((found.min, found.p50, found.max), (1.0, 2.5, 10.0));
        // numpy.quantile([3, 1, 2, 10], 0.9)
        assert!((found.p90 - 7.9).abs() < 1e-12);
        assert_eq!(quantiles(&mut []), None);
    }
}
