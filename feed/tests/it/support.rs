//! What the tests share: the program, the oracle.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::process::Command;
use std::sync::{Arc, OnceLock};

use market::{WireGap, parse_trade};
use test_stack::program::{Running, program};
use test_stack::{KafkaRecord, KafkaServer};

pub(crate) fn feed() -> Command {
    program(env!("CARGO_BIN_EXE_feed"), &["FEED_", "AWS_"])
}

/// What a feed that is asked to stop reports.
pub(crate) fn stopped(running: Running) -> serde_json::Value {
    serde_json::from_str(&running.stop()).unwrap()
}

pub(crate) fn kafka() -> Arc<KafkaServer> {
    KafkaServer::shared().unwrap()
}

/// The ids of each symbol in a topic, in the order of its partition.
pub(crate) fn ids(records: &[KafkaRecord]) -> BTreeMap<String, Vec<u64>> {
    let mut ids: BTreeMap<String, Vec<u64>> = BTreeMap::new();
    for record in records {
        let trade = parse_trade(&record.value, None).unwrap();
        assert_eq!(record.key.as_deref(), Some(trade.symbol.as_bytes()));
        ids.entry(trade.symbol.into_owned())
            .or_default()
            .push(trade.trade_id.unwrap());
    }
    ids
}

/// Checks that every transaction that wrote into `topic` said in `feed-positions`, too, where its symbols stand: by the
/// broker's own log of transactions. A second transaction for that would be lost with whoever dies before it.
pub(crate) fn assert_positions_in_same_transaction(kafka: &KafkaServer, prefix: &str, topic: &str) {
    /// Behind its version, its producer's id and epoch, and its timeout.
    const STATUS: usize = 2 + 8 + 2 + 4;
    const PREPARED_TO_COMMIT: u8 = 2;
    let wrote_to = |value: &[u8], topic: &str| {
        let name = format!("{prefix}{topic}");
        value
            .windows(name.len())
            .any(|part| part == name.as_bytes())
    };
    let log = kafka.records("__transaction_state").unwrap();
    let mut n_found = 0;
    for KafkaRecord { value, .. } in &log {
        if value.get(STATUS) == Some(&PREPARED_TO_COMMIT) && wrote_to(value, topic) {
            let value_text = String::from_utf8_lossy(value);
            assert!(wrote_to(value, "feed-positions"), "{value_text}");
            n_found += 1;
        }
    }
    assert!(n_found > 0, "no transaction wrote into {prefix}{topic}");
}

pub(crate) fn gaps(records: &[KafkaRecord]) -> Vec<WireGap> {
    records
        .iter()
        .map(|record| serde_json::from_slice(&record.value).unwrap())
        .collect()
}

/// Every id from the first to the last exactly once and in order, in the topic or in a gap record.
pub(crate) fn assert_whole(ids: &[u64], gaps: &[WireGap], first: u64, last: u64) {
    let missing = |id: u64| {
        gaps.iter()
            .any(|gap| (gap.first_id..=gap.last_id).contains(&id))
    };
    let expected: Vec<u64> = (first..=last).filter(|id| !missing(*id)).collect();
    assert_eq!(ids, expected);
}

pub(crate) fn data(name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
        .join("tests/data")
        .join(name)
}

/// Real trades: timestamp, side, price, amount.
pub(crate) fn real_trades() -> &'static [[String; 4]] {
    static TRADES: OnceLock<Vec<[String; 4]>> = OnceLock::new();
    TRADES.get_or_init(|| {
        let text = std::fs::read_to_string(data("NEBLBTC-pump-2022-01-02.csv")).unwrap();
        text.lines()
            .skip(1)
            .map(|line| {
                let fields: Vec<String> = line.split(',').map(str::to_owned).collect();
                fields.try_into().unwrap()
            })
            .collect()
    })
}
