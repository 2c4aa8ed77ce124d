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
const ADDED: usize = 12;
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

/// How windows in succession are judged.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Rule {
    /// Two of the last three beyond the limit, on the same side.
    TwoOfThree,
    /// What exceeds [`SLACK`] adds up over windows (Page 1954): slow, but it finds what is slight.
    Accumulated,
}

/// What a window may be off without adding to the sum, in standard deviations: a reference of some weeks is
/// off by less.
const SLACK: f64 = 1.0;
/// The sum grows no further than this times the limit, so that it is soon back.
const CAP: f64 = 1.5;

/// What is remembered of one statistic's windows: the last three values, or the last one and the sums on either
/// side.
pub(super) type Memory = [f64; 3];

impl Rule {
    /// Takes a window's value; what the limit is compared with, signed by its side.
    #[inline]
    pub(super) fn take(self, memory: &mut Memory, value: f64, limit: f64) -> f64 {
        match self {
            Self::TwoOfThree => {
                *memory = [value, memory[0], memory[1]];
                two_of_three(*memory)
            }
            Self::Accumulated => {
                let most = CAP * limit;
                let up = (memory[1] + value - SLACK).clamp(0.0, most);
                let down = (memory[2] - value - SLACK).clamp(0.0, most);
                *memory = [value, up, down];
                if up >= down { up } else { -down }
            }
        }
    }

    pub(super) fn name(self) -> &'static str {
        match self {
            Self::TwoOfThree => "two_of_three",
            Self::Accumulated => "accumulated",
        }
    }

    /// What must be small for windows to be calm: the window's own value, or the sum.
    pub(super) fn unrest(self, value: f64, judged: f64) -> f64 {
        match self {
            Self::TwoOfThree => value.abs(),
            Self::Accumulated => judged.abs(),
        }
    }
}

/// The second largest of three on the side of zero where two of them lie: beyond a limit exactly
/// if two of the three are, on the same side. (It is their median.)
#[inline]
fn two_of_three([a, b, c]: Memory) -> f64 {
    a.min(b).max(a.max(b).min(c))
}

/// The limit that the largest of `n_statistics` passes, by `rule`, once in `run_length` windows.
pub(super) fn limit(
    sequences: &[Sequence],
    n_statistics: usize,
    rule: Rule,
    run_length: f64,
    seed: u64,
) -> f64 {
    let n = n_statistics;
    let blocks: Vec<(&[f64], usize)> = sequences
        .iter()
        .filter(|sequence| sequence.values.len() >= n)
        .map(|sequence| {
            let windows = sequence.values.len() / n;
            (sequence.values.as_slice(), windows - BLOCK.min(windows) + 1)
        })
        .collect();
    if blocks.is_empty() || n == 0 {
        return f64::INFINITY;
    }
    let mut random = Random::new(seed, 0x6472_6966);
    let total = (ALARMS * run_length).min(MOST_WINDOWS);
    let n_blocks = (total / BLOCK as f64).ceil() as usize;
    let mut memory = vec![Memory::default(); n];
    let mut block = vec![0.0; BLOCK * n];
    // Of each window: the largest by the rule, and what must be small for calm.
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
            series.push(largest(rule, &mut memory, window));
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

/// Of one window: the largest by the rule, and the largest unrest.
fn largest(rule: Rule, memory: &mut [Memory], window: &[f64]) -> (f32, f32) {
    let (mut largest, mut unrest) = (0.0_f64, 0.0_f64);
    for (memory, value) in memory.iter_mut().zip(window) {
        // No limit is known yet; the cap only shortens what follows an alarm.
        let judged = rule.take(memory, *value, 1e3);
        largest = largest.max(judged.abs());
        unrest = unrest.max(rule.unrest(*value, judged));
    }
    (largest as f32, unrest as f32)
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
            (0..windows * n)
                .map(|_| random.normal())
                .collect::<Vec<_>>()
        };
        let sequences = [Sequence {
            values: draw(&mut random, 4_000),
        }];
        let stream = draw(&mut random, 50_000);
        for rule in [Rule::TwoOfThree, Rule::Accumulated] {
            let limit = limit(&sequences, n, rule, 500.0, 7);
            let mut memory = vec![Memory::default(); n];
            let windows = stream.chunks_exact(n);
            let series: Vec<_> = windows
                .map(|window| largest(rule, &mut memory, window))
                .collect();
            // 100 were asked for; the tails of the bootstrap are heavier than normal ones, as those
            // of markets are.
            let alarms = n_alarms(&series, limit as f32);
            assert!((5..=140).contains(&alarms), "{rule:?}: {alarms} at {limit}");
        }
    }
}
