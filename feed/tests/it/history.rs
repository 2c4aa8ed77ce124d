//! `feed history`

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs;
use std::io::{Read, Write};
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use sha2::{Digest, Sha256};
use test_stack::S3Server;
use test_stack::program::{Running, done, refused, said, until};

use crate::support::{data, feed};

const DAY_MS: u64 = 86_400_000;
/// 2024-01-01
const START_MS: u64 = 1_704_067_200_000;

/// Serves dumps and candles, slowly if asked to.
struct FakeDumps {
    url: String,
    files: Arc<Mutex<BTreeMap<String, Vec<u8>>>>,
    n_requests: Arc<AtomicUsize>,
    /// Answers of status 503 before anything else.
    failures: Arc<AtomicUsize>,
}

impl FakeDumps {
    fn start(delay: Duration) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let fake = Self {
            url,
            files: Arc::default(),
            n_requests: Arc::default(),
            failures: Arc::default(),
        };
        let (files, n_requests) = (Arc::clone(&fake.files), Arc::clone(&fake.n_requests));
        let failures = Arc::clone(&fake.failures);
        std::thread::spawn(move || {
            for socket in listener.incoming() {
                let Ok(mut socket) = socket else { return };
                let (files, failures) = (Arc::clone(&files), Arc::clone(&failures));
                n_requests.fetch_add(1, Ordering::Relaxed);
                std::thread::spawn(move || {
                    let mut head = Vec::new();
                    let mut byte = [0];
                    while !head.ends_with(b"\r\n\r\n") {
                        if socket.read(&mut byte).unwrap_or(0) == 0 {
                            return;
                        }
                        head.push(byte[0]);
                    }
                    std::thread::sleep(delay);
                    let head = String::from_utf8(head).unwrap();
                    let target = head.split(' ').nth(1).unwrap();
                    let is_failing = failures
                        .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |n| n.checked_sub(1))
                        .is_ok();
                    let (status, body) = if is_failing {
                        (503, Vec::new())
                    } else if target.starts_with("/api/") {
                        candles(target)
                    } else {
                        match files.lock().unwrap().get(target) {
                            Some(body) => (200, body.clone()),
                            None => (404, Vec::new()),
                        }
                    };
                    let head = format!(
                        "HTTP/1.1 {status} Fake\r\nContent-Length: {}\r\nConnection: close\r\n\r\n",
                        body.len()
                    );
                    drop(
                        socket
                            .write_all(head.as_bytes())
                            .and_then(|()| socket.write_all(&body)),
                    );
                });
            }
        });
        fake
    }

    fn put(&self, symbol: &str, kind: &str, date: &str, csv: &str) {
        let folder = if kind == "1m" {
            format!("klines/{symbol}/1m")
        } else {
            format!("{kind}/{symbol}")
        };
        let name = format!("{symbol}-{kind}-{date}.zip");
        let mut bytes = std::io::Cursor::new(Vec::new());
        let mut archive = zip::ZipWriter::new(&mut bytes);
        archive
            .start_file(
                name.replace(".zip", ".csv"),
                zip::write::SimpleFileOptions::default(),
            )
            .unwrap();
        archive.write_all(csv.as_bytes()).unwrap();
        archive.finish().unwrap();
        let bytes = bytes.into_inner();
        let sum = format!("{}  {name}\n", sha256(&bytes));
        let path = format!("/data/spot/daily/{folder}/{name}");
        let mut files = self.files.lock().unwrap();
        files.insert(format!("{path}.CHECKSUM"), sum.into_bytes());
        files.insert(path, bytes);
    }

    fn put_days(&self, symbol: &str, n_days: u64) {
        for day in 0..n_days {
            self.put(symbol, "trades", &date(day), &trades(day, 200));
        }
    }

    fn n_requests(&self) -> usize {
        self.n_requests.load(Ordering::Relaxed)
    }
}

fn sha256(bytes: &[u8]) -> String {
    Sha256::digest(bytes)
        .iter()
        .fold(String::new(), |mut hex, byte| {
            write!(hex, "{byte:02x}").unwrap();
            hex
        })
}

fn date(day: u64) -> String {
    format!("2024-01-{:02}", day + 1)
}

/// A day of a dump; from 2025 on dumps are in microseconds, before in milliseconds.
fn trades(day: u64, n_trades: u64) -> String {
    (0..n_trades)
        .map(|n| {
            let id = day * n_trades + n;
            let time = START_MS + day * DAY_MS + n * (DAY_MS / n_trades);
            format!("{id},{}.5,0.25,1.0,{time},True,True\n", 100 + n % 7)
        })
        .collect()
}

/// What Binance answers about candles of a minute.
fn candles(target: &str) -> (u16, Vec<u8>) {
    if target.starts_with("/api/v3/exchangeInfo") {
        return if target.contains("NOSUCH") {
            (400, br#"{"code":-1121,"msg":"Invalid symbol."}"#.to_vec())
        } else {
            (200, br#"{"symbols":[]}"#.to_vec())
        };
    }
    let number = |name: &str| -> u64 {
        let (_, rest) = target.split_once(&format!("{name}=")).unwrap();
        let end = rest.find('&').unwrap_or(rest.len());
        rest[..end].parse().unwrap()
    };
    let (from, to, limit) = (number("startTime"), number("endTime"), number("limit"));
    let rows: Vec<String> = (from.div_ceil(60_000)..=to / 60_000)
        .take(limit as usize)
        .map(|minute| {
            let open = minute * 60_000;
            format!(
                r#"[{open},"1.0","2.0","0.5","1.5","10.0",{},"15.0",7,"4.0","6.0","0"]"#,
                open + 59_999
            )
        })
        .collect();
    (200, format!("[{}]", rows.join(",")).into_bytes())
}

fn history(fake: &FakeDumps, out: &str) -> Command {
    let mut command = feed();
    command
        .args([
            "history",
            "--dumps-url",
            &fake.url,
            "--rest-data-url",
            &fake.url,
        ])
        .args(["--out", out, "--quiet", "--output", "json"]);
    command
}

fn download(fake: &FakeDumps, out: &str, symbols: &str, n_days: u64) -> Command {
    let mut command = history(fake, out);
    command.args([
        "--symbols",
        symbols,
        "--from",
        &date(0),
        "--to",
        &date(n_days),
    ]);
    command
}

/// Every file below a folder and its bytes.
fn tree(folder: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let mut files = BTreeMap::new();
    let mut folders = vec![folder.to_owned()];
    while let Some(next) = folders.pop() {
        for entry in fs::read_dir(next).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else {
                let name = path.strip_prefix(folder).unwrap().to_owned();
                files.insert(name, fs::read(path).unwrap());
            }
        }
    }
    files
}

fn report(command: &mut Command) -> serde_json::Value {
    serde_json::from_slice(&done(command).stdout).unwrap()
}

#[test]
fn dumps_become_partitions_once_and_the_manifest_names_them() {
    let fake = FakeDumps::start(Duration::ZERO);
    fake.put_days("AAAUSDT", 3);
    fake.put_days("BBBUSDT", 3);
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().to_str().unwrap();
    let first = report(&mut download(&fake, out, "AAAUSDT,BBBUSDT", 3));
    assert_eq!(
        (&first["written"], &first["rows"]),
        (&6.into(), &1_200.into())
    );
    let files = tree(folder.path());
    assert_eq!(files.len(), 7);
    let manifest: serde_json::Value =
        serde_json::from_slice(&files[Path::new("_manifest.json")]).unwrap();
    for partition in manifest["partitions"].as_array().unwrap() {
        let bytes = &files[Path::new(partition["file"].as_str().unwrap())];
        assert_eq!(partition["sha256"], sha256(bytes));
        assert_eq!(partition["bytes"], bytes.len());
    }
    let n_requests = fake.n_requests();
    let second = report(&mut download(&fake, out, "AAAUSDT,BBBUSDT", 3));
    assert_eq!(
        (&second["written"], &second["already_there"]),
        (&0.into(), &6.into())
    );
    assert_eq!(
        fake.n_requests(),
        n_requests,
        "what is there is not fetched"
    );
    assert!(tree(folder.path()) == files);
    // A corrected dump is found when it is looked for; a lost file is brought again anyway.
    fake.put("AAAUSDT", "trades", &date(1), &trades(1, 100));
    fs::remove_file(
        folder
            .path()
            .join("symbol=BBBUSDT/date=2024-01-03/trades.parquet"),
    )
    .unwrap();
    let third = report(download(&fake, out, "AAAUSDT,BBBUSDT", 3).arg("--refresh"));
    assert_eq!(
        (&third["written"], &third["rows"]),
        (&2.into(), &300.into())
    );
    // So is one that isn't as large as it was written.
    let cut_off = folder
        .path()
        .join("symbol=AAAUSDT/date=2024-01-01/trades.parquet");
    let whole = fs::read(&cut_off).unwrap();
    fs::write(&cut_off, &whole[..whole.len() / 2]).unwrap();
    let fourth = report(&mut download(&fake, out, "AAAUSDT,BBBUSDT", 3));
    assert_eq!(fourth["written"], 1);
    assert!(fs::read(&cut_off).unwrap() == whole);
    // The trainer's reader takes the folder as it is.
    let replayed = report(
        feed()
            .arg("replay")
            .arg(out)
            .args(["--null", "--speed", "max", "--output", "json"]),
    );
    assert_eq!(replayed["trades"], 1_100);
}

#[test]
fn killed_and_started_again_it_leaves_the_same_bytes() {
    let fake = FakeDumps::start(Duration::from_millis(20));
    fake.put_days("AAAUSDT", 20);
    let whole = tempfile::tempdir().unwrap();
    done(&mut download(
        &fake,
        whole.path().to_str().unwrap(),
        "AAAUSDT",
        20,
    ));
    let killed = tempfile::tempdir().unwrap();
    let out = killed.path().to_str().unwrap();
    let mut n_files = 0;
    for _ in 0..3 {
        let running = Running::start(download(&fake, out, "AAAUSDT", 20).args(["--jobs", "2"]));
        until("a few more files are there", || {
            let n = tree(killed.path())
                .keys()
                .filter(|path| path.ends_with("trades.parquet"))
                .count();
            let is_more = n >= n_files + 2;
            n_files = if is_more { n } else { n_files };
            is_more
        });
        running.kill();
    }
    assert!(n_files < 20, "it was killed too late");
    done(&mut download(&fake, out, "AAAUSDT", 20));
    let mut after = tree(killed.path());
    // A kill may leave a temporary file, under a name that no reader looks at.
    after.retain(|path, _| !path.file_name().unwrap().to_string_lossy().starts_with('.'));
    assert!(after == tree(whole.path()));
}

#[test]
fn candles_come_by_rest_and_from_dumps_alike_and_go_to_s3() {
    let fake = FakeDumps::start(Duration::ZERO);
    let csv = String::from_utf8(
        candles(&format!(
            "/api/v3/klines?startTime={START_MS}&endTime={}&limit=2000",
            START_MS + DAY_MS - 1
        ))
        .1,
    )
    .unwrap()
    .replace("],[", "\n")
    .replace(['[', ']', '"'], "");
    fake.put("AAAUSDT", "1m", &date(0), &csv);
    let s3 = S3Server::start().unwrap();
    s3.create_bucket("history").unwrap();
    let klines = |source: &str, out: &str| {
        let mut command = download(&fake, out, "AAAUSDT", 1);
        command
            .args(["--kind", "klines", "--source", source])
            .envs(s3.env());
        report(&mut command)
    };
    let file = "symbol=AAAUSDT/date=2024-01-01/klines-1m.parquet";
    let folder = tempfile::tempdir().unwrap();
    assert_eq!(
        klines("dumps", folder.path().to_str().unwrap())["rows"],
        1_440
    );
    assert_eq!(klines("rest", "s3://history/klines")["rows"], 1_440);
    assert_eq!(klines("rest", "s3://history/klines")["already_there"], 1);
    let in_s3 = s3.get_object("history", &format!("klines/{file}")).unwrap();
    assert!(in_s3 == fs::read(folder.path().join(file)).unwrap());
    assert!(s3.get_object("history", "klines/_manifest.json").is_ok());
    // Another kind may not be mixed in, and a bucket that isn't there is said before any work.
    let n_requests = fake.n_requests();
    refused(
        download(&fake, "s3://history/klines", "AAAUSDT", 1).envs(s3.env()),
        1,
        &["holds klines of 1m, not trades"],
    );
    refused(
        download(&fake, "s3://nowhere/x", "AAAUSDT", 1).envs(s3.env()),
        1,
        &["s3://nowhere/x"],
    );
    refused(
        download(&fake, "s3://history/x", "AAAUSDT", 1)
            .envs(s3.env())
            .env("AWS_SECRET_ACCESS_KEY", "wrong"),
        2,
        &["denied"],
    );
    assert_eq!(fake.n_requests(), n_requests);
    let mut unknown = history(&fake, folder.path().to_str().unwrap());
    unknown
        .args(["--symbols", "NOSUCH", "--from", &date(0), "--to", &date(1)])
        .args(["--kind", "klines", "--source", "rest"]);
    refused(&mut unknown, 1, &["Binance doesn't know `NOSUCH`"]);
}

#[test]
fn failures_are_tried_again_and_wrong_content_is_refused() {
    let fake = FakeDumps::start(Duration::ZERO);
    fake.put_days("AAAUSDT", 2);
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().to_str().unwrap();
    fake.failures.store(3, Ordering::Relaxed);
    assert_eq!(
        report(download(&fake, out, "AAAUSDT", 1).args(["--jobs", "1"]))["written"],
        1
    );
    // A checksum that doesn't fit, a day that isn't there, another day's rows, no archive.
    let path = format!(
        "/data/spot/daily/trades/AAAUSDT/AAAUSDT-trades-{}.zip",
        date(1)
    );
    fake.files
        .lock()
        .unwrap()
        .insert(path.clone(), b"broken".to_vec());
    refused(
        download(&fake, out, "AAAUSDT", 2).args(["--attempts", "2"]),
        1,
        &["AAAUSDT of 2024-01-02", "checksum"],
    );
    let sum = format!("{}  x\n", sha256(b"broken"));
    fake.files
        .lock()
        .unwrap()
        .insert(format!("{path}.CHECKSUM"), sum.into_bytes());
    refused(
        &mut download(&fake, out, "AAAUSDT", 2),
        1,
        &["not a readable zip archive"],
    );
    fake.put("AAAUSDT", "trades", &date(1), &trades(5, 10));
    refused(
        &mut download(&fake, out, "AAAUSDT", 2),
        1,
        &["not of 2024-01-02"],
    );
    fake.put_days("AAAUSDT", 2);
    refused(
        &mut download(&fake, out, "AAAUSDT", 3),
        1,
        &["AAAUSDT 2024-01-03", "--allow-missing"],
    );
    let allowed = report(download(&fake, out, "AAAUSDT", 3).arg("--allow-missing"));
    assert_eq!(
        (&allowed["already_there"], &allowed["missing"][0]),
        (&2.into(), &"AAAUSDT 2024-01-03".into())
    );
    // A name that is none is no day that is missing.
    refused(
        download(&fake, out, "AAAUSDT,AAUSDT", 2).arg("--allow-missing"),
        1,
        &["there are no dumps of `AAUSDT`"],
    );
    let secret = "https://user:hunter2@localhost";
    let output = download(&fake, out, "AAAUSDT", 2)
        .args(["--dumps-url", secret])
        .output()
        .unwrap();
    let said = said(&output);
    assert!(
        output.status.code() == Some(2) && !said.contains("hunter2"),
        "{said}"
    );
    refused(&mut history(&fake, out), 2, &["--symbols, --from and --to"]);
    // Candles that don't make up days, and such as nobody has.
    let n_before = fake.n_requests();
    for (interval, word) in [
        ("3d", "does not divide a day"),
        ("1w", "`1w`"),
        ("12d", "does not divide a day"),
        ("10m", "--interval is one of 1s, 1m"),
    ] {
        refused(
            download(&fake, out, "AAAUSDT", 1).args(["--kind", "klines", "--interval", interval]),
            2,
            &[word],
        );
    }
    assert_eq!(fake.n_requests(), n_before);
}

#[test]
fn files_are_converted_by_day_and_never_overwrite_each_other() {
    let fake = FakeDumps::start(Duration::ZERO);
    let folder = tempfile::tempdir().unwrap();
    let source = folder.path().join("AAAUSDT-trades.csv");
    fs::write(
        &source,
        [trades(0, 50), trades(1, 50), trades(2, 50)].concat(),
    )
    .unwrap();
    let out = folder.path().join("out");
    let convert = |file: &Path| {
        let mut command = history(&fake, out.to_str().unwrap());
        command.arg(file);
        command
    };
    let first = report(&mut convert(&source));
    assert_eq!(
        (&first["written"], &first["rows"]),
        (&3.into(), &150.into())
    );
    let files = tree(&out);
    assert_eq!(report(&mut convert(&source))["already_there"], 3);
    assert!(tree(&out) == files);
    let other = folder.path().join("AAAUSDT-other.csv");
    fs::write(&other, trades(1, 10)).unwrap();
    refused(
        &mut convert(&other),
        1,
        &["date=2024-01-02", "comes from other files"],
    );
    assert!(tree(&out) == files);
    // One more file with other days changes nothing of those that are there.
    let more = folder.path().join("AAAUSDT-z.csv");
    fs::write(&more, trades(3, 20)).unwrap();
    let mut both = convert(&source);
    let both = report(both.arg(&more));
    assert_eq!(
        (&both["written"], &both["already_there"]),
        (&1.into(), &3.into())
    );
    // Half a day is none, and no row of candles is left out in silence.
    refused(
        convert(&source).args(["--from", "2024-01-01T12:00:00Z"]),
        2,
        &["a partition holds a whole one"],
    );
    let mut skipping = history(&fake, folder.path().join("klines").to_str().unwrap());
    skipping
        .arg(&source)
        .args(["--kind", "klines", "--on-error", "skip"]);
    refused(&mut skipping, 2, &["--on-error skip is for trades"]);
    let real = report(&mut convert(&data("NEBLBTC-pump-2022-01-02.csv")));
    assert_eq!(real["rows"], 600);
    assert_eq!(fake.n_requests(), 0);
}
