//! `scorer run` against a real broker: whatever happens to it, what is said is what `scorer replay` says.

use std::time::Duration;

use test_stack::KafkaServer;

use crate::support::{Bench, Running, kafka, records, scorer, send, values};

/// How often it is killed: `FORESHOCK_KILLS`, or a few times.
fn n_kills() -> usize {
    let asked = std::env::var("FORESHOCK_KILLS").ok();
    asked.and_then(|text| text.parse().ok()).unwrap_or(6)
}

#[test]
fn killed_again_and_again_it_says_everything_once() {
    let mut kafka = KafkaServer::start().unwrap();
    kill_loop(&mut kafka, "");
}

#[test]
fn early_looks_are_said_once_too() {
    let mut kafka = KafkaServer::start().unwrap();
    kill_loop(
        &mut kafka,
        "[stream]\nscore_on = \"trade\"\nevery = \"500ms\"\n",
    );
}

/// Kills a scorer again and again while others come and go and the broker falls over once; what is said in the end must
/// be what `scorer replay` says.
fn kill_loop(kafka: &mut KafkaServer, stream: &str) {
    let bench = Bench::new(11, 240);
    let topic = "raw-trades";
    kafka.create_topic(topic, 3).unwrap();
    let more = format!("{stream}[dead_letters]\nmax_share = 0.5\n");
    let configure = |instance: &str| bench.configure(kafka, instance, &more);
    let [first, second, third] = ["first", "second", "third"].map(configure);
    let expected = bench.replayed_as(&first);
    let all = records(&bench.symbols);
    let n_kills = n_kills();
    let pieces: Vec<_> = all.chunks(all.len().div_ceil(n_kills)).collect();
    let (mut one, mut another): (Option<Running>, Option<Running>) = (None, None);
    let mut n_joined = 0;
    for (round, piece) in pieces.iter().enumerate() {
        let running = Running::start(&first);
        send(kafka, topic, piece);
        // Others join, and leave in order some rounds later.
        for (other, config, of, joins, leaves) in [
            (&mut one, &second, 4, 1, 3),
            (&mut another, &third, 5, 2, 0),
        ] {
            match (round % of, other.take()) {
                (at, None) if at == joins => {
                    n_joined += 1;
                    *other = Some(Running::start(config));
                }
                (at, Some(leaving)) if at == leaves => assert_eq!(leaving.stop(), Some(0)),
                (_, kept) => *other = kept,
            }
        }
        if round == pieces.len() / 2 {
            kafka.kill().unwrap();
            kafka.restart().unwrap();
        }
        // At another moment of its life each time: from before it has joined to in the middle of its work.
        std::thread::sleep(Duration::from_millis(200 + 700 * (round as u64 % 7)));
        running.kill();
    }
    drop((one, another));
    let running = Running::start(&first);
    let found = values(kafka, "alerts", expected.len(), &[&running]);
    assert_eq!(found.len(), expected.len(), "{}", running.log());
    assert_eq!(found, expected);
    assert_eq!(running.stop(), Some(0));
    // Every candle once.
    let features = kafka.records("features").unwrap();
    let mut seen = std::collections::BTreeSet::new();
    for record in &features {
        let row: serde_json::Value = serde_json::from_slice(&record.value).unwrap();
        let key = (row["symbol"].to_string(), row["open_time"].to_string());
        assert!(seen.insert(key), "{row}");
    }
    assert!(features.len() > expected.len());
    let n_early = found
        .iter()
        .filter(|alert| alert.contains("\"early\":true"))
        .count();
    assert_eq!(n_early > 0, stream.contains("trade"));
    println!(
        "{} kills, {n_joined} joined and left, the broker killed once: {} records, {} candles, {} alerts ({n_early} \
         early): none lost, none doubled",
        pieces.len(),
        all.len(),
        features.len(),
        found.len()
    );
}

#[test]
fn bad_records_are_put_aside_and_fed_back_and_too_many_stop_it() {
    let kafka = kafka();
    let bench = Bench::new(12, 10);
    let prefix = "bad.";
    let topic = format!("{prefix}raw-trades");
    kafka.create_topic(&topic, 1).unwrap();
    let more = "[dead_letters]\nmax_share = 0.2\nwindow = 100\n";
    let config = bench.configure(&kafka, "only", more);
    let text = std::fs::read_to_string(&config).unwrap();
    let text = text.replace(
        "[kafka]\n",
        &format!("[kafka]\ntopic_prefix = \"{prefix}\"\n"),
    );
    std::fs::write(&config, text).unwrap();

    let mut all = records(&bench.symbols);
    all.truncate(300);
    all.insert(150, ("AAA".to_owned(), b"{nonsense".to_vec()));
    let negative =
        br#"{"symbol":"AAA","price":-1,"quantity":1,"side":"buy","event_time":1700000000000000}"#;
    all.insert(200, ("AAA".to_owned(), negative.to_vec()));
    send(&kafka, &topic, &all);
    let running = Running::start(&config);
    let letters = format!("{topic}.dlq");
    values(&kafka, &letters, 2, &[&running]);
    let records = kafka.records(&letters).unwrap();
    assert_eq!(records[0].value, b"{nonsense");
    let header = |place: usize, name: &str| {
        let found = records[place].headers.iter().find(|(key, _)| key == name);
        String::from_utf8(found.unwrap().1.clone()).unwrap()
    };
    assert_eq!(header(0, "source-topic"), topic);
    assert_eq!(header(0, "source-offset"), "150");
    assert_eq!(header(0, "reason"), "json");
    assert_eq!(header(1, "reason"), "value");
    assert!(header(1, "message").contains("price `-1`"));
    assert_eq!(running.stop(), Some(0));

    // Sent back once, whatever is asked for twice.
    let again = |expected: &str| {
        let output = crate::support::done(scorer().args(["dlq", "replay"]).arg(&config).args([
            "--interval",
            "10s",
            "--reason",
            "json",
        ]));
        assert_eq!(String::from_utf8_lossy(&output.stdout).trim(), expected);
    };
    again("1 sent again, 1 passed over");
    again("0 sent again, 0 passed over");
    assert_eq!(
        kafka.records(&topic).unwrap().last().unwrap().value,
        b"{nonsense"
    );

    // A flood of nonsense: it stops reading, says so, and stays alive.
    let flood: Vec<_> = (0..200)
        .map(|_| ("AAA".to_owned(), b"x".to_vec()))
        .collect();
    send(&kafka, &topic, &flood);
    let mut running = Running::start(&config);
    let began = std::time::Instant::now();
    while !running
        .log()
        .contains("too many of the last records can't be taken")
    {
        assert!(began.elapsed() < crate::support::LONG, "{}", running.log());
        std::thread::sleep(Duration::from_millis(50));
    }
    assert!(running.is_running());
    assert_eq!(running.stop(), Some(1));
}
