//! Writes models of every kind as ONNX, rows, and what the models themselves say of the rows:
//! `onnx_models FOLDER`. What holds the two together is `tests/mlflow_client/test_onnx.py`.
//!
//! `FOLDER/NAME/` holds `model.onnx`, `rows.csv` (the features and `symbol`) and `native.csv` (`score`,
//! `raw_score`, `flag`, `threshold`, `contribution_<feature>`; numbers as they are, to the last bit).

use std::collections::BTreeMap;
use std::error::Error;
use std::fmt::Write as _;
use std::path::Path;

use detectors::{
    AlertBudget, Baseline, Calibrators, Detector, DetectorParams, DetectorSet, Model, Training,
};
use ndarray::{Array2, ArrayView2, s};
use rand::{RngExt, SeedableRng};
use rand_xoshiro::Xoshiro256PlusPlus;

const NAMES: [&str; 6] = [
    "return",
    "log_return",
    "price_range",
    "macro_return_std",
    "macro_max_range",
    "ticks",
];
const SYMBOLS: [&str; 3] = ["BTCUSD", "ETHUSD", "a \"quoted\" one"];
const N_ROWS: usize = 3_000;

fn main() -> Result<(), Box<dyn Error>> {
    let folder = std::env::args().nth(1).ok_or("usage: onnx_models FOLDER")?;
    for (name, params, scope) in models() {
        let params: DetectorParams = serde_json::from_value(params)?;
        write(&Path::new(&folder).join(&name), &params, scope)
            .map_err(|error| format!("{name}: {error}"))?;
    }
    Ok(())
}

/// Whose rows a model is made for.
#[derive(Clone, Copy, PartialEq)]
enum Scope {
    /// One symbol: the graph doesn't ask which.
    One,
    /// One detector, calibrated symbol by symbol.
    Global,
    /// A detector a symbol, and one for the others.
    PerSymbol,
    /// A detector a symbol.
    NoFallback,
}

fn models() -> Vec<(String, serde_json::Value, Scope)> {
    let forest = |form: &str| serde_json::json!({"detector": "isolation_forest", "form": form, "n_trees": 40});
    let of = |detector: &str| serde_json::json!({"detector": detector});
    let with = |detector: &str, key: &str, value: serde_json::Value| serde_json::json!({"detector": detector, key: value});
    let text = |text: &str| serde_json::Value::from(text);
    let consensus = |combination: &str, members: &[&str]| {
        serde_json::json!({
            "detector": "consensus",
            "combination": combination,
            "members": members.iter().map(|m| of(m)).collect::<Vec<_>>(),
        })
    };
    let few_epochs = |activation: &str| {
        serde_json::json!({
            "detector": "autoencoder", "activation": activation, "max_epochs": 3, "widths": [9, 3],
        })
    };
    let mut density = forest("classic");
    density["scoring"] = text("density");
    let mut adjusted = forest("fair_cut");
    adjusted["scoring"] = text("adjusted_depth");
    let mut extended = forest("extended");
    extended["extension_level"] = 3.into();
    let all = [
        ("forest", forest("classic"), Scope::Global),
        ("forest_density", density, Scope::One),
        ("forest_adjusted_depth", adjusted, Scope::One),
        ("forest_extended", extended, Scope::Global),
        ("forest_sciforest", forest("sci_forest"), Scope::Global),
        ("forest_fair_cut", forest("fair_cut"), Scope::Global),
        ("max_z", of("max_z"), Scope::Global),
        ("ecod", of("ecod"), Scope::Global),
        ("hbos", of("hbos"), Scope::Global),
        ("knn", of("knn"), Scope::Global),
        (
            "knn_mean",
            with("knn", "distance", text("mean")),
            Scope::One,
        ),
        ("dbscan", of("dbscan"), Scope::Global),
        ("mahalanobis", of("mahalanobis"), Scope::Global),
        (
            "mahalanobis_shrinkage",
            with("mahalanobis", "scatter", text("shrinkage")),
            Scope::One,
        ),
        (
            "mahalanobis_exponential",
            with("mahalanobis", "scatter", text("exponential")),
            Scope::One,
        ),
        ("gaussian_mixture", of("gaussian_mixture"), Scope::Global),
        (
            "gaussian_mixture_diagonal",
            with("gaussian_mixture", "covariance", text("diagonal")),
            Scope::One,
        ),
        ("autoencoder", few_epochs("tanh"), Scope::Global),
        ("autoencoder_relu", few_epochs("relu"), Scope::One),
        (
            "autoencoder_leaky_relu",
            few_epochs("leaky_relu"),
            Scope::One,
        ),
        ("half_space_trees", of("half_space_trees"), Scope::Global),
        ("candle_z", of("candle_z"), Scope::Global),
        ("sliding_window", of("sliding_window"), Scope::Global),
        ("consensus", of("consensus"), Scope::Global),
        (
            "consensus_max",
            consensus("max", &["ecod", "max_z", "mahalanobis"]),
            Scope::One,
        ),
        (
            "consensus_rank",
            consensus("rank_average", &["ecod", "hbos", "candle_z"]),
            Scope::Global,
        ),
        ("per_symbol", of("ecod"), Scope::PerSymbol),
        ("per_symbol_forest", forest("fair_cut"), Scope::NoFallback),
        ("per_symbol_knn", of("knn"), Scope::PerSymbol),
    ];
    all.into_iter()
        .map(|(name, params, scope)| (name.to_owned(), params, scope))
        .collect()
}

/// Moves that depend on each other, one of them in steps of a tick; the last 40 rows are far out.
fn market(n: usize, seed: u64) -> Array2<f64> {
    let mut random = Xoshiro256PlusPlus::seed_from_u64(seed);
    let mut normal = || (0..12).map(|_| random.random::<f64>()).sum::<f64>() - 6.0;
    let mut rows = Array2::zeros((n, NAMES.len()));
    for mut row in rows.rows_mut() {
        let (a, b, c) = (normal() * 1e-3, normal().abs() * 2e-3, normal());
        let ticks = (normal() * 3.0).round();
        let values = [
            a,
            a + normal() * 1e-5,
            b + a.abs(),
            0.5 + 0.1 * c,
            b.sqrt(),
            ticks,
        ];
        row.iter_mut()
            .zip(values)
            .for_each(|(at, value)| *at = value);
    }
    rows
}

/// Rows to be scored: ordinary ones, training rows again, and rows as far out as numbers go.
fn tested(training: ArrayView2<'_, f64>) -> Array2<f64> {
    let mut rows = market(N_ROWS, 99);
    rows.slice_mut(s![..1_000, ..])
        .assign(&training.slice(s![..1_000, ..]));
    let far = [1.5, 4.0, 50.0, 1e3, 1e6, 1e12, 1e100, 1e250, -1e300, 1e307];
    for (i, mut row) in rows
        .slice_mut(s![1_000..1_400, ..])
        .rows_mut()
        .into_iter()
        .enumerate()
    {
        let by = far[i % far.len()];
        if i % 3 == 0 {
            row.mapv_inplace(|value| value * by);
        } else {
            row[i % NAMES.len()] *= by;
        }
    }
    for (i, value) in [0.0, -0.0, f64::MAX, f64::MIN, f64::MIN_POSITIVE, 5e-324]
        .iter()
        .enumerate()
    {
        rows.row_mut(1_400 + i).fill(*value);
        rows[(1_410 + i, i)] = *value;
    }
    rows
}

fn fit<'a>(
    params: &DetectorParams,
    rows: ArrayView2<'a, f64>,
    names: &'a [String],
    seed: u64,
) -> detectors::Result<Detector> {
    let training = Training {
        rows,
        names: Some(names),
        seed,
    };
    Detector::fit_with(params, training, &mut ())
}

fn write(folder: &Path, params: &DetectorParams, scope: Scope) -> Result<(), Box<dyn Error>> {
    let training = market(4_000, 1);
    let names: Vec<String> = NAMES.iter().map(|name| (*name).to_owned()).collect();
    let all = fit(params, training.view(), &names, 7)?;
    let n_symbols = if scope == Scope::One {
        1
    } else {
        SYMBOLS.len()
    };
    let symbols: Vec<String> = SYMBOLS[..n_symbols]
        .iter()
        .map(|s| (*s).to_owned())
        .collect();
    let detectors = if matches!(scope, Scope::One | Scope::Global) {
        let mut all = all;
        all.calibrate(market(1_000, 2).view())?;
        for row in market(700, 5).rows() {
            // Some learn.
            all.update(&row.to_vec())?;
        }
        DetectorSet::Global(all)
    } else {
        let mut by_symbol = BTreeMap::new();
        for (i, symbol) in symbols.iter().enumerate() {
            let own = training.slice(s![i * 1_000.., ..]);
            by_symbol.insert(symbol.clone(), fit(params, own, &names, i as u64)?);
        }
        DetectorSet::PerSymbol {
            by_symbol,
            fallback: (scope == Scope::PerSymbol).then_some(all),
        }
    };
    // Validation rows differ by symbol in number and width.
    let (mut scores, mut of) = (Vec::new(), Vec::new());
    for (i, symbol) in symbols.iter().enumerate() {
        let n = [1_500, 30, 400][i];
        let rows = &market(n, 3 + i as u64) * (1.0 + i as f64);
        scores.extend(detectors.get(symbol)?.score(rows.view())?);
        of.extend(std::iter::repeat_n(i as u32, n));
    }
    let model = Model {
        feature_names: names.clone(),
        detectors,
        calibrators: Calibrators::fit(&scores, &of, &symbols)?,
        threshold: AlertBudget {
            alerts_per_symbol_day: 6.0,
        }
        .threshold(1_440.0)?,
        engine: serde_json::Value::Null,
        metadata: BTreeMap::new(),
        baseline: Baseline::fit(training.view())?,
        golden: detectors::Golden::default(),
    };
    let onnx = model.to_onnx()?;
    std::fs::create_dir_all(folder)?;
    std::fs::write(folder.join("model.onnx"), &onnx.bytes)?;

    let rows = tested(training.view());
    let mut csv = names.join(",") + ",symbol\n";
    let outputs: Vec<&str> = onnx
        .outputs
        .iter()
        .map(|column| column.name.as_str())
        .collect();
    let mut native = outputs.join(",") + "\n";
    let mut parts = vec![0.0; names.len()];
    for (i, row) in rows.rows().into_iter().enumerate() {
        let row = row.to_vec();
        let known = scope == Scope::NoFallback || i % 7 != 0;
        let symbol = if known {
            SYMBOLS[i % SYMBOLS.len()]
        } else {
            "UNKNOWN"
        };
        for value in &row {
            write!(csv, "{value:?},")?;
        }
        writeln!(csv, "\"{}\"", symbol.replace('"', "\"\""))?;
        let score = model.score_one(symbol, &row)?;
        model.detectors.get(symbol)?.explain(&row, &mut parts)?;
        write!(
            native,
            "{:?},{:?},{},{:?}",
            score.neg_log10_tail, score.raw, score.flagged, model.threshold.neg_log10_tail
        )?;
        for part in &parts[..outputs.len() - 4] {
            write!(native, ",{part:?}")?;
        }
        native.push('\n');
    }
    std::fs::write(folder.join("rows.csv"), csv)?;
    std::fs::write(folder.join("native.csv"), native)?;
    Ok(())
}
