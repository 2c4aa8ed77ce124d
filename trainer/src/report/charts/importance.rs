//! Feature importance as horizontal bars with whiskers.

use plotters::backend::DrawingBackend;

use super::Size;
use super::axis::{self, Frame, Scale};
use super::canvas::{Align, Canvas, TEXT};
use super::legend::{self, Sign};
use super::palette::Ink;
use crate::report::data::Importance;
use crate::report::format;

/// Logical pixels per bar.
const ROW: f64 = 24.0;

/// Bars from large to small, those without a finite value left out.
pub(super) fn ranked(data: &[Importance], limit: usize) -> Vec<&Importance> {
    let mut ranked: Vec<_> = data.iter().filter(|i| i.value.is_finite()).collect();
    ranked.sort_by(|a, b| {
        b.value
            .total_cmp(&a.value)
            .then_with(|| a.feature.cmp(&b.feature))
    });
    ranked.truncate(limit);
    ranked
}

pub(super) fn height(n_bars: usize) -> u32 {
    (80.0 + ROW * n_bars as f64) as u32
}

pub(super) fn draw<DB: DrawingBackend>(canvas: &mut Canvas<DB>, size: Size, bars: &[&Importance]) {
    let error = |bar: &Importance| bar.error.filter(|e| e.is_finite()).unwrap_or(0.0).abs();
    let whiskers = bars.iter().any(|b| error(b) > 0.0);
    let mut top = size.top;
    if whiskers {
        let items = [(
            Sign::Whisker(Ink::Text),
            "± one standard deviation over the repeats".to_owned(),
        )];
        top += legend::draw(canvas, (size.left, size.top), size.right, &items) + 4.0;
    }
    let names: Vec<String> = bars
        .iter()
        .map(|b| canvas.fit(&b.feature, TEXT, 280.0))
        .collect();
    let room = names
        .iter()
        .map(|n| canvas.text_width(n, TEXT))
        .fold(0.0, f64::max);
    let frame = Frame {
        left: size.left + room + 12.0,
        top,
        right: size.right - 70.0,
        bottom: top + ROW * bars.len() as f64,
    };
    let ends = bars
        .iter()
        .flat_map(|b| [b.value - error(b), b.value + error(b), 0.0]);
    let (low, high) = axis::bounds(ends).unwrap_or((0.0, 1.0));
    let x = Scale::linear(
        (low, if low < high { high } else { 1.0 }),
        frame.left,
        frame.right,
    );
    let ticks = x.ticks(6);
    for (value, _) in &ticks {
        canvas.line(
            (x.at(*value), frame.top),
            (x.at(*value), frame.bottom),
            Ink::Grid,
            1.0,
        );
    }
    for (i, (bar, name)) in bars.iter().zip(&names).enumerate() {
        let y = frame.top + ROW * (i as f64 + 0.5);
        canvas.text((frame.left - 10.0, y), name, TEXT, Ink::Text, Align::Right);
        if bar.value != 0.0 {
            canvas.rect(
                (x.at(0.0), y - 7.0),
                (x.at(bar.value), y + 7.0),
                Ink::Normal.alpha(0.75),
            );
        }
        let (from, to) = (x.at(bar.value - error(bar)), x.at(bar.value + error(bar)));
        if error(bar) > 0.0 {
            canvas.line((from, y), (to, y), Ink::Text, 1.5);
            for end in [from, to] {
                canvas.line((end, y - 4.0), (end, y + 4.0), Ink::Text, 1.5);
            }
        }
        let after = to.max(x.at(0.0)) + 8.0;
        canvas.text(
            (after, y),
            &format::significant(bar.value),
            TEXT - 1.0,
            Ink::Muted,
            Align::Left,
        );
    }
    canvas.line(
        (x.at(0.0), frame.top),
        (x.at(0.0), frame.bottom),
        Ink::Muted,
        1.0,
    );
    let measure = bars.first().map_or("", |b| b.measure.as_str());
    axis::draw_x(
        canvas,
        frame,
        &x,
        &ticks,
        if measure.is_empty() {
            "importance"
        } else {
            measure
        },
    );
}
