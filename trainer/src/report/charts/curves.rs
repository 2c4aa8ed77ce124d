//! Precision–recall and ROC curves side by side.

use plotters::backend::DrawingBackend;

use super::Size;
use super::axis::{self, Frame, Scale};
use super::canvas::{Canvas, Point};
use super::legend::{self, Sign};
use super::palette::Ink;
use crate::report::data::Curves;
use crate::report::format;

pub(super) fn draw<DB: DrawingBackend>(canvas: &mut Canvas<DB>, size: Size, curves: &[Curves]) {
    let inks = inks(curves);
    let mut items: Vec<(Sign, String)> = curves
        .iter()
        .zip(&inks)
        .map(|(c, &ink)| {
            (
                if c.baseline {
                    Sign::Dashed(ink)
                } else {
                    Sign::Line(ink)
                },
                legend_text(c),
            )
        })
        .collect();
    if curves.iter().any(|c| c.operating_point.is_some()) {
        items.push((Sign::Disc(Ink::Text), "at the alert threshold".to_owned()));
    }
    let legend = legend::draw(canvas, (size.left, size.top), size.right, &items);

    let gap = 60.0;
    let left = size.left + 38.0;
    let width = (size.right - left - gap) / 2.0;
    let frame = |left: f64| Frame {
        left,
        top: size.top + legend + 34.0,
        right: left + width,
        bottom: size.bottom - 44.0,
    };
    let (precision_recall, roc) = (frame(left), frame(left + width + gap));

    let scales = axes(canvas, precision_recall, "recall", "precision");
    for (curve, &ink) in curves.iter().zip(&inks).rev() {
        draw_curve(canvas, &curve.precision_recall, scales, ink, curve.baseline);
    }
    for (curve, &ink) in curves.iter().zip(&inks).rev() {
        if let Some(point) = curve.operating_point.filter(|p| usable(*p)) {
            let at = (scales.0.at(point.0), scales.1.at(point.1));
            canvas.disc(at, 6.5, Ink::Page);
            canvas.disc(at, 5.0, ink);
        }
    }
    let scales = axes(
        canvas,
        roc,
        "false positive rate",
        "true positive rate (recall)",
    );
    canvas.line((roc.left, roc.bottom), (roc.right, roc.top), Ink::Grid, 1.5);
    for (curve, &ink) in curves.iter().zip(&inks).rev() {
        draw_curve(canvas, &curve.roc, scales, ink, curve.baseline);
    }
}

/// Candidates take the colours in order, baselines are grey and dashed.
fn inks(curves: &[Curves]) -> Vec<Ink> {
    let mut next = 0..;
    curves
        .iter()
        .map(|c| {
            if c.baseline {
                Ink::Baseline
            } else {
                Ink::Nth(next.next().unwrap_or(0))
            }
        })
        .collect()
}

fn legend_text(curve: &Curves) -> String {
    let mut text = curve.name.clone();
    if let Some(ap) = curve.average_precision.filter(|v| v.is_finite()) {
        text.push_str(&format!(" · AP {}", format::fixed(ap, 3)));
    }
    if let Some(auc) = curve.roc_auc.filter(|v| v.is_finite()) {
        text.push_str(&format!(" · AUC {}", format::fixed(auc, 3)));
    }
    text
}

fn axes<DB: DrawingBackend>(
    canvas: &mut Canvas<DB>,
    frame: Frame,
    x_title: &str,
    y_title: &str,
) -> (Scale, Scale) {
    let x = Scale::linear((0.0, 1.0), frame.left, frame.right);
    let y = Scale::linear((0.0, 1.0), frame.bottom, frame.top);
    axis::draw_y(canvas, frame, &y, &y.ticks(5), y_title);
    axis::draw_x(canvas, frame, &x, &x.ticks(5), x_title);
    (x, y)
}

fn usable((a, b): Point) -> bool {
    a.is_finite() && b.is_finite()
}

fn draw_curve<DB: DrawingBackend>(
    canvas: &mut Canvas<DB>,
    points: &[Point],
    (x, y): (Scale, Scale),
    ink: Ink,
    baseline: bool,
) {
    let points = thin(
        points
            .iter()
            .filter(|p| usable(**p))
            .map(|p| (x.at(p.0), y.at(p.1))),
    );
    if baseline {
        canvas.dashed(&points, ink, 2.0, (7.0, 4.0));
    } else {
        canvas.polyline(&points, ink, 2.0);
    }
}

/// Leaves out points that are less than half a pixel from the one before.
fn thin(points: impl Iterator<Item = Point>) -> Vec<Point> {
    let mut kept: Vec<Point> = Vec::new();
    let mut last = None;
    for point in points {
        if kept
            .last()
            .is_none_or(|k| (k.0 - point.0).abs() + (k.1 - point.1).abs() >= 0.5)
        {
            kept.push(point);
        }
        last = Some(point);
    }
    kept.extend(last.filter(|l| kept.last() != Some(l)));
    kept
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_million_points_become_a_thousand() {
        let dense = (0..1_000_000).map(|i| (f64::from(i) * 4e-4, 400.0 - f64::from(i) * 4e-4));
        let few = thin(dense);
        assert!(few.len() < 2_000, "{}", few.len());
        assert_eq!(few[0], (0.0, 400.0));
        assert!((few[few.len() - 1].0 - 399.9996).abs() < 1e-9);
    }
}
