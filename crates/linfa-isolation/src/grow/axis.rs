//! Splits along single columns, uniform between the column's extremes.

use super::Sample;
use crate::random::TreeRng;

#[derive(Debug, Clone, Copy)]
pub(super) struct AxisSplit {
    /// Index into the sample's columns.
    pub(super) column: usize,
    pub(super) threshold: f64,
    /// Share of the column's range in the node that lies left of the threshold.
    pub(super) left_share: f32,
}

/// Draws a column uniformly from those that are not constant in `members`, and a threshold uniformly
/// between the column's extremes there.
pub(super) fn draw_split(
    sample: &Sample<f64>,
    members: &[u32],
    rng: &mut TreeRng,
) -> Option<AxisSplit> {
    let mut candidates: Vec<usize> = Vec::new();
    let mut n_left = sample.columns.len();
    while n_left > 0 {
        // Drawing without replacement until one is not constant is a uniform choice among those
        // that are not. The list is only made when the first draw fails.
        let drawn = rng.below(n_left);
        let column = candidates.get(drawn).copied().unwrap_or(drawn);
        let (min, max) = extremes(&sample.columns[column].values, members);
        if min < max {
            let threshold = draw_threshold(min, max, rng.unit());
            // Halved, as the range itself may overflow.
            let left_share = (threshold / 2.0 - min / 2.0) / (max / 2.0 - min / 2.0);
            return Some(AxisSplit {
                column,
                threshold,
                left_share: (left_share as f32).clamp(0.0, 1.0),
            });
        }
        if candidates.is_empty() {
            candidates = (0..sample.columns.len()).collect();
        }
        candidates.swap_remove(drawn);
        n_left -= 1;
    }
    None
}

/// Smallest and largest of the members' values; NaN values are passed over.
#[inline]
fn extremes(values: &[f64], members: &[u32]) -> (f64, f64) {
    members
        .iter()
        .fold((f64::INFINITY, f64::NEG_INFINITY), |(min, max), &row| {
            let value = values[row as usize];
            (
                if value < min { value } else { min },
                if value > max { value } else { max },
            )
        })
}

/// The point at share `unit` (in [0, 1)) between `min` and `max`; always `min <= t < max`, so that
/// both sides of `value <= t` get a row.
fn draw_threshold(min: f64, max: f64, unit: f64) -> f64 {
    let range = max - min;
    let threshold = if range.is_finite() {
        min + unit * range
    } else {
        min * (1.0 - unit) + max * unit
    };
    // Rounding may reach the upper end; scikit-learn then takes the lower one, too.
    if min <= threshold && threshold < max {
        threshold
    } else {
        min
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn thresholds_stay_below_the_largest_value() {
        let cases = [
            (0.0, 1.0),
            (1.0, 1.0_f64.next_up()),
            (-1e308, 1e308),
            (f64::MIN, f64::MAX),
            (0.0, f64::MIN_POSITIVE),
            (-5e-324, 5e-324),
        ];
        let largest_unit = 1.0 - 2.0_f64.powi(-53);
        for (min, max) in cases {
            for unit in [0.0, 0.25, 0.5, 0.75, largest_unit] {
                let threshold = draw_threshold(min, max, unit);
                assert!(
                    min <= threshold && threshold < max,
                    "{min} {max} {unit}: {threshold}"
                );
            }
        }
    }
}
