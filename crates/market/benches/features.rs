//! Trades → candles → features on one core, in trades per second: `benches/features/run.sh` runs this beside its peers.
//!
//! Arguments: `--trades N` (default 10,000,000), `--rate TRADES_PER_SECOND` of simulated time (default 10), `--repeats N`
//! (default 5), `--write FILE` (the trades for the peers: all event times as little-endian i64, then all prices and all
//! quantities as f64, then one byte per trade that is 1 where the taker bought).

use std::error::Error;
use std::fs::File;
use std::hint::black_box;
use std::io::{BufWriter, Write};
use std::time::Instant;

use market::{
    Arrivals, Feature, FeatureConfig, FeatureEngine, FeatureRow, HOUR_US, Interval, Side,
    SimulateConfig, SimulatedSymbol, Trade,
};

struct Arguments {
    n_trades: usize,
    rate: f64,
    n_repeats: usize,
    write: Option<String>,
}

fn arguments() -> Result<Arguments, Box<dyn Error>> {
    let mut parsed = Arguments {
        n_trades: 10_000_000,
        rate: 10.0,
        n_repeats: 5,
        write: None,
    };
    let mut arguments = std::env::args().skip(1);
    while let Some(name) = arguments.next() {
        let mut value = || {
            arguments
                .next()
                .ok_or_else(|| format!("`{name}` needs a value"))
        };
        match name.as_str() {
            // What `cargo bench` itself adds.
            "--bench" => {}
            "--trades" => parsed.n_trades = value()?.parse()?,
            "--rate" => parsed.rate = value()?.parse()?,
            "--repeats" => parsed.n_repeats = value()?.parse::<usize>()?.max(1),
            "--write" => parsed.write = Some(value()?),
            _ => return Err(format!("unknown argument `{name}`").into()),
        }
    }
    Ok(parsed)
}

fn main() -> Result<(), Box<dyn Error>> {
    let arguments = arguments()?;
    let simulation = SimulateConfig {
        seed: 42,
        symbols: vec![SimulatedSymbol::new("BTCUSDT", 60_000.0)],
        start: 1_704_067_200_000_000,
        duration: 20 * 365 * 24 * HOUR_US,
        trades_per_second: arguments.rate,
        arrivals: Arrivals::default(),
        regimes: Vec::new(),
    }
    .check()?;
    let trades: Vec<Trade> = simulation
        .trades("BTCUSDT")
        .into_iter()
        .flatten()
        .take(arguments.n_trades)
        .collect();
    let config = FeatureConfig {
        max_gap: 100_000,
        ..FeatureConfig::new(Interval::TEN_SECONDS)
    }
    .check()?;
    let mut seconds = Vec::new();
    let mut rows: Vec<FeatureRow> = Vec::new();
    for _ in 0..arguments.n_repeats {
        rows.clear();
        let start = Instant::now();
        let mut engine = FeatureEngine::new(config);
        for trade in &trades {
            engine.push_trade(black_box(trade), &mut rows)?;
        }
        engine.finish(&mut rows);
        seconds.push(start.elapsed().as_secs_f64());
        black_box(&rows);
    }
    seconds.sort_by(f64::total_cmp);
    let median = seconds[seconds.len() / 2];
    let ready: Vec<&FeatureRow> = rows.iter().filter(|row| row.ready(&Feature::ALL)).collect();
    println!("trades {}", trades.len());
    println!("candles {}", rows.len());
    println!("ready {}", ready.len());
    for feature in Feature::ALL {
        let mean = ready.iter().map(|row| row.value(feature)).sum::<f64>() / ready.len() as f64;
        println!("mean.{feature} {mean:.9e}");
    }
    println!("seconds {median:.4}");
    println!("trades_per_second {:.0}", trades.len() as f64 / median);
    if let Some(path) = arguments.write {
        let mut file = BufWriter::new(File::create(path)?);
        for trade in &trades {
            file.write_all(&trade.event_time.to_le_bytes())?;
        }
        for trade in &trades {
            file.write_all(&trade.price.to_le_bytes())?;
        }
        for trade in &trades {
            file.write_all(&trade.quantity.to_le_bytes())?;
        }
        for trade in &trades {
            file.write_all(&[u8::from(trade.side == Side::Buy)])?;
        }
        file.flush()?;
    }
    Ok(())
}
