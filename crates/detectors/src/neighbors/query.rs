//! Walks down the tree, the nearer side first.

use pulp::Simd;

use super::coarse::Probe;
use super::{KdTree, LANES, MAX_DEPTH};
use crate::vectors::vectorized;

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
    /// be at least as many rows as it has room for. Coordinates must be within ±10¹⁵.
    pub(crate) fn k_nearest(&self, row: &[f64], nearest: &mut Nearest<'_>) {
        let mut probe = self.coarse.probe(row);
        vectorized!(
                   self.arch,
        simd,
                   <'a, 'b, 'n> (
                       tree: &'a KdTree = self,
                       row: &'a [f64] = row,
                       probe: &'b mut Probe = &mut probe,
                       nearest: &'b mut Nearest<'n> = nearest,
                   ) -> () { tree.walk(simd, row, probe, nearest) }
               );
    }

    /// Squared distance and position of the row nearest to `row`, as [`k_nearest`](Self::k_nearest).
    pub(crate) fn nearest(&self, row: &[f64]) -> (f64, usize) {
        let (mut distances, mut positions) = ([0.0], [0]);
        let mut nearest = Nearest::new(&mut distances, &mut positions);
        self.k_nearest(row, &mut nearest);
        (distances[0], positions[0] as usize)
    }

    /// Everything is compared coarsely first; only what may be near is measured.
    #[inline(always)]
    fn walk<S: Simd>(&self, simd: S, row: &[f64], probe: &mut Probe, nearest: &mut Nearest<'_>) {
        let mut left = [(0.0_f32, 0_u32); MAX_DEPTH];
        let mut n_left = 0;
        let (mut distance, mut node) = (0.0, 0);
        loop {
            // Down to a leaf; the farther children are left for later.
            while distance < probe.limit && !self.nodes[node].is_leaf() {
                let [a, b] = self.children(node);
                let to_a = self.coarse.box_distance(a, probe);
                let to_b = self.coarse.box_distance(b, probe);
                let (near, far) = if to_a <= to_b {
                    ((to_a, a), (to_b, b))
                } else {
                    ((to_b, b), (to_a, a))
                };
                if far.0 < probe.limit {
                    left[n_left] = (far.0, far.1 as u32);
                    n_left += 1;
                }
                (distance, node) = near;
            }
            if distance < probe.limit {
                self.look_at_leaf(simd, node, row, probe, nearest);
            }
            loop {
                if n_left == 0 {
                    return;
                }
                n_left -= 1;
                let (next, at) = left[n_left];
                if next < probe.limit {
                    (distance, node) = (next, at as usize);
                    break;
                }
            }
        }
    }

    #[inline(always)]
    fn look_at_leaf<S: Simd>(
        &self,
        simd: S,
        node: usize,
        row: &[f64],
        probe: &mut Probe,
        nearest: &mut Nearest<'_>,
    ) {
        let node = self.nodes[node];
        let n_blocks = (node.end - node.start).div_ceil(LANES as u32);
        for block in 0..n_blocks {
            let distances = self.coarse.block_distances(simd, node.block + block, probe);
            let limit = probe.limit;
            let mut any = false;
            for distance in distances {
                any |= distance < limit;
            }
            if !any {
                continue;
            }
            for (lane, distance) in distances.into_iter().enumerate() {
                if distance < probe.limit {
                    let position = node.start + block * LANES as u32 + lane as u32;
                    let mut exact = 0.0;
                    for (a, b) in row.iter().zip(self.row(self.id(position as usize))) {
                        exact += (a - b) * (a - b);
                    }
                    if exact < nearest.limit() {
                        nearest.offer(exact, position);
                        probe.tighten(nearest.limit());
                    }
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::random::Random;

    #[test]
    fn far_from_the_origin_and_in_many_columns_too() {
        let mut random = Random::new(2, 1);
        for (dims, offset, scale) in [
            (5, 1e6, 1.0),
            (5, -1e12, 1e3),
            (32, 0.0, 1.0),
            (33, 1e5, 0.1),
        ] {
            let mut row = || -> Vec<f64> {
                let first = random.uniform();
                let column = |_| offset + scale * (first + random.uniform() * 0.2);
                (0..dims).map(column).collect()
            };
            let rows: Vec<f64> = (0..400).flat_map(|_| row()).collect();
            let tree = KdTree::turned(rows.clone(), dims);
            for _ in 0..200 {
                let row = row();
                let distance = |r: &[f64]| r.iter().zip(&row).map(|(a, b)| (a - b) * (a - b)).sum();
                let nearest = rows
                    .chunks(dims)
                    .map(distance)
                    .fold(f64::INFINITY, f64::min);
                assert_eq!(tree.nearest(&row).0, nearest);
            }
        }
    }

    #[test]
    fn nearest_rows_are_those_of_comparing_all() {
        let mut random = Random::new(1, 1);
        for (n, dims) in [(1, 1), (5, 2), (300, 1), (1_000, 4), (700, 13), (64, 3)] {
            // Few distinct values: ties and columns of no width. The last column goes with the first.
            let mut rows: Vec<f64> = (0..n * dims).map(|_| random.below(40) as f64).collect();
            for row in rows.chunks_mut(dims) {
                row[dims - 1] = (row[dims - 1] / 8.0).floor() + row[0];
            }
            let trees = [KdTree::new, KdTree::turned].map(|of| of(rows.clone(), dims));
            for i in 0..500 {
                let tree = &trees[i % 2];
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
