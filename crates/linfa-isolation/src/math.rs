//! Elementary functions of our own, made of additions, multiplications and divisions in one order.
//!
//! Those of the C library differ in the last bit between processors and versions. A forest that was
//! fitted or a row that was scored with them would differ between two machines.

/// `2^(-x)` for finite `x >= 0`.
///
/// The C library's `exp2` differs in the last bit between processors (it picks a version at run
/// time), and then two replicas would disagree about a score. This one uses only additions and
/// multiplications, in one order: the same bits everywhere. Its error is below 2 ulp.
#[inline(always)]
pub(crate) fn exp2_of_negative(x: f64) -> f64 {
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
    // Adding and subtracting 1.5 * 2^52 rounds to a whole number; adding 2^52 puts it into the lowest
    // bits. No branch and no conversion: vector instructions can do all of it.
    const ROUNDER: f64 = 6_755_399_441_055_744.0;
    const INTO_LOWEST_BITS: f64 = 4_503_599_627_370_496.0;
    // Beyond 1022 the result is subnormal or 0.
    let x = x.min(1022.0);
    let whole = (x + ROUNDER) - ROUNDER;
    let rest = whole - x;
    let y = rest * std::f64::consts::LN_2;
    let series = INVERSE_FACTORIALS
        .iter()
        .fold(0.0, |sum, coefficient| sum * y + coefficient);
    let mantissa = 1.0 + (y + y * y * series);
    let exponent = (1023.0 - whole + INTO_LOWEST_BITS).to_bits() << 52;
    mantissa * f64::from_bits(exponent)
}

/// Natural logarithm of a positive, normal number; the error is below 2 ulp (near 1: of the
/// distance to 1).
pub(crate) fn ln(x: f64) -> f64 {
    let (exponent, ln_mantissa) = parts(x);
    exponent * std::f64::consts::LN_2 + ln_mantissa
}

/// Base-2 logarithm of a positive, normal number; exact for powers of two.
pub(crate) fn log2(x: f64) -> f64 {
    let (exponent, ln_mantissa) = parts(x);
    exponent + ln_mantissa * std::f64::consts::LOG2_E
}

/// `e` and `ln(m)` of `x = 2^e m` with `m` in [sqrt(1/2), sqrt(2)).
fn parts(x: f64) -> (f64, f64) {
    const MANTISSA: u64 = (1 << 52) - 1;
    let bits = x.to_bits();
    let mut exponent = (bits >> 52) as i64 - 1023;
    let mut m = f64::from_bits(bits & MANTISSA | 1023 << 52);
    if m >= std::f64::consts::SQRT_2 {
        m *= 0.5;
        exponent += 1;
    }
    // ln(m) = 2 artanh(s) = 2 (s + s^3 / 3 + s^5 / 5 + …), |s| < 0.172: the first term left out is
    // below 1e-19.
    let s = (m - 1.0) / (m + 1.0);
    let square = s * s;
    let series = (1..=11)
        .rev()
        .fold(0.0, |sum, k| square * (sum + 1.0 / f64::from(2 * k + 1)));
    (exponent as f64, 2.0 * (s + s * series))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    #[cfg_attr(
        miri,
        ignore = "Miri blurs the standard functions that are compared with"
    )]
    fn exponential_agrees_with_the_standard_one() {
        let mut x = 0.0;
        while x < 60.0 {
            let (own, standard) = (exp2_of_negative(x), (-x).exp2());
            assert!((own - standard).abs() <= 4.5e-16 * standard, "2^-{x}");
            x += 0.000_37;
        }
        assert_eq!(exp2_of_negative(0.0), 1.0);
        assert_eq!(exp2_of_negative(1.0), 0.5);
        assert_eq!(
            exp2_of_negative(1_000.0),
            f64::from_bits((1023 - 1000) << 52)
        );
    }

    #[test]
    #[cfg_attr(
        miri,
        ignore = "Miri blurs the standard functions that are compared with"
    )]
    fn logarithm_agrees_with_the_standard_one() {
        let mut x = 1e-300;
        while x < 1e300 {
            let (own, standard) = (ln(x), x.ln());
            assert!(
                (own - standard).abs() <= 5e-16 * standard.abs().max(0.3),
                "ln {x}"
            );
            x *= 1.013;
        }
        assert_eq!(ln(1.0), 0.0);
        assert_eq!(log2(8.0), 3.0);
    }
}
