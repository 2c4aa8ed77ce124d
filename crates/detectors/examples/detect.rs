//! Fits a detector on a table: a filter between programs in any language.
//!
//! ```text
//! detect score  --columns N --params JSON [--seed N] [--threads N] < TABLE > SCORES
//! detect labels --columns N --eps X --min-samples N [--threads N]  < TABLE > LABELS
//! detect time   --columns N --params JSON [--seed N] [--threads N] [--runs N] [--train-rows N] < TABLE
//! ```
//!
//! The table comes in as raw little-endian `f64`, row after row. `score` fits on it and gives one `f64`
//! a row. `labels` gives DBSCAN's, one `i32` a row, and prints the seconds on standard error. `time` fits
//! on the first rows (default: all), scores all, and prints one line of JSON: medians of the seconds
//! to fit, of nanoseconds a row in a batch and alone, the same with contributions, and what the fit
//! reported. One thread unless another number is given.

use std::error::Error;
use std::hint::black_box;
use std::io::{self, Read, Write};
use std::process::ExitCode;
use std::time::Instant;

use detectors::{Detector, DetectorParams, FitRecord, Training, dbscan_labels};
use ndarray::{Array2, ArrayView2, s};

const USAGE: &str = "usage: detect score|labels|time --columns N [--params JSON] [--seed N] \
    [--threads N] [--eps X] [--min-samples N] [--runs N] [--train-rows N] < TABLE";

/// Rows that are scored alone, or explained.
const N_SINGLE: usize = 2_000;

type Result<T> = std::result::Result<T, Box<dyn Error + Send + Sync>>;

fn main() -> ExitCode {
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("detect: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run() -> Result<()> {
    let mut arguments = std::env::args().skip(1);
    let command = arguments.next().ok_or(USAGE)?;
    let mut options = Options::default();
    while let Some(name) = arguments.next() {
        let value = arguments
            .next()
            .ok_or_else(|| format!("`{name}` needs a value\n{USAGE}"))?;
        options.set(&name, &value)?;
    }
    let table = read_table(options.n_columns)?;
    let pool = rayon::ThreadPoolBuilder::new().num_threads(options.n_threads);
    let out = pool.build()?.install(|| match command.as_str() {
        "score" => scores(&options, table.view()),
        "labels" => labels(&options, table.view()),
        "time" => time(&options, table.view()),
        other => Err(format!("`{other}` is no command\n{USAGE}").into()),
    })?;
    let mut stdout = io::stdout().lock();
    stdout.write_all(&out)?;
    stdout.flush()?;
    Ok(())
}

#[derive(Debug)]
struct Options {
    n_columns: usize,
    params: Option<DetectorParams>,
    seed: u64,
    n_threads: usize,
    eps: f64,
    min_samples: usize,
    n_runs: usize,
    train_rows: usize,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            n_columns: 0,
            params: None,
            seed: 0,
            n_threads: 1,
            eps: 0.0,
            min_samples: 0,
            n_runs: 5,
            train_rows: usize::MAX,
        }
    }
}

impl Options {
    fn set(&mut self, name: &str, value: &str) -> Result<()> {
        let wrong = |error: &dyn Error| format!("`{name}` is `{value}`: {error}\n{USAGE}");
        let count = || value.parse::<usize>().map_err(|error| wrong(&error));
        match name {
            "--columns" => self.n_columns = count()?,
            "--threads" => self.n_threads = count()?,
            "--min-samples" => self.min_samples = count()?,
            "--runs" => self.n_runs = count()?.max(1),
            "--train-rows" => self.train_rows = count()?,
            "--seed" => self.seed = value.parse().map_err(|error| wrong(&error))?,
            "--eps" => self.eps = value.parse().map_err(|error| wrong(&error))?,
            "--params" => {
                self.params = Some(serde_json::from_str(value).map_err(|error| wrong(&error))?);
            }
            other => return Err(format!("`{other}` is no option\n{USAGE}").into()),
        }
        Ok(())
    }

    fn fit(&self, rows: ArrayView2<'_, f64>, record: &mut FitRecord) -> Result<Detector> {
        let params = self.params.as_ref().ok_or("`--params` is missing")?;
        let training = Training {
            rows,
            names: None,
            seed: self.seed,
        };
        Ok(Detector::fit_with(params, training, record)?)
    }
}

fn read_table(n_columns: usize) -> Result<Array2<f64>> {
    let mut bytes = Vec::new();
    io::stdin().lock().read_to_end(&mut bytes)?;
    let row = 8 * n_columns;
    if row == 0 || bytes.is_empty() || !bytes.len().is_multiple_of(row) {
        let n = bytes.len();
        return Err(format!("{n} bytes are no rows of {n_columns} numbers").into());
    }
    let values = bytes
        .as_chunks()
        .0
        .iter()
        .map(|b| f64::from_le_bytes(*b))
        .collect();
    Ok(Array2::from_shape_vec(
        (bytes.len() / row, n_columns),
        values,
    )?)
}

fn scores(options: &Options, rows: ArrayView2<'_, f64>) -> Result<Vec<u8>> {
    let detector = options.fit(rows, &mut FitRecord::default())?;
    let scores = detector.score(rows)?;
    Ok(scores
        .iter()
        .flat_map(|score| score.to_le_bytes())
        .collect())
}

fn labels(options: &Options, rows: ArrayView2<'_, f64>) -> Result<Vec<u8>> {
    let start = Instant::now();
    let labels = dbscan_labels(rows, options.eps, options.min_samples)?;
    eprintln!("{}", start.elapsed().as_secs_f64());
    Ok(labels
        .iter()
        .flat_map(|label| label.to_le_bytes())
        .collect())
}

fn time(options: &Options, rows: ArrayView2<'_, f64>) -> Result<Vec<u8>> {
    let train = rows.slice(s![..options.train_rows.min(rows.nrows()), ..]);
    let (mut fits, mut batches, mut alone, mut explained) = (vec![], vec![], vec![], vec![]);
    let mut record = FitRecord::default();
    let mut scores = vec![0.0; rows.nrows()];
    let mut parts = vec![0.0; rows.ncols()];
    // Rows far apart from each other, as a stream of many symbols has them.
    let stride = (rows.nrows() / N_SINGLE).max(1);
    let singles: Vec<Vec<f64>> = (0..rows.nrows())
        .step_by(stride)
        .take(N_SINGLE)
        .map(|row| rows.row(row).to_vec())
        .collect();
    let mut n_bytes = 0;
    for _ in 0..options.n_runs {
        record = FitRecord::default();
        let start = Instant::now();
        let detector = options.fit(train, &mut record)?;
        fits.push(start.elapsed().as_secs_f64());
        n_bytes = detector.to_bytes().len();

        let start = Instant::now();
        detector.score_into(rows, &mut scores)?;
        batches.push(start.elapsed().as_secs_f64() * 1e9 / rows.nrows() as f64);
        black_box(&scores);

        let start = Instant::now();
        for row in &singles {
            black_box(detector.score_one(black_box(row))?);
        }
        alone.push(start.elapsed().as_secs_f64() * 1e9 / singles.len() as f64);

        let start = Instant::now();
        for row in &singles {
            black_box(detector.explain(black_box(row), &mut parts)?);
        }
        explained.push(start.elapsed().as_secs_f64() * 1e9 / singles.len() as f64);
    }
    let facts: serde_json::Map<_, _> = record
        .facts
        .iter()
        .map(|(name, value)| ((*name).to_owned(), serde_json::json!(value)))
        .collect();
    let line = serde_json::json!({
        "fit_s": median(fits),
        "batch_ns": median(batches),
        "alone_ns": median(alone),
        "explain_ns": median(explained),
        "bytes": n_bytes,
        "facts": facts,
    });
    Ok(format!("{line}\n").into_bytes())
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}
