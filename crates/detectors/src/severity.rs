//! What an alert is worth, from 0 to 100.

/// Alerts a symbol and day on ordinary data, as −log₁₀, with the severity of each: one an hour is 25,
/// one a day 50, one a month 75, one a year 90.
const STEPS: [(f64, f64); 4] = [
    (-1.380_211_241_711_606, 25.0),
    (0.0, 50.0),
    (1.477_121_254_719_662_4, 75.0),
    (2.562_292_864_456_475, 90.0),
];

/// The severity of a calibrated score, −log₁₀ tail probability, where a symbol has `rows_per_day` scored
/// rows a day: how seldom ordinary data would score so.
///
/// 25: once an hour, 50: once a day, 75: once a month, 90: once a year, for each symbol; linear between
/// in the logarithm of the rate, and ever nearer to 100 beyond. It rises strictly with the score up to
/// rounding, and means the same for every detector and candle length.
///
/// NaN, and rows a day that are no positive number, give 0.
#[must_use]
pub fn severity(neg_log10_tail: f64, rows_per_day: f64) -> f64 {
    let rate = neg_log10_tail - rows_per_day.log10();
    if rate.is_nan() {
        return 0.0;
    }
    let [(first, low), .., (last, high)] = STEPS;
    if rate <= first {
        // Severity 0 is a tail probability of 1: every row.
        let share = neg_log10_tail / (first + rows_per_day.log10());
        return (low * share).clamp(0.0, low);
    }
    if rate >= last {
        let beyond = rate - last;
        return 100.0 - (100.0 - high) / (1.0 + beyond / 2.0);
    }
    for pair in STEPS.windows(2) {
        let [(from, low), (to, high)] = [pair[0], pair[1]];
        if rate <= to {
            return low + (high - low) * (rate - from) / (to - from);
        }
    }
    high
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_says_how_seldom() {
        for rows_per_day in [1_440.0_f64, 8_640.0] {
            let of_rate = |per_day: f64| severity((rows_per_day / per_day).log10(), rows_per_day);
            for (per_day, expected) in [
                (rows_per_day, 0.0),
                (24.0, 25.0),
                (1.0, 50.0),
                (1.0 / 30.0, 75.0),
                (1.0 / 365.0, 90.0),
            ] {
                assert!((of_rate(per_day) - expected).abs() < 1e-9, "{per_day}");
            }
            let all: Vec<f64> = (0..400)
                .map(|t| severity(f64::from(t) / 10.0, rows_per_day))
                .collect();
            assert!(all.is_sorted_by(|a, b| a < b));
            assert!(severity(1e300, rows_per_day) <= 100.0);
        }
        assert_eq!(severity(f64::NAN, 1_440.0), 0.0);
        assert_eq!(severity(3.0, f64::NAN), 0.0);
        assert_eq!(severity(3.0, -1.0), 0.0);
    }
}
