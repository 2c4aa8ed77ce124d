//! Drift on simulated markets, in short; `benches/drift/run.sh` has the long tables.

use std::sync::{Arc, OnceLock};

use detectors::drift::{
    Action, DriftBaseline, DriftConfig, DriftMonitor, DriftPolicy, DriftVerdict, FamilyKind,
    FeatureReference, Observation, ScoreReference,
};
use detectors::{AlertBudget, Calibrators, MaxZ};
use market::{
    DAY_US, Feature, FeatureConfig, FeatureEngine, FeatureRow, HOUR_US, Interval, MINUTE_US,
    Regime, SimulateConfig, SimulatedSymbol,
};
use ndarray::Array2;
use proptest::prelude::*;

use crate::market::Xorshift;

const N_SYMBOLS: usize = 6;
/// A Monday.
const MONDAY: i64 = 1_767_571_200_000_000;
const FEATURES: [Feature; 5] = [
    Feature::LogReturnZscore,
    Feature::VolumeZscore,
    Feature::PriceRange,
    Feature::Volatility,
    Feature::MacroAvgVolume,
];

struct Row {
    symbol: u32,
    values: [f64; 5],
    row: FeatureRow,
}

fn names() -> Vec<String> {
    (0..N_SYMBOLS).map(|symbol| format!("S{symbol}")).collect()
}

fn feature_names() -> Vec<String> {
    FEATURES.iter().map(|of| of.name().to_owned()).collect()
}

/// One-minute rows of some days; trades within `lost` are missing.
fn simulate(seed: u64, begin: i64, days: i64, regimes: Vec<Regime>, lost: (i64, i64)) -> Vec<Row> {
    let warm_up = DAY_US + 2 * HOUR_US;
    let config = SimulateConfig {
        seed,
        symbols: names()
            .into_iter()
            .map(|name| SimulatedSymbol::new(name, 100.0))
            .collect(),
        start: begin - warm_up,
        duration: warm_up + days * DAY_US,
        trades_per_second: 0.05,
        arrivals: market::Arrivals::default(),
        regimes,
    }
    .check()
    .unwrap();
    let engine_config = FeatureConfig::new(Interval::MINUTE).check().unwrap();
    let mut all = Vec::new();
    for (symbol, name) in (0..).zip(names()) {
        let mut engine = FeatureEngine::new(engine_config);
        let mut rows = Vec::new();
        for trade in config.trades(&name).unwrap() {
            if !(lost.0..lost.1).contains(&trade.event_time) {
                engine.push_trade(&trade, &mut rows).unwrap();
            }
        }
        engine.finish(&mut rows);
        rows.retain(|row| row.candle.open_time >= begin && row.ready(&FEATURES));
        all.extend(rows.into_iter().map(|row| Row {
            symbol,
            values: FEATURES.map(|feature| row.value(feature)),
            row,
        }));
    }
    all.sort_by_key(|row| (row.row.candle.open_time, row.symbol));
    all
}

struct Trained {
    detector: MaxZ,
    calibrators: Calibrators,
    baseline: Arc<DriftBaseline>,
}

fn threshold() -> detectors::Threshold {
    let budget = AlertBudget {
        alerts_per_symbol_day: 2.0,
    };
    budget.threshold(1_440.0).unwrap()
}

fn config() -> DriftConfig {
    DriftConfig {
        windows: vec![500, 2_000],
        run_length: 2_000.0,
        ..DriftConfig::default()
    }
}

fn fit(rows: &[Row], config: &DriftConfig) -> (Trained, DriftBaseline) {
    let matrix = Array2::from_shape_fn((rows.len(), FEATURES.len()), |(i, j)| rows[i].values[j]);
    let detector = MaxZ::fit(matrix.view()).unwrap();
    let raw: Vec<f64> = rows
        .iter()
        .map(|row| max_z(&detector, &row.values))
        .collect();
    let symbol: Vec<u32> = rows.iter().map(|row| row.symbol).collect();
    let time: Vec<i64> = rows.iter().map(|row| row.row.candle.open_time).collect();
    let calibrators = Calibrators::fit(&raw, &symbol, &names()).unwrap();
    let score: Vec<f64> = raw
        .iter()
        .zip(&symbol)
        .map(|(raw, symbol)| {
            calibrators
                .get(&names()[*symbol as usize])
                .neg_log10_tail(*raw)
        })
        .collect();
    let flagged = threshold().flags(&score);
    let baseline = DriftBaseline::fit(
        &FeatureReference {
            time: Some(&time),
            symbol: &symbol,
            rows: matrix.view(),
        },
        &feature_names(),
        &ScoreReference {
            time: Some(&time),
            symbol: &symbol,
            score: &score,
            flagged: &flagged,
        },
        &names(),
        config,
    )
    .unwrap();
    let trained = Trained {
        detector,
        calibrators,
        baseline: Arc::new(baseline.clone()),
    };
    (trained, baseline)
}

fn max_z(detector: &MaxZ, values: &[f64]) -> f64 {
    let z = values.iter().enumerate();
    z.map(|(feature, value)| detector.z(feature, *value).abs())
        .fold(0.0, f64::max)
}

fn trained() -> &'static Trained {
    static TRAINED: OnceLock<Trained> = OnceLock::new();
    TRAINED.get_or_init(|| {
        let rows = simulate(1, MONDAY, 14, Vec::new(), (0, 0));
        let (trained, _) = fit(&rows, &config());
        assert!(
            trained.baseline.remarks().is_empty(),
            "{:?}",
            trained.baseline.remarks()
        );
        trained
    })
}

fn monitor() -> DriftMonitor {
    DriftMonitor::new(
        Arc::clone(&trained().baseline),
        "m/7",
        DriftPolicy::default(),
    )
}

fn observe(monitor: &mut DriftMonitor, row: &Row, verdicts: &mut Vec<DriftVerdict>) {
    let trained = trained();
    let symbol = format!("S{}", row.symbol);
    let raw = max_z(&trained.detector, &row.values);
    let score = trained.calibrators.get(&symbol).neg_log10_tail(raw);
    let observation = Observation {
        symbol: &symbol,
        features: &row.values,
        score,
        flagged: threshold().is_flagged(score),
        event_time: row.row.candle.open_time,
        filled: row.row.filled,
        n_trades: row.row.candle.trade_count,
    };
    monitor.observe(&observation, verdicts).unwrap();
}

fn watch(rows: &[Row]) -> (DriftMonitor, Vec<(usize, DriftVerdict)>) {
    let mut monitor = monitor();
    let (mut said, mut verdicts) = (Vec::new(), Vec::new());
    for (at, row) in rows.iter().enumerate() {
        observe(&mut monitor, row, &mut verdicts);
        said.extend(verdicts.drain(..).map(|verdict| (at, verdict)));
    }
    (monitor, said)
}

fn change(at: i64, volatility: f64, activity: f64, size: f64) -> Regime {
    Regime {
        at,
        volatility,
        activity,
        size,
    }
}

#[test]
fn nothing_is_said_while_nothing_happens() {
    let rows = simulate(2, MONDAY + 21 * DAY_US, 14, Vec::new(), (0, 0));
    let (monitor, said) = watch(&rows);
    assert!(said.is_empty(), "{said:?}");
    let counts = monitor.counts();
    assert_eq!(counts.rows, rows.len() as u64);
    assert_eq!((counts.suppressed, counts.unknown_symbol), (0, 0));
    assert!(counts.windows > 400);
    // What metrics show: both families, every rule.
    assert_eq!(monitor.gauges().count(), 3 * (3 + 2 * FEATURES.len()));
    assert!(monitor.gauges().all(|gauge| gauge.value.is_finite()));
}

#[test]
fn volatility_and_size_are_noticed_within_eight_windows_of_few_symbols() {
    let begin = MONDAY + 23 * DAY_US;
    for (factors, expected) in [
        ([1.5, 1.0, 1.0], ["volatility", "price_range"].as_slice()),
        ([1.0, 1.0, 2.0], &["macro_avg_volume", "volume_zscore"]),
    ] {
        let at = begin + 7 * HOUR_US + 13 * MINUTE_US;
        let regime = change(at, factors[0], factors[1], factors[2]);
        let rows = simulate(3, begin, 3, vec![regime], (0, 0));
        let changed = rows.partition_point(|row| row.row.candle.open_time < at);
        let (monitor, said) = watch(&rows);
        let (row, verdict) = said.first().unwrap();
        assert!(
            *row >= changed && row - changed <= 8 * 2_000,
            "{row} {verdict:?}"
        );
        assert!(verdict.action != Action::Clear && verdict.value > verdict.limit);
        let feature = verdict.feature.as_deref().unwrap();
        assert!(expected.contains(&feature), "{verdict:?}");
        // In the window before it at the earliest, of five and a half hours.
        assert!(verdict.since > at - 12 * HOUR_US && verdict.since <= verdict.until);
        assert!(monitor.counts().raised > 0);
    }
}

#[test]
fn verdicts_are_json_as_the_topic_has_them() {
    let begin = MONDAY + 23 * DAY_US;
    let rows = simulate(4, begin, 2, vec![change(begin + 1, 3.0, 1.0, 1.0)], (0, 0));
    let (_, said) = watch(&rows);
    let warned = said.iter().find(|(_, v)| v.feature.is_some()).unwrap();
    let json = serde_json::to_value(&warned.1).unwrap();
    assert_eq!(json["model"], "m/7");
    assert_eq!(json["action"], "warn");
    for key in [
        "statistic",
        "feature",
        "value",
        "limit",
        "window",
        "since",
        "until",
        "rule",
    ] {
        assert!(!json[key].is_null(), "{key}: {json}");
    }
    let retrain = said
        .iter()
        .find(|(_, v)| v.action == Action::Retrain)
        .unwrap();
    assert!(retrain.1.feature.is_none(), "{retrain:?}");
    let back: DriftVerdict = serde_json::from_value(json).unwrap();
    assert_eq!(back, warned.1);
}

#[test]
fn outage_burst_and_delisting_ask_for_no_training() {
    let begin = MONDAY + 22 * DAY_US;
    let noon = begin + DAY_US + 12 * HOUR_US;
    let later = noon + 30 * MINUTE_US;
    let burst = vec![change(noon, 1.0, 10.0, 1.0), Regime::normal(later)];
    for (regimes, lost, is_held) in [
        (Vec::new(), (noon, later), true),
        (burst, (0, 0), true),
        (Vec::new(), (0, 0), false),
    ] {
        let mut rows = simulate(5, begin, 3, regimes, lost);
        if !is_held {
            rows.retain(|row| row.symbol > 1 || row.row.candle.open_time < noon);
        }
        let (monitor, said) = watch(&rows);
        assert_eq!(monitor.counts().retrains, 0, "{said:?}");
        assert!(!monitor.is_raised(FamilyKind::Model));
        let suppressed = monitor.counts().suppressed;
        assert_eq!(suppressed > 0, is_held);
        // Half an hour and the hour that features remember, of six symbols.
        assert!(suppressed < 110 * 6, "{suppressed}");
    }
}

#[test]
fn a_declared_outage_is_left_out() {
    let begin = MONDAY + 22 * DAY_US;
    let rows = simulate(6, begin, 1, Vec::new(), (0, 0));
    let mut monitor = monitor();
    monitor.outage(begin + HOUR_US, begin + 2 * HOUR_US);
    let mut verdicts = Vec::new();
    rows.iter()
        .for_each(|row| observe(&mut monitor, row, &mut verdicts));
    assert_eq!(monitor.counts().suppressed, 121 * 6);
}

#[test]
fn a_monitor_brought_back_at_any_row_goes_on_as_if_nothing_had_been() {
    let begin = MONDAY + 23 * DAY_US;
    let noon = begin + 12 * HOUR_US;
    let regimes = vec![change(begin + 5 * HOUR_US, 2.0, 1.0, 1.0)];
    let rows = simulate(7, begin, 2, regimes, (noon, noon + 20 * MINUTE_US));
    let (undisturbed, said) = watch(&rows);
    assert!(!said.is_empty());
    let mut monitor = monitor();
    let (mut verdicts, mut again) = (Vec::new(), Vec::new());
    for (at, row) in rows.iter().enumerate() {
        let bytes = monitor.to_bytes();
        let baseline = Arc::clone(&trained().baseline);
        monitor = DriftMonitor::restore(baseline, "m/7", DriftPolicy::default(), &bytes).unwrap();
        assert!(monitor.to_bytes() == bytes, "row {at}");
        observe(&mut monitor, row, &mut verdicts);
        again.extend(verdicts.drain(..).map(|verdict| (at, verdict)));
    }
    assert_eq!(again, said);
    assert!(monitor.to_bytes() == undisturbed.to_bytes());
}

#[test]
fn trainings_are_asked_for_less_and_less_often() {
    let begin = MONDAY + 22 * DAY_US;
    let mut monitor = monitor();
    let mut asked = Vec::new();
    let mut verdicts = Vec::new();
    // Every other half day all is flagged, as long as a model that fits no more is left in place.
    for minute in 0..6 * 1_440_i64 {
        for symbol in 0..6 {
            let wild = (minute / 720) % 2 == 0;
            let name = format!("S{symbol}");
            let uniform = (minute * 7 + symbol * 13).rem_euclid(97) as f64 / 97.0;
            let row = Observation {
                symbol: &name,
                features: &[0.0; 5],
                score: if wild { 5.0 } else { -(1.0 - uniform).log10() },
                flagged: wild,
                event_time: begin + minute * MINUTE_US,
                filled: false,
                n_trades: None,
            };
            monitor.observe(&row, &mut verdicts).unwrap();
        }
        let retrains = verdicts.drain(..).filter(|v| v.action == Action::Retrain);
        asked.extend(retrains.map(|verdict| verdict.until));
    }
    assert!((2..=5).contains(&asked.len()), "{asked:?}");
    let gaps: Vec<i64> = asked.windows(2).map(|pair| pair[1] - pair[0]).collect();
    assert!(gaps[0] >= 6 * HOUR_US && gaps.is_sorted(), "{gaps:?}");
    assert_eq!(monitor.counts().retrains, asked.len() as u64);
}

#[test]
fn rows_that_say_nothing_are_counted_or_refused() {
    let mut monitor = monitor();
    let row = Observation {
        symbol: "new",
        features: &[0.0; 5],
        score: 0.5,
        flagged: false,
        event_time: MONDAY,
        filled: false,
        n_trades: None,
    };
    let mut verdicts = Vec::new();
    monitor.observe(&row, &mut verdicts).unwrap();
    assert_eq!(monitor.counts().unknown_symbol, 1);
    let before = monitor.to_bytes();
    let short = Observation {
        features: &[0.0; 4],
        ..row
    };
    let error = monitor.observe(&short, &mut verdicts).unwrap_err();
    assert!(
        error.to_string().contains("has 4 entries, expected 5"),
        "{error}"
    );
    let infinite = Observation {
        features: &[0.0, f64::NAN, 0.0, 0.0, 0.0],
        ..row
    };
    let error = monitor.observe(&infinite, &mut verdicts).unwrap_err();
    assert!(error.to_string().contains("column 1"), "{error}");
    assert!(monitor.to_bytes() == before);
}

#[test]
fn windows_of_partitions_add_up() {
    let begin = MONDAY + 22 * DAY_US;
    let rows = simulate(8, begin, 1, Vec::new(), (0, 0));
    let mut whole = monitor();
    let mut parts = [monitor(), monitor()];
    let mut verdicts = Vec::new();
    for row in &rows[..1_900] {
        observe(&mut whole, row, &mut verdicts);
        observe(&mut parts[row.symbol as usize % 2], row, &mut verdicts);
    }
    let open = |monitor: &DriftMonitor| {
        let mut open = monitor.open_windows(FamilyKind::Features);
        open.find(|counts| counts.rows > 500).cloned()
    };
    let mut sum = open(&parts[0]).unwrap();
    assert!(sum.merge(&open(&parts[1]).unwrap()));
    assert_eq!(Some(sum), open(&whole));
}

#[test]
fn a_reference_too_short_is_said_and_a_senseless_configuration_refused() {
    let rows = simulate(9, MONDAY, 3, Vec::new(), (0, 0));
    let (_, baseline) = fit(&rows, &config());
    let remarks = baseline.remarks().join("\n");
    assert!(remarks.contains("3.0 days, not a week"), "{remarks}");
    let day: Vec<Row> = rows.into_iter().take(1_440 * N_SYMBOLS / 2).collect();
    let (_, baseline) = fit(&day, &config());
    let remarks = baseline.remarks().join("\n");
    assert!(
        remarks.contains("no hour of the day was there on two days"),
        "{remarks}"
    );
    assert!(baseline.limits().iter().all(Vec::is_empty));
    for wrong in [
        DriftConfig {
            run_length: 1.0,
            ..config()
        },
        DriftConfig {
            windows: vec![2_000, 500],
            ..config()
        },
        DriftConfig {
            memory_us: -1,
            ..config()
        },
    ] {
        assert!(wrong.check().is_err(), "{wrong:?}");
    }
}

#[test]
fn threads_and_order_of_rows_change_nothing() {
    let rows = simulate(10, MONDAY, 8, Vec::new(), (0, 0));
    let (_, baseline) = fit(&rows, &config());
    let pool = rayon::ThreadPoolBuilder::new()
        .num_threads(1)
        .build()
        .unwrap();
    let (_, alone) = pool.install(|| fit(&rows, &config()));
    assert_eq!(baseline, alone);
    let mut by_symbol = rows;
    by_symbol.sort_by_key(|row| (row.symbol, row.row.candle.open_time));
    let (_, other) = fit(&by_symbol, &config());
    assert_eq!(baseline.limits(), other.limits());
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]
    #[test]
    fn hostile_state_never_panics(
        changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..6),
        cut in prop::option::of(any::<prop::sample::Index>()),
    ) {
        static BYTES: OnceLock<Vec<u8>> = OnceLock::new();
        let bytes = BYTES.get_or_init(|| {
            let begin = MONDAY + 22 * DAY_US;
            watch(&simulate(11, begin, 1, vec![change(begin, 3.0, 1.0, 1.0)], (0, 0))).0.to_bytes()
        });
        let hostile = crate::model::resealed(bytes.clone(), |bytes| {
            for (at, value) in &changes {
                let at = at.index(bytes.len());
                bytes[at] = *value;
            }
            if let Some(cut) = cut {
                bytes.truncate(cut.index(bytes.len()));
            }
        });
        let baseline = Arc::clone(&trained().baseline);
        let restored = DriftMonitor::restore(baseline, "m/7", DriftPolicy::default(), &hostile);
        if let Ok(mut monitor) = restored {
            let mut random = Xorshift(3);
            let mut verdicts = Vec::new();
            for minute in 0..600 {
                let row = Observation {
                    symbol: "S1",
                    features: &[random.uniform(); 5],
                    score: random.uniform(),
                    flagged: false,
                    event_time: MONDAY + minute * MINUTE_US,
                    filled: minute % 3 == 0,
                    n_trades: Some(9),
                };
                monitor.observe(&row, &mut verdicts).unwrap();
            }
        }
    }
}

#[test]
fn touched_state_and_that_of_another_baseline_are_refused() {
    let bytes = monitor().to_bytes();
    let restore = |bytes: &[u8]| {
        let baseline = Arc::clone(&trained().baseline);
        DriftMonitor::restore(baseline, "m/7", DriftPolicy::default(), bytes)
    };
    assert!(restore(&bytes).is_ok());
    for at in (0..bytes.len()).step_by(11) {
        let mut touched = bytes.clone();
        touched[at] ^= 1;
        assert!(restore(&touched).is_err(), "byte {at}");
    }
    let rows = simulate(12, MONDAY, 8, Vec::new(), (0, 0));
    let (_, other) = fit(&rows, &config());
    let error = DriftMonitor::restore(Arc::new(other), "m/7", DriftPolicy::default(), &bytes)
        .unwrap_err()
        .to_string();
    assert!(error.contains("another baseline"), "{error}");
}
