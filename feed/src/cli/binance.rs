//! `feed binance`

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, Result};
use clap::Args;
use market::Topic;
use terminal::exit::{CommandResult, Environment, ExitStatus};
use terminal::output::{self, OutputArgs, Render};
use terminal::progress::{Progress, plural};
use tokio::runtime::Runtime;

use super::Context;
use super::check::{Finding, kafka_findings, probe};
use crate::address::check_base;
use crate::binance::{self, BinanceSettings, Report, Streams, symbols_of};
use crate::kafka::KafkaArgs;
use crate::telemetry::{Telemetry, TelemetryArgs};
use crate::time::parse_duration;

pub(super) const HELP: &str = "\
Every trade of each symbol goes into `raw-trades` once and in the order of its id. What a connection
lost is fetched by REST before later trades pass; what can't be had is recorded in the topic `gaps`.
All of it is written in transactions (read it with isolation.level=read_committed), with the topic
`feed-positions`: a feed that starts again goes on just where the last transaction ended, and ends
the feed of the same --instance that still runs.

Examples:
  feed binance --symbols BTCUSDT,ETHUSDT --brokers localhost:9092
  feed binance --symbols BTCUSDT --streams trade,kline_1m --partitions 12 --listen 0.0.0.0:9101 \\
      --brokers kafka-1:9092,kafka-2:9092";

/// `feed binance`
#[derive(Debug, Clone, Args)]
pub(super) struct BinanceArgs {
    /// The symbols.
    #[arg(long, env = "FEED_SYMBOLS", value_name = "SYMBOL,…")]
    symbols: String,
    /// Streams of each symbol: trade, aggTrade, kline_1m.
    #[arg(
        long,
        env = "FEED_STREAMS",
        value_name = "STREAM,…",
        default_value = "trade"
    )]
    streams: Streams,
    #[command(flatten)]
    pub(super) kafka: KafkaArgs,
    #[command(flatten)]
    transactions: TransactionArgs,
    #[command(flatten)]
    exchange: ExchangeArgs,
    #[command(flatten)]
    pub(super) telemetry: TelemetryArgs,
    #[command(flatten)]
    pub(super) output: OutputArgs,
}

#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Transactions")]
struct TransactionArgs {
    /// Of one name (and topic prefix) there is one feed at a time: a new one ends the old one. Feeds
    /// beside each other need names and symbols of their own.
    #[arg(
        long,
        env = "FEED_INSTANCE",
        value_name = "NAME",
        default_value = "feed"
    )]
    instance: String,
    /// How often what was received is committed.
    #[arg(long, value_name = "DURATION", default_value = "100ms", value_parser = duration)]
    commit_every: Duration,
    /// A transaction that lasts longer is ended by the brokers; what it held is fetched again.
    #[arg(long, value_name = "DURATION", default_value = "60s", value_parser = duration)]
    transaction_timeout: Duration,
}

#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Exchange")]
struct ExchangeArgs {
    /// Where WebSockets are opened.
    #[arg(
        long,
        env = "FEED_WS_URL",
        value_name = "URL",
        default_value = "wss://data-stream.binance.vision"
    )]
    ws_url: String,
    /// Where missing trades are asked for.
    #[arg(
        long,
        env = "FEED_REST_URL",
        value_name = "URL",
        default_value = "https://api.binance.com"
    )]
    rest_url: String,
    /// Where aggregate trades, candles and symbols are asked for.
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
    /// Streams of one connection.
    #[arg(long, value_name = "N", default_value = "1024", value_parser = clap::value_parser!(u16).range(1..=1024))]
    streams_per_connection: u16,
    /// Replace connections at this age; the exchange cuts them after 24 hours.
    #[arg(long, value_name = "DURATION", default_value = "23h50m", value_parser = duration)]
    connection_age: Duration,
    /// How long the old connection is kept beside the new one.
    #[arg(long, value_name = "DURATION", default_value = "5s", value_parser = duration)]
    overlap: Duration,
    /// A connection without any frame for so long is dead; the exchange pings every 20 seconds.
    #[arg(long, value_name = "DURATION", default_value = "60s", value_parser = duration)]
    silence: Duration,
    /// The shortest wait before a connection is tried again; it grows to a hundred times as much.
    #[arg(long, value_name = "DURATION", default_value = "500ms", value_parser = duration)]
    backoff: Duration,
    /// Connections that may be opened in 5 minutes; the exchange's limit is 300.
    #[arg(long, value_name = "N", default_value = "250", value_parser = clap::value_parser!(u16).range(1..=300))]
    connects: u16,
    /// Weight of REST requests in a minute; the exchange's limit is 6000.
    #[arg(long, value_name = "N", default_value = "4000", value_parser = clap::value_parser!(u32).range(25..=6000))]
    rest_weight: u32,
    /// Missing ids that can't be fetched for so long are recorded as a gap.
    #[arg(long, value_name = "DURATION", default_value = "10m", value_parser = duration)]
    give_up_after: Duration,
    /// How long a missing id is waited for before it is asked for.
    #[arg(long, value_name = "DURATION", default_value = "500ms", value_parser = duration)]
    patience: Duration,
    /// The most ids of one gap that are fetched; a larger one is recorded.
    #[arg(long, value_name = "N", default_value = "500000")]
    largest_gap: u64,
}

impl Render for Report {
    fn render_table(&self) -> String {
        let written: Vec<String> = self
            .written
            .iter()
            .map(|(stream, n)| format!("{n} of {stream}"))
            .collect();
        let mut text = format!(
            "written: {}; dropped {}",
            if written.is_empty() {
                "nothing".to_owned()
            } else {
                written.join(", ")
            },
            plural(self.duplicates, "duplicate"),
        );
        if self.gaps > 0 {
            text += &format!(
                "; recorded {} of {}",
                plural(self.gaps, "gap"),
                plural(self.missing, "id")
            );
        }
        if !self.is_settled {
            text += "\nsome events still waited for missing ones; the next start fetches both";
        }
        text
    }
}

pub(super) fn run(args: &BinanceArgs) -> CommandResult {
    let settings = args.settings()?;
    let kafka = args
        .kafka
        .settings()?
        .context(Environment("where to? Give --brokers HOST:PORT".to_owned()))?;
    let context = Context::new(&args.telemetry)?;
    let progress = Progress::new(args.output.quiet);
    let report = context.runtime.block_on(binance::run(
        &settings,
        &kafka,
        &context.interrupt,
        &context.telemetry,
        || {
            progress.note(&format!(
                "listening to {} at {}",
                plural(settings.symbols.len() as u64, "symbol"),
                settings.websocket
            ));
        },
    ))?;
    output::print(&report, args.output.output)?;
    Ok(ExitStatus::Done)
}

impl BinanceArgs {
    pub(super) fn findings(&self, runtime: &Runtime) -> Vec<Finding> {
        let settings = match self.settings() {
            Ok(settings) => settings,
            Err(error) => return vec![Finding::of("settings", Err(error))],
        };
        let streams = settings.symbols.len() * settings.streams.kinds().len();
        let connections = streams.div_ceil(settings.streams_per_connection);
        let plan = format!(
            "{} by {}",
            plural(streams as u64, "stream"),
            plural(connections as u64, "connection")
        );
        let mut findings = vec![Finding::of("subscriptions", Ok(plan))];
        let telemetry = Arc::new(Telemetry::default());
        let probes = probe(runtime, binance::probe(&settings, &telemetry));
        findings.extend(
            probes
                .into_iter()
                .map(|(what, found)| Finding::of(what, found)),
        );
        let kinds = settings.streams.kinds().iter();
        let mut topics: Vec<Topic> = kinds.map(|kind| settings.streams.topic(*kind)).collect();
        topics.extend([Topic::Gaps, Topic::FeedPositions]);
        findings.extend(kafka_findings(&self.kafka, &topics));
        findings
    }

    pub(super) fn settings(&self) -> Result<BinanceSettings> {
        let exchange = &self.exchange;
        for (option, url) in [
            ("--ws-url", &exchange.ws_url),
            ("--rest-url", &exchange.rest_url),
            ("--rest-data-url", &exchange.rest_data_url),
        ] {
            check_base(option, url)?;
        }
        let ca = match &exchange.ca {
            Some(path) => Some(std::fs::read(path).with_context(|| {
                Environment(format!("could not read --ca `{}`", path.display()))
            })?),
            None => None,
        };
        Ok(BinanceSettings {
            symbols: symbols_of(&self.symbols).map_err(|error| Environment(error.to_string()))?,
            streams: self.streams.clone(),
            websocket: exchange.ws_url.clone(),
            rest: exchange.rest_url.clone(),
            rest_data: exchange.rest_data_url.clone(),
            ca,
            streams_per_connection: usize::from(exchange.streams_per_connection),
            connection_age: exchange.connection_age,
            overlap: exchange.overlap,
            silence: exchange.silence,
            backoff: (exchange.backoff, exchange.backoff * 100),
            connects_per_5m: usize::from(exchange.connects),
            weight_per_minute: exchange.rest_weight,
            patience: exchange.patience,
            give_up_after: exchange.give_up_after,
            largest_gap: exchange.largest_gap.max(1),
            most_waiting: MOST_WAITING,
            most_passed: usize::try_from(self.kafka.buffer / EVENT)
                .unwrap_or(usize::MAX)
                .max(1),
            commit_every: self.transactions.commit_every,
            transaction_timeout: self.transactions.transaction_timeout,
            instance: self.transactions.instance.clone(),
        })
    }
}

/// Events of all symbols that wait for a gap: less than 100 MB.
const MOST_WAITING: usize = 500_000;
/// An event's share of `--buffer`, in bytes.
const EVENT: u64 = 256;

fn duration(text: &str) -> Result<Duration, String> {
    let micros = parse_duration(text)?;
    Ok(Duration::from_micros(micros.unsigned_abs()))
}
