//! Eps from the k-distance curve.

use rayon::prelude::*;

use crate::error::{Error, Result};
use crate::neighbors::{KdTree, Nearest};
use crate::observer::FitObserver;

/// Rows whose distances make the curve.
const CURVE_ROWS: usize = 10_000;
/// Rows between two questions whether to go on.
const ROWS_AT_ONCE: usize = 1_000;

/// Where the ascending curve of distances to the k-th nearest other row bends (Ester et al. 1996,
/// section 4.2): the point farthest below the line between its ends, as Kneedle finds it (Satopää et
/// al. 2011) without smoothing. `k` counts the row itself. At most 10,000 rows, evenly spaced, make the
/// curve; `None` where all distances are 0.
///
/// # Errors
/// [`Error::Stopped`].
pub(crate) fn eps_from_curve(
    tree: &KdTree,
    k: usize,
    observer: &mut dyn FitObserver,
) -> Result<Option<f64>> {
    let k = k.clamp(2, tree.len().max(2));
    if tree.len() < k {
        return Ok(None);
    }
    let stride = tree.len().div_ceil(CURVE_ROWS);
    let rows: Vec<usize> = (0..tree.len()).step_by(stride).collect();
    let mut curve: Vec<f64> = Vec::with_capacity(rows.len());
    for rows in rows.chunks(ROWS_AT_ONCE) {
        if observer.should_stop() {
            return Err(Error::Stopped);
        }
        curve.par_extend(rows.par_iter().map_init(
            || (vec![0.0; k], vec![0; k]),
            |(distances, positions), row| {
                let mut nearest = Nearest::new(distances, positions);
                tree.k_nearest(tree.row(*row), &mut nearest);
                distances[k - 1].sqrt()
            },
        ));
    }
    curve.sort_unstable_by(f64::total_cmp);
    Ok(knee(&curve))
}

/// The value of an ascending curve that lies farthest below the line between its ends; where that is 0,
/// the smallest value that isn't.
fn knee(curve: &[f64]) -> Option<f64> {
    let (first, last) = (*curve.first()?, *curve.last()?);
    let smallest = curve.iter().copied().find(|v| *v > 0.0)?;
    if last <= first {
        return Some(last);
    }
    let steps = (curve.len() - 1) as f64;
    let below = |i: usize| i as f64 / steps - (curve[i] - first) / (last - first);
    let at = (0..curve.len()).fold(0, |best, i| if below(i) > below(best) { i } else { best });
    Some(curve[at].max(smallest))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_knee_is_where_the_curve_turns_up() {
        let mut curve: Vec<f64> = (0..90).map(|i| 1.0 + f64::from(i) * 0.01).collect();
        curve.extend((1..=10).map(|i| 1.9 + f64::from(i)));
        assert!((knee(&curve).unwrap() - 1.89).abs() < 0.02);
        assert_eq!(knee(&[2.0, 2.0]), Some(2.0));
        assert_eq!(knee(&[0.0, 0.0]), None);
        assert_eq!(knee(&[0.0, 0.0, 0.0, 5.0]), Some(5.0));
        assert_eq!(knee(&[]), None);
    }
}
