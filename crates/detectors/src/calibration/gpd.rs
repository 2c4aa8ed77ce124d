//! The generalized Pareto distribution with shape at least 0, in −log₁₀ of its survival function.

use std::f64::consts::LN_10;

/// Moments of order one end at shape 1; beyond 0.9 they say nothing.
pub(super) const MAX_SHAPE: f64 = 0.9;

#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Gpd {
    pub(super) scale: f64,
    pub(super) shape: f64,
}

impl Gpd {
    /// −log₁₀ P(excess > x − from).
    pub(super) fn neg_log10_survival(self, from: f64, x: f64) -> f64 {
        let y = ((x / 2.0 - from / 2.0) / self.scale * 2.0).min(f64::MAX);
        let neg_ln = if self.shape > 0.0 {
            let grown = self.shape * y;
            // Near 0 `ln_1p` keeps the digits.
            grown.ln_1p() / self.shape
        } else {
            y
        };
        neg_ln / LN_10
    }

    /// The x with [`neg_log10_survival`](Self::neg_log10_survival)(from, x) = `tail`; may be infinite.
    pub(super) fn quantile(self, from: f64, tail: f64) -> f64 {
        let neg_ln = tail * LN_10;
        let y = if self.shape > 0.0 {
            (self.shape * neg_ln).exp_m1() / self.shape
        } else {
            neg_ln
        };
        from + self.scale * y
    }

    /// The distribution of the excess over a threshold `by` higher (threshold stability).
    pub(super) fn beyond(self, by: f64) -> Self {
        Self {
            scale: (self.scale + self.shape * by).min(f64::MAX),
            ..self
        }
    }
}

/// Mean of `values` − `from`; `None` for no values.
pub(super) fn mean_excess(values: &[f64], from: f64) -> Option<f64> {
    if values.is_empty() {
        return None;
    }
    let n = values.len() as f64;
    let half: f64 = values.iter().map(|v| (v / 2.0 - from / 2.0) / n).sum();
    Some((half * 2.0).min(f64::MAX))
}

/// Probability-weighted moments on ascending `values` beyond `from` (Hosking and Wallis 1987,
/// equations for α₀ and α₁ with plotting positions (j − 0.35) / n; their k is −shape). The shape
/// comes back within [0, 0.9]; `None` where the excesses show no spread.
pub(super) fn fit(values: &[f64], from: f64) -> Option<Gpd> {
    let n = values.len() as f64;
    let largest = values.last()? / 2.0 - from / 2.0;
    if largest <= 0.0 {
        return None;
    }
    // In units of the largest excess, so that nothing overflows.
    let (mut a0, mut a1) = (0.0, 0.0);
    for (j, value) in values.iter().enumerate() {
        let y = (value / 2.0 - from / 2.0) / largest;
        let p = (j as f64 + 0.65) / n;
        a0 += y;
        a1 += (1.0 - p) * y;
    }
    a0 /= n;
    a1 /= n;
    let gap = a0 - 2.0 * a1;
    if !(a0 > 0.0 && gap > 0.0) {
        return None;
    }
    let unit = largest * 2.0;
    let shape = 2.0 - a0 / gap;
    let (scale, shape) = if shape > MAX_SHAPE {
        // The mean excess, scale / (1 − shape), is kept.
        (a0 * (1.0 - MAX_SHAPE), MAX_SHAPE)
    } else {
        (2.0 * a0 * a1 / gap, shape.max(0.0))
    };
    let scale = (scale * unit).min(f64::MAX);
    (scale > 0.0).then_some(Gpd { scale, shape })
}
