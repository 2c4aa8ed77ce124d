//! Writes the forests that later versions of the crate must read, one of each form:
//! `cargo run -p linfa-isolation --example write_fixtures -- FOLDER`.
//!
//! Only for a new version of the native file: those of older versions are never written anew.

use linfa::ParamGuard;
use linfa_isolation::{FORMAT_VERSION, Form, IsolationForest, Missing, Scoring};
use ndarray::Array2;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let Some(folder) = std::env::args_os().nth(1) else {
        return Err("usage: write_fixtures FOLDER".into());
    };
    let folder = std::path::PathBuf::from(folder);
    let extended = Form::Extended { extension_level: 1 };
    let forests = [
        ("classic", IsolationForest::params(20_080_101)),
        ("extended", IsolationForest::params(1).form(extended)),
        (
            "sci_forest",
            IsolationForest::params(2).form(Form::SciForest),
        ),
        (
            "fair_cut",
            IsolationForest::params(3)
                .form(Form::FairCut)
                .missing(Missing::BothWays),
        ),
        (
            "density",
            IsolationForest::params(4).scoring(Scoring::Density),
        ),
        (
            "adjusted_depth",
            IsolationForest::params(5).scoring(Scoring::AdjustedDepth),
        ),
    ];
    let training = uniform_table(120, 3, 7);
    let scored = uniform_table(25, 3, 8) * 2.0 - 0.5;
    for (name, params) in forests {
        let params = params.n_trees(8).sample_size(40).check()?;
        let forest = params.fit_view(training.view())?;
        let name = format!("{name}.v{FORMAT_VERSION}");
        std::fs::write(folder.join(format!("{name}.bin")), forest.to_bytes())?;
        let scores = forest.score_samples(scored.view())?;
        let lines: String = scored
            .rows()
            .into_iter()
            .zip(&scores)
            .map(|(row, score)| format!("{:?},{:?},{:?},{score:?}\n", row[0], row[1], row[2]))
            .collect();
        std::fs::write(folder.join(format!("{name}.scores.csv")), lines)?;
    }
    Ok(())
}

/// Uniform values in [0, 1): SplitMix64, as the tests make them.
fn uniform_table(n_rows: usize, n_columns: usize, seed: u64) -> Array2<f64> {
    let mut state = seed;
    Array2::from_shape_simple_fn((n_rows, n_columns), || {
        state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let z = (state ^ (state >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((z ^ (z >> 31)) >> 11) as f64 * 0.5_f64.powi(53)
    })
}
