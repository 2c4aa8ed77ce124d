//! Exact intervals for counts.

/// A two-sided 95 % interval of a Poisson mean, of which `n` came (Garwood 1936).
pub(crate) fn poisson(n: usize) -> (f64, f64) {
    let at_most = |mean: f64, n: usize| -> f64 {
        let mut term = (-mean).exp();
        let mut sum = term;
        for k in 1..=n {
            term *= mean / k as f64;
            sum += term;
        }
        sum
    };
    let low = if n == 0 {
        0.0
    } else {
        solve(0.0, n as f64, |mean| 1.0 - at_most(mean, n - 1) > 0.025)
    };
    let high = solve(n as f64, 10.0 + 3.0 * n as f64, |mean| {
        at_most(mean, n) < 0.025
    });
    (low, high)
}

/// A two-sided 95 % interval of a share, `k` of `n` (Clopper and Pearson 1934).
pub(crate) fn share(k: usize, n: usize) -> (f64, f64) {
    let at_most = |p: f64, k: usize| -> f64 {
        let mut log_term = n as f64 * (1.0 - p).ln();
        let mut sum = log_term.exp();
        for i in 1..=k {
            log_term += ((n - i + 1) as f64 / i as f64).ln() + (p / (1.0 - p)).ln();
            sum += log_term.exp();
        }
        sum
    };
    let low = if k == 0 {
        0.0
    } else {
        solve(0.0, 1.0, |p| 1.0 - at_most(p, k - 1) > 0.025)
    };
    let high = if k == n {
        1.0
    } else {
        solve(0.0, 1.0, |p| at_most(p, k) < 0.025)
    };
    (low, high)
}

/// Where `is_beyond` becomes true.
fn solve(mut low: f64, mut high: f64, is_beyond: impl Fn(f64) -> bool) -> f64 {
    for _ in 0..100 {
        let middle = 0.5 * (low + high);
        if is_beyond(middle) {
            high = middle;
        } else {
            low = middle;
        }
    }
    0.5 * (low + high)
}
