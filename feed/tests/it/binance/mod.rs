//! Whatever the exchange, the network or the broker do: every trade once and in order, or a gap
//! record that names it.

mod connections;
mod ids;
mod kafka;
mod refused;

use std::process::Command;

use market::WireGap;
use test_stack::KafkaServer;
use test_stack::program::{Running, until};

use crate::fake::{FIRST_ID, FakeBinance, SYMBOLS, Step};
use crate::support::{assert_whole, feed, gaps, ids, kafka, stopped};

fn command(exchange: &FakeBinance, brokers: &str, prefix: &str) -> Command {
    let mut command = feed();
    command
        .args([
            "binance",
            "--symbols",
            "NEBLBTC,BNBBTC",
            "--brokers",
            brokers,
        ])
        .args(["--topic-prefix", prefix, "--partitions", "3"])
        .args([
            "--ws-url",
            &exchange.ws_url,
            "--rest-url",
            &exchange.rest_url,
        ])
        .args(["--rest-data-url", &exchange.rest_url])
        .args([
            "--backoff",
            "20ms",
            "--patience",
            "100ms",
            "--overlap",
            "100ms",
        ])
        .args(["--give-up-after", "2s", "--linger-ms", "1"])
        .args(["--output", "json", "--quiet"]);
    if let Some(ca) = &exchange.ca {
        command.arg("--ca").arg(ca.path());
    }
    command
}

/// Waits until the topic has every symbol's last trade; then the oracle must hold.
fn check(exchange: &FakeBinance, kafka: &KafkaServer, prefix: &str, first: u64) -> Vec<WireGap> {
    let topic = format!("{prefix}raw-trades");
    until("the last trade of each symbol is in Kafka", || {
        let Ok(records) = kafka.records(&topic) else {
            return false;
        };
        let ids = ids(&records);
        SYMBOLS.iter().all(|symbol| {
            let last = exchange.last_id_of(symbol);
            ids.get(*symbol).is_some_and(|ids| ids.contains(&last))
        })
    });
    let found = ids(&kafka.records(&topic).unwrap());
    let gaps = gaps(&kafka.records(&format!("{prefix}gaps")).unwrap());
    for symbol in SYMBOLS {
        let own: Vec<WireGap> = gaps
            .iter()
            .filter(|gap| gap.symbol == symbol)
            .cloned()
            .collect();
        assert_whole(&found[symbol], &own, first, exchange.last_id_of(symbol));
    }
    gaps
}

/// Plays scripts and checks the oracle; what was recorded, and what the feed said at its end.
fn play(
    prefix: &str,
    exchange: &FakeBinance,
    change: impl FnOnce(&mut Command),
) -> (Vec<WireGap>, serde_json::Value) {
    let kafka = kafka();
    let mut command = command(exchange, &kafka.brokers(), prefix);
    change(&mut command);
    let running = Running::start(&mut command);
    let gaps = check(exchange, &kafka, prefix, FIRST_ID);
    (gaps, stopped(running))
}

fn plain(prefix: &str, scripts: Vec<Vec<Step>>) -> (Vec<WireGap>, serde_json::Value, FakeBinance) {
    let exchange = FakeBinance::start(scripts);
    let (gaps, report) = play(prefix, &exchange, |_| {});
    (gaps, report, exchange)
}
