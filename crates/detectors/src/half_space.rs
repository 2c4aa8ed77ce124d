//! Half-space trees: a streaming detector that keeps learning.

use ndarray::ArrayView2;
use rayon::prelude::*;
use serde::{Deserialize, Serialize};

use crate::bytes::{Reader, Writer};
use crate::error::{Error, FormatError, Result};
use crate::observer::FitObserver;
use crate::params::Checks;
use crate::random::Random;
use crate::scorer::{Scorer, each_row};

/// Parameters of the half-space trees.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct HalfSpaceTreesConfig {
    /// Trees, 1 to 1,000. Default 50.
    pub n_trees: usize,
    /// Levels of cuts, 1 to 16: a tree has 2^depth leaves. Default 10.
    pub depth: usize,
    /// Rows after which what was learned of them is mixed in, 1 to 10,000,000. Default 256.
    pub window: usize,
    /// The share of the newest window in the mixture, above 0 and at most 1; 1 forgets all before.
    /// Default 0.05.
    pub rate: f64,
}

impl Default for HalfSpaceTreesConfig {
    fn default() -> Self {
        Self {
            n_trees: 50,
            depth: 10,
            window: 256,
            rate: 0.05,
        }
    }
}

impl HalfSpaceTreesConfig {
    /// The keys of an experiment file.
    pub const KEYS: &'static [&'static str] = &["n_trees", "depth", "window", "rate"];

    pub(crate) fn violations(&self) -> Vec<String> {
        Checks::default()
            .within("n_trees", self.n_trees, 1..=1_000)
            .within("depth", self.depth, 1..=MAX_DEPTH)
            .within("window", self.window, 1..=10_000_000)
            .above("rate", self.rate, 0.0, 1.0)
            .done()
    }
}

const MAX_DEPTH: usize = 16;
/// A node with a smaller share of the rows isn't looked into: its children say nothing.
const LEAST_MASS: f64 = 0.02;
/// Trees that are fitted between two questions whether to go on.
const TREES_AT_ONCE: usize = 16;

/// Half-space trees (Tan, Ting and Liu, IJCAI 2011): trees cut the space at random, before any row is
/// seen, and count the rows in every part.
///
/// In each tree a row falls to the first node that holds less than a fiftieth of all rows, or to a leaf;
/// mass · 2^level there is the density relative to an even spread. The score is the mean over the trees
/// of −log₂ of it, plus log₂(1 + distance outside the training range, in its widths) of every column, so
/// that what is further out scores higher; those distances are the features' parts, with what each cut
/// on the way adds.
///
/// Deviations from the paper: training counts all rows, not the first window; after each window of
/// updates, shares are mixed with the newest ones instead of replaced; logarithms are averaged, not
/// masses.
#[derive(Debug, Clone, PartialEq)]
pub struct HalfSpaceTrees {
    depth: usize,
    window: u32,
    rate: f64,
    /// The training range of each column.
    low: Vec<f64>,
    width: Vec<f64>,
    trees: Vec<Tree>,
    /// Updates since the last mixing.
    n_new: u32,
}

/// Nodes lie level by level: the children of i are 2i + 1 and 2i + 2.
#[derive(Debug, Clone, PartialEq)]
struct Tree {
    /// Of each inner node: the column, and the value from which on a row goes right.
    cuts: Vec<(u32, f64)>,
    /// Of each node: its share of the rows.
    mass: Vec<f64>,
    /// Of each node: rows of the window under way.
    counts: Vec<u32>,
}

impl HalfSpaceTrees {
    pub(crate) fn fit(
        config: &HalfSpaceTreesConfig,
        rows: ArrayView2<'_, f64>,
        seed: u64,
        observer: &mut dyn FitObserver,
    ) -> Result<Self> {
        let dims = rows.ncols();
        let mut low = vec![f64::INFINITY; dims];
        let mut high = vec![f64::NEG_INFINITY; dims];
        each_row(rows, |_, row| {
            for ((low, high), value) in low.iter_mut().zip(&mut high).zip(row) {
                *low = low.min(*value);
                *high = high.max(*value);
            }
        });
        let width = low.iter().zip(&high).map(|(low, high)| {
            let width = (high / 2.0 - low / 2.0) * 2.0;
            if width > 0.0 {
                width.min(f64::MAX)
            } else {
                low.abs().max(1.0) * 1e-3
            }
        });
        let width: Vec<f64> = width.collect();
        let mut trees: Vec<Tree> = (0..config.n_trees)
            .map(|tree| {
                Tree::new(
                    config.depth,
                    &low,
                    &width,
                    &mut Random::new(seed, tree as u64),
                )
            })
            .collect();
        let share = 1.0 / rows.nrows() as f64;
        for few in trees.chunks_mut(TREES_AT_ONCE) {
            if observer.should_stop() {
                return Err(Error::Stopped);
            }
            few.par_iter_mut().for_each(|tree| {
                each_row(rows, |_, row| {
                    tree.visit(row, |tree, node| tree.mass[node] += share)
                });
            });
        }
        Ok(Self {
            depth: config.depth,
            window: config.window as u32,
            rate: config.rate,
            low,
            width,
            trees,
            n_new: 0,
        })
    }

    /// Learns from a row.
    pub(crate) fn update(&mut self, row: &[f64]) {
        for tree in &mut self.trees {
            tree.visit(row, |tree, node| tree.counts[node] += 1);
        }
        self.n_new += 1;
        if self.n_new < self.window {
            return;
        }
        let share = self.rate / f64::from(self.window);
        for tree in &mut self.trees {
            for (mass, count) in tree.mass.iter_mut().zip(&mut tree.counts) {
                *mass = *mass * (1.0 - self.rate) + f64::from(*count) * share;
                *count = 0;
            }
        }
        self.n_new = 0;
    }

    pub(crate) fn n_trees(&self) -> usize {
        self.trees.len()
    }

    /// Of each column, the lowest value in training and the width of the range.
    pub(crate) fn ranges(&self) -> (&[f64], &[f64]) {
        (&self.low, &self.width)
    }

    /// Calls `each` with every node of a tree that a row may come to, ascending: its number (the children
    /// of i are 2 i + 1 and 2 i + 2), its cut, below which a row goes to the first, or none where walks
    /// end, and the surprise of ending there.
    pub(crate) fn visit_tree(
        &self,
        tree: usize,
        mut each: impl FnMut(usize, Option<(u32, f64)>, f64),
    ) {
        let tree = &self.trees[tree];
        let mut reached = vec![false; tree.mass.len()];
        reached[0] = true;
        for node in 0..reached.len() {
            if !reached[node] {
                continue;
            }
            let level = (node + 1).ilog2() as usize;
            let goes_on = level < self.depth && tree.mass[node] > LEAST_MASS;
            if goes_on {
                reached[2 * node + 1] = true;
                reached[2 * node + 2] = true;
            }
            let surprise = surprise_at(tree.mass[node], level, self.depth);
            each(node, goes_on.then(|| tree.cuts[node]), surprise);
        }
    }

    /// How far a value lies outside its column's range, as a part of the score.
    fn outside(&self, column: usize, value: f64) -> f64 {
        let (low, width) = (self.low[column], self.width[column]);
        let place = (value / 2.0 - low / 2.0) / width * 2.0;
        let distance = (-place).max(place - 1.0).clamp(0.0, f64::MAX);
        (1.0 + distance).log2()
    }

    pub(crate) fn write(&self, out: &mut Writer) {
        out.u8(self.depth as u8);
        out.u32(self.window);
        out.f64(self.rate);
        out.u32(self.n_new);
        out.f64s(&self.low);
        out.f64s(&self.width);
        out.u64(self.trees.len() as u64);
        for tree in &self.trees {
            for (column, at) in &tree.cuts {
                out.u32(*column);
                out.f64(*at);
            }
            for mass in &tree.mass {
                out.f64(*mass);
            }
            for count in &tree.counts {
                out.u32(*count);
            }
        }
    }

    pub(crate) fn read(from: &mut Reader<'_>) -> Result<Self, FormatError> {
        let refuse = |reason| Err(FormatError::content("half_space_trees", reason));
        let depth = usize::from(from.u8("half_space_trees depth")?);
        let window = from.u32("half_space_trees window")?;
        let rate = from.f64("half_space_trees rate")?;
        let n_new = from.u32("half_space_trees window")?;
        let low = from.f64s("half_space_trees ranges")?;
        let width = from.f64s("half_space_trees ranges")?;
        if !(1..=MAX_DEPTH).contains(&depth) || n_new >= window || !(rate > 0.0 && rate <= 1.0) {
            return refuse("depth, window or rate is out of range");
        }
        let positive = |v: &f64| *v > 0.0 && v.is_finite();
        if low.is_empty()
            || low.len() != width.len()
            || !low.iter().all(|v| v.is_finite())
            || !width.iter().all(positive)
        {
            return refuse("a column's range is not finite");
        }
        let (n_inner, n_nodes) = ((1 << depth) - 1, (2 << depth) - 1);
        let n = from.count("half_space_trees trees", 12 * (n_inner + n_nodes))?;
        if n == 0 {
            return refuse("it has no tree");
        }
        let mut trees = Vec::new();
        for _ in 0..n {
            let mut tree = Tree {
                cuts: Vec::with_capacity(n_inner),
                mass: Vec::with_capacity(n_nodes),
                counts: Vec::with_capacity(n_nodes),
            };
            for _ in 0..n_inner {
                let cut = (from.u32("cut")?, from.f64("cut")?);
                if cut.0 as usize >= low.len() || !cut.1.is_finite() {
                    return refuse("a cut is not along a column");
                }
                tree.cuts.push(cut);
            }
            for _ in 0..n_nodes {
                let mass = from.f64("mass")?;
                if !(0.0..=2.0).contains(&mass) {
                    return refuse("a node's share is not a share");
                }
                tree.mass.push(mass);
            }
            for _ in 0..n_nodes {
                let count = from.u32("count")?;
                if count > n_new {
                    return refuse("a node has seen more rows than there were");
                }
                tree.counts.push(count);
            }
            trees.push(tree);
        }
        Ok(Self {
            depth,
            window,
            rate,
            low,
            width,
            trees,
            n_new,
        })
    }
}

impl Scorer for HalfSpaceTrees {
    fn n_features(&self) -> usize {
        self.low.len()
    }

    fn score_row(&self, row: &[f64]) -> f64 {
        let surprise: f64 = self
            .trees
            .iter()
            .map(|tree| tree.surprise(row, self.depth, |_, _| ()))
            .sum();
        let outside = row.iter().enumerate();
        let outside: f64 = outside.map(|(column, v)| self.outside(column, *v)).sum();
        surprise / self.trees.len() as f64 + outside
    }

    fn explain_row(&self, row: &[f64], parts: &mut [f64]) -> f64 {
        parts.fill(0.0);
        let n = self.trees.len() as f64;
        for tree in &self.trees {
            tree.surprise(row, self.depth, |column, bits| parts[column] += bits / n);
        }
        for (column, part) in parts.iter_mut().enumerate() {
            *part += self.outside(column, row[column]);
        }
        self.score_row(row)
    }
}

impl Tree {
    /// Cuts in the middle of a work range that reaches beyond the training range by as much again,
    /// around a random point, as the paper has it.
    fn new(depth: usize, low: &[f64], width: &[f64], random: &mut Random) -> Self {
        let range: Vec<(f64, f64)> = low
            .iter()
            .zip(width)
            .map(|(low, width)| {
                let at = random.uniform();
                let reach = 2.0 * at.max(1.0 - at);
                let place = |share: f64| (low + share * width).clamp(f64::MIN, f64::MAX);
                (place(at - reach), place(at + reach))
            })
            .collect();
        let n_inner = (1 << depth) - 1;
        let mut cuts = Vec::with_capacity(n_inner);
        let mut ranges = vec![range];
        for node in 0..n_inner {
            let column = random.below(low.len());
            let (from, to) = ranges[node][column];
            let at = from / 2.0 + to / 2.0;
            cuts.push((column as u32, at));
            for side in [(from, at), (at, to)] {
                let mut range = ranges[node].clone();
                range[column] = side;
                ranges.push(range);
            }
            // What lies above is not needed any more.
            ranges[node] = Vec::new();
        }
        let n_nodes = 2 * n_inner + 1;
        Self {
            cuts,
            mass: vec![0.0; n_nodes],
            counts: vec![0; n_nodes],
        }
    }

    #[inline]
    fn child(&self, node: usize, row: &[f64]) -> usize {
        let (column, at) = self.cuts[node];
        2 * node + 1 + usize::from(row[column as usize] >= at)
    }

    /// Calls `touch` with every node on the row's way.
    fn visit(&mut self, row: &[f64], mut touch: impl FnMut(&mut Self, usize)) {
        let mut node = 0;
        loop {
            touch(self, node);
            if node >= self.cuts.len() {
                return;
            }
            node = self.child(node, row);
        }
    }

    /// −log₂(mass · 2^level) where the row ends; `step` hears each cut's column and what it added.
    fn surprise(&self, row: &[f64], depth: usize, mut step: impl FnMut(usize, f64)) -> f64 {
        let bits = |mass, level| surprise_at(mass, level, depth);
        let (mut node, mut level) = (0, 0);
        let mut last = bits(self.mass[0], 0);
        while level < depth && self.mass[node] > LEAST_MASS {
            let column = self.cuts[node].0 as usize;
            node = self.child(node, row);
            level += 1;
            let now = bits(self.mass[node], level);
            step(column, now - last);
            last = now;
        }
        last
    }
}

/// −log₂(mass · 2^level).
#[inline]
fn surprise_at(mass: f64, level: usize, depth: usize) -> f64 {
    // A part that no row was in is as rare as can be told.
    let least = 2.0_f64.powi(-(2 * depth as i32));
    -(mass.max(least).log2() + level as f64)
}

#[cfg(test)]
mod tests {
    use super::*;
    use ndarray::Array2;

    fn cloud(n: usize, center: f64) -> Array2<f64> {
        let mut random = Random::new(8, 8);
        Array2::from_shape_fn((n, 3), |_| center + random.normal())
    }

    #[test]
    fn rare_parts_of_space_score_higher_and_beyond_the_range_higher_still() {
        let trees = HalfSpaceTrees::fit(
            &HalfSpaceTreesConfig::default(),
            cloud(4_000, 0.0).view(),
            1,
            &mut (),
        )
        .unwrap();
        let scores: Vec<f64> = [0.0, 3.0, 8.0, 80.0, 1e6]
            .map(|v| trees.score_row(&[v; 3]))
            .into();
        assert!(scores.is_sorted_by(|a, b| a < b), "{scores:?}");
        assert!(trees.score_row(&[f64::MAX; 3]).is_finite());
        let mut parts = [0.0; 3];
        let score = trees.explain_row(&[0.0, 9.0, 0.0], &mut parts);
        assert!(
            parts[1] > parts[0] + 1.0 && parts[1] > parts[2] + 1.0,
            "{parts:?}"
        );
        assert!(score.is_finite());
    }

    #[test]
    fn it_learns_what_has_become_ordinary() {
        let config = HalfSpaceTreesConfig {
            rate: 0.2,
            ..HalfSpaceTreesConfig::default()
        };
        let mut rows = cloud(2_000, 0.0);
        rows[(0, 0)] = 12.0;
        let mut trees = HalfSpaceTrees::fit(&config, rows.view(), 1, &mut ()).unwrap();
        let row = [6.0, 0.0, 0.0];
        let before = trees.score_row(&row);
        for update in cloud(4_000, 0.0).rows() {
            trees.update(&[update[0] + 6.0, update[1], update[2]]);
        }
        let after = trees.score_row(&row);
        assert!(after < before - 2.0, "{before} {after}");
    }
}
