//! Events, episodes, budgets, intervals and the edges.

use detectors::evaluation::{
    BootstrapOptions, Evaluation, EvaluationOptions, EventInfo, Labels, Metric, Scored,
    average_precision, evaluate, roc_auc,
};
use proptest::prelude::*;

use crate::market::{INTERVAL, Market, SECOND};

fn with_bootstrap(block_length: Option<usize>) -> EvaluationOptions {
    EvaluationOptions {
        alerts_per_symbol_day: Some(10.0),
        bootstrap: Some(BootstrapOptions {
            seed: 7,
            block_length,
            ..BootstrapOptions::default()
        }),
        ..EvaluationOptions::default()
    }
}

fn value(metric: &Metric) -> f64 {
    metric.value().unwrap()
}

/// One symbol, one row every ten seconds.
fn hand_made(score: &[f64], event: &[u32], events: Vec<EventInfo>) -> Market {
    Market {
        time: (0..score.len() as i64).map(|i| i * INTERVAL).collect(),
        symbol: vec![0; score.len()],
        symbols: vec!["BTCUSD".into()],
        score: score.to_vec(),
        flag: score.iter().map(|s| *s > 1.0).collect(),
        event: event.to_vec(),
        events,
    }
}

fn event(kind: &str, start: i64, magnitude: f64) -> EventInfo {
    EventInfo {
        kind: kind.into(),
        start,
        end: start + INTERVAL,
        magnitude: Some(magnitude),
        symbol: 0,
    }
}

#[test]
fn events_delays_and_episodes_by_hand() {
    let score = [
        0., 2., 0., 2., 0., 0., 0., 0., 5., 2., 0., 0., 0., 2., 0., 0.,
    ];
    let label = [0, 0, 0, 0, 0, 0, 1, 1, 1, 1, 0, 2, 0, 0, 0, 0];
    let market = hand_made(
        &score,
        &label,
        vec![
            event("pump", 6 * INTERVAL + 4 * SECOND, 12.0),
            event("crash", 11 * INTERVAL, 3.0),
            event("crash", 99 * INTERVAL, 3.0),
        ],
    );
    let options = EvaluationOptions {
        episode_gap_us: Some(2 * INTERVAL),
        ..EvaluationOptions::default()
    };
    let found = evaluate(&market.scored(), &options).unwrap();
    assert_eq!((found.n_events, found.n_events_without_rows), (2, 1));
    assert_eq!(value(&found.event_recall), 0.5);
    // The first flagged candle is row 8; it closes at row 9's opening.
    assert_eq!(found.events[0].delay_us, Some(3 * INTERVAL - 4 * SECOND));
    assert_eq!(found.events[0].peak_score, Some(5.0));
    assert_eq!(value(&found.median_delay_us), 26e6);
    assert!(!found.events[1].caught && found.events[1].delay_us.is_none());
    assert_eq!(
        (found.events[2].n_rows, found.events[2].peak_score),
        (0, None)
    );
    // Unlabelled flagged rows: 1 and 3 (two apart, one episode) and 13.
    assert_eq!(found.confusion.false_positives, 3);
    assert_eq!(found.by_symbol[0].n_false_episodes, 2);
    let days = 11.0 * 10.0 / 86_400.0;
    assert!((value(&found.symbol_days) - days).abs() < 1e-15);
    assert!((value(&found.false_alerts_per_symbol_day) - 3.0 / days).abs() < 1e-9);
    assert!((value(&found.false_episodes_per_symbol_day) - 2.0 / days).abs() < 1e-9);
    assert_eq!(
        (
            found.by_symbol[0].n_events,
            found.by_symbol[0].n_events_caught
        ),
        (2, 1)
    );

    let kinds: Vec<&str> = found.by_kind.iter().map(|g| g.name.as_str()).collect();
    assert_eq!(kinds, ["crash", "pump"]);
    assert_eq!((found.by_kind[1].n_rows, found.by_kind[1].n_events), (4, 1));
    assert_eq!(value(&found.by_kind[1].row_recall), 0.5);
    assert_eq!(value(&found.by_kind[0].event_recall), 0.0);
    assert!(found.by_kind[0].median_delay_us.reason().is_some());
    let bands: Vec<&str> = found.by_magnitude.iter().map(|g| g.name.as_str()).collect();
    assert_eq!(bands, ["below 5", "5 to 10", "10 to 20", "20 and more"]);
    assert_eq!(found.by_magnitude[2].n_rows, 4);
    assert_eq!(
        found.by_magnitude[1].roc_auc.reason(),
        Some("no labelled rows")
    );

    let apart = EvaluationOptions {
        episode_gap_us: Some(INTERVAL),
        ..EvaluationOptions::default()
    };
    let apart = evaluate(&market.scored(), &apart).unwrap();
    assert_eq!(apart.by_symbol[0].n_false_episodes, 3);
}

#[test]
fn groups_stand_against_unlabelled_rows_only() {
    let market = Market::random(2, 3_000, 60, 2.0, 3);
    let found = evaluate(&market.scored(), &EvaluationOptions::default()).unwrap();
    assert_eq!(found.by_kind.len(), 3);
    for group in &found.by_kind {
        let (mut score, mut positive) = (Vec::new(), Vec::new());
        for (row, event) in market.event.iter().enumerate() {
            let of_kind = *event > 0 && market.events[*event as usize - 1].kind == group.name;
            if *event == 0 || of_kind {
                score.push(market.score[row]);
                positive.push(of_kind);
            }
        }
        assert_eq!(group.roc_auc, roc_auc(&score, &positive));
        assert_eq!(
            group.average_precision,
            average_precision(&score, &positive)
        );
    }
    let rows: u64 = found.by_magnitude.iter().map(|g| g.n_rows).sum();
    assert_eq!(rows, found.n_labelled_rows);
}

/// Episodes of unlabelled rows strictly above `threshold`, counted plainly.
fn episodes_above(market: &Market, threshold: f64, gap: i64) -> u64 {
    let mut n = 0;
    for symbol in 0..market.symbols.len() as u32 {
        let mut last: Option<i64> = None;
        for row in 0..market.score.len() {
            let alert = market.score[row] > threshold && market.event[row] == 0;
            if market.symbol[row] == symbol && alert {
                n += u64::from(last.is_none_or(|last| market.time[row] - last > gap));
                last = Some(market.time[row]);
            }
        }
    }
    n
}

#[test]
fn a_budget_is_spent_and_not_exceeded() {
    for seed in 0..8 {
        let mut market = Market::random(2, 700, 80, 2.0, seed);
        if seed % 2 == 1 {
            market
                .score
                .iter_mut()
                .for_each(|s| *s = (*s * 8.0).round() / 8.0);
        }
        let gap = 3 * INTERVAL;
        let options = EvaluationOptions {
            episode_gap_us: Some(gap),
            alerts_per_symbol_day: Some(60.0),
            ..EvaluationOptions::default()
        };
        let found = evaluate(&market.scored(), &options).unwrap();
        let allowed = (60.0 * value(&found.symbol_days)).floor() as u64;
        let budget = found.at_budget.unwrap();
        let mut distinct = market.score.clone();
        distinct.sort_by(f64::total_cmp);
        distinct.dedup();

        // The lowest threshold of those from which, upwards, the budget holds.
        let lowest = |count: &dyn Fn(f64) -> u64| {
            let down = distinct.iter().rev().copied();
            down.take_while(|t| count(*t) <= allowed).last().unwrap()
        };
        let episodes = lowest(&|t| episodes_above(&market, t, gap));
        assert_eq!(value(&budget.episodes.threshold), episodes);
        let rows = lowest(&|t| {
            let rows = market.score.iter().zip(&market.event);
            rows.filter(|(s, e)| **s > t && **e == 0).count() as u64
        });
        assert_eq!(value(&budget.rows.threshold), rows);
        let caught = market.score.iter().zip(&market.event);
        let caught = caught.filter(|(s, e)| **s > rows && **e > 0).count() as f64;
        let recall = caught / found.n_labelled_rows as f64;
        assert_eq!(value(&budget.rows.row_recall), recall);
        assert!(episodes <= rows, "episodes are fewer than rows");
    }
}

#[test]
fn intervals_hold_the_point_and_narrow_with_data() {
    let width = |n: usize| {
        let found = evaluate(
            &Market::random(3, n, 100, 2.0, 11).scored(),
            &with_bootstrap(None),
        )
        .unwrap();
        let intervals = found.intervals.as_ref().unwrap();
        for (interval, point) in [
            (&intervals.roc_auc, &found.roc_auc),
            (&intervals.average_precision, &found.average_precision),
            (&intervals.precision, &found.precision),
            (&intervals.recall, &found.recall),
            (&intervals.f1, &found.f1),
            (&intervals.event_recall, &found.event_recall),
            (
                &intervals.false_alerts_per_symbol_day,
                &found.false_alerts_per_symbol_day,
            ),
            (
                &intervals.false_episodes_per_symbol_day,
                &found.false_episodes_per_symbol_day,
            ),
        ] {
            let (low, high) = interval.bounds().unwrap();
            let point = value(point);
            assert!(low < point && point < high, "{low} {point} {high}");
        }
        let (low, high) = intervals.roc_auc.bounds().unwrap();
        high - low
    };
    let (narrow, wide) = (width(12_000), width(1_500));
    assert!(narrow < wide * 0.6, "{narrow} against {wide}");
}

#[test]
fn threads_and_row_order_of_symbols_change_nothing() {
    let market = Market::random(3, 2_000, 50, 2.0, 5);
    let run = |threads: usize, market: &Market| -> Evaluation {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads);
        pool.build()
            .unwrap()
            .install(|| evaluate(&market.scored(), &with_bootstrap(None)).unwrap())
    };
    let one = run(1, &market);
    assert_eq!(one, run(6, &market));

    let mut order: Vec<usize> = (0..market.score.len()).collect();
    order.sort_by_key(|row| market.symbol[*row]);
    let mut grouped = market.clone();
    for (to, from) in order.into_iter().enumerate() {
        grouped.time[to] = market.time[from];
        grouped.symbol[to] = market.symbol[from];
        grouped.score[to] = market.score[from];
        grouped.flag[to] = market.flag[from];
        grouped.event[to] = market.event[from];
    }
    assert_eq!(one, run(2, &grouped));

    let json = serde_json::to_string(&one).unwrap();
    assert_eq!(serde_json::from_str::<Evaluation>(&json).unwrap(), one);
}

fn plain(score: &[f64], positive: &[bool]) -> Evaluation {
    let flag: Vec<bool> = score.iter().map(|s| *s > 0.5).collect();
    let scored = Scored {
        time: None,
        interval_us: None,
        symbol: &vec![0; score.len()],
        symbols: &["only".to_owned()],
        score,
        flag: &flag,
        labels: Labels::Rows(positive),
    };
    evaluate(&scored, &with_bootstrap(None)).unwrap()
}

#[test]
fn without_positives_metrics_are_undefined_with_a_reason() {
    let market = Market::random(2, 500, 0, 1.0, 1);
    let found = evaluate(&market.scored(), &with_bootstrap(None)).unwrap();
    for metric in [
        &found.roc_auc,
        &found.average_precision,
        &found.precision,
        &found.recall,
        &found.f1,
        &found.at_budget.as_ref().unwrap().rows.row_recall,
    ] {
        assert_eq!(metric.reason(), Some("no labelled rows"));
    }
    assert_eq!(found.event_recall.reason(), Some("no events with rows"));
    assert!(value(&found.false_alerts_per_symbol_day) > 0.0);
    let intervals = found.intervals.unwrap();
    assert_eq!(intervals.roc_auc.bounds(), None);
    assert!(intervals.false_alerts_per_symbol_day.bounds().is_some());
    let json = serde_json::to_value(&found.roc_auc).unwrap();
    assert_eq!(json, serde_json::json!({"undefined": "no labelled rows"}));
}

#[test]
fn the_edges() {
    let one = plain(&[0.7], &[true]);
    assert_eq!(one.roc_auc.reason(), Some("no unlabelled rows"));
    assert_eq!(value(&one.recall), 1.0);
    let all = plain(&[0.1, 0.9, 0.4], &[true; 3]);
    assert_eq!(all.average_precision.reason(), Some("no unlabelled rows"));
    assert_eq!(value(&all.precision), 1.0);
    let tied = plain(&[0.3; 6], &[true, false, false, true, false, false]);
    assert_eq!(value(&tied.roc_auc), 0.5);
    assert_eq!(value(&tied.average_precision), 1.0 / 3.0);
    assert_eq!(tied.precision.reason(), Some("no row was flagged"));
    assert_eq!(value(&tied.f1), 0.0);
    assert!(tied.symbol_days.reason().is_some());
    assert!(tied.at_budget.unwrap().rows.row_recall.reason().is_some());
    assert!(tied.by_kind.is_empty() && tied.by_magnitude.is_empty());
    assert_eq!(roc_auc(&[1.0], &[]).value(), None);
    assert_eq!(
        average_precision(&[f64::NAN, 1.0], &[true, false]).value(),
        None
    );
}

#[test]
fn bad_input_is_refused_by_name() {
    let good = Market::random(2, 20, 5, 1.0, 1);
    let refused = |change: &dyn Fn(&mut Market), word: &str| {
        let mut market = good.clone();
        change(&mut market);
        let error = evaluate(&market.scored(), &EvaluationOptions::default()).unwrap_err();
        assert!(error.to_string().contains(word), "{error}");
    };
    refused(&|m| m.score[3] = f64::NAN, "row 3");
    refused(&|m| m.time[9] = m.time[7], "`time`");
    refused(&|m| m.symbol[2] = 9, "`symbol index`");
    refused(&|m| m.event[2] = 900, "`event index`");
    refused(&|m| m.flag.truncate(3), "`flag`");
    refused(&|m| m.symbols.truncate(1), "`symbol index`");
    let empty = hand_made(&[], &[], Vec::new());
    assert!(evaluate(&empty.scored(), &EvaluationOptions::default()).is_err());
    for options in [
        EvaluationOptions {
            magnitude_edges: vec![5.0, 5.0],
            ..EvaluationOptions::default()
        },
        EvaluationOptions {
            alerts_per_symbol_day: Some(f64::NAN),
            ..EvaluationOptions::default()
        },
        EvaluationOptions {
            bootstrap: Some(BootstrapOptions {
                level: 1.0,
                ..BootstrapOptions::default()
            }),
            ..EvaluationOptions::default()
        },
        with_bootstrap(Some(0)),
    ] {
        assert!(evaluate(&good.scored(), &options).is_err(), "{options:?}");
    }
}

fn labelled() -> impl Strategy<Value = (Vec<f64>, Vec<bool>)> {
    prop::collection::vec(
        ((-40i32..40).prop_map(|v| f64::from(v) / 4.0), any::<bool>()),
        2..200,
    )
    .prop_map(|rows| rows.into_iter().unzip())
}

proptest! {
    #[test]
    fn negation_turns_the_auc_round((score, positive) in labelled()) {
        let negated: Vec<f64> = score.iter().map(|s| -s).collect();
        if let Some(auc) = roc_auc(&score, &positive).value() {
            let other = value(&roc_auc(&negated, &positive));
            prop_assert!((auc + other - 1.0).abs() < 1e-12);
        }
    }

    #[test]
    fn only_the_order_counts((score, positive) in labelled()) {
        let mapped: Vec<f64> = score.iter().map(|s| (s / 3.0).exp() + 1e3).collect();
        prop_assert_eq!(roc_auc(&score, &positive), roc_auc(&mapped, &positive));
        prop_assert_eq!(
            average_precision(&score, &positive),
            average_precision(&mapped, &positive)
        );
    }
}
