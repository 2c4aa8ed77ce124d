//! What cannot work is said before anything starts.

use test_stack::program::{refused, said};

use super::command;
use crate::fake::FakeBinance;
use crate::support::{feed, kafka};

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
        let said = said(&output);
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
