//! The rendered report as a reader, a browser and a reviewer would check it.

use std::collections::BTreeSet;

use super::sample::{MINUTE, START, market, series, table};
use super::*;

const WIDTH: u32 = 960 * 2;

/// Height, width and RGB pixels of a PNG file.
fn decode(bytes: &[u8]) -> (u32, u32, Vec<u8>) {
    let mut reader = png::Decoder::new(bytes).read_info().unwrap();
    let mut pixels = vec![0; reader.output_buffer_size()];
    let info = reader.next_frame(&mut pixels).unwrap();
    (info.width, info.height, pixels)
}

/// What every page must fulfil, whatever the data.
fn check_page(html: &str) {
    for forbidden in [
        "http:", "https:", "//cdn", "<script", "@import", "url(", "NaN", "Infinity", ">inf<",
        "src=",
    ] {
        assert!(!html.contains(forbidden), "`{forbidden}` in the page");
    }
    for tag in [
        "svg", "table", "section", "details", "figure", "div", "text", "span", "p", "dl", "pre",
    ] {
        let opened =
            html.matches(&format!("<{tag}>")).count() + html.matches(&format!("<{tag} ")).count();
        assert_eq!(
            opened,
            html.matches(&format!("</{tag}>")).count(),
            "unbalanced <{tag}>"
        );
    }
    let ids: Vec<&str> = html
        .split(" id=\"")
        .skip(1)
        .filter_map(|rest| rest.split('"').next())
        .collect();
    assert_eq!(
        ids.len(),
        ids.iter().collect::<BTreeSet<_>>().len(),
        "an id is used twice"
    );
    for id in html
        .split("href=\"#")
        .skip(1)
        .chain(html.split("aria-labelledby=\"").skip(1))
    {
        let target = id.split(['"', ' ']).next().unwrap();
        assert!(ids.contains(&target), "nothing has the id `{target}`");
    }
}

fn check(data: &ReportData) -> String {
    let html = render_html(data);
    check_page(&html);
    html
}

/// Few enough charts to be quick without optimization.
fn few_charts() -> ReportData {
    let limits = Limits {
        price_charts: 1,
        event_charts: 1,
        ..Limits::default()
    };
    ReportData {
        scores: None,
        curves: Vec::new(),
        limits,
        ..market()
    }
}

#[test]
fn a_rich_run_has_every_part() {
    let data = market();
    let html = check(&data);
    for id in [
        "results",
        "anomalies",
        "time",
        "closeups",
        "events",
        "threshold",
        "features",
        "provenance",
    ] {
        assert!(
            html.contains(&format!("<section id=\"{id}\"")),
            "no section `{id}`"
        );
    }
    for name in [
        "scores",
        "curves",
        "recall-by-magnitude",
        "importance",
        "price-1-BTCUSD",
        "price-2-PEPEUSD",
        "event-8",
    ] {
        assert!(
            html.contains(&format!("<figure class=\"chart\" id=\"{name}\"")),
            "no chart `{name}`"
        );
    }
    for text in [
        "Caught 22 of 41 injected events",
        "undefined: fewer than three events caught",
        "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08",
        "uncommitted changes",
        "trainer run experiments/iforest.toml",
        "market-anomaly version 3",
        "empty intervals filled",
        "2018-02-17 00:00",
        "BTCUSD-0006",
    ] {
        assert!(html.contains(text), "`{text}` is not in the page");
    }
}

#[test]
fn pngs_have_their_size_and_are_not_blank() {
    let pngs = render_pngs(&few_charts()).unwrap();
    assert_eq!(pngs.len(), 4);
    for (name, bytes) in pngs {
        let (width, height, pixels) = decode(&bytes);
        assert!(
            width
                == if name.starts_with("event") {
                    520 * 2
                } else {
                    WIDTH
                },
            "{name} is {width} wide"
        );
        assert!(
            height > 400 && pixels.len() == (width * height * 3) as usize,
            "{name}"
        );
        let colours: BTreeSet<&[u8]> = pixels.chunks_exact(3).collect();
        let inked = pixels
            .chunks_exact(3)
            .filter(|p| *p != [255, 255, 255])
            .count();
        assert!(
            colours.len() > 50 && inked * 100 > pixels.len() / 3,
            "{name} is close to blank"
        );
    }
}

#[test]
fn same_data_same_bytes() {
    assert_eq!(render_html(&market()), render_html(&market()));
    let scores = ReportData {
        scores: table().scores,
        ..ReportData::default()
    };
    assert!(render_pngs(&scores).unwrap() == render_pngs(&scores).unwrap());
}

#[test]
fn a_plain_table_has_no_word_of_time_or_events() {
    let html = check(&table());
    for absent in [
        "id=\"time\"",
        "id=\"events\"",
        "id=\"closeups\"",
        "id=\"anomalies\"",
        "id=\"threshold\"",
        ">Symbols<",
    ] {
        assert!(!html.contains(absent), "{absent}");
    }
    assert!(html.contains("Ranked 50 labelled rows among 2,000 with average precision 0.830"));
    assert!(!html.contains("From (UTC)"));
}

#[test]
fn names_are_escaped_everywhere() {
    let evil = "<script>alert(\"x\")</script>'&";
    let (mut series, mut events) = series("x", 100.0, 500, 100);
    series.symbol = evil.to_owned();
    series.unit = evil.to_owned();
    events.iter_mut().for_each(|e| {
        e.symbol = evil.to_owned();
        e.kind = evil.to_owned();
        e.id = format!("{evil}{}", e.start);
    });
    let mut data = ReportData {
        prices: vec![series],
        events,
        ..market()
    };
    data.header.experiment = evil.to_owned();
    data.header.run_name = evil.to_owned();
    data.header.run_id = evil.to_owned();
    data.header.detector = evil.to_owned();
    data.header.git_commit = Some(evil.to_owned());
    data.header.symbols = vec![evil.to_owned()];
    data.verdict = Verdict::Text(evil.to_owned());
    data.columns
        .iter_mut()
        .for_each(|c| (c.name, c.detail) = (evil.to_owned(), evil.to_owned()));
    data.metrics.iter_mut().for_each(|m| {
        (m.name, m.help) = (evil.to_owned(), evil.to_owned());
        m.values = vec![Estimate::undefined(evil); 3];
    });
    data.by_kind
        .iter_mut()
        .chain(&mut data.by_magnitude)
        .for_each(|g| g.label = evil.to_owned());
    data.by_symbol
        .iter_mut()
        .for_each(|r| r.symbol = evil.to_owned());
    data.curves
        .iter_mut()
        .for_each(|c| c.name = evil.to_owned());
    data.importance
        .iter_mut()
        .for_each(|i| (i.feature, i.measure) = (evil.to_owned(), evil.to_owned()));
    let p = &mut data.provenance;
    (p.experiment_file, p.experiment_text, p.command) =
        (evil.to_owned(), evil.to_owned(), evil.to_owned());
    p.objects[0].name = evil.to_owned();
    p.parameters.push((evil.to_owned(), evil.to_owned()));
    let html = check(&data);
    assert!(html.contains("&lt;script&gt;"));
    assert!(!html.contains("alert(\"x\")"), "a quote is not escaped");
}

#[test]
fn empty_data_still_makes_a_page() {
    let html = check(&ReportData::default());
    assert!(html.contains("<!doctype html>") && !html.contains("<section"));
}

#[test]
fn undefined_numbers_are_named_not_printed() {
    let mut data = market();
    data.metrics.iter_mut().for_each(|m| {
        m.values = vec![
            Estimate::exact(f64::NAN),
            Estimate::with_interval(0.5, f64::NAN, f64::INFINITY),
            Estimate::exact(f64::INFINITY),
        ]
    });
    data.importance
        .iter_mut()
        .for_each(|i| (i.value, i.error) = (0.0, Some(f64::NAN)));
    data.curves.iter_mut().for_each(|c| {
        c.average_precision = Some(f64::NAN);
        c.operating_point = Some((f64::NAN, 0.0));
        c.roc = vec![(f64::NAN, f64::NAN)];
    });
    data.events
        .iter_mut()
        .for_each(|e| (e.magnitude, e.peak_score) = (Some(f64::NAN), Some(f64::NAN)));
    data.prices[0]
        .candles
        .iter_mut()
        .step_by(3)
        .for_each(|c| c.high = f64::NAN);
    data.prices[1]
        .scores
        .iter_mut()
        .for_each(|s| s.score = f64::INFINITY);
    data.threshold.as_mut().unwrap().value = Some(f64::NAN);
    data.by_symbol[0].threshold = Some(f64::NAN);
    assert!(check(&data).contains("undefined: not a finite number"));
}

#[test]
fn odd_series_are_drawn() {
    for price in [1e-8, 1e5, 1e300, 0.0] {
        let (mut flat, events) = series("FLAT", 1.0, 200, 50);
        flat.candles
            .iter_mut()
            .for_each(|c| (c.open, c.high, c.low, c.close) = (price, price, price, price));
        flat.scores.iter_mut().for_each(|s| s.score = 0.5);
        check(&ReportData {
            prices: vec![flat],
            events,
            ..ReportData::default()
        });
    }
    let (mut one, _) = series("ONE", 5.0, 1, 10);
    one.false_alerts = vec![ScorePoint {
        time: START,
        score: 9.0,
    }];
    let scores = Some(ScoreHistogram::from_scores(
        &[0.5],
        &[false],
        Some(0.5),
        60,
        "",
    ));
    check(&ReportData {
        prices: vec![one.clone(), one],
        scores,
        ..ReportData::default()
    });
    let empty = PriceSeries {
        symbol: "NONE".to_owned(),
        ..PriceSeries::default()
    };
    assert!(
        !check(&ReportData {
            prices: vec![empty],
            ..ReportData::default()
        })
        .contains("<figure")
    );
    let (mut far, mut events) = series("FAR", 5.0, 100, 20);
    far.candles
        .iter_mut()
        .zip([i64::MIN, 0, i64::MAX])
        .for_each(|(c, t)| c.time = t);
    events
        .iter_mut()
        .for_each(|e| (e.start, e.end) = (i64::MAX, i64::MIN));
    check(&ReportData {
        prices: vec![far],
        events,
        ..ReportData::default()
    });
}

#[test]
fn a_million_rows_and_thousands_of_events_stay_small() {
    let (big, events) = series("BIG", 100.0, 1_000_000, 250);
    assert_eq!(events.len(), 4_000);
    let peak = big.candles.iter().map(|c| c.high).fold(0.0, f64::max);
    assert!(peak.is_finite());
    let dense = (0..1_000_000)
        .map(|i| f64::from(i) / 1e6)
        .map(|x| (x, x.sqrt()))
        .collect();
    let curves = vec![Curves {
        name: "dense".to_owned(),
        roc: dense,
        ..Curves::default()
    }];
    let data = ReportData {
        prices: vec![big],
        events,
        curves,
        ..market()
    };
    let html = render_html(&data);
    check_page(&html);
    assert!(html.len() < 3_000_000, "{} bytes", html.len());
    assert!(html.contains("The first 500 of 4,000 rows are listed"));
}

#[test]
fn the_peak_of_a_long_series_is_drawn() {
    let (mut long, _) = series("LONG", 100.0, 200_000, 1_000_000);
    long.scores.iter_mut().for_each(|s| s.score = 1.0);
    let top_of = |series: &PriceSeries| {
        let html = render_html(&ReportData {
            prices: vec![series.clone()],
            ..ReportData::default()
        });
        let path = html
            .split("<polyline")
            .skip(1)
            .max_by_key(|p| p.matches(',').count())
            .unwrap();
        let points = path
            .split("points=\"")
            .nth(1)
            .unwrap()
            .split('"')
            .next()
            .unwrap();
        let ys = points
            .split_whitespace()
            .map(|p| p.split(',').nth(1).unwrap().parse::<i32>().unwrap());
        let (low, high) = ys.fold((i32::MAX, i32::MIN), |(a, b), y| (a.min(y), b.max(y)));
        high - low
    };
    long.candles.clear();
    long.threshold = None;
    let flat = top_of(&long);
    long.scores[123_456].score = 50.0;
    assert!(
        flat < 5 && top_of(&long) > 200,
        "flat {flat}, with a peak {}",
        top_of(&long)
    );
}

#[test]
fn report_data_is_serializable() {
    let json = serde_json::to_value(market()).unwrap();
    assert_eq!(json["header"]["seed"], 42);
    assert_eq!(json["events"][0]["start"], START + 350 * MINUTE);
}

/// The close-up's bars of volume: left, top, width and height of each, in the order of time.
fn volume_bars(data: &ReportData) -> Vec<[f64; 4]> {
    let html = check(data);
    let closeup = html.split("id=\"event-1\"").nth(1).unwrap();
    let closeup = closeup.split("</figure>").next().unwrap();
    let number = |rect: &str, name: &str| -> f64 {
        let value = rect.split(&format!(" {name}=\"")).nth(1).unwrap();
        value.split('"').next().unwrap().parse().unwrap()
    };
    closeup
        .split("<rect")
        .skip(1)
        .map(|rect| rect.split("/>").next().unwrap())
        .filter(|rect| rect.contains("fill=\"#80868E\""))
        .map(|rect| ["x", "y", "width", "height"].map(|name| number(rect, name)))
        .collect()
}

#[test]
fn a_closeup_shows_volume_below_the_price() {
    let (mut one, events) = series("ONE", 100.0, 300, 200);
    let event = events[0].clone();
    one.candles.iter_mut().for_each(|c| {
        let inside = (event.start..event.end).contains(&c.time);
        c.volume = if inside { 50.0 } else { 5.0 };
    });
    let mut data = ReportData {
        prices: vec![one],
        events: vec![event.clone()],
        ..ReportData::default()
    };
    let bars = volume_bars(&data);
    assert!(bars.len() > 40, "{} bars", bars.len());
    assert!(bars.windows(2).all(|w| w[0][0] < w[1][0]), "not by time");
    let bottom = bars[0][1] + bars[0][3];
    for [_, top, _, height] in &bars {
        assert!((top + height - bottom).abs() <= 1.0, "no common base");
    }
    let tall = bars.iter().filter(|bar| bar[3] > bars[0][3] * 8.0).count();
    assert_eq!(tall as i64, (event.end - event.start) / MINUTE);

    // Data without volumes have no empty panel.
    data.prices[0]
        .candles
        .iter_mut()
        .for_each(|c| c.volume = 0.0);
    assert!(volume_bars(&data).is_empty());
    assert!(!check(&data).contains(">\nvolume\n<"));
    data.prices[0]
        .candles
        .iter_mut()
        .for_each(|c| c.volume = f64::NAN);
    assert!(volume_bars(&data).is_empty());
}

#[test]
fn ranges_that_span_each_symbols_own_say_so() {
    let mut data = ReportData {
        prices: Vec::new(),
        events: Vec::new(),
        ..market()
    };
    assert!(!check(&data).contains("each symbol’s own"));
    data.header.parts_by_symbol = true;
    let html = check(&data);
    let test = "<dt>Test data</dt><dd>each symbol’s own, within <span class=\"time\">2018-02-17 00:00</span>";
    assert!(html.contains(test));
    assert!(html.contains("validation rows (each symbol’s own, within"));
    // Three parts besides.
    assert_eq!(html.matches("each symbol’s own, within").count(), 5);
}
