//! Time to fit, to score and to load: `cargo bench -p linfa-isolation --bench score [-- OPTIONS]`.
//!
//! - `--form NAME`: only `classic`, `extended` (level 1), `sci_forest` or `fair_cut`;
//! - `--simd NAME`: `portable`, `avx2`, `avx512` or `neon` instead of the best that the processor has,
//!   or `all` that it has, the best first;
//! - `--n-trees N` (default 100), `--sample-size N` (default 256);
//! - `--rows N` (default 1,000,000) of `--columns N` (default 10) are fitted on, `--score-rows N` of them
//!   (default: all) scored, on `--threads N` (default: all cores), `--runs N` times (default 5);
//! - `--data FILE`: a table of raw little-endian `f64`, row after row, instead of one of standard normal
//!   values made here;
//! - `--json`: each measurement as a line of JSON with the value of every run, instead of a table of
//!   medians, least and most. `benches/forest/run.sh` runs this beside the peers.
//!
//! The seed is 42. The data is made or read outside the timed parts. Fitting and scoring are timed on
//! one thread and on all, the rest on one; `fit_drawn_rows` looks for bad values only in the rows that
//! trees draw.

use std::error::Error;
use std::fs::File;
use std::hint::black_box;
use std::io::Read;
use std::str::FromStr;
use std::time::Instant;

use linfa::ParamGuard;
use linfa_isolation::{Form, IsolationForest, IsolationForestParams, Simd};
use ndarray::{Array2, ArrayView2, s};
use rand_xoshiro::Xoshiro256PlusPlus;
use rand_xoshiro::rand_core::{Rng, SeedableRng};
use rayon::ThreadPool;
use serde_json::json;

/// Rows of the small table.
const N_SMALL: usize = 1024;

/// Rows that are scored one by one, and of smaller tables that are scored together.
const N_SINGLE: usize = 20_000;

/// Rows whose contributions are computed.
const N_EXPLAINED: usize = 100_000;

/// Loads that are timed together.
const N_LOADS: usize = 20;

type Result<T> = std::result::Result<T, Box<dyn Error + Send + Sync>>;

fn main() -> Result<()> {
    let arguments = Arguments::parse()?;
    let records = match &arguments.data {
        Some(path) => read_table(path, arguments.n_rows, arguments.n_columns)?,
        None => normal_table(arguments.n_rows, arguments.n_columns),
    };
    for case in cases(&arguments)? {
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
    form: Option<String>,
    simd: Option<String>,
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
            form: None,
            simd: None,
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
                "--form" => parsed.form = Some(value()?),
                "--simd" => parsed.simd = Some(value()?),
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
    simd: Simd,
}

fn cases(arguments: &Arguments) -> Result<Vec<Case>> {
    let mut simds = match arguments.simd.as_deref() {
        None => vec![Simd::best()],
        Some("all") => Simd::ALL
            .into_iter()
            .filter(|simd| simd.is_available())
            .collect(),
        Some(name) => {
            let known = Simd::ALL.into_iter().find(|simd| simd.name() == name);
            vec![known.ok_or_else(|| format!("unknown instructions `{name}`"))?]
        }
    };
    simds.sort_by_key(|&simd| simd != Simd::best());
    let mut forms = vec![
        ("classic", Form::Classic),
        ("extended", Form::Extended { extension_level: 1 }),
        ("sci_forest", Form::SciForest),
        ("fair_cut", Form::FairCut),
    ];
    if let Some(wanted) = &arguments.form {
        forms.retain(|(name, ..)| name == wanted);
        if forms.is_empty() {
            return Err(format!("unknown form `{wanted}`").into());
        }
    }
    let mut cases = Vec::new();
    for (name, form) in forms {
        let params = IsolationForest::params(42)
            .form(form)
            .n_trees(arguments.n_trees)
            .sample_size(arguments.sample_size);
        cases.extend(simds.iter().map(|&simd| Case {
            form: name,
            params: params.clone(),
            simd,
        }));
    }
    Ok(cases)
}

/// One figure: a value per run.
struct Measurement {
    name: &'static str,
    unit: &'static str,
    values: Vec<f64>,
}

impl Measurement {
    fn to_json(&self, case: &Case) -> String {
        json!({
            "form": case.form,
            "simd": case.simd.name(),
            "name": self.name,
            "unit": self.unit,
            "values": self.values,
        })
        .to_string()
    }

    fn to_line(&self, case: &Case) -> String {
        let mut values = self.values.clone();
        values.sort_by(f64::total_cmp);
        let (least, most) = (values[0], values[values.len() - 1]);
        let (median, unit) = (values[values.len() / 2], self.unit);
        let (form, simd, name) = (case.form, case.simd.name(), self.name);
        format!("{form:<11} {simd:<9} {name:<18} {median:>10.3} {unit:<7} {least:.3} to {most:.3}")
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
    let forest = params.fit_view(records)?.with_simd(case.simd)?;
    let mut measurements = Vec::new();
    let mut add = |name, unit, per_second: f64, seconds: Vec<f64>| {
        let values = seconds.iter().map(|seconds| seconds * per_second).collect();
        measurements.push(Measurement { name, unit, values });
    };

    let fit = |pool: &ThreadPool, check_all_rows| {
        let params = case.params.clone().check_all_rows(check_all_rows).check()?;
        pool.install(|| {
            time(n_runs, 1, || {
                drop(black_box(params.fit_view(records)?));
                Ok(())
            })
        })
    };
    add("fit", "ms", 1e3, fit(&one_thread, true)?);
    add("fit_drawn_rows", "ms", 1e3, fit(&one_thread, false)?);
    add("fit_all_threads", "ms", 1e3, fit(&all_threads, true)?);

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

    let n_explained = n_rows.min(N_EXPLAINED);
    let rows = records.slice(s![..n_explained, ..]);
    let seconds = one_thread.install(|| {
        time(n_runs, 1, || {
            drop(black_box(forest.contributions(rows)?));
            Ok(())
        })
    })?;
    add("contributions", "ns/row", 1e9 / n_explained as f64, seconds);

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
