//! Scales, ticks and axes.

use plotters::backend::DrawingBackend;

use super::canvas::{Align, Canvas, Point, TEXT};
use super::palette::Ink;
use crate::report::format;

/// A stretch of logical pixels: left, top, right, bottom.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Frame {
    pub(super) left: f64,
    pub(super) top: f64,
    pub(super) right: f64,
    pub(super) bottom: f64,
}

impl Frame {
    pub(super) fn width(self) -> f64 {
        self.right - self.left
    }
}

/// Maps values to logical pixels.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Scale {
    low: f64,
    high: f64,
    from: f64,
    to: f64,
    log: bool,
}

impl Scale {
    /// Values `low..=high` on pixels `from..=to`; an empty or unusable range is widened to a usable one.
    pub(super) fn linear((low, high): (f64, f64), from: f64, to: f64) -> Self {
        let (mut low, mut high) = (low.clamp(-1e300, 1e300), high.clamp(-1e300, 1e300));
        let usable = low < high && (high - low) > low.abs().max(high.abs()) * 1e-12;
        if !usable {
            let middle = if low.is_finite() { low } else { 0.0 };
            let half = if middle == 0.0 {
                0.5
            } else {
                middle.abs() * 0.01
            };
            (low, high) = (middle - half, middle + half);
        }
        Self {
            low,
            high,
            from,
            to,
            log: false,
        }
    }

    /// As [`Scale::linear`], with room on either side.
    pub(super) fn padded((low, high): (f64, f64), share: f64, from: f64, to: f64) -> Self {
        let Self { low, high, .. } = Self::linear((low, high), from, to);
        let pad = (high - low) * share;
        Self::linear((low - pad, high + pad), from, to)
    }

    /// Powers of ten; `low` and `high` are positive.
    pub(super) fn log((low, high): (f64, f64), from: f64, to: f64) -> Self {
        Self {
            low: low.log10(),
            high: high.log10(),
            from,
            to,
            log: true,
        }
    }

    pub(super) fn at(&self, value: f64) -> f64 {
        let value = if self.log {
            value.max(f64::MIN_POSITIVE).log10()
        } else {
            value
        };
        self.from + (value - self.low) / (self.high - self.low) * (self.to - self.from)
    }

    /// About `count` round values within the range, and the digits after the point that tell them apart.
    pub(super) fn ticks(&self, count: usize) -> Vec<(f64, String)> {
        if self.log {
            let (first, last) = (self.low.ceil() as i32, self.high.floor() as i32);
            let step = (last - first).unsigned_abs() as usize / count.max(1) + 1;
            return (first..=last)
                .step_by(step)
                .map(|power| (10f64.powi(power), format::count(10f64.powi(power))))
                .collect();
        }
        let step = round_step((self.high - self.low) / count.max(1) as f64);
        let (first, last) = (
            (self.low / step - 1e-9).ceil(),
            (self.high / step + 1e-9).floor(),
        );
        let decimals = (-(step.log10() + 1e-9).floor()).max(0.0) as usize;
        let mut ticks = Vec::new();
        let mut index = first;
        while index <= last && ticks.len() < 100 {
            let value = index * step;
            ticks.push((value, format::fixed(value, decimals)));
            index += 1.0;
        }
        ticks
    }
}

/// The smallest of 1, 2, 5 × 10ⁿ that is at least `rough`.
fn round_step(rough: f64) -> f64 {
    let power = 10f64.powf(rough.max(1e-300).log10().floor());
    [1.0, 2.0, 5.0, 10.0]
        .into_iter()
        .map(|m| m * power)
        .find(|step| *step >= rough * 0.999_999)
        .unwrap_or(power * 10.0)
}

/// Lowest and highest finite value.
pub(super) fn bounds(values: impl IntoIterator<Item = f64>) -> Option<(f64, f64)> {
    values
        .into_iter()
        .filter(|v| v.is_finite())
        .fold(None, |range, v| {
            Some(range.map_or((v, v), |(low, high): (f64, f64)| (low.min(v), high.max(v))))
        })
}

/// Room that the labels of a vertical axis take, with the gap to the axis.
pub(super) fn label_room<DB: DrawingBackend>(canvas: &Canvas<DB>, ticks: &[(f64, String)]) -> f64 {
    ticks
        .iter()
        .map(|(_, label)| canvas.text_width(label, TEXT - 1.0))
        .fold(0.0, f64::max)
        + 10.0
}

/// Horizontal grid lines and the labels left of them; the axis title stands above the frame.
pub(super) fn draw_y<DB: DrawingBackend>(
    canvas: &mut Canvas<DB>,
    frame: Frame,
    scale: &Scale,
    ticks: &[(f64, String)],
    title: &str,
) {
    for (value, label) in ticks {
        let y = scale.at(*value);
        canvas.line((frame.left, y), (frame.right, y), Ink::Grid, 1.0);
        canvas.text(
            (frame.left - 8.0, y),
            label,
            TEXT - 1.0,
            Ink::Muted,
            Align::Right,
        );
    }
    canvas.text(
        (frame.left, frame.top - 11.0),
        title,
        TEXT - 1.0,
        Ink::Muted,
        Align::Left,
    );
}

/// The base line with ticks and labels below it, and the axis title below those.
pub(super) fn draw_x<DB: DrawingBackend>(
    canvas: &mut Canvas<DB>,
    frame: Frame,
    scale: &Scale,
    ticks: &[(f64, String)],
    title: &str,
) {
    canvas.line(
        (frame.left, frame.bottom),
        (frame.right, frame.bottom),
        Ink::Muted,
        1.0,
    );
    let mut free = f64::NEG_INFINITY;
    for (value, label) in ticks {
        let x = scale.at(*value);
        canvas.line((x, frame.bottom), (x, frame.bottom + 4.0), Ink::Muted, 1.0);
        let half = canvas.text_width(label, TEXT - 1.0) / 2.0;
        if x - half > free {
            canvas.text(
                (x, frame.bottom + 14.0),
                label,
                TEXT - 1.0,
                Ink::Muted,
                Align::Center,
            );
            free = x + half + 6.0;
        }
    }
    let middle = (frame.left + frame.right) / 2.0;
    canvas.text(
        (middle, frame.bottom + 33.0),
        title,
        TEXT,
        Ink::Muted,
        Align::Center,
    );
}

/// A time axis: times of day, and the date below where it changes. Grid lines go up through `frame`.
pub(super) fn draw_time<DB: DrawingBackend>(
    canvas: &mut Canvas<DB>,
    frame: Frame,
    (start, end): (i64, i64),
) {
    let scale = time_scale((start, end), frame);
    canvas.line(
        (frame.left, frame.bottom),
        (frame.right, frame.bottom),
        Ink::Muted,
        1.0,
    );
    let ticks = super::time_ticks::time_ticks(start, end, (frame.width() / 80.0) as usize);
    // Left of the frame stands the name of the time zone, and right of it the chart soon ends.
    let (mut free, mut free_below) = (frame.left - 6.0, 0.0);
    let end = frame.right + 20.0;
    for tick in ticks {
        let x = scale.at(tick.time as f64);
        canvas.line((x, frame.top), (x, frame.bottom), Ink::Grid, 1.0);
        canvas.line((x, frame.bottom), (x, frame.bottom + 4.0), Ink::Muted, 1.0);
        free = label_once(
            canvas,
            (x, frame.bottom + 14.0),
            &tick.label,
            Ink::Muted,
            (free, end),
        );
        if let Some(below) = &tick.below {
            free_below = label_once(
                canvas,
                (x, frame.bottom + 29.0),
                below,
                Ink::Text,
                (free_below, end),
            );
        }
    }
    canvas.text(
        (frame.left - 8.0, frame.bottom + 14.0),
        "UTC",
        TEXT - 1.0,
        Ink::Muted,
        Align::Right,
    );
}

/// Draws a centred label where it fits between the one before and the end; returns where the next may begin.
fn label_once<DB: DrawingBackend>(
    canvas: &mut Canvas<DB>,
    at: Point,
    label: &str,
    ink: Ink,
    (free, end): (f64, f64),
) -> f64 {
    let half = canvas.text_width(label, TEXT - 1.0) / 2.0;
    if at.0 - half <= free || at.0 + half > end {
        return free;
    }
    canvas.text(at, label, TEXT - 1.0, ink, Align::Center);
    at.0 + half + 8.0
}

pub(super) fn time_scale((start, end): (i64, i64), frame: Frame) -> Scale {
    let (start, end) = if start < end {
        (start, end)
    } else {
        (
            start.saturating_sub(30_000_000),
            start.saturating_add(30_000_000),
        )
    };
    Scale {
        low: start as f64,
        high: end as f64,
        from: frame.left,
        to: frame.right,
        log: false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn labels(scale: Scale, count: usize) -> Vec<String> {
        scale
            .ticks(count)
            .into_iter()
            .map(|(_, label)| label)
            .collect()
    }

    #[test]
    fn ticks_are_round_and_tell_values_apart() {
        assert_eq!(
            labels(Scale::linear((0.0, 1.0), 0.0, 100.0), 5),
            ["0.0", "0.2", "0.4", "0.6", "0.8", "1.0"]
        );
        assert_eq!(
            labels(Scale::linear((99_950.0, 100_050.0), 0.0, 100.0), 4),
            ["99,950", "100,000", "100,050"]
        );
        assert_eq!(
            labels(Scale::linear((1e-8, 3e-8), 0.0, 100.0), 2),
            ["0.00000001", "0.00000002", "0.00000003"]
        );
        assert_eq!(
            labels(Scale::log((0.7, 2e4), 0.0, 100.0), 6),
            ["1", "10", "100", "1,000", "10,000"]
        );
    }

    #[test]
    fn unusable_ranges_become_usable() {
        for range in [
            (1.0, 1.0),
            (0.0, 0.0),
            (f64::NAN, 1.0),
            (f64::NEG_INFINITY, f64::INFINITY),
            (2.0, 1.0),
        ] {
            let scale = Scale::linear(range, 0.0, 100.0);
            assert!(
                scale.at(scale.low) == 0.0 && scale.at(scale.high) == 100.0,
                "{range:?}: {scale:?}"
            );
            assert!(!scale.ticks(5).is_empty(), "{range:?}");
        }
    }
}
