//! `scorer replay`

use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Instant;

use anyhow::Context as _;
use clap::Args;
use history::{Location, ReadOptions, Storage, SymbolTrades, Table, TableWriter, read_trades};
use serde::Serialize;
use streaming::pipeline::JudgedRow;
use streaming::{Channel, Judge, Outputs, Settings};
use terminal::exit::ExitStatus;
use terminal::output::{self, Render};
use terminal::progress::{Progress, list, plural};

use super::run::{first_limits, load_once, show};
use super::{CommandResult, OutputArgs};
use crate::config::{Config, read};
use crate::limits::LimitedJudge;
use crate::model::ModelUri;
use crate::replay::replay;

pub(super) const HELP: &str = "\
Files go through the very pipeline that `run` puts behind Kafka, in the order of time: what it says
is what a running scorer says of the same trades, bit for bit.

Examples:
  scorer replay trades/*.parquet --model models:/market-anomaly@champion --alerts alerts.jsonl
  scorer replay BTCUSDT-trades-2024-01-05.zip --model runs/model --scores scores.parquet --finish";

/// `scorer replay`
#[derive(Debug, Clone, Args)]
pub(super) struct ReplayArgs {
    /// Files, folders, globs or s3:// URIs of trades: Parquet, CSV, .csv.gz, .zip.
    #[arg(value_name = "FILE", required = true)]
    files: Vec<String>,
    /// models:/NAME@ALIAS, models:/NAME/VERSION, or a model's folder or file. [default: the
    /// configuration's]
    #[arg(long, value_name = "MODEL", required_unless_present = "config")]
    model: Option<String>,
    /// A scorer's configuration: its [stream] and [features] hold here too.
    #[arg(long, value_name = "CONFIG.toml")]
    config: Option<PathBuf>,
    /// The registry of registered models.
    #[arg(long, env = "MLFLOW_TRACKING_URI", value_name = "URL")]
    tracking_uri: Option<String>,
    /// Only these symbols.
    #[arg(long, value_name = "SYMBOL,…", value_delimiter = ',')]
    symbols: Vec<String>,
    /// The symbol of files that name none.
    #[arg(long, value_name = "SYMBOL")]
    symbol: Option<String>,
    /// Write alerts as lines of JSON, as the topic has them; `-` is stdout.
    #[arg(long, value_name = "FILE")]
    alerts: Option<PathBuf>,
    /// Write verdicts on drift as lines of JSON, as the topic has them; `-` is stdout.
    #[arg(long, value_name = "FILE")]
    drift: Option<PathBuf>,
    /// Write every judged candle as Parquet: a path or an s3:// URI.
    #[arg(long, value_name = "FILE")]
    scores: Option<String>,
    /// Close the candles that the last trades leave open, too. A running scorer would wait.
    #[arg(long)]
    finish: bool,
    #[command(flatten)]
    pub(super) output: OutputArgs,
}

/// What is printed at the end.
#[derive(Debug, Serialize)]
struct Summary {
    model: String,
    symbols: usize,
    trades: u64,
    late: u64,
    duplicates: u64,
    refused: u64,
    candles: u64,
    scored: u64,
    not_ready: u64,
    failed: u64,
    flagged: u64,
    alerts: u64,
    drift: u64,
    seconds: f64,
    trades_per_second: f64,
}

impl Render for Summary {
    fn render_table(&self) -> String {
        let row = |name: &str, value: String| vec![name.to_owned(), value];
        let rows = [
            row("model", self.model.clone()),
            row("symbols", self.symbols.to_string()),
            row("trades", self.trades.to_string()),
            row("late", self.late.to_string()),
            row("duplicates", self.duplicates.to_string()),
            row("refused", self.refused.to_string()),
            row("candles", self.candles.to_string()),
            row("scored", self.scored.to_string()),
            row("not ready", self.not_ready.to_string()),
            row("refused by the model", self.failed.to_string()),
            row("flagged", self.flagged.to_string()),
            row("alerts", self.alerts.to_string()),
            row("verdicts on drift", self.drift.to_string()),
            row(
                "time",
                format!(
                    "{:.2} s, {:.0} trades/s",
                    self.seconds, self.trades_per_second
                ),
            ),
        ];
        output::table(&["replay", ""], &rows)
    }
}

pub(super) fn run(args: &ReplayArgs) -> CommandResult {
    let config = match &args.config {
        Some(path) => Some(read(path)?),
        None => None,
    };
    let runtime = tokio::runtime::Runtime::new().context("start the threads")?;
    let judge_and_settings = |config: Option<&Config>| -> anyhow::Result<_> {
        let uri = args
            .model
            .as_deref()
            .or(config.map(|config| config.model.uri.as_str()))
            .unwrap_or_default();
        let uri: ModelUri = uri.parse().map_err(anyhow::Error::msg)?;
        let registry = args
            .tracking_uri
            .as_deref()
            .or(config.and_then(|config| config.registry.uri.as_deref()));
        let loaded = load_once(&runtime, &uri, registry)?;
        let features = match config.and_then(|config| config.features) {
            Some(features) => features.check()?,
            None => loaded.features()?,
        };
        let settings = match config {
            Some(config) => config.settings(features),
            None => Settings::new(features),
        };
        settings.check()?;
        let judge = loaded.judge(&features)?;
        let judge = match config.map(first_limits).transpose()?.flatten() {
            Some(limits) => Arc::new(LimitedJudge::new(judge, &limits)?),
            None => judge,
        };
        Ok((judge, Arc::new(settings)))
    };
    let (judge, settings) = judge_and_settings(config.as_ref())?;

    let progress = Progress::new(args.output.quiet);
    let phase = progress.phase("read", 0);
    let symbols = read_all(args)?;
    let n_trades: usize = symbols.iter().map(|symbol| symbol.trades.len()).sum();
    phase.done(&format!(
        "{} of {}",
        plural(n_trades as u64, "trade"),
        list(
            &symbols
                .iter()
                .map(|s| s.symbol.as_str())
                .collect::<Vec<_>>()
        )
    ));
    let mut alerts = args.alerts.as_deref().map(create).transpose()?;
    let mut drift = args.drift.as_deref().map(create).transpose()?;
    let storage = Storage::from_env();
    let mut scores = match &args.scores {
        Some(target) => Some(Scores::create(&storage, target)?),
        None => None,
    };
    let phase = progress.phase("score", n_trades as u64);
    let began = Instant::now();
    let replayed = replay(
        &settings,
        &*judge,
        &symbols,
        args.finish,
        |outputs: &Outputs| -> anyhow::Result<()> {
            phase.advance(1_000);
            for output in outputs.iter() {
                let out = match output.channel {
                    Channel::Alerts => &mut alerts,
                    Channel::Drift => &mut drift,
                    _ => continue,
                };
                if let Some(out) = out {
                    out.write_all(output.value.unwrap_or_default())?;
                    out.write_all(b"\n")?;
                }
            }
            Ok(())
        },
        |row| {
            if let Some(scores) = &mut scores {
                scores.push(row, &*judge);
            }
        },
    )
    .context("write what is said")?;
    let seconds = began.elapsed().as_secs_f64();
    phase.done(&plural(replayed.judged.alerts, "alert"));
    for mut out in [alerts, drift].into_iter().flatten() {
        out.flush().context("write what is said")?;
    }
    if let Some(scores) = scores {
        scores.finish()?;
    }
    let (counts, judged) = (replayed.counts, replayed.judged);
    let summary = Summary {
        model: show(&*judge),
        symbols: symbols.len(),
        trades: counts.records,
        late: counts.late,
        duplicates: counts.duplicates,
        refused: counts.refused,
        candles: counts.rows,
        scored: judged.scored,
        not_ready: judged.not_ready,
        failed: judged.failed,
        flagged: judged.flagged,
        alerts: judged.alerts,
        drift: judged.drift,
        seconds,
        trades_per_second: counts.records as f64 / seconds.max(1e-9),
    };
    output::print(&summary, args.output.output)?;
    Ok(ExitStatus::Done)
}

fn read_all(args: &ReplayArgs) -> anyhow::Result<Vec<SymbolTrades>> {
    let storage = Storage::from_env();
    let here = std::env::current_dir().context("find the current folder")?;
    let mut objects = Vec::new();
    for file in &args.files {
        objects.extend(Location::parse(file, &here)?.resolve(&storage)?);
    }
    let options = ReadOptions {
        symbols: args.symbols.clone(),
        default_symbol: args.symbol.clone(),
        ..ReadOptions::default()
    };
    Ok(read_trades(&objects, &options)?)
}

fn create(path: &Path) -> anyhow::Result<Box<dyn Write>> {
    if path == Path::new("-") {
        return Ok(Box::new(std::io::stdout().lock()));
    }
    let file = File::create(path).with_context(|| format!("create `{}`", path.display()))?;
    Ok(Box::new(BufWriter::new(file)))
}

/// Rows per piece that is handed to the writer.
const PIECE: usize = 1 << 18;

/// Judged candles on their way into a Parquet file.
struct Scores {
    writer: TableWriter,
    time: Vec<i64>,
    symbol: Vec<Arc<str>>,
    score: Vec<f64>,
    neg_log10_tail: Vec<f64>,
    flag: Vec<bool>,
    label: Vec<Option<Box<str>>>,
    version: Vec<String>,
    failed: Option<anyhow::Error>,
}

impl Scores {
    fn create(storage: &Storage, target: &str) -> anyhow::Result<Self> {
        Ok(Self {
            writer: TableWriter::create(storage, target)?,
            time: Vec::new(),
            symbol: Vec::new(),
            score: Vec::new(),
            neg_log10_tail: Vec::new(),
            flag: Vec::new(),
            label: Vec::new(),
            version: Vec::new(),
            failed: None,
        })
    }

    fn push(&mut self, row: &JudgedRow<'_>, judge: &dyn Judge) {
        let Some(score) = row.score.filter(|_| !row.is_open) else {
            return;
        };
        self.time.push(row.row.candle.open_time);
        self.symbol.push(Arc::clone(row.symbol));
        self.score.push(score.raw);
        self.neg_log10_tail.push(score.score);
        self.flag.push(score.flagged);
        self.label.push(row.label.map(Into::into));
        self.version.push(judge.model().version.clone());
        if self.time.len() >= PIECE
            && self.failed.is_none()
            && let Err(error) = self.write()
        {
            self.failed = Some(error);
        }
    }

    /// The columns that `trainer run --scores` writes, without those that only a training knows.
    fn write(&mut self) -> anyhow::Result<()> {
        let tail = self.neg_log10_tail.iter();
        let probability = tail.map(|tail| 10_f64.powf(-tail)).collect();
        let table = Table::new()
            .time("time", std::mem::take(&mut self.time))
            .text("symbol", self.symbol.iter().map(|symbol| Some(&**symbol)))
            .number("score", std::mem::take(&mut self.score))
            .number("neg_log10_tail", std::mem::take(&mut self.neg_log10_tail))
            .number("tail_probability", probability)
            .flag("flag", std::mem::take(&mut self.flag))
            .text("label", self.label.iter().map(|label| label.as_deref()))
            .text(
                "model_version",
                self.version.iter().map(|v| Some(v.as_str())),
            );
        self.symbol.clear();
        self.label.clear();
        self.version.clear();
        Ok(self.writer.append(table)?)
    }

    fn finish(mut self) -> anyhow::Result<u64> {
        if let Some(error) = self.failed {
            return Err(error);
        }
        self.write()?;
        Ok(self.writer.finish()?)
    }
}
