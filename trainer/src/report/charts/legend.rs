//! The row of signs and words above a chart.

use plotters::backend::DrawingBackend;

use super::canvas::{Align, Canvas, Point, TEXT};
use super::palette::{Ink, Paint};

#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Sign {
    Area(Paint),
    Box(Ink),
    Line(Ink),
    Dashed(Ink),
    Disc(Ink),
    Ring(Ink),
    Cross(Ink),
    Whisker(Ink),
}

const SIGN: f64 = 20.0;
const GAP: f64 = 18.0;
const LINE: f64 = 20.0;

/// Draws from `left`/`top`, wrapping at `right`; returns the height taken.
pub(super) fn draw<DB: DrawingBackend>(
    canvas: &mut Canvas<DB>,
    (left, top): Point,
    right: f64,
    items: &[(Sign, String)],
) -> f64 {
    let (mut x, mut y) = (left, top + LINE / 2.0);
    for (sign, words) in items {
        let words = canvas.fit(words, TEXT, right - left - SIGN - 6.0);
        let width = SIGN + 6.0 + canvas.text_width(&words, TEXT);
        if x > left && x + width > right {
            (x, y) = (left, y + LINE);
        }
        draw_sign(canvas, (x, y), *sign);
        canvas.text((x + SIGN + 6.0, y), &words, TEXT, Ink::Text, Align::Left);
        x += width + GAP;
    }
    y + LINE / 2.0 - top
}

fn draw_sign<DB: DrawingBackend>(canvas: &mut Canvas<DB>, (x, y): Point, sign: Sign) {
    let middle = (x + SIGN / 2.0, y);
    match sign {
        Sign::Area(paint) => canvas.rect((x + 3.0, y - 6.0), (x + SIGN - 1.0, y + 6.0), paint),
        Sign::Box(ink) => {
            canvas.rect(
                (x + 3.0, y - 5.0),
                (x + SIGN - 1.0, y + 5.0),
                ink.alpha(0.18),
            );
            canvas.outline((x + 3.0, y - 5.0), (x + SIGN - 1.0, y + 5.0), ink, 1.5);
        }
        Sign::Line(ink) => canvas.line((x, y), (x + SIGN, y), ink, 2.0),
        Sign::Dashed(ink) => canvas.dashed(&[(x, y), (x + SIGN, y)], ink, 1.5, (5.0, 3.0)),
        Sign::Disc(ink) => canvas.disc(middle, 5.0, ink),
        Sign::Ring(ink) => canvas.ring(middle, 4.5, ink, 1.5),
        Sign::Cross(ink) => canvas.cross(middle, 4.0, ink, 1.5),
        Sign::Whisker(ink) => {
            canvas.line((x + 2.0, y), (x + SIGN - 2.0, y), ink, 1.5);
            for end in [x + 2.0, x + SIGN - 2.0] {
                canvas.line((end, y - 4.0), (end, y + 4.0), ink, 1.5);
            }
        }
    }
}
