//! How fast the core is, on one core: JSON trades in, scores out. `benches/scorer/run.sh` runs it beside its peer.
//!
//! ```text
//! throughput TRADES.jsonl closed|every|single [REPEATS]   trades/s of each repeat, as JSON
//! throughput model TRADES.jsonl FILE   a model for `scorer run`, of windows of 3 candles, that flags one row in five
//! throughput state N_SYMBOLS          bytes a symbol, in memory and stored; seconds of a snapshot and of its restore,
//!                                      of what the loop waits for: freezing, and copying all symbols that aren't written yet
//! ```
//!
//! The file is what `feed simulate --out` writes. `closed` scores closed candles of 10 s, `every` each trade's open candle
//! too, in batches of 1,000 records; `single` does so record by record. The model is an isolation forest of 100 trees of
//! 256 rows over six features, fitted on the first 2,000,000 trades.

#![allow(clippy::print_stdout, reason = "it is its purpose")]

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::error::Error;
use std::sync::Arc;
use std::time::Instant;

use detectors::{
    AlertBudget, Baseline, Calibrators, Detector, DetectorParams, DetectorSet, Golden,
    IsolationForestConfig, Model, Threshold,
};
use market::{
    Feature, FeatureConfig, Interval, Side, Trade, TradeWriter, ValidFeatureConfig,
    features_of_trades, parse_trade,
};
use ndarray::{Array2, ArrayView2};
use streaming::{
    Committed, Judge, JudgeError, Log, ModelId, NativeJudge, Outputs, Pipeline, Record, Score,
    Settings, Stored, Vote, restore,
};

type Anyhow<T> = Result<T, Box<dyn Error>>;

const FEATURES: [Feature; 6] = [
    Feature::LogReturnZscore,
    Feature::VolumeZscore,
    Feature::PriceRange,
    Feature::PriceZscore,
    Feature::Volatility,
    Feature::Momentum,
];
const BATCH: usize = 1_000;

fn main() -> Anyhow<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match arguments[..] {
        ["state", n_symbols] => state(n_symbols.parse()?),
        ["model", file, target] => {
            let content = std::fs::read(file)?;
            let features = FeatureConfig {
                window: 3,
                momentum: 2,
                ..FeatureConfig::new(Interval::TEN_SECONDS)
            };
            let mut model = fit(&lines_of(&content), &features.check()?)?;
            model.threshold = Threshold {
                neg_log10_tail: 0.7,
                ..model.threshold
            };
            Ok(std::fs::write(target, model.to_bytes()?)?)
        }
        [file, mode @ ("closed" | "every" | "single")] => throughput(file, mode, 3),
        [file, mode @ ("closed" | "every" | "single"), repeats] => {
            throughput(file, mode, repeats.parse()?)
        }
        _ => Err(
            "TRADES.jsonl closed|every|single [REPEATS], model TRADES.jsonl FILE, or state N_SYMBOLS"
                .into(),
        ),
    }
}

fn settings(mode: &str) -> Anyhow<Arc<Settings>> {
    let features = FeatureConfig::new(Interval::TEN_SECONDS).check()?;
    Ok(Arc::new(Settings {
        early: (mode != "closed").then_some(0),
        ..Settings::new(features)
    }))
}

fn throughput(file: &str, mode: &str, repeats: usize) -> Anyhow<()> {
    let content = std::fs::read(file)?;
    let lines = lines_of(&content);
    let settings = settings(mode)?;
    let model = fit(&lines, &settings.features)?;
    let judge = NativeJudge::new(id(), model, &settings.features)?;
    for _ in 0..repeats {
        let mut pipeline = Pipeline::new(Arc::clone(&settings), 0);
        let mut outputs = Outputs::default();
        let (mut n_bytes, mut n_scores, mut n_alerts) = (0, 0, 0);
        let batch = if mode == "single" { 1 } else { BATCH };
        let began = Instant::now();
        for (at, lines) in lines.chunks(batch).enumerate() {
            for (within, line) in lines.iter().enumerate() {
                let record = Record {
                    offset: (at * batch + within) as i64,
                    key: None,
                    value: Some(line),
                };
                pipeline.push(&record, &mut outputs);
            }
            let judged = pipeline.judge(&judge, &mut outputs, |_| ());
            n_scores += judged.scored + judged.early;
            n_alerts += judged.alerts;
            n_bytes += outputs
                .iter()
                .map(|output| output.value.map_or(0, <[u8]>::len))
                .sum::<usize>();
            outputs.clear();
        }
        let seconds = began.elapsed().as_secs_f64();
        let rate = lines.len() as f64 / seconds;
        println!(
            r#"{{"mode":"{mode}","trades":{},"scores":{n_scores},"alerts":{n_alerts},"bytes_out":{n_bytes},"seconds":{seconds:.3},"trades_per_second":{rate:.0}}}"#,
            lines.len()
        );
    }
    Ok(())
}

fn lines_of(content: &[u8]) -> Vec<&[u8]> {
    let lines = content.split(|byte| *byte == b'\n');
    lines.filter(|line| !line.is_empty()).collect()
}

/// A forest of 100 trees of 256 rows.
fn fit(lines: &[&[u8]], features: &ValidFeatureConfig) -> Anyhow<Model> {
    let mut trades: BTreeMap<String, Vec<Trade>> = BTreeMap::new();
    for line in lines.iter().take(2_000_000) {
        let trade = parse_trade(line, None)?;
        let of_symbol = trades.entry(trade.symbol.to_string()).or_default();
        of_symbol.push(trade.trade());
    }
    let (mut values, mut of) = (Vec::new(), Vec::new());
    let names: Vec<String> = trades.keys().cloned().collect();
    for (place, trades) in trades.values().enumerate() {
        let (rows, _) = features_of_trades(features, trades)?;
        for row in rows.iter().filter(|row| row.ready(&FEATURES)) {
            values.extend(FEATURES.map(|feature| row.value(feature)));
            of.push(u32::try_from(place)?);
        }
    }
    let rows = Array2::from_shape_vec((of.len(), FEATURES.len()), values)?;
    let params = DetectorParams::IsolationForest(IsolationForestConfig {
        n_trees: 100,
        sample_size: 256,
        ..IsolationForestConfig::default()
    });
    let detector = Detector::fit(&params, rows.view(), 42)?;
    let scores = detector.score(rows.view())?;
    let rows_per_day = features.interval().per_day() as f64;
    let budget = AlertBudget {
        alerts_per_symbol_day: 10.0,
    };
    Ok(Model {
        feature_names: FEATURES.map(|feature| feature.name().to_owned()).to_vec(),
        detectors: DetectorSet::Global(detector),
        calibrators: Calibrators::fit(&scores, &of, &names)?,
        threshold: budget.threshold(rows_per_day)?,
        engine: serde_json::to_value(features.config())?,
        metadata: BTreeMap::new(),
        baseline: Baseline::fit(rows.view())?,
        golden: Golden::default(),
    })
}

fn trade_of(step: i64, place: usize) -> Trade {
    const START: i64 = 1_704_067_200_000_000;
    Trade {
        event_time: START + step * 5_000_000 + (place as i64 % 5_000) * 100,
        trade_id: u64::try_from(step).ok(),
        price: 100.0 + ((step * 31 + place as i64) % 97) as f64 / 10.0,
        quantity: 1.0 + ((step * 7 + place as i64) % 13) as f64,
        side: Side::Buy,
        event: None,
    }
}

/// Two hours of a trade every five seconds for each symbol, so that all windows are full.
fn state(n_symbols: usize) -> Anyhow<()> {
    let settings = settings("closed")?;
    let names: Vec<String> = (0..n_symbols).map(|n| format!("SYM{n:06}USDT")).collect();
    let writers: Vec<TradeWriter> = names.iter().map(|name| TradeWriter::new(name)).collect();
    let before = resident()?;
    let mut pipeline = Pipeline::new(Arc::clone(&settings), 0);
    let mut outputs = Outputs::default();
    let quiet = Quiet(id());
    let mut offset = 0;
    let mut line = Vec::new();
    for step in 0..1_440_i64 {
        for (place, (name, writer)) in names.iter().zip(&writers).enumerate() {
            let trade = trade_of(step, place);
            line.clear();
            writer.write(&trade, None, &mut line);
            let record = Record {
                offset,
                key: Some(name.as_bytes()),
                value: Some(&line),
            };
            pipeline.push(&record, &mut outputs);
            offset += 1;
        }
        pipeline.judge(&quiet, &mut outputs, |_| ());
        outputs.clear();
    }
    let memory = resident()?.saturating_sub(before);
    // What the loop waits for: the freezing, then a trade of every symbol while none of them is written yet, less the
    // time that the same takes without a snapshot.
    let mut step = 1_440_i64;
    let mut trade_each = |pipeline: &mut Pipeline, offset: &mut i64| -> Anyhow<f64> {
        let began = Instant::now();
        for (place, (name, writer)) in names.iter().zip(&writers).enumerate() {
            let trade = trade_of(step, place);
            line.clear();
            writer.write(&trade, None, &mut line);
            let record = Record {
                offset: *offset,
                key: Some(name.as_bytes()),
                value: Some(&line),
            };
            pipeline.push(&record, &mut outputs);
            *offset += 1;
        }
        let seconds = began.elapsed().as_secs_f64();
        pipeline.judge(&quiet, &mut outputs, |_| ());
        outputs.clear();
        step += 1;
        Ok(seconds)
    };
    let usual = [
        trade_each(&mut pipeline, &mut offset)?,
        trade_each(&mut pipeline, &mut offset)?,
    ];
    let began = Instant::now();
    let frozen = pipeline.freeze();
    let freeze = began.elapsed().as_secs_f64();
    // Steps of five seconds: every other one closes candles.
    trade_each(&mut pipeline, &mut offset)?;
    drop(frozen);
    let frozen = pipeline.freeze();
    let shared = trade_each(&mut pipeline, &mut offset)?;
    drop(frozen);
    let copying = shared - usual[1];
    let began = Instant::now();
    let bytes = pipeline.snapshot()?;
    let snapshot = began.elapsed().as_secs_f64();
    let n_bytes = bytes.len();
    let committed = Committed {
        partition: 0,
        next_offset: offset,
        memory: None,
        judge: Some(&quiet),
    };
    let began = Instant::now();
    let restored = restore(&settings, committed, &mut OneSnapshot(offset, bytes))?;
    let seconds = began.elapsed().as_secs_f64();
    if restored.replayed > 0 {
        return Err("the snapshot was not used".into());
    }
    println!(
        r#"{{"symbols":{},"memory_a_symbol":{},"snapshot_a_symbol":{},"freeze_seconds":{freeze:.6},"copy_seconds":{copying:.4},"snapshot_seconds":{snapshot:.3},"restore_seconds":{seconds:.3}}}"#,
        restored.pipeline.partition().n_symbols(),
        memory / n_symbols.max(1),
        n_bytes / n_symbols.max(1)
    );
    Ok(())
}

fn id() -> ModelId {
    ModelId {
        name: "bench".to_owned(),
        version: "1".to_owned(),
        run_id: String::new(),
    }
}

/// Flags nothing: what is looked at is the state.
#[derive(Debug)]
struct Quiet(ModelId);

impl Judge for Quiet {
    fn model(&self) -> &ModelId {
        &self.0
    }

    fn features(&self) -> &[Feature] {
        &FEATURES
    }

    fn threshold(&self) -> f64 {
        1.0
    }

    fn score(
        &self,
        symbols: &[Arc<str>],
        _: ArrayView2<'_, f64>,
        out: &mut Vec<Result<Score, JudgeError>>,
    ) {
        let score = Score {
            raw: 0.0,
            score: 0.0,
            flagged: false,
        };
        out.extend(symbols.iter().map(|_| Ok(score)));
    }

    fn votes(&self, _: &str, _: &[f64], _: &Score) -> Result<Vec<Vote>, JudgeError> {
        Ok(Vec::new())
    }

    fn shares(&self, _: &str, row: &[f64]) -> Result<Vec<f64>, JudgeError> {
        Ok(vec![0.0; row.len()])
    }
}

/// A snapshot at an offset, and no record after it.
struct OneSnapshot(i64, Vec<u8>);

impl Log for OneSnapshot {
    type Error = Infallible;

    fn snapshots(&mut self) -> Result<Vec<Stored>, Infallible> {
        Ok(vec![Stored {
            next_offset: self.0,
            name: "only".to_owned(),
        }])
    }

    fn snapshot(&mut self, _: &Stored) -> Result<Vec<u8>, Infallible> {
        Ok(self.1.clone())
    }

    fn first_offset(&mut self) -> Result<i64, Infallible> {
        Ok(0)
    }

    fn read(&mut self, _: i64, _: i64, _: &mut dyn FnMut(&Record<'_>)) -> Result<(), Infallible> {
        Ok(())
    }
}

/// Bytes of memory that this process has.
fn resident() -> Anyhow<usize> {
    let text = std::fs::read_to_string("/proc/self/status")?;
    let line = text.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let number = line.and_then(|line| line.split_whitespace().next());
    Ok(number.ok_or("no VmRSS")?.parse::<usize>()? * 1024)
}
