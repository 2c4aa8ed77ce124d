//! A k-d tree over rows, for distances to the nearest, and for what lies within a radius.
//!
//! Squared distances are sums of (x − y)² over the columns in their order, and a box or a row is passed
//! over only by bounds that hold for these sums as rounded, so answers are those of comparing every pair.

mod coarse;
mod query;

use pulp::{Arch, Simd};

use crate::bytes::{Reader, Writer};
use crate::error::{Error, FormatError, Result};
use crate::linalg::{dot, mean_and_covariance, principal_axes};
use crate::observer::FitObserver;
use coarse::Coarse;
pub(crate) use query::Nearest;

/// Rows of a block: their columns lie side by side, for vector instructions.
pub(crate) const LANES: usize = 16;
/// No tree over fewer rows than 2³² is deeper: it halves.
const MAX_DEPTH: usize = 33;
/// Columns of a turned tree at most: turning takes their square.
const MOST_TURNED: usize = 32;
/// Below a node of so many rows nobody is asked whether to go on.
const ROWS_BETWEEN_QUESTIONS: usize = 50_000;

/// A balanced tree of tight boxes with blocks of rows in its leaves.
#[derive(Debug, Clone)]
pub(crate) struct KdTree {
    dims: usize,
    arch: Arch,
    /// The rows as given, row after row.
    rows: Vec<f64>,
    /// Row numbers in the order of the leaves: a *position* is an index into it.
    ids: Vec<u32>,
    /// In the order of a walk that goes left first.
    nodes: Vec<Node>,
    /// Of each node, its lowest value in every column, then its highest.
    boxes: Vec<f64>,
    /// Of each block, every column of [`LANES`] rows; places beyond a leaf's end are infinite.
    blocks: Vec<f64>,
    coarse: Coarse,
}

#[derive(Debug, Clone, Copy)]
pub(crate) struct Node {
    /// Its positions.
    pub(crate) start: u32,
    pub(crate) end: u32,
    /// Its right child; the left one follows it. 0: a leaf.
    right: u32,
    /// A leaf's first block.
    block: u32,
}

impl Node {
    pub(crate) fn is_leaf(self) -> bool {
        self.right == 0
    }

    pub(crate) fn positions(self) -> std::ops::Range<usize> {
        self.start as usize..self.end as usize
    }
}

impl KdTree {
    /// Of finite `rows`, row after row, `dims` values each; at least one row and one value.
    pub(crate) fn new(rows: Vec<f64>, dims: usize) -> Self {
        Self::new_until(rows, dims, &mut || false).0
    }

    /// The same, with `stop` asked now and then; where it said to, the tree is none and `true` comes with it.
    fn new_until(rows: Vec<f64>, dims: usize, stop: &mut dyn FnMut() -> bool) -> (Self, bool) {
        let n = rows.len() / dims;
        let mut tree = Self {
            dims,
            arch: Arch::new(),
            ids: (0..n as u32).collect(),
            rows,
            nodes: Vec::new(),
            boxes: Vec::new(),
            blocks: Vec::new(),
            coarse: Coarse::default(),
        };
        let mut ids = std::mem::take(&mut tree.ids);
        let stopped = !tree.build(&mut ids, 0, stop);
        tree.ids = ids;
        if !stopped {
            tree.coarse = Coarse::new(dims, &tree.boxes, &tree.blocks);
        }
        (tree, stopped)
    }

    /// Of the same rows, for [`k_nearest`](Self::k_nearest) alone, with the same answers: its boxes lie along the rows' principal axes, so that
    /// fewer of them come near where columns go together. Of ties another row may be named.
    pub(crate) fn turned(rows: Vec<f64>, dims: usize) -> Self {
        Self::turned_until(rows, dims, &mut || false).0
    }

    /// The same, unless `observer` says to stop.
    pub(crate) fn turned_watched(
        rows: Vec<f64>,
        dims: usize,
        observer: &mut dyn FitObserver,
    ) -> Result<Self> {
        match Self::turned_until(rows, dims, &mut || observer.should_stop()) {
            (_, true) => Err(Error::Stopped),
            (tree, false) => Ok(tree),
        }
    }

    fn turned_until(rows: Vec<f64>, dims: usize, stop: &mut dyn FnMut() -> bool) -> (Self, bool) {
        let axes = if (2..=MOST_TURNED).contains(&dims) {
            let (_, covariance) = mean_and_covariance(rows.chunks_exact(dims), dims);
            principal_axes(covariance, dims)
        } else {
            None
        };
        let Some(axes) = axes else {
            return Self::new_until(rows, dims, stop);
        };
        let turn = |row| axes.chunks_exact(dims).map(move |axis| dot(axis, row));
        let turned = rows.chunks_exact(dims).flat_map(turn).collect();
        let (mut tree, stopped) = Self::new_until(turned, dims, stop);
        tree.coarse.turn(axes);
        tree.rows = rows;
        tree.boxes = Vec::new();
        tree.blocks = Vec::new();
        (tree, stopped)
    }

    /// As [`new`](Self::new), unless `observer` says to stop.
    pub(crate) fn watched(
        rows: Vec<f64>,
        dims: usize,
        observer: &mut dyn FitObserver,
    ) -> Result<Self> {
        match Self::new_until(rows, dims, &mut || observer.should_stop()) {
            (_, true) => Err(Error::Stopped),
            (tree, false) => Ok(tree),
        }
    }

    /// Rows in a leaf at most, by measurement: to compare rows is cheaper than to pass over boxes.
    fn leaf_rows(&self) -> usize {
        if self.dims <= 3 { 2 * LANES } else { 4 * LANES }
    }

    /// Whether it came to the end.
    fn build(&mut self, ids: &mut [u32], start: usize, stop: &mut dyn FnMut() -> bool) -> bool {
        if ids.len() > ROWS_BETWEEN_QUESTIONS && stop() {
            return false;
        }
        let dims = self.dims;
        let node = self.nodes.len();
        let mut low = vec![f64::INFINITY; dims];
        let mut high = vec![f64::NEG_INFINITY; dims];
        for id in &*ids {
            let row = &self.rows[*id as usize * dims..][..dims];
            for ((low, high), value) in low.iter_mut().zip(&mut high).zip(row) {
                *low = low.min(*value);
                *high = high.max(*value);
            }
        }
        let width = |j: usize| high[j] / 2.0 - low[j] / 2.0;
        let widest = (0..dims).fold(0, |best, j| if width(j) > width(best) { j } else { best });
        let is_leaf = ids.len() <= self.leaf_rows() || width(widest) <= 0.0;
        self.boxes.extend_from_slice(&low);
        self.boxes.extend_from_slice(&high);
        self.nodes.push(Node {
            start: start as u32,
            end: (start + ids.len()) as u32,
            right: 0,
            block: (self.blocks.len() / (LANES * dims)) as u32,
        });
        if is_leaf {
            for ids in ids.chunks(LANES) {
                for j in 0..dims {
                    let column = ids.iter().map(|id| self.rows[*id as usize * dims + j]);
                    let padding = std::iter::repeat_n(f64::INFINITY, LANES - ids.len());
                    self.blocks.extend(column.chain(padding));
                }
            }
            return true;
        }
        // Whole blocks to the left, so that few places are padding.
        let middle = (ids.len() / 2).next_multiple_of(LANES).min(ids.len() - 1);
        let value = |id: &u32| self.rows[*id as usize * dims + widest];
        ids.select_nth_unstable_by(middle, |a, b| value(a).total_cmp(&value(b)).then(a.cmp(b)));
        let (left, right) = ids.split_at_mut(middle);
        if !self.build(left, start, stop) {
            return false;
        }
        self.nodes[node].right = self.nodes.len() as u32;
        self.build(right, start + middle, stop)
    }

    pub(crate) fn dims(&self) -> usize {
        self.dims
    }

    /// Number of rows.
    pub(crate) fn len(&self) -> usize {
        self.ids.len()
    }

    pub(crate) fn arch(&self) -> Arch {
        self.arch
    }

    /// The row number at a position.
    pub(crate) fn id(&self, position: usize) -> usize {
        self.ids[position] as usize
    }

    /// The row of a number.
    pub(crate) fn row(&self, id: usize) -> &[f64] {
        &self.rows[id * self.dims..][..self.dims]
    }

    pub(crate) fn nodes(&self) -> &[Node] {
        &self.nodes
    }

    /// The children of an inner node.
    pub(crate) fn children(&self, node: usize) -> [usize; 2] {
        [node + 1, self.nodes[node].right as usize]
    }

    /// A leaf's blocks.
    #[inline(always)]
    pub(crate) fn leaf_blocks(&self, node: Node) -> impl Iterator<Item = &[f64]> {
        let size = LANES * self.dims;
        let n_blocks = (node.end - node.start).div_ceil(LANES as u32) as usize;
        self.blocks[node.block as usize * size..][..n_blocks * size].chunks_exact(size)
    }

    #[inline(always)]
    pub(crate) fn bounds(&self, node: usize) -> (&[f64], &[f64]) {
        self.boxes[node * 2 * self.dims..][..2 * self.dims].split_at(self.dims)
    }

    /// Squared distance of `row` from the box of a node: no row in it is nearer.
    #[inline(always)]
    pub(crate) fn box_distance(&self, node: usize, row: &[f64]) -> f64 {
        let (low, high) = self.bounds(node);
        let mut sum = 0.0;
        for ((low, high), value) in low.iter().zip(high).zip(row) {
            let outside = (low - value).max(value - high).max(0.0);
            sum += outside * outside;
        }
        sum
    }

    /// The smallest and the largest squared distance that rows of two nodes may have.
    pub(crate) fn box_distances(&self, a: usize, b: usize) -> (f64, f64) {
        let ((low_a, high_a), (low_b, high_b)) = (self.bounds(a), self.bounds(b));
        let (mut least, mut most) = (0.0, 0.0);
        for j in 0..self.dims {
            let gap = (low_a[j] - high_b[j]).max(low_b[j] - high_a[j]).max(0.0);
            let span = (high_a[j] - low_b[j]).max(high_b[j] - low_a[j]);
            least += gap * gap;
            most += span * span;
        }
        (least, most)
    }

    /// Its rows; the tree is made anew from them, turned.
    pub(crate) fn write(&self, out: &mut Writer) {
        out.u64(self.dims as u64);
        out.f64s(&self.rows);
    }

    pub(crate) fn read(from: &mut Reader<'_>) -> Result<Self, FormatError> {
        let dims = from.u64("columns of the kept rows")?;
        let rows = from.f64s("kept rows")?;
        let dims = usize::try_from(dims).unwrap_or(usize::MAX);
        let whole = dims > 0 && !rows.is_empty() && rows.len().is_multiple_of(dims);
        let fits = rows.len() / dims.max(1) < u32::MAX as usize;
        if !whole || !fits || rows.iter().any(|v| !v.is_finite()) {
            return Err(FormatError::content(
                "kept rows",
                "whole rows of finite numbers are needed, and at least one",
            ));
        }
        Ok(Self::turned(rows, dims))
    }
}

impl PartialEq for KdTree {
    fn eq(&self, other: &Self) -> bool {
        self.dims == other.dims && self.rows == other.rows
    }
}

/// Squared distances of `row` from the rows of a block.
#[inline(always)]
pub(crate) fn block_distances<S: Simd>(simd: S, block: &[f64], row: &[f64]) -> [f64; LANES] {
    let parts = LANES / S::F64_LANES;
    let (block, _) = S::as_simd_f64s(block);
    let mut distances = [0.0; LANES];
    for (part, out) in S::as_mut_simd_f64s(&mut distances).0.iter_mut().enumerate() {
        let mut sum = simd.splat_f64s(0.0);
        for (lanes, value) in block[part..].iter().step_by(parts).zip(row) {
            let difference = simd.sub_f64s(*lanes, simd.splat_f64s(*value));
            sum = simd.add_f64s(sum, simd.mul_f64s(difference, difference));
        }
        *out = sum;
    }
    distances
}
