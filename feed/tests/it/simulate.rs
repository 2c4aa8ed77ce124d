//! `feed simulate`

use std::collections::BTreeSet;

use market::parse_trade;
use test_stack::program::{Running, done, refused, until};

use crate::support::{feed, ids, kafka, stopped};

#[test]
fn the_same_seed_gives_the_same_bytes_into_files_and_kafka() {
    let folder = tempfile::tempdir().unwrap();
    let kafka = kafka();
    let run = |to: &[&str], seed: &str| {
        let mut command = feed();
        command
            .args([
                "simulate",
                "--symbols",
                "3",
                "--rate",
                "500",
                "--speed",
                "max",
            ])
            .args([
                "--count",
                "50000",
                "--anomalies",
                "2000",
                "--quiet",
                "--seed",
                seed,
            ])
            .args(to);
        done(&mut command);
    };
    let file = |name: &str| folder.path().join(name).to_string_lossy().into_owned();
    run(&["--out", &file("a")], "1");
    run(&["--out", &file("b")], "1");
    run(&["--out", &file("c")], "2");
    let read = |name: &str| std::fs::read_to_string(folder.path().join(name)).unwrap();
    assert!(read("a") == read("b"));
    assert!(read("a") != read("c"));
    let brokers = kafka.brokers();
    run(
        &[
            "--brokers",
            &brokers,
            "--topic-prefix",
            "sim.",
            "--compression",
            "zstd",
        ],
        "1",
    );
    let records = kafka.records("sim.raw-trades").unwrap();
    let in_kafka: BTreeSet<&[u8]> = records
        .iter()
        .map(|record| record.value.as_slice())
        .collect();
    let text = read("a");
    let in_file: BTreeSet<&[u8]> = text.lines().map(str::as_bytes).collect();
    assert!(in_kafka == in_file);
    assert_eq!(records.len(), 50_000);
    for ids in ids(&records).values() {
        let expected: Vec<u64> = (1..=ids.len() as u64).collect();
        assert_eq!(*ids, expected);
    }
}

#[test]
fn anomalies_are_labelled_and_trades_are_on_their_steps() {
    let mut command = feed();
    command
        .args([
            "simulate",
            "--symbols",
            "BTCUSDT",
            "--rate",
            "5",
            "--speed",
            "max",
        ])
        .args([
            "--duration",
            "1d",
            "--anomalies",
            "100",
            "--out",
            "-",
            "--quiet",
        ]);
    let output = done(&mut command);
    let text = String::from_utf8(output.stdout).unwrap();
    let mut labels = BTreeSet::new();
    let (mut last_time, mut n_labelled, mut n_trades) = (0, 0, 0);
    for line in text.lines() {
        let trade = parse_trade(line.as_bytes(), None).unwrap();
        assert!(trade.event_time >= last_time);
        last_time = trade.event_time;
        let cents = trade.price / 0.01;
        assert!((cents - cents.round()).abs() < 1e-4, "{}", trade.price);
        let lots = trade.quantity / 0.000_01;
        assert!((lots - lots.round()).abs() < 1e-4, "{}", trade.quantity);
        n_trades += 1;
        if let Some(label) = trade.label {
            n_labelled += 1;
            labels.insert(label.into_owned());
        }
    }
    let kinds = [
        "flash_crash",
        "liquidity_gap",
        "price_spike",
        "pump_and_dump",
        "volume_spike",
        "wash_trading",
    ];
    assert_eq!(labels.into_iter().collect::<Vec<_>>(), kinds);
    assert!(n_labelled * 3 < n_trades, "{n_labelled} of {n_trades}");
}

#[test]
fn a_regime_change_changes_the_market() {
    let run = |change: &[&str]| {
        let mut command = feed();
        command
            .args([
                "simulate",
                "--symbols",
                "ETHUSDT",
                "--rate",
                "2",
                "--speed",
                "max",
            ])
            .args([
                "--duration",
                "8h",
                "--anomalies",
                "0",
                "--out",
                "-",
                "--quiet",
            ])
            .args(change);
        let output = done(&mut command);
        let text = String::from_utf8(output.stdout).unwrap();
        let trades: Vec<(i64, f64, f64)> = text
            .lines()
            .map(|line| {
                let trade = parse_trade(line.as_bytes(), None).unwrap();
                (trade.event_time, trade.price, trade.quantity)
            })
            .collect();
        trades
    };
    let usual = run(&[]);
    let changed = run(&["--regime-change", "4h:volatility=5,activity=3,size=4"]);
    let middle = 1_704_067_200_000_000 + 4 * 3_600_000_000;
    let before = |trades: &[(i64, f64, f64)]| trades.iter().filter(|t| t.0 < middle).count();
    let n_before = before(&usual);
    assert_eq!(usual[..n_before], changed[..n_before]);
    let (usual, changed) = (&usual[n_before..], &changed[n_before..]);
    let ratio = changed.len() as f64 / usual.len() as f64;
    assert!((2.0..4.5).contains(&ratio), "{ratio}");
    let mean =
        |trades: &[(i64, f64, f64)]| trades.iter().map(|t| t.2).sum::<f64>() / trades.len() as f64;
    let ratio = mean(changed) / mean(usual);
    assert!((3.0..5.0).contains(&ratio), "{ratio}");
    // Returns over a minute, so that spreads don't count.
    let moves = |trades: &[(i64, f64, f64)]| {
        let mut last: Option<(i64, f64)> = None;
        let mut squares = Vec::new();
        for (time, price, _) in trades {
            match last {
                Some((minute, _)) if minute == time / 60_000_000 => {}
                Some((_, before)) => {
                    squares.push((price / before).ln().powi(2));
                    last = Some((time / 60_000_000, *price));
                }
                None => last = Some((time / 60_000_000, *price)),
            }
        }
        (squares.iter().sum::<f64>() / squares.len() as f64).sqrt()
    };
    let ratio = moves(changed) / moves(usual);
    assert!((3.0..8.0).contains(&ratio), "{ratio}");
}

#[test]
fn it_can_be_watched_and_stopped() {
    let kafka = kafka();
    let port = std::net::TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap()
        .port();
    let address = format!("127.0.0.1:{port}");
    let mut command = feed();
    command
        .args([
            "simulate",
            "--symbols",
            "2",
            "--rate",
            "200",
            "--start",
            "now",
        ])
        .args([
            "--brokers",
            &kafka.brokers(),
            "--topic-prefix",
            "live.",
            "--linger-ms",
            "1",
        ])
        .args(["--listen", &address, "--output", "json", "--quiet"]);
    let running = Running::start(&mut command);
    let get = |path: &str| -> Option<String> {
        use std::io::{Read, Write};
        let mut socket = std::net::TcpStream::connect(&address).ok()?;
        write!(
            socket,
            "GET {path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n"
        )
        .ok()?;
        let mut answer = String::new();
        socket.read_to_string(&mut answer).ok()?;
        Some(answer)
    };
    until("it is ready and has written", || {
        get("/readyz").is_some_and(|answer| answer.starts_with("HTTP/1.1 200"))
            && get("/metrics").is_some_and(|answer| {
                answer.lines().any(|line| {
                    line.strip_prefix("feed_kafka_records_delivered_total ")
                        .is_some_and(|n| n.parse::<u64>().unwrap() > 50)
                })
            })
    });
    assert!(get("/livez").unwrap().starts_with("HTTP/1.1 200"));
    let report = stopped(running);
    let records = kafka.records("live.raw-trades").unwrap();
    assert_eq!(report["trades"].as_u64().unwrap(), records.len() as u64);
}

#[test]
fn what_makes_no_sense_is_refused() {
    let simulate = |args: &[&str]| {
        let mut command = feed();
        command.arg("simulate").args(args);
        command
    };
    refused(&mut simulate(&[]), 2, &["--brokers", "--out", "--null"]);
    refused(
        &mut simulate(&["--null", "--rate", "0"]),
        2,
        &["trades_per_second"],
    );
    refused(
        &mut simulate(&["--null", "--symbols", "A,A"]),
        2,
        &["named twice"],
    );
    refused(
        &mut simulate(&["--null", "--kinds", "moon"]),
        2,
        &["moon", "flash_crash"],
    );
    refused(
        &mut simulate(&["--null", "--regime-change", "1h:mood=2"]),
        2,
        &["mood"],
    );
    refused(
        &mut simulate(&["--out", "/no/such/folder/x"]),
        2,
        &["/no/such/folder/x"],
    );
    refused(
        &mut simulate(&["--brokers", "127.0.0.1:1"]),
        2,
        &["no Kafka broker answers at `127.0.0.1:1`"],
    );
}
