//! Fewer points, the same picture: extremes survive, volumes add up.

use super::data::{Candle, ScorePoint};

/// Indices, ascending, of at most about `max_points` of `n_points`: the first, the last, and the lowest and highest of
/// each of equally filled buckets. Values that are not finite never are extremes.
#[must_use]
pub fn min_max_indices(
    n_points: usize,
    max_points: usize,
    value: impl Fn(usize) -> f64,
) -> Vec<usize> {
    if n_points <= max_points.max(2) {
        return (0..n_points).collect();
    }
    let n_buckets = (max_points.max(2) / 2).max(1);
    let mut kept = vec![0];
    for bucket in 0..n_buckets {
        let range = bucket * n_points / n_buckets..(bucket + 1) * n_points / n_buckets;
        let finite = range.filter(|i| value(*i).is_finite());
        let extremes = finite.fold(None, |found: Option<(usize, usize)>, i| {
            let (low, high) = found.unwrap_or((i, i));
            Some((
                if value(i) < value(low) { i } else { low },
                if value(i) > value(high) { i } else { high },
            ))
        });
        if let Some((low, high)) = extremes {
            kept.extend([low.min(high), low.max(high)]);
        }
    }
    kept.push(n_points - 1);
    kept.dedup();
    kept
}

/// At most about `max_points` of a series in time order, the lowest and highest of each stretch among them.
#[must_use]
pub fn downsample(points: &[ScorePoint], max_points: usize) -> Vec<ScorePoint> {
    min_max_indices(points.len(), max_points, |i| points[i].score)
        .into_iter()
        .map(|i| points[i])
        .collect()
}

/// At most `max_candles` longer candles in place of a series in time order; no high or low is lost.
#[must_use]
pub fn downsample_candles(candles: &[Candle], max_candles: usize) -> Vec<Candle> {
    let n_buckets = max_candles.max(1);
    if candles.len() <= n_buckets {
        return candles.to_vec();
    }
    (0..n_buckets)
        .filter_map(|b| {
            merge(&candles[b * candles.len() / n_buckets..(b + 1) * candles.len() / n_buckets])
        })
        .collect()
}

/// One candle for all of them.
pub(super) fn merge(candles: &[Candle]) -> Option<Candle> {
    let (first, last) = (candles.first()?, candles.last()?);
    // `max` and `min` pass over NaN.
    let high = candles.iter().map(|c| c.high).fold(f64::NAN, f64::max);
    let low = candles.iter().map(|c| c.low).fold(f64::NAN, f64::min);
    Some(Candle {
        time: first.time,
        open: first.open,
        high,
        low,
        close: last.close,
        volume: candles.iter().map(|c| c.volume).sum(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wave(n: usize) -> Vec<ScorePoint> {
        (0..n)
            .map(|i| ScorePoint {
                time: i as i64,
                score: (i as f64 / 50.0).sin(),
            })
            .collect()
    }

    #[test]
    fn first_last_and_extremes_survive() {
        let mut points = wave(100_003);
        points[41_234].score = 9.0;
        points[77_777].score = -9.0;
        points[50_000].score = f64::NAN;
        let few = downsample(&points, 500);
        assert!(few.len() <= 502, "{}", few.len());
        assert_eq!(few.first(), points.first());
        assert_eq!(few.last(), points.last());
        for kept in [41_234, 77_777] {
            assert!(few.contains(&points[kept]), "row {kept} is lost");
        }
        assert!(
            few.windows(2).all(|w| w[0].time < w[1].time),
            "out of order or repeated"
        );
        assert!(few.iter().all(|p| p.score.is_finite()));
    }

    #[test]
    fn short_series_are_left_alone() {
        for n in [0, 1, 2, 10] {
            assert_eq!(downsample(&wave(n), 10), wave(n));
        }
        assert_eq!(downsample(&wave(5), 0).len(), 2);
    }

    #[test]
    fn constant_series_keep_both_ends() {
        let points = vec![
            ScorePoint {
                time: 0,
                score: 1.0
            };
            1_000
        ];
        assert!((2..=52).contains(&downsample(&points, 50).len()));
    }

    #[test]
    fn merged_candles_keep_highs_and_lows() {
        let mut candles: Vec<Candle> = (0..10_000)
            .map(|i| Candle {
                time: i,
                open: 1.0,
                high: 2.0,
                low: 0.5,
                close: 1.5,
                volume: 2.0,
            })
            .collect();
        candles[1_234].high = 99.0;
        candles[9_999].low = 0.001;
        let few = downsample_candles(&candles, 300);
        assert_eq!(few.len(), 300);
        assert_eq!(few.iter().map(|c| c.high).fold(0.0, f64::max), 99.0);
        assert_eq!(few.iter().map(|c| c.low).fold(1.0, f64::min), 0.001);
        assert_eq!((few[0].time, few[299].close), (0, 1.5));
        assert_eq!(few.iter().map(|c| c.volume).sum::<f64>(), 20_000.0);
    }
}
