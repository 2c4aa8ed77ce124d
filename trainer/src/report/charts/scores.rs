//! Distribution of scores, normal against anomalous, on a logarithmic count axis.

use plotters::backend::DrawingBackend;

use super::axis::{self, Frame, Scale};
use super::canvas::{Align, Canvas, Point, TEXT};
use super::legend::{self, Sign};
use super::palette::Ink;
use super::{Size, plot_frame};
use crate::report::data::ScoreHistogram;
use crate::report::format;

pub(super) fn draw<DB: DrawingBackend>(canvas: &mut Canvas<DB>, size: Size, data: &ScoreHistogram) {
    let total = |counts: &[u64]| format::count(counts.iter().sum::<u64>() as f64);
    let anomalous = data.anomalous.iter().any(|n| *n > 0);
    let mut items = vec![(
        Sign::Area(Ink::Normal.alpha(0.45)),
        format!("not labelled ({} rows)", total(&data.normal)),
    )];
    if anomalous {
        items.push((
            Sign::Box(Ink::Anomalous),
            format!("labelled anomalous ({} rows)", total(&data.anomalous)),
        ));
    }
    if let Some(threshold) = data.threshold {
        items.push((
            Sign::Dashed(Ink::Threshold),
            format!("alert threshold {}", format::significant(threshold)),
        ));
    }
    let legend = legend::draw(canvas, (size.left, size.top), size.right, &items);

    let (Some(&low), Some(&high)) = (data.edges.first(), data.edges.last()) else {
        return;
    };
    let tallest = data
        .normal
        .iter()
        .chain(&data.anomalous)
        .copied()
        .max()
        .unwrap_or(0)
        .max(2) as f64;
    let mut frame = plot_frame(size, legend);
    let y = Scale::log((0.6, tallest * 1.6), frame.bottom, frame.top);
    let y_ticks = y.ticks(6);
    frame.left = size.left + axis::label_room(canvas, &y_ticks);
    let x = Scale::linear((low, high), frame.left, frame.right);
    axis::draw_y(canvas, frame, &y, &y_ticks, "rows per bin (logarithmic)");

    let normal = steps(&data.edges, &data.normal, &x, &y, frame);
    canvas.polygon(&normal, Ink::Normal.alpha(0.45));
    if anomalous {
        let steps = steps(&data.edges, &data.anomalous, &x, &y, frame);
        canvas.polygon(&steps, Ink::Anomalous.alpha(0.18));
        // Only where there are rows: the base line is not part of the shape.
        for run in steps.chunk_by(|a, b| a.1 < frame.bottom || b.1 < frame.bottom) {
            canvas.polyline(run, Ink::Anomalous, 1.5);
        }
    }
    axis::draw_x(
        canvas,
        frame,
        &x,
        &x.ticks(8),
        if data.axis.is_empty() {
            "score"
        } else {
            &data.axis
        },
    );
    if let Some(threshold) = data.threshold.filter(|t| (low..=high).contains(t)) {
        let at = x.at(threshold);
        canvas.dashed(
            &[(at, frame.top - 2.0), (at, frame.bottom)],
            Ink::Threshold,
            1.5,
            (6.0, 4.0),
        );
        let label = "alerts from here";
        let room = canvas.text_width(label, TEXT - 1.0) + 12.0;
        let (label_at, align) = if at + room < frame.right {
            (at + 6.0, Align::Left)
        } else {
            (at - 6.0, Align::Right)
        };
        canvas.text(
            (label_at, frame.top + 5.0),
            label,
            TEXT - 1.0,
            Ink::Threshold,
            align,
        );
    }
}

/// The outline of bars without gaps, from the base line back to it.
fn steps(edges: &[f64], counts: &[u64], x: &Scale, y: &Scale, frame: Frame) -> Vec<Point> {
    let height = |n: u64| if n == 0 { frame.bottom } else { y.at(n as f64) };
    let mut outline = vec![(x.at(edges[0]), frame.bottom)];
    for (edge, &n) in edges.windows(2).zip(counts) {
        outline.push((x.at(edge[0]), height(n)));
        outline.push((x.at(edge[1]), height(n)));
    }
    outline.push((outline[outline.len() - 1].0, frame.bottom));
    outline
}
