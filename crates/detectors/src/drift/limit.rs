//! The limit for a requested run length, by a block bootstrap of reference windows.
//!
//! A stream of windows is put together from blocks of successive reference windows. Each block is
//! a sum of several, with normal weights (the dependent wild bootstrap, Shao 2010): dependence
//! between statistics and between windows stays as it was, and there are more different blocks
//! than the reference has, so that the limit may lie beyond every window that it holds.

use crate::random::Random;

/// Windows of a block.
const BLOCK: usize = 6;
/// Blocks that are added; few leave tails heavier than normal ones.
const ADDED: usize = 6;
/// False alarms that the limit is chosen from.
const ALARMS: f64 = 40.0;
/// Bounds the work.
const MOST_WINDOWS: f64 = 3e6;
/// An alarm is over after three windows below this share of the limit.
pub(super) const CALM: f64 = 0.7;
/// So many of them.
pub(super) const CALM_WINDOWS: u8 = 3;

/// The windows of the reference from one first row on: standardised statistics, window by window.
#[derive(Debug, Default)]
pub(super) struct Sequence {
    pub(super) values: Vec<f64>,
}

/// The second largest of three on the side of zero where two of them lie: beyond a limit exactly
/// if two of the three are, on the same side. (It is their median.)
#[inline]
pub(super) fn two_of_three([a, b, c]: [f64; 3]) -> f64 {
    a.min(b).max(a.max(b).min(c))
}

/// The limit that the largest of `n_statistics` passes, by the two-of-three rule, once in
/// `run_length` windows.
pub(super) fn limit(
    sequences: &[Sequence],
    n_statistics: usize,
    run_length: f64,
    seed: u64,
) -> f64 {
    let n = n_statistics;
    let blocks: Vec<(&[f64], usize)> = sequences
        .iter()
        .filter(|sequence| sequence.values.len() >= n)
        .map(|sequence| {
            let windows = sequence.values.len() / n;
            (
                sequence.values.as_slice(),
                windows - BLOCK.min(windows) + 1,
            )
        })
        .collect();
    if blocks.is_empty() || n == 0 {
        return f64::INFINITY;
    }
    let mut random = Random::new(seed, 0x6472_6966);
    let total = (ALARMS * run_length).min(MOST_WINDOWS);
    let n_blocks = (total / BLOCK as f64).ceil() as usize;
    let mut last = vec![[0.0; 3]; n];
    let mut block = vec![0.0; BLOCK * n];
    // Of each window: the two-of-three value, and the largest statistic.
    let mut series: Vec<(f32, f32)> = Vec::with_capacity(n_blocks * BLOCK);
    let scale = (ADDED as f64).sqrt().recip();
    for _ in 0..n_blocks {
        block.fill(0.0);
        let mut length = BLOCK * n;
        for _ in 0..ADDED {
            let (values, n_starts) = blocks[random.below(blocks.len())];
            let first = random.below(n_starts) * n;
            let weight = random.normal() * scale;
            let part = &values[first..values.len().min(first + BLOCK * n)];
            length = length.min(part.len());
            for (sum, value) in block.iter_mut().zip(part) {
                *sum += weight * value;
            }
        }
        for window in block[..length].chunks_exact(n) {
            let (mut passed, mut largest) = (0.0_f64, 0.0_f64);
            for (last, value) in last.iter_mut().zip(window) {
                *last = [last[1], last[2], *value];
                passed = passed.max(two_of_three(*last).abs());
                largest = largest.max(value.abs());
            }
            series.push((passed as f32, largest as f32));
        }
    }
    let wanted = series.len() as f64 / run_length;
    let (mut low, mut high) = (0.5_f32, 100.0_f32);
    for _ in 0..30 {
        let middle = (low * high).sqrt();
        if n_alarms(&series, middle) as f64 > wanted {
            low = middle;
        } else {
            high = middle;
        }
    }
    f64::from(high)
}

fn n_alarms(series: &[(f32, f32)], limit: f32) -> usize {
    let (mut n, mut is_raised, mut calm) = (0, false, 0);
    for &(passed, largest) in series {
        if !is_raised {
            is_raised = passed > limit;
            n += usize::from(is_raised);
            calm = 0;
        } else if largest < CALM as f32 * limit {
            calm += 1;
            is_raised = calm < CALM_WINDOWS;
        } else {
            calm = 0;
        }
    }
    n
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_of_three_is_what_it_says() {
        assert_eq!(two_of_three([5.0, 1.0, 4.0]), 4.0);
        assert_eq!(two_of_three([-5.0, -4.0, 9.0]), -4.0);
        assert_eq!(two_of_three([0.0, 0.0, 9.0]), 0.0);
        assert_eq!(two_of_three([0.0, 3.0, 9.0]), 3.0);
    }

    #[test]
    fn independent_normal_statistics_have_the_run_length_asked_for() {
        let n = 8;
        let mut random = Random::new(1, 0);
        let draw = |random: &mut Random, windows: usize| {
            (0..windows * n).map(|_| random.normal()).collect::<Vec<_>>()
        };
        let sequences = [Sequence {
            values: draw(&mut random, 4_000),
        }];
        let limit = limit(&sequences, n, 500.0, 7);
        let mut last = vec![[0.0; 3]; n];
        let mut series = Vec::new();
        for window in draw(&mut random, 50_000).chunks_exact(n) {
            let (mut passed, mut largest) = (0.0_f64, 0.0_f64);
            for (last, value) in last.iter_mut().zip(window) {
                *last = [last[1], last[2], *value];
                passed = passed.max(two_of_three(*last).abs());
                largest = largest.max(value.abs());
            }
            series.push((passed as f32, largest as f32));
        }
        // 100 were asked for; the tails of the bootstrap are a little heavier than normal ones.
        let alarms = n_alarms(&series, limit as f32);
        assert!((20..=140).contains(&alarms), "{alarms} at {limit}");
    }
}
