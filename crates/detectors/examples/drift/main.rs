//! Drift detection on simulated streams: false alarms, delays and what must not alarm, with 95 %
//! intervals. Every stream has a reference, a model and limits of its own.
//!
//! ```text
//! drift [TABLE…] [--streams N] [--symbols N] [--days N] [--peers N] [--seed N] [--run-length X]
//! ```
//!
//! Tables: `season` (nothing happens; GARCH with hour-of-week season, 20 symbols, one-minute candles,
//! all 16 features), `iid` (nothing happens; independent rows), `changes` (volatility or size
//! change), `trouble` (outage, burst, delisting, restart, rebalance). All by default. `--days` is the
//! length of a stream on which nothing happens; `--peers` on how many streams the other rules run
//! as well.

mod interval;
mod peers;
mod study;
mod tables;
mod world;

use std::process::ExitCode;

pub(crate) type Result<T> = std::result::Result<T, Box<dyn std::error::Error + Send + Sync>>;

/// What is asked for.
pub(crate) struct Options {
    pub(crate) tables: Vec<String>,
    pub(crate) n_streams: usize,
    pub(crate) n_symbols: usize,
    pub(crate) days: i64,
    pub(crate) n_peers: usize,
    pub(crate) seed: u64,
    pub(crate) run_length: f64,
}

const TABLES: [&str; 4] = ["season", "iid", "changes", "trouble"];

fn options() -> Result<Options> {
    let mut options = Options {
        tables: Vec::new(),
        n_streams: 200,
        n_symbols: 20,
        days: 20,
        n_peers: 20,
        seed: 0,
        run_length: detectors::DriftConfig::default().run_length,
    };
    let mut arguments = std::env::args().skip(1);
    while let Some(argument) = arguments.next() {
        if TABLES.contains(&argument.as_str()) {
            options.tables.push(argument);
            continue;
        }
        let mut value = || {
            arguments
                .next()
                .ok_or_else(|| format!("`{argument}` needs a value"))
        };
        match argument.as_str() {
            "--streams" => options.n_streams = value()?.parse()?,
            "--symbols" => options.n_symbols = value()?.parse()?,
            "--days" => options.days = value()?.parse()?,
            "--peers" => options.n_peers = value()?.parse()?,
            "--seed" => options.seed = value()?.parse()?,
            "--run-length" => options.run_length = value()?.parse()?,
            other => return Err(format!("`{other}` is neither a table nor an option").into()),
        }
    }
    if options.tables.is_empty() {
        options.tables = TABLES.map(str::to_owned).to_vec();
    }
    Ok(options)
}

fn main() -> ExitCode {
    match options().and_then(|options| tables::print(&options)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("drift: {error}");
            ExitCode::FAILURE
        }
    }
}
