//! DBSCAN's clusters, exactly as scikit-learn numbers them, without looking at most pairs.
//!
//! Three passes over the leaves of a k-d tree, each leaf with the nodes whose boxes come near it:
//!
//! 1. Which rows are core: a count stops at `min_samples`, and boxes that lie within eps of each other
//!    as a whole are counted as a whole. By leaf, on rayon's threads.
//! 2. Which core rows are connected: union–find. A node all of whose core rows are of one component
//!    already is passed over for rows of that component, so that most of a cluster is never compared.
//! 3. To which cluster a border row belongs: the one of the lowest number that has a core row within
//!    eps, as the first cluster to reach it takes it. By leaf, on rayon's threads.
//!
//! Components, numbers and borders don't depend on the order of work.

use std::ops::Range;

use pulp::Simd;
use rayon::prelude::*;

use super::components::{components, find};
use crate::error::{Error, Result};
use crate::neighbors::{KdTree, LANES, block_distances};
use crate::observer::FitObserver;
use crate::vectors::vectorized;

/// The label of a row in no cluster.
pub(crate) const NOISE: i32 = -1;

/// What DBSCAN makes of the rows of a tree.
#[derive(Debug)]
pub(crate) struct Clusters {
    /// Of each row: its cluster, from 0 in the order of each cluster's first core row, or −1.
    pub(crate) labels: Vec<i32>,
    /// Of each row: whether at least `min_samples` rows, itself among them, lie within eps.
    pub(crate) is_core: Vec<bool>,
    pub(crate) n_clusters: usize,
}

/// Leaves between two questions whether to go on.
const LEAVES_AT_ONCE: usize = 128;

/// Clusters the rows of `tree`.
///
/// # Errors
/// [`Error::Stopped`] where `observer` says so.
pub(crate) fn cluster(
    tree: &KdTree,
    eps: f64,
    min_samples: usize,
    observer: &mut dyn FitObserver,
) -> Result<Clusters> {
    let limit = eps * eps;
    let leaves: Vec<usize> = (0..tree.nodes().len())
        .filter(|node| tree.nodes()[*node].is_leaf())
        .collect();
    let core = cores(tree, &leaves, limit, min_samples, observer)?;
    let mut parents = components(tree, &core, &leaves, limit, observer)?;

    let mut of_root = vec![NOISE; tree.len()];
    let mut position_of = vec![0; tree.len()];
    for position in 0..tree.len() {
        position_of[tree.id(position)] = position;
    }
    let mut n_clusters = 0;
    for position in &position_of {
        if core[*position] {
            let root = find(&mut parents, *position as u32) as usize;
            if of_root[root] == NOISE {
                of_root[root] = n_clusters;
                n_clusters += 1;
            }
        }
    }
    let mut labels: Vec<i32> = (0..tree.len())
        .map(|position| match core[position] {
            true => of_root[find(&mut parents, position as u32) as usize],
            false => NOISE,
        })
        .collect();
    border(tree, &leaves, &core, limit, &mut labels, observer)?;
    Ok(Clusters {
        labels: position_of.iter().map(|p| labels[*p]).collect(),
        is_core: position_of.iter().map(|p| core[*p]).collect(),
        n_clusters: n_clusters as usize,
    })
}

/// Calls `visit` with every leaf, or node that lies wholly within the limit, near the leaf `of`: the
/// node and whether it is such.
fn near(
    tree: &KdTree,
    of: usize,
    limit: f64,
    stack: &mut Vec<usize>,
    mut visit: impl FnMut(usize, bool),
) {
    stack.clear();
    stack.push(0);
    while let Some(node) = stack.pop() {
        let (least, most) = tree.box_distances(of, node);
        // Written so that overflow (NaN or infinity) means to look closer.
        if least > limit {
            continue;
        }
        if most <= limit {
            visit(node, true);
        } else if tree.nodes()[node].is_leaf() {
            visit(node, false);
        } else {
            stack.extend(tree.children(node));
        }
    }
}

/// By position: whether a row is core.
fn cores(
    tree: &KdTree,
    leaves: &[usize],
    limit: f64,
    min_samples: usize,
    observer: &mut dyn FitObserver,
) -> Result<Vec<bool>> {
    let mut all: Vec<Vec<bool>> = Vec::with_capacity(leaves.len());
    for leaves in leaves.chunks(LEAVES_AT_ONCE) {
        if observer.should_stop() {
            return Err(Error::Stopped);
        }
        all.par_extend(leaves.par_iter().map_init(
            || (Vec::new(), Vec::new()),
            |(stack, candidates), leaf| {
                let (mut whole, mut n) = (0, 0);
                candidates.clear();
                let enough = |whole: usize| whole >= min_samples;
                near(tree, *leaf, limit, stack, |node, all| {
                    let size = tree.nodes()[node].positions().len();
                    if all {
                        whole += size;
                    } else {
                        n += size;
                        candidates.push(node);
                    }
                });
                let rows = tree.nodes()[*leaf].positions();
                if enough(whole) || whole + n < min_samples {
                    return vec![enough(whole); rows.len()];
                }
                // Rows near by end a count soonest.
                let centre = tree.row(tree.id(rows.start));
                candidates.sort_by_cached_key(|node| {
                    crate::sort::ascending_key(tree.box_distance(*node, centre))
                });
                let mut found = vec![false; rows.len()];
                vectorized!(
                    tree.arch(),
 simd,
                    <'a> (
                        tree: &'a KdTree = tree,
                        candidates: &'a [usize] = candidates,
                        rows: Range<usize> = rows,
                        limit: f64 = limit,
                        needed: usize = min_samples - whole,
                        found: &'a mut [bool] = &mut found,
                    ) -> () {
                        for (found, position) in found.iter_mut().zip(rows) {
                            let row = tree.row(tree.id(position));
                            *found = is_core(simd, tree, candidates, row, limit, needed);
                        }
                    }
                );
                found
            },
        ));
    }
    Ok(all.concat())
}

#[inline(always)]
fn is_core<S: Simd>(
    simd: S,
    tree: &KdTree,
    nodes: &[usize],
    row: &[f64],
    limit: f64,
    needed: usize,
) -> bool {
    let mut count = 0;
    for node in nodes {
        if tree.box_distance(*node, row) > limit {
            continue;
        }
        for block in tree.leaf_blocks(tree.nodes()[*node]) {
            for distance in block_distances(simd, block, row) {
                count += usize::from(distance <= limit);
            }
        }
        if count >= needed {
            return true;
        }
    }
    false
}

/// Gives rows that are not core, by position, the lowest label of a core row within the limit.
fn border(
    tree: &KdTree,
    leaves: &[usize],
    core: &[bool],
    limit: f64,
    labels: &mut [i32],
    observer: &mut dyn FitObserver,
) -> Result<()> {
    let of_core = &*labels;
    let mut all: Vec<(usize, i32)> = Vec::new();
    let with_border: Vec<usize> = leaves
        .iter()
        .copied()
        .filter(|leaf| tree.nodes()[*leaf].positions().any(|p| !core[p]))
        .collect();
    for leaves in with_border.chunks(LEAVES_AT_ONCE) {
        if observer.should_stop() {
            return Err(Error::Stopped);
        }
        let found = leaves.par_iter().map_init(
            || (Vec::new(), Vec::new()),
            |(stack, candidates), leaf| {
                candidates.clear();
                near(tree, *leaf, limit, stack, |node, _| candidates.push(node));
                vectorized!(
                    tree.arch(),
 simd,
                    <'a> (
                        tree: &'a KdTree = tree,
                        candidates: &'a [usize] = candidates,
                        core: &'a [bool] = core,
                        of_core: &'a [i32] = of_core,
                        rows: Range<usize> = tree.nodes()[*leaf].positions(),
                        limit: f64 = limit,
                    ) -> Vec<(usize, i32)> {
                        let mut found = Vec::new();
                        for position in rows {
                            if core[position] {
                                continue;
                            }
                            let row = tree.row(tree.id(position));
                            let label = lowest_label(simd, tree, candidates, core, of_core, row, limit);
                            if label != NOISE {
                                found.push((position, label));
                            }
                        }
                        found
                    }
                )
            },
        );
        all.par_extend(found.flatten_iter());
    }
    for (position, label) in all {
        labels[position] = label;
    }
    Ok(())
}

#[inline(always)]
fn lowest_label<S: Simd>(
    simd: S,
    tree: &KdTree,
    nodes: &[usize],
    core: &[bool],
    labels: &[i32],
    row: &[f64],
    limit: f64,
) -> i32 {
    let mut lowest = i32::MAX;
    let mut offer = |position: usize| {
        if core[position] {
            lowest = lowest.min(labels[position]);
        }
    };
    for node in nodes {
        if tree.box_distance(*node, row) > limit {
            continue;
        }
        let node = tree.nodes()[*node];
        if !node.is_leaf() {
            // Only a node that lies wholly within the limit comes here as a whole.
            node.positions().for_each(&mut offer);
            continue;
        }
        let mut first = node.start as usize;
        for block in tree.leaf_blocks(node) {
            for (lane, distance) in block_distances(simd, block, row).into_iter().enumerate() {
                if distance <= limit {
                    offer(first + lane);
                }
            }
            first += LANES;
        }
    }
    if lowest == i32::MAX { NOISE } else { lowest }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::random::Random;

    /// DBSCAN as scikit-learn does it: every pair, clusters grown one after the other.
    fn by_all_pairs(
        rows: &[f64],
        dims: usize,
        eps: f64,
        min_samples: usize,
    ) -> (Vec<i32>, Vec<bool>) {
        let n = rows.len() / dims;
        let row = |i: usize| &rows[i * dims..][..dims];
        let near = |i: usize| -> Vec<usize> {
            let square = |j: &usize| -> f64 {
                let pairs = row(i).iter().zip(row(*j));
                pairs.map(|(a, b)| (a - b) * (a - b)).sum()
            };
            (0..n).filter(|j| square(j) <= eps * eps).collect()
        };
        let neighborhoods: Vec<Vec<usize>> = (0..n).map(near).collect();
        let core: Vec<bool> = neighborhoods
            .iter()
            .map(|near| near.len() >= min_samples)
            .collect();
        let mut labels = vec![NOISE; n];
        let mut next = 0;
        for i in 0..n {
            if labels[i] != NOISE || !core[i] {
                continue;
            }
            let mut stack = vec![i];
            while let Some(i) = stack.pop() {
                if labels[i] == NOISE {
                    labels[i] = next;
                    if core[i] {
                        stack.extend(neighborhoods[i].iter().filter(|j| labels[**j] == NOISE));
                    }
                }
            }
            next += 1;
        }
        (labels, core)
    }

    #[test]
    fn labels_are_those_of_comparing_all_pairs() {
        let mut random = Random::new(2, 2);
        for case in 0..240 {
            let dims = [1, 2, 3, 5, 8][case % 5];
            let n = 1 + random.below(600);
            // Every second case on a coarse grid: distances of exactly eps, and equal rows.
            let grid = case % 2 == 0;
            let centers: Vec<f64> = (0..4 * dims).map(|_| random.uniform() * 12.0).collect();
            let mut rows = Vec::new();
            for _ in 0..n {
                let of = random.below(5);
                for j in 0..dims {
                    let value = match of {
                        4 => random.uniform() * 14.0,
                        of => centers[of * dims + j] + random.normal(),
                    };
                    rows.push(if grid { value.round() } else { value });
                }
            }
            let eps = if grid {
                1.0 + random.below(3) as f64
            } else {
                0.2 + random.uniform() * 2.0
            };
            let min_samples = 1 + random.below(9);
            let tree = KdTree::new(rows.clone(), dims);
            let found = cluster(&tree, eps, min_samples, &mut ()).unwrap();
            let (labels, core) = by_all_pairs(&rows, dims, eps, min_samples);
            assert_eq!(found.is_core, core, "case {case}");
            assert_eq!(found.labels, labels, "case {case}");
            let n_clusters = labels.iter().max().map_or(0, |most| most + 1);
            assert_eq!(found.n_clusters, n_clusters as usize);
        }
    }
}
