//! A folder of its own for each test, and the `trainer` program in it.

use std::path::{Path, PathBuf};
use std::process::Output;

use assert_cmd::Command;
use history::{Storage, Table, write_table};
use serde_json::Value;

/// A temporary folder in which the program runs.
pub(crate) struct Lab {
    folder: tempfile::TempDir,
}

impl Lab {
    pub(crate) fn new() -> Self {
        Self {
            folder: tempfile::tempdir().unwrap(),
        }
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    pub(crate) fn write(&self, name: &str, text: &str) -> PathBuf {
        let path = self.path(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(&path, text).unwrap();
        path
    }

    pub(crate) fn write_table(&self, name: &str, table: Table) {
        write_table(
            &Storage::from_env(),
            &self.path(name).display().to_string(),
            table,
        )
        .unwrap();
    }

    /// `trainer` in the lab's folder, with none of the caller's settings.
    pub(crate) fn trainer(&self, arguments: &[&str]) -> Command {
        let mut command = Command::cargo_bin("trainer").unwrap();
        self.prepare(&mut command).args(arguments);
        command
    }

    fn prepare<'c>(&self, command: &'c mut Command) -> &'c mut Command {
        for (name, _) in std::env::vars().filter(|(name, _)| is_setting(name)) {
            command.env_remove(name);
        }
        command
            .current_dir(self.folder.path())
            .timeout(std::time::Duration::from_secs(120))
    }

    /// `trainer` by way of a shell that first does `setup` (a limit, a trap).
    pub(crate) fn trainer_after(&self, setup: &str, arguments: &[&str]) -> Command {
        let mut command = Command::new("sh");
        let program = assert_cmd::cargo::cargo_bin("trainer");
        self.prepare(&mut command)
            .arg("-c")
            .arg(format!("{setup}; exec \"$0\" \"$@\""))
            .arg(program)
            .args(arguments);
        command
    }

    /// `trainer`, started and not waited for; its stderr is piped.
    pub(crate) fn start(&self, arguments: &[&str]) -> std::process::Child {
        let mut command = std::process::Command::new(assert_cmd::cargo::cargo_bin("trainer"));
        for (name, _) in std::env::vars().filter(|(name, _)| is_setting(name)) {
            command.env_remove(name);
        }
        command
            .args(arguments)
            .current_dir(self.folder.path())
            .stdout(std::process::Stdio::piped())
            .stderr(std::process::Stdio::piped())
            .spawn()
            .unwrap()
    }

    /// Runs and expects `code`.
    pub(crate) fn run(&self, arguments: &[&str], code: i32) -> Finished {
        Finished::of(self.trainer(arguments).output().unwrap(), code)
    }

    /// `trainer run FILE --output json …`, expected to succeed: the JSON document.
    pub(crate) fn run_json(&self, experiment: &str, more: &[&str]) -> Value {
        let arguments: Vec<&str> = ["run", experiment, "--output", "json"]
            .into_iter()
            .chain(more.iter().copied())
            .collect();
        self.run(&arguments, 0).json()
    }

    /// The files below `foreshock/artifacts` whose path ends with `name`.
    pub(crate) fn artifacts(&self, name: &str) -> Vec<PathBuf> {
        let mut found = Vec::new();
        let mut folders = vec![self.path("foreshock/artifacts")];
        while let Some(folder) = folders.pop() {
            for entry in std::fs::read_dir(&folder).into_iter().flatten() {
                let path = entry.unwrap().path();
                if path.is_dir() {
                    folders.push(path);
                } else if path.ends_with(name) {
                    found.push(path);
                }
            }
        }
        found.sort();
        found
    }

    pub(crate) fn folder(&self) -> &Path {
        self.folder.path()
    }
}

fn is_setting(name: &str) -> bool {
    ["MLFLOW_", "AWS_", "FORESHOCK_", "RUST_LOG"]
        .iter()
        .any(|prefix| name.starts_with(prefix))
}

/// A program that has ended.
pub(crate) struct Finished {
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

impl Finished {
    pub(crate) fn of(output: Output, code: i32) -> Self {
        let stdout = String::from_utf8(output.stdout).unwrap();
        let stderr = String::from_utf8(output.stderr).unwrap();
        assert_eq!(
            output.status.code(),
            Some(code),
            "stdout:\n{stdout}\nstderr:\n{stderr}"
        );
        Self { stdout, stderr }
    }

    /// Stdout as exactly one JSON document.
    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.stdout)
            .unwrap_or_else(|error| panic!("{error}:\n{}", self.stdout))
    }

    /// Asserts that neither output holds `secret`.
    pub(crate) fn hides(&self, secret: &str) -> &Self {
        let said = format!("{}{}", self.stdout, self.stderr);
        assert!(!said.contains(secret), "`{secret}` in:\n{said}");
        self
    }

    /// Asserts that stderr says all of `parts`.
    pub(crate) fn says(&self, parts: &[&str]) -> &Self {
        for part in parts {
            assert!(
                self.stderr.contains(part),
                "no `{part}` in:\n{}",
                self.stderr
            );
        }
        self
    }
}

/// A made-up market of two symbols and five days of minute candles, in a few seconds.
pub(crate) const SIMULATED: &str = r#"
[experiment]
name = "simulated"
seed = 7
[simulate]
days = 5
[data]
kind = "candles"
interval = "1m"
symbols = ["AAAUSD", "BBBUSD"]
[features]
use = ["return", "log_return_zscore", "volume_zscore", "price_range"]
[inject]
events_per_symbol_day = 6.0
magnitude = [4.0, 40.0]
[[candidates]]
name = "iforest"
detector = "isolation_forest"
n_trees = 50
[evaluate]
alerts_per_symbol_day = 2.0
resamples = 50
importance_rows = 1000
[register]
model = "simulated"
alias = "challenger"
"#;

/// Values of a table's columns that look like a bell, without a generator: `n_rows` quantiles in a mixed order.
pub(crate) fn bell(n_rows: usize, stride: usize) -> Vec<f64> {
    (0..n_rows)
        .map(|row| {
            let place = ((row * stride) % n_rows) as f64 + 0.5;
            let share = place / n_rows as f64;
            (share / (1.0 - share)).ln()
        })
        .collect()
}

/// An experiment on `table.csv`, done in a fraction of a second.
pub(crate) const TABLE: &str = r#"
[experiment]
name = "table"
[data]
source = "table.csv"
kind = "features"
time = "open_time"
symbol_column = "symbol"
label = "label"
[[candidates]]
name = "iforest"
detector = "isolation_forest"
n_trees = 10
[evaluate]
threshold_quantile = 0.95
resamples = 10
[register]
model = "table"
alias = "challenger"
"#;

/// `table.csv`: 600 minutes of symbol X, features `a` and `b`, 15 anomalies of `a`.
pub(crate) fn table_rows() -> Vec<String> {
    table_of(600)
}

/// The same with `n_rows` and 15 anomalies; not a multiple of 7 or 11.
pub(crate) fn table_of(n_rows: usize) -> Vec<String> {
    let (a, b) = (bell(n_rows, 7), bell(n_rows, 11));
    let rows = (0..n_rows).map(|row| {
        let label = usize::from(row % (n_rows / 15) == 7);
        let time = 1_704_067_200_000_u64 + row as u64 * 60_000;
        format!(
            "{time},X,{:.6},{:.6},{label}",
            a[row] + 9.0 * label as f64,
            b[row]
        )
    });
    std::iter::once("open_time,symbol,a,b,label".to_owned())
        .chain(rows)
        .collect()
}

/// A lab with [`TABLE`] as `x.toml` and its data.
pub(crate) fn table_lab() -> Lab {
    let lab = Lab::new();
    lab.write("x.toml", TABLE);
    lab.write("table.csv", &(table_rows().join("\n") + "\n"));
    lab
}
