//! Price, events, alerts and score of one symbol on one time axis.

use std::collections::BTreeSet;

use plotters::backend::DrawingBackend;

use super::axis::{self, Frame, Scale, bounds, time_scale};
use super::canvas::{Align, Canvas, TEXT};
use super::legend::{self, Sign};
use super::palette::{EVENT_SIGN, Ink};
use super::timeline::{draw_price, draw_scores, shade};
use super::{Kinds, Size};
use crate::report::data::{Event, Outcome, PriceSeries};

const LANE: f64 = 17.0;

/// What goes on the chart of one symbol.
#[derive(Debug)]
pub(super) struct PriceChart<'a> {
    pub(super) series: &'a PriceSeries,
    /// Events of the symbol by start.
    pub(super) events: Vec<&'a Event>,
    pub(super) kinds: &'a Kinds,
}

/// A row of marks: its name, and time, shape and colour of each.
type Lane = (&'static str, Vec<(i64, Mark, Ink)>);

enum Mark {
    Disc,
    Ring,
    Cross,
    Unscored,
}

impl PriceChart<'_> {
    /// First and last time of anything on it.
    fn range(&self) -> (i64, i64) {
        let s = self.series;
        let times = s
            .candles
            .iter()
            .map(|c| c.time)
            .chain(s.scores.iter().map(|p| p.time));
        times
            .fold(None, |r: Option<(i64, i64)>, t| {
                Some(r.map_or((t, t), |(a, b)| (a.min(t), b.max(t))))
            })
            .unwrap_or((0, 0))
    }

    fn lanes(&self) -> Vec<Lane> {
        let ink = |e: &Event| self.kinds.ink(&e.kind);
        let mut caught = Vec::new();
        let mut missed = Vec::new();
        let mut unscored = Vec::new();
        for event in &self.events {
            match event.outcome {
                Outcome::Caught { .. } => caught.push((event.start, Mark::Disc, ink(event))),
                Outcome::Missed => missed.push((event.start, Mark::Ring, ink(event))),
                Outcome::NotScored { .. } => {
                    unscored.push((event.start, Mark::Unscored, ink(event)))
                }
            }
        }
        let mut alerts: Vec<_> = self
            .series
            .false_alerts
            .iter()
            .map(|a| (a.time, Mark::Cross, Ink::FalseAlert))
            .collect();
        alerts.sort_by_key(|(time, ..)| *time);
        let mut lanes = Vec::new();
        if !self.events.is_empty() {
            lanes.extend([("caught", caught), ("missed", missed)]);
        }
        if !unscored.is_empty() {
            lanes.push(("not scored", unscored));
        }
        lanes.push((
            if self.events.is_empty() {
                "alerts"
            } else {
                "false alerts"
            },
            alerts,
        ));
        lanes
    }

    fn legend(&self) -> Vec<(Sign, String)> {
        let s = self.series;
        let mut items = vec![(
            Sign::Line(Ink::Normal),
            if s.candles.is_empty() {
                "score"
            } else {
                "close, low–high"
            }
            .to_owned(),
        )];
        let present: BTreeSet<&str> = self.events.iter().map(|e| e.kind.as_str()).collect();
        for kind in present {
            items.push((
                Sign::Area(self.kinds.ink(kind).alpha(EVENT_SIGN)),
                kind.to_owned(),
            ));
        }
        if !self.events.is_empty() {
            items.push((Sign::Disc(Ink::Text), "caught".to_owned()));
            items.push((Sign::Ring(Ink::Text), "missed".to_owned()));
        }
        let alert = if self.events.is_empty() {
            "alert"
        } else {
            "false alert"
        };
        items.push((Sign::Cross(Ink::FalseAlert), alert.to_owned()));
        if s.threshold.is_some() {
            items.push((Sign::Dashed(Ink::Threshold), "alert threshold".to_owned()));
        }
        items
    }

    pub(super) fn draw<DB: DrawingBackend>(&self, canvas: &mut Canvas<DB>, size: Size) {
        let s = self.series;
        let legend = legend::draw(canvas, (size.left, size.top), size.right, &self.legend());
        let lanes = self.lanes();
        let top = size.top + legend + 28.0;
        let bottom = size.bottom - 40.0;
        let lanes_height = LANE * lanes.len() as f64 + 12.0;
        let left_over = bottom - top - lanes_height - 30.0;
        let price_height = if s.candles.is_empty() {
            0.0
        } else {
            left_over * 0.64
        };

        let lows_highs = s.candles.iter().flat_map(|c| [c.low, c.high]);
        let price = Scale::padded(
            bounds(lows_highs).unwrap_or((0.0, 1.0)),
            0.04,
            top + price_height,
            top,
        );
        let score_top = top + price_height + lanes_height + 30.0;
        let shown_scores = s.scores.iter().map(|p| p.score).chain(s.threshold);
        let score = Scale::padded(
            bounds(shown_scores).unwrap_or((0.0, 1.0)),
            0.04,
            bottom,
            score_top,
        );
        let (price_ticks, score_ticks) = (price.ticks(6), score.ticks(5));
        let lane_room = lanes
            .iter()
            .map(|(name, _)| canvas.text_width(name, TEXT - 1.0))
            .fold(0.0, f64::max)
            + 10.0;
        let room = axis::label_room(canvas, &price_ticks)
            .max(axis::label_room(canvas, &score_ticks))
            .max(lane_room);
        let all = Frame {
            left: size.left + room,
            top,
            right: size.right - 8.0,
            bottom,
        };
        let x = time_scale(self.range(), all);

        axis::draw_time(canvas, all, self.range());
        let price_frame = Frame {
            bottom: top + price_height,
            ..all
        };
        let score_frame = Frame {
            top: score_top,
            ..all
        };
        if price_height > 0.0 {
            let title = if s.unit.is_empty() {
                "price".to_owned()
            } else {
                format!("price, {}", s.unit)
            };
            axis::draw_y(canvas, price_frame, &price, &price_ticks, &title);
        }
        let title = if s.score_axis.is_empty() {
            "score"
        } else {
            &s.score_axis
        };
        axis::draw_y(canvas, score_frame, &score, &score_ticks, title);
        for frame in [price_frame, score_frame]
            .into_iter()
            .filter(|f| f.bottom > f.top)
        {
            shade(
                canvas,
                self.events.iter().map(|e| (*e, self.kinds.ink(&e.kind))),
                &x,
                frame,
            );
        }
        if price_height > 0.0 {
            draw_price(canvas, &s.candles, &x, &price);
        }
        draw_scores(canvas, &s.scores, &x, &score);
        if let Some(threshold) = s.threshold.filter(|t| t.is_finite()) {
            let y = score.at(threshold);
            canvas.dashed(
                &[(all.left, y), (all.right, y)],
                Ink::Threshold,
                1.5,
                (6.0, 4.0),
            );
        }
        for (i, (name, marks)) in lanes.iter().enumerate() {
            let y = top + price_height + 12.0 + LANE * (i as f64 + 0.5);
            canvas.text(
                (all.left - 8.0, y),
                name,
                TEXT - 1.0,
                Ink::Muted,
                Align::Right,
            );
            canvas.line((all.left, y), (all.right, y), Ink::Grid, 1.0);
            let mut last = f64::NEG_INFINITY;
            for (time, mark, ink) in marks {
                let at = (x.at(*time as f64), y);
                // Thousands of marks: those within a pixel and a half would cover each other.
                if at.0 - last < 1.5 || at.0 < all.left - 1.0 || at.0 > all.right + 1.0 {
                    continue;
                }
                last = at.0;
                match mark {
                    Mark::Disc => canvas.disc(at, 5.0, *ink),
                    Mark::Ring => {
                        canvas.disc(at, 4.5, Ink::Page);
                        canvas.ring(at, 4.5, *ink, 1.75);
                    }
                    Mark::Cross => canvas.cross(at, 3.5, *ink, 1.5),
                    Mark::Unscored => canvas.ring(at, 2.5, Ink::Muted, 1.0),
                }
            }
        }
    }
}
