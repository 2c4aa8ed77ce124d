//! Random choices. All of them come from named generators with fixed recipes, so that the same seed
//! gives the same forest with any later version of a random number crate.

use rand_xoshiro::Xoshiro256PlusPlus;
use rand_xoshiro::rand_core::{Rng, SeedableRng};

use crate::math::ln;

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

    /// Standard normal (Marsaglia's polar method), with the same bits on every processor.
    pub(crate) fn normal(&mut self) -> f64 {
        loop {
            let (x, y) = (2.0 * self.unit() - 1.0, 2.0 * self.unit() - 1.0);
            let square = x * x + y * y;
            if square > 0.0 && square < 1.0 {
                return x * (-2.0 * ln(square) / square).sqrt();
            }
        }
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
            let mut seen = SmallSet::with_capacity(count);
            for candidate_bound in bound - count..bound {
                let candidate = self.below(candidate_bound + 1);
                if !seen.insert(candidate) {
                    seen.insert(candidate_bound);
                }
            }
            seen.members
        };
        chosen.sort_unstable();
        chosen
    }
}

/// A set of numbers that only grows: open addressing, half full at most. A fit draws tens of
/// thousands of rows; the standard library's set costs more than growing the trees from them.
struct SmallSet {
    /// Positions in `members`, plus one; 0 is a free slot.
    slots: Vec<u32>,
    members: Vec<usize>,
    shift: u32,
}

impl SmallSet {
    fn with_capacity(capacity: usize) -> Self {
        let n_slots = (2 * capacity).next_power_of_two().max(2);
        Self {
            slots: vec![0; n_slots],
            members: Vec::with_capacity(capacity),
            shift: u64::BITS - n_slots.ilog2(),
        }
    }

    /// Whether `value` is new. No more than the capacity may be inserted.
    fn insert(&mut self, value: usize) -> bool {
        let mask = self.slots.len() - 1;
        let mut slot = ((value as u64).wrapping_mul(SPLIT_MIX_INCREMENT) >> self.shift) as usize;
        while self.slots[slot] != 0 {
            if self.members[self.slots[slot] as usize - 1] == value {
                return false;
            }
            slot = (slot + 1) & mask;
        }
        self.members.push(value);
        self.slots[slot] = self.members.len() as u32;
        true
    }
}

/// Draws rows with odds proportional to their weights.
#[derive(Debug)]
pub(crate) struct WeightedRows {
    weights: Vec<f32>,
    /// Sum of the weights up to and including each row. Rounding may hide a row that is far lighter
    /// than those before it.
    cumulative: Vec<f64>,
    n_positive: usize,
}

impl WeightedRows {
    /// For finite weights that are not negative; `None` if none is positive.
    pub(crate) fn new(weights: &[f32]) -> Option<Self> {
        let mut sum = 0.0;
        let cumulative = weights.iter().map(|&weight| {
            sum += f64::from(weight);
            sum
        });
        let cumulative = cumulative.collect();
        let n_positive = weights.iter().filter(|&&weight| weight > 0.0).count();
        (n_positive > 0).then(|| Self {
            weights: weights.to_vec(),
            cumulative,
            n_positive,
        })
    }

    /// Rows of positive weight: no more can be drawn.
    pub(crate) fn n_positive(&self) -> usize {
        self.n_positive
    }

    fn draw(&self, rng: &mut TreeRng) -> usize {
        let total = self.cumulative[self.cumulative.len() - 1];
        loop {
            let target = rng.unit() * total;
            let row = self.cumulative.partition_point(|&sum| sum <= target);
            // Rounding may reach the total itself.
            if row < self.cumulative.len() {
                return row;
            }
        }
    }

    /// `count` different rows, ascending, drawn one after another with odds proportional to the
    /// weights of those that are left.
    pub(crate) fn sample(&self, rng: &mut TreeRng, count: usize) -> Vec<usize> {
        assert!(count <= self.n_positive, "can't draw {count} rows");
        let mut chosen = SmallSet::with_capacity(count);
        // Drawing anew on a repetition is drawing from the rest, as long as the rest is not small.
        let mut n_repeated = 0;
        while chosen.members.len() < count && n_repeated < 16 + 4 * count {
            n_repeated += usize::from(!chosen.insert(self.draw(rng)));
        }
        let mut members = chosen.members;
        members.sort_unstable();
        if members.len() < count {
            // Draws from the rest by waiting times, of which the shortest come first: exponential ones
            // with the weights as rates have the same odds (Efraimidis, Spirakis, 2006).
            let rest = (0..self.weights.len())
                .filter(|row| self.weights[*row] > 0.0 && members.binary_search(row).is_err());
            let mut waiting: Vec<(f64, usize)> = rest
                .map(|row| (-ln(1.0 - rng.unit()) / f64::from(self.weights[row]), row))
                .collect();
            let n_more = count - members.len();
            waiting
                .select_nth_unstable_by(n_more - 1, |a, b| a.0.total_cmp(&b.0).then(a.1.cmp(&b.1)));
            members.extend(waiting[..n_more].iter().map(|&(_, row)| row));
            members.sort_unstable();
        }
        members
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    #[cfg_attr(miri, ignore = "takes long")]
    fn weights_are_odds() {
        // Row 2 has no weight, row 4 half of all.
        let rows = WeightedRows::new(&[1.0, 1.0, 0.0, 1.0, 4.0, 1.0]).unwrap();
        assert_eq!(rows.n_positive(), 5);
        let mut rng = TreeRng::new(5, 0);
        let mut hits = [0_u32; 6];
        for _ in 0..8_000 {
            hits[rows.sample(&mut rng, 1)[0]] += 1;
        }
        assert_eq!(hits[2], 0);
        assert!((3_800..4_200).contains(&hits[4]), "{hits:?}");
        assert!((900..1_100).contains(&hits[0]), "{hits:?}");
        assert_eq!(rows.sample(&mut rng, 5), [0, 1, 3, 4, 5]);
        assert!(WeightedRows::new(&[0.0, 0.0]).is_none());
    }

    #[test]
    fn a_row_of_nearly_all_weight_leaves_room_for_the_others() {
        // Sums up to the heavy row and beyond hide the others from rounding.
        let mut weights = [1.0; 100];
        weights[50..].fill(3.0);
        weights[7] = 1e30;
        let rows = WeightedRows::new(&weights).unwrap();
        let mut n_heavier = 0;
        for tree_idx in 0..200 {
            let sample = rows.sample(&mut TreeRng::new(1, tree_idx), 20);
            assert_eq!(sample.len(), 20);
            assert!(sample.is_sorted_by(|a, b| a < b));
            assert!(sample.contains(&7));
            n_heavier += sample.iter().filter(|&&row| row >= 50).count();
        }
        // Of 19 rows drawn beside the heavy one, about 0.72 weigh 3.
        let share = n_heavier as f64 / (200.0 * 19.0);
        assert!((0.66..0.78).contains(&share), "{share}");
        let all = rows.sample(&mut TreeRng::new(1, 1), 100);
        assert_eq!(all, (0..100).collect::<Vec<_>>());
    }

    #[test]
    #[cfg_attr(miri, ignore = "takes long")]
    fn normal_draws_have_mean_0_and_deviation_1() {
        let mut rng = TreeRng::new(3, 9);
        let draws: Vec<f64> = (0..100_000).map(|_| rng.normal()).collect();
        let mean = draws.iter().sum::<f64>() / 1e5;
        let square = draws.iter().map(|draw| draw * draw).sum::<f64>() / 1e5;
        let fourth = draws.iter().map(|draw| draw.powi(4)).sum::<f64>() / 1e5;
        assert!(mean.abs() < 0.015 && (square - 1.0).abs() < 0.02 && (fourth - 3.0).abs() < 0.15);
    }

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
    #[cfg_attr(miri, ignore = "takes long")]
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
    #[cfg_attr(miri, ignore = "takes long")]
    fn unit_draws_fill_the_interval_evenly() {
        let mut rng = TreeRng::new(3, 1);
        let draws: Vec<f64> = (0..100_000).map(|_| rng.unit()).collect();
        assert!(draws.iter().all(|u| (0.0..1.0).contains(u)));
        let mean = draws.iter().sum::<f64>() / draws.len() as f64;
        assert!((mean - 0.5).abs() < 0.005, "mean {mean}");
    }

    #[test]
    #[cfg_attr(miri, ignore = "takes long")]
    fn neighbouring_seeds_and_trees_share_no_stream() {
        let firsts: HashSet<u64> = (0..100)
            .flat_map(|seed| (0..100).map(move |tree| TreeRng::new(seed, tree).0.next_u64()))
            .collect();
        assert_eq!(firsts.len(), 10_000);
    }
}
