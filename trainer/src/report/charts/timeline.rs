//! What charts over time share: runs without gaps, columns of candles, shading of events.

use plotters::backend::DrawingBackend;

use super::axis::{Frame, Scale};
use super::canvas::{Canvas, Point};
use super::palette::{EVENT, Ink, LOW_HIGH};
use crate::report::data::{Candle, Event, ScorePoint};
use crate::report::downsample::{merge, min_max_indices};

/// The usual distance of two rows in µs: the median over the first thousand.
pub(super) fn usual_step(times: impl Iterator<Item = i64>) -> i64 {
    let times: Vec<i64> = times.take(1_000).collect();
    let mut steps: Vec<i64> = times
        .windows(2)
        .map(|w| w[1].saturating_sub(w[0]))
        .filter(|s| *s > 0)
        .collect();
    steps.sort_unstable();
    steps.get(steps.len() / 2).copied().unwrap_or(60_000_000)
}

/// Splits points where data is missing: more than twenty usual steps, and wide enough to see.
pub(super) fn runs<T: Copy>(points: &[T], time: impl Fn(&T) -> i64, x: &Scale) -> Vec<Vec<T>> {
    let step = usual_step(points.iter().map(&time));
    let mut runs: Vec<Vec<T>> = Vec::new();
    let mut last: Option<i64> = None;
    for point in points {
        let now = time(point);
        let gap = last.is_some_and(|last| {
            now.saturating_sub(last) > step.saturating_mul(20)
                && x.at(now as f64) - x.at(last as f64) > 4.0
        });
        match runs.last_mut() {
            Some(run) if !gap => run.push(*point),
            _ => runs.push(vec![*point]),
        }
        last = Some(now);
    }
    runs
}

/// The price of a symbol: a band from lowest to highest, the close as a line. One column of pixels, one candle.
pub(super) fn draw_price<DB: DrawingBackend>(
    canvas: &mut Canvas<DB>,
    candles: &[Candle],
    x: &Scale,
    y: &Scale,
) {
    let usable = |c: &Candle| c.high.is_finite() && c.low.is_finite() && c.close.is_finite();
    let columns: Vec<Candle> = candles
        .iter()
        .copied()
        .filter(usable)
        .collect::<Vec<_>>()
        .chunk_by(|a, b| x.at(a.time as f64).floor() == x.at(b.time as f64).floor())
        .filter_map(merge)
        .collect();
    for run in runs(&columns, |c| c.time, x) {
        let at = |c: &Candle, price: f64| (x.at(c.time as f64), y.at(price));
        let mut band: Vec<Point> = run.iter().map(|c| at(c, c.high)).collect();
        band.extend(run.iter().rev().map(|c| at(c, c.low)));
        canvas.polygon(&band, Ink::Normal.alpha(LOW_HIGH));
        let line: Vec<Point> = run.iter().map(|c| at(c, c.close)).collect();
        draw_run(canvas, &line, 1.25);
    }
}

pub(super) fn draw_scores<DB: DrawingBackend>(
    canvas: &mut Canvas<DB>,
    scores: &[ScorePoint],
    x: &Scale,
    y: &Scale,
) {
    let usable: Vec<ScorePoint> = scores
        .iter()
        .copied()
        .filter(|s| s.score.is_finite())
        .collect();
    for run in runs(&usable, |s| s.time, x) {
        let width = x.at(run[run.len() - 1].time as f64) - x.at(run[0].time as f64);
        let kept = min_max_indices(run.len(), (width * 2.0) as usize + 2, |i| run[i].score);
        let line: Vec<Point> = kept
            .iter()
            .map(|&i| (x.at(run[i].time as f64), y.at(run[i].score)))
            .collect();
        draw_run(canvas, &line, 1.0);
    }
}

/// A run of a single row is a dot, or nobody would see it.
fn draw_run<DB: DrawingBackend>(canvas: &mut Canvas<DB>, line: &[Point], width: f64) {
    match line {
        [only] => canvas.disc(*only, 2.0, Ink::Normal),
        _ => canvas.polyline(line, Ink::Normal, width),
    }
}

/// Shades events by kind over `frame`, each at least two pixels wide and no pixel twice.
pub(super) fn shade<'a, DB: DrawingBackend>(
    canvas: &mut Canvas<DB>,
    events: impl Iterator<Item = (&'a Event, Ink)>,
    x: &Scale,
    frame: Frame,
) {
    let mut free = f64::NEG_INFINITY;
    for (event, ink) in events {
        let left = x.at(event.start as f64).max(frame.left).max(free);
        let right = x
            .at(event.end as f64)
            .max(x.at(event.start as f64) + 2.0)
            .min(frame.right);
        if right - left >= 0.5 {
            canvas.rect((left, frame.top), (right, frame.bottom), ink.alpha(EVENT));
            free = right;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::axis::time_scale;
    use super::*;

    #[test]
    fn gaps_split_runs() {
        let minutes = (0..100).chain(5_000..5_100);
        let points: Vec<ScorePoint> = minutes
            .map(|m| ScorePoint {
                time: m * 60_000_000,
                score: 0.0,
            })
            .collect();
        let frame = Frame {
            left: 0.0,
            top: 0.0,
            right: 800.0,
            bottom: 100.0,
        };
        let x = time_scale((0, 5_100 * 60_000_000), frame);
        assert_eq!(
            runs(&points, |p| p.time, &x)
                .iter()
                .map(Vec::len)
                .collect::<Vec<_>>(),
            [100, 100]
        );
    }
}
