//! Close-ups of single events: candles around them, the volume and the score below.

use std::collections::BTreeMap;

use plotters::backend::DrawingBackend;

use super::axis::{self, Frame, Scale, bounds, time_scale};
use super::canvas::{Canvas, Point};
use super::legend::{self, Sign};
use super::palette::{EVENT_SIGN, Ink};
use super::timeline::{draw_scores, shade, usual_step};
use super::{Kinds, Size};
use crate::report::data::{Candle, Event, Outcome, PriceSeries, ReportData, ScorePoint};
use crate::report::downsample::downsample_candles;

/// Candles of a close-up, at most.
const CANDLES: usize = 90;

/// Between two panels, with room for the title of the lower one.
const GAP: f64 = 34.0;

#[derive(Debug)]
pub(super) struct Closeup<'a> {
    pub(super) event: &'a Event,
    pub(super) series: &'a PriceSeries,
    pub(super) kinds: &'a Kinds,
}

/// The events most worth a look: in turn the grossest missed, the highest scored, the most subtle caught and the
/// latest caught, each time of the kind that was shown least.
pub(super) fn pick(data: &ReportData, limit: usize) -> Vec<(&Event, &PriceSeries)> {
    let series: BTreeMap<&str, &PriceSeries> = data
        .prices
        .iter()
        .filter(|p| !p.candles.is_empty())
        .map(|p| (p.symbol.as_str(), p))
        .collect();
    let covered = |e: &&Event| {
        series.get(e.symbol.as_str()).is_some_and(|s| {
            s.candles.first().is_some_and(|c| c.time <= e.start)
                && s.candles.last().is_some_and(|c| c.time >= e.start)
        })
    };
    let (caught, missed): (Vec<&Event>, Vec<&Event>) = data
        .events
        .iter()
        .filter(covered)
        .filter(|e| !matches!(e.outcome, Outcome::NotScored { .. }))
        .partition(|e| matches!(e.outcome, Outcome::Caught { .. }));
    let by = |events: &[&'_ Event], key: &dyn Fn(&Event) -> f64| {
        let mut ranked: Vec<usize> = (0..events.len()).collect();
        ranked.sort_by(|&a, &b| key(events[b]).total_cmp(&key(events[a])).then(a.cmp(&b)));
        ranked
    };
    let size = |e: &Event| e.magnitude.unwrap_or(0.0);
    let delay = |e: &Event| {
        if let Outcome::Caught { delay } = e.outcome {
            delay
        } else {
            0.0
        }
    };
    let rankings = [
        (&missed, by(&missed, &size)),
        (&caught, by(&caught, &|e| e.peak_score.unwrap_or(0.0))),
        (&missed, by(&missed, &|e| e.peak_score.unwrap_or(0.0))),
        (&caught, by(&caught, &|e| -size(e))),
        (&missed, by(&missed, &size)),
        (&caught, by(&caught, &delay)),
    ];
    let mut picked: Vec<&Event> = Vec::new();
    let mut shown: BTreeMap<&str, usize> = BTreeMap::new();
    let limit = limit.min(caught.len() + missed.len());
    for (events, ranked) in rankings.iter().cycle() {
        if picked.len() >= limit {
            break;
        }
        let free = ranked
            .iter()
            .map(|&i| events[i])
            .filter(|e| !picked.iter().any(|p| std::ptr::eq(*p, *e)));
        if let Some(event) = free.min_by_key(|e| shown.get(e.kind.as_str()).copied().unwrap_or(0)) {
            picked.push(event);
            *shown.entry(event.kind.as_str()).or_default() += 1;
        }
    }
    picked
        .into_iter()
        .filter_map(|e| Some((e, *series.get(e.symbol.as_str())?)))
        .collect()
}

impl Closeup<'_> {
    /// The event with room on either side, and the candles and scores in it.
    fn window(&self) -> ((i64, i64), Vec<Candle>, Vec<ScorePoint>) {
        let Event { start, end, .. } = *self.event;
        let step = usual_step(self.series.candles.iter().map(|c| c.time));
        let pad = end.saturating_sub(start).max(step.saturating_mul(25));
        let range = (
            start.saturating_sub(pad),
            end.max(start).saturating_add(pad),
        );
        let within = |time: i64| range.0 <= time && time <= range.1;
        let candles: Vec<Candle> = self
            .series
            .candles
            .iter()
            .copied()
            .filter(|c| within(c.time))
            .collect();
        let scores = self
            .series
            .scores
            .iter()
            .copied()
            .filter(|s| within(s.time))
            .collect();
        (range, downsample_candles(&candles, CANDLES), scores)
    }

    pub(super) fn draw<DB: DrawingBackend>(&self, canvas: &mut Canvas<DB>, size: Size) {
        let (range, candles, scores) = self.window();
        let ink = self.kinds.ink(&self.event.kind);
        let threshold = self.series.threshold.filter(|t| t.is_finite());
        let first_alert = match self.event.outcome {
            Outcome::Caught { delay } if delay.is_finite() => {
                Some(self.event.start.saturating_add((delay * 1e6) as i64))
            }
            _ => None,
        };
        let mut items = vec![(Sign::Area(ink.alpha(EVENT_SIGN)), self.event.kind.clone())];
        if first_alert.is_some() {
            items.push((Sign::Disc(ink), "first alert".to_owned()));
        }
        if threshold.is_some() {
            items.push((Sign::Dashed(Ink::Threshold), "threshold".to_owned()));
        }
        let legend = legend::draw(canvas, (size.left, size.top), size.right, &items);

        let (top, bottom) = (size.top + legend + 24.0, size.bottom - 40.0);
        let with_volume = self.series.has_volume();
        let panels = if with_volume { 2.0 } else { 1.0 };
        let free = bottom - top - GAP * panels;
        let price_bottom = top + free * if with_volume { 0.52 } else { 0.66 };
        let volume_bottom = if with_volume {
            price_bottom + GAP + free * 0.2
        } else {
            price_bottom
        };
        let volumes = candles.iter().map(|c| c.volume).chain([0.0]);
        let volume = Scale::linear(
            bounds(volumes).unwrap_or((0.0, 1.0)),
            volume_bottom,
            price_bottom + GAP,
        );
        let price = Scale::padded(
            bounds(candles.iter().flat_map(|c| [c.low, c.high])).unwrap_or((0.0, 1.0)),
            0.05,
            price_bottom,
            top,
        );
        let shown = scores.iter().map(|s| s.score).chain(threshold);
        let score = Scale::padded(
            bounds(shown).unwrap_or((0.0, 1.0)),
            0.08,
            bottom,
            volume_bottom + GAP,
        );
        let (price_ticks, score_ticks) = (price.ticks(5), score.ticks(3));
        let volume_ticks = if with_volume {
            volume.ticks(2)
        } else {
            Vec::new()
        };
        let room = axis::label_room(canvas, &price_ticks)
            .max(axis::label_room(canvas, &volume_ticks))
            .max(axis::label_room(canvas, &score_ticks))
            .max(34.0);
        let all = Frame {
            left: size.left + room,
            top,
            right: size.right - 8.0,
            bottom,
        };
        let x = time_scale(range, all);
        let price_frame = Frame {
            bottom: price_bottom,
            ..all
        };
        let volume_frame = Frame {
            top: price_bottom + GAP,
            bottom: volume_bottom,
            ..all
        };
        let score_frame = Frame {
            top: volume_bottom + GAP,
            ..all
        };

        axis::draw_time(canvas, all, range);
        let unit = &self.series.unit;
        let title = if unit.is_empty() {
            "price".to_owned()
        } else {
            format!("price, {unit}")
        };
        axis::draw_y(canvas, price_frame, &price, &price_ticks, &title);
        let title = if self.series.score_axis.is_empty() {
            "score"
        } else {
            &self.series.score_axis
        };
        axis::draw_y(canvas, score_frame, &score, &score_ticks, title);
        if with_volume {
            axis::draw_y(canvas, volume_frame, &volume, &volume_ticks, "volume");
        }
        for frame in [price_frame, volume_frame, score_frame] {
            if frame.bottom > frame.top {
                shade(canvas, std::iter::once((self.event, ink)), &x, frame);
            }
        }
        let slot = all.width() / candles.len().max(1) as f64;
        let width = (slot * 0.62).clamp(2.0, 14.0);
        for candle in &candles {
            draw_candle(canvas, candle, &x, &price, width);
            if with_volume && candle.volume.is_finite() && candle.volume > 0.0 {
                let middle = x.at(candle.time as f64);
                let (left, right) = (middle - width / 2.0, middle + width / 2.0);
                let bar_top = volume.at(candle.volume);
                canvas.rect((left, bar_top), (right, volume_bottom), Ink::Baseline);
            }
        }
        draw_scores(canvas, &scores, &x, &score);
        if let Some(threshold) = threshold {
            let y = score.at(threshold);
            canvas.dashed(
                &[(all.left, y), (all.right, y)],
                Ink::Threshold,
                1.5,
                (6.0, 4.0),
            );
            for point in scores
                .iter()
                .filter(|s| s.score > threshold && s.score.is_finite())
            {
                canvas.disc(
                    (x.at(point.time as f64), score.at(point.score)),
                    2.5,
                    Ink::Threshold,
                );
            }
        }
        if let Some(time) = first_alert.filter(|t| (range.0..=range.1).contains(t)) {
            let at: Point = (x.at(time as f64), top);
            canvas.line(at, (at.0, bottom), ink, 1.0);
            canvas.disc(at, 5.0, ink);
        }
    }
}

/// Rising candles are hollow, falling ones filled, so that colour is not needed to tell.
fn draw_candle<DB: DrawingBackend>(
    canvas: &mut Canvas<DB>,
    c: &Candle,
    x: &Scale,
    y: &Scale,
    width: f64,
) {
    if ![c.open, c.high, c.low, c.close]
        .iter()
        .all(|v| v.is_finite())
    {
        return;
    }
    let ink = if c.close >= c.open {
        Ink::Rise
    } else {
        Ink::Fall
    };
    let middle = x.at(c.time as f64);
    let (upper, lower) = (y.at(c.open.max(c.close)), y.at(c.open.min(c.close)));
    canvas.line((middle, y.at(c.high)), (middle, upper), ink, 1.0);
    canvas.line((middle, lower), (middle, y.at(c.low)), ink, 1.0);
    let (left, right) = (middle - width / 2.0, middle + width / 2.0);
    if lower - upper < 1.0 {
        canvas.line((left, upper), (right, upper), ink, 1.5);
    } else if c.close >= c.open {
        canvas.outline((left, upper), (right, lower), ink, 1.0);
    } else {
        canvas.rect((left, upper), (right, lower), ink);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn picks_caught_and_missed_of_several_kinds() {
        let candles = (0..100)
            .map(|i| Candle {
                time: i,
                ..Candle::default()
            })
            .collect();
        let event = |i: usize, kind: &str, caught: bool| Event {
            id: format!("{kind}-{i}"),
            symbol: "A".to_owned(),
            kind: kind.to_owned(),
            start: i as i64,
            outcome: if caught {
                Outcome::Caught { delay: 0.0 }
            } else {
                Outcome::Missed
            },
            magnitude: Some(i as f64),
            ..Event::default()
        };
        let mut events: Vec<Event> = (0..40).map(|i| event(i, "spike", true)).collect();
        events.extend([
            event(50, "spike", false),
            event(60, "crash", true),
            event(70, "wash", false),
        ]);
        events.push(Event {
            start: 500,
            ..event(80, "outside", false)
        });
        let data = ReportData {
            events,
            prices: vec![PriceSeries {
                symbol: "A".to_owned(),
                candles,
                ..PriceSeries::default()
            }],
            ..ReportData::default()
        };
        let picked: Vec<&str> = pick(&data, 6)
            .into_iter()
            .map(|(e, _)| e.id.as_str())
            .collect();
        assert_eq!(picked.len(), 6);
        for wanted in ["wash-70", "spike-50", "crash-60"] {
            assert!(picked.contains(&wanted), "{wanted} is not in {picked:?}");
        }
        assert_eq!(pick(&data, 1_000).len(), 43);
        assert!(pick(&ReportData::default(), 8).is_empty());
    }
}
