//! `feed simulate`

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Instant;

use anyhow::Context as _;
use clap::Args;
use market::{
    AnomalyKind, Arrivals, InjectConfig, Interval, SimulateConfig, Topic, TradeWriter,
    ValidInjectConfig, ValidSimulateConfig,
};
use serde::Serialize;
use terminal::exit::{CommandResult, Environment, ExitStatus};
use terminal::output::{self, OutputArgs, Render};
use terminal::progress::Progress;

use super::Context;
use super::check::{Finding, kafka_findings};
use crate::kafka::{KafkaArgs, KafkaSettings, Producer, ensure_topic, leave};
use crate::pace::{Pacer, Speed};
use crate::simulate::{RegimeChange, Traffic, names, symbol};
use crate::sink::{Entry, Sink};
use crate::telemetry::{Telemetry, TelemetryArgs};
use crate::time::{now, parse_duration, parse_moment, show_time};

pub(super) const HELP: &str = "\
The same options give the same bytes, whatever the speed; `--start now` alone depends on the clock.

Examples:
  feed simulate --brokers localhost:9092 --start now
  feed simulate --symbols BTCUSDT,ETHUSDT --speed max --count 1000000 --out trades.jsonl
  feed simulate --symbols 50 --rate 20000 --speed max --null
  feed simulate --brokers localhost:9092 --regime-change 1h:volatility=2.0 --speed x60";

/// `feed simulate`
#[derive(Debug, Clone, Args)]
pub(super) struct SimulateArgs {
    /// Symbols to trade: a list, or how many.
    #[arg(
        long,
        env = "FEED_SYMBOLS",
        value_name = "LIST|N",
        default_value = "BTCUSDT,ETHUSDT"
    )]
    symbols: String,
    /// Mean number of trades of all symbols in a second of event time.
    #[arg(long, value_name = "N", default_value = "20")]
    rate: f64,
    /// How quickly event time passes: 1 as on the clock, 60 or x60 that much quicker, or `max`.
    #[arg(long, value_name = "SPEED", default_value = "1")]
    speed: Speed,
    /// How trades arrive: `hawkes` in bursts, `poisson` each by itself.
    #[arg(long, value_name = "PROCESS", default_value = "hawkes", value_parser = parse_arrivals)]
    arrivals: Arrivals,
    /// The first moment of event time, or `now`.
    #[arg(long, value_name = "TIME", default_value = "2024-01-01T00:00:00Z", value_parser = parse_start)]
    start: Start,
    /// Stop after so much event time, such as 2h. [default: go on]
    #[arg(long, value_name = "DURATION", value_parser = parse_duration)]
    duration: Option<i64>,
    /// Stop after so many trades. [default: go on]
    #[arg(long, value_name = "N")]
    count: Option<u64>,
    /// The seed.
    #[arg(long, value_name = "N", default_value = "42")]
    seed: u64,
    /// Anomalies of each symbol in a day of event time; 0 for none.
    #[arg(long, value_name = "N", default_value = "24")]
    anomalies: f64,
    /// Kinds of anomalies. [default: all six]
    #[arg(long, value_name = "KIND,…", value_delimiter = ',')]
    kinds: Vec<AnomalyKind>,
    /// Smallest and largest anomaly, in standard deviations of the symbol's own moves.
    #[arg(long, value_name = "LEAST,MOST", default_value = "3,30", value_parser = parse_magnitude)]
    magnitude: (f64, f64),
    /// The candle that anomalies are made of: 10s or 1m.
    #[arg(long, value_name = "INTERVAL", default_value = "10s")]
    interval: Interval,
    /// Change the market: AT:KEY=FACTOR[,…] with AT after the start or a time, and `volatility`,
    /// `activity` or `size`; may be repeated.
    #[arg(long, value_name = "CHANGE", value_parser = RegimeChange::parse)]
    regime_change: Vec<RegimeChange>,
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

#[derive(Debug, Clone, Copy)]
enum Start {
    Now,
    At(i64),
}

/// What is to be simulated.
struct Plan {
    market: ValidSimulateConfig,
    anomalies: Option<ValidInjectConfig>,
}

/// What came of it.
#[derive(Debug, Serialize)]
struct Summary {
    trades: u64,
    symbols: usize,
    labelled_trades: u64,
    bytes: u64,
    /// Event time of the last trade.
    until: Option<String>,
    seconds: f64,
    trades_per_second: f64,
    to: String,
}

impl Render for Summary {
    fn render_table(&self) -> String {
        format!(
            "{} trades of {} symbols, {} of them labelled, to {}{}\n{:.2} s, {:.0} trades/s, {:.1} MB/s",
            self.trades,
            self.symbols,
            self.labelled_trades,
            self.to,
            self.until
                .as_ref()
                .map_or_else(String::new, |until| format!("; event time is {until}")),
            self.seconds,
            self.trades_per_second,
            self.bytes as f64 / self.seconds.max(1e-9) / 1e6,
        )
    }
}

pub(super) fn run(args: &SimulateArgs) -> CommandResult {
    let plan = args.plan()?;
    let context = Context::new(&args.telemetry)?;
    let mut sink = args.sink(&context)?;
    context.telemetry.set_ready(true);
    let is_stdout = args
        .out
        .as_deref()
        .is_some_and(|out| out.as_os_str() == "-");
    let progress = Progress::new(args.output.quiet);
    let summary = send(args, &plan, &context, &mut sink, &progress)?;
    context.telemetry.set_ready(false);
    leave(sink);
    if is_stdout {
        progress.note(&summary.render_table());
    } else {
        output::print(&summary, args.output.output)?;
    }
    Ok(ExitStatus::Done)
}

fn send(
    args: &SimulateArgs,
    plan: &Plan,
    context: &Context,
    sink: &mut Sink,
    progress: &Progress,
) -> anyhow::Result<Summary> {
    /// Between two looks at what isn't looked at for each trade.
    const LOOK: u64 = 1 << 10;
    let symbols = &plan.market.config().symbols;
    let writers: Vec<(TradeWriter, &str, i32)> = symbols
        .iter()
        .map(|symbol| {
            let partition = sink.partition_of(&symbol.name);
            (
                TradeWriter::new(&symbol.name),
                symbol.name.as_str(),
                partition,
            )
        })
        .collect();
    let mut traffic = Traffic::new(&plan.market, plan.anomalies.as_ref(), args.interval);
    let mut pacer = Pacer::new(args.speed);
    let mut value = Vec::with_capacity(256);
    let (mut n_trades, mut n_labelled, mut n_bytes, mut n_told) = (0_u64, 0_u64, 0_u64, 0_u64);
    let mut last = None;
    let at_most = args.count.unwrap_or(u64::MAX);
    let phase = progress.phase("simulate", args.count.unwrap_or(0));
    let began = Instant::now();
    while n_trades < at_most {
        let Some(next) = traffic.next() else { break };
        if !pacer.wait(next.trade.event_time, &context.interrupt, || anyhow::Ok(()))? {
            break;
        }
        let (writer, symbol, partition) = &writers[next.symbol];
        value.clear();
        writer.write(&next.trade, next.label.map(AnomalyKind::as_str), &mut value);
        let entry = Entry {
            symbol,
            partition: *partition,
            value: &value,
        };
        if !sink.write(entry)? {
            break;
        }
        n_trades += 1;
        n_labelled += u64::from(next.label.is_some());
        n_bytes += value.len() as u64;
        last = Some(next.trade.event_time);
        if n_trades.is_multiple_of(LOOK) || args.speed != Speed::Max {
            phase.advance(n_trades - n_told);
            context.telemetry.trades_made(n_trades - n_told);
            n_told = n_trades;
            if context.interrupt.is_asked() {
                break;
            }
        }
    }
    sink.finish()?;
    let seconds = began.elapsed().as_secs_f64();
    context.telemetry.trades_made(n_trades - n_told);
    drop(phase);
    Ok(Summary {
        trades: n_trades,
        symbols: symbols.len(),
        labelled_trades: n_labelled,
        bytes: n_bytes,
        until: last.map(show_time),
        seconds,
        trades_per_second: n_trades as f64 / seconds.max(1e-9),
        to: sink.describe(),
    })
}

impl SimulateArgs {
    pub(super) fn findings(&self) -> Vec<Finding> {
        let market = self.plan().map(|plan| {
            let config = plan.market.config();
            format!(
                "{} symbols from {} on, {} trades/s of event time, at speed {}",
                config.symbols.len(),
                show_time(config.start),
                self.rate,
                self.speed
            )
        });
        let mut findings = vec![Finding::of("market", market)];
        match (&self.out, self.null) {
            (None, false) => findings.extend(kafka_findings(&self.kafka, &[Topic::RawTrades])),
            (Some(out), _) => {
                let to = format!("would be written to `{}`", out.display());
                findings.push(Finding::of("file", Ok(to)));
            }
            (None, true) => {}
        }
        findings
    }

    fn plan(&self) -> anyhow::Result<Plan> {
        /// Until somebody stops it: ten years.
        const ENDLESS: i64 = 3_652 * market::DAY_US;
        let names =
            names(&self.symbols).map_err(|reason| Environment(format!("--symbols: {reason}")))?;
        let start = match self.start {
            Start::Now => now(),
            Start::At(start) => start,
        };
        let mut regimes: Vec<_> = self
            .regime_change
            .iter()
            .map(|change| change.regime(start))
            .collect();
        regimes.sort_by_key(|regime| regime.at);
        let market = SimulateConfig {
            seed: self.seed,
            symbols: names.iter().map(|name| symbol(name)).collect(),
            start,
            duration: self.duration.unwrap_or(ENDLESS),
            trades_per_second: self.rate / names.len() as f64,
            arrivals: self.arrivals,
            regimes,
        }
        .check()
        .context(Environment("the market can't be simulated".to_owned()))?;
        let anomalies = if self.anomalies == 0.0 {
            None
        } else {
            let mut config = InjectConfig::new(self.seed);
            config.events_per_symbol_day = self.anomalies;
            config.magnitude = self.magnitude;
            if !self.kinds.is_empty() {
                config.kinds.clone_from(&self.kinds);
            }
            let config = config.check();
            Some(config.context(Environment("the anomalies can't be made".to_owned()))?)
        };
        Ok(Plan { market, anomalies })
    }

    fn sink(&self, context: &Context) -> anyhow::Result<Sink> {
        if self.null {
            return Ok(Sink::Null);
        }
        if let Some(out) = &self.out {
            return Sink::file(out);
        }
        kafka_sink(&self.kafka, context)
    }
}

/// The sink into `raw-trades`, whose topic is made sure of first.
fn kafka_sink(args: &KafkaArgs, context: &Context) -> anyhow::Result<Sink> {
    let settings = kafka_settings(args)?;
    let topic = settings.topic(Topic::RawTrades);
    let found = context.runtime.block_on(ensure_topic(&settings, &topic))?;
    let producer = Arc::new(Producer::new(&settings)?);
    producer.connect();
    watch(&context.telemetry, &producer);
    Ok(Sink::kafka(
        producer,
        found.into(),
        context.interrupt.clone(),
    ))
}

/// The settings of Kafka, where nothing else is written to.
pub(super) fn kafka_settings(args: &KafkaArgs) -> anyhow::Result<KafkaSettings> {
    args.settings()?.context(Environment(
        "where to? Give --brokers HOST:PORT, --out FILE or --null".to_owned(),
    ))
}

/// Lets the metrics show what the producer knows.
pub(super) fn watch(telemetry: &Arc<Telemetry>, producer: &Arc<Producer>) {
    telemetry.watch_producer(Arc::downgrade(producer));
}

fn parse_arrivals(text: &str) -> Result<Arrivals, String> {
    match text {
        "hawkes" => Ok(Arrivals::Hawkes),
        "poisson" => Ok(Arrivals::Poisson),
        _ => Err("trades arrive by `hawkes` or `poisson`".to_owned()),
    }
}

fn parse_start(text: &str) -> Result<Start, String> {
    match text {
        "now" => Ok(Start::Now),
        text => parse_moment(text).map(Start::At),
    }
}

fn parse_magnitude(text: &str) -> Result<(f64, f64), String> {
    text.split_once(',')
        .and_then(|(least, most)| Some((least.trim().parse().ok()?, most.trim().parse().ok()?)))
        .ok_or_else(|| "a magnitude is LEAST,MOST, such as 3,30".to_owned())
}
