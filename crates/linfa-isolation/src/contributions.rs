//! Which columns made a row's score, and in which direction.
//!
//! In each tree, a step from a node of `n` training rows to a child of `m` is credited with
//! `ln(n / m)`: how surprising it is to go that way. The credits of a path sum to
//! `ln(sample size / rows in the leaf)`; divided by that, they are shares of the tree's verdict, one
//! for each split on the way. A split along one column gives its share to that column, as too high if
//! the row went right, too low if left. In forests that split along sums, it goes to the columns that
//! pulled the row to its side, in proportion to their terms (as distances from the mean), and is for
//! too high if the value is above the mean.
//!
//! A tree that isolates the row early has found something, one that takes long has not: a tree counts
//! `2^(-h)`, where `h` is what its leaf says (by default the path length). The weighted mean of the
//! trees' shares, times the score, is what [`IsolationForest::contributions`] returns: no part is
//! negative, and together they are the score.
//!
//! Published attributions for isolation forests go the same way with other weights: DIFFI (Carletti,
//! Terzi, Susto, 2020, arXiv 2007.11117) weights by `1 / h` and scales by how uneven a split is; the
//! split into too high and too low is that of AWS's random cut forests.

use ndarray::{Array1, Array2, ArrayView1, ArrayView2, Axis};
use rayon::prelude::*;

use crate::credits::{Credits, FramedRows, StepCredits};
use crate::error::{Error, Result};
use crate::finite::require_allowed;
use crate::forest::IsolationForest;
use crate::kernel::Scratch;
use crate::params::Missing;

/// Rows that one rayon task takes.
const TASK_ROWS: usize = 1024;

/// Scores with the columns' parts in them.
#[derive(Debug, Clone, PartialEq)]
pub struct Contributions {
    /// The scores, n_samples long, as [`IsolationForest::score_samples`] gives them.
    pub scores: Array1<f64>,
    /// What each column contributed by being too high, shape (n_samples, n_features), not negative.
    pub too_high: Array2<f64>,
    /// What each column contributed by being too low, shape (n_samples, n_features), not negative.
    pub too_low: Array2<f64>,
}

impl Contributions {
    /// What each column contributed, shape (n_samples, n_features). A row's sum is its score, up to
    /// rounding.
    #[must_use]
    pub fn total(&self) -> Array2<f64> {
        &self.too_high + &self.too_low
    }
}

impl IsolationForest {
    /// Scores of `records`, shape (n_samples, n_features), with each column's part in them and the
    /// direction of it. A row's parts sum to its score, up to rounding. See
    /// [`Contributions`] for the shapes.
    ///
    /// In each tree, a step from a node of `n` training rows to one of `m` is credited with `ln(n / m)`,
    /// as a share of all credits on the row's way; a tree counts `2^(-h)` for a path length of `h`. The
    /// weighted mean of the shares, times the score, is the part. A split along one column gives its
    /// share to that column, too high if the row went right; one along a sum to the columns that pulled
    /// the row to its side, too high if the value is above the mean. This is akin to DIFFI (Carletti,
    /// Terzi, Susto, arXiv 2007.11117), with other weights.
    ///
    /// ```
    /// use linfa::ParamGuard;
    /// use linfa_isolation::IsolationForest;
    /// use ndarray::Array2;
    ///
    /// let records = Array2::from_shape_fn((400, 3), |(i, j)| ((i * (7 + 4 * j)) % 101) as f64);
    /// let forest = IsolationForest::params(1).check()?.fit_view(records.view())?;
    /// let suspect = ndarray::array![[50.0, -300.0, 50.0]];
    /// let why = forest.contributions(suspect.view())?;
    /// assert!(why.too_low[[0, 1]] > 0.5 * why.scores[0], "{why:?}");
    /// assert!((why.total().sum() - why.scores[0]).abs() < 1e-12);
    /// # Ok::<(), linfa_isolation::Error>(())
    /// ```
    ///
    /// # Errors
    ///
    /// As [`score_samples`](Self::score_samples).
    pub fn contributions(&self, records: ArrayView2<'_, f64>) -> Result<Contributions> {
        let (n_samples, n_features) = records.dim();
        self.require_n_features(n_features)?;
        require_allowed(&records, 0, self.missing() == Missing::BothWays)?;
        let mut scores = Array1::zeros(n_samples);
        let mut too_high = Array2::zeros((n_samples, n_features));
        let mut too_low = Array2::zeros((n_samples, n_features));
        let tasks = records
            .axis_chunks_iter(Axis(0), TASK_ROWS)
            .into_par_iter()
            .zip(scores.axis_chunks_iter_mut(Axis(0), TASK_ROWS))
            .zip(too_high.axis_chunks_iter_mut(Axis(0), TASK_ROWS))
            .zip(too_low.axis_chunks_iter_mut(Axis(0), TASK_ROWS));
        tasks.for_each_init(
            || (Scratch::default(), SlotScratch::default()),
            |(scratch, slots), (((rows, mut scores), mut too_high), mut too_low)| {
                self.each_row_of_slots(&rows, scratch, slots, |row, sum, slots| {
                    scores[row] = self.score_of_sum(sum);
                    let mut high = too_high.row_mut(row);
                    let mut low = too_low.row_mut(row);
                    share_score(scores[row], slots, |column, parts| {
                        (high[column], low[column]) = parts;
                    });
                });
            },
        );
        Ok(Contributions {
            scores,
            too_high,
            too_low,
        })
    }

    /// [`contributions`](Self::contributions) of one row, into buffers of `n_features` places; returns
    /// the score.
    ///
    /// # Errors
    ///
    /// As [`score_one`](Self::score_one); buffers of another length are refused, too.
    pub fn contributions_one(
        &self,
        row: &[f64],
        too_high: &mut [f64],
        too_low: &mut [f64],
    ) -> Result<f64> {
        for actual in [too_high.len(), too_low.len()] {
            if actual != self.n_features() {
                return Err(Error::WrongOutputLength {
                    expected: self.n_features(),
                    actual,
                });
            }
        }
        let score = self.score_one(row)?;
        let mut slots = vec![0.0; padded_slots(row.len())];
        self.add_slots_of_one(row, &mut slots);
        share_score(score, &slots[..2 * row.len()], |column, (high, low)| {
            too_high[column] = high;
            too_low[column] = low;
        });
        Ok(score)
    }

    /// Calls `visit` with each row of `rows`, whose values are known to be allowed, the sum of its leaf
    /// values and its slots.
    fn each_row_of_slots(
        &self,
        rows: &ArrayView2<'_, f64>,
        scratch: &mut Scratch,
        slots: &mut SlotScratch,
        mut visit: impl FnMut(usize, f64, &[f32]),
    ) {
        let n_slots = 2 * self.n_features();
        let stride = padded_slots(self.n_features());
        let SlotScratch {
            slots,
            sums,
            framed,
        } = slots;
        let (kernel, credits) = (self.kernel(), self.credits());
        if let Credits::Steps = credits {
            for (row, values) in rows.rows().into_iter().enumerate() {
                let values = values.to_vec();
                slots.clear();
                slots.resize(stride, 0.0);
                self.add_slots_of_one(&values, slots);
                let sum = kernel.sum_of_one(self.model(), &values);
                visit(row, sum, &slots[..n_slots]);
            }
            return;
        }
        kernel.each_block_of_leaves(self.model(), rows, scratch, |first, rows, leaves| {
            slots.clear();
            slots.resize(rows.nrows() * stride, 0.0);
            sums.clear();
            sums.resize(rows.nrows(), 0.0);
            framed.fill(self.model(), rows.rows().into_iter());
            // Tree by tree: the credits of a tree fit into the first-level cache.
            for tree in leaves.trees() {
                let ends = sums.iter_mut().zip(slots.chunks_exact_mut(stride));
                for (row, (leaf, (sum, slots))) in tree.zip(ends).enumerate() {
                    *sum += kernel.leaf_value(leaf);
                    credits.add_leaf(leaf, framed.row(row), slots);
                }
            }
            let may_miss = self.missing() == Missing::BothWays;
            let ends = sums.iter_mut().zip(slots.chunks_exact_mut(stride));
            for (row, (values, (sum, slots))) in rows.rows().into_iter().zip(ends).enumerate() {
                if may_miss && values.iter().any(|value| value.is_nan()) {
                    let values = values.to_vec();
                    slots.fill(0.0);
                    self.add_slots_of_one(&values, slots);
                    *sum = kernel.sum_of_one(self.model(), &values);
                }
                visit(first + row, *sum, &slots[..n_slots]);
            }
        });
    }

    /// Adds the credits of one row to slots filled up to a power of two.
    fn add_slots_of_one(&self, row: &[f64], slots: &mut [f32]) {
        match self.credits() {
            Credits::Steps => self.step_credits().add_row(self.model(), row, slots),
            _ if row.iter().any(|value| value.is_nan()) => {
                self.step_credits().add_row(self.model(), row, slots);
            }
            credits => {
                let mut framed = FramedRows::default();
                framed.fill(self.model(), std::iter::once(ArrayView1::from(row)));
                self.kernel()
                    .visit_leaves(row, |leaf| credits.add_leaf(leaf, framed.row(0), slots));
            }
        }
    }

    pub(crate) fn step_credits(&self) -> &StepCredits {
        let (_, steps) = self.credits_cells();
        steps.get_or_init(|| StepCredits::new(self.model()))
    }

    fn credits(&self) -> &Credits {
        self.credits_cells().0.get_or_init(|| Credits::new(self))
    }
}

/// Memory that is reused from block to block.
#[derive(Debug, Default)]
struct SlotScratch {
    /// Of each row.
    slots: Vec<f32>,
    /// Sums of leaf values.
    sums: Vec<f64>,
    framed: FramedRows,
}

/// Slots for `n_features` columns, filled up to a power of two, and at least 8.
fn padded_slots(n_features: usize) -> usize {
    (2 * n_features).next_power_of_two().max(8)
}

/// Shares `score` out in proportion to `slots`; evenly if nothing speaks for any column.
fn share_score(score: f64, slots: &[f32], mut keep: impl FnMut(usize, (f64, f64))) {
    let sum: f64 = slots.iter().map(|&slot| f64::from(slot)).sum();
    let even = score / slots.len() as f64;
    let scale = score / sum;
    for (column, parts) in slots.as_chunks::<2>().0.iter().enumerate() {
        let part = |slot: usize| {
            if sum > 0.0 {
                scale * f64::from(parts[slot])
            } else {
                even
            }
        };
        keep(column, (part(0), part(1)));
    }
}
