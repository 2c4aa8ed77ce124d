//! How long an evaluation takes: `cargo run --release -p detectors --example evaluation_speed`.
#![allow(clippy::unwrap_used, missing_docs)] // a program to run by hand

use std::time::Instant;

use detectors::Calibrator;
use detectors::evaluation::{
    BootstrapOptions, EvaluationOptions, EventInfo, Labels, Scored, evaluate,
};

fn main() {
    let n = std::env::args()
        .nth(1)
        .map_or(2_000_000, |n| n.parse().unwrap());
    let mut state = 42u64;
    let mut uniform = || {
        state = state
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1);
        (state >> 11) as f64 / (1u64 << 53) as f64
    };
    // Four symbols, minute candles, an event of three rows every 500.
    let n_symbols = 4;
    let symbols: Vec<String> = (0..n_symbols).map(|s| format!("S{s}")).collect();
    let symbol: Vec<u32> = (0..n).map(|i| (i * n_symbols / n) as u32).collect();
    let time: Vec<i64> = (0..n as i64).map(|i| i * 60_000_000).collect();
    let mut events = Vec::new();
    let mut event = vec![0; n];
    for start in (250..n - 3).step_by(500) {
        if symbol[start] != symbol[start + 2] {
            continue;
        }
        events.push(EventInfo {
            kind: "spike".into(),
            start: time[start],
            end: time[start + 3],
            magnitude: Some(3.0 + 27.0 * uniform()),
            symbol: symbol[start],
        });
        event[start..start + 3].fill(events.len() as u32);
    }
    let raw: Vec<f64> = event
        .iter()
        .map(|e| uniform() + if *e > 0 { uniform() } else { 0.0 })
        .collect();
    let began = Instant::now();
    let calibrator = Calibrator::fit(&raw).unwrap();
    println!("calibrator fit on {n} rows: {:.2?}", began.elapsed());
    let began = Instant::now();
    let mut score = raw;
    calibrator.apply(&mut score);
    println!("calibrated: {:.2?}", began.elapsed());
    let flag: Vec<bool> = score.iter().map(|s| *s > 3.0).collect();
    let scored = Scored {
        time: Some(&time),
        interval_us: Some(60_000_000),
        symbol: &symbol,
        symbols: &symbols,
        score: &score,
        flag: &flag,
        labels: Labels::Events {
            event: &event,
            events: &events,
        },
    };
    for bootstrap in [None, Some(BootstrapOptions::default())] {
        let options = EvaluationOptions {
            alerts_per_symbol_day: Some(1.0),
            bootstrap,
            ..EvaluationOptions::default()
        };
        let began = Instant::now();
        let found = evaluate(&scored, &options).unwrap();
        println!(
            "{} resamples: {:.2?}, average precision {}",
            options.bootstrap.map_or(0, |b| b.n_resamples),
            began.elapsed(),
            found.average_precision
        );
    }
}
