//! Growing trees: what all forms share.
//!
//! A tree draws rows and columns, then splits nodes breadth first until a node has one row, lies at
//! the depth limit, or has no column that varies in it. How a split is found is the form's business:
//! [`axis`] cuts along single columns at random, [`oblique`] along sums of columns, at random or by
//! gain.

mod axis;
mod oblique;

use ndarray::ArrayView2;
use rayon::prelude::*;

use crate::error::{Error, Result};
use crate::finite::{require_allowed, require_allowed_rows};
use crate::forest::IsolationForest;
use crate::frame::Frame;
use crate::model::{AxisSplits, Model, NO_SPLIT, Node, ObliqueSplits, Splits, Tree};
use crate::params::{Form, IsolationForestValidParams, Missing, Scoring, default_max_depth};
use crate::random::{TreeRng, WeightedRows};
use axis::AxisSplit;
use oblique::GrownOblique;

/// Rows and columns that a tree can address.
const MAX_LEN: usize = i32::MAX as usize;

/// Splits that a forest can address.
const MAX_SPLITS: usize = i32::MAX as usize;

/// Numbers in a line of the cache.
const CACHE_LINE: usize = 8;

/// Trees whose rows decide about the frame of a forest that splits along sums of columns.
const N_FRAME_TREES: usize = 8;

impl IsolationForestValidParams {
    /// Fits a forest on `records`, shape (n_samples, n_features), in any memory layout. This is what
    /// linfa's `fit` calls; it needs no [`Dataset`](linfa::Dataset).
    ///
    /// Each tree has a generator of its own, seeded from the seed and the tree's index, so the forest
    /// doesn't depend on the number of threads of rayon's current pool, on which the trees grow.
    ///
    /// # Errors
    ///
    /// An empty table, one with a value that is not finite (but for NaN with
    /// [`Missing::BothWays`]), and one with fewer columns than `max_features`, `hyperplane_columns` or
    /// the extension level ask for are refused; so are more than 2^31 - 1 rows or columns, and as many
    /// rows in all trees.
    pub fn fit_view(&self, records: ArrayView2<'_, f64>) -> Result<IsolationForest> {
        self.fit_sampler(records, &Sampler::Even(records.nrows()), None)
    }

    /// [`fit_view`](Self::fit_view), with `stop` asked before every few trees; `true` ends the fit. The
    /// forest is the same.
    ///
    /// # Errors
    ///
    /// As [`fit_view`](Self::fit_view), and [`Error::Stopped`].
    pub fn fit_view_until(
        &self,
        records: ArrayView2<'_, f64>,
        stop: &mut dyn FnMut() -> bool,
    ) -> Result<IsolationForest> {
        self.fit_sampler(records, &Sampler::Even(records.nrows()), Some(stop))
    }

    /// [`fit_view`](Self::fit_view) with `weights`, one per row: the odds with which a tree draws the
    /// row. Rows are still drawn without replacement, one after another among those that are left, so
    /// a row of weight 0 is in no tree and one of weight 2 is drawn first twice as often as one of
    /// weight 1. Trees are no larger than the number of rows with a positive weight.
    ///
    /// This is what linfa's `fit` calls on a dataset with weights.
    ///
    /// # Errors
    ///
    /// As [`fit_view`](Self::fit_view); weights of another number than the rows, negative ones, ones
    /// that are not finite, and only zeros are refused.
    pub fn fit_weighted(
        &self,
        records: ArrayView2<'_, f64>,
        weights: &[f32],
    ) -> Result<IsolationForest> {
        if weights.len() != records.nrows() {
            return Err(Error::WrongWeightCount {
                expected: records.nrows(),
                actual: weights.len(),
            });
        }
        let sound = |weight: f32| weight.is_finite() && weight >= 0.0;
        if let Some(row) = weights.iter().position(|&weight| !sound(weight)) {
            return Err(Error::InvalidWeight {
                row,
                weight: weights[row],
            });
        }
        if records.is_empty() {
            return self.fit_view(records);
        }
        match WeightedRows::new(weights) {
            Some(rows) => self.fit_sampler(records, &Sampler::Weighted(rows), None),
            None => Err(Error::NoWeight),
        }
    }

    fn fit_sampler(
        &self,
        records: ArrayView2<'_, f64>,
        sampler: &Sampler,
        stop: Stop<'_>,
    ) -> Result<IsolationForest> {
        let (n_samples, n_features) = records.dim();
        if n_samples == 0 || n_features == 0 {
            return Err(Error::Empty {
                n_samples,
                n_features,
            });
        }
        if n_samples > MAX_LEN || n_features > MAX_LEN {
            return Err(Error::TooLarge {
                n_samples,
                n_features,
            });
        }
        let refuse = |parameter, value: usize| {
            Err(Error::InvalidParameter {
                parameter,
                value: value.to_string(),
                allowed: "at most the number of columns",
            })
        };
        let max_features = self.max_features().unwrap_or(n_features);
        if max_features > n_features {
            return refuse("max_features", max_features);
        }
        match self.form() {
            Form::Extended { extension_level } if extension_level >= n_features => {
                return Err(Error::InvalidParameter {
                    parameter: "extension_level",
                    value: extension_level.to_string(),
                    allowed: "below the number of columns",
                });
            }
            // The default of two columns is no reason to refuse a table of one.
            _ if self.hyperplane_columns() > n_features.max(2) => {
                return refuse("hyperplane_columns", self.hyperplane_columns());
            }
            _ => {}
        }
        let allow_nan = self.missing() == Missing::BothWays;
        if self.check_all_rows() {
            require_allowed(&records, 0, allow_nan)?;
        }

        let sample_size = self.sample_size().resolve(n_samples).min(sampler.n_rows());
        let limits = GrowLimits {
            sample_size,
            max_depth: self
                .max_depth()
                .unwrap_or_else(|| default_max_depth(sample_size)),
            max_features,
            least_rows: match self.form() {
                Form::Classic | Form::Extended { .. } => 2,
                // Of two rows there is but one way to choose a cut.
                Form::SciForest | Form::FairCut => 3,
            },
            allow_nan,
            unchecked: !self.check_all_rows(),
            keep_shares: self.scoring() != Scoring::PathLength,
        };
        if sample_size.saturating_mul(self.n_trees()) > MAX_SPLITS {
            return Err(Error::TooManyRowsInTrees {
                n_trees: self.n_trees(),
                sample_size,
            });
        }
        let (trees, splits, left_shares) = if self.axis_parallel() {
            grow_axis(self, &records, sampler, limits, stop)?
        } else {
            grow_oblique(self, &records, sampler, limits, stop)?
        };
        Ok(IsolationForest::new(Model {
            n_features,
            sample_size,
            seed: self.seed(),
            form: self.form(),
            scoring: self.scoring(),
            missing: self.missing(),
            trees,
            splits,
            left_shares,
        }))
    }
}

/// Asked whether to go on growing; `true` is to stop.
type Stop<'a> = Option<&'a mut dyn FnMut() -> bool>;

/// Limits under which a tree grows.
#[derive(Debug, Clone, Copy)]
struct GrowLimits {
    sample_size: usize,
    max_depth: usize,
    max_features: usize,
    /// Rows of a node that is split.
    least_rows: usize,
    /// Whether NaN is a missing value rather than an error.
    allow_nan: bool,
    /// Whether drawn rows have yet to be checked.
    unchecked: bool,
    keep_shares: bool,
}

/// Which rows a tree draws.
enum Sampler {
    /// All of so many rows are equally likely.
    Even(usize),
    Weighted(WeightedRows),
}

impl Sampler {
    /// The most rows that can be drawn.
    fn n_rows(&self) -> usize {
        match self {
            Self::Even(n_rows) => *n_rows,
            Self::Weighted(rows) => rows.n_positive(),
        }
    }

    fn sample(&self, rng: &mut TreeRng, count: usize) -> Vec<usize> {
        match self {
            Self::Even(n_rows) => rng.sample(*n_rows, count),
            Self::Weighted(rows) => rows.sample(rng, count),
        }
    }
}

type Grown = (Vec<Tree>, Splits, Vec<f32>);

fn grow_axis(
    params: &IsolationForestValidParams,
    records: &ArrayView2<'_, f64>,
    sampler: &Sampler,
    limits: GrowLimits,
    stop: Stop<'_>,
) -> Result<Grown> {
    let grown: Vec<(Outline, Vec<(u32, AxisSplit)>)> =
        each_tree(params.n_trees(), stop, |tree_idx| {
            let mut rng = TreeRng::new(params.seed(), tree_idx);
            let sample = Sample::draw(records, sampler, limits, &mut rng, |_, value| value)?;
            let mut splits = Vec::with_capacity(limits.sample_size);
            let outline = grow_outline(&sample, limits, &mut rng, |members, rng| {
                let split = axis::draw_split(&sample, members, rng)?;
                splits.push(split);
                let threshold = split.threshold;
                let values = &sample.columns[split.column].values;
                Some(partition(members, limits, rng, |_, row| {
                    side(values[row], threshold)
                }))
            });
            let named = splits
                .iter()
                .map(|split| (sample.columns[split.column].feature, *split));
            Ok((outline, named.collect()))
        })?;

    let n_splits = grown.iter().map(|(_, splits)| splits.len()).sum();
    let mut trees = Vec::with_capacity(grown.len());
    let mut splits = Vec::with_capacity(n_splits);
    let mut left_shares = Vec::new();
    for (outline, of_tree) in grown {
        trees.push(outline.into_tree(splits.len()));
        splits.extend(
            of_tree
                .iter()
                .map(|(feature, split)| (*feature, split.threshold)),
        );
        if limits.keep_shares {
            left_shares.extend(of_tree.iter().map(|(_, split)| split.left_share));
        }
    }
    let splits = Splits::Axis(AxisSplits::new(&splits));
    Ok((trees, splits, left_shares))
}

fn grow_oblique(
    params: &IsolationForestValidParams,
    records: &ArrayView2<'_, f64>,
    sampler: &Sampler,
    limits: GrowLimits,
    stop: Stop<'_>,
) -> Result<Grown> {
    let mut frame_rows = Vec::new();
    for tree_idx in 0..params.n_trees().min(N_FRAME_TREES) {
        // The same draw as the tree's own, which comes first of all.
        let mut rng = TreeRng::new(params.seed(), tree_idx);
        frame_rows.extend(sampler.sample(&mut rng, limits.sample_size));
    }
    if limits.unchecked {
        require_allowed_rows(records, &frame_rows, limits.allow_nan)?;
    }
    let frame = Frame::new(records, &frame_rows);
    let n_terms = params.hyperplane_columns().min(records.ncols());
    let grown: Vec<(Outline, GrownOblique)> = each_tree(params.n_trees(), stop, |tree_idx| {
        let mut rng = TreeRng::new(params.seed(), tree_idx);
        let map = |column, value| frame.map(column, value);
        let sample = Sample::draw(records, sampler, limits, &mut rng, map)?;
        let mut grower = GrownOblique::new(params, n_terms);
        let outline = grow_outline(&sample, limits, &mut rng, |members, rng| {
            let threshold = grower.split(&sample, members, rng)?;
            let projections = grower.projections();
            Some(partition(members, limits, rng, |position, _| {
                side(projections[position], threshold)
            }))
        });
        Ok((outline, grower))
    })?;

    let mut trees = Vec::with_capacity(grown.len());
    let mut left_shares = Vec::new();
    let mut splits = ObliqueSplits {
        n_terms,
        columns: Vec::new(),
        weights: Vec::new(),
        thresholds: Vec::new(),
        limits: Vec::new(),
        frame,
    };
    for (outline, of_tree) in grown {
        trees.push(outline.into_tree(splits.thresholds.len()));
        splits.columns.extend(of_tree.columns);
        splits.weights.extend(of_tree.weights);
        splits.thresholds.extend(of_tree.thresholds);
        if params.penalize_range() {
            splits.limits.extend(of_tree.limits);
        }
        if limits.keep_shares {
            left_shares.extend(of_tree.left_shares);
        }
    }
    Ok((trees, Splits::Oblique(splits), left_shares))
}

/// Grows the trees 0 to `n_trees` on rayon's threads; a few at a time where somebody may say to stop.
fn each_tree<T: Send>(
    n_trees: usize,
    stop: Stop<'_>,
    grow: impl Fn(usize) -> Result<T> + Sync,
) -> Result<Vec<T>> {
    let Some(stop) = stop else {
        return first_error((0..n_trees).into_par_iter().map(&grow).collect());
    };
    // Enough that no thread waits long for the last of them.
    let few = 4 * rayon::current_num_threads();
    let mut grown = Vec::with_capacity(n_trees);
    for first in (0..n_trees).step_by(few) {
        if stop() {
            return Err(Error::Stopped);
        }
        let trees = first..(first + few).min(n_trees);
        grown.par_extend(trees.into_par_iter().map(&grow));
    }
    first_error(grown)
}

/// All trees, or the error that names the first bad value of the table, whichever tree met it first.
fn first_error<T>(grown: Vec<Result<T>>) -> Result<Vec<T>> {
    let position = |error: &Error| match error {
        Error::NonFinite { row, column, .. } => (*row, *column),
        _ => (0, 0),
    };
    let mut trees = Vec::with_capacity(grown.len());
    let mut first: Option<Error> = None;
    for tree in grown {
        match tree {
            Ok(tree) => trees.push(tree),
            Err(error) => {
                if first
                    .as_ref()
                    .is_none_or(|first| position(&error) < position(first))
                {
                    first = Some(error);
                }
            }
        }
    }
    first.map_or(Ok(trees), Err)
}

/// The rows that a tree is grown from, by column, without the columns that are constant in them.
struct Sample<T> {
    n_rows: usize,
    columns: Vec<SampleColumn<T>>,
}

struct SampleColumn<T> {
    feature: u32,
    values: Vec<T>,
}

impl<T: Copy + PartialOrd + Default> Sample<T> {
    /// Draws rows and columns and takes over their values, as `map` makes them of column and value.
    fn draw(
        records: &ArrayView2<'_, f64>,
        sampler: &Sampler,
        limits: GrowLimits,
        rng: &mut TreeRng,
        map: impl Fn(usize, f64) -> T,
    ) -> Result<Self> {
        let rows = sampler.sample(rng, limits.sample_size);
        let columns = rng.sample(records.ncols(), limits.max_features);
        let mut columns: Vec<SampleColumn<T>> = columns
            .into_iter()
            .map(|column| SampleColumn {
                feature: column as u32,
                values: vec![T::default(); rows.len()],
            })
            .collect();
        if let Some(values) = records.as_slice() {
            let n_features = records.ncols();
            fetch(values, n_features, &rows);
            for (position, &row) in rows.iter().enumerate() {
                let values = &values[row * n_features..(row + 1) * n_features];
                for column in &mut columns {
                    let feature = column.feature as usize;
                    column.values[position] = map(feature, values[feature]);
                }
            }
        } else {
            for column in &mut columns {
                let feature = column.feature as usize;
                let values = records.column(feature);
                for (to, &row) in column.values.iter_mut().zip(&rows) {
                    *to = map(feature, values[row]);
                }
            }
        }
        if limits.unchecked {
            require_allowed_rows(records, &rows, limits.allow_nan)?;
        }
        columns.retain(|column| {
            let first = column.values[0];
            column.values.iter().any(|&value| value != first)
        });
        Ok(Self {
            n_rows: rows.len(),
            columns,
        })
    }
}

/// Brings `rows` into the cache. Drawn rows are scattered over a table that is far larger; this loop
/// does nothing but wait for them, so it waits for many at the same time.
fn fetch(values: &[f64], n_features: usize, rows: &[usize]) {
    let mut sum = 0.0;
    for &row in rows {
        let mut at = row * n_features;
        while at < (row + 1) * n_features {
            sum += values[at];
            at += CACHE_LINE;
        }
        sum += values[(row + 1) * n_features - 1];
    }
    std::hint::black_box(sum);
}

/// The shape of a tree: nodes breadth first, splits numbered from 0.
struct Outline {
    nodes: Vec<Node>,
    depth: usize,
}

impl Outline {
    fn into_tree(mut self, first_split: usize) -> Tree {
        for node in &mut self.nodes {
            if !node.is_leaf() {
                node.split += first_split as u32;
            }
        }
        Tree {
            nodes: self.nodes,
            depth: self.depth,
        }
    }
}

/// Splits nodes breadth first. `split` is given a node's rows and puts those of the left side first;
/// it returns their number, or `None` where there is nothing to split.
fn grow_outline<T>(
    sample: &Sample<T>,
    limits: GrowLimits,
    rng: &mut TreeRng,
    mut split: impl FnMut(&mut [u32], &mut TreeRng) -> Option<usize>,
) -> Outline {
    let mut order: Vec<u32> = (0..sample.n_rows as u32).collect();
    let mut nodes: Vec<Node> = Vec::with_capacity(2 * sample.n_rows);
    // Doubles as the queue of a breadth-first walk: (first, end, depth) within `order`.
    let mut pending = Vec::with_capacity(2 * sample.n_rows);
    pending.push((0, sample.n_rows, 0));
    let mut n_splits = 0;
    let mut deepest = 0;
    while let Some(&(first, end, depth)) = pending.get(nodes.len()) {
        let members = &mut order[first..end];
        let n_left = if members.len() >= limits.least_rows && depth < limits.max_depth {
            split(members, rng)
        } else {
            None
        };
        let n_rows = (end - first) as u32;
        deepest = deepest.max(depth);
        nodes.push(match n_left {
            Some(n_left) => {
                debug_assert!(0 < n_left && n_left < end - first, "a side is empty");
                let left = pending.len() as u32;
                pending.push((first, first + n_left, depth + 1));
                pending.push((first + n_left, end, depth + 1));
                n_splits += 1;
                Node {
                    left,
                    n_rows,
                    split: n_splits - 1,
                }
            }
            None => Node {
                left: nodes.len() as u32,
                n_rows,
                split: NO_SPLIT,
            },
        });
    }
    Outline {
        nodes,
        depth: deepest,
    }
}

/// The side of a value: `None` if it is missing.
#[inline]
fn side<T: PartialOrd>(value: T, threshold: T) -> Option<bool> {
    if value <= threshold {
        Some(true)
    } else if value > threshold {
        Some(false)
    } else {
        None
    }
}

/// Moves the members that go left to the front; returns their number. `goes_left` is asked by position
/// and row; members of neither side join one at random, with the odds of the others.
fn partition(
    members: &mut [u32],
    limits: GrowLimits,
    rng: &mut TreeRng,
    goes_left: impl Fn(usize, usize) -> Option<bool>,
) -> usize {
    let odds = limits.allow_nan.then(|| {
        let sides = members.iter().enumerate();
        let known = sides.filter_map(|(position, &row)| goes_left(position, row as usize));
        known.fold((0, 0), |(n_left, n), left| {
            (n_left + usize::from(left), n + 1)
        })
    });
    let mut n_left = 0;
    for position in 0..members.len() {
        let row = members[position];
        let left = match (goes_left(position, row as usize), odds) {
            (Some(left), _) => left,
            (None, Some((n_known_left, n_known))) => rng.below(n_known) < n_known_left,
            (None, None) => false,
        };
        members[position] = members[n_left];
        members[n_left] = row;
        n_left += usize::from(left);
    }
    n_left
}

#[cfg(test)]
mod tests;
