//! Ids that are missing, doubled, swapped or wrong, and what REST says of them.

use std::time::Duration;

use market::GapReason;
use test_stack::program::{LONG, Running, until};

use super::Step::{Binary, Text, Trades, Wait};
use super::{command, plain, play};
use crate::fake::{FakeBinance, Reply, SYMBOLS, trade_frame};
use crate::support::{ids, kafka, stopped};

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

/// The firewall before the exchange answers 403 to who asked too much; who goes on is banned.
#[test]
fn a_firewall_that_shuts_us_out_is_left_alone_and_asked_again() {
    let script = || vec![vec![Trades(0..10), Trades(500..600), Wait(LONG)]];
    let exchange = FakeBinance::start(script()).reply(vec![Reply::Status(403, None)]);
    let (gaps, _) = play("firewall.", &exchange, |command| {
        command.args(["--give-up-after", "3s"]);
    });
    assert_eq!(gaps, []);
    let asked = exchange.asked();
    assert!(asked[1] - asked[0] >= Duration::from_secs(3));
    // One that stays is no answer: what it hides isn't called missing at the exchange.
    let exchange = FakeBinance::start(script()).reply(vec![Reply::Status(403, None); 100]);
    let (gaps, _) = play("firewall-long.", &exchange, |command| {
        command.args(["--give-up-after", "1s"]);
    });
    assert_eq!(gaps.len(), 2, "{gaps:?}");
    assert!(gaps.iter().all(|gap| gap.reason == GapReason::Unreachable));
    assert!(
        gaps.iter().all(|gap| gap.detail.contains("403")),
        "{gaps:?}"
    );
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
    let report = stopped(running);
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
