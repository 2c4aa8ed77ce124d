//! `feed replay`

use std::fs;
use std::io::Write;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use test_stack::KafkaRecord;
use test_stack::program::{Running, done, refused, said, until};

use crate::support::{
    assert_positions_in_same_transaction, data, feed, ids, kafka, real_trades, stopped,
};

fn replay(files: &[&Path]) -> Command {
    let mut command = feed();
    command
        .arg("replay")
        .args(files)
        .args(["--speed", "max", "--quiet", "--output", "json"]);
    command
}

/// As Binance dumps trades: id, price, quantity, quote quantity, time, is buyer maker, is best.
fn dump(n_rows: usize, first_id: usize, is_micros: bool) -> String {
    let trades = real_trades();
    let mut text = String::new();
    for row in 0..n_rows {
        let [time, side, price, amount] = &trades[row % trades.len()];
        // Round after round, later.
        let time = time.parse::<f64>().unwrap() as u64 + (row / trades.len()) as u64 * 10_000_000;
        let time = if is_micros { time * 1_000 } else { time };
        let maker = if side == "sell" { "True" } else { "False" };
        text += &format!(
            "{},{price},{amount},1.0,{time},{maker},True\n",
            first_id + row
        );
    }
    text
}

/// What a reader sees in each partition, in its order; the marks of transactions take offsets, too.
fn content(records: &[KafkaRecord]) -> Vec<(i32, &[u8])> {
    records
        .iter()
        .map(|r| (r.partition, r.value.as_slice()))
        .collect()
}

#[test]
fn every_form_of_a_file_gives_the_same_lines() {
    let folder = tempfile::tempdir().unwrap();
    let lines = |path: &Path, more: &[&str]| {
        let out = folder.path().join("out.jsonl");
        done(replay(&[path]).arg("--out").arg(&out).args(more));
        fs::read_to_string(out).unwrap()
    };
    let text = dump(500, 7, false);
    let plain = folder.path().join("NEBLBTC-trades-2022-01-02.csv");
    fs::write(&plain, &text).unwrap();
    let expected = lines(&plain, &[]);
    assert_eq!(expected.lines().count(), 500);
    let first = expected.lines().next().unwrap();
    assert!(
        first.starts_with(r#"{"symbol":"NEBLBTC","trade_id":7,"price":"#),
        "{first}"
    );

    let header = "id,price,qty,quote_qty,time,is_buyer_maker,is_best_match\n";
    let headed = folder.path().join("NEBLBTC-headed.csv");
    fs::write(&headed, format!("{header}{text}")).unwrap();
    let micros = folder.path().join("NEBLBTC-micros.csv");
    fs::write(&micros, dump(500, 7, true)).unwrap();
    let gz = folder.path().join("NEBLBTC-packed.csv.gz");
    let mut packed =
        flate2::write::GzEncoder::new(fs::File::create(&gz).unwrap(), flate2::Compression::fast());
    packed.write_all(text.as_bytes()).unwrap();
    packed.finish().unwrap();
    let zip = folder.path().join("NEBLBTC-packed.zip");
    let mut archive = zip::ZipWriter::new(fs::File::create(&zip).unwrap());
    archive
        .start_file("NEBLBTC.csv", zip::write::SimpleFileOptions::default())
        .unwrap();
    archive.write_all(text.as_bytes()).unwrap();
    archive.finish().unwrap();
    let parquet = folder.path().join("one.parquet");
    let storage = history::Storage::from_env();
    let objects = history::Location::parse(plain.to_str().unwrap(), Path::new("."))
        .unwrap()
        .resolve(&storage)
        .unwrap();
    let options = history::ReadOptions::default();
    history::convert_trades(&objects, &options, &storage, parquet.to_str().unwrap()).unwrap();
    for path in [&headed, &micros, &gz, &zip, &parquet] {
        assert!(lines(path, &[]) == expected, "{}", path.display());
    }
    // The real file has neither ids nor a symbol that its name would tell in one word.
    let real = lines(&data("NEBLBTC-pump-2022-01-02.csv"), &[]);
    assert!(
        real.lines()
            .all(|line| line.starts_with(r#"{"symbol":"NEBLBTC","price":"#))
    );
}

#[test]
fn files_of_several_symbols_come_out_in_the_order_of_time() {
    let folder = tempfile::tempdir().unwrap();
    let storage = history::Storage::from_env();
    let mut symbols = Vec::new();
    for (idx, symbol) in ["AAAUSDT", "BBBUSDT"].into_iter().enumerate() {
        let path = folder.path().join(format!("{symbol}.csv"));
        fs::write(&path, dump(300, 1 + idx, false)).unwrap();
        let objects = history::Location::parse(path.to_str().unwrap(), Path::new("."))
            .unwrap()
            .resolve(&storage)
            .unwrap();
        symbols.extend(history::read_trades(&objects, &history::ReadOptions::default()).unwrap());
    }
    // Our own writer puts one symbol after the other.
    let both = folder.path().join("both.parquet");
    history::write_trades(&storage, both.to_str().unwrap(), &symbols).unwrap();
    let lines = |files: &[&Path]| {
        let out = folder.path().join("out.jsonl");
        done(replay(files).arg("--out").arg(&out));
        fs::read_to_string(out).unwrap()
    };
    let of_one = lines(&[&both]);
    let of_two = lines(&[
        &folder.path().join("BBBUSDT.csv"),
        &folder.path().join("AAAUSDT.csv"),
    ]);
    assert_eq!(of_one.lines().count(), 600);
    assert!(of_one == of_two);
    let times: Vec<i64> = of_one
        .lines()
        .map(|line| {
            market::parse_trade(line.as_bytes(), None)
                .unwrap()
                .event_time
        })
        .collect();
    assert!(times.is_sorted());
}

#[test]
fn a_replay_that_was_killed_goes_on_and_a_second_one_writes_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let mut paths = Vec::new();
    for (idx, symbol) in ["AAAUSDT", "BBBUSDT", "CCCUSDT", "DDDUSDT"]
        .iter()
        .enumerate()
    {
        let path = folder.path().join(format!("{symbol}.csv"));
        fs::write(&path, dump(30_000, idx * 7, false)).unwrap();
        paths.push(path);
    }
    let kafka = kafka();
    let brokers = kafka.brokers();
    let run = |prefix: &str, speed: &str| {
        let mut command = feed();
        command
            .arg("replay")
            .args(&paths)
            .args(["--speed", speed, "--quiet", "--output", "json"])
            .args([
                "--brokers",
                &brokers,
                "--topic-prefix",
                prefix,
                "--partitions",
                "3",
            ])
            .args(["--linger-ms", "1"]);
        command
    };
    done(&mut run("uncut.", "max"));
    let whole = kafka.records("uncut.raw-trades").unwrap();
    assert_eq!(whole.len(), 120_000);

    // Killed twice on its way, at whatever point it was.
    let mut n_before = 0;
    for _ in 0..2 {
        let running = Running::start(&mut run("cut-off.", "x20000"));
        until("something more was written", || {
            let n = kafka
                .records("cut-off.raw-trades")
                .map_or(0, |records| records.len());
            let is_more = n > n_before + 100;
            n_before = if is_more { n } else { n_before };
            is_more
        });
        running.kill();
    }
    // What is complete by then; the rest of a transaction may still come.
    let n_killed = kafka.records("cut-off.raw-trades").unwrap().len();
    assert!(n_killed < 120_000, "it was killed too late");
    let output = done(&mut run("cut-off.", "max"));
    let report: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert!(report["already_there"].as_u64().unwrap() >= n_killed as u64);
    let killed = kafka.records("cut-off.raw-trades").unwrap();
    assert!(content(&killed) == content(&whole));

    let output = done(&mut run("cut-off.", "max"));
    let report: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(
        (&report["trades"], &report["already_there"]),
        (&0.into(), &120_000.into())
    );
    assert!(kafka.records("cut-off.raw-trades").unwrap() == killed);
    // Rows that can't be read are none of it: there are none.
    let output = done(run("cut-off.", "max").args(["--on-error", "skip"]));
    let report: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(report["trades"], 0);
    done(run("cut-off.", "max").arg("--again"));
    assert_eq!(kafka.records("cut-off.raw-trades").unwrap().len(), 240_000);
    for prefix in ["uncut.", "cut-off."] {
        assert_positions_in_same_transaction(&kafka, prefix, "raw-trades");
    }
}

/// Whoever begins the same replay once more goes on where the first one was, which ends.
#[test]
fn a_second_replay_of_the_same_takes_the_first_ones_place() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("TWICEUSDT.csv");
    fs::write(&path, dump(5_000, 1, false)).unwrap();
    let kafka = kafka();
    let run = |speed: &str| {
        let mut command = feed();
        command
            .arg("replay")
            .arg(&path)
            .args(["--speed", speed, "--quiet", "--output", "json"])
            .args(["--brokers", &kafka.brokers(), "--topic-prefix", "twice."])
            .args(["--linger-ms", "1"]);
        command
    };
    let ids_there = || {
        let records = kafka.records("twice.raw-trades");
        ids(&records.unwrap_or_default())
            .remove("TWICEUSDT")
            .unwrap_or_default()
    };
    // At this speed it would take an hour.
    let first = Running::start(&mut run("x20"));
    until("the first one writes", || !ids_there().is_empty());
    let output = done(&mut run("max"));
    let report: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert!(report["already_there"].as_u64().unwrap() > 0, "{report}");
    assert_eq!(first.ended(), Some(1), "two write at once");
    assert_eq!(ids_there(), (1..=5_000).collect::<Vec<_>>());
}

/// Trades that wait for the next one are not kept back, and what isn't complete isn't seen.
#[test]
fn a_slow_replay_is_read_as_it_goes() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("SLOWUSDT.csv");
    let start = 1_641_142_860_000_u64;
    let rows: String = [0, 10, 1_000_000_000]
        .iter()
        .enumerate()
        .map(|(row, time)| format!("{row},1.0,1.0,1.0,{},True,True\n", start + time))
        .collect();
    fs::write(&path, rows).unwrap();
    let kafka = kafka();
    let mut command = feed();
    command
        .arg("replay")
        .arg(&path)
        .args(["--quiet", "--output", "json"]);
    command.args(["--brokers", &kafka.brokers(), "--topic-prefix", "slow."]);
    let running = Running::start(&mut command);
    until("the first two are there", || {
        kafka
            .records("slow.raw-trades")
            .is_ok_and(|records| records.len() == 2)
    });
    let report = stopped(running);
    assert_eq!(
        (&report["trades"], &report["is_complete"]),
        (&2.into(), &false.into())
    );
}

#[test]
fn recorded_speed_takes_the_recorded_time() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("SLOWUSDT.csv");
    let start = 1_641_142_860_000_u64;
    let rows: String = (0..4)
        .map(|row| format!("{row},1.0,1.0,1.0,{},True,True\n", start + row * 500))
        .collect();
    fs::write(&path, rows).unwrap();
    let began = std::time::Instant::now();
    done(feed().arg("replay").arg(&path).args(["--null", "--quiet"]));
    assert!(began.elapsed() >= Duration::from_millis(1_500));
}

#[test]
fn an_unreadable_row_is_named_or_skipped_and_counted() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("NEBLBTC-broken.csv");
    let mut lines: Vec<String> = dump(100, 1, false).lines().map(str::to_owned).collect();
    lines[10] = "11,abc,1.0,1.0,1641142860000,True,True".to_owned();
    lines[20] = "21,1.0,1.0".to_owned();
    lines[30] = lines[30].replace("164", "163");
    fs::write(&path, lines.join("\n")).unwrap();
    refused(
        replay(&[&path]).arg("--null"),
        1,
        &["NEBLBTC-broken.csv` row 11", "abc"],
    );
    let output = done(replay(&[&path]).args(["--null", "--on-error", "skip"]));
    let report: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(
        (&report["trades"], &report["refused_rows"]),
        (&97.into(), &3.into()),
        "{}",
        said(&output)
    );
    let named = report["first_refused"].as_array().unwrap();
    for (row, named) in [11, 21, 31].iter().zip(named) {
        assert!(
            named.as_str().unwrap().contains(&format!("row {row}:")),
            "{named}"
        );
    }
}

#[test]
fn what_is_not_there_is_refused() {
    let data = data("NEBLBTC-pump-2022-01-02.csv");
    refused(
        replay(&[Path::new("no-such.csv")]).arg("--null"),
        1,
        &["no-such.csv"],
    );
    refused(
        replay(&[&data]).args(["--null", "--symbols", "OTHER"]),
        1,
        &["OTHER"],
    );
    refused(&mut replay(&[&data]), 2, &["--brokers"]);
    // A symbol that isn't there is known before anything is written.
    let kafka = kafka();
    for symbols in ["OTHER", "NEBLBTC,OTHER"] {
        refused(
            replay(&[&data]).args([
                "--brokers",
                &kafka.brokers(),
                "--topic-prefix",
                "no-symbol.",
                "--symbols",
                symbols,
            ]),
            1,
            &["no trade of `OTHER` is in these files"],
        );
    }
    assert_eq!(kafka.partitions("no-symbol.raw-trades").unwrap(), 0);
    kafka.create_topic("two.raw-trades", 2).unwrap();
    refused(
        replay(&[&data]).args([
            "--brokers",
            &kafka.brokers(),
            "--topic-prefix",
            "two.",
            "--partitions",
            "4",
        ]),
        1,
        &["`two.raw-trades` has 2 partitions, not 4"],
    );
}
