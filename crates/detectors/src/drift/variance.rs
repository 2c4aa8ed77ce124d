//! How far sums of dependent numbers stray: the variance of the sum of t consecutive rows of one
//! symbol as a function of t, and how much of it symbols share.

/// Blocks that a scale needs over all symbols.
const FEWEST_BLOCKS: usize = 8;
/// No variance is less than this times the number of rows: what did not move in the reference may
/// still move by rounding.
const FLOOR: f64 = 1e-4;

/// Variances of sums of 1, 2, 4, … rows.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct VarianceCurve {
    pub(super) by_octave: Vec<f64>,
}

impl VarianceCurve {
    /// From the residuals of each symbol in order of time; their expectation is 0. Where blocks get
    /// too few, the curve ends.
    pub(super) fn fit<'a>(of_symbols: impl Iterator<Item = &'a [f64]> + Clone) -> Self {
        let mut by_octave = Vec::new();
        for octave in 0..40 {
            let t = 1_usize << octave;
            let (mut sum, mut n_blocks, mut n_apart) = (0.0, 0_usize, 0_usize);
            for prefix in of_symbols.clone() {
                // `prefix[i]` is the sum of the first i residuals.
                let n = prefix.len() - 1;
                if n < t {
                    continue;
                }
                n_apart += n / t;
                for first in (0..=n - t).step_by((t / 2).max(1)) {
                    let block = prefix[first + t] - prefix[first];
                    sum += block * block;
                    n_blocks += 1;
                }
            }
            if n_apart < FEWEST_BLOCKS {
                break;
            }
            let least = by_octave.last().copied().unwrap_or(0.0);
            by_octave.push((sum / n_blocks as f64).max(FLOOR * t as f64).max(least));
        }
        if by_octave.is_empty() {
            by_octave.push(1.0);
        }
        Self { by_octave }
    }

    /// The variance of the sum of `t` consecutive rows of one symbol; between octaves, and beyond the last, the
    /// curve is straight on double logarithmic paper.
    pub(super) fn of_sum(&self, t: u64) -> f64 {
        if t == 0 {
            return 0.0;
        }
        let at = (t as f64).log2();
        let last = self.by_octave.len() - 1;
        let octave = at.floor() as usize;
        if octave < last {
            let (low, high) = (self.by_octave[octave], self.by_octave[octave + 1]);
            return low * (high / low).powf(at - octave as f64);
        }
        // Neither less than independent blocks nor as much as one that never changes.
        let slope = match last {
            0 => 1.0,
            _ => (self.by_octave[last] / self.by_octave[last - 1])
                .log2()
                .clamp(1.0, 1.7),
        };
        self.by_octave[last] * ((at - last as f64) * slope).exp2()
    }

    /// τ: how many rows in succession say as much as one that is independent of all others, from
    /// the longest sums.
    pub(super) fn dependence(&self) -> f64 {
        let last = self.by_octave.len() - 1;
        (self.by_octave[last] / (self.by_octave[0] * (last as f64).exp2())).max(1.0)
    }
}

/// Rows a symbol in a window: (rows, how many symbols have so many).
pub(super) type Composition = Vec<(u64, u64)>;

/// The composition of a window.
pub(super) fn composition(rows_of_symbols: &[u64]) -> Composition {
    let mut rows: Vec<u64> = rows_of_symbols.iter().copied().filter(|n| *n > 0).collect();
    rows.sort_unstable();
    let mut composition: Composition = Vec::new();
    for n in rows {
        match composition.last_mut() {
            Some((rows, times)) if *rows == n => *times += 1,
            _ => composition.push((n, 1)),
        }
    }
    composition
}

/// The variance of a window's sum if symbols had nothing in common, and if they had all.
pub(super) fn alone_and_together(curve: &VarianceCurve, composition: &Composition) -> (f64, f64) {
    let (mut alone, mut together) = (0.0, 0.0);
    for &(rows, times) in composition {
        let variance = curve.of_sum(rows);
        alone += variance * times as f64;
        together += variance.sqrt() * times as f64;
    }
    (alone, together * together)
}

/// By how much a variance that was estimated on so many independent pieces may be too small: a
/// fifth of all estimates are further off.
pub(super) fn allowance(pieces: f64) -> f64 {
    // Wilson and Hilferty's approximation of the chi-squared quantile at 0.2.
    let pieces = pieces.max(2.0);
    let spread = 2.0 / (9.0 * pieces);
    1.0 / (1.0 - spread - 0.841_6 * spread.sqrt()).powi(3)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::random::Random;

    fn prefix(values: &[f64]) -> Vec<f64> {
        let mut sums = vec![0.0];
        sums.extend(values.iter().scan(0.0, |sum, value| {
            *sum += value;
            Some(*sum)
        }));
        sums
    }

    #[test]
    fn independent_rows_add_up_linearly_and_dependent_ones_by_their_memory() {
        let mut random = Random::new(5, 0);
        let independent: Vec<f64> = (0..400_000).map(|_| random.normal()).collect();
        let mut x = 0.0;
        let memory = 0.95;
        let dependent: Vec<f64> = (0..400_000)
            .map(|_| {
                x = memory * x + (1.0_f64 - memory * memory).sqrt() * random.normal();
                x
            })
            .collect();
        let sums = prefix(&independent);
        let curve = VarianceCurve::fit([sums.as_slice()].into_iter());
        for t in [1, 7, 100, 1_000] {
            let ratio = curve.of_sum(t) / t as f64;
            assert!((0.7..1.4).contains(&ratio), "{t}: {ratio}");
        }
        assert!(curve.dependence() < 2.0);
        let sums = prefix(&dependent);
        let curve = VarianceCurve::fit([sums.as_slice()].into_iter());
        // (1 + 0.95) / (1 − 0.95) = 39 rows say as much as one.
        let ratio = curve.of_sum(1_000) / 1_000.0;
        assert!((25.0..55.0).contains(&ratio), "{ratio}");
        assert!(curve.of_sum(2) > 3.5);
    }

    #[test]
    fn a_short_reference_is_trusted_less() {
        assert!(allowance(5.0) > 1.8 && allowance(5.0) < 2.5);
        assert!(allowance(400.0) > 1.0 && allowance(400.0) < 1.1);
    }

    #[test]
    fn compositions_count_symbols() {
        assert_eq!(composition(&[3, 0, 5, 3]), vec![(3, 2), (5, 1)]);
        let curve = VarianceCurve {
            by_octave: vec![1.0, 2.0, 4.0],
        };
        let (alone, together) = alone_and_together(&curve, &vec![(4, 4)]);
        assert_eq!((alone, together), (16.0, 64.0));
    }
}
