//! A thin drawing surface over any plotters backend, in logical pixels.
//!
//! Backends take whole pixels. Coordinates here are fractions of a logical pixel, multiplied by `scale` before they
//! are rounded: that gives vector charts sub-pixel precision, and bitmaps room for smoothing.

use std::sync::Once;

use plotters::backend::DrawingBackend;
use plotters::style::text_anchor::{HPos, Pos, VPos};
use plotters::style::{
    Color as _, FontDesc, FontFamily, FontStyle, RGBAColor, ShapeStyle, TextStyle, register_font,
};

use super::palette::{Ink, Paint};

const FONT: &str = "foreshock-report";
static REGISTER: Once = Once::new();

fn register_fonts() {
    REGISTER.call_once(|| {
        let normal: &'static [u8] = include_bytes!("../../../assets/DejaVuSans.subset.ttf");
        let bold: &'static [u8] = include_bytes!("../../../assets/DejaVuSans-Bold.subset.ttf");
        // A font that fails to parse shows as an error of the first text that is drawn.
        drop(register_font(FONT, FontStyle::Normal, normal));
        drop(register_font(FONT, FontStyle::Bold, bold));
    });
}

/// What the backend makes of a text: both place it differently.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Medium {
    Vector,
    Bitmap,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Align {
    Left,
    Center,
    Right,
}

/// A point in logical pixels, from the top left.
pub(super) type Point = (f64, f64);

/// Size of ordinary chart text (em, logical pixels).
pub(super) const TEXT: f64 = 12.0;

/// Draws on `DB`; after the first error it draws nothing more, and [`Canvas::finish`] tells of it.
pub(super) struct Canvas<DB: DrawingBackend> {
    backend: DB,
    medium: Medium,
    scale: f64,
    error: Option<String>,
}

impl<DB: DrawingBackend> Canvas<DB> {
    pub(super) fn new(backend: DB, medium: Medium, scale: u32) -> Self {
        register_fonts();
        Self {
            backend,
            medium,
            scale: f64::from(scale),
            error: None,
        }
    }

    pub(super) fn finish(mut self) -> Result<(), String> {
        self.run(|backend| backend.present());
        self.error.map_or(Ok(()), Err)
    }

    pub(super) fn line(&mut self, from: Point, to: Point, paint: impl Into<Paint>, width: f64) {
        self.polyline(&[from, to], paint, width);
    }

    pub(super) fn polyline(&mut self, points: &[Point], paint: impl Into<Paint>, width: f64) {
        let style = self.stroke(paint.into(), width);
        let points = self.snap_path(points);
        if points.len() < 2 {
            return;
        }
        match self.medium {
            Medium::Vector => self.run(|backend| backend.draw_path(points, &style)),
            // One polygon for the whole path grows spikes at sharp corners: segments, and a disc at each joint.
            Medium::Bitmap => {
                let joint = style.stroke_width / 2;
                for pair in points.windows(2) {
                    self.run(|backend| backend.draw_line(pair[0], pair[1], &style));
                }
                if joint > 1 && style.color.3 >= 1.0 {
                    for &point in &points[1..points.len() - 1] {
                        self.run(|backend| backend.draw_circle(point, joint, &style, true));
                    }
                }
            }
        }
    }

    /// A path in dashes of `on` logical pixels, `off` apart.
    pub(super) fn dashed(
        &mut self,
        points: &[Point],
        paint: impl Into<Paint>,
        width: f64,
        (on, off): (f64, f64),
    ) {
        let paint = paint.into();
        // Dashes out to infinity would never end.
        let points: Vec<Point> = points
            .iter()
            .filter(|p| p.0.is_finite() && p.1.is_finite())
            .map(|p| (p.0.clamp(-1e4, 1e4), p.1.clamp(-1e4, 1e4)))
            .collect();
        let (mut left, mut drawing) = (on, true);
        let mut dash: Vec<Point> = points.first().copied().into_iter().collect();
        for pair in points.windows(2) {
            let (mut at, to) = (pair[0], pair[1]);
            loop {
                let length = (to.0 - at.0).hypot(to.1 - at.1);
                if length <= left {
                    left -= length;
                    dash.push(to);
                    break;
                }
                let share = left / length;
                at = (at.0 + (to.0 - at.0) * share, at.1 + (to.1 - at.1) * share);
                dash.push(at);
                if drawing {
                    self.polyline(&dash, paint, width);
                }
                drawing = !drawing;
                left = if drawing { on } else { off };
                dash = vec![at];
            }
        }
        if drawing {
            self.polyline(&dash, paint, width);
        }
    }

    pub(super) fn polygon(&mut self, points: &[Point], paint: impl Into<Paint>) {
        let style = self.fill(paint.into());
        let points = self.snap_path(points);
        if points.len() > 2 {
            self.run(|backend| backend.fill_polygon(points, &style));
        }
    }

    /// A filled rectangle, at least one device pixel wide and high.
    pub(super) fn rect(&mut self, (x0, y0): Point, (x1, y1): Point, paint: impl Into<Paint>) {
        let style = self.fill(paint.into());
        let from = self.snap((x0.min(x1), y0.min(y1)));
        let mut to = self.snap((x0.max(x1), y0.max(y1)));
        to = (to.0.max(from.0 + 1), to.1.max(from.1 + 1));
        // Bitmaps count the last pixel in.
        if self.medium == Medium::Bitmap {
            to = (to.0 - 1, to.1 - 1);
        }
        self.run(|backend| backend.draw_rect(from, to, &style, true));
    }

    /// An empty rectangle.
    pub(super) fn outline(
        &mut self,
        (x0, y0): Point,
        (x1, y1): Point,
        paint: impl Into<Paint>,
        width: f64,
    ) {
        self.polyline(
            &[(x0, y0), (x1, y0), (x1, y1), (x0, y1), (x0, y0)],
            paint,
            width,
        );
    }

    pub(super) fn disc(&mut self, at: Point, radius: f64, paint: impl Into<Paint>) {
        let style = self.fill(paint.into());
        let (at, radius) = (self.snap(at), self.length(radius));
        self.run(|backend| backend.draw_circle(at, radius, &style, true));
    }

    pub(super) fn ring(&mut self, at: Point, radius: f64, paint: impl Into<Paint>, width: f64) {
        let paint = paint.into();
        match self.medium {
            Medium::Vector => {
                let style = self.stroke(paint, width);
                let (at, radius) = (self.snap(at), self.length(radius));
                self.run(|backend| backend.draw_circle(at, radius, &style, false));
            }
            // The rasterizer's rings are uneven: a polygon of our own.
            Medium::Bitmap => {
                let corner = |i: u32| {
                    let angle = f64::from(i) * std::f64::consts::TAU / 24.0;
                    (at.0 + radius * angle.cos(), at.1 + radius * angle.sin())
                };
                self.polyline(&(0..=24).map(corner).collect::<Vec<_>>(), paint, width);
            }
        }
    }

    pub(super) fn cross(
        &mut self,
        (x, y): Point,
        radius: f64,
        paint: impl Into<Paint>,
        width: f64,
    ) {
        let paint = paint.into();
        self.line(
            (x - radius, y - radius),
            (x + radius, y + radius),
            paint,
            width,
        );
        self.line(
            (x - radius, y + radius),
            (x + radius, y - radius),
            paint,
            width,
        );
    }

    /// One line of text, `at.1` being the middle of its capitals.
    pub(super) fn text(&mut self, at: Point, text: &str, size: f64, ink: Ink, align: Align) {
        self.styled_text(at, text, size, ink, align, FontStyle::Normal);
    }

    pub(super) fn bold(&mut self, at: Point, text: &str, size: f64, ink: Ink, align: Align) {
        self.styled_text(at, text, size, ink, align, FontStyle::Bold);
    }

    fn styled_text(
        &mut self,
        at: Point,
        text: &str,
        size: f64,
        ink: Ink,
        align: Align,
        style: FontStyle,
    ) {
        let h_pos = match align {
            Align::Left => HPos::Left,
            Align::Center => HPos::Center,
            Align::Right => HPos::Right,
        };
        // Where each backend puts the baseline of a text that is centred on a point, against where it belongs:
        // 0.36 em below the middle of the capitals.
        let drop = match self.medium {
            Medium::Vector => 0.09,
            Medium::Bitmap => 0.25,
        };
        let at = self.snap((at.0, at.1 + drop * size));
        let text: String = text.chars().filter(|c| !c.is_control()).collect();
        let text_style = TextStyle {
            font: FontDesc::new(FontFamily::Name(FONT), self.font_size(size), style),
            color: color(ink.into()).to_backend_color(),
            pos: Pos::new(h_pos, VPos::Center),
        };
        self.run(|backend| backend.draw_text(&text, &text_style, at));
    }

    /// Width of a text in logical pixels, by the built-in font (a browser's own is rarely wider).
    pub(super) fn text_width(&self, text: &str, size: f64) -> f64 {
        let font = FontDesc::new(
            FontFamily::Name(FONT),
            size * 10.0 * EM_IN_HEIGHT,
            FontStyle::Normal,
        );
        font.box_size(text)
            .map_or(0.0, |(width, _)| f64::from(width) / 10.0)
    }

    /// The text, shortened to `width` with an ellipsis.
    pub(super) fn fit(&self, text: &str, size: f64, width: f64) -> String {
        if self.text_width(text, size) <= width {
            return text.to_owned();
        }
        let mut kept: Vec<char> = text.chars().collect();
        while kept.pop().is_some() {
            let short: String = kept.iter().chain(['…'].iter()).collect();
            if self.text_width(&short, size) <= width {
                return short;
            }
        }
        String::new()
    }

    fn run<E: std::fmt::Display>(&mut self, draw: impl FnOnce(&mut DB) -> Result<(), E>) {
        if self.error.is_none()
            && let Err(e) = draw(&mut self.backend)
        {
            self.error = Some(e.to_string());
        }
    }

    /// Font size as the backend wants it: the SVG backend divides by 1.24, bitmaps take the height of the font.
    fn font_size(&self, size: f64) -> f64 {
        let factor = match self.medium {
            Medium::Vector => 1.24,
            Medium::Bitmap => EM_IN_HEIGHT,
        };
        size * self.scale * factor
    }

    fn stroke(&self, paint: Paint, width: f64) -> ShapeStyle {
        ShapeStyle {
            color: color(paint),
            filled: false,
            stroke_width: self.length(width),
        }
    }

    fn fill(&self, paint: Paint) -> ShapeStyle {
        ShapeStyle {
            color: color(paint),
            filled: true,
            stroke_width: 0,
        }
    }

    fn length(&self, logical: f64) -> u32 {
        (logical * self.scale).round().max(1.0) as u32
    }

    /// Far outside is outside: the clamp keeps rasterizers from walking there.
    fn snap(&self, (x, y): Point) -> (i32, i32) {
        let device = |v: f64| (v.clamp(-1e4, 1e4) * self.scale).round() as i32;
        (device(x), device(y))
    }

    /// Device points without repeats.
    fn snap_path(&self, points: &[Point]) -> Vec<(i32, i32)> {
        let mut snapped: Vec<_> = points.iter().map(|&p| self.snap(p)).collect();
        snapped.dedup();
        snapped
    }
}

/// Height of the built-in font in em: 0.928 above the baseline, 0.236 below.
const EM_IN_HEIGHT: f64 = 1.164;

fn color(Paint { ink, alpha }: Paint) -> RGBAColor {
    let (r, g, b) = ink.light();
    RGBAColor(r, g, b, alpha)
}
