//! Fits a forest on a table and scores its rows: a filter between programs in any language.
//!
//! ```text
//! score_table --columns N --seed N [--form classic|extended|sci_forest|fair_cut]
//!             [--extension-level N] [--scoring path_length|adjusted_depth|density]
//!             [--n-trees N] [--sample-size N] < TABLE > SCORES
//! ```
//!
//! The table comes in as raw little-endian `f64`, row after row; one score per row goes out likewise.
//! From Python: `numpy.frombuffer(subprocess.run(command, input=table.tobytes(), ...).stdout)`.

use std::io::{self, Read, Write};
use std::process::ExitCode;
use std::str::FromStr;

use linfa::ParamGuard;
use linfa_isolation::{Form, IsolationForest, IsolationForestParams, Scoring};
use ndarray::Array2;

const USAGE: &str = "usage: score_table --columns N --seed N \
    [--form classic|extended|sci_forest|fair_cut] [--extension-level N] \
    [--scoring path_length|adjusted_depth|density] [--n-trees N] [--sample-size N] \
    < TABLE > SCORES";

type Result<T> = std::result::Result<T, Box<dyn std::error::Error>>;

fn main() -> ExitCode {
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("score_table: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run() -> Result<()> {
    let options = Options::parse(std::env::args().skip(1))?;
    let params = options.params()?.check()?;
    let records = read_table(options.n_columns)?;
    let forest = params.fit_view(records.view())?;
    let mut scores = vec![0.0; records.nrows()];
    forest.score_into(records.view(), &mut scores)?;

    let bytes: Vec<u8> = scores
        .iter()
        .flat_map(|score| score.to_le_bytes())
        .collect();
    let mut stdout = io::stdout().lock();
    stdout.write_all(&bytes)?;
    stdout.flush()?;
    Ok(())
}

/// What the command line asks for, names not yet looked at.
struct Options {
    n_columns: usize,
    seed: u64,
    form: String,
    extension_level: Option<usize>,
    scoring: String,
    n_trees: Option<usize>,
    sample_size: Option<usize>,
}

impl Options {
    fn parse(mut arguments: impl Iterator<Item = String>) -> Result<Self> {
        let (mut n_columns, mut seed) = (None, None);
        let mut options = Self {
            n_columns: 0,
            seed: 0,
            form: "classic".into(),
            extension_level: None,
            scoring: "path_length".into(),
            n_trees: None,
            sample_size: None,
        };
        while let Some(name) = arguments.next() {
            let mut value = || {
                let missing = || format!("`{name}` needs a value\n{USAGE}");
                arguments.next().ok_or_else(missing)
            };
            match name.as_str() {
                "--columns" => n_columns = Some(parse(&name, &value()?)?),
                "--seed" => seed = Some(parse(&name, &value()?)?),
                "--form" => options.form = value()?,
                "--extension-level" => {
                    options.extension_level = Some(parse(&name, &value()?)?);
                }
                "--scoring" => options.scoring = value()?,
                "--n-trees" => options.n_trees = Some(parse(&name, &value()?)?),
                "--sample-size" => options.sample_size = Some(parse(&name, &value()?)?),
                _ => return Err(format!("unknown argument `{name}`\n{USAGE}").into()),
            }
        }
        options.n_columns = n_columns.ok_or_else(|| format!("`--columns` is missing\n{USAGE}"))?;
        options.seed = seed.ok_or_else(|| format!("`--seed` is missing\n{USAGE}"))?;
        if options.n_columns == 0 {
            return Err("`--columns` is `0`, but must be at least 1".into());
        }
        Ok(options)
    }

    fn params(&self) -> Result<IsolationForestParams> {
        if self.extension_level.is_some() && self.form != "extended" {
            return Err("`--extension-level` goes with `--form extended` only".into());
        }
        let form = match self.form.as_str() {
            "classic" => Form::Classic,
            "extended" => Form::Extended {
                extension_level: self.extension_level.unwrap_or(1),
            },
            "sci_forest" => Form::SciForest,
            "fair_cut" => Form::FairCut,
            form => return Err(format!("unknown form `{form}`\n{USAGE}").into()),
        };
        let scoring = match self.scoring.as_str() {
            "path_length" => Scoring::PathLength,
            "adjusted_depth" => Scoring::AdjustedDepth,
            "density" => Scoring::Density,
            scoring => return Err(format!("unknown scoring `{scoring}`\n{USAGE}").into()),
        };
        let mut params = IsolationForest::params(self.seed)
            .form(form)
            .scoring(scoring);
        if let Some(n_trees) = self.n_trees {
            params = params.n_trees(n_trees);
        }
        if let Some(sample_size) = self.sample_size {
            params = params.sample_size(sample_size);
        }
        Ok(params)
    }
}

fn parse<T: FromStr>(name: &str, value: &str) -> Result<T> {
    value
        .parse()
        .map_err(|_| format!("`{name}` is `{value}`, but must be a whole number").into())
}

/// All of standard input, shape (n_samples, n_columns).
fn read_table(n_columns: usize) -> Result<Array2<f64>> {
    let mut bytes = Vec::new();
    io::stdin().lock().read_to_end(&mut bytes)?;
    let (values, rest) = bytes.as_chunks::<8>();
    if !rest.is_empty() || values.len() % n_columns != 0 {
        let n_bytes = bytes.len();
        return Err(format!("{n_bytes} bytes are no rows of {n_columns} values of 8 bytes").into());
    }
    let values: Vec<f64> = values.iter().copied().map(f64::from_le_bytes).collect();
    let n_rows = values.len() / n_columns;
    Ok(Array2::from_shape_vec((n_rows, n_columns), values)?)
}
