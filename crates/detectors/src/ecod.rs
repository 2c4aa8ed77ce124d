//! ECOD: how far out a value lies in each column's empirical distribution.

use ndarray::ArrayView2;
use rayon::prelude::*;
use serde::{Deserialize, Serialize};

use crate::bytes::{Reader, Writer};
use crate::error::FormatError;
use crate::max_z::mean_and_sd;
use crate::scorer::Scorer;

/// Distinct values kept of a column; of more, this many at even distances in rank, and all of the
/// [`ENDS`] lowest and highest.
const MAX_KNOTS: usize = 16_384;
const ENDS: usize = 1_024;

/// ECOD has no parameters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct EcodConfig {}

/// Empirical-cumulative-distribution-based outlier detection (Li et al., IEEE TKDE 2022).
///
/// A value's left tail is −ln of the share of training values up to it, its right tail −ln of the
/// share from it on. A feature adds the larger of both tails and of the one on the side of its skew;
/// the score is the sum, so a feature's part is exact. On training rows it is that of PyOD's `ECOD`.
///
/// Deviation: PyOD judges a new row as if it had been in training, at most ln(n + 1) a feature. Here
/// a value beyond the training range goes on rising by its distance in units of that tail's mean
/// excess, as an exponential tail would: what is further out scores higher.
///
/// Columns of more than 16,384 distinct values are kept as that many ranks, the outermost 1,024 of
/// each side one by one; a tail is then off by at most one part in 10,000 of all rows.
#[derive(Debug, Clone, PartialEq)]
pub struct Ecod {
    columns: Vec<Column>,
}

#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Column {
    /// Distinct values, ascending.
    pub(crate) values: Vec<f64>,
    /// Of each value: −ln share of the rows up to it, and from it on.
    pub(crate) left: Vec<f64>,
    pub(crate) right: Vec<f64>,
    /// −1, 0 or 1.
    pub(crate) skew: i8,
    /// What a tail begins with outside the range, ln(n + 1), and the units of distance there.
    pub(crate) outside: f64,
    pub(crate) low_scale: f64,
    pub(crate) high_scale: f64,
}

impl Ecod {
    pub(crate) fn fit(rows: ArrayView2<'_, f64>) -> Self {
        let columns = (0..rows.ncols())
            .into_par_iter()
            .map(|feature| {
                // Adding 0 makes −0 a 0, so that ties are ties.
                let mut values: Vec<f64> = rows.column(feature).iter().map(|v| v + 0.0).collect();
                let skew = skew_sign(&values);
                values.sort_unstable_by(f64::total_cmp);
                Column::fit(&values, skew)
            })
            .collect();
        Self { columns }
    }

    pub(crate) fn columns(&self) -> &[Column] {
        &self.columns
    }

    /// Sum over the features of `part`.
    fn sum(&self, row: &[f64], mut part: impl FnMut(usize, f64)) -> f64 {
        let mut sum = 0.0;
        for (feature, (column, value)) in self.columns.iter().zip(row).enumerate() {
            let tail = column.tail(*value);
            part(feature, tail);
            sum += tail;
        }
        sum.min(f64::MAX)
    }

    pub(crate) fn write(&self, out: &mut Writer) {
        out.u64(self.columns.len() as u64);
        for column in &self.columns {
            out.f64s(&column.values);
            out.f64s(&column.left);
            out.f64s(&column.right);
            out.u8(column.skew.cast_unsigned());
            out.f64(column.outside);
            out.f64(column.low_scale);
            out.f64(column.high_scale);
        }
    }

    pub(crate) fn read(from: &mut Reader<'_>) -> Result<Self, FormatError> {
        let n = from.count("ecod columns", 49)?;
        let columns = (0..n)
            .map(|_| {
                let column = Column {
                    values: from.f64s("ecod values")?,
                    left: from.f64s("ecod tails")?,
                    right: from.f64s("ecod tails")?,
                    skew: from.u8("ecod skew")?.cast_signed(),
                    outside: from.f64("ecod")?,
                    low_scale: from.f64("ecod")?,
                    high_scale: from.f64("ecod")?,
                };
                if column.is_sound() {
                    Ok(column)
                } else {
                    Err(FormatError::content(
                        "ecod",
                        "a column needs ascending values with a finite tail for each, and \
                         positive scales",
                    ))
                }
            })
            .collect::<Result<Vec<_>, _>>()?;
        if columns.is_empty() {
            return Err(FormatError::content("ecod", "it has no columns"));
        }
        Ok(Self { columns })
    }
}

impl Scorer for Ecod {
    fn n_features(&self) -> usize {
        self.columns.len()
    }

    fn score_row(&self, row: &[f64]) -> f64 {
        self.sum(row, |_, _| ())
    }

    fn explain_row(&self, row: &[f64], parts: &mut [f64]) -> f64 {
        self.sum(row, |feature, tail| parts[feature] = tail)
    }
}

impl Column {
    /// Of ascending values.
    fn fit(sorted: &[f64], skew: i8) -> Self {
        let n = sorted.len();
        let distinct = 1 + sorted.windows(2).filter(|w| w[0] < w[1]).count();
        let stride = if distinct > MAX_KNOTS {
            n.div_ceil(MAX_KNOTS - 2 * ENDS)
        } else {
            1
        };
        let (mut values, mut left, mut right) = (Vec::new(), Vec::new(), Vec::new());
        let (mut start, mut kept) = (0, 0);
        while start < n {
            let value = sorted[start];
            let end = start + sorted[start..].partition_point(|v| *v == value);
            if start < ENDS || n - end < ENDS || stride == 1 || end - kept >= stride {
                values.push(value);
                left.push(-(end as f64 / n as f64).ln());
                right.push(-((n - start) as f64 / n as f64).ln());
                kept = end;
            }
            start = end;
        }
        let tenth = (n / 10).max(1);
        let low: Vec<f64> = sorted[..tenth].iter().map(|v| -v).collect();
        Self {
            values,
            left,
            right,
            skew,
            outside: (n as f64 + 1.0).ln(),
            low_scale: mean_excess(low.iter().rev(), sorted),
            high_scale: mean_excess(sorted[n - tenth..].iter(), sorted),
        }
    }

    fn tail(&self, value: f64) -> f64 {
        let last = self.values.len() - 1;
        let (left, right) = if value < self.values[0] {
            let beyond = self.values[0] / 2.0 - value / 2.0;
            (self.beyond(beyond, self.low_scale), 0.0)
        } else if value > self.values[last] {
            let beyond = value / 2.0 - self.values[last] / 2.0;
            (0.0, self.beyond(beyond, self.high_scale))
        } else {
            let above = self.values.partition_point(|knot| *knot <= value);
            let at = above - 1;
            // Between two knots the rows from the upper one on are those at or above the value.
            let from = if self.values[at] == value { at } else { above };
            (self.left[at], self.right[from])
        };
        let skewed = match self.skew {
            1.. => right,
            0 => left + right,
            _ => left,
        };
        left.max(right).max(skewed)
    }

    /// The tail half a distance of `half` outside the range.
    fn beyond(&self, half: f64, scale: f64) -> f64 {
        (self.outside + half / scale * 2.0).min(1e300)
    }

    fn is_sound(&self) -> bool {
        let n = self.values.len();
        let tails = |tails: &[f64]| tails.len() == n && tails.iter().all(|t| t.is_finite());
        n > 0
            && self.values.iter().all(|v| v.is_finite())
            && self.values.windows(2).all(|w| w[0] < w[1])
            && tails(&self.left)
            && tails(&self.right)
            && (-1..=1).contains(&self.skew)
            && self.outside.is_finite()
            && [self.low_scale, self.high_scale]
                .iter()
                .all(|s| *s > 0.0 && s.is_finite())
    }
}

/// Mean distance of ascending `outer` values from the first of them; where that is nothing, the
/// standard deviation of the column, or a thousandth of its size.
fn mean_excess<'a>(outer: impl Iterator<Item = &'a f64> + Clone, column: &[f64]) -> f64 {
    let n = outer.clone().count() as f64;
    let first = outer.clone().next().copied().unwrap_or(0.0);
    let mean = 2.0 * outer.map(|v| (v / 2.0 - first / 2.0) / n).sum::<f64>();
    let usable = |scale: &f64| *scale > 0.0 && scale.is_finite();
    let sd = mean_and_sd(column.into()).1;
    let size = column[0].abs().max(column[column.len() - 1].abs()) * 1e-3;
    [mean, sd, size].into_iter().find(usable).unwrap_or(1e-3)
}

/// The sign of the third central moment; 0 for a constant column.
fn skew_sign(values: &[f64]) -> i8 {
    let (mean, sd) = mean_and_sd(values.into());
    if sd.is_nan() || sd <= 0.0 {
        return 0;
    }
    // A power of two as the unit rounds nothing: the cubes of symmetric values cancel.
    let unit = sd.log2().floor().exp2();
    let cube: f64 = values
        .iter()
        .map(|v| ((v / 2.0 - mean / 2.0) / unit * 2.0).powi(3))
        .sum();
    if cube > 0.0 {
        1
    } else if cube < 0.0 {
        -1
    } else {
        0
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use ndarray::Array2;

    #[test]
    fn beyond_the_range_the_score_goes_on_rising() {
        let rows = Array2::from_shape_fn((100, 1), |(i, _)| i as f64);
        let ecod = Ecod::fit(rows.view());
        let scores: Vec<f64> = [50.0, 98.0, 99.0, 99.5, 150.0, 1e6, f64::MAX]
            .map(|v| ecod.score_row(&[v]))
            .into();
        assert!(scores.is_sorted_by(|a, b| a < b), "{scores:?}");
        assert!(scores.iter().all(|s| s.is_finite()));
        assert!(ecod.score_row(&[-5.0]) > ecod.score_row(&[0.0]));
        // Symmetric: both tails count, of the middle value about ln 2 each.
        assert!((scores[0] - (-(0.51_f64.ln()) - 0.5_f64.ln())).abs() < 1e-12);
    }

    #[test]
    fn many_distinct_values_are_thinned_within_a_rank_or_two() {
        let n = 100_000;
        let rows = Array2::from_shape_fn((n, 1), |(i, _)| ((i as f64 + 0.5) / n as f64).powi(2));
        let ecod = Ecod::fit(rows.view());
        assert!(ecod.columns[0].values.len() <= MAX_KNOTS);
        for rank in [0, 5, 1_000, 2_500, 50_000, 97_000, 99_999] {
            let value = rows[(rank, 0)];
            let exact = (n - rank).min(rank + 1) as f64 / n as f64;
            let found = (-ecod.score_row(&[value])).exp();
            assert!((found - exact).abs() < 1e-4, "{rank}: {found} {exact}");
            let column = &ecod.columns[0];
            let at = column.values.partition_point(|v| *v <= value) - 1;
            let share = (-column.left[at]).exp();
            assert!(
                (share - (rank + 1) as f64 / n as f64).abs() < 1e-4,
                "{rank}"
            );
        }
    }
}
