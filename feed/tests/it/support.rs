//! What the tests share: the broker, the program, the oracle.

use std::collections::BTreeMap;
use std::io::Read;
use std::path::PathBuf;
use std::process::{Child, Command, Output, Stdio};
use std::sync::{Arc, Mutex, OnceLock, Weak};
use std::time::{Duration, Instant};

use market::{WireGap, parse_trade};
use test_stack::{KafkaRecord, KafkaServer};

/// The longest that anything takes on a busy machine.
pub(crate) const LONG: Duration = Duration::from_secs(120);

/// A broker that tests which run at the same time share; topics have prefixes of their own.
pub(crate) fn kafka() -> Arc<KafkaServer> {
    static SHARED: Mutex<Weak<KafkaServer>> = Mutex::new(Weak::new());
    let mut shared = SHARED.lock().unwrap_or_else(|error| error.into_inner());
    if let Some(server) = shared.upgrade() {
        return server;
    }
    let server = Arc::new(KafkaServer::start().unwrap());
    *shared = Arc::downgrade(&server);
    server
}

pub(crate) fn feed() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_feed"));
    for (name, _) in std::env::vars_os() {
        let name = name.to_string_lossy();
        if name.starts_with("FEED_") || name.starts_with("AWS_") {
            command.env_remove(name.as_ref());
        }
    }
    command
}

/// Runs to the end and expects success.
pub(crate) fn done(command: &mut Command) -> Output {
    let output = command.output().unwrap();
    assert!(output.status.success(), "{}", said(&output));
    output
}

/// Runs to the end and expects this exit code and these words on stderr.
pub(crate) fn refused(command: &mut Command, code: i32, words: &[&str]) {
    let output = command.output().unwrap();
    assert_eq!(output.status.code(), Some(code), "{}", said(&output));
    let stderr = String::from_utf8_lossy(&output.stderr);
    for word in words {
        assert!(stderr.contains(word), "`{word}` is not in: {stderr}");
    }
}

pub(crate) fn said(output: &Output) -> String {
    format!(
        "{}: {}{}",
        output.status,
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    )
}

/// A program under way; killed on drop.
pub(crate) struct Running(Option<Child>);

impl Running {
    pub(crate) fn start(command: &mut Command) -> Self {
        let child = command
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::inherit())
            .spawn()
            .unwrap();
        Self(Some(child))
    }

    pub(crate) fn signal(&self, name: &str) {
        let pid = self.0.as_ref().unwrap().id().to_string();
        let sent = Command::new("kill").args([name, &pid]).status().unwrap();
        assert!(sent.success());
    }

    /// SIGKILL, and nothing else.
    pub(crate) fn kill(mut self) {
        let mut child = self.0.take().unwrap();
        child.kill().unwrap();
        child.wait().unwrap();
    }

    /// Waits for its end: the exit code.
    pub(crate) fn ended(mut self) -> Option<i32> {
        let mut child = self.0.take().unwrap();
        child.wait().unwrap().code()
    }

    /// Asks it to stop; what it printed.
    pub(crate) fn stop(mut self) -> serde_json::Value {
        self.signal("-TERM");
        let mut child = self.0.take().unwrap();
        let mut text = String::new();
        child
            .stdout
            .take()
            .unwrap()
            .read_to_string(&mut text)
            .unwrap();
        let status = child.wait().unwrap();
        assert!(status.success(), "{status}: {text}");
        serde_json::from_str(&text).unwrap()
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        if let Some(mut child) = self.0.take() {
            drop(child.kill());
            drop(child.wait());
        }
    }
}

/// Looks again and again until it is so.
pub(crate) fn until(what: &str, mut is_so: impl FnMut() -> bool) {
    let began = Instant::now();
    while !is_so() {
        assert!(began.elapsed() < LONG, "still not: {what}");
        std::thread::sleep(Duration::from_millis(50));
    }
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
