//! Walks down trees of any depth, on the nodes as they are stored.

use super::{Block, LANES, Lanes};
use crate::tree::Tree;

/// Adds each row's path length in `tree` to `sums`.
pub(super) fn add_path_lengths(tree: &Tree, block: &Block, sums: &mut [Lanes]) {
    let nodes = tree.nodes();
    let path_lengths = tree.path_lengths();
    for (group, sum) in block.groups().zip(sums) {
        let mut at = [0_usize; LANES];
        loop {
            let mut moved = false;
            for lane in 0..LANES {
                let node = nodes[at[lane]];
                let value = group[node.feature as usize][lane];
                // A leaf leads to itself: its threshold is +∞.
                let next = node.left as usize + usize::from(value > node.threshold);
                moved |= next != at[lane];
                at[lane] = next;
            }
            if !moved {
                break;
            }
        }
        for lane in 0..LANES {
            sum[lane] += path_lengths[at[lane]];
        }
    }
}
