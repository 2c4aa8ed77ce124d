//! `feed check`

use test_stack::program::done;

use crate::fake::FakeBinance;
use crate::support::{data, feed, kafka};

fn findings(args: &[&str], is_ok: bool) -> Vec<(String, bool, String)> {
    let output = feed()
        .arg("check")
        .args(args)
        .args(["--output", "json"])
        .output()
        .unwrap();
    let report: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(report["is_ok"], is_ok, "{report:#}");
    assert_eq!(output.status.code(), Some(i32::from(!is_ok)));
    let findings = report["findings"].as_array().unwrap().iter();
    findings
        .map(|finding| {
            let text = |name: &str| finding[name].as_str().unwrap().to_owned();
            (
                text("what"),
                finding["is_ok"].as_bool().unwrap(),
                text("detail"),
            )
        })
        .collect()
}

#[test]
fn it_says_what_would_happen_and_changes_nothing() {
    let kafka = kafka();
    let exchange = FakeBinance::start(Vec::new());
    let brokers = kafka.brokers();
    let of_binance = |symbols: &str, brokers: &str, is_ok: bool| {
        let args = [
            "binance",
            "--symbols",
            symbols,
            "--streams",
            "trade,kline_1m",
            "--brokers",
            brokers,
            "--topic-prefix",
            "check.",
            "--ws-url",
            &exchange.ws_url,
            "--rest-url",
            &exchange.rest_url,
            "--rest-data-url",
            &exchange.rest_url,
            "--give-up-after",
            "1s",
        ];
        findings(&args, is_ok)
    };
    let found = of_binance("NEBLBTC", &brokers, true);
    assert!(
        found[0].2.contains("2 streams by 1 connection"),
        "{found:?}"
    );
    assert!(found.iter().any(
        |(what, _, detail)| what == "topic `check.gaps`" && detail.contains("would be created")
    ));
    assert_eq!(kafka.partitions("check.raw-trades").unwrap(), 0);
    let barred = FakeBinance::start(Vec::new()).barred();
    let found = findings(
        &[
            "binance",
            "--symbols",
            "NEBLBTC",
            "--brokers",
            &brokers,
            "--ws-url",
            &exchange.ws_url,
            "--rest-url",
            &barred.rest_url,
            "--rest-data-url",
            &exchange.rest_url,
        ],
        false,
    );
    let failed: Vec<&(String, bool, String)> = found.iter().filter(|f| !f.1).collect();
    assert!(
        failed.len() == 1 && failed[0].2.contains("451") && failed[0].2.contains("--rest-url"),
        "{found:?}"
    );
    let found = of_binance("NOSUCH", "127.0.0.1:1", false);
    let failed: Vec<&str> = found
        .iter()
        .filter(|f| !f.1)
        .map(|f| f.2.as_str())
        .collect();
    assert!(
        failed.iter().any(|detail| detail.contains("NOSUCH")),
        "{failed:?}"
    );
    assert!(
        failed
            .iter()
            .any(|detail| detail.contains("no Kafka broker answers")),
        "{failed:?}"
    );

    let file = data("NEBLBTC-pump-2022-01-02.csv");
    let file = file.to_str().unwrap();
    let found = findings(&["replay", file, "--brokers", &brokers], true);
    assert!(
        found[1].2.contains("begins at 2022-01-02T17:00:04"),
        "{found:?}"
    );
    findings(
        &["replay", "no-such-file.csv", "--brokers", &brokers],
        false,
    );
    findings(&["simulate", "--null"], true);
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("out");
    let out = out.to_str().unwrap();
    findings(&["history", file, "--out", out], true);
    assert!(!folder.path().join("out").exists());
    let text = done(feed().args(["check", "simulate", "--null"])).stdout;
    assert!(String::from_utf8_lossy(&text).contains("ok     market:"));
}
