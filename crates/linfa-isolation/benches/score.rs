//! Time to fit, to score and to load: `cargo bench -p linfa-isolation --bench score [-- OPTIONS]`.
//!
//! Options: `--rows N` (default 1,000,000), `--columns N` (default 10), `--n-trees N` (default 100),
//! `--sample-size N` (default 256), `--threads N` (default: all cores), `--runs N` (default 5),
//! `--score-rows N` (only the first ones; default: all), `--data FILE` (raw little-endian `f64`, row
//! after row, instead of a table of standard normal values made here), `--json` (each measurement as a
//! line of JSON with the value of every run, instead of a table of medians). `benches/forest/run.sh`
//! runs this beside its peers.
//!
//! The seed is 42. The data is made or read outside the timed parts. Fitting takes all threads;
//! scoring is timed on one and on all, and one row and 1,024 rows on one.

use std::error::Error;
use std::fs::File;
use std::hint::black_box;
use std::io::Read;
use std::str::FromStr;
use std::time::Instant;

use linfa::ParamGuard;
use linfa_isolation::{IsolationForest, IsolationForestParams};
use ndarray::{Array2, ArrayView2, s};
use rand_xoshiro::Xoshiro256PlusPlus;
use rand_xoshiro::rand_core::{Rng, SeedableRng};
use rayon::ThreadPool;
use serde_json::json;

/// Rows of the small table.
const N_SMALL: usize = 1024;

/// Rows that are scored one by one, and of smaller tables that are scored together.
const N_SINGLE: usize = 20_000;

/// Loads that are timed together.
const N_LOADS: usize = 20;

type Result<T> = std::result::Result<T, Box<dyn Error + Send + Sync>>;

fn main() -> Result<()> {
    let arguments = Arguments::parse()?;
    let records = match &arguments.data {
        Some(path) => read_table(path, arguments.n_rows, arguments.n_columns)?,
        None => normal_table(arguments.n_rows, arguments.n_columns),
    };
    for case in cases(&arguments) {
        for measurement in measure(&case, records.view(), &arguments)? {
            if arguments.json {
                println!("{}", measurement.to_json(&case));
            } else {
                println!("{}", measurement.to_line(&case));
            }
        }
    }
    Ok(())
}

struct Arguments {
    data: Option<String>,
    n_rows: usize,
    n_score_rows: usize,
    n_columns: usize,
    n_trees: usize,
    sample_size: usize,
    n_threads: usize,
    n_runs: usize,
    json: bool,
}

impl Arguments {
    fn parse() -> Result<Self> {
        let mut parsed = Self {
            data: None,
            n_rows: 1_000_000,
            n_score_rows: usize::MAX,
            n_columns: 10,
            n_trees: 100,
            sample_size: 256,
            n_threads: rayon::current_num_threads(),
            n_runs: 5,
            json: false,
        };
        let mut arguments = std::env::args().skip(1);
        while let Some(name) = arguments.next() {
            let mut value = || {
                let missing = || format!("`{name}` needs a value");
                arguments.next().ok_or_else(missing)
            };
            match name.as_str() {
                // What `cargo bench` itself adds.
                "--bench" => {}
                "--json" => parsed.json = true,
                "--data" => parsed.data = Some(value()?),
                "--rows" => parsed.n_rows = count(&name, &value()?)?,
                "--score-rows" => parsed.n_score_rows = count(&name, &value()?)?,
                "--columns" => parsed.n_columns = count(&name, &value()?)?,
                "--n-trees" => parsed.n_trees = count(&name, &value()?)?,
                "--sample-size" => parsed.sample_size = count(&name, &value()?)?,
                "--threads" => parsed.n_threads = count(&name, &value()?)?,
                "--runs" => parsed.n_runs = count(&name, &value()?)?,
                _ => return Err(format!("unknown argument `{name}`").into()),
            }
        }
        Ok(parsed)
    }
}

fn count(name: &str, value: &str) -> Result<usize> {
    match usize::from_str(value) {
        Ok(count) if count > 0 => Ok(count),
        _ => Err(format!("`{name}` is `{value}`, but must be a whole number above 0").into()),
    }
}

/// A forest to time.
struct Case {
    form: &'static str,
    params: IsolationForestParams,
}

fn cases(arguments: &Arguments) -> Vec<Case> {
    let params = IsolationForest::params(42)
        .n_trees(arguments.n_trees)
        .sample_size(arguments.sample_size);
    vec![Case {
        form: "classic",
        params,
    }]
}

/// One figure: a value per run.
struct Measurement {
    name: &'static str,
    unit: &'static str,
    values: Vec<f64>,
}

impl Measurement {
    fn to_json(&self, case: &Case) -> String {
        let (form, name, unit, values) = (case.form, self.name, self.unit, &self.values);
        json!({"form": form, "name": name, "unit": unit, "values": values}).to_string()
    }

    fn to_line(&self, case: &Case) -> String {
        let mut sorted = self.values.clone();
        sorted.sort_by(f64::total_cmp);
        let [least, .., most] = sorted[..] else {
            return format!(
                "{:<12} {:<18} {:>10.3} {}",
                case.form, self.name, sorted[0], self.unit
            );
        };
        let median = sorted[sorted.len() / 2];
        format!(
            "{:<12} {:<18} {median:>10.3} {} ({least:.3} to {most:.3})",
            case.form, self.name, self.unit
        )
    }
}

fn measure(
    case: &Case,
    records: ArrayView2<'_, f64>,
    arguments: &Arguments,
) -> Result<Vec<Measurement>> {
    let n_runs = arguments.n_runs;
    let all_threads = pool(arguments.n_threads)?;
    let one_thread = pool(1)?;
    let params = case.params.clone().check()?;
    let forest = params.fit_view(records)?;
    let mut measurements = Vec::new();
    let mut add = |name, unit, per_second: f64, seconds: Vec<f64>| {
        let values = seconds.iter().map(|seconds| seconds * per_second).collect();
        measurements.push(Measurement { name, unit, values });
    };

    let seconds = all_threads.install(|| {
        time(n_runs, 1, || {
            drop(black_box(params.fit_view(records)?));
            Ok(())
        })
    })?;
    add("fit", "ms", 1e3, seconds);

    let n_rows = records.nrows().min(arguments.n_score_rows);
    let mut scores = vec![0.0; n_rows];
    let mut score = |pool: &ThreadPool, n_rows: usize| {
        let records = records.slice(s![..n_rows, ..]);
        pool.install(|| {
            time(n_runs, (N_SINGLE / n_rows).max(1), || {
                Ok(forest.score_into(records, black_box(&mut scores[..n_rows]))?)
            })
        })
    };
    let ns_per_row = 1e9 / n_rows as f64;
    add(
        "score_one_thread",
        "ns/row",
        ns_per_row,
        score(&one_thread, n_rows)?,
    );
    add(
        "score_all_threads",
        "ns/row",
        ns_per_row,
        score(&all_threads, n_rows)?,
    );
    if n_rows >= N_SMALL {
        add("score_1024_rows", "ms", 1e3, score(&one_thread, N_SMALL)?);
    }

    let n_single = n_rows.min(N_SINGLE);
    let rows = records.slice(s![..n_single, ..]);
    let seconds = time(n_runs, N_SINGLE / n_single, || {
        for row in rows.rows() {
            let row = row.to_slice().ok_or("the table is not row-major")?;
            black_box(forest.score_one(row)?);
        }
        Ok(())
    })?;
    add("score_one_row", "us", 1e6 / n_single as f64, seconds);

    let bytes = forest.to_bytes();
    let seconds = time(n_runs, N_LOADS, || {
        drop(black_box(IsolationForest::from_bytes(&bytes)?));
        Ok(())
    })?;
    add("load", "us", 1e6, seconds);
    Ok(measurements)
}

fn pool(n_threads: usize) -> Result<ThreadPool> {
    let builder = rayon::ThreadPoolBuilder::new().num_threads(n_threads);
    Ok(builder.build()?)
}

/// Seconds that a call takes, `n_calls` timed together, once a run and after one that isn't timed.
fn time(n_runs: usize, n_calls: usize, mut call: impl FnMut() -> Result<()>) -> Result<Vec<f64>> {
    call()?;
    let mut seconds = Vec::with_capacity(n_runs);
    for _ in 0..n_runs {
        let start = Instant::now();
        for _ in 0..n_calls {
            call()?;
        }
        seconds.push(start.elapsed().as_secs_f64() / n_calls as f64);
    }
    Ok(seconds)
}

/// The first `n_rows` rows of a file, or all if there are fewer.
fn read_table(path: &str, n_rows: usize, n_columns: usize) -> Result<Array2<f64>> {
    let mut bytes = Vec::new();
    let n_wanted = n_rows as u64 * n_columns as u64 * 8;
    File::open(path)?.take(n_wanted).read_to_end(&mut bytes)?;
    let (values, _) = bytes.as_chunks::<8>();
    let values: Vec<f64> = values.iter().copied().map(f64::from_le_bytes).collect();
    Ok(Array2::from_shape_vec(
        (values.len() / n_columns, n_columns),
        values,
    )?)
}

/// Standard normal values (Irwin and Hall's sum of twelve uniform ones).
fn normal_table(n_rows: usize, n_columns: usize) -> Array2<f64> {
    let mut rng = Xoshiro256PlusPlus::seed_from_u64(1);
    Array2::from_shape_simple_fn((n_rows, n_columns), || {
        let sum: f64 = (0..12)
            .map(|_| (rng.next_u64() >> 11) as f64 * 0.5_f64.powi(53))
            .sum();
        sum - 6.0
    })
}
