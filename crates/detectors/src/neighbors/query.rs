//! Walks down the tree, the nearer side first.

use super::{KdTree, LANES, MAX_DEPTH, block_distances};

/// The k nearest found so far, nearest first.
#[derive(Debug)]
pub(crate) struct Nearest<'a> {
    distances: &'a mut [f64],
    positions: &'a mut [u32],
}

impl<'a> Nearest<'a> {
    /// Room for as many as the slices are long, at least one.
    pub(crate) fn new(distances: &'a mut [f64], positions: &'a mut [u32]) -> Self {
        distances.fill(f64::INFINITY);
        positions.fill(0);
        Self {
            distances,
            positions,
        }
    }

    #[inline(always)]
    fn limit(&self) -> f64 {
        self.distances[self.distances.len() - 1]
    }

    #[inline(always)]
    fn offer(&mut self, distance: f64, position: u32) {
        let mut at = self.distances.len() - 1;
        while at > 0 && self.distances[at - 1] > distance {
            self.distances[at] = self.distances[at - 1];
            self.positions[at] = self.positions[at - 1];
            at -= 1;
        }
        self.distances[at] = distance;
        self.positions[at] = position;
    }
}

impl KdTree {
    /// Fills `nearest` with squared distances and positions of the rows nearest to `row`; there must
    /// be at least as many rows as it has room for.
    pub(crate) fn k_nearest(&self, row: &[f64], nearest: &mut Nearest<'_>) {
        self.arch.dispatch(|| self.walk(row, nearest));
    }

    /// Squared distance and position of the row nearest to `row`.
    pub(crate) fn nearest(&self, row: &[f64]) -> (f64, usize) {
        let (mut distances, mut positions) = ([0.0], [0]);
        let mut nearest = Nearest::new(&mut distances, &mut positions);
        self.arch.dispatch(|| self.walk(row, &mut nearest));
        (distances[0], positions[0] as usize)
    }

    #[inline(always)]
    fn walk(&self, row: &[f64], nearest: &mut Nearest<'_>) {
        let row = &row[..self.dims];
        let mut left = [(0.0_f64, 0_u32); MAX_DEPTH];
        let mut n_left = 0;
        let (mut distance, mut node) = (0.0, 0);
        loop {
            // Down to a leaf; the farther children are left for later.
            while distance < nearest.limit() && !self.nodes[node].is_leaf() {
                let [a, b] = self.children(node);
                let (to_a, to_b) = (self.box_distance(a, row), self.box_distance(b, row));
                let (near, far) = if to_a <= to_b {
                    ((to_a, a), (to_b, b))
                } else {
                    ((to_b, b), (to_a, a))
                };
                if far.0 < nearest.limit() {
                    left[n_left] = (far.0, far.1 as u32);
                    n_left += 1;
                }
                (distance, node) = near;
            }
            if distance < nearest.limit() {
                self.look_at_leaf(node, row, nearest);
            }
            loop {
                if n_left == 0 {
                    return;
                }
                n_left -= 1;
                let (next, at) = left[n_left];
                if next < nearest.limit() {
                    (distance, node) = (next, at as usize);
                    break;
                }
            }
        }
    }

    #[inline(always)]
    fn look_at_leaf(&self, node: usize, row: &[f64], nearest: &mut Nearest<'_>) {
        let node = self.nodes[node];
        let mut first = node.start;
        for block in self.leaf_blocks(node) {
            let distances = block_distances(block, row);
            let limit = nearest.limit();
            if distances.iter().fold(false, |any, d| any | (*d < limit)) {
                for (lane, distance) in distances.into_iter().enumerate() {
                    if distance < nearest.limit() {
                        nearest.offer(distance, first + lane as u32);
                    }
                }
            }
            first += LANES as u32;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::random::Random;

    #[test]
    fn nearest_rows_are_those_of_comparing_all() {
        let mut random = Random::new(1, 1);
        for (n, dims) in [(1, 1), (5, 2), (300, 1), (1_000, 4), (700, 13), (64, 3)] {
            // Few distinct values: ties and columns of no width.
            let rows: Vec<f64> = (0..n * dims).map(|_| random.below(40) as f64).collect();
            let tree = KdTree::new(rows.clone(), dims);
            for _ in 0..50 {
                let row: Vec<f64> = (0..dims).map(|_| random.uniform() * 60.0 - 10.0).collect();
                let mut expected: Vec<f64> = rows
                    .chunks(dims)
                    .map(|r| r.iter().zip(&row).map(|(a, b)| (a - b) * (a - b)).sum())
                    .collect();
                expected.sort_by(f64::total_cmp);
                let k = n.min(7);
                let (mut distances, mut positions) = (vec![0.0; k], vec![0; k]);
                tree.k_nearest(&row, &mut Nearest::new(&mut distances, &mut positions));
                assert_eq!(distances, expected[..k]);
                for (distance, position) in distances.iter().zip(&positions) {
                    let found = tree.row(tree.id(*position as usize));
                    let again: f64 = found.iter().zip(&row).map(|(a, b)| (a - b) * (a - b)).sum();
                    assert_eq!(again, *distance);
                }
                let (distance, _) = tree.nearest(&row);
                assert_eq!(distance, expected[0]);
            }
        }
    }
}
