//! The injector: consistent candles, exact labels, no overlaps, independence of symbols.

use std::collections::{BTreeMap, HashMap, HashSet};

use market::{
    ADDED_TRADE_IDS, AnomalyKind, Arrivals, Candle, DAY_US, Event, EventId, HOUR_US, InjectConfig,
    InjectError, InjectTarget, Interval, MINUTE_US, Side, SimulateConfig, SimulatedSymbol,
    TimeRange, Trade, candles_of_trades, inject_candles, inject_trades,
};
use proptest::prelude::*;

const START: i64 = 1_700_006_400_000_000;

fn simulated(seed: u64, hours: i64, trades_per_second: f64) -> market::ValidSimulateConfig {
    SimulateConfig {
        seed,
        symbols: vec![SimulatedSymbol::new("AAA", 100.0)],
        start: START,
        duration: hours * HOUR_US,
        trades_per_second,
        arrivals: Arrivals::Hawkes,
        regimes: Vec::new(),
    }
    .check()
    .unwrap()
}

fn history(seed: u64, hours: i64) -> Vec<Candle> {
    simulated(seed, hours, 0.2)
        .candles("AAA", Interval::MINUTE)
        .unwrap()
        .collect()
}

fn config(seed: u64, per_day: f64) -> InjectConfig {
    InjectConfig {
        events_per_symbol_day: per_day,
        min_spacing: 10,
        ..InjectConfig::new(seed)
    }
}

fn target(allowed: &[TimeRange]) -> InjectTarget<'_> {
    InjectTarget {
        symbol: "AAA",
        interval: Interval::MINUTE,
        allowed,
        first_id: EventId::new(7).unwrap(),
    }
}

fn check_events(events: &[Event], spacing: i64, allowed: &[TimeRange]) {
    for (idx, event) in events.iter().enumerate() {
        assert_eq!(event.id.get(), 7 + idx as u32);
        assert_eq!(event.symbol, "AAA");
        assert!(event.kind.parse::<AnomalyKind>().is_ok());
        assert!(event.start < event.end);
        assert!(
            allowed
                .iter()
                .any(|range| range.start <= event.start && event.end <= range.end),
            "{event:?}"
        );
    }
    for pair in events.windows(2) {
        assert!(pair[0].end + spacing <= pair[1].start, "{pair:?}");
    }
}

fn check_labels(events: &[Event], labelled: impl Iterator<Item = (i64, Option<EventId>, bool)>) {
    let by_id: HashMap<EventId, &Event> = events.iter().map(|event| (event.id, event)).collect();
    let mut seen = HashSet::new();
    for (time, label, changed) in labelled {
        assert_eq!(
            label.is_some(),
            changed,
            "labels are exactly the changed rows (at {time})"
        );
        if let Some(id) = label {
            assert!(by_id[&id].start <= time && time < by_id[&id].end);
            seen.insert(id);
        }
    }
    assert_eq!(seen.len(), events.len());
}

/// Without its label.
fn bare(candle: &Candle) -> Candle {
    Candle {
        event: None,
        ..*candle
    }
}

fn check_volumes(candle: &Candle) {
    let vwap = candle.vwap().unwrap();
    assert!(
        vwap >= candle.low * (1.0 - 1e-9) && vwap <= candle.high * (1.0 + 1e-9),
        "{candle:?}"
    );
    assert!(
        candle.trade_count.unwrap() >= 1 && candle.volume > 0.0,
        "{candle:?}"
    );
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(40))]

    #[test]
    fn candles_stay_consistent_and_labels_are_exactly_the_changed_rows(
        seed in any::<u64>(),
        per_day in 1.0..60.0,
        smallest in 0.5..10.0,
        factor in 1.0..20.0,
        plain in any::<bool>(),
    ) {
        let mut original = history(seed % 3, 30);
        // A gap, which no event may lie across.
        original.retain(|candle| !(600..640).contains(&((candle.open_time - START) / MINUTE_US)));
        if plain {
            for candle in &mut original {
                (candle.quote_volume, candle.buy_volume, candle.trade_count) = (None, None, None);
            }
        }
        let allowed = [
            TimeRange { start: START + HOUR_US, end: START + 9 * HOUR_US },
            TimeRange { start: START + 9 * HOUR_US + 30 * MINUTE_US, end: START + 25 * HOUR_US },
        ];
        let config = InjectConfig { magnitude: (smallest, smallest * factor), ..config(seed, per_day) };
        let mut candles = original.clone();
        let events = inject_candles(&config.check().unwrap(), &target(&allowed), &mut candles).unwrap();
        check_events(&events, 10 * MINUTE_US, &allowed);
        prop_assert_eq!(candles.len(), original.len());
        check_labels(&events, candles.iter().zip(&original).map(|(new, old)| (new.open_time, new.event, bare(new) != bare(old))));
        for (new, old) in candles.iter().zip(&original) {
            new.check(Interval::MINUTE).unwrap();
            prop_assert_eq!(new.quote_volume.is_some(), old.quote_volume.is_some());
            prop_assert_eq!(new.buy_volume.is_some(), old.buy_volume.is_some());
            prop_assert_eq!(new.trade_count.is_some(), old.trade_count.is_some());
            if !plain {
                check_volumes(new);
            }
        }
        // Prices are back on their path when an event ends.
        for event in &events {
            let last = candles.iter().zip(&original).find(|(new, _)| new.open_time == event.end - MINUTE_US).unwrap();
            prop_assert_eq!(last.0.close, last.1.close);
        }
        for event in &events {
            prop_assert!(event.magnitude >= smallest && event.magnitude <= smallest * factor);
        }
    }

    #[test]
    fn trades_are_labelled_exactly_where_changed(seed in any::<u64>(), per_day in 5.0..60.0, sparse in any::<bool>()) {
        let rate = if sparse { 0.02 } else { 0.5 };
        let original: Vec<Trade> = simulated(seed % 3, 20, rate).trades("AAA").unwrap().collect();
        let allowed = [TimeRange { start: START + HOUR_US, end: START + 18 * HOUR_US }];
        let mut trades = original.clone();
        let events = inject_trades(&config(seed, per_day).check().unwrap(), &target(&allowed), &mut trades).unwrap();
        prop_assert!(!events.is_empty());
        check_events(&events, 10 * MINUTE_US, &allowed);
        let by_id: BTreeMap<u64, &Trade> = original.iter().map(|trade| (trade.trade_id.unwrap(), trade)).collect();
        check_labels(&events, trades.iter().map(|trade| {
            let changed = by_id.get(&trade.trade_id.unwrap()).is_none_or(|old| Trade { event: trade.event, ..**old } != *trade);
            (trade.event_time, trade.event, changed)
        }));
        let ids: HashSet<u64> = trades.iter().map(|trade| trade.trade_id.unwrap()).collect();
        prop_assert_eq!(ids.len(), trades.len(), "ids stay unique");
        for trade in &trades {
            trade.check().unwrap();
            prop_assert!(by_id.contains_key(&trade.trade_id.unwrap()) == (trade.trade_id.unwrap() < ADDED_TRADE_IDS));
        }
        prop_assert!(trades.windows(2).all(|pair| pair[0].event_time <= pair[1].event_time));
        // The candles around the events are untouched, and every changed candle is labelled.
        let old = candles_of_trades(Interval::MINUTE, 0, &original).unwrap();
        let new = candles_of_trades(Interval::MINUTE, 0, &trades).unwrap();
        let old: BTreeMap<i64, &Candle> = old.iter().map(|candle| (candle.open_time, candle)).collect();
        let times: HashSet<i64> = new.iter().map(|candle| candle.open_time).collect();
        prop_assert!(old.keys().all(|time| times.contains(time)), "no candle, and no label, is lost");
        for candle in &new {
            let changed = old.get(&candle.open_time).is_none_or(|old| bare(old) != bare(candle));
            prop_assert_eq!(candle.event.is_some(), changed);
        }
        // Every displaced price is back within its event: the last price of the event is an original one.
        for event in &events {
            let before = original.iter().rev().find(|trade| trade.event_time < event.end).unwrap();
            let after = trades.iter().rev().find(|trade| trade.event_time < event.end).unwrap();
            prop_assert!((after.price / before.price - 1.0).abs() < 1e-12, "{event:?} {after:?} {before:?}");
        }
    }
}

#[test]
fn each_kind_does_what_its_name_says() {
    let mut original = history(1, 48);
    original.truncate(2_000);
    for kind in AnomalyKind::ALL {
        let config = InjectConfig {
            kinds: vec![kind],
            magnitude: (20.0, 20.0),
            durations: BTreeMap::from([(kind, (12, 12))]),
            ..config(3, 5.0)
        };
        let mut candles = original.clone();
        let events = inject_candles(
            &config.check().unwrap(),
            &target(&[TimeRange::ALL]),
            &mut candles,
        )
        .unwrap();
        assert!(events.len() >= 4, "{kind}");
        let index: HashMap<i64, usize> = original
            .iter()
            .enumerate()
            .map(|(idx, candle)| (candle.open_time, idx))
            .collect();
        for event in &events {
            let first = index[&event.start];
            let n = ((event.end - event.start) / MINUTE_US) as usize;
            let (old, new) = (&original[first..first + n], &candles[first..first + n]);
            let shift = |idx: usize| (new[idx].close / old[idx].close).ln();
            let volume =
                |candles: &[Candle]| candles.iter().map(|candle| candle.volume).sum::<f64>();
            let same_prices = old.iter().zip(new).all(|(old, new)| {
                (old.open, old.high, old.low, old.close) == (new.open, new.high, new.low, new.close)
            });
            let deepest = (0..n).map(shift).fold(f64::INFINITY, f64::min);
            let highest = (0..n).map(shift).fold(f64::NEG_INFINITY, f64::max);
            match kind {
                AnomalyKind::PriceSpike => {
                    assert_eq!(volume(new), volume(old));
                    assert!(highest > 0.002 || deepest < -0.002);
                }
                AnomalyKind::VolumeSpike => assert!(same_prices && volume(new) > 2.0 * volume(old)),
                AnomalyKind::WashTrading => {
                    assert!(same_prices && volume(new) > 2.0 * volume(old));
                    for (old, new) in old.iter().zip(new) {
                        let bought = new.buy_volume.unwrap() - old.buy_volume.unwrap();
                        assert!((bought / (new.volume - old.volume) - 0.5).abs() < 1e-9);
                    }
                }
                AnomalyKind::FlashCrash => {
                    assert!(
                        highest <= 0.0
                            && deepest < -0.005
                            && shift(3) == deepest
                            && shift(11) == 0.0
                    );
                    assert!(volume(new) > 2.0 * volume(old));
                }
                AnomalyKind::PumpAndDump => {
                    assert!(
                        deepest >= 0.0 && highest > 0.005 && shift(0) == 0.0 && shift(2) == 0.0
                    );
                    assert!(
                        volume(&new[..3]) > 2.0 * volume(&old[..3]),
                        "volume comes first"
                    );
                }
                AnomalyKind::LiquidityGap => {
                    assert!(volume(new) < 0.1 * volume(old));
                    assert!(new[..n - 1].iter().all(|candle| candle.high == candle.low));
                    let last = &new[n - 1];
                    assert!(last.high / last.low > 1.005 && last.close == old[n - 1].close);
                }
            }
        }
    }
}

#[test]
fn rates_and_kinds_are_as_asked() {
    let mut candles = history(2, 30 * 24);
    let config = InjectConfig::new(11);
    let events = inject_candles(
        &InjectConfig {
            events_per_symbol_day: 4.0,
            ..config
        }
        .check()
        .unwrap(),
        &target(&[TimeRange::ALL]),
        &mut candles,
    )
    .unwrap();
    assert!((115..=121).contains(&events.len()), "{}", events.len());
    for kind in AnomalyKind::ALL {
        let n = events
            .iter()
            .filter(|event| event.kind == kind.as_str())
            .count();
        assert!((18..=22).contains(&n), "{kind}: {n}");
    }
    // Log-uniform: half of the sizes lie below the geometric mean of 3 and 30.
    let n_small = events
        .iter()
        .filter(|event| event.magnitude < 90_f64.sqrt())
        .count();
    assert!((54..=66).contains(&n_small), "{n_small}");
}

#[test]
fn places_depend_on_seed_and_symbol_only() {
    let original = history(1, 72);
    let inject = |seed: u64, symbol: &str, first_id: u32| {
        let mut candles = original.clone();
        let target = InjectTarget {
            symbol,
            first_id: EventId::new(first_id).unwrap(),
            ..target(&[TimeRange::ALL])
        };
        let events =
            inject_candles(&config(seed, 5.0).check().unwrap(), &target, &mut candles).unwrap();
        let places: Vec<(i64, String)> = events
            .into_iter()
            .map(|event| (event.start, event.kind))
            .collect();
        (
            places,
            candles
                .into_iter()
                .map(|candle| Candle {
                    event: None,
                    ..candle
                })
                .collect::<Vec<_>>(),
        )
    };
    assert_eq!(inject(1, "AAA", 1), inject(1, "AAA", 500));
    assert_ne!(inject(1, "AAA", 1).0, inject(2, "AAA", 1).0);
    assert_ne!(inject(1, "AAA", 1).0, inject(1, "BBB", 1).0);
}

#[test]
fn leaves_labelled_candles_alone() {
    let mut candles = history(1, 48);
    let real = EventId::new(1).unwrap();
    for candle in &mut candles[500..1500] {
        candle.event = Some(real);
    }
    let before = candles.clone();
    let events = inject_candles(
        &config(5, 20.0).check().unwrap(),
        &target(&[TimeRange::ALL]),
        &mut candles,
    )
    .unwrap();
    assert!(!events.is_empty());
    assert_eq!(candles[500..1500], before[500..1500]);
}

#[test]
fn little_or_flat_history_is_no_accident() {
    let checked = config(1, 1000.0).check().unwrap();
    assert_eq!(
        inject_candles(&checked, &target(&[TimeRange::ALL]), &mut []).unwrap(),
        []
    );
    assert_eq!(
        inject_trades(&checked, &target(&[TimeRange::ALL]), &mut Vec::new()).unwrap(),
        []
    );
    let flat: Vec<Candle> = (0..DAY_US / MINUTE_US)
        .map(|idx| Candle {
            open_time: START + idx * MINUTE_US,
            open: 5.0,
            high: 5.0,
            low: 5.0,
            close: 5.0,
            volume: 0.0,
            quote_volume: Some(0.0),
            buy_volume: Some(0.0),
            trade_count: Some(0),
            event: None,
        })
        .collect();
    assert_eq!(
        inject_candles(&checked, &target(&[]), &mut flat.clone()).unwrap(),
        []
    );
    assert_eq!(
        inject_candles(
            &checked,
            &target(&[TimeRange::ALL]),
            &mut flat[..1].to_vec()
        )
        .unwrap(),
        []
    );
    let mut candles = flat.clone();
    let events = inject_candles(&checked, &target(&[TimeRange::ALL]), &mut candles).unwrap();
    assert!(!events.is_empty());
    for candle in &candles {
        candle.check(Interval::MINUTE).unwrap();
    }
    check_labels(
        &events,
        candles
            .iter()
            .zip(&flat)
            .map(|(new, old)| (new.open_time, new.event, bare(new) != bare(old))),
    );
}

#[test]
fn refuses_broken_history_and_changes_nothing() {
    let checked = config(1, 10.0).check().unwrap();
    let mut candles = history(1, 10);
    candles.swap(3, 4);
    let before = candles.clone();
    let error = inject_candles(&checked, &target(&[TimeRange::ALL]), &mut candles).unwrap_err();
    assert!(
        matches!(error, InjectError::Candle { idx: 4, .. }),
        "{error:?}"
    );
    assert_eq!(candles, before);
    let mut candles = history(1, 48);
    let before = candles.clone();
    let last_ids = InjectTarget {
        first_id: EventId::new(u32::MAX - 1).unwrap(),
        ..target(&[TimeRange::ALL])
    };
    let error = inject_candles(&checked, &last_ids, &mut candles).unwrap_err();
    assert_eq!(
        (error, candles),
        (InjectError::EventIds(last_ids.first_id), before)
    );
    let trade = |event_time| Trade {
        event_time,
        trade_id: None,
        price: 1.0,
        quantity: 1.0,
        side: Side::Buy,
        event: None,
    };
    let error = inject_trades(
        &checked,
        &target(&[TimeRange::ALL]),
        &mut vec![trade(2), trade(1)],
    )
    .unwrap_err();
    assert!(
        matches!(error, InjectError::UnorderedTrade { idx: 1, .. }),
        "{error:?}"
    );
    let bad = Trade {
        price: f64::NAN,
        ..trade(3)
    };
    let error = inject_trades(
        &checked,
        &target(&[TimeRange::ALL]),
        &mut vec![trade(2), bad],
    )
    .unwrap_err();
    assert!(
        matches!(error, InjectError::Trade { idx: 1, .. }),
        "{error:?}"
    );
}

#[test]
fn configuration_reports_every_violation() {
    let error = InjectConfig {
        kinds: vec![AnomalyKind::PriceSpike, AnomalyKind::PriceSpike],
        events_per_symbol_day: f64::NAN,
        magnitude: (5.0, 3.0),
        durations: BTreeMap::from([(AnomalyKind::FlashCrash, (1, 5))]),
        min_spacing: usize::MAX,
        seed: 0,
    }
    .check()
    .unwrap_err();
    let keys: Vec<_> = error
        .violations
        .iter()
        .map(|violation| violation.key)
        .collect();
    assert_eq!(
        keys,
        [
            "kinds",
            "events_per_symbol_day",
            "magnitude",
            "durations",
            "min_spacing"
        ]
    );
    assert!(
        InjectConfig {
            kinds: vec![],
            ..InjectConfig::new(1)
        }
        .check()
        .is_err()
    );
}

/// Whatever the size, prices stay finite, positive and consistent.
#[test]
fn absurd_sizes_stay_possible() {
    let config = InjectConfig {
        magnitude: (1e4, 1e4),
        ..config(1, 40.0)
    }
    .check()
    .unwrap();
    let mut candles = history(1, 48);
    assert!(
        !inject_candles(&config, &target(&[TimeRange::ALL]), &mut candles)
            .unwrap()
            .is_empty()
    );
    for candle in &candles {
        candle.check(Interval::MINUTE).unwrap();
    }
    let mut trades: Vec<Trade> = simulated(1, 48, 0.2).trades("AAA").unwrap().collect();
    assert!(
        !inject_trades(&config, &target(&[TimeRange::ALL]), &mut trades)
            .unwrap()
            .is_empty()
    );
    for trade in &trades {
        trade.check().unwrap();
    }
}
