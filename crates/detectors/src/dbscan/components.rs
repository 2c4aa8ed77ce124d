//! Which core rows are connected.

use crate::error::{Error, Result};
use crate::neighbors::{KdTree, LANES, Node, block_distances};
use crate::observer::FitObserver;
use crate::vectors::vectorized;

/// Nodes or leaves between two questions whether to go on.
const AT_ONCE: usize = 128;

/// By position: the way to the root of each core row's component, for [`find`]. `limit` is eps².
///
/// # Errors
/// [`Error::Stopped`] where `observer` says so.
pub(super) fn components(
    tree: &KdTree,
    core: &[bool],
    leaves: &[usize],
    limit: f64,
    observer: &mut dyn FitObserver,
) -> Result<Vec<u32>> {
    let mut components = Components::new(tree, core, limit);
    components.join(leaves, observer)?;
    Ok(components.parents)
}

/// Union–find over positions, with what is known of whole nodes.
struct Components<'a> {
    tree: &'a KdTree,
    core: &'a [bool],
    limit: f64,
    parents: Vec<u32>,
    known: Vec<Known>,
}

/// What is known of a node's core rows.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Known {
    None,
    /// All are in the component of this position.
    One(u32),
    /// They may be of several components.
    Several,
}

impl<'a> Components<'a> {
    fn new(tree: &'a KdTree, core: &'a [bool], limit: f64) -> Self {
        Self {
            tree,
            core,
            limit,
            parents: (0..tree.len() as u32).collect(),
            known: vec![Known::Several; tree.nodes().len()],
        }
    }

    fn join(&mut self, leaves: &[usize], observer: &mut dyn FitObserver) -> Result<()> {
        let mut go_on = |at: usize| match at.is_multiple_of(AT_ONCE) && observer.should_stop() {
            true => Err(Error::Stopped),
            false => Ok(()),
        };
        // Children come after their parents.
        for node in (0..self.tree.nodes().len()).rev() {
            go_on(node)?;
            let (_, most) = self.tree.box_distances(node, node);
            if self.tree.nodes()[node].is_leaf() {
                if most <= self.limit {
                    self.unite_all(node, None);
                } else {
                    self.unite_pairs(node, node);
                }
                self.look_at_leaf(node);
            } else if most <= self.limit {
                self.unite_all(node, None);
                let first = self.core_positions(node).next();
                self.known[node] = first.map_or(Known::None, |p| Known::One(p as u32));
            } else {
                self.look_at_children(node);
            }
        }
        let (mut stack, mut whole) = (Vec::new(), Vec::new());
        for (at, leaf) in leaves.iter().enumerate() {
            go_on(at)?;
            if self.known[*leaf] == Known::None {
                continue;
            }
            self.join_leaf(*leaf, &mut stack, &mut whole);
        }
        Ok(())
    }

    /// Connects the core rows of `leaf` with those near it that come later.
    fn join_leaf(&mut self, leaf: usize, stack: &mut Vec<usize>, whole: &mut Vec<usize>) {
        let end = self.tree.nodes()[leaf].end;
        stack.clear();
        whole.clear();
        stack.push(0);
        while let Some(node) = stack.pop() {
            // What ends before this leaf has met it already.
            if self.tree.nodes()[node].end <= end || self.is_settled(leaf, node) {
                continue;
            }
            let (least, most) = self.tree.box_distances(leaf, node);
            if least > self.limit {
                continue;
            }
            if most <= self.limit {
                self.unite_all(node, self.core_positions(leaf).next());
                if let Some(first) = self.core_positions(leaf).next() {
                    self.unite_all(leaf, Some(first));
                    self.known[leaf] = Known::One(first as u32);
                    self.known[node] = Known::One(first as u32);
                }
            } else if self.tree.nodes()[node].is_leaf() {
                self.unite_pairs(leaf, node);
                self.look_at_leaf(node);
                self.look_at_leaf(leaf);
            } else {
                self.look_at_children(node);
                stack.extend(self.tree.children(node));
            }
        }
    }

    /// Whether nothing is left to connect between two nodes.
    fn is_settled(&mut self, a: usize, b: usize) -> bool {
        match (self.known[a], self.known[b]) {
            (Known::None, _) | (_, Known::None) => true,
            (Known::One(a), Known::One(b)) => {
                find(&mut self.parents, a) == find(&mut self.parents, b)
            }
            _ => false,
        }
    }

    fn core_positions(&self, node: usize) -> impl Iterator<Item = usize> + use<'a> {
        let core = self.core;
        self.tree.nodes()[node]
            .positions()
            .filter(move |position| core[*position])
    }

    /// All core rows of `node` become one component, with `other`.
    fn unite_all(&mut self, node: usize, other: Option<usize>) {
        let mut last = other;
        for position in self.core_positions(node) {
            if let Some(last) = last {
                unite(&mut self.parents, last as u32, position as u32);
            }
            last = Some(position);
        }
    }

    /// Connects core rows of two leaves that lie within the limit.
    fn unite_pairs(&mut self, leaf: usize, other: usize) {
        let (tree, core, limit) = (self.tree, self.core, self.limit);
        let node: Node = tree.nodes()[other];
        for position in self.core_positions(leaf) {
            let row = tree.row(tree.id(position));
            if tree.box_distance(other, row) > limit {
                continue;
            }
            let mut mine = find(&mut self.parents, position as u32);
            if let Known::One(theirs) = self.known[other]
                && find(&mut self.parents, theirs) == mine
            {
                continue;
            }
            let mut first = node.start as usize;
            'blocks: for block in tree.leaf_blocks(node) {
                let distances = vectorized!(
                                   tree.arch(),
                simd,
                                   <'a> (block: &'a [f64] = block, row: &'a [f64] = row) -> [f64; LANES] {
                                       block_distances(simd, block, row)
                                   }
                               );
                for (lane, distance) in distances.into_iter().enumerate() {
                    let position = first + lane;
                    if distance <= limit && core[position] {
                        mine = unite(&mut self.parents, mine, position as u32);
                        let one = |known| matches!(known, Known::One(_));
                        match (one(self.known[leaf]), one(self.known[other])) {
                            (true, true) => return,
                            (false, true) => break 'blocks,
                            _ => (),
                        }
                    }
                }
                first += LANES;
            }
        }
    }

    fn look_at_leaf(&mut self, leaf: usize) {
        if matches!(self.known[leaf], Known::None | Known::One(_)) {
            return;
        }
        let mut known = Known::None;
        for position in self.core_positions(leaf) {
            let root = find(&mut self.parents, position as u32);
            known = match known {
                Known::None => Known::One(root),
                Known::One(other) if other == root => known,
                _ => return,
            };
        }
        self.known[leaf] = known;
    }

    fn look_at_children(&mut self, node: usize) {
        if self.known[node] != Known::Several {
            return;
        }
        let [a, b] = self.tree.children(node).map(|child| self.known[child]);
        self.known[node] = match (a, b) {
            (Known::None, other) | (other, Known::None) => other,
            (Known::One(a), Known::One(b))
                if find(&mut self.parents, a) == find(&mut self.parents, b) =>
            {
                Known::One(a)
            }
            _ => Known::Several,
        };
    }
}

/// The root of a position's component, its way halved.
pub(super) fn find(parents: &mut [u32], mut position: u32) -> u32 {
    while parents[position as usize] != position {
        let grandparent = parents[parents[position as usize] as usize];
        parents[position as usize] = grandparent;
        position = grandparent;
    }
    position
}

/// Makes one component of two; its root is the lower one.
fn unite(parents: &mut [u32], a: u32, b: u32) -> u32 {
    let (a, b) = (find(parents, a), find(parents, b));
    let (low, high) = (a.min(b), a.max(b));
    parents[high as usize] = low;
    low
}
