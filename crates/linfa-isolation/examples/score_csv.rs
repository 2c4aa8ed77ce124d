//! Fits a forest on a table and scores the same rows:
//! `cargo run --release -p linfa-isolation --example score_csv -- TABLE.csv SEEDS > SCORES.csv`.
//!
//! `TABLE.csv` holds numbers only, without a header, one row a line. The output has one line per
//! row and one column per seed 0 to `SEEDS` - 1, higher scores being more anomalous. Settings are the
//! defaults: 100 trees of 256 rows.

use std::error::Error;
use std::io::{BufWriter, Write};

use linfa::ParamGuard;
use linfa_isolation::IsolationForest;
use ndarray::Array2;

fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [path, n_seeds] = arguments.as_slice() else {
        return Err("usage: score_csv TABLE.csv SEEDS".into());
    };
    let n_seeds: u64 = n_seeds.parse()?;
    let records = read_table(&std::fs::read_to_string(path)?)?;
    let scores = (0..n_seeds)
        .map(|seed| {
            let params = IsolationForest::params(seed).check()?;
            params
                .fit_view(records.view())?
                .score_samples(records.view())
        })
        .collect::<Result<Vec<_>, _>>()?;

    let mut out = BufWriter::new(std::io::stdout().lock());
    for row in 0..records.nrows() {
        for (seed, scores) in scores.iter().enumerate() {
            let separator = if seed == 0 { "" } else { "," };
            // The shortest form that reads back as the same number.
            write!(out, "{separator}{:?}", scores[row])?;
        }
        writeln!(out)?;
    }
    out.flush()?;
    Ok(())
}

fn read_table(text: &str) -> Result<Array2<f64>, Box<dyn Error>> {
    let mut values = Vec::new();
    let mut n_columns = 0;
    for (line_idx, line) in text.lines().enumerate() {
        let n_before = values.len();
        for field in line.split(',') {
            let value: f64 = field
                .trim()
                .parse()
                .map_err(|_| format!("line {}: `{field}` is not a number", line_idx + 1))?;
            values.push(value);
        }
        let n_fields = values.len() - n_before;
        if line_idx == 0 {
            n_columns = n_fields;
        } else if n_fields != n_columns {
            let problem = format!(
                "line {}: {n_fields} values, but the first has {n_columns}",
                line_idx + 1
            );
            return Err(problem.into());
        }
    }
    let n_rows = values.len().checked_div(n_columns).unwrap_or(0);
    Ok(Array2::from_shape_vec((n_rows, n_columns), values)?)
}
