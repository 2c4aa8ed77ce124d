//! Path lengths and the score that is made of them (Liu 2008, section 2, equations 1 and 2).

use crate::math::{exp2_of_negative, ln};

/// Euler-Mascheroni constant.
const EULER_GAMMA: f64 = 0.577_215_664_901_532_9;

/// Below this count harmonic numbers are summed term by term.
const EXACT_HARMONIC_LIMIT: usize = 1024;

/// Average path length of an unsuccessful search in a binary search tree of `n` rows:
/// `c(n) = 2 H(n - 1) - 2 (n - 1) / n`, `c(0) = c(1) = 0` (equation 1).
///
/// The paper and scikit-learn take `H(i) ≈ ln(i) + γ`, which makes `c(3)` 1.21 instead of 1.67 (and
/// set `c(2) = 1` apart). Here `H` is the exact sum up to 1024 terms and above them the asymptotic
/// series, whose error is below 1e-14; both need no special case.
pub fn average_path_length(n: usize) -> f64 {
    if n <= 1 {
        return 0.0;
    }
    2.0 * harmonic(n - 1) - 2.0 * (n - 1) as f64 / n as f64
}

fn harmonic(n: usize) -> f64 {
    if n <= EXACT_HARMONIC_LIMIT {
        // From the smallest term up, so that the sum is accurate to the last bit or two.
        return (1..=n).rev().map(|i| 1.0 / i as f64).sum();
    }
    let x = n as f64;
    ln(x) + EULER_GAMMA + 0.5 / x - 1.0 / (12.0 * x * x)
}

/// [`average_path_length`] for many small counts: each is computed once.
#[derive(Debug, Default)]
pub(crate) struct AveragePathLengths(Vec<f64>);

impl AveragePathLengths {
    pub(crate) fn get(&mut self, n: usize) -> f64 {
        if n > EXACT_HARMONIC_LIMIT {
            return average_path_length(n);
        }
        if n >= self.0.len() {
            self.0.resize(n + 1, f64::NAN);
        }
        if self.0[n].is_nan() {
            self.0[n] = average_path_length(n);
        }
        self.0[n]
    }
}

/// Score of a summed path length: `2^(-sum / denominator)` (equation 2), within (0, 1).
///
/// A sample of one row makes `c(1) = 0`; then every score is 0.5, as in scikit-learn.
#[inline(always)]
pub(crate) fn score(path_length_sum: f64, denominator: f64) -> f64 {
    if denominator == 0.0 {
        return 0.5;
    }
    exp2_of_negative(path_length_sum / denominator).max(f64::MIN_POSITIVE)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn average_path_length_of_few_rows_is_exact() {
        assert_eq!(average_path_length(0), 0.0);
        assert_eq!(average_path_length(1), 0.0);
        assert_eq!(average_path_length(2), 1.0);
        // 2 (1 + 1/2) - 4/3
        assert!((average_path_length(3) - 5.0 / 3.0).abs() < 1e-15);
        // The logarithmic form for the default sample is 1/255 lower.
        assert!((average_path_length(256) - (10.244_770_920_117 + 1.0 / 255.0)).abs() < 1e-5);
    }

    #[test]
    #[cfg_attr(miri, ignore = "takes long")]
    fn average_path_length_grows_without_a_jump_at_the_limit() {
        let exact: f64 = (1..=4096_u32).rev().map(|i| 1.0 / f64::from(i)).sum();
        assert!((harmonic(4096) - exact).abs() < 1e-13);
        for n in 1..3_000 {
            let step = average_path_length(n + 1) - average_path_length(n);
            assert!(step > 0.0 && step <= 1.0, "step {step} at {n}");
        }
    }

    #[test]
    fn scores_stay_inside_the_open_interval() {
        assert_eq!(score(0.0, 0.0), 0.5);
        assert!(score(1e9, 1.0) > 0.0);
        assert!(score(1.0, 42.0) < 1.0);
    }
}
