//! Whatever the exchange, the network or the broker do: every trade once and in order, or a gap
//! record that names it.

use std::process::Command;
use std::time::Duration;

use market::{GapReason, WireGap};
use test_stack::KafkaServer;

use crate::fake::{FIRST_ID, FakeBinance, Reply, SYMBOLS, Step, trade_frame};
use crate::support::{LONG, Running, assert_whole, feed, gaps, ids, kafka, refused, until};

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
    (gaps, running.stop())
}

fn plain(prefix: &str, scripts: Vec<Vec<Step>>) -> (Vec<WireGap>, serde_json::Value, FakeBinance) {
    let exchange = FakeBinance::start(scripts);
    let (gaps, report) = play(prefix, &exchange, |_| {});
    (gaps, report, exchange)
}

use Step::{
    Binary, Close, Ping, Refuse, Reset, Shutdown, Silence, Text, Trades, UntilConnection, Wait,
};

#[test]
fn a_reset_a_close_and_a_refusal_are_survived_and_refilled() {
    let scripts = vec![
        vec![Trades(0..50), Reset],
        vec![Refuse],
        vec![Trades(80..120), Close],
        vec![Trades(100..130), Ping, Trades(130..140), Reset],
    ];
    let (gaps, report, exchange) = plain("reset.", scripts);
    assert_eq!(gaps, []);
    assert!(exchange.n_connections() >= 5);
    assert!(exchange.n_rest() > 0);
    // 100..120 came twice.
    assert!(report["duplicates"].as_u64().unwrap() >= 40, "{report}");
    assert_eq!(report["written"]["trade"].as_u64().unwrap(), 1_200);
}

#[test]
fn a_silent_half_open_socket_is_left() {
    let exchange = FakeBinance::start(vec![vec![Trades(0..20), Ping, Silence]]);
    let (gaps, _) = play("silent.", &exchange, |command| {
        command.args(["--silence", "1s"]);
    });
    assert_eq!(gaps, []);
    assert!(exchange.n_connections() >= 2);
}

#[test]
fn connections_overlap_before_the_cut_and_at_a_shutdown() {
    // The second connection begins while the first goes on, so that nothing must be asked for.
    let scripts = vec![
        vec![
            Trades(0..100),
            UntilConnection(2),
            Trades(100..200),
            Wait(LONG),
        ],
        vec![
            Trades(100..150),
            Trades(150..300),
            Shutdown,
            UntilConnection(3),
            Trades(300..320),
            Wait(LONG),
        ],
        vec![Trades(290..600), Wait(LONG)],
    ];
    let exchange = FakeBinance::start(scripts);
    let (gaps, report) = play("overlap.", &exchange, |command| {
        command.args([
            "--connection-age",
            "2s",
            "--overlap",
            "500ms",
            "--patience",
            "10s",
        ]);
    });
    assert_eq!(gaps, []);
    assert_eq!(exchange.n_rest(), 0, "an overlap loses nothing");
    assert!(report["duplicates"].as_u64().unwrap() > 0);
}

#[test]
fn duplicates_and_swapped_trades_come_out_in_order() {
    let mut script = vec![Trades(0..10)];
    for place in [12, 11, 10, 15, 13, 13, 14, 9, 16, 18, 17] {
        script.push(Trades(place..place + 1));
    }
    script.push(Trades(5..600));
    script.push(Wait(LONG));
    let exchange = FakeBinance::start(vec![script]);
    let (gaps, report) = play("swapped.", &exchange, |command| {
        command.args(["--patience", "10s"]);
    });
    assert_eq!(gaps, []);
    assert_eq!(
        exchange.n_rest(),
        0,
        "what comes by itself is not asked for"
    );
    assert_eq!(report["duplicates"].as_u64().unwrap(), 2 * (2 + 14));
}

#[test]
fn what_the_exchange_lost_is_a_gap_that_names_the_ids() {
    let scripts = vec![vec![
        Trades(0..10),
        Trades(20..40),
        Trades(300..600),
        Wait(LONG),
    ]];
    let lost = [1_012, 1_013, 1_014, 1_100];
    let exchange = FakeBinance::start(scripts).lose(lost);
    // Absence is believed as soon as something later is there, however patient one is.
    let (gaps, report) = play("lost.", &exchange, |command| {
        command.args(["--give-up-after", "10m"]);
    });
    for symbol in SYMBOLS {
        let ids: Vec<(u64, u64)> = gaps
            .iter()
            .filter(|gap| gap.symbol == symbol)
            .map(|gap| (gap.first_id, gap.last_id))
            .collect();
        assert_eq!(ids, [(1_012, 1_014), (1_100, 1_100)]);
    }
    assert!(
        gaps.iter()
            .all(|gap| gap.reason == GapReason::NotAtExchange)
    );
    assert_eq!(
        (&report["gaps"], &report["missing"]),
        (&4.into(), &8.into())
    );
}

#[test]
fn garbage_and_strange_frames_change_nothing() {
    let large = "x".repeat(1 << 20);
    let strange = |text: &str| Text(text.to_owned());
    let script = vec![
        Trades(0..10),
        strange("{"),
        strange(&large),
        strange(&format!(
            r#"{{"stream":"x","data":{{"e":"trade","s":"{large}"}}}}"#
        )),
        Binary(vec![0xff, 0, 1]),
        strange(
            r#"{"stream":"neblbtc@depth","data":{"e":"depthUpdate","s":"NEBLBTC","a":[["1","2"]]}}"#,
        ),
        strange(r#"{"stream":"neblbtc@blockTrade","data":{"e":"blockTrade","s":"NEBLBTC","t":1}}"#),
        strange(
            r#"{"stream":"x","data":{"e":"trade","s":"币安USDT","t":7,"p":"1","q":"1","T":1641142860000,"m":true}}"#,
        ),
        // A trade of ours that is none: it is fetched.
        strange(&trade_frame("NEBLBTC", 10, false).replace("\"p\":\"", "\"p\":\"-")),
        Trades(11..600),
        Wait(LONG),
    ];
    let (gaps, _, exchange) = plain("garbage.", vec![script]);
    assert_eq!(gaps, []);
    assert_eq!(exchange.n_connections(), 1, "no frame is a reason to go");
    assert!(exchange.n_rest() > 0);
}

#[test]
fn a_rest_server_that_says_not_now_is_obeyed() {
    let replies = vec![
        Reply::Status(429, Some(1)),
        Reply::Status(418, Some(2)),
        Reply::Status(500, None),
        Reply::Status(408, None),
        Reply::Garbage,
    ];
    let scripts = vec![vec![Trades(0..10), Trades(500..600), Wait(LONG)]];
    let exchange = FakeBinance::start(scripts).reply(replies);
    let (gaps, _) = play("not-now.", &exchange, |command| {
        command.args(["--give-up-after", "60s"]);
    });
    assert_eq!(gaps, []);
    let asked = exchange.asked();
    assert!(asked[1] - asked[0] >= Duration::from_secs(1));
    assert!(asked[2] - asked[1] >= Duration::from_secs(2));
}

#[test]
fn a_rest_server_that_fails_leaves_a_gap_and_a_gap_that_is_too_large_too() {
    let scripts = vec![vec![
        Trades(0..10),
        Trades(20..30),
        Trades(590..600),
        Wait(LONG),
    ]];
    let replies = vec![Reply::Status(500, None); 20];
    let exchange = FakeBinance::start(scripts).reply(replies);
    let (gaps, _) = play("failing.", &exchange, |command| {
        command.args(["--largest-gap", "100"]);
    });
    let count = |reason| gaps.iter().filter(|gap| gap.reason == reason).count();
    assert_eq!(count(GapReason::Unreachable), 2, "{gaps:?}");
    assert_eq!(count(GapReason::TooLarge), 2, "{gaps:?}");
}

#[test]
fn over_tls_with_an_authority_of_our_own_in_microseconds() {
    let scripts = vec![vec![Trades(0..50), Reset]];
    let exchange = FakeBinance::start_with(scripts, true).in_micros();
    let (gaps, _) = play("tls.", &exchange, |_| {});
    assert_eq!(gaps, []);
    // Without it nobody is trusted.
    let kafka = kafka();
    let command = command(&exchange, &kafka.brokers(), "tls-no.");
    let arguments: Vec<String> = command
        .get_args()
        .map(|argument| argument.to_string_lossy().into_owned())
        .collect();
    let at = arguments
        .iter()
        .position(|argument| argument == "--ca")
        .unwrap();
    let mut untrusting = feed();
    untrusting.args(&arguments[..at]);
    refused(&mut untrusting, 2, &["can't be asked for its symbols"]);
}

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

#[test]
fn many_streams_are_spread_and_subscribed_to_slowly() {
    let exchange = FakeBinance::start(Vec::new());
    exchange.set_n_trades(5);
    let many: Vec<String> = (0..448).map(|n| format!("MANY{n}")).collect();
    let (_, _) = play("spread.", &exchange, |command| {
        let symbols = format!("NEBLBTC,{},BNBBTC", many.join(","));
        command.args([
            "--symbols",
            &symbols,
            "--streams",
            "trade,aggTrade,kline_1m",
        ]);
    });
    // 1350 streams by two connections, in batches; the fake ends whoever sends more than it may.
    assert_eq!(exchange.n_connections(), 2);
    assert_eq!(exchange.n_hasty(), 0);
    let subscriptions = exchange.subscriptions();
    let n_names: Vec<usize> = subscriptions.iter().map(|(_, n_names)| *n_names).collect();
    assert_eq!(n_names.iter().sum::<usize>(), 450 * 3);
    assert_eq!(n_names.len(), 8);
}

#[test]
fn a_stop_during_an_overlap_ends_both_connections() {
    let scripts = vec![
        vec![Trades(0..100), Wait(LONG)],
        vec![Trades(90..600), Wait(LONG)],
    ];
    let exchange = FakeBinance::start(scripts);
    let began = std::time::Instant::now();
    let (gaps, _) = play("stopped.", &exchange, |command| {
        command.args(["--connection-age", "1s", "--overlap", "10m"]);
    });
    assert_eq!((gaps, exchange.n_connections()), (Vec::new(), 2));
    // It didn't wait for the overlap's end, nor for Kafka's.
    assert!(began.elapsed() < 2 * LONG);
}

#[test]
fn while_a_replacement_fails_the_old_connection_goes_on() {
    let scripts = vec![
        vec![
            Trades(0..100),
            UntilConnection(4),
            Trades(100..150),
            Wait(LONG),
        ],
        vec![Refuse],
        vec![Refuse],
        vec![Trades(120..600), Wait(LONG)],
    ];
    let exchange = FakeBinance::start(scripts);
    let (gaps, report) = play("replaced.", &exchange, |command| {
        command.args(["--connection-age", "1s", "--patience", "20s"]);
    });
    assert_eq!(gaps, []);
    assert_eq!(
        exchange.n_rest(),
        0,
        "the old connection was left: {report}"
    );
}

#[test]
fn a_subscription_that_is_never_confirmed_is_left_in_spite_of_pings() {
    let exchange = FakeBinance::start(vec![
        vec![Step::Ignore, Wait(LONG)],
        vec![Trades(0..600), Wait(LONG)],
    ]);
    let (gaps, _) = play("ignored.", &exchange, |command| {
        command.args(["--silence", "5s"]);
    });
    assert_eq!((gaps, exchange.n_connections()), (Vec::new(), 2));
}

#[test]
fn a_rest_server_that_lags_is_waited_for() {
    let scripts = vec![vec![Trades(0..10), Trades(500..600), Wait(LONG)]];
    let exchange = FakeBinance::start(scripts).reply(vec![Reply::Empty; 6]);
    let (gaps, _) = play("lags.", &exchange, |command| {
        command.args(["--give-up-after", "60s"]);
    });
    assert_eq!(gaps, []);
    // What it never has is not called missing at the exchange.
    let scripts = vec![vec![Trades(0..10), Trades(500..600), Wait(LONG)]];
    let exchange = FakeBinance::start(scripts).reply(vec![Reply::Empty; 100]);
    let (gaps, _) = play("lags-long.", &exchange, |command| {
        command.args(["--give-up-after", "1s"]);
    });
    assert_eq!(gaps.len(), 2);
    assert!(gaps.iter().all(|gap| gap.reason == GapReason::Unreachable));
}

#[test]
fn one_wrong_id_changes_nothing() {
    let wrong = trade_frame("NEBLBTC", 10, false).replace("\"t\":1010", "\"t\":1000000000000000");
    assert!(wrong.contains("1000000000000000"));
    let overflow = wrong.replace("1000000000000000", "18446744073709551615");
    let script = vec![
        Trades(0..10),
        Text(wrong),
        Text(overflow),
        Trades(10..600),
        Wait(LONG),
    ];
    let (gaps, _, exchange) = plain("wrong-id.", vec![script]);
    assert_eq!((gaps, exchange.n_rest()), (Vec::new(), 0));
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
    crate::support::done(&mut replay);
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

#[test]
fn what_cannot_work_is_said_before_anything_starts() {
    let kafka = kafka();
    let exchange = FakeBinance::start(Vec::new());
    let brokers = kafka.brokers();
    let mut unknown = {
        let mut command = feed();
        command
            .args([
                "binance",
                "--symbols",
                "NEBLBTC,NOSUCH",
                "--brokers",
                &brokers,
            ])
            .args([
                "--ws-url",
                &exchange.ws_url,
                "--rest-url",
                &exchange.rest_url,
            ])
            .args(["--rest-data-url", &exchange.rest_url]);
        command
    };
    refused(&mut unknown, 1, &["Binance doesn't know `NOSUCH`"]);
    let resting = FakeBinance::start(Vec::new()).at_rest();
    refused(
        &mut command(&resting, &brokers, "x."),
        1,
        &["`NEBLBTC` is not traded now: its status is `BREAK`"],
    );
    let barred = FakeBinance::start(Vec::new()).barred();
    refused(
        &mut command(&barred, &brokers, "x."),
        2,
        &["could not be fetched again", "status 451", "--rest-url"],
    );
    for (option, value) in [
        ("--rest-url", "https://user:hunter2@localhost"),
        ("--kafka", "sasl.password=hunter2"),
        ("--kafka", "delivery.timeout.ms=1"),
        ("--kafka", "security.protocol=ssl"),
    ] {
        let mut command = command(&exchange, &brokers, "x.");
        let output = command.args([option, value]).output().unwrap();
        let said = crate::support::said(&output);
        assert_eq!(output.status.code(), Some(2), "{said}");
        assert!(!said.contains("hunter2"), "{said}");
    }
    kafka.create_topic("wrong.raw-trades", 2).unwrap();
    refused(
        &mut command(&exchange, &brokers, "wrong."),
        1,
        &["`wrong.raw-trades` has 2 partitions, not 3"],
    );
    refused(
        &mut command(&exchange, "127.0.0.1:1", "x."),
        2,
        &["no Kafka broker answers at `127.0.0.1:1`"],
    );
    assert_eq!(exchange.n_connections(), 0);
}

#[test]
fn aggregate_trades_and_candles_are_whole_in_topics_of_their_own() {
    let kafka = kafka();
    let minute = |n: u64, closed: bool| {
        let open = 1_641_142_860_000 + n * 60_000;
        Text(format!(
            r#"{{"stream":"neblbtc@kline_1m","data":{{"e":"kline","E":{open},"s":"NEBLBTC","k":{{"t":{open},"T":{},"s":"NEBLBTC","i":"1m","f":1,"L":2,"o":"1.0","c":"2.0","h":"2.5","l":"0.5","v":"10","n":3,"x":{closed},"q":"15","V":"4","Q":"6","B":"0"}}}}}}"#,
            open + 59_999
        ))
    };
    let aggregate = |id: u64| {
        Text(format!(
            r#"{{"stream":"neblbtc@aggTrade","data":{{"e":"aggTrade","E":1,"s":"NEBLBTC","a":{id},"p":"1.5","q":"2","f":1,"l":2,"T":1641142860000,"m":false,"M":true}}}}"#
        ))
    };
    let script = vec![
        minute(0, false),
        minute(0, true),
        aggregate(50),
        aggregate(53),
        minute(1, false),
        // Two minutes and two ids are lost.
        minute(3, true),
        minute(3, true),
        Trades(0..600),
        Wait(LONG),
    ];
    let exchange = FakeBinance::start(vec![script]);
    let mut command = command(&exchange, &kafka.brokers(), "kinds.");
    command.args([
        "--symbols",
        "NEBLBTC",
        "--streams",
        "trade,aggTrade,kline_1m",
    ]);
    let running = Running::start(&mut command);
    let candles = || -> Vec<market::WireCandle> {
        let records = kafka.records("kinds.kline-1m").unwrap_or_default();
        records
            .iter()
            .map(|record| serde_json::from_slice(&record.value).unwrap())
            .collect()
    };
    until("every candle is there", || candles().len() >= 4);
    until("every aggregate trade is there", || {
        kafka
            .records("kinds.agg-trades")
            .is_ok_and(|records| records.len() >= 4)
    });
    until("every trade is there", || {
        kafka
            .records("kinds.raw-trades")
            .is_ok_and(|records| records.len() >= 600)
    });
    let report = running.stop();
    let times: Vec<i64> = candles().iter().map(|candle| candle.open_time).collect();
    let first = 1_641_142_860_000_000;
    assert_eq!(times, [0, 1, 2, 3].map(|n| first + n * 60_000_000));
    assert!(
        candles()
            .iter()
            .all(|candle| candle.interval == "1m" && candle.trade_count == Some(3))
    );
    let aggregates = ids(&kafka.records("kinds.agg-trades").unwrap());
    assert_eq!(aggregates["NEBLBTC"], [50, 51, 52, 53]);
    assert_eq!(report["written"]["kline_1m"], 4);
    assert_eq!(report["gaps"], 0, "{report}");
}
