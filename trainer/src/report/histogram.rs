//! Counting scores into bins.

use super::data::ScoreHistogram;

impl ScoreHistogram {
    /// Counts `scores` (n_samples) by `anomalous` (n_samples, the label of each row; missing ones count as not
    /// labelled) into `n_bins` bins of equal width from the lowest to the highest finite score.
    #[must_use]
    pub fn from_scores(
        scores: &[f64],
        anomalous: &[bool],
        threshold: Option<f64>,
        n_bins: usize,
        axis: impl Into<String>,
    ) -> Self {
        let finite = || scores.iter().copied().filter(|s| s.is_finite());
        let n_bins = n_bins.max(1);
        let (mut low, mut high) = (
            finite().fold(f64::NAN, f64::min),
            finite().fold(f64::NAN, f64::max),
        );
        if low.is_nan() {
            (low, high) = (0.0, 1.0);
        }
        // Halves first: the span of huge scores may overflow.
        let mut width = (high / n_bins as f64) - (low / n_bins as f64);
        let usable = width > low.abs().max(high.abs()) * 1e-12;
        if !usable {
            let half = if low == 0.0 { 0.5 } else { low.abs() * 0.05 };
            low -= half;
            width = 2.0 * half / n_bins as f64;
        }
        let mut histogram = Self {
            edges: (0..=n_bins).map(|i| low + width * i as f64).collect(),
            normal: vec![0; n_bins],
            anomalous: vec![0; n_bins],
            skipped: 0,
            threshold: threshold.filter(|t| t.is_finite()),
            axis: axis.into(),
        };
        for (i, score) in scores.iter().enumerate() {
            if !score.is_finite() {
                histogram.skipped += 1;
                continue;
            }
            let bin = (((score - low) / width) as usize).min(n_bins - 1);
            let labelled = anomalous.get(i).copied().unwrap_or(false);
            let counts = if labelled {
                &mut histogram.anomalous
            } else {
                &mut histogram.normal
            };
            counts[bin] += 1;
        }
        histogram
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_finite_score_is_in_its_bin() {
        let scores = [0.0, 0.1, 0.99, 1.0, 0.5, f64::NAN];
        let labels = [false, false, true, true, false, true];
        let h = ScoreHistogram::from_scores(&scores, &labels, Some(0.9), 10, "score");
        assert_eq!(h.edges.len(), 11);
        assert_eq!(h.normal, [1, 1, 0, 0, 0, 1, 0, 0, 0, 0]);
        assert_eq!(h.anomalous, [0, 0, 0, 0, 0, 0, 0, 0, 0, 2]);
        assert_eq!(h.skipped, 1);
    }

    #[test]
    fn odd_scores_still_count() {
        for scores in [
            vec![],
            vec![0.5; 7],
            vec![0.0; 7],
            vec![1e300, -1e300],
            vec![f64::NAN],
            vec![1e-9, 2e-9],
        ] {
            let h = ScoreHistogram::from_scores(&scores, &[], None, 40, "score");
            let counted = h.normal.iter().sum::<u64>() + h.skipped;
            assert_eq!(counted as usize, scores.len(), "{scores:?}");
            assert!(
                h.edges.windows(2).all(|w| w[0] < w[1]),
                "{scores:?}: {:?}",
                h.edges
            );
        }
    }
}
