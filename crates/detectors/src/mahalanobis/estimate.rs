//! Where the rows lie and how they spread.

use crate::linalg::{invert_with_ridge, mean_and_covariance, squared_distance};
use crate::random::Random;
use crate::sample::rows_drawn;

/// Location and scatter of rows.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Estimate {
    pub(super) mean: Vec<f64>,
    pub(super) covariance: Vec<f64>,
}

/// Rows, row after row.
#[derive(Debug, Clone, Copy)]
pub(super) struct Rows<'a> {
    pub(super) values: &'a [f64],
    pub(super) dims: usize,
}

impl<'a> Rows<'a> {
    fn len(self) -> usize {
        self.values.len() / self.dims
    }

    fn row(self, i: usize) -> &'a [f64] {
        &self.values[i * self.dims..][..self.dims]
    }

    fn iter(self) -> impl Iterator<Item = &'a [f64]> + Clone {
        self.values.chunks_exact(self.dims)
    }
}

pub(super) fn plain(rows: Rows<'_>) -> Estimate {
    let (mean, covariance) = mean_and_covariance(rows.iter(), rows.dims);
    Estimate { mean, covariance }
}

/// The covariance drawn towards a multiple of the identity (Ledoit and Wolf, J. Multivariate Analysis
/// 2004), as scikit-learn's `LedoitWolf` does, and how far.
pub(super) fn ledoit_wolf(rows: Rows<'_>) -> (Estimate, f64) {
    let Estimate {
        mean,
        mut covariance,
    } = plain(rows);
    let (n, d) = (rows.len() as f64, rows.dims);
    let mu = (0..d).map(|i| covariance[i * d + i]).sum::<f64>() / d as f64;
    // Σ over rows of |x|⁴ is Σ over pairs of columns of Σ x²x².
    let fourth: f64 = rows
        .iter()
        .map(|row| {
            let square: f64 = row.iter().zip(&mean).map(|(x, m)| (x - m) * (x - m)).sum();
            square * square
        })
        .sum();
    let squares: f64 = covariance.iter().map(|c| c * c).sum();
    let beta = (fourth / n - squares) / (d as f64 * n);
    let delta = (squares - d as f64 * mu * mu) / d as f64;
    let beta = beta.min(delta);
    let shrinkage = if beta > 0.0 && delta > 0.0 {
        beta / delta
    } else {
        0.0
    };
    for (i, value) in covariance.iter_mut().enumerate() {
        *value *= 1.0 - shrinkage;
        if i % (d + 1) == 0 {
            *value += shrinkage * mu;
        }
    }
    (Estimate { mean, covariance }, shrinkage)
}

/// Later rows count more: a row `half_life` rows before another counts half as much.
pub(super) fn exponential(rows: Rows<'_>, half_life: f64) -> Estimate {
    let mut estimate = plain(rows);
    for row in rows.iter() {
        learn(&mut estimate, row, half_life);
    }
    estimate
}

/// One step of the exponentially weighted mean and covariance (West 1979).
pub(super) fn learn(estimate: &mut Estimate, row: &[f64], half_life: f64) {
    let d = row.len();
    let keep = (-std::f64::consts::LN_2 / half_life).exp();
    let alpha = 1.0 - keep;
    let Estimate { mean, covariance } = estimate;
    for i in 0..d {
        for j in 0..=i {
            let product = (row[i] - mean[i]) * (row[j] - mean[j]);
            let value = keep * (covariance[i * d + j] + alpha * product);
            covariance[i * d + j] = value;
            covariance[j * d + i] = value;
        }
    }
    for (mean, value) in mean.iter_mut().zip(row) {
        *mean += alpha * (value - *mean);
    }
}

/// Starts, and how many of them are followed to the end.
const STARTS: usize = 200;
const FINALISTS: usize = 10;
/// Rows that starts are tried on.
const START_ROWS: usize = 1_500;
/// Steps are few until nothing changes; more than this were never seen.
const MOST_STEPS: usize = 50;

/// Minimum covariance determinant (Rousseeuw and Van Driessen, Technometrics 1999): the `share` of the
/// rows whose covariance has the smallest determinant, found by concentration steps from random starts
/// on at most 1,500 rows, finished on all; scaled to be consistent for normal data, then reweighted by
/// the 97.5 % quantile of χ².
///
/// `stop` is asked between the steps; where it says to, there is no estimate.
pub(super) fn mcd(
    rows: Rows<'_>,
    share: f64,
    seed: u64,
    stop: &mut dyn FnMut() -> bool,
) -> Option<Estimate> {
    let (n, d) = (rows.len(), rows.dims);
    let mut random = Random::new(seed, 0x6d63_6400);
    let drawn = rows_drawn(n, START_ROWS, seed, 0x6d63_6401);
    let kept: Vec<f64> = drawn.iter().flat_map(|i| rows.row(*i)).copied().collect();
    let few = Rows {
        values: &kept,
        dims: d,
    };
    let size = |n: usize| ((n as f64 * share).ceil() as usize).clamp(n.min(d + 1), n);
    let mut found: Vec<(f64, Estimate)> = Vec::new();
    for _ in 0..STARTS {
        if stop() {
            return None;
        }
        // d + 1 rows at random, then two steps.
        let first: Vec<usize> = (0..=d).map(|_| random.below(few.len())).collect();
        let (mean, covariance) = mean_and_covariance(first.iter().map(|i| few.row(*i)), d);
        let start = Estimate { mean, covariance };
        let once = concentrate(few, &start, size(few.len()))?.1;
        found.push(concentrate(few, &once, size(few.len()))?);
        found.sort_by(|a, b| a.0.total_cmp(&b.0));
        found.truncate(FINALISTS);
    }
    for (log_det, estimate) in &mut found {
        settle(few, log_det, estimate, size(few.len()), stop)?;
    }
    found.sort_by(|a, b| a.0.total_cmp(&b.0));
    let (mut log_det, mut best) = found.into_iter().next()?;
    if few.len() < n {
        settle(rows, &mut log_det, &mut best, size(n), stop)?;
    }
    reweighted(rows, &best)
}

/// Steps until the determinant falls no more.
fn settle(
    rows: Rows<'_>,
    log_det: &mut f64,
    estimate: &mut Estimate,
    size: usize,
    stop: &mut dyn FnMut() -> bool,
) -> Option<()> {
    let mut last = f64::INFINITY;
    for _ in 0..MOST_STEPS {
        if stop() {
            return None;
        }
        (*log_det, *estimate) = concentrate(rows, estimate, size)?;
        if *log_det >= last - 1e-12 {
            break;
        }
        last = *log_det;
    }
    Some(())
}

/// The covariance of the `size` rows nearest to `estimate`, with the logarithm of its determinant.
fn concentrate(rows: Rows<'_>, estimate: &Estimate, size: usize) -> Option<(f64, Estimate)> {
    let mut distances = distances(rows, estimate)?;
    let by_distance = |a: &(f64, usize), b: &(f64, usize)| a.0.total_cmp(&b.0).then(a.1.cmp(&b.1));
    distances.select_nth_unstable_by(size - 1, by_distance);
    let mut nearest: Vec<usize> = distances[..size].iter().map(|(_, i)| *i).collect();
    nearest.sort_unstable();
    let (mean, covariance) = mean_and_covariance(nearest.iter().map(|i| rows.row(*i)), rows.dims);
    let (_, log_det) = invert_with_ridge(&covariance, rows.dims)?;
    Some((log_det, Estimate { mean, covariance }))
}

fn distances(rows: Rows<'_>, estimate: &Estimate) -> Option<Vec<(f64, usize)>> {
    let (precision, _) = invert_with_ridge(&estimate.covariance, rows.dims)?;
    let mut room = vec![0.0; rows.dims];
    let all = rows.iter().enumerate();
    Some(
        all.map(|(i, row)| {
            let square = squared_distance(row, &estimate.mean, &precision, &mut room);
            (square, i)
        })
        .collect(),
    )
}

/// One step of reweighting: rows within the 97.5 % quantile of χ², after scaling so that the median
/// distance is that of normal data; their covariance scaled likewise.
fn reweighted(rows: Rows<'_>, raw: &Estimate) -> Option<Estimate> {
    let d = rows.dims as f64;
    let distances = distances(rows, raw)?;
    let scale = |distances: &[(f64, usize)]| {
        let mut squares: Vec<f64> = distances.iter().map(|(square, _)| *square).collect();
        let median = crate::threshold::quantile_of(&mut squares, 0.5);
        (median / chi_squared_quantile(0.0, d)).max(1e-12)
    };
    let limit = chi_squared_quantile(1.959_963_984_540_054, d) * scale(&distances);
    let inside = distances.iter().filter(|(square, _)| *square <= limit);
    let inside: Vec<usize> = inside.map(|(_, i)| *i).collect();
    if inside.is_empty() {
        return Some(raw.clone());
    }
    let (mean, covariance) = mean_and_covariance(inside.iter().map(|i| rows.row(*i)), rows.dims);
    let mut estimate = Estimate { mean, covariance };
    let by = scale(&self::distances(rows, &estimate)?);
    estimate.covariance.iter_mut().for_each(|c| *c *= by);
    Some(estimate)
}

/// The quantile of χ² with `d` degrees of freedom where the standard normal one is `z` (Wilson and
/// Hilferty 1931): within a few percent for one degree, far better for more.
fn chi_squared_quantile(z: f64, d: f64) -> f64 {
    let part = 2.0 / (9.0 * d);
    d * (1.0 - part + z * part.sqrt()).powi(3)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Two correlated columns, every tenth row far off.
    fn contaminated() -> Vec<f64> {
        let mut random = Random::new(5, 5);
        (0..2_000)
            .flat_map(|i| {
                let (a, b) = (random.normal(), random.normal());
                if i % 10 == 0 {
                    [30.0 + a, -30.0 + b]
                } else {
                    [a, 0.8 * a + 0.6 * b]
                }
            })
            .collect()
    }

    #[test]
    fn mcd_does_not_see_a_tenth_of_outliers() {
        let values = contaminated();
        let rows = Rows {
            values: &values,
            dims: 2,
        };
        let robust = mcd(rows, 0.75, 1, &mut || false).unwrap();
        for (found, expected) in robust.covariance.iter().zip([1.0, 0.8, 0.8, 1.0]) {
            assert!((found - expected).abs() < 0.25, "{robust:?}");
        }
        assert!(robust.mean.iter().all(|m| m.abs() < 0.1), "{robust:?}");
        assert!(plain(rows).mean[0] > 2.0);
        assert_eq!(mcd(rows, 0.75, 1, &mut || false), Some(robust));
    }

    #[test]
    fn an_exponential_estimate_follows_the_rows() {
        let values: Vec<f64> = (0..400).map(|i| f64::from(i / 200) * 10.0).collect();
        let rows = Rows {
            values: &values,
            dims: 1,
        };
        let estimate = exponential(rows, 20.0);
        assert!((estimate.mean[0] - 10.0).abs() < 0.02, "{estimate:?}");
        let estimate = exponential(rows, 1e6);
        assert!((estimate.mean[0] - 5.0).abs() < 0.02, "{estimate:?}");
    }
}
