//! Feeds and brokers that end, and what the topics hold then.

use std::process::Command;
use std::time::Duration;

use market::WireGap;
use test_stack::KafkaServer;
use test_stack::program::{LONG, Running, done, until};

use super::Step::{Text, Trades, Wait};
use super::{check, command};
use crate::fake::{FIRST_ID, FakeBinance, SYMBOLS};
use crate::support::{assert_positions_in_same_transaction, assert_whole, feed, ids, kafka};

#[test]
fn a_feed_that_was_killed_goes_on_where_the_topic_ends() {
    let kafka = kafka();
    let exchange = FakeBinance::start(vec![vec![Trades(0..100), Wait(LONG)]]);
    exchange.set_n_trades(100);
    let running = Running::start(&mut command(&exchange, &kafka.brokers(), "killed."));
    check(&exchange, &kafka, "killed.", FIRST_ID);
    running.kill();
    // Meanwhile trading goes on.
    exchange.set_n_trades(600);
    let running = Running::start(&mut command(&exchange, &kafka.brokers(), "killed."));
    let gaps = check(&exchange, &kafka, "killed.", FIRST_ID);
    assert_eq!(gaps, []);
    running.stop();
}

#[test]
fn what_is_written_and_where_its_symbols_stand_are_one_transaction() {
    let kafka = kafka();
    let lost = [1_012, 1_100];
    let scripts = vec![vec![
        Trades(0..10),
        Trades(20..40),
        Trades(300..600),
        Wait(LONG),
    ]];
    let exchange = FakeBinance::start(scripts).lose(lost);
    let running = Running::start(&mut command(&exchange, &kafka.brokers(), "as-one."));
    check(&exchange, &kafka, "as-one.", FIRST_ID);
    running.stop();
    for topic in ["raw-trades", "gaps"] {
        assert_positions_in_same_transaction(&kafka, "as-one.", topic);
    }
}

/// The broker is away for half a minute while the market goes on.
fn while_away(prefix: &str, change: impl FnOnce(&mut Command)) -> Vec<WireGap> {
    let mut kafka = KafkaServer::start().unwrap();
    let exchange = FakeBinance::start(vec![vec![Trades(0..50), Wait(LONG)]]);
    exchange.set_n_trades(50);
    let mut command = command(&exchange, &kafka.brokers(), prefix);
    command.args(["--silence", "3s", "--give-up-after", "2m"]);
    change(&mut command);
    let running = Running::start(&mut command);
    check(&exchange, &kafka, prefix, FIRST_ID);
    kafka.kill().unwrap();
    // The first connection knows nothing of it.
    for n_trades in (100..=20_000).step_by(664) {
        exchange.set_n_trades(n_trades);
        std::thread::sleep(Duration::from_secs(1));
    }
    kafka.restart().unwrap();
    exchange.set_n_trades(20_001);
    let gaps = check(&exchange, &kafka, prefix, FIRST_ID);
    running.stop();
    gaps
}

#[test]
fn while_the_broker_is_away_nothing_is_lost() {
    let gaps = while_away("away.", |command| {
        // So little that the queue is full at once.
        command.args(["--buffer", "8KiB"]);
        command.args([
            "--kafka",
            "queue.buffering.max.messages=20",
            "--kafka",
            "batch.num.messages=10",
        ]);
    });
    assert_eq!(gaps, []);
}

#[test]
fn a_transaction_that_the_broker_ended_is_written_again() {
    let gaps = while_away("ended.", |command| {
        command.args(["--transaction-timeout", "2s"]);
    });
    assert_eq!(gaps, []);
}

/// One partition, in which one symbol trades all the time and the other hardly ever.
#[test]
fn a_feed_that_is_killed_in_mid_flow_again_and_again_loses_and_doubles_nothing() {
    let kafka = kafka();
    let exchange = FakeBinance::start(Vec::new());
    exchange.set_n_trades(10);
    exchange.set_quiet("BNBBTC", 5);
    let start = || {
        let mut command = command(&exchange, &kafka.brokers(), "mid-flow.");
        command.args(["--partitions", "1"]);
        Running::start(&mut command)
    };
    let first = FIRST_ID + 5;
    let n_records = || {
        kafka
            .records("mid-flow.raw-trades")
            .map_or(0, |records| records.len())
    };
    let mut running = start();
    until("it has begun", || n_records() >= 10);
    let mut n_trades = 10;
    for round in 0..5 {
        let n_before = n_records();
        until("a good deal was written", || {
            n_trades += 150;
            exchange.set_n_trades(n_trades);
            n_records() > n_before + 1_000
        });
        running.kill();
        // The quiet one trades while nobody listens.
        exchange.set_quiet("BNBBTC", 5 + 8 * (round + 1));
        n_trades += 500;
        exchange.set_n_trades(n_trades);
        running = start();
    }
    let last = |symbol| exchange.last_id_of(symbol);
    until("everything is there", || {
        let ids = ids(&kafka.records("mid-flow.raw-trades").unwrap());
        SYMBOLS
            .iter()
            .all(|symbol| ids[*symbol].contains(&last(symbol)))
    });
    running.stop();
    let found = ids(&kafka.records("mid-flow.raw-trades").unwrap());
    assert_whole(&found["NEBLBTC"], &[], first, last("NEBLBTC"));
    assert_whole(&found["BNBBTC"], &[], FIRST_ID, last("BNBBTC"));
    assert_eq!(kafka.records("mid-flow.gaps").unwrap().len(), 0);
}

#[test]
fn a_second_feed_of_the_same_name_takes_the_first_ones_place() {
    let kafka = kafka();
    let exchange = FakeBinance::start(Vec::new());
    exchange.set_n_trades(5);
    let start = || Running::start(&mut command(&exchange, &kafka.brokers(), "two-feeds."));
    let first = start();
    check(&exchange, &kafka, "two-feeds.", FIRST_ID);
    let second = start();
    until("the second one listens", || exchange.n_connections() == 2);
    // Both hear the same.
    for n_trades in (10..=600).step_by(10) {
        exchange.set_n_trades(n_trades);
        std::thread::sleep(Duration::from_millis(5));
    }
    assert_eq!(first.ended(), Some(1), "two write at once");
    let gaps = check(&exchange, &kafka, "two-feeds.", FIRST_ID);
    assert_eq!(gaps, []);
    second.stop();
}

#[test]
fn what_others_wrote_into_the_topic_is_not_taken_for_ours() {
    let kafka = kafka();
    let brokers = kafka.brokers();
    // The same symbol's trades with later ids, of a file.
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("NEBLBTC-later.csv");
    let rows = (0..50).map(|n| format!("{},1.0,1.0,1.0,1641142860000,True,True\n", 5_000 + n));
    std::fs::write(&file, rows.collect::<String>()).unwrap();
    let mut replay = feed();
    replay
        .arg("replay")
        .arg(&file)
        .args(["--brokers", &brokers]);
    replay.args([
        "--topic-prefix",
        "mixed.",
        "--partitions",
        "3",
        "--speed",
        "max",
    ]);
    done(&mut replay);
    let exchange = FakeBinance::start(vec![vec![Trades(0..600), Wait(LONG)]]);
    let command_of = |streams: &str| {
        let mut command = command(&exchange, &brokers, "mixed.");
        command.args(["--symbols", "NEBLBTC", "--streams", streams]);
        command
    };
    let ours = || -> Vec<u64> {
        let records = kafka.records("mixed.raw-trades").unwrap();
        let all = ids(&records)["NEBLBTC"].clone();
        all.into_iter().filter(|id| *id < 5_000).collect()
    };
    let running = Running::start(&mut command_of("trade"));
    until("every trade is there", || ours().len() == 600);
    assert_eq!(ours(), (FIRST_ID..FIRST_ID + 600).collect::<Vec<_>>());
    // Aggregate trades have ids of their own, and go into the same topic.
    running.stop();
    let aggregate = |id: u64| {
        Text(format!(
            r#"{{"stream":"neblbtc@aggTrade","data":{{"e":"aggTrade","E":1,"s":"NEBLBTC","a":{id},"p":"1.5","q":"2","f":1,"l":2,"T":1641142860000,"m":false,"M":true}}}}"#
        ))
    };
    let exchange = FakeBinance::start(vec![vec![aggregate(7), aggregate(8), Wait(LONG)]]);
    let mut command = command(&exchange, &brokers, "mixed.");
    command.args(["--symbols", "NEBLBTC", "--streams", "aggTrade"]);
    let running = Running::start(&mut command);
    until("both are there", || ours().ends_with(&[7, 8]));
    running.stop();
}

#[test]
fn more_partitions_move_symbols_but_double_nothing() {
    let kafka = kafka();
    kafka.create_topic("raised.raw-trades", 1).unwrap();
    let exchange = FakeBinance::start(Vec::new());
    let start = |n_partitions: &str| {
        let mut command = command(&exchange, &kafka.brokers(), "raised.");
        command.args(["--partitions", n_partitions]);
        Running::start(&mut command)
    };
    exchange.set_n_trades(5);
    kafka.create_topic("raised.gaps", 1).unwrap();
    let running = start("1");
    let found = |symbol: &str| {
        let mut found = ids(&kafka.records("raised.raw-trades").unwrap())
            .remove(symbol)
            .unwrap_or_default();
        found.sort_unstable();
        found
    };
    let is_whole = |n: u64| {
        let all: Vec<u64> = (FIRST_ID..FIRST_ID + n).collect();
        SYMBOLS.iter().all(|symbol| found(symbol) == all)
    };
    until("the first ones are there", || is_whole(5));
    running.stop();
    add_partitions(&kafka, &["raised.raw-trades", "raised.gaps"], 7);
    exchange.set_n_trades(100);
    let running = start("7");
    until("the next ones are there", || is_whole(100));
    running.kill();
    exchange.set_n_trades(300);
    let running = start("7");
    until("all are there", || is_whole(300));
    running.stop();
    assert!(is_whole(300));
}

fn add_partitions(kafka: &KafkaServer, topics: &[&str], n_partitions: usize) {
    use rdkafka::admin::{AdminClient, AdminOptions, NewPartitions};
    let admin: AdminClient<rdkafka::client::DefaultClientContext> = rdkafka::ClientConfig::new()
        .set("bootstrap.servers", kafka.brokers())
        .create()
        .unwrap();
    let runtime = tokio::runtime::Runtime::new().unwrap();
    for topic in topics {
        let more = NewPartitions::new(topic, n_partitions);
        let made = runtime.block_on(admin.create_partitions([&more], &AdminOptions::new()));
        assert!(made.unwrap().iter().all(Result::is_ok));
    }
}
