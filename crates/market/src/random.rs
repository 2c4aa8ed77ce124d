//! Seeded random numbers. Only the generator's raw 64 bits are used, and turned into numbers here, so that a seed means
//! the same numbers whatever a random-number library changes above its generators.

use rand_xoshiro::Xoshiro256PlusPlus;
use rand_xoshiro::rand_core::{Rng, SeedableRng};

/// Xoshiro256++ with the few distributions that this crate needs.
#[derive(Debug, Clone)]
pub(crate) struct Random {
    generator: Xoshiro256PlusPlus,
    spare_normal: Option<f64>,
}

impl Random {
    /// The stream of this purpose and name (a symbol) under this seed: independent of all other names.
    pub(crate) fn new(seed: u64, purpose: &str, name: &str) -> Random {
        // FNV-1a over both words, with a byte between them that no UTF-8 text holds; the generator's own seeding
        // (SplitMix64) spreads the bits.
        let mut hash = 0xcbf2_9ce4_8422_2325_u64 ^ seed.wrapping_mul(0x9e37_79b9_7f4a_7c15);
        for byte in purpose.bytes().chain([0xff]).chain(name.bytes()) {
            hash = (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
        }
        Random {
            generator: Xoshiro256PlusPlus::seed_from_u64(hash),
            spare_normal: None,
        }
    }

    /// Uniform in [0, 1), a multiple of 2^-53.
    pub(crate) fn uniform(&mut self) -> f64 {
        (self.generator.next_u64() >> 11) as f64 * (1.0 / (1_u64 << 53) as f64)
    }

    /// Uniform in (0, 1].
    pub(crate) fn uniform_positive(&mut self) -> f64 {
        1.0 - self.uniform()
    }

    /// Uniform in `0..n`; 0 for n = 0.
    pub(crate) fn below(&mut self, n: usize) -> usize {
        ((u128::from(self.generator.next_u64()) * n as u128) >> 64) as usize
    }

    /// Exponential with mean 1.
    pub(crate) fn exponential(&mut self) -> f64 {
        -self.uniform_positive().ln()
    }

    /// Standard normal (Marsaglia's polar method).
    pub(crate) fn normal(&mut self) -> f64 {
        if let Some(spare) = self.spare_normal.take() {
            return spare;
        }
        loop {
            let (x, y) = (2.0 * self.uniform() - 1.0, 2.0 * self.uniform() - 1.0);
            let square = x * x + y * y;
            if square > 0.0 && square < 1.0 {
                let scale = (-2.0 * square.ln() / square).sqrt();
                self.spare_normal = Some(y * scale);
                return x * scale;
            }
        }
    }

    /// Chi-squared with so many degrees of freedom.
    pub(crate) fn chi_squared(&mut self, degrees: u32) -> f64 {
        (0..degrees).map(|_| self.normal().powi(2)).sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn distributions_have_their_moments_and_streams_differ() {
        let mut random = Random::new(1, "test", "A");
        let n = 200_000;
        let mean = |values: &[f64]| values.iter().sum::<f64>() / values.len() as f64;
        let normals: Vec<f64> = (0..n).map(|_| random.normal()).collect();
        assert!(mean(&normals).abs() < 0.01);
        assert!((mean(&normals.iter().map(|x| x * x).collect::<Vec<_>>()) - 1.0).abs() < 0.02);
        let exponentials: Vec<f64> = (0..n).map(|_| random.exponential()).collect();
        assert!((mean(&exponentials) - 1.0).abs() < 0.02);
        let chi: Vec<f64> = (0..n / 4).map(|_| random.chi_squared(5)).collect();
        assert!((mean(&chi) - 5.0).abs() < 0.1);
        let mut counts = [0; 7];
        for _ in 0..7_000 {
            counts[random.below(7)] += 1;
        }
        assert!(
            counts.iter().all(|count| (800..1200).contains(count)),
            "{counts:?}"
        );
        let first = |seed, purpose, name| Random::new(seed, purpose, name).uniform();
        assert_eq!(first(1, "a", "b"), first(1, "a", "b"));
        assert_ne!(first(1, "a", "b"), first(2, "a", "b"));
        assert_ne!(first(1, "a", "b"), first(1, "ab", ""));
    }
}
