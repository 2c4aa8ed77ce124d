//! From sums of leaf values to scores.

#![allow(unsafe_code)]

use super::Simd;
use crate::math::exp2_of_negative;
use crate::model::Model;
use crate::params::Scoring;
use crate::path_length::{average_path_length, score};

/// The largest number below 1.
const LARGEST_SCORE: f64 = 1.0 - f64::EPSILON / 2.0;

/// How a sum of leaf values becomes a score.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Finish {
    scoring: Scoring,
    n_trees: f64,
    /// `c(sample_size)` added up once per tree, in the order in which path lengths are added up: so
    /// a row whose every path length is `c(sample_size)` scores 0.5 exactly.
    denominator: f64,
}

impl Finish {
    pub(crate) fn new(model: &Model) -> Self {
        let offset = average_path_length(model.sample_size);
        Self {
            scoring: model.scoring,
            n_trees: model.trees.len() as f64,
            denominator: model.trees.iter().map(|_| offset).sum(),
        }
    }

    #[inline(always)]
    pub(crate) fn score(&self, sum: f64) -> f64 {
        let score = match self.scoring {
            Scoring::PathLength | Scoring::AdjustedDepth => score(sum, self.denominator),
            Scoring::Density => {
                // 1 / (1 + 2^mean), without overflow on either side.
                let mean = (sum / self.n_trees).clamp(-1000.0, 1000.0);
                let small = exp2_of_negative(mean.abs());
                let numerator = if mean >= 0.0 { small } else { 1.0 };
                numerator / (1.0 + small)
            }
        };
        // A row that is outside of every split's training range has a path of length 0.
        score.min(LARGEST_SCORE)
    }

    /// Turns sums into scores in place.
    pub(crate) fn score_all(&self, simd: Simd, sums: &mut [f64]) {
        match simd {
            // SAFETY: a forest only uses instructions that the processor has.
            #[cfg(target_arch = "x86_64")]
            Simd::Avx512 => unsafe { self.score_all_avx512(sums) },
            // SAFETY: as above.
            #[cfg(target_arch = "x86_64")]
            Simd::Avx2 => unsafe { self.score_all_avx2(sums) },
            _ => self.score_each(sums),
        }
    }

    /// The same code for all: what the compiler makes of it differs in speed, not in any bit, as it
    /// never fuses multiplications and additions or reorders them.
    #[inline(always)]
    fn score_each(&self, sums: &mut [f64]) {
        for sum in sums {
            *sum = self.score(*sum);
        }
    }

    #[cfg(target_arch = "x86_64")]
    #[target_feature(enable = "avx512f")]
    fn score_all_avx512(&self, sums: &mut [f64]) {
        self.score_each(sums);
    }

    #[cfg(target_arch = "x86_64")]
    #[target_feature(enable = "avx2")]
    fn score_all_avx2(&self, sums: &mut [f64]) {
        self.score_each(sums);
    }
}
