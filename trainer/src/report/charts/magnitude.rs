//! Recall by magnitude band, models side by side.

use plotters::backend::DrawingBackend;

use super::axis::{self, Frame, Scale};
use super::canvas::{Align, Canvas, TEXT};
use super::legend::{self, Sign};
use super::palette::Ink;
use super::{Size, plot_frame};
use crate::report::data::{Column, Estimate, Group};
use crate::report::format;

pub(super) fn draw<DB: DrawingBackend>(
    canvas: &mut Canvas<DB>,
    size: Size,
    groups: &[Group],
    columns: &[Column],
) {
    let mut next = 0..;
    let inks: Vec<Ink> = columns
        .iter()
        .map(|c| {
            if c.baseline {
                Ink::Baseline
            } else {
                Ink::Nth(next.next().unwrap_or(0))
            }
        })
        .collect();
    let mut items: Vec<(Sign, String)> = columns
        .iter()
        .zip(&inks)
        .map(|(c, &ink)| {
            (
                if c.baseline {
                    Sign::Box(ink)
                } else {
                    Sign::Area(ink.alpha(0.8))
                },
                c.name.clone(),
            )
        })
        .collect();
    let interval = |e: &Estimate| {
        matches!(
            e,
            Estimate::Value {
                interval: Some(_),
                ..
            }
        )
    };
    if groups
        .iter()
        .flat_map(|g| &g.cells)
        .any(|c| interval(&c.recall))
    {
        items.push((Sign::Whisker(Ink::Text), "confidence interval".to_owned()));
    }
    let legend = legend::draw(canvas, (size.left, size.top), size.right, &items);
    let frame = Frame {
        left: size.left + 50.0,
        ..plot_frame(size, legend)
    };
    let y = Scale::linear((0.0, 1.0), frame.bottom, frame.top);
    let ticks: Vec<_> = [0.0, 0.2, 0.4, 0.6, 0.8, 1.0]
        .into_iter()
        .map(|v| (v, format::percent(v)))
        .collect();
    axis::draw_y(canvas, frame, &y, &ticks, "events caught");

    let slot = frame.width() / groups.len().max(1) as f64;
    let bar = (slot * 0.7 / columns.len().max(1) as f64).min(46.0);
    for (i, group) in groups.iter().enumerate() {
        let middle = frame.left + slot * (i as f64 + 0.5);
        let first = middle - bar * columns.len() as f64 / 2.0;
        for (j, (cell, column)) in group.cells.iter().zip(columns).enumerate() {
            let Some(recall) = cell.recall.value() else {
                continue;
            };
            let (left, right) = (
                first + bar * j as f64 + 2.0,
                first + bar * (j + 1) as f64 - 2.0,
            );
            let top = (left, y.at(recall.clamp(0.0, 1.0)));
            if column.baseline {
                canvas.rect(top, (right, frame.bottom), inks[j].alpha(0.18));
                canvas.outline(top, (right, frame.bottom), inks[j], 1.5);
            } else {
                canvas.rect(top, (right, frame.bottom), inks[j].alpha(0.8));
            }
            if let Estimate::Value {
                interval: Some(range),
                ..
            } = cell.recall
                && format::finite(range)
            {
                let x = (left + right) / 2.0;
                let (low, high) = (y.at(range.0.clamp(0.0, 1.0)), y.at(range.1.clamp(0.0, 1.0)));
                canvas.line((x, low), (x, high), Ink::Text, 1.5);
                for end in [low, high] {
                    canvas.line((x - 4.0, end), (x + 4.0, end), Ink::Text, 1.5);
                }
            }
        }
        let label = canvas.fit(&group.label, TEXT, slot - 8.0);
        canvas.text(
            (middle, frame.bottom + 15.0),
            &label,
            TEXT,
            Ink::Text,
            Align::Center,
        );
        let events = format!(
            "{} {}",
            format::count(group.events as f64),
            if group.events == 1 { "event" } else { "events" }
        );
        let events = canvas.fit(&events, TEXT - 1.0, slot - 8.0);
        canvas.text(
            (middle, frame.bottom + 32.0),
            &events,
            TEXT - 1.0,
            Ink::Muted,
            Align::Center,
        );
    }
    canvas.line(
        (frame.left, frame.bottom),
        (frame.right, frame.bottom),
        Ink::Muted,
        1.0,
    );
}
