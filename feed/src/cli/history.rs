//! `feed history`

use std::path::PathBuf;

use ::history::{ReadOptions, Storage};
use anyhow::{Context as _, Result, bail};
use clap::{Args, ValueEnum};
use market::{DAY_US, Interval};
use serde::Serialize;
use terminal::exit::{CommandResult, Environment, ExitStatus};
use terminal::output::{self, OutputArgs, Render};
use terminal::progress::{Progress, list, plural};
use tokio::runtime::Runtime;

use super::Context;
use super::check::{Finding, out_finding, probe};
use super::replay::find;
use crate::address::check_base;
use crate::binance::symbols_of;
use crate::download::{
    DownloadSettings, Kind, Outcome, Source, Store, convert, download, probe_source,
};
use crate::replay::{OnError, Refused};
use crate::telemetry::TelemetryArgs;
use crate::time::{now, parse_moment};

pub(super) const HELP: &str = "\
Writes OUT/symbol=…/date=…/*.parquet and OUT/_manifest.json, which names every file with its
checksum. What is there is not fetched again, so that the same command goes on after it was stopped.

Examples:
  feed history --symbols BTCUSDT,ETHUSDT --from 2024-01-01 --to 2024-02-01 --out data/trades
  feed history --kind klines --source rest --symbols BTCUSDT --from 2024-01-01 --to 2024-01-08 \\
      --out s3://history/klines-1m
  feed history downloads/*.zip --out data/trades";

/// `feed history`
#[derive(Debug, Clone, Args)]
pub(super) struct HistoryArgs {
    /// Convert these files (folders, globs, s3:// URIs) instead of downloading.
    #[arg(value_name = "FILE")]
    files: Vec<String>,
    /// What to bring.
    #[arg(long, value_enum, default_value = "trades")]
    kind: KindName,
    /// The length of candles.
    #[arg(long, value_name = "INTERVAL", default_value = "1m")]
    interval: Interval,
    /// The symbols.
    #[arg(long, env = "FEED_SYMBOLS", value_name = "SYMBOL,…")]
    symbols: Option<String>,
    /// The symbol of files that name none.
    #[arg(long, value_name = "SYMBOL")]
    symbol: Option<String>,
    /// The first day, UTC.
    #[arg(long, value_name = "DATE", value_parser = parse_moment)]
    from: Option<i64>,
    /// The day after the last one.
    #[arg(long, value_name = "DATE", value_parser = parse_moment)]
    to: Option<i64>,
    /// A folder, or s3://BUCKET/PREFIX.
    #[arg(long, value_name = "DIR|URI")]
    out: String,
    /// Where days are downloaded from.
    #[arg(long, value_enum, default_value = "dumps")]
    source: Source,
    /// Compare days that are there with the dumps' present checksums; corrected ones are replaced.
    #[arg(long)]
    refresh: bool,
    /// Days that the exchange doesn't have are no failure.
    #[arg(long)]
    allow_missing: bool,
    /// What to do about a row that can't be read, when files are converted.
    #[arg(long, value_enum, default_value = "fail")]
    on_error: OnError,
    /// Downloads at once.
    #[arg(long, value_name = "N", default_value = "4", value_parser = clap::value_parser!(u16).range(1..=64))]
    jobs: u16,
    /// How often a download that fails is tried.
    #[arg(long, value_name = "N", default_value = "5", value_parser = clap::value_parser!(u32).range(1..=20))]
    attempts: u32,
    /// Where the dumps are.
    #[arg(
        long,
        env = "FEED_DUMPS_URL",
        value_name = "URL",
        default_value = "https://data.binance.vision"
    )]
    dumps_url: String,
    /// Where candles are asked for.
    #[arg(
        long,
        env = "FEED_REST_DATA_URL",
        value_name = "URL",
        default_value = "https://data-api.binance.vision"
    )]
    rest_data_url: String,
    /// Trust this certificate authority (PEM) beside the system's.
    #[arg(long, env = "FEED_CA", value_name = "FILE")]
    ca: Option<PathBuf>,
    #[command(flatten)]
    telemetry: TelemetryArgs,
    #[command(flatten)]
    pub(super) output: OutputArgs,
}

/// Binance's candles that divide a day. Those of three days, a week and a month don't.
const PUBLISHED: [&str; 13] = [
    "1s", "1m", "3m", "5m", "15m", "30m", "1h", "2h", "4h", "6h", "8h", "12h", "1d",
];

#[derive(Debug, Clone, Copy, ValueEnum)]
enum KindName {
    /// Every trade.
    Trades,
    /// Trades of one order at one price, merged.
    #[value(name = "aggTrades")]
    AggTrades,
    /// Candles.
    Klines,
}

#[derive(Debug, Serialize)]
struct Summary {
    written: u64,
    already_there: u64,
    rows: u64,
    bytes: u64,
    partitions: usize,
    missing: Vec<String>,
    refused_rows: u64,
    first_refused: Vec<String>,
    out: String,
    is_complete: bool,
}

impl Render for Summary {
    fn render_table(&self) -> String {
        let mut text = format!(
            "{} written ({} rows, {:.1} MB), {} there already; `{}` holds {}",
            plural(self.written, "partition"),
            self.rows,
            self.bytes as f64 / 1e6,
            self.already_there,
            self.out,
            self.partitions
        );
        if !self.missing.is_empty() {
            text += &format!("\nnot at the exchange: {}", list(&self.missing));
        }
        if self.refused_rows > 0 {
            text += &format!("\n{} left out:", plural(self.refused_rows, "row"));
            for row in &self.first_refused {
                text += &format!("\n  {row}");
            }
        }
        if !self.is_complete {
            text += "\nstopped before the end; the same command goes on";
        }
        text
    }
}

pub(super) fn run(args: &HistoryArgs) -> CommandResult {
    let kind = args.kind();
    let settings = if args.files.is_empty() {
        Some(args.download_settings(kind)?)
    } else {
        None
    };
    let objects = find(&args.files)?;
    let context = Context::new(&args.telemetry)?;
    let progress = Progress::new(args.output.quiet);
    let mut store = Store::open(&Storage::from_env(), &args.out, kind)?;
    context.telemetry.set_ready(true);
    let worked = match &settings {
        Some(settings) => {
            let n_days = (settings.to - settings.from) / DAY_US;
            let n_jobs = n_days.unsigned_abs() * settings.symbols.len() as u64;
            let phase = progress.phase("download", n_jobs);
            let work = download(
                &mut store,
                settings,
                &context.telemetry,
                &context.interrupt,
                &phase,
            );
            let outcome = context.runtime.block_on(work);
            outcome.map(|outcome| (outcome, Refused::default()))
        }
        None => {
            let phase = progress.phase("convert", 0);
            let options = args.read_options()?;
            convert(
                &mut store,
                &objects,
                &options,
                args.on_error,
                &context.interrupt,
                &phase,
            )
        }
    };
    // Also after a failure: what was written is written.
    store.save()?;
    let (outcome, refused) = worked?;
    let summary = args.summary(&store, &outcome, refused);
    output::print(&summary, args.output.output)?;
    if !outcome.missing.is_empty() && !args.allow_missing {
        bail!(
            "{} at the exchange (--allow-missing makes that no failure): {}",
            match outcome.missing.len() {
                1 => "one day isn't".to_owned(),
                n => format!("{n} days aren't"),
            },
            list(&summary.missing)
        );
    }
    Ok(ExitStatus::Done)
}

impl HistoryArgs {
    pub(super) fn findings(&self, runtime: &Runtime) -> Vec<Finding> {
        let mut findings = vec![out_finding(&self.out)];
        if !self.files.is_empty() {
            let found = find(&self.files);
            let files = found.map(|objects| plural(objects.len() as u64, "file"));
            findings.push(Finding::of("files", files));
            return findings;
        }
        let settings = match self.download_settings(self.kind()) {
            Ok(settings) => settings,
            Err(error) => {
                findings.push(Finding::of("settings", Err(error)));
                return findings;
            }
        };
        let n_days = (settings.to - settings.from) / DAY_US;
        let plan = format!(
            "{} of {} for {}",
            plural(n_days.unsigned_abs(), "day"),
            self.kind(),
            plural(settings.symbols.len() as u64, "symbol")
        );
        findings.push(Finding::of("plan", Ok(plan)));
        for (what, found) in probe(runtime, probe_source(self.kind(), &settings)) {
            findings.push(Finding::of(what, found));
        }
        findings
    }

    fn kind(&self) -> Kind {
        match self.kind {
            KindName::Trades => Kind::Trades,
            KindName::AggTrades => Kind::AggTrades,
            KindName::Klines => Kind::Klines(self.interval),
        }
    }

    fn download_settings(&self, kind: Kind) -> Result<DownloadSettings> {
        let usage = |text: &str| Environment(text.to_owned());
        let (Some(symbols), Some(from), Some(to)) = (&self.symbols, self.from, self.to) else {
            bail!(usage(
                "a download needs --symbols, --from and --to; or name files to convert"
            ));
        };
        let is_day = |time: i64| time.rem_euclid(DAY_US) == 0;
        if !is_day(from) || !is_day(to) || from >= to {
            bail!(usage(
                "--from and --to are days such as 2024-01-05, the first before the second"
            ));
        }
        if to > now() {
            bail!(usage(
                "--to is in the future: a day is complete when it is over"
            ));
        }
        if self.source == Source::Rest && !matches!(kind, Kind::Klines(_)) {
            bail!(usage("--source rest has candles only: --kind klines"));
        }
        if let Kind::Klines(interval) = kind
            && !PUBLISHED.contains(&interval.to_string().as_str())
        {
            bail!(usage(&format!(
                "Binance has no candles of `{interval}` that make up days: --interval is one of {}",
                PUBLISHED.join(", ")
            )));
        }
        check_base("--dumps-url", &self.dumps_url)?;
        check_base("--rest-data-url", &self.rest_data_url)?;
        let ca = match &self.ca {
            Some(path) => Some(std::fs::read(path).with_context(|| {
                Environment(format!("could not read --ca `{}`", path.display()))
            })?),
            None => None,
        };
        Ok(DownloadSettings {
            source: self.source,
            symbols: symbols_of(symbols).map_err(|error| usage(&error.to_string()))?,
            from,
            to,
            dumps_url: self.dumps_url.clone(),
            rest_url: self.rest_data_url.clone(),
            ca,
            jobs: usize::from(self.jobs),
            is_refreshed: self.refresh,
            attempts: self.attempts,
        })
    }

    fn read_options(&self) -> Result<ReadOptions> {
        let symbols = match &self.symbols {
            Some(symbols) => symbols_of(symbols).map_err(|error| Environment(error.to_string()))?,
            None => Vec::new(),
        };
        let is_day = |time: Option<i64>| time.is_none_or(|time| time.rem_euclid(DAY_US) == 0);
        if !is_day(self.from) || !is_day(self.to) {
            // Half a day would pass for a whole one ever after.
            bail!(Environment(
                "--from and --to are days such as 2024-01-05: a partition holds a whole one"
                    .to_owned()
            ));
        }
        Ok(ReadOptions {
            symbols: symbols.iter().map(ToString::to_string).collect(),
            from: self.from,
            to: self.to,
            default_symbol: self.symbol.clone(),
            ..ReadOptions::default()
        })
    }

    fn summary(&self, store: &Store, outcome: &Outcome, refused: Refused) -> Summary {
        let missing = outcome.missing.iter();
        Summary {
            written: outcome.n_written,
            already_there: outcome.n_there,
            rows: outcome.n_rows,
            bytes: outcome.n_bytes,
            partitions: store.manifest().partitions().count(),
            missing: missing
                .map(|(symbol, date)| format!("{symbol} {date}"))
                .collect(),
            refused_rows: refused.count,
            first_refused: refused.first,
            out: self.out.clone(),
            is_complete: !outcome.is_stopped,
        }
    }
}
