//! Connections that end, overlap, stay silent or come too many.

use test_stack::program::{LONG, refused};

use super::Step::{Close, Ping, Refuse, Reset, Shutdown, Silence, Trades, UntilConnection, Wait};
use super::{command, plain, play};
use crate::fake::{FakeBinance, Step};
use crate::support::{feed, kafka};

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
    assert_eq!(gaps, []);
    // The second one may be silent, too, before all is in Kafka.
    assert!(exchange.n_connections() >= 2);
}
