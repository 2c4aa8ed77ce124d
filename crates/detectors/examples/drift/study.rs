//! What is measured.

use std::sync::Arc;
use std::time::Instant;

use detectors::drift::{
    DriftBaseline, DriftConfig, DriftMonitor, DriftPolicy, FamilyKind, FeatureReference,
    Observation, ScoreReference,
};
use detectors::{AlertBudget, Calibrators, Detector, DetectorParams, IsolationForestConfig};
use market::DAY_US;

use crate::Result;
use crate::world::{self, Plan, Rows};

pub(crate) struct Trained {
    pub(crate) forest: Detector,
    pub(crate) calibrators: Calibrators,
    pub(crate) threshold: detectors::Threshold,
    pub(crate) baseline: Arc<DriftBaseline>,
}

pub(crate) fn train(rows: &Rows, n_symbols: usize, config: &DriftConfig) -> Result<Trained> {
    let names = world::symbols(n_symbols);
    let split = rows.at(rows.time[0] + 7 * DAY_US);
    let forest = Detector::fit(
        &DetectorParams::IsolationForest(IsolationForestConfig {
            n_trees: 30,
            ..IsolationForestConfig::default()
        }),
        rows.part(0, split)?,
        1,
    )?;
    let mut score = forest.score(rows.part(split, rows.len())?)?;
    let symbol = &rows.symbol[split..];
    let calibrators = Calibrators::fit(&score, symbol, &names)?;
    let threshold = AlertBudget {
        alerts_per_symbol_day: 2.0,
    }
    .threshold(1_440.0)?;
    for (score, symbol) in score.iter_mut().zip(symbol) {
        *score = calibrators.get(&names[*symbol as usize]).neg_log10_tail(*score);
    }
    let flagged = threshold.flags(&score);
    let baseline = DriftBaseline::fit(
        &FeatureReference {
            time: Some(&rows.time),
            symbol: &rows.symbol,
            rows: rows.view()?,
        },
        &world::feature_names(),
        &ScoreReference {
            time: Some(&rows.time[split..]),
            symbol,
            score: &score,
            flagged: &flagged,
        },
        &names,
        config,
    )?;
    Ok(Trained {
        forest,
        calibrators,
        threshold,
        baseline: Arc::new(baseline),
    })
}

pub(crate) fn run() -> Result<()> {
    let n_symbols = 20;
    let n_streams: u64 = std::env::args().nth(1).map_or(Ok(1), |n| n.parse())?;
    let days: i64 = std::env::args().nth(2).map_or(Ok(10), |n| n.parse())?;
    let config = DriftConfig::default();
    for seed in 0..n_streams {
        let started = Instant::now();
        let reference = world::simulate(&Plan {
            seed: 2 * seed,
            n_symbols,
            start: 0,
            duration: 14 * DAY_US,
            changes: vec![],
        })?;
        let simulated = started.elapsed();
        let started = Instant::now();
        let trained = train(&reference, n_symbols, &config)?;
        let fitted = started.elapsed();
        if seed == 0 {
            println!("{:?}", trained.baseline.remarks());
            for summary in trained.baseline.statistics() {
                println!("{summary:?}");
            }
        }
        println!("{:?}", trained.baseline.limits());
        let started = Instant::now();
        let stream = world::simulate(&Plan {
            seed: 2 * seed + 1,
            n_symbols,
            start: 21 * DAY_US,
            duration: days * DAY_US,
            changes: vec![],
        })?;
        let simulated_2 = started.elapsed();
        let started = Instant::now();
        let mut score = trained.forest.score(stream.view()?)?;
        let names = world::symbols(n_symbols);
        for (score, symbol) in score.iter_mut().zip(&stream.symbol) {
            *score = trained
                .calibrators
                .get(&names[*symbol as usize])
                .neg_log10_tail(*score);
        }
        let scored = started.elapsed();
        let started = Instant::now();
        let mut monitor = DriftMonitor::new(
            Arc::clone(&trained.baseline),
            "m/1",
            DriftPolicy::default(),
        );
        let mut verdicts = Vec::new();
        let mut squares: std::collections::BTreeMap<(String, u64), (f64, f64, f64)> =
            Default::default();
        let mut windows = 0;
        for at in 0..stream.len() {
            monitor.observe(
                &Observation {
                    symbol: &names[stream.symbol[at] as usize],
                    features: stream.row(at),
                    score: score[at],
                    flagged: trained.threshold.is_flagged(score[at]),
                    event_time: stream.time[at],
                    filled: stream.filled[at],
                    n_trades: stream.n_trades[at],
                },
                &mut verdicts,
            )?;
            if monitor.counts().windows != windows {
                windows = monitor.counts().windows;
                if at % 5_000 == 4_999 {
                    for gauge in monitor.gauges().filter(|g| g.window == 5_000) {
                        let entry = squares
                            .entry((format!("{} {:?}", gauge.name, gauge.measure), gauge.window))
                            .or_default();
                        entry.0 += gauge.value;
                        entry.1 += gauge.value * gauge.value;
                        entry.2 += 1.0;
                    }
                }
            }
        }
        let observed = started.elapsed();
        println!(
            "{} rows simulated {simulated:?} fitted {fitted:?}; {} rows {simulated_2:?} scored {scored:?} observed {observed:?}; {:?}",
            reference.len(),
            stream.len(),
            monitor.counts()
        );
        for verdict in &verdicts {
            println!("  {}", serde_json::to_string(verdict)?);
        }
        if seed == 0 {
            for ((name, _), (sum, square, n)) in &squares {
                println!("  {name}: mean {:.2} rms {:.2}", sum / n, (square / n).sqrt());
            }
        }
        let _ = FamilyKind::Model;
    }
    Ok(())
}
