//! Time to fit and to score: `cargo bench -p linfa-isolation [-- ROWS]`.
//!
//! 1,000,000 rows x 10 columns unless told otherwise, 100 trees x 256 rows, seed 42, one thread for
//! the first figures and all of them for the last. The data is made outside the timed parts; each
//! figure is the median of the runs.

#![allow(clippy::unwrap_used, missing_docs)] // A bench may stop at its first failure.

use std::hint::black_box;
use std::time::Instant;

use linfa::ParamGuard;
use linfa_isolation::IsolationForest;
use ndarray::{Array2, s};
use rand_xoshiro::Xoshiro256PlusPlus;
use rand_xoshiro::rand_core::{Rng, SeedableRng};

const N_FEATURES: usize = 10;
const N_RUNS: usize = 5;

fn main() {
    let n_rows = std::env::args()
        .skip(1)
        .find_map(|argument| argument.parse().ok())
        .unwrap_or(1_000_000);
    let records = normal_table(n_rows);
    let params = IsolationForest::params(42).check().unwrap();
    let single = rayon::ThreadPoolBuilder::new()
        .num_threads(1)
        .build()
        .unwrap();

    let fit_s = median(|| drop(black_box(params.fit_view(records.view()).unwrap())));
    println!("fit, all threads           {:9.2} ms", fit_s * 1e3);

    let forest = params.fit_view(records.view()).unwrap();
    let mut scores = vec![0.0; n_rows];
    let batch_s = single.install(|| {
        median(|| {
            forest
                .score_into(records.view(), black_box(&mut scores))
                .unwrap()
        })
    });
    println!(
        "score, one thread          {:9.1} ns/row",
        batch_s * 1e9 / n_rows as f64
    );

    let batch_s = median(|| {
        forest
            .score_into(records.view(), black_box(&mut scores))
            .unwrap()
    });
    println!(
        "score, {} threads           {:9.1} ns/row",
        rayon::current_num_threads(),
        batch_s * 1e9 / n_rows as f64
    );

    let n_small = n_rows.min(1024);
    let small = records.slice(s![..n_small, ..]);
    let small_s = median(|| {
        forest
            .score_into(small, black_box(&mut scores[..n_small]))
            .unwrap();
    });
    println!("score, a table of {n_small} rows {:9.3} ms", small_s * 1e3);

    let n_single = n_rows.min(20_000);
    let single_s = median(|| {
        for row in records.slice(s![..n_single, ..]).rows() {
            black_box(forest.score_one(row.as_slice().unwrap()).unwrap());
        }
    });
    println!(
        "score, one row at a time   {:9.1} ns/row",
        single_s * 1e9 / n_single as f64
    );

    let bytes = forest.to_bytes();
    let load_s = median(|| drop(black_box(IsolationForest::from_bytes(&bytes).unwrap())));
    println!(
        "load {} bytes           {:9.3} ms",
        bytes.len(),
        load_s * 1e3
    );
}

/// Standard normal values (Irwin and Hall's sum of twelve uniform ones).
fn normal_table(n_rows: usize) -> Array2<f64> {
    let mut rng = Xoshiro256PlusPlus::seed_from_u64(1);
    Array2::from_shape_simple_fn((n_rows, N_FEATURES), || {
        let sum: f64 = (0..12)
            .map(|_| (rng.next_u64() >> 11) as f64 * 0.5_f64.powi(53))
            .sum();
        sum - 6.0
    })
}

fn median(mut run: impl FnMut()) -> f64 {
    let mut seconds: Vec<f64> = (0..N_RUNS)
        .map(|_| {
            let start = Instant::now();
            run();
            start.elapsed().as_secs_f64()
        })
        .collect();
    seconds.sort_by(f64::total_cmp);
    seconds[N_RUNS / 2]
}
