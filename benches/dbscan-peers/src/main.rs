//! DBSCAN by other crates, as a filter: `dbscan-peers linfa|smartcore COLUMNS EPS MIN_SAMPLES < TABLE > LABELS`.
//!
//! The table is raw little-endian `f64`, row after row; a label is an `i32`, −1 for noise; the seconds come on
//! standard error. One thread, as both crates have.

use std::error::Error;
use std::io::{Read, Write};
use std::time::Instant;

use linfa::traits::Transformer;
use linfa_clustering::Dbscan;
use linfa_nn::{CommonNearestNeighbour, distance::L2Dist};
use ndarray::Array2;
use smartcore::algorithm::neighbour::KNNAlgorithmName;
use smartcore::cluster::dbscan::{DBSCAN, DBSCANParameters};
use smartcore::linalg::basic::matrix::DenseMatrix;

fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [peer, columns, eps, min_samples] = arguments.as_slice() else {
        return Err("usage: dbscan-peers linfa|smartcore COLUMNS EPS MIN_SAMPLES < TABLE > LABELS".into());
    };
    let (columns, eps, min_samples): (usize, f64, usize) =
        (columns.parse()?, eps.parse()?, min_samples.parse()?);
    let mut bytes = Vec::new();
    std::io::stdin().read_to_end(&mut bytes)?;
    let (values, _) = bytes.as_chunks::<8>();
    let values: Vec<f64> = values.iter().map(|value| f64::from_le_bytes(*value)).collect();
    let table = Array2::from_shape_vec((values.len() / columns, columns), values)?;
    let (labels, seconds): (Vec<i32>, f64) = match peer.as_str() {
        "linfa" => {
            let started = Instant::now();
            let params = Dbscan::params_with(min_samples, L2Dist, CommonNearestNeighbour::KdTree);
            let found = params.tolerance(eps).transform(&table)?;
            let seconds = started.elapsed().as_secs_f64();
            let labels = found.iter().map(|label| label.map_or(-1, |label| label as i32));
            (labels.collect(), seconds)
        }
        "smartcore" => {
            let rows: Vec<Vec<f64>> = table.rows().into_iter().map(|row| row.to_vec()).collect();
            let matrix = DenseMatrix::from_2d_vec(&rows)?;
            let started = Instant::now();
            let params = DBSCANParameters::default()
                .with_eps(eps)
                .with_min_samples(min_samples)
                .with_algorithm(KNNAlgorithmName::CoverTree);
            let model: DBSCAN<f64, i32, _, Vec<i32>, _> = DBSCAN::fit(&matrix, params)?;
            let seconds = started.elapsed().as_secs_f64();
            // Its labels are only to be had by asking for each row again.
            (model.predict(&matrix)?, seconds)
        }
        other => return Err(format!("`{other}` is neither linfa nor smartcore").into()),
    };
    eprintln!("{seconds}");
    let bytes: Vec<u8> = labels.iter().flat_map(|label| label.to_le_bytes()).collect();
    std::io::stdout().write_all(&bytes)?;
    Ok(())
}
