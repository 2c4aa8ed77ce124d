//! `feed replay`

use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context as _, anyhow, bail};
use clap::Args;
use history::{DataObject, Location, ReadOptions, Storage, fingerprint, for_each_trade};
use market::{Topic, TradeWriter};
use serde::Serialize;
use terminal::exit::{CommandResult, Environment, ExitStatus};
use terminal::output::{self, OutputArgs, Render};
use terminal::progress::{Progress, plural};

use super::Context;
use super::check::{Finding, kafka_findings};
use super::simulate::{kafka_settings, watch};
use crate::kafka::{Found, KafkaArgs, ensure_topics, leave};
use crate::pace::{Pacer, Speed};
use crate::replay::{
    Merged, MergedTrade, OnError, Progress as Standing, Refused, ReplayId, Sources,
};
use crate::sink::{Entry, Sink};
use crate::telemetry::TelemetryArgs;
use crate::time::{parse_moment, show_time};

pub(super) const HELP: &str = "\
Trades go out in the order of time, each symbol in one partition, in transactions (read them with
isolation.level=read_committed). What a topic holds of the same files already is left out: a replay
that was stopped, or killed, goes on where it was, and one that was complete writes nothing. --again
writes everything once more.

Examples:
  feed replay BTCUSDT-trades-2024-01-05.zip --brokers localhost:9092
  feed replay 's3://history/trades/**/*.parquet' --speed max --brokers localhost:9092
  feed replay trades.csv.gz --symbol BTCUSDT --on-error skip --out trades.jsonl --speed max";

/// `feed replay`
#[derive(Debug, Clone, Args)]
pub(super) struct ReplayArgs {
    /// Files, folders, globs or s3:// URIs of trades: Parquet, CSV, .csv.gz, .zip.
    #[arg(value_name = "FILE", required = true)]
    files: Vec<String>,
    /// How quickly time passes: 1 as it was recorded, 60 or x60 that much quicker, or `max`.
    #[arg(long, value_name = "SPEED", default_value = "1")]
    speed: Speed,
    /// Only these symbols.
    #[arg(long, value_name = "SYMBOL,…", value_delimiter = ',')]
    symbols: Vec<String>,
    /// The symbol of files that name none.
    #[arg(long, value_name = "SYMBOL")]
    symbol: Option<String>,
    /// Only trades from this time on.
    #[arg(long, value_name = "TIME", value_parser = parse_moment)]
    from: Option<i64>,
    /// Only trades before this time.
    #[arg(long, value_name = "TIME", value_parser = parse_moment)]
    to: Option<i64>,
    /// What to do about a row that can't be read.
    #[arg(long, value_enum, default_value = "fail")]
    on_error: OnError,
    /// Write everything, whatever the topic holds already.
    #[arg(long)]
    again: bool,
    /// Write lines of JSON to a file instead of Kafka; `-` is stdout.
    #[arg(long, value_name = "FILE", conflicts_with = "null")]
    out: Option<PathBuf>,
    /// Write nowhere: how fast is the rest?
    #[arg(long)]
    null: bool,
    #[command(flatten)]
    pub(super) kafka: KafkaArgs,
    #[command(flatten)]
    pub(super) telemetry: TelemetryArgs,
    #[command(flatten)]
    pub(super) output: OutputArgs,
}

#[derive(Debug, Serialize)]
struct Summary {
    trades: u64,
    already_there: u64,
    refused_rows: u64,
    first_refused: Vec<String>,
    symbols: usize,
    until: Option<String>,
    seconds: f64,
    trades_per_second: f64,
    to: String,
    is_complete: bool,
}

impl Render for Summary {
    fn render_table(&self) -> String {
        let mut text = format!("{} trades", self.trades);
        if self.already_there > 0 {
            text += &format!(" ({} were there already)", self.already_there);
        }
        text += &format!(
            " of {} to {}\n{:.2} s, {:.0} trades/s",
            plural(self.symbols as u64, "symbol"),
            self.to,
            self.seconds,
            self.trades_per_second
        );
        if !self.is_complete {
            text += "\nstopped before the end; the same command goes on";
        }
        if self.refused_rows > 0 {
            text += &format!("\n{} left out:", plural(self.refused_rows, "row"));
            for row in &self.first_refused {
                text += &format!("\n  {row}");
            }
        }
        text
    }
}

pub(super) fn run(args: &ReplayArgs) -> CommandResult {
    let objects = find(&args.files)?;
    let options = args.options();
    let progress = Progress::new(args.output.quiet);
    let context = Context::new(&args.telemetry)?;
    let phase = progress.phase("look", 0);
    let plain = args.plain_sink()?;
    // The content is hashed beside the look at it: each goes through everything once.
    let (sources, content) = std::thread::scope(|scope| {
        let hashing = match plain {
            Some(_) => None,
            None => Some(scope.spawn(|| fingerprint(&objects))),
        };
        let sources = Sources::new(&objects, &options, args.on_error);
        (sources, hashing.map(std::thread::ScopedJoinHandle::join))
    });
    let sources = sources?;
    phase.done(&plural(objects.len() as u64, "file"));
    let (mut sink, mut standing) = match (plain, content) {
        (Some(sink), _) => (sink, None),
        (None, Some(content)) => {
            let phase = progress.phase("compare", 0);
            let content = content.unwrap_or_else(|panic| std::panic::resume_unwind(panic))?;
            let (sink, standing) = args.kafka_sink(&context, &content.hash)?;
            phase.done("with what the topic holds");
            (sink, Some(standing))
        }
        (None, None) => bail!("the files were not hashed"),
    };
    context.telemetry.set_ready(true);
    let mut merged = sources.read()?;
    let summary = send(
        args,
        &mut merged,
        standing.as_mut(),
        &context,
        &mut sink,
        &progress,
    )?;
    context.telemetry.set_ready(false);
    leave((sink, standing));
    if args.out.as_deref().is_some_and(|out| out == Path::new("-")) {
        progress.note(&summary.render_table());
    } else {
        output::print(&summary, args.output.output)?;
    }
    Ok(ExitStatus::Done)
}

fn send(
    args: &ReplayArgs,
    merged: &mut Merged,
    mut standing: Option<&mut Standing>,
    context: &Context,
    sink: &mut Sink,
    progress: &Progress,
) -> anyhow::Result<Summary> {
    /// Between two looks at what isn't looked at for each trade.
    const LOOK: u64 = 1 << 10;
    let first = standing
        .as_ref()
        .map_or(0, |standing| standing.n_committed());
    let mut writers: Vec<(TradeWriter, Arc<str>, i32)> = Vec::new();
    let mut pacer = Pacer::new(args.speed);
    let mut value = Vec::with_capacity(256);
    let mut tick = |n_trades: u64| match &mut standing {
        Some(standing) => standing.tick(n_trades, &context.interrupt),
        None => Ok(()),
    };
    let n_committed = first;
    let (mut n_trades, mut n_there, mut n_told) = (0_u64, 0_u64, 0_u64);
    let mut last = None;
    let mut is_complete = false;
    let phase = progress.phase("replay", 0);
    let began = Instant::now();
    let failure = loop {
        let next = match merged.next_trade() {
            Ok(Some(next)) => next,
            Ok(None) => {
                is_complete = true;
                break None;
            }
            Err(error) => break Some(error),
        };
        let MergedTrade {
            symbol,
            trade,
            label,
        } = next;
        while writers.len() <= symbol as usize {
            let name = Arc::clone(merged.symbol(writers.len() as u32));
            let partition = sink.partition_of(&name);
            writers.push((TradeWriter::new(&name), name, partition));
        }
        let (writer, name, partition) = &writers[symbol as usize];
        if n_there < n_committed {
            n_there += 1;
            continue;
        }
        let n_sent = n_there + n_trades;
        if !pacer.wait(trade.event_time, &context.interrupt, || tick(n_sent))? {
            break None;
        }
        value.clear();
        writer.write(&trade, label.map(|label| merged.label(label)), &mut value);
        let entry = Entry {
            symbol: name,
            partition: *partition,
            value: &value,
        };
        if !sink.write(entry)? {
            break None;
        }
        n_trades += 1;
        last = Some(trade.event_time);
        if n_trades.is_multiple_of(LOOK) || args.speed != Speed::Max {
            phase.advance(n_trades - n_told);
            context.telemetry.trades_made(n_trades - n_told);
            n_told = n_trades;
            if context.interrupt.is_asked() {
                break None;
            }
            tick(n_there + n_trades)?;
        }
    };
    match standing {
        Some(standing) => standing.commit(n_there + n_trades, &context.interrupt)?,
        None => sink.finish()?,
    }
    let seconds = began.elapsed().as_secs_f64();
    context.telemetry.trades_made(n_trades - n_told);
    drop(phase);
    if let Some(error) = failure {
        return Err(error.context(format!(
            "stopped after {}",
            plural(n_trades + n_there, "trade")
        )));
    }
    let Refused { count, first } = merged.refused();
    Ok(Summary {
        trades: n_trades,
        already_there: n_there,
        refused_rows: count,
        first_refused: first,
        symbols: merged.n_symbols(),
        until: last.map(show_time),
        seconds,
        trades_per_second: n_trades as f64 / seconds.max(1e-9),
        to: sink.describe(),
        is_complete,
    })
}

impl ReplayArgs {
    pub(super) fn findings(&self) -> Vec<Finding> {
        let objects = find(&self.files);
        let files = objects.as_ref().map(|objects| {
            let bytes: u64 = objects.iter().map(|object| object.size_bytes).sum();
            let n_files = plural(objects.len() as u64, "file");
            format!(
                "{n_files}, {:.1} MB, at speed {}",
                bytes as f64 / 1e6,
                self.speed
            )
        });
        let files = files.map_err(|error| anyhow::anyhow!("{error:#}"));
        let mut findings = vec![Finding::of("files", files)];
        if let Ok(objects) = &objects {
            for object in objects {
                let mut first = None;
                let read = for_each_trade(object, &self.options(), |row| {
                    first = Some(row.trade.event_time);
                    ControlFlow::Break(())
                });
                let found = read.map_err(Into::into).map(|()| match first {
                    Some(time) => format!("begins at {}", show_time(time)),
                    None => "has no such row".to_owned(),
                });
                findings.push(Finding::of(format!("`{}`", object.uri), found));
            }
        }
        if self.out.is_none() && !self.null {
            findings.extend(kafka_findings(
                &self.kafka,
                &[Topic::RawTrades, Topic::FeedPositions],
            ));
        }
        findings
    }

    fn options(&self) -> ReadOptions {
        ReadOptions {
            symbols: self.symbols.clone(),
            from: self.from,
            to: self.to,
            default_symbol: self.symbol.clone(),
            ..ReadOptions::default()
        }
    }

    /// What is read of the files, as far as it changes what is written. Not what is done about rows
    /// that can't be read: what was written until the first of them is the same either way.
    fn selection(&self) -> String {
        let mut symbols = self.symbols.clone();
        symbols.sort();
        format!(
            "{symbols:?} {:?} {:?} {:?}",
            self.symbol, self.from, self.to
        )
    }

    /// The sink, if it isn't Kafka.
    fn plain_sink(&self) -> anyhow::Result<Option<Sink>> {
        if self.null {
            return Ok(Some(Sink::Null));
        }
        self.out.as_deref().map(Sink::file).transpose()
    }

    /// Kafka, and where the replay stands there.
    fn kafka_sink(&self, context: &Context, content: &str) -> anyhow::Result<(Sink, Standing)> {
        /// A transaction for each so much time: often enough for who reads on, seldom enough for speed.
        const EVERY: Duration = Duration::from_millis(100);
        const EVERY_AT_MOST_SPEED: Duration = Duration::from_millis(1_000);
        let settings = kafka_settings(&self.kafka)?;
        let topics = [Topic::RawTrades, Topic::FeedPositions].map(|topic| settings.topic(topic));
        let found = context
            .runtime
            .block_on(ensure_topics(&settings, &topics))?;
        let [trades, positions] = <[Found; 2]>::try_from(found)
            .map_err(|found| anyhow!("{} topics instead of 2", found.len()))?;
        let id = ReplayId::new(content, &self.selection());
        let every = match self.speed {
            Speed::Max => EVERY_AT_MOST_SPEED,
            Speed::Times(_) => EVERY,
        };
        let mut standing = Standing::begin(&settings, positions, id, every)?;
        if self.again {
            standing.begin_anew();
        }
        let producer = Arc::clone(standing.producer());
        watch(&context.telemetry, &producer);
        let sink = Sink::kafka(producer, trades.into(), context.interrupt.clone());
        Ok((sink, standing))
    }
}

/// The files behind the arguments.
pub(super) fn find(files: &[String]) -> anyhow::Result<Vec<DataObject>> {
    let storage = Storage::from_env();
    let mut objects = Vec::new();
    for file in files {
        let location = Location::parse(file, Path::new("."))
            .context(Environment(format!("`{file}` can't be read")))?;
        objects.extend(location.resolve(&storage)?);
    }
    objects.sort_by(|a, b| a.uri.cmp(&b.uri));
    objects.dedup_by(|a, b| a.uri == b.uri);
    Ok(objects)
}
