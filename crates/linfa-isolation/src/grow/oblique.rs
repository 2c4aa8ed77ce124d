//! Splits along sums of columns: extended forest, SCiForest, fair-cut forest.

use super::Sample;
use crate::frame::LARGEST_WEIGHT;
use crate::model::project;
use crate::params::{Form, IsolationForestValidParams};
use crate::random::TreeRng;

/// How the place of a cut along a direction is chosen.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Cut {
    /// Uniformly between the extremes of the projections.
    Uniform,
    /// Where the gain with equal weights of both sides is largest (Liu 2010, Sd_gain).
    AveragedGain,
    /// Where the gain with sides weighted by their rows is largest (Cortes 2021), in
    /// variances.
    PooledGain,
}

/// The splits of a tree that grows, in order, as `ObliqueSplits` keeps those of all trees.
pub(super) struct GrownOblique {
    n_terms: usize,
    n_candidates: usize,
    cut: Cut,
    pub(super) columns: Vec<u32>,
    pub(super) weights: Vec<f32>,
    pub(super) thresholds: Vec<f32>,
    pub(super) limits: Vec<f32>,
    pub(super) left_shares: Vec<f32>,
    /// Projections of the members of the last node split.
    projections: Vec<f32>,
    /// Working memory.
    trial: Vec<f32>,
    sorted: Vec<f32>,
    variances: Vec<f64>,
}

/// A direction with a place to cut.
struct Candidate {
    columns: Vec<usize>,
    weights: Vec<f32>,
    threshold: f32,
    min: f32,
    max: f32,
    gain: f64,
}

impl GrownOblique {
    pub(super) fn new(params: &IsolationForestValidParams, n_terms: usize) -> Self {
        Self {
            n_terms,
            n_candidates: params.n_candidates(),
            cut: match params.form() {
                Form::Classic | Form::Extended { .. } => Cut::Uniform,
                Form::SciForest => Cut::AveragedGain,
                Form::FairCut => Cut::PooledGain,
            },
            columns: Vec::new(),
            weights: Vec::new(),
            thresholds: Vec::new(),
            limits: Vec::new(),
            left_shares: Vec::new(),
            projections: Vec::new(),
            trial: Vec::new(),
            sorted: Vec::new(),
            variances: Vec::new(),
        }
    }

    /// Projections of the members that were last split, in their order; NaN where a value is missing.
    pub(super) fn projections(&self) -> &[f32] {
        &self.projections
    }

    /// Finds a split of `members` and keeps it. Returns its threshold, or `None` if no column varies.
    pub(super) fn split(
        &mut self,
        sample: &Sample<f32>,
        members: &[u32],
        rng: &mut TreeRng,
    ) -> Option<f32> {
        let mut best: Option<Candidate> = None;
        for _ in 0..self.n_candidates {
            let candidate = self.draw_candidate(sample, members, rng)?;
            if best.as_ref().is_none_or(|best| candidate.gain > best.gain) {
                best = Some(candidate);
                std::mem::swap(&mut self.projections, &mut self.trial);
            }
        }
        let best = best?;
        let features = best
            .columns
            .iter()
            .map(|&column| sample.columns[column].feature);
        self.columns.extend(features);
        self.weights.extend(&best.weights);
        // Room for all terms: the first column again, without weight.
        let first = sample.columns[best.columns[0]].feature;
        for _ in best.columns.len()..self.n_terms {
            self.columns.push(first);
            self.weights.push(0.0);
        }
        self.thresholds.push(best.threshold);
        self.limits.push((best.max - best.min).min(f32::MAX));
        let range = f64::from(best.max) - f64::from(best.min);
        let left_share = (f64::from(best.threshold) - f64::from(best.min)) / range;
        self.left_shares.push(left_share as f32);
        Some(best.threshold)
    }

    /// Draws a direction and cuts along it; its projections are then in `trial`.
    fn draw_candidate(
        &mut self,
        sample: &Sample<f32>,
        members: &[u32],
        rng: &mut TreeRng,
    ) -> Option<Candidate> {
        let columns = self.draw_columns(sample, members, rng);
        if columns.is_empty() {
            return None;
        }
        // A standard normal coefficient for each column in units of its deviation. The largest leads,
        // with weight 1; which one that is doesn't depend on the columns' units.
        let mut terms: Vec<(usize, f64, f64)> = columns
            .into_iter()
            .zip(&self.variances)
            .map(|(column, variance)| (column, rng.normal(), variance.sqrt()))
            .collect();
        let largest = (0..terms.len())
            .max_by(|&a, &b| terms[a].1.abs().total_cmp(&terms[b].1.abs()))
            .unwrap_or(0);
        terms.swap(0, largest);
        let (_, lead, lead_deviation) = terms[0];
        let mut columns: Vec<usize> = terms.iter().map(|&(column, ..)| column).collect();
        let mut weights: Vec<f32> = terms
            .iter()
            .map(|&(_, coefficient, deviation)| {
                let weight = (coefficient / lead) * (lead_deviation / deviation);
                (weight as f32).clamp(-LARGEST_WEIGHT, LARGEST_WEIGHT)
            })
            .collect();
        weights[0] = 1.0;
        let (mut min, mut max) = self.project_members(sample, members, &columns, &weights);
        if min >= max {
            // The terms cancel out, or the columns vary in different rows and no row has all of
            // them: a single column does vary.
            columns.truncate(1);
            weights.truncate(1);
            (min, max) = self.project_members(sample, members, &columns, &weights);
        }
        let (threshold, gain) = match self.cut {
            Cut::Uniform => (draw_threshold(min, max, rng.unit()), 0.0),
            Cut::AveragedGain | Cut::PooledGain => {
                self.sorted.clear();
                self.sorted
                    .extend(self.trial.iter().filter(|projection| !projection.is_nan()));
                best_cut(&mut self.sorted, self.cut == Cut::PooledGain)
            }
        };
        Some(Candidate {
            columns,
            weights,
            threshold,
            min,
            max,
            gain,
        })
    }

    /// Draws up to `n_terms` columns among those that vary in `members`; their variances are then in
    /// `variances`.
    fn draw_columns(
        &mut self,
        sample: &Sample<f32>,
        members: &[u32],
        rng: &mut TreeRng,
    ) -> Vec<usize> {
        self.variances.clear();
        let mut drawn = Vec::with_capacity(self.n_terms);
        let mut candidates: Vec<usize> = (0..sample.columns.len()).collect();
        while drawn.len() < self.n_terms && !candidates.is_empty() {
            let column = candidates.swap_remove(rng.below(candidates.len()));
            let values = &sample.columns[column].values;
            let variance = variance(members.iter().map(|&row| values[row as usize]));
            if variance > 0.0 {
                drawn.push(column);
                self.variances.push(variance);
            }
        }
        drawn
    }

    /// Projects the members into `trial`; returns the extremes, without those that are missing.
    fn project_members(
        &mut self,
        sample: &Sample<f32>,
        members: &[u32],
        columns: &[usize],
        weights: &[f32],
    ) -> (f32, f32) {
        let terms: Vec<u32> = (0..columns.len() as u32).collect();
        let columns: Vec<&[f32]> = columns
            .iter()
            .map(|&column| sample.columns[column].values.as_slice())
            .collect();
        self.trial.clear();
        let mut extremes = (f32::INFINITY, f32::NEG_INFINITY);
        for &row in members {
            let projection = project(&terms, weights, |term| columns[term][row as usize]);
            if projection < extremes.0 {
                extremes.0 = projection;
            }
            if projection > extremes.1 {
                extremes.1 = projection;
            }
            self.trial.push(projection);
        }
        extremes
    }
}

/// Variance of the values that are there, positive if and only if they differ.
fn variance(values: impl Iterator<Item = f32> + Clone) -> f64 {
    let values = values.filter(|value| !value.is_nan()).map(f64::from);
    let (mut min, mut max, mut sum, mut count) = (f64::INFINITY, f64::NEG_INFINITY, 0.0, 0.0);
    for value in values.clone() {
        min = min.min(value);
        max = max.max(value);
        sum += value;
        count += 1.0;
    }
    if min >= max {
        return 0.0;
    }
    let mean = sum / count;
    let squares: f64 = values.map(|value| (value - mean) * (value - mean)).sum();
    (squares / count).max(f64::MIN_POSITIVE)
}

/// The point at share `unit` (in [0, 1)) between `min` and `max`; always `min <= t < max`.
fn draw_threshold(min: f32, max: f32, unit: f64) -> f32 {
    let (low, high) = (f64::from(min), f64::from(max));
    let threshold = (low + unit * (high - low)) as f32;
    if min <= threshold && threshold < max {
        threshold
    } else {
        min
    }
}

/// Sorts `projections`, of which two differ, and finds the cut of the largest gain: the threshold
/// midway between the projections beside it, and the gain in units of the spread of all.
fn best_cut(projections: &mut [f32], pooled: bool) -> (f32, f64) {
    projections.sort_unstable_by(f32::total_cmp);
    let n = projections.len() as f64;
    let mean = projections.iter().map(|&p| f64::from(p)).sum::<f64>() / n;
    let squares: f64 = projections
        .iter()
        .map(|&p| (f64::from(p) - mean) * (f64::from(p) - mean))
        .sum();
    // Sums about the mean of all: no cancellation where the projections are far from 0.
    let (mut sum, mut square) = (0.0, 0.0);
    let mut best = (projections[0], f64::NEG_INFINITY);
    for i in 0..projections.len() - 1 {
        let centred = f64::from(projections[i]) - mean;
        sum += centred;
        square += centred * centred;
        if projections[i] == projections[i + 1] {
            continue;
        }
        let n_low = (i + 1) as f64;
        let n_high = n - n_low;
        // Squares about each side's own mean; the sum of all is 0.
        let low = (square - sum * sum / n_low).max(0.0);
        let high = (squares - square - sum * sum / n_high).max(0.0);
        let gain = if pooled {
            1.0 - (low + high) / squares
        } else {
            let deviations = (low / n_low).sqrt() + (high / n_high).sqrt();
            1.0 - deviations / 2.0 / (squares / n).sqrt()
        };
        if gain > best.1 {
            best = (midpoint(projections[i], projections[i + 1]), gain);
        }
    }
    best
}

/// The number midway between `low` and `high`; always `low <= m < high`.
fn midpoint(low: f32, high: f32) -> f32 {
    let middle = f64::midpoint(f64::from(low), f64::from(high)) as f32;
    if low <= middle && middle < high {
        middle
    } else {
        low
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Gains of all cuts from their definition.
    fn gain_of(projections: &[f32], n_low: usize, pooled: bool) -> f64 {
        let variance = |values: &[f32]| variance(values.iter().copied());
        let (low, high) = projections.split_at(n_low);
        let (n, n_low) = (projections.len() as f64, n_low as f64);
        if pooled {
            let within = (n_low * variance(low) + (n - n_low) * variance(high)) / n;
            (variance(projections) - within) / variance(projections)
        } else {
            let mean = (variance(low).sqrt() + variance(high).sqrt()) / 2.0;
            (variance(projections).sqrt() - mean) / variance(projections).sqrt()
        }
    }

    #[test]
    fn the_cut_of_the_largest_gain_is_found() {
        let mut rng = TreeRng::new(2, 2);
        for n in [2, 3, 10, 100] {
            for pooled in [false, true] {
                let mut projections: Vec<f32> = (0..n)
                    .map(|_| 1e4 + (rng.normal() * 8.0).round() as f32)
                    .collect();
                projections[0] += 1.0;
                projections[1] -= 1.0;
                let (threshold, gain) = best_cut(&mut projections, pooled);
                let n_low = projections.iter().filter(|&&p| p <= threshold).count();
                assert!((gain - gain_of(&projections, n_low, pooled)).abs() < 1e-9);
                for other in 1..n as usize {
                    if projections[other - 1] < projections[other] {
                        assert!(gain_of(&projections, other, pooled) <= gain + 1e-9);
                    }
                }
            }
        }
    }

    #[test]
    fn cuts_lie_between_their_neighbours() {
        for (low, high) in [(0.0, 1.0), (1.0, 1.0_f32.next_up()), (f32::MIN, f32::MAX)] {
            let middle = midpoint(low, high);
            assert!(low <= middle && middle < high, "{low} {middle} {high}");
            for unit in [0.0, 0.5, 1.0 - 2.0_f64.powi(-53)] {
                let threshold = draw_threshold(low, high, unit);
                assert!(low <= threshold && threshold < high);
            }
        }
    }
}
