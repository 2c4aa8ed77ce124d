//! A model as an ONNX graph of standard operators: scaling, detectors, calibration, threshold and flag,
//! for programs that know nothing of Foreshock.
//!
//! Inputs are the features, each a `double` tensor (n_samples) of its name ((n_samples, 1) where it is
//! the only input), and `symbol`, a `string` tensor (n_samples), where the answer depends on it: several
//! symbols were calibrated, or have detectors of their own. Outputs, each (n_samples):
//!
//! | output | type | what |
//! | --- | --- | --- |
//! | `score` | `double` | −log₁₀ tail probability, as [`ModelScore::neg_log10_tail`](crate::ModelScore) |
//! | `raw_score` | `double` | as the detector gives it |
//! | `flag` | `bool` | whether `score` is strictly beyond the threshold |
//! | `threshold` | `double` | the threshold, in every row |
//! | `contribution_<feature>` | `double` | the feature's part in the raw score, as [`Detector::explain`](crate::Detector::explain) gives it; of detectors whose parts a graph can tell |
//!
//! A row with a value that isn't finite, which the native model refuses, scores NaN and isn't flagged; a
//! symbol that no detector is for fails the run, and the error names the node
//! `symbol_without_a_detector`. A detector that learns is written as it is at that moment.
//!
//! Numbers are added in the detectors' own order, so that scores agree to the last bits, however steep
//! the calibration is: sums by `CumSum`, elementary functions as the detectors compute them. Trees along
//! single columns are a `TreeEnsembleRegressor` that says in which leaf a row ends (it gives `float`, and
//! a number of a leaf is exact in that). The same model gives the same bytes.

mod autoencoder;
mod calibrator;
mod columns;
mod consensus;
mod distances;
mod forest;
mod gaussian;
mod graph;
mod half_space;
mod ops;
mod proto;
mod trees;

use prost::Message;

use crate::detector::Detector;
use crate::error::{Error, Result};
use crate::model::{DetectorSet, Model};
use calibrator::{SYMBOL, SymbolTables};
use graph::{Graph, Kind, Setting, Value, value_info};

/// Versions of the operators, and of the format, that graphs are written in.
const OPSET: i64 = 18;
const ML_OPSET: i64 = 3;
const IR_VERSION: i64 = 8;
/// Constants of a graph at most, in bytes: protobuf ends at 2 GiB.
const MAX_BYTES: usize = 1 << 30;
/// Detectors of a graph at most: each is a part of its own.
const MAX_DETECTORS: usize = 64;

/// A column of a graph's input or output.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OnnxColumn {
    /// Its name.
    pub name: String,
    /// What it holds.
    pub kind: OnnxKind,
}

/// What a column holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OnnxKind {
    /// `double`.
    Double,
    /// `string`.
    Text,
    /// `bool`.
    Flag,
}

/// A model as ONNX.
#[derive(Debug, Clone, PartialEq)]
pub struct OnnxModel {
    /// The content of `model.onnx`.
    pub bytes: Vec<u8>,
    /// Inputs, in order.
    pub inputs: Vec<OnnxColumn>,
    /// Outputs, in order.
    pub outputs: Vec<OnnxColumn>,
}

impl OnnxModel {
    /// Whether an input is the symbol.
    #[must_use]
    pub fn takes_symbol(&self) -> bool {
        self.inputs.iter().any(|input| input.kind == OnnxKind::Text)
    }
}

/// What a detector's part of a graph gives.
struct Scored {
    /// (n_samples).
    raw: Value,
    /// (n_samples, n_features), where the graph can tell.
    parts: Option<Value>,
}

impl Model {
    /// The model as an ONNX graph; see [`onnx`](crate::onnx) for its inputs and outputs.
    ///
    /// # Errors
    /// As [`check`](Self::check); [`Error::NotExportable`] for a forest that scores missing values, for
    /// more than 5,000,000 values kept by a kNN or DBSCAN, more than 64 detectors, 1 GiB of constants, and
    /// for features that are called as something else in the graph is.
    pub fn to_onnx(&self) -> Result<OnnxModel> {
        self.check()?;
        let n = self.feature_names.len();
        let mut graph = Graph::default();
        let tables = SymbolTables::new(self);
        let takes_symbol = tables.is_needed();
        check_names(&self.feature_names, takes_symbol)?;

        let is_alone = n == 1 && !takes_symbol;
        let mut inputs = Vec::new();
        let mut columns = Vec::new();
        for name in &self.feature_names {
            let shape: &[Option<i64>] = if is_alone { &[None, Some(1)] } else { &[None] };
            inputs.push(value_info(name, Kind::Double, Some(shape)));
            let column = Value(name.clone());
            columns.push(graph.reshape(&column, &[-1, 1]));
        }
        let columns: Vec<&Value> = columns.iter().collect();
        let rows = graph.op_with("Concat", &columns, vec![("axis", Setting::Int(1))]);
        if takes_symbol {
            inputs.push(value_info(SYMBOL, Kind::Text, Some(&[None])));
        }

        let finite = is_finite(&mut graph, &rows);
        let scored = match &self.detectors {
            DetectorSet::Global(detector) => emit(&mut graph, &rows, detector)?,
            DetectorSet::PerSymbol { .. } => {
                per_symbol(&mut graph, &rows, &self.detectors, &tables)?
            }
            DetectorSet::External(_) => return Err(Error::External),
        };
        let tail = tables.calibrate(&mut graph, &scored.raw);
        let nan = graph.double(f64::NAN);
        let score = graph.op("Identity", &[&tail]);
        let threshold = graph.double(self.threshold.neg_log10_tail);
        let beyond = graph.op("Greater", &[&score, &threshold]);
        let n_rows = graph.n_rows(&rows);
        let filled = graph.filled(&n_rows, Kind::Double, self.threshold.neg_log10_tail);

        let mut outputs = Vec::new();
        let mut give = |graph: &mut Graph, name: &str, kind, op: &str, from: &[&Value]| {
            graph.named(op, from, name, name);
            outputs.push((name.to_owned(), kind));
        };
        let double = Kind::Double;
        give(
            &mut graph,
            "score",
            double,
            "Where",
            &[&finite, &score, &nan],
        );
        give(
            &mut graph,
            "raw_score",
            double,
            "Where",
            &[&finite, &scored.raw, &nan],
        );
        give(&mut graph, "flag", Kind::Bool, "And", &[&finite, &beyond]);
        give(&mut graph, "threshold", double, "Identity", &[&filled]);
        if let Some(parts) = &scored.parts {
            for (feature, name) in self.feature_names.iter().enumerate() {
                let part = graph.last_axis_at(parts, feature as i64);
                let name = format!("contribution_{name}");
                give(&mut graph, &name, double, "Where", &[&finite, &part, &nan]);
            }
        }
        if graph.n_bytes() > MAX_BYTES {
            return Err(Error::NotExportable {
                what: "the model".to_owned(),
                reason: format!(
                    "its constants take {} bytes, above {MAX_BYTES}",
                    graph.n_bytes()
                ),
            });
        }
        let columns_of = |columns: &[(String, Kind)]| -> Vec<OnnxColumn> {
            let column = |(name, kind): &(String, Kind)| OnnxColumn {
                name: name.clone(),
                kind: match kind {
                    Kind::Text => OnnxKind::Text,
                    Kind::Bool => OnnxKind::Flag,
                    _ => OnnxKind::Double,
                },
            };
            columns.iter().map(column).collect()
        };
        let mut input_columns: Vec<(String, Kind)> = self
            .feature_names
            .iter()
            .map(|name| (name.clone(), Kind::Double))
            .collect();
        if takes_symbol {
            input_columns.push((SYMBOL.to_owned(), Kind::Text));
        }
        let output_infos = outputs
            .iter()
            .map(|(name, kind)| value_info(name, *kind, Some(&[None])))
            .collect();
        let version = |domain: &str, version| proto::OperatorSet {
            domain: domain.to_owned(),
            version,
        };
        let model = proto::Model {
            ir_version: IR_VERSION,
            producer_name: "foreshock".to_owned(),
            producer_version: env!("CARGO_PKG_VERSION").to_owned(),
            doc_string: "score: -log10 tail probability, higher is more anomalous".to_owned(),
            graph: Some(graph.finish("foreshock", inputs, output_infos)),
            opset_import: vec![version("", OPSET), version("ai.onnx.ml", ML_OPSET)],
            metadata_props: Vec::new(),
        };
        Ok(OnnxModel {
            bytes: model.encode_to_vec(),
            inputs: columns_of(&input_columns),
            outputs: columns_of(&outputs),
        })
    }
}

/// Names within a graph are unique, its own begin with a slash.
fn check_names(features: &[String], takes_symbol: bool) -> Result<()> {
    let taken = |name: &String| {
        let plain = ["score", "raw_score", "flag", "threshold"].contains(&name.as_str());
        let contribution = name
            .strip_prefix("contribution_")
            .is_some_and(|of| features.iter().any(|feature| feature == of));
        let symbol = takes_symbol && name == SYMBOL;
        plain || contribution || symbol || name.is_empty() || name.starts_with('/')
    };
    match features.iter().find(|name| taken(name)) {
        None => Ok(()),
        Some(name) => Err(Error::NotExportable {
            what: "the model".to_owned(),
            reason: format!(
                "a feature is called `{name}`, which is empty, begins with a slash or names \
                 something else in the graph"
            ),
        }),
    }
}

/// Of each row whether all of its values are finite, (n_samples).
fn is_finite(graph: &mut Graph, rows: &Value) -> Value {
    let size = graph.op("Abs", &[rows]);
    let largest = graph.double(f64::MAX);
    // No comparison with NaN holds.
    let each = graph.op("LessOrEqual", &[&size, &largest]);
    let each = graph.cast(&each, Kind::Float);
    let all = graph.reduce("ReduceMin", &each, 1);
    graph.cast(&all, Kind::Bool)
}

fn emit(graph: &mut Graph, rows: &Value, detector: &Detector) -> Result<Scored> {
    match detector {
        Detector::IsolationForest(inner) => forest::emit(graph, rows, inner),
        Detector::MaxZ(inner) => Ok(columns::max_z(graph, rows, inner)),
        Detector::Ecod(inner) => Ok(columns::ecod(graph, rows, inner)),
        Detector::Hbos(inner) => Ok(columns::hbos(graph, rows, inner)),
        Detector::Knn(inner) => distances::knn(graph, rows, inner),
        Detector::Dbscan(inner) => distances::dbscan(graph, rows, inner),
        Detector::Mahalanobis(inner) => Ok(gaussian::mahalanobis(graph, rows, inner)),
        Detector::GaussianMixture(inner) => Ok(gaussian::mixture(graph, rows, inner)),
        Detector::Autoencoder(inner) => Ok(autoencoder::emit(graph, rows, inner)),
        Detector::HalfSpaceTrees(inner) => half_space::emit(graph, rows, inner),
        Detector::CandleZ(inner) => Ok(columns::candle_z(graph, rows, inner)),
        Detector::SlidingWindow(inner) => Ok(columns::sliding_window(graph, rows, inner)),
        Detector::Consensus(inner) => consensus::emit(graph, rows, inner),
    }
}

/// Every detector scores the rows of its symbols.
fn per_symbol(
    graph: &mut Graph,
    rows: &Value,
    detectors: &DetectorSet,
    tables: &SymbolTables<'_>,
) -> Result<Scored> {
    // The fallback, if any, is the last.
    let (all, place) = tables.detector_of_rows(graph, detectors);
    if all.len() > MAX_DETECTORS {
        return Err(Error::NotExportable {
            what: "the model".to_owned(),
            reason: format!(
                "it has {} detectors, one a symbol, above {MAX_DETECTORS}",
                all.len()
            ),
        });
    }
    let (mut at, mut raw, mut parts) = (Vec::new(), Vec::new(), Vec::new());
    for (i, detector) in all.iter().enumerate() {
        let own = graph.int(i as i64);
        let is_own = graph.op("Equal", &[&place, &own]);
        let own_rows = graph.op("NonZero", &[&is_own]);
        let own_rows = graph.reshape(&own_rows, &[-1]);
        let selected = graph.gather(rows, &own_rows, 0);
        let scored = emit(graph, &selected, detector)?;
        at.push(own_rows);
        raw.push(scored.raw);
        parts.extend(scored.parts);
    }
    let concat = |graph: &mut Graph, values: &[Value]| {
        let values: Vec<&Value> = values.iter().collect();
        graph.op_with("Concat", &values, vec![("axis", Setting::Int(0))])
    };
    let at = concat(graph, &at);
    let at = graph.unsqueeze(&at, 1);
    let n_rows = graph.n_rows(rows);
    let empty = graph.filled(&n_rows, Kind::Double, 0.0);
    let raws = concat(graph, &raw);
    let raw = graph.op("ScatterND", &[&empty, &at, &raws]);
    let parts = (parts.len() == all.len()).then(|| {
        let none = graph.sub(rows, rows);
        let parts = concat(graph, &parts);
        graph.op("ScatterND", &[&none, &at, &parts])
    });
    Ok(Scored { raw, parts })
}
