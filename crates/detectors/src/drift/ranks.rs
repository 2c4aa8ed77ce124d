//! Ranks within the reference, in coarse bins, and what is measured on them.
//!
//! A value is looked up among quantiles of its own symbol, so that symbols of different size and
//! temper add up. On the bins lie the two classical rank scores: van der Waerden's, the normal
//! quantile of the rank, which moves with the location, and Klotz's, its square, which moves with
//! the spread. Both are averaged over the bin in closed form.

use crate::sort::{ascending_key, sort_by_key};

/// Bins of a column of numbers: deciles, with finer tails.
pub(super) const BINS: usize = 14;

/// The probabilities at the bins' inner edges.
const PROBABILITIES: [f64; BINS - 1] = [
    0.01, 0.05, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 0.95, 0.99,
];
/// The normal quantiles of 0.5, 0.6, … 0.99, the upper half of [`PROBABILITIES`].
const UPPER_QUANTILES: [f64; 7] = [
    0.0,
    0.253_347_103_135_799_7,
    0.524_400_512_708_040_7,
    0.841_621_233_572_914_3,
    1.281_551_565_544_600_4,
    1.644_853_626_951_472_2,
    2.326_347_874_040_840_8,
];

/// The rank scores of a bin: location and spread, of mean 0 over the reference.
pub(super) fn rank_scores() -> [[f64; 2]; BINS] {
    let density = |z: f64| (-z * z / 2.0).exp() / std::f64::consts::TAU.sqrt();
    let quantile = |edge: usize| {
        let middle = UPPER_QUANTILES.len() - 1;
        if edge < middle {
            -UPPER_QUANTILES[middle - edge]
        } else {
            UPPER_QUANTILES[edge - middle]
        }
    };
    std::array::from_fn(|bin| {
        // (probability, density, quantile × density) at the bin's ends.
        let end = |edge: usize| {
            let z = quantile(edge);
            (PROBABILITIES[edge], density(z), z * density(z))
        };
        let low = if bin == 0 {
            (0.0, 0.0, 0.0)
        } else {
            end(bin - 1)
        };
        let high = if bin == BINS - 1 {
            (1.0, 0.0, 0.0)
        } else {
            end(bin)
        };
        let mass = high.0 - low.0;
        [(low.1 - high.1) / mass, (low.2 - high.2) / mass]
    })
}

/// The inner edges of the bins of one symbol's values, which are sorted here.
pub(super) fn edges(values: &mut Vec<f64>) -> [f64; BINS - 1] {
    sort_by_key(values, |value| ascending_key(*value));
    let last = values.len().saturating_sub(1) as f64;
    PROBABILITIES.map(|p| values[(p * last).round() as usize])
}

/// The bin of a value.
#[inline]
pub(super) fn bin(edges: &[f64], value: f64) -> u8 {
    edges.iter().map(|edge| u8::from(*edge <= value)).sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rank_scores_have_mean_zero_and_are_odd_and_even() {
        let scores = rank_scores();
        let mut low = 0.0;
        let (mut location, mut spread) = (0.0, 0.0);
        for (bin, scores) in scores.iter().enumerate() {
            let high = PROBABILITIES.get(bin).copied().unwrap_or(1.0);
            location += (high - low) * scores[0];
            spread += (high - low) * scores[1];
            low = high;
        }
        assert!(location.abs() < 1e-12 && spread.abs() < 1e-12);
        for bin in 0..BINS {
            let mirror = scores[BINS - 1 - bin];
            assert!((scores[bin][0] + mirror[0]).abs() < 1e-12);
            assert!((scores[bin][1] - mirror[1]).abs() < 1e-12);
        }
        // The mean of the upper hundredth of a normal distribution, and of its square less one.
        assert!((scores[13][0] - 2.665_214_220_345_806).abs() < 1e-9);
        assert!((scores[13][1] - 2.326_347_874_040_841 * 2.665_214_220_345_806).abs() < 1e-9);
    }

    #[test]
    fn a_value_lies_above_the_edges_it_reaches() {
        let mut values: Vec<f64> = (0..=100).rev().map(f64::from).collect();
        let edges = edges(&mut values);
        assert_eq!(edges[0], 1.0);
        assert_eq!(edges[6], 50.0);
        assert_eq!(bin(&edges, 0.5), 0);
        assert_eq!(bin(&edges, 50.0), 7);
        assert_eq!(bin(&edges, 49.9), 6);
        assert_eq!(bin(&edges, 1e9), 13);
    }
}
