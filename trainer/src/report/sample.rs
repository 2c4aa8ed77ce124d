//! A made-up run for tests: two symbols, six kinds of anomalies, two candidates and a baseline.

use super::*;

pub(crate) const MINUTE: i64 = 60_000_000;
/// 2018-02-17T00:00:00Z.
pub(crate) const START: i64 = 1_518_825_600_000_000;
const KINDS: [&str; 6] = [
    "price_spike",
    "volume_spike",
    "flash_crash",
    "pump_and_dump",
    "wash_trading",
    "liquidity_gap",
];

/// Numbers in 0..1 that look random and never change.
pub(crate) struct Noise(u64);

impl Noise {
    pub(crate) fn new(seed: u64) -> Self {
        Self(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1)
    }

    pub(crate) fn next(&mut self) -> f64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 11) as f64 / (1u64 << 53) as f64
    }

    /// About normal, mean 0, standard deviation 1.
    pub(crate) fn normal(&mut self) -> f64 {
        (0..12).map(|_| self.next()).sum::<f64>() - 6.0
    }
}

/// `n_candles` minutes of a symbol with an event every `every` of them.
pub(crate) fn series(
    symbol: &str,
    price: f64,
    n_candles: usize,
    every: usize,
) -> (PriceSeries, Vec<Event>) {
    let mut noise = Noise::new(symbol.bytes().map(u64::from).sum());
    let mut close = price;
    let mut series = PriceSeries {
        symbol: symbol.to_owned(),
        unit: "USD".to_owned(),
        threshold: Some(4.2),
        score_axis: "score, −log10 tail probability".to_owned(),
        ..PriceSeries::default()
    };
    let mut events: Vec<Event> = Vec::new();
    let mut rest = 0;
    let mut force = 0.0;
    for i in 0..n_candles {
        let time = START + i as i64 * MINUTE;
        if i % every == every / 2 {
            let n = events.len();
            let kind = KINDS[(n + symbol.len()) % KINDS.len()];
            rest = 3 + n % 9;
            let magnitude = 3.0 + 27.0 * noise.next().powi(2);
            force = magnitude;
            let caught = magnitude > 5.0 + 4.0 * noise.next();
            events.push(Event {
                id: format!("{symbol}-{n:04}"),
                symbol: symbol.to_owned(),
                kind: kind.to_owned(),
                start: time,
                end: time + rest as i64 * MINUTE,
                magnitude: Some(magnitude),
                outcome: if caught {
                    Outcome::Caught {
                        delay: 60.0 * (n % 4) as f64,
                    }
                } else {
                    Outcome::Missed
                },
                peak_score: Some(if caught {
                    4.2 + magnitude / 6.0
                } else {
                    2.0 + 2.0 * noise.next()
                }),
            });
        }
        let open = close;
        let mut score = 0.4 - (noise.next().max(1e-9)).log10();
        let mut move_by = 0.0006 * noise.normal();
        if rest > 0 {
            move_by += 0.0005 * force * if rest % 2 == 0 { -1.0 } else { 1.0 };
            score = events.last().and_then(|e| e.peak_score).unwrap_or(score) - noise.next() * 0.4;
            rest -= 1;
        } else if score > 4.2 {
            series.false_alerts.push(ScorePoint { time, score });
        }
        close = open * (1.0 + move_by) + (price - open) * 0.0005;
        let wick = 0.0004 * open;
        let (high, low) = (
            open.max(close) + wick * noise.next(),
            open.min(close) - wick * noise.next(),
        );
        series.candles.push(Candle {
            time,
            open,
            high,
            low,
            close,
            volume: (1.0 + 0.1 * score) * 1e4 / price.max(1e-9),
        });
        series.scores.push(ScorePoint { time, score });
    }
    (series, events)
}

fn recall(caught: u64, events: u64) -> Estimate {
    if events == 0 {
        return Estimate::undefined("no such event in the test range");
    }
    let p = caught as f64 / events as f64;
    let half = 1.6 * (p * (1.0 - p) / events as f64).sqrt() + 0.02;
    Estimate::with_interval(p, (p - half).max(0.0), (p + half).min(1.0))
}

fn group(label: &str, events: &[&Event]) -> Group {
    let n = events.len() as u64;
    let caught = events
        .iter()
        .filter(|e| matches!(e.outcome, Outcome::Caught { .. }))
        .count() as u64;
    let cell = |caught: u64| GroupCell {
        caught,
        recall: recall(caught, n),
        median_delay: (caught > 0).then_some(60.0),
    };
    Group {
        label: label.to_owned(),
        events: n,
        cells: vec![cell(caught), cell(caught * 9 / 10), cell(caught / 2)],
    }
}

fn curves(name: &str, baseline: bool, strength: f64) -> Curves {
    let steps = (0..=400).map(|i| f64::from(i) / 400.0);
    let roc: Vec<(f64, f64)> = steps.clone().map(|x| (x, x.powf(1.0 / strength))).collect();
    let precision = |r: f64| (1.0 - r.powf(strength * 0.7)) * 0.93 + 0.02;
    Curves {
        name: name.to_owned(),
        baseline,
        precision_recall: steps.map(|r| (r, precision(r))).collect(),
        roc,
        average_precision: Some(0.93 - 0.9 / strength),
        roc_auc: Some(strength / (1.0 + strength)),
        operating_point: (!baseline).then(|| (0.62, precision(0.62))),
    }
}

/// A run on market data, with everything filled.
pub(crate) fn market() -> ReportData {
    let (btc, mut events) = series("BTCUSD", 10_400.0, 17_280, 700);
    let (pepe, more) = series("PEPEUSD", 1.2e-8, 17_280, 1_100);
    events.extend(more);
    let of = |keep: &dyn Fn(&Event) -> bool| events.iter().filter(|e| keep(e)).collect::<Vec<_>>();
    let by_kind = KINDS
        .iter()
        .map(|k| group(k, &of(&|e| e.kind == *k)))
        .collect();
    let band = |low: f64, high: f64| of(&|e| e.magnitude.is_some_and(|m| low <= m && m < high));
    let by_magnitude = [
        (3.0, 5.0),
        (5.0, 8.0),
        (8.0, 15.0),
        (15.0, 22.0),
        (22.0, 30.0),
    ]
    .map(|(low, high)| group(&format!("{low}–{high} σ"), &band(low, high)))
    .to_vec();
    let all = group("all", &of(&|_| true));
    let (n, caught) = (all.events, all.cells[0].caught);
    let scores: Vec<f64> = btc
        .scores
        .iter()
        .chain(&pepe.scores)
        .map(|s| s.score)
        .collect();
    let labels: Vec<bool> = btc
        .scores
        .iter()
        .chain(&pepe.scores)
        .enumerate()
        .map(|(i, s)| {
            let symbol = if i < btc.scores.len() {
                "BTCUSD"
            } else {
                "PEPEUSD"
            };
            events
                .iter()
                .any(|e| e.symbol == symbol && (e.start..e.end).contains(&s.time))
        })
        .collect();
    let end = START + 12 * 1_440 * MINUTE;
    let full = TimeRange {
        start: START - 48 * 1_440 * MINUTE,
        end,
    };
    let symbol_row = |s: &PriceSeries| {
        let own = of(&|e| e.symbol == s.symbol);
        SymbolRow {
            symbol: s.symbol.clone(),
            rows: s.scores.len() as u64,
            events: own.len() as u64,
            caught: own
                .iter()
                .filter(|e| matches!(e.outcome, Outcome::Caught { .. }))
                .count() as u64,
            false_alerts: s.false_alerts.len() as u64,
            false_alerts_per_day: Estimate::with_interval(
                s.false_alerts.len() as f64 / 12.0,
                0.2,
                1.9,
            ),
            threshold: s.threshold,
        }
    };
    ReportData {
        header: Header {
            experiment: "market-anomaly".to_owned(),
            run_name: "patient-heron-12".to_owned(),
            run_id: "7c0de6b1f2e04a6b9b7e1a53f5a0c9d4".to_owned(),
            detector: "Isolation Forest".to_owned(),
            model: Some(RegisteredModel {
                name: "market-anomaly".to_owned(),
                version: "3".to_owned(),
                alias: Some("challenger".to_owned()),
            }),
            data_range: Some(full),
            test_range: Some(TimeRange { start: START, end }),
            parts_by_symbol: false,
            symbols: vec!["BTCUSD".to_owned(), "PEPEUSD".to_owned()],
            interval: Some("1m".to_owned()),
            seed: 42,
            git_commit: Some("a77f186bb2c0d4d1f0f7f5b9a1c5d1e2f3a4b5c6".to_owned()),
            git_dirty: true,
            created: end + 77 * MINUTE,
        },
        verdict: Verdict::Events {
            events: n,
            caught,
            injected: true,
            interval: Some((0.58, 0.84)),
            level: 0.95,
            false_alerts: Some(1.1),
            baseline: Some(BaselineEvents {
                name: "largest-|z|".to_owned(),
                caught: caught / 2,
                false_alerts: Some(1.1),
            }),
        },
        columns: vec![
            Column {
                name: "iforest".to_owned(),
                detail: "100 trees of 256 rows".to_owned(),
                baseline: false,
                reported: true,
            },
            Column {
                name: "iforest-small".to_owned(),
                detail: "25 trees of 64 rows".to_owned(),
                baseline: false,
                reported: false,
            },
            Column {
                name: "largest |z|".to_owned(),
                detail: "of return, volume, range".to_owned(),
                baseline: true,
                reported: false,
            },
        ],
        metrics: metrics(&all),
        by_kind,
        by_magnitude,
        leaders: (1..=2)
            .map(|rank| LeaderRow {
                rank: Some(rank),
                candidate: format!("candidate <{rank}>"),
                params: "{\"detector\":\"ecod\"}".to_owned(),
                trials: 3,
                failed: rank - 1,
                beats_winner: (rank > 1).then_some(0.25),
                ..LeaderRow::default()
            })
            .collect(),
        flip_probability: Some(0.25),
        by_fold: vec![FoldRow {
            range: TimeRange {
                start: START,
                end: START + 60 * MINUTE,
            },
            events: 3,
            caught: 2,
            average_precision: Estimate::undefined("no labelled rows"),
            ..FoldRow::default()
        }],
        by_symbol: vec![symbol_row(&btc), symbol_row(&pepe)],
        threshold: Some(Threshold {
            alerts_per_symbol_day: Some(1.0),
            quantile: None,
            value: Some(4.2),
            set_on: "validation rows".to_owned(),
            range: Some(TimeRange {
                start: START - 12 * 1_440 * MINUTE,
                end: START - 60 * MINUTE,
            }),
            reached: Some(1.0),
            observed: Some(2.7),
            score: "−log10 of the tail probability among the validation rows".to_owned(),
            note: "Test data was scored once, after the threshold was fixed.".to_owned(),
        }),
        scores: Some(ScoreHistogram::from_scores(
            &scores,
            &labels,
            Some(4.2),
            60,
            "score, −log10 tail probability",
        )),
        curves: vec![
            curves("iforest", false, 9.0),
            curves("iforest-small", false, 6.0),
            curves("largest |z|", true, 3.0),
        ],
        importance: importance(),
        prices: vec![btc, pepe],
        events,
        provenance: provenance(full, end),
        limits: Limits::default(),
    }
}

fn metrics(all: &Group) -> Vec<Metric> {
    let row = |name: &str, help: &str, unit, values: [Estimate; 3]| Metric {
        name: name.to_owned(),
        help: help.to_owned(),
        unit,
        values: values.to_vec(),
    };
    let v = Estimate::with_interval;
    vec![
        row(
            "Events caught",
            "share of labelled events with at least one alert",
            Unit::Percent,
            [
                all.cells[0].recall.clone(),
                all.cells[1].recall.clone(),
                all.cells[2].recall.clone(),
            ],
        ),
        row(
            "False alerts",
            "",
            Unit::PerSymbolDay,
            [v(1.1, 0.8, 1.5), v(1.2, 0.9, 1.6), v(1.1, 0.7, 1.6)],
        ),
        row(
            "Average precision",
            "area under the precision–recall curve, row by row",
            Unit::Score,
            [v(0.83, 0.76, 0.88), v(0.78, 0.7, 0.84), v(0.63, 0.55, 0.71)],
        ),
        row(
            "ROC-AUC",
            "",
            Unit::Score,
            [v(0.9, 0.87, 0.93), v(0.857, 0.82, 0.9), v(0.75, 0.69, 0.81)],
        ),
        row(
            "Median delay",
            "from the start of an event to its first alert",
            Unit::Seconds,
            [
                v(60.0, 0.0, 120.0),
                v(60.0, 0.0, 120.0),
                Estimate::undefined("fewer than three events caught"),
            ],
        ),
    ]
}

fn importance() -> Vec<Importance> {
    let values = [
        ("log_return_zscore", 0.212, 0.02),
        ("volume_zscore", 0.151, 0.031),
        ("price_range", 0.098, 0.011),
        ("trade_count_zscore", 0.04, 0.016),
        ("volume_imbalance", 0.012, 0.006),
        ("vwap_deviation", 0.0, 0.0),
        ("momentum", -0.004, 0.003),
    ];
    values
        .map(|(feature, value, error)| Importance {
            feature: feature.to_owned(),
            value,
            error: Some(error),
            measure: "loss of average precision when the feature is shuffled".to_owned(),
        })
        .to_vec()
}

fn provenance(full: TimeRange, end: i64) -> Provenance {
    let split = |name: &str, start, end, ready, not_ready| Split {
        name: name.to_owned(),
        range: Some(TimeRange { start, end }),
        ready,
        not_ready,
        events: Some(ready / 700),
    };
    let pairs = |pairs: &[(&str, &str)]| {
        pairs
            .iter()
            .map(|(a, b)| ((*a).to_owned(), (*b).to_owned()))
            .collect()
    };
    let validation = START - 12 * 1_440 * MINUTE;
    Provenance {
        objects: vec![DataObject {
            name: "experiments/data/btcusd-1m.parquet".to_owned(),
            bytes: 4_404_019,
            sha256: "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08".to_owned(),
        }],
        splits: vec![
            split("train", full.start, validation, 103_560, 120),
            split("validation", validation + 60 * MINUTE, START, 34_440, 0),
            split("test", START + 60 * MINUTE, end, 34_440, 0),
        ],
        counts: vec![
            Count { name: "late trades set aside".to_owned(), count: 0 },
            Count { name: "duplicate candles dropped".to_owned(), count: 3 },
            Count { name: "empty intervals filled".to_owned(), count: 1_204 },
        ],
        parameters: pairs(&[("detector", "isolation_forest"), ("n_trees", "100"), ("sample_size", "256"), ("features.window", "60")]),
        versions: pairs(&[("foreshock", "0.1.0"), ("linfa", "0.8.1"), ("polars", "0.55.2"), ("rustc", "1.95.0")]),
        experiment_file: "iforest.toml".to_owned(),
        experiment_text: "[experiment]\nname = \"market-anomaly\"\nseed = 42\n\n[data]\nsource = \"data/btcusd-1m.parquet\"\n".to_owned(),
        command: "trainer run experiments/iforest.toml --set experiment.seed=42".to_owned(),
    }
}

/// A run on a plain table: no time, no symbols, no events.
pub(crate) fn table() -> ReportData {
    let mut noise = Noise::new(9);
    let labels: Vec<bool> = (0..2_000).map(|i| i % 40 == 0).collect();
    let scores: Vec<f64> = labels
        .iter()
        .map(|l| 0.42 + 0.04 * noise.normal() + if *l { 0.16 } else { 0.0 })
        .collect();
    let market = market();
    let mut provenance = market.provenance;
    provenance.splits = vec![Split {
        name: "all rows".to_owned(),
        ready: 2_000,
        ..Split::default()
    }];
    ReportData {
        header: Header {
            experiment: "adbench-cardio".to_owned(),
            run_name: "calm-otter-3".to_owned(),
            detector: "Isolation Forest".to_owned(),
            seed: 1,
            created: START,
            ..Header::default()
        },
        verdict: Verdict::Rows {
            rows: 2_000,
            anomalous: 50,
            roc_auc: Some(0.9),
            average_precision: Some(0.83),
            baseline: Some(("largest-|z|".to_owned(), 0.63)),
        },
        columns: market.columns,
        metrics: market.metrics.into_iter().skip(2).take(2).collect(),
        scores: Some(ScoreHistogram::from_scores(
            &scores,
            &labels,
            None,
            60,
            "isolation score",
        )),
        curves: market.curves,
        importance: market.importance,
        provenance,
        ..ReportData::default()
    }
}
