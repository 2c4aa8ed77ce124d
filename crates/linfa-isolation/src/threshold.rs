//! From scores to flags.

use crate::error::{Error, Result};

/// The score above which at most the share `contamination` (in [0, 1)) of `scores` lies: row `i` is
/// an anomaly if `scores[i] > threshold`. With ties at the threshold fewer rows are flagged, never
/// more.
///
/// scikit-learn interpolates between two scores instead, which may flag one row more.
///
/// # Errors
///
/// A share outside [0, 1), no scores, and a score that is not finite are refused.
pub fn contamination_threshold(scores: &[f64], contamination: f64) -> Result<f64> {
    if !(0.0..1.0).contains(&contamination) {
        return Err(Error::InvalidParameter {
            parameter: "contamination",
            value: contamination.to_string(),
            allowed: "in [0, 1)",
        });
    }
    // Truncation: at most that share. A share that is a whole number of rows but for rounding is that
    // number.
    let n_flagged = (contamination * scores.len() as f64 * (1.0 + f64::EPSILON)) as usize;
    nth_largest(scores, n_flagged)
}

/// The smallest of `scores` that at least the share `quantile` (in (0, 1]) of them doesn't exceed
/// (R's type 1, no interpolation): row `i` is an anomaly if `scores[i] > threshold`.
///
/// # Errors
///
/// A share outside (0, 1], no scores, and a score that is not finite are refused.
pub fn quantile_threshold(scores: &[f64], quantile: f64) -> Result<f64> {
    if !(quantile > 0.0 && quantile <= 1.0) {
        return Err(Error::InvalidParameter {
            parameter: "quantile",
            value: quantile.to_string(),
            allowed: "in (0, 1]",
        });
    }
    // Rounded up, with the same care.
    let n_not_above = (quantile * scores.len() as f64 * (1.0 - f64::EPSILON)).ceil() as usize;
    nth_largest(scores, scores.len().saturating_sub(n_not_above.max(1)))
}

/// The score that `n` others are no smaller than; the smallest if there are no more.
fn nth_largest(scores: &[f64], n: usize) -> Result<f64> {
    if scores.is_empty() {
        return Err(Error::NoScores);
    }
    if let Some(row) = scores.iter().position(|score| !score.is_finite()) {
        return Err(Error::NonFinite {
            row,
            column: 0,
            value: scores[row],
        });
    }
    let n = n.min(scores.len() - 1);
    let mut scores = scores.to_vec();
    let (_, threshold, _) = scores.select_nth_unstable_by(n, |a, b| b.total_cmp(a));
    Ok(*threshold)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn at_most_the_share_lies_above() {
        let scores: Vec<f64> = (0..100).map(|i| f64::from((i * 37) % 100)).collect();
        for (contamination, n_flagged) in [(0.0, 0), (0.05, 5), (0.29, 29), (0.999, 99), (0.014, 1)]
        {
            let threshold = contamination_threshold(&scores, contamination).unwrap();
            let n_above = scores.iter().filter(|&&score| score > threshold).count();
            assert_eq!(n_above, n_flagged, "{contamination}");
        }
    }

    #[test]
    fn ties_flag_fewer_rows() {
        let threshold = contamination_threshold(&[0.5, 0.7, 0.7, 0.7], 0.5).unwrap();
        assert_eq!(threshold, 0.7);
    }

    #[test]
    fn impossible_input_is_refused() {
        for contamination in [-0.1, 1.0, f64::NAN] {
            assert!(contamination_threshold(&[0.5], contamination).is_err());
        }
        assert!(contamination_threshold(&[], 0.1).is_err());
        assert!(contamination_threshold(&[0.5, f64::NAN], 0.1).is_err());
    }
}
