//! HBOS: one histogram a column.

use ndarray::ArrayView2;
use rayon::prelude::*;
use serde::{Deserialize, Serialize};

use crate::bytes::{Reader, Writer};
use crate::error::FormatError;
use crate::params::Checks;
use crate::scorer::Scorer;

/// Parameters of HBOS; the defaults are PyOD's.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct HbosConfig {
    /// Bins of equal width in each column's training range, 2 to 10,000. Default 10.
    pub n_bins: usize,
    /// Added to every density before its logarithm, above 0 and at most 1. Default 0.1.
    pub alpha: f64,
    /// How far outside the range a value still counts as in the outermost bin, in bin widths, 0 to
    /// 1. Default 0.5.
    pub tolerance: f64,
}

impl Default for HbosConfig {
    fn default() -> Self {
        Self {
            n_bins: 10,
            alpha: 0.1,
            tolerance: 0.5,
        }
    }
}

impl HbosConfig {
    /// The keys of an experiment file.
    pub const KEYS: &'static [&'static str] = &["n_bins", "alpha", "tolerance"];

    pub(crate) fn violations(&self) -> Vec<String> {
        Checks::default()
            .within("n_bins", self.n_bins, 2..=10_000)
            .above("alpha", self.alpha, 0.0, 1.0)
            .within("tolerance", self.tolerance, 0.0..=1.0)
            .done()
    }
}

/// Histogram-based outlier score (Goldstein and Dengel, KI 2012), with bins of equal width.
///
/// A feature adds −log₂(density of its bin + alpha); a value outside the training range counts as in
/// the emptiest bin. Equal to PyOD's `HBOS`. The score has a largest value: how far outside a value
/// lies doesn't matter.
#[derive(Debug, Clone, PartialEq)]
pub struct Hbos {
    tolerance: f64,
    columns: Vec<Column>,
}

#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Column {
    pub(crate) edges: Vec<f64>,
    /// −log₂(density + alpha) of each bin.
    pub(crate) parts: Vec<f64>,
    /// The largest of `parts`.
    pub(crate) outside: f64,
}

impl Hbos {
    pub(crate) fn fit(config: &HbosConfig, rows: ArrayView2<'_, f64>) -> Self {
        let columns = (0..rows.ncols())
            .into_par_iter()
            .map(|feature| {
                let values = rows.column(feature);
                let (mut low, mut high) = (f64::INFINITY, f64::NEG_INFINITY);
                for value in values {
                    low = low.min(*value);
                    high = high.max(*value);
                }
                if low == high {
                    // As NumPy widens the range of a constant column.
                    let half = 0.5_f64.max(low.abs() * 1e-9);
                    (low, high) = ((low - half).max(f64::MIN), (high + half).min(f64::MAX));
                }
                let edges = edges(low, high, config.n_bins);
                let mut counts = vec![0_usize; config.n_bins];
                for value in values {
                    // A value on an edge belongs above it, but for the last.
                    let above = edges.partition_point(|edge| *edge <= *value);
                    counts[above.clamp(1, config.n_bins) - 1] += 1;
                }
                let n = values.len() as f64;
                let parts: Vec<f64> = counts
                    .iter()
                    .zip(edges.windows(2))
                    .map(|(count, edges)| {
                        let width = (edges[1] / 2.0 - edges[0] / 2.0) * 2.0;
                        let density = (*count as f64 / n / width).min(f64::MAX / 2.0);
                        -(density + config.alpha).log2()
                    })
                    .collect();
                Column::new(edges, parts)
            })
            .collect();
        Self {
            tolerance: config.tolerance,
            columns,
        }
    }

    /// How far beyond the range, in widths of a bin, still counts as in it; the columns.
    pub(crate) fn columns(&self) -> (f64, &[Column]) {
        (self.tolerance, &self.columns)
    }

    fn sum(&self, row: &[f64], mut part: impl FnMut(usize, f64)) -> f64 {
        let mut sum = 0.0;
        for (feature, (column, value)) in self.columns.iter().zip(row).enumerate() {
            let found = column.part(*value, self.tolerance);
            part(feature, found);
            sum += found;
        }
        sum
    }

    pub(crate) fn write(&self, out: &mut Writer) {
        out.f64(self.tolerance);
        out.u64(self.columns.len() as u64);
        for column in &self.columns {
            out.f64s(&column.edges);
            out.f64s(&column.parts);
        }
    }

    pub(crate) fn read(from: &mut Reader<'_>) -> Result<Self, FormatError> {
        let refuse = |reason| Err(FormatError::content("hbos", reason));
        let tolerance = from.f64("hbos")?;
        if !(0.0..=1.0).contains(&tolerance) {
            return refuse("the tolerance is outside [0, 1]");
        }
        let n = from.count("hbos columns", 16)?;
        let mut columns = Vec::new();
        for _ in 0..n {
            let edges = from.f64s("hbos edges")?;
            let parts = from.f64s("hbos parts")?;
            let finite = edges.iter().chain(&parts).all(|v| v.is_finite());
            if !finite || parts.is_empty() || edges.len() != parts.len() + 1 || !edges.is_sorted() {
                return refuse("a column needs ascending edges, one more than its finite parts");
            }
            columns.push(Column::new(edges, parts));
        }
        if columns.is_empty() {
            return refuse("it has no columns");
        }
        Ok(Self { tolerance, columns })
    }
}

impl Scorer for Hbos {
    fn n_features(&self) -> usize {
        self.columns.len()
    }

    fn score_row(&self, row: &[f64]) -> f64 {
        self.sum(row, |_, _| ())
    }

    fn explain_row(&self, row: &[f64], parts: &mut [f64]) -> f64 {
        self.sum(row, |feature, part| parts[feature] = part)
    }
}

impl Column {
    fn new(edges: Vec<f64>, parts: Vec<f64>) -> Self {
        let outside = parts.iter().copied().fold(f64::NEG_INFINITY, f64::max);
        Self {
            edges,
            parts,
            outside,
        }
    }

    fn part(&self, value: f64, tolerance: f64) -> f64 {
        let last = self.edges.len() - 1;
        // PyOD looks up a value on an edge in the bin below it.
        let bin = self.edges.partition_point(|edge| *edge < value);
        let near = |distance: f64, width: f64| distance <= width * tolerance;
        if bin == 0 {
            let width = self.edges[1] - self.edges[0];
            if near(self.edges[0] - value, width) {
                self.parts[0]
            } else {
                self.outside
            }
        } else if bin > last {
            let width = self.edges[last] - self.edges[last - 1];
            if near(value - self.edges[last], width) {
                self.parts[last - 1]
            } else {
                self.outside
            }
        } else {
            self.parts[bin - 1]
        }
    }
}

/// `n` bins of equal width from `low` to `high`, as `numpy.linspace` has them.
fn edges(low: f64, high: f64, n: usize) -> Vec<f64> {
    let step = (high / 2.0 - low / 2.0) / n as f64 * 2.0;
    let mut edges: Vec<f64> = (0..=n).map(|i| i as f64 * step + low).collect();
    edges[n] = high;
    edges
}
