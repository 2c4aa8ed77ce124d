//! Path lengths and the score that is made of them (paper, section 2, equations 1 and 2).

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
    x.ln() + EULER_GAMMA + 0.5 / x - 1.0 / (12.0 * x * x)
}

/// Score of a summed path length: `2^(-sum / denominator)` (equation 2), within (0, 1).
///
/// A sample of one row makes `c(1) = 0`; then every score is 0.5, as in scikit-learn.
#[inline]
pub(crate) fn score(path_length_sum: f64, denominator: f64) -> f64 {
    if denominator == 0.0 {
        return 0.5;
    }
    exp2_of_negative(path_length_sum / denominator).max(f64::MIN_POSITIVE)
}

/// `2^(-x)` for finite `x >= 0`.
///
/// The C library's `exp2` differs in the last bit between processors (it picks a version at run
/// time), and then two replicas would disagree about a score. This one uses only additions and
/// multiplications, in one order: the same bits everywhere. Its error is below 2 ulp.
#[inline]
fn exp2_of_negative(x: f64) -> f64 {
    // 1/k! for k = 13 down to 2: the Taylor series of exp on |y| <= ln(2)/2; the first term left
    // out is below 5e-18.
    const INVERSE_FACTORIALS: [f64; 12] = [
        1.0 / 6_227_020_800.0,
        1.0 / 479_001_600.0,
        1.0 / 39_916_800.0,
        1.0 / 3_628_800.0,
        1.0 / 362_880.0,
        1.0 / 40_320.0,
        1.0 / 5_040.0,
        1.0 / 720.0,
        1.0 / 120.0,
        1.0 / 24.0,
        1.0 / 6.0,
        1.0 / 2.0,
    ];
    // Beyond this the result is subnormal or 0.
    if x >= 1022.0 {
        return 0.0;
    }
    let whole = (0.5 - x).floor();
    let rest = -x - whole;
    let y = rest * std::f64::consts::LN_2;
    let series = INVERSE_FACTORIALS
        .iter()
        .fold(0.0, |sum, coefficient| sum * y + coefficient);
    let mantissa = 1.0 + (y + y * y * series);
    let exponent = (whole as i64 + 1023) as u64;
    mantissa * f64::from_bits(exponent << 52)
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
    fn average_path_length_grows_without_a_jump_at_the_limit() {
        let exact: f64 = (1..=4096_u32).rev().map(|i| 1.0 / f64::from(i)).sum();
        assert!((harmonic(4096) - exact).abs() < 1e-13);
        for n in 1..3_000 {
            let step = average_path_length(n + 1) - average_path_length(n);
            assert!(step > 0.0 && step <= 1.0, "step {step} at {n}");
        }
    }

    #[test]
    fn exponential_agrees_with_the_standard_one() {
        let mut x = 0.0;
        while x < 60.0 {
            let (own, standard) = (exp2_of_negative(x), (-x).exp2());
            assert!((own - standard).abs() <= 4.5e-16 * standard, "2^-{x}");
            x += 0.000_37;
        }
        assert_eq!(exp2_of_negative(0.0), 1.0);
        assert_eq!(exp2_of_negative(1.0), 0.5);
        assert_eq!(exp2_of_negative(1_000.0), 2.0_f64.powi(-1_000));
    }

    #[test]
    fn scores_stay_inside_the_open_interval() {
        assert_eq!(score(0.0, 0.0), 0.5);
        assert!(score(1e9, 1.0) > 0.0);
        assert!(score(1.0, 42.0) < 1.0);
    }
}
