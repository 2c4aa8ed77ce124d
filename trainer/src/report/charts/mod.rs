//! The charts of a report. Each is drawn once, on whatever backend: SVG for the page, bitmap for PNG files.

mod axis;
mod canvas;
mod closeup;
mod curves;
mod importance;
mod legend;
mod magnitude;
mod palette;
mod price;
mod scores;
mod time_ticks;
mod timeline;

use std::collections::BTreeSet;

use plotters::backend::{BitMapBackend, DrawingBackend, SVGBackend};

use self::axis::Frame;
use self::canvas::{Align, Canvas, Medium};
use self::closeup::Closeup;
use self::palette::Ink;
pub(super) use self::palette::dark_css;
use self::price::PriceChart;
use super::data::{Column, Curves, Event, Group, Importance, Outcome, ReportData, ScoreHistogram};
use super::format;

/// The area of a chart without its margins.
type Size = Frame;

/// Room for the plot below a legend of that height, with an axis title above it and labels below.
fn plot_frame(size: Size, legend: f64) -> Frame {
    Frame {
        left: size.left,
        top: size.top + legend + 30.0,
        right: size.right,
        bottom: size.bottom - 46.0,
    }
}

/// Kinds of events and their colours, by name, so that a kind has one colour in all charts.
#[derive(Debug, Clone, Default)]
pub(super) struct Kinds(Vec<String>);

impl Kinds {
    pub(super) fn new(events: &[Event]) -> Self {
        Self(
            events
                .iter()
                .map(|e| e.kind.clone())
                .collect::<BTreeSet<_>>()
                .into_iter()
                .collect(),
        )
    }

    fn ink(&self, kind: &str) -> Ink {
        Ink::Nth(self.css_class(kind))
    }

    /// Number of the kind's colour in the style sheet.
    pub(super) fn css_class(&self, kind: &str) -> usize {
        let at = self
            .0
            .binary_search_by(|k| k.as_str().cmp(kind))
            .unwrap_or_else(|at| at);
        palette::KINDS[at % palette::KINDS.len()]
    }
}

/// Where a chart belongs in the page.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Section {
    Scores,
    Curves,
    Magnitude,
    Importance,
    Prices,
    Closeups,
}

/// A chart, ready to be drawn.
#[derive(Debug)]
pub(super) struct Chart<'a> {
    /// Name of its file without ending, unique in the report, safe as a file name and as an id.
    pub(super) name: String,
    pub(super) section: Section,
    pub(super) title: String,
    /// What to look for, in a sentence.
    pub(super) caption: String,
    width: u32,
    height: u32,
    what: What<'a>,
}

#[derive(Debug)]
enum What<'a> {
    Scores(&'a ScoreHistogram),
    Curves(&'a [Curves]),
    Importance(Vec<&'a Importance>),
    Magnitude(&'a [Group], &'a [Column]),
    Price(PriceChart<'a>),
    Closeup(Closeup<'a>),
}

/// All charts that the data has something for.
pub(super) fn charts<'a>(data: &'a ReportData, kinds: &'a Kinds) -> Vec<Chart<'a>> {
    let mut charts = Vec::new();
    let mut add = |name: String, section, title: String, caption: String, (width, height), what| {
        charts.push(Chart {
            name,
            section,
            title,
            caption,
            width,
            height,
            what,
        });
    };
    if let Some(scores) = data.scores.as_ref().filter(|s| s.edges.len() > 1) {
        add(
            "scores".to_owned(),
            Section::Scores,
            "Distribution of scores".to_owned(),
            "Test rows by score. The further right labelled rows stand from the rest, the easier the job.".to_owned(),
            (960, 360),
            What::Scores(scores),
        );
    }
    if data
        .curves
        .iter()
        .any(|c| !c.precision_recall.is_empty() || !c.roc.is_empty())
    {
        add(
            "curves".to_owned(),
            Section::Curves,
            "Precision–recall and ROC".to_owned(),
            "Row by row on the test data. Up and right is better on the left, up and left on the right; the thin \
             diagonal is chance."
                .to_owned(),
            (960, 470),
            What::Curves(&data.curves),
        );
    }
    if data.by_magnitude.iter().any(|g| g.events > 0) {
        add(
            "recall-by-magnitude".to_owned(),
            Section::Magnitude,
            "Recall by magnitude".to_owned(),
            "Share of the events caught, from subtle to gross.".to_owned(),
            (960, 350),
            What::Magnitude(&data.by_magnitude, &data.columns),
        );
    }
    let ranked = importance::ranked(&data.importance, data.limits.features);
    if !ranked.is_empty() {
        let hidden = data.importance.len() - ranked.len();
        let rest = if hidden > 0 {
            format!(" {hidden} more are not drawn.")
        } else {
            String::new()
        };
        add(
            "importance".to_owned(),
            Section::Importance,
            "Feature importance".to_owned(),
            format!("What the score leans on, from most to least.{rest}"),
            (960, importance::height(ranked.len())),
            What::Importance(ranked),
        );
    }
    let drawable = data
        .prices
        .iter()
        .filter(|p| !p.candles.is_empty() || !p.scores.is_empty());
    for (i, series) in drawable.take(data.limits.price_charts).enumerate() {
        let mut events: Vec<&Event> = data
            .events
            .iter()
            .filter(|e| e.symbol == series.symbol)
            .collect();
        events.sort_by_key(|e| e.start);
        add(
            format!("price-{}-{}", i + 1, file_name(&series.symbol)),
            Section::Prices,
            series.symbol.clone(),
            price_caption(&events, series.false_alerts.len()),
            (960, 540),
            What::Price(PriceChart {
                series,
                events,
                kinds,
            }),
        );
    }
    for (i, (event, series)) in closeup::pick(data, data.limits.event_charts)
        .into_iter()
        .enumerate()
    {
        add(
            format!("event-{}", i + 1),
            Section::Closeups,
            format!(
                "{} · {} · {}",
                event.kind,
                event.symbol,
                outcome_words(&event.outcome)
            ),
            closeup_caption(event),
            (520, if series.has_volume() { 440 } else { 370 }),
            What::Closeup(Closeup {
                event,
                series,
                kinds,
            }),
        );
    }
    charts
}

/// What became of an event, in words.
pub(super) fn outcome_words(outcome: &Outcome) -> String {
    match outcome {
        Outcome::Caught { delay } if *delay > 0.0 => {
            format!("caught after {}", format::duration(*delay))
        }
        Outcome::Caught { .. } => "caught at once".to_owned(),
        Outcome::Missed => "missed".to_owned(),
        Outcome::NotScored { reason } => format!("not scored: {reason}"),
    }
}

fn price_caption(events: &[&Event], false_alerts: usize) -> String {
    if events.is_empty() {
        return format!(
            "No labelled event; {} outside of any.",
            alerts(false_alerts)
        );
    }
    let caught = events
        .iter()
        .filter(|e| matches!(e.outcome, Outcome::Caught { .. }))
        .count();
    format!(
        "{caught} of {} events caught; {} outside of any.",
        events.len(),
        alerts(false_alerts)
    )
}

fn alerts(n: usize) -> String {
    format!(
        "{} {}",
        format::count(n as f64),
        if n == 1 { "alert" } else { "alerts" }
    )
}

fn closeup_caption(event: &Event) -> String {
    let mut caption = format!("{}, {} UTC", event.id, format::time(event.start));
    if let Some(magnitude) = event.magnitude.filter(|m| m.is_finite()) {
        caption.push_str(&format!(", magnitude {} σ", format::fixed(magnitude, 1)));
    }
    if let Some(score) = event.peak_score.filter(|s| s.is_finite()) {
        caption.push_str(&format!(", peak score {}", format::significant(score)));
    }
    caption
}

fn file_name(symbol: &str) -> String {
    symbol
        .chars()
        .take(40)
        .map(|c| if c.is_ascii_alphanumeric() { c } else { '_' })
        .collect()
}

const MARGIN: f64 = 16.0;
/// Room for the title of a chart that stands alone.
const TITLE: u32 = 52;
/// Bitmaps have this many pixels per logical pixel, averaged from twice as many drawn.
const PNG_SCALE: u32 = 2;

impl Chart<'_> {
    fn draw<DB: DrawingBackend>(&self, canvas: &mut Canvas<DB>, top: f64) {
        let size = Size {
            left: MARGIN,
            top: top + 8.0,
            right: f64::from(self.width) - MARGIN,
            bottom: top + f64::from(self.height),
        };
        match &self.what {
            What::Scores(data) => scores::draw(canvas, size, data),
            What::Curves(data) => curves::draw(canvas, size, data),
            What::Importance(bars) => importance::draw(canvas, size, bars),
            What::Magnitude(groups, columns) => magnitude::draw(canvas, size, groups, columns),
            What::Price(chart) => chart.draw(canvas, size),
            What::Closeup(chart) => chart.draw(canvas, size),
        }
    }

    /// The chart as an SVG element for a page.
    pub(super) fn svg(&self) -> Result<String, String> {
        const SCALE: u32 = 2;
        let (width, height) = (self.width * SCALE, self.height * SCALE);
        let mut drawn = String::new();
        let backend = SVGBackend::with_string(&mut drawn, (width, height));
        let mut canvas = Canvas::new(backend, Medium::Vector, SCALE);
        self.draw(&mut canvas, 0.0);
        canvas.finish()?;
        // The backend's own opening tag fixes the size and names a namespace that HTML doesn't need.
        let body = drawn
            .split_once('>')
            .map_or("", |(_, body)| body)
            .trim_start();
        Ok(format!(
            "<svg viewBox=\"0 0 {width} {height}\" role=\"img\" aria-labelledby=\"{name}-title {name}-caption\">\n{body}",
            name = self.name,
        ))
    }

    /// The chart with its title as a PNG file.
    pub(super) fn png(&self) -> Result<Vec<u8>, String> {
        const DRAWN: u32 = PNG_SCALE * 2;
        let (width, height) = (self.width * DRAWN, (self.height + TITLE) * DRAWN);
        let mut pixels = vec![255; width as usize * height as usize * 3];
        let mut canvas = Canvas::new(
            BitMapBackend::with_buffer(&mut pixels, (width, height)),
            Medium::Bitmap,
            DRAWN,
        );
        let title = canvas.fit(
            &self.title,
            17.0,
            f64::from(self.width) * 0.9 - 2.0 * MARGIN,
        );
        canvas.bold((MARGIN, 20.0), &title, 16.0, Ink::Text, Align::Left);
        let caption = canvas.fit(&self.caption, 12.0, f64::from(self.width) - 2.0 * MARGIN);
        canvas.text((MARGIN, 41.0), &caption, 12.0, Ink::Muted, Align::Left);
        self.draw(&mut canvas, f64::from(TITLE));
        canvas.finish()?;
        encode(&halve(&pixels, width as usize), width / 2, height / 2).map_err(|e| e.to_string())
    }
}

/// Averages squares of two by two pixels (RGB, `width` pixels a row, both sides even).
fn halve(pixels: &[u8], width: usize) -> Vec<u8> {
    let row = width * 3;
    let mut out = Vec::with_capacity(pixels.len() / 4);
    for rows in pixels.chunks_exact(row * 2) {
        let (upper, lower) = rows.split_at(row);
        for (a, b) in upper.chunks_exact(6).zip(lower.chunks_exact(6)) {
            for c in 0..3 {
                let sum: u16 = [a[c], a[c + 3], b[c], b[c + 3]]
                    .into_iter()
                    .map(u16::from)
                    .sum();
                out.push(((sum + 2) / 4) as u8);
            }
        }
    }
    out
}

fn encode(pixels: &[u8], width: u32, height: u32) -> Result<Vec<u8>, png::EncodingError> {
    let mut file = Vec::new();
    let mut encoder = png::Encoder::new(&mut file, width, height);
    encoder.set_color(png::ColorType::Rgb);
    encoder.set_depth(png::BitDepth::Eight);
    encoder.set_filter(png::FilterType::Up);
    encoder.write_header()?.write_image_data(pixels)?;
    Ok(file)
}
