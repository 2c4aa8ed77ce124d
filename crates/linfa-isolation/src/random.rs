//! Random choices. All of them come from named generators with fixed recipes, so that the same seed
//! gives the same forest with any later version of a random number crate.

use std::collections::HashSet;

use rand_xoshiro::Xoshiro256PlusPlus;
use rand_xoshiro::rand_core::{Rng, SeedableRng};

/// The increment of SplitMix64: 2^64 divided by the golden ratio.
const SPLIT_MIX_INCREMENT: u64 = 0x9e37_79b9_7f4a_7c15;

/// Finalizer of SplitMix64 (Steele, Lea, Flood, OOPSLA 2014).
fn split_mix(state: u64) -> u64 {
    let z = state.wrapping_add(SPLIT_MIX_INCREMENT);
    let z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

/// Generator of one tree. It depends on the seed and the tree's index only, not on who grows it.
#[derive(Debug)]
pub(crate) struct TreeRng(Xoshiro256PlusPlus);

impl TreeRng {
    pub(crate) fn new(seed: u64, tree_idx: usize) -> Self {
        // The seed is mixed before the index is added: seeds that differ by a little must not give
        // the same trees at shifted positions.
        let tree_seed = split_mix(split_mix(seed).wrapping_add(tree_idx as u64));
        Self(Xoshiro256PlusPlus::seed_from_u64(tree_seed))
    }

    /// Uniform in [0, 1), a multiple of 2^-53.
    pub(crate) fn unit(&mut self) -> f64 {
        const STEP: f64 = 1.0 / (1_u64 << 53) as f64;
        (self.0.next_u64() >> 11) as f64 * STEP
    }

    /// Uniform in `0..bound`, without bias (Lemire, 2019). `bound` must not be 0.
    pub(crate) fn below(&mut self, bound: usize) -> usize {
        debug_assert!(bound > 0, "an empty range has no member");
        let bound = bound as u64;
        let mut product = u128::from(self.0.next_u64()) * u128::from(bound);
        if (product as u64) < bound {
            let rejected_below = bound.wrapping_neg() % bound;
            while (product as u64) < rejected_below {
                product = u128::from(self.0.next_u64()) * u128::from(bound);
            }
        }
        (product >> 64) as usize
    }

    /// `count` different members of `0..bound`, ascending; every subset is equally likely.
    pub(crate) fn sample(&mut self, bound: usize, count: usize) -> Vec<usize> {
        debug_assert!(count <= bound, "can't draw {count} out of {bound}");
        if count == bound {
            return (0..bound).collect();
        }
        let mut chosen = if bound / 8 <= count {
            // A good part of all: shuffle the front of the whole list (Fisher and Yates).
            let mut all: Vec<usize> = (0..bound).collect();
            for i in 0..count {
                let j = i + self.below(bound - i);
                all.swap(i, j);
            }
            all.truncate(count);
            all
        } else {
            // Few of many: no list of all (Floyd, CACM 1987).
            let mut seen = HashSet::with_capacity(count);
            for candidate_bound in bound - count..bound {
                let candidate = self.below(candidate_bound + 1);
                if !seen.insert(candidate) {
                    seen.insert(candidate_bound);
                }
            }
            seen.into_iter().collect()
        };
        chosen.sort_unstable();
        chosen
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn samples_are_ascending_and_without_repetition() {
        let mut rng = TreeRng::new(7, 0);
        for (bound, count) in [(1, 1), (10, 3), (10, 10), (1_000_000, 256), (300, 256)] {
            let sample = rng.sample(bound, count);
            assert_eq!(sample.len(), count);
            assert!(sample.is_sorted_by(|a, b| a < b));
            assert!(sample.iter().all(|&i| i < bound));
        }
    }

    #[test]
    fn every_member_is_drawn_equally_often() {
        // Both recipes: 2 of 40 (Floyd) and 20 of 40 (Fisher and Yates).
        for count in [2, 20] {
            let n_draws = 20_000;
            let mut hits = [0_u32; 40];
            let mut rng = TreeRng::new(11, count);
            for _ in 0..n_draws {
                for i in rng.sample(40, count) {
                    hits[i] += 1;
                }
            }
            let share = count as f64 / 40.0;
            let expected = f64::from(n_draws) * share;
            let sd = (expected * (1.0 - share)).sqrt();
            for (i, &n_hits) in hits.iter().enumerate() {
                let deviation = (f64::from(n_hits) - expected) / sd;
                assert!(deviation.abs() < 4.5, "{i} of {count}: {deviation} sd");
            }
        }
    }

    #[test]
    fn unit_draws_fill_the_interval_evenly() {
        let mut rng = TreeRng::new(3, 1);
        let draws: Vec<f64> = (0..100_000).map(|_| rng.unit()).collect();
        assert!(draws.iter().all(|u| (0.0..1.0).contains(u)));
        let mean = draws.iter().sum::<f64>() / draws.len() as f64;
        assert!((mean - 0.5).abs() < 0.005, "mean {mean}");
    }

    #[test]
    fn neighbouring_seeds_and_trees_share_no_stream() {
        let firsts: HashSet<u64> = (0..100)
            .flat_map(|seed| (0..100).map(move |tree| TreeRng::new(seed, tree).0.next_u64()))
            .collect();
        assert_eq!(firsts.len(), 10_000);
    }
}
