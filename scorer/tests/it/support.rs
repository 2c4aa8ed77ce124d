//! What the tests share: trades, models, the broker, the program.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use detectors::{
    Baseline, Calibrators, Detector, DetectorParams, DetectorSet, Golden, Model, Threshold,
};
use history::{Labels, Storage, SymbolTrades, write_trades};
use market::{
    Feature, FeatureConfig, FeatureRow, Interval, SimulateConfig, SimulatedSymbol, Trade,
    TradeWriter, features_of_trades,
};
use ndarray::Array2;
use rdkafka::config::ClientConfig;
use rdkafka::producer::{BaseProducer, BaseRecord, Producer as _};
use test_stack::KafkaServer;
use test_stack::program::program;
pub(crate) use test_stack::program::{LONG, done, refused};

/// What the features are, in all tests.
pub(crate) fn features() -> FeatureConfig {
    FeatureConfig {
        window: 20,
        allowed_lateness: 1_000_000,
        macro_window: 120_000_000,
        macro_baseline: 240_000_000,
        ..FeatureConfig::new(Interval::TEN_SECONDS)
    }
}

/// The columns of the models.
const COLUMNS: [Feature; 3] = [
    Feature::LogReturnZscore,
    Feature::VolumeZscore,
    Feature::PriceRange,
];

/// Simulated trades of a few symbols, all as long; with a leap of the price now and then.
pub(crate) fn trades(seed: u64, minutes: i64) -> Vec<SymbolTrades> {
    let names = ["AAA", "BBB", "CCC", "DDD", "EEE"];
    let config = SimulateConfig {
        seed,
        symbols: names.map(|name| SimulatedSymbol::new(name, 100.0)).to_vec(),
        start: 1_700_000_000_000_000,
        duration: minutes * 60_000_000,
        trades_per_second: 2.0,
        arrivals: market::Arrivals::Poisson,
        regimes: Vec::new(),
    };
    let config = config.check().unwrap();
    names
        .iter()
        .map(|name| {
            let mut trades: Vec<Trade> = config.trades(name).unwrap().collect();
            let mut labels = Labels::default();
            for (place, trade) in trades.iter_mut().enumerate() {
                let is_wild = place % 700 > 685;
                if is_wild {
                    trade.price *= 1.03;
                    trade.quantity *= 20.0;
                }
                labels.push(is_wild.then_some("pump"));
            }
            SymbolTrades {
                symbol: (*name).to_owned(),
                trades,
                labels: Some(labels),
                n_duplicates: 0,
            }
        })
        .collect()
}

/// A model fitted on these trades; the seed makes the version.
pub(crate) fn model(symbols: &[SymbolTrades], seed: u64) -> Vec<u8> {
    let config = features().check().unwrap();
    let mut values = Vec::new();
    let mut of = Vec::new();
    let names: Vec<String> = symbols.iter().map(|s| s.symbol.clone()).collect();
    for (place, symbol) in symbols.iter().enumerate() {
        let (rows, _) = features_of_trades(&config, &symbol.trades).unwrap();
        let ready = |row: &&FeatureRow| row.ready(&COLUMNS);
        for row in rows.iter().filter(ready) {
            values.extend(COLUMNS.map(|feature| row.value(feature)));
            of.push(place as u32);
        }
    }
    let rows = Array2::from_shape_vec((of.len(), COLUMNS.len()), values).unwrap();
    let params: DetectorParams =
        serde_json::from_str(r#"{"detector":"isolation_forest","n_trees":20,"sample_size":64}"#)
            .unwrap();
    let detector = Detector::fit(&params, rows.view(), seed).unwrap();
    let scores = detector.score(rows.view()).unwrap();
    let calibrators = Calibrators::fit(&scores, &of, &names).unwrap();
    let mut tails = scores.clone();
    calibrators.pooled.apply(&mut tails);
    let model = Model {
        feature_names: COLUMNS.map(|f| f.name().to_owned()).to_vec(),
        detectors: DetectorSet::Global(detector),
        calibrators,
        threshold: Threshold::from_quantile(&tails, 0.95).unwrap(),
        engine: serde_json::to_value(features()).unwrap(),
        metadata: std::collections::BTreeMap::new(),
        baseline: Baseline::fit(rows.view()).unwrap(),
        golden: Golden::default(),
    };
    model.to_bytes().unwrap()
}

/// A folder with a model, its trades as Parquet, and a configuration.
pub(crate) struct Bench {
    pub(crate) folder: tempfile::TempDir,
    pub(crate) symbols: Vec<SymbolTrades>,
}

impl Bench {
    pub(crate) fn new(seed: u64, minutes: i64) -> Bench {
        let folder = tempfile::tempdir().unwrap();
        let symbols = trades(seed, minutes);
        fs::create_dir(folder.path().join("model")).unwrap();
        fs::write(
            folder.path().join("model/model.foreshock"),
            model(&symbols, 1),
        )
        .unwrap();
        let target = folder.path().join("trades.parquet");
        write_trades(&Storage::from_env(), &target.to_string_lossy(), &symbols).unwrap();
        Bench { folder, symbols }
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// A configuration of this instance; `more` is appended to it.
    pub(crate) fn configure(&self, kafka: &KafkaServer, instance: &str, more: &str) -> PathBuf {
        let path = self.path(&format!("{instance}.toml"));
        let text = format!(
            "[model]\nuri = \"model\"\n[kafka]\nbrokers = \"{}\"\ninstance = \"{instance}\"\n\
             transaction_interval = \"20ms\"\ntransaction_records = 300\ntransaction_timeout = \"5s\"\n\
             [kafka.properties]\n\"session.timeout.ms\" = \"6000\"\n\
             [state]\nlocation = \"state\"\nevery = \"1s\"\n[api]\nlisten = \"127.0.0.1:0\"\n{more}",
            kafka.brokers()
        );
        fs::write(&path, text).unwrap();
        path
    }

    /// The alerts that `scorer replay` writes, sorted.
    pub(crate) fn replayed(&self) -> Vec<String> {
        self.replay(|command| command.arg("--model").arg(self.path("model")))
    }

    /// The same under this configuration.
    pub(crate) fn replayed_as(&self, config: &Path) -> Vec<String> {
        self.replay(|command| command.arg("--config").arg(config))
    }

    fn replay(&self, how: impl FnOnce(&mut Command) -> &mut Command) -> Vec<String> {
        let alerts = self.path("alerts.jsonl");
        let mut command = scorer();
        let command = command.arg("replay").arg(self.path("trades.parquet"));
        done(how(command).arg("--alerts").arg(&alerts));
        lines(&alerts)
    }
}

pub(crate) fn lines(path: &Path) -> Vec<String> {
    let text = fs::read_to_string(path).unwrap();
    let mut lines: Vec<String> = text.lines().map(str::to_owned).collect();
    lines.sort_unstable();
    lines
}

/// A broker that tests which run at the same time share; topics have prefixes of their own.
pub(crate) fn kafka() -> Arc<KafkaServer> {
    KafkaServer::shared().unwrap()
}

pub(crate) fn scorer() -> Command {
    program(
        env!("CARGO_BIN_EXE_scorer"),
        &["SCORER_", "AWS_", "MLFLOW_"],
    )
}

/// A scorer in the background; killed on drop. What it says goes to a file.
pub(crate) struct Running {
    child: Child,
    log: PathBuf,
}

impl Running {
    pub(crate) fn start(config: &Path) -> Running {
        Self::start_with(config, &[])
    }

    /// With these variables.
    pub(crate) fn start_with(config: &Path, variables: &[(String, String)]) -> Running {
        let log = config.with_extension("log");
        let file = fs::OpenOptions::new()
            .create(true)
            .append(true)
            .open(&log)
            .unwrap();
        let child = scorer()
            .arg("run")
            .arg(config)
            .envs(variables.iter().map(|(name, value)| (name, value)))
            .stdout(Stdio::null())
            .stderr(file)
            .spawn()
            .unwrap();
        Running { child, log }
    }

    pub(crate) fn log(&self) -> String {
        fs::read_to_string(&self.log).unwrap()
    }

    /// As `kill -9` does it.
    pub(crate) fn kill(mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    /// As an orchestrator does it; the exit code.
    pub(crate) fn stop(mut self) -> Option<i32> {
        let pid = self.child.id().to_string();
        Command::new("kill").args(["-TERM", &pid]).status().unwrap();
        let began = Instant::now();
        loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                return status.code();
            }
            assert!(began.elapsed() < LONG, "it does not stop: {}", self.log());
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    pub(crate) fn is_running(&mut self) -> bool {
        self.child.try_wait().unwrap().is_none()
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // It may be gone already.
        self.child.kill().ok();
        self.child.wait().ok();
    }
}

/// All trades as records, in the order of time.
pub(crate) fn records(symbols: &[SymbolTrades]) -> Vec<(String, Vec<u8>)> {
    let mut all = Vec::new();
    for symbol in symbols {
        let writer = TradeWriter::new(&symbol.symbol);
        for (place, trade) in symbol.trades.iter().enumerate() {
            let label = symbol.labels.as_ref().and_then(|labels| labels.get(place));
            let mut value = Vec::new();
            writer.write(trade, label, &mut value);
            all.push((trade.event_time, symbol.symbol.clone(), value));
        }
    }
    all.sort_by(|left, right| (left.0, &left.1).cmp(&(right.0, &right.1)));
    all.into_iter()
        .map(|(_, symbol, value)| (symbol, value))
        .collect()
}

/// Sends records, each to the partition of its key.
pub(crate) fn send(kafka: &KafkaServer, topic: &str, records: &[(String, Vec<u8>)]) {
    let producer: BaseProducer = ClientConfig::new()
        .set("bootstrap.servers", kafka.brokers())
        .set("enable.idempotence", "true")
        .set("partitioner", "murmur2_random")
        .create()
        .unwrap();
    for (key, value) in records {
        let record = BaseRecord::to(topic)
            .key(key.as_bytes())
            .payload(&value[..]);
        producer.send(record).map_err(|(error, _)| error).unwrap();
        producer.poll(Duration::ZERO);
    }
    producer.flush(LONG).unwrap();
}

/// Waits until a topic holds at least so many committed records, and returns their values, sorted.
pub(crate) fn values(
    kafka: &KafkaServer,
    topic: &str,
    n_values: usize,
    running: &[&Running],
) -> Vec<String> {
    let began = Instant::now();
    loop {
        let records = kafka.records(topic).unwrap_or_default();
        if records.len() >= n_values {
            let mut values: Vec<String> = records
                .into_iter()
                .map(|record| String::from_utf8(record.value).unwrap())
                .collect();
            values.sort_unstable();
            return values;
        }
        let logs: String = running.iter().map(|running| running.log()).collect();
        assert!(
            began.elapsed() < LONG,
            "`{topic}` has {} of {n_values} records: {logs}",
            records.len()
        );
        std::thread::sleep(Duration::from_millis(100));
    }
}
