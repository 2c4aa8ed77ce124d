//! A graph that scores rows.

use std::io::Cursor;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use ndarray::{ArrayView1, ArrayView2, Axis};
use tract_onnx::pb::ModelProto;
use tract_onnx::tract_hir::internal::*;

use crate::check::{Layout, check_operators, graph_inputs, layout};
use crate::error::{Error, Result};
use crate::ops;
use crate::rule::ScoreRule;
use crate::signature::Signature;

/// Rows that go through the graph at a time.
const CHUNK: usize = 4_096;

/// A checked ONNX model that gives a row one number.
#[derive(Clone)]
pub struct ScoringModel {
    plan: Arc<TypedSimplePlan>,
    layout: Layout,
    /// Of a graph with a tensor a column: which column of a row each takes.
    order: Vec<usize>,
    n_features: usize,
    output: usize,
    sign: f64,
    reconstruction: Option<bool>,
}

impl std::fmt::Debug for ScoringModel {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ScoringModel")
            .field("layout", &self.layout)
            .field("n_features", &self.n_features)
            .field("output", &self.output)
            .field("sign", &self.sign)
            .finish_non_exhaustive()
    }
}

impl ScoringModel {
    /// Checks `bytes`, the content of a `model.onnx`, against the `signature` that it was logged with, and
    /// makes it ready to score by `rule`.
    ///
    /// # Errors
    /// Bytes that are no ONNX model; opsets, operators, inputs, dimensions, types and outputs other than
    /// can be used, with what was expected and found.
    pub fn load(bytes: &[u8], signature: &Signature, rule: &ScoreRule) -> Result<Self> {
        // What parses graphs wasn't made for those of strangers: it may panic.
        let loaded = catch_unwind(AssertUnwindSafe(|| {
            Self::load_checked(bytes, signature, rule)
        }));
        loaded.unwrap_or_else(|_| Err(Error::unreadable("model", "its graph makes no sense")))
    }

    fn load_checked(bytes: &[u8], signature: &Signature, rule: &ScoreRule) -> Result<Self> {
        let onnx = ops::onnx();
        let proto: ModelProto = onnx
            .proto_model_for_read(&mut Cursor::new(bytes))
            .map_err(|error| Error::unreadable("model", format!("{error:#}")))?;
        let graph = proto
            .graph
            .as_ref()
            .filter(|graph| !graph.output.is_empty());
        let graph = graph.ok_or_else(|| Error::unreadable("model", "it has no graph"))?;
        check_operators(&proto, |op| onnx.op_register.0.contains_key(op))?;
        let (layout, n_features) = layout(graph, signature)?;
        let outputs: Vec<String> = graph.output.iter().map(|o| o.name.clone()).collect();
        let (output, sign) = rule.choose(&outputs)?;
        let order = match &layout {
            Layout::Matrix(_) => Vec::new(),
            Layout::Columns(_) => {
                let names = signature.column_names().unwrap_or_default();
                let inputs = graph_inputs(graph).into_iter();
                let place = |name: &str| names.iter().position(|n| n == name);
                inputs.filter_map(|input| place(&input.name)).collect()
            }
        };
        let prepare = || -> TractResult<Arc<TypedSimplePlan>> {
            let mut model = onnx.model_for_proto_model(&proto)?;
            let n = model.symbols.sym("n_samples").to_dim();
            match &layout {
                Layout::Matrix(kind) => {
                    let fact = InferenceFact::dt_shape(*kind, tvec![n, n_features.to_dim()]);
                    model.set_input_fact(0, fact)?;
                }
                Layout::Columns(columns) => {
                    for (i, (kind, is_wide)) in columns.iter().enumerate() {
                        let mut shape = tvec![n.clone()];
                        if *is_wide {
                            shape.push(1.to_dim());
                        }
                        model.set_input_fact(i, InferenceFact::dt_shape(*kind, shape))?;
                    }
                }
            }
            for i in 0..model.outputs.len() {
                model.set_output_fact(i, InferenceFact::default())?;
            }
            model.into_optimized()?.into_runnable()
        };
        let model = Self {
            plan: prepare().map_err(|error| Error::run(&error))?,
            layout,
            order,
            n_features,
            output,
            sign,
            reconstruction: rule.reconstruction,
        };
        // What only shows when it runs shows now.
        model.score(ndarray::Array2::zeros((2, n_features)).view())?;
        Ok(model)
    }

    /// Number of values of a row.
    #[must_use]
    pub fn n_features(&self) -> usize {
        self.n_features
    }

    /// Scores of `rows`, (n_samples, n_features), columns in the signature's order; higher is more
    /// anomalous.
    ///
    /// # Errors
    /// Another number of columns, a graph that fails or gives something else than a number a row, a score
    /// that isn't finite.
    pub fn score(&self, rows: ArrayView2<'_, f64>) -> Result<Vec<f64>> {
        if rows.ncols() != self.n_features {
            return Err(Error::mismatch(
                "columns of the rows",
                self.n_features.to_string(),
                rows.ncols().to_string(),
            ));
        }
        let mut scores = Vec::with_capacity(rows.nrows());
        for chunk in rows.axis_chunks_iter(Axis(0), CHUNK) {
            let found = self.run(chunk)?;
            if let Some(at) = found.iter().position(|score| !score.is_finite()) {
                let row = scores.len() + at;
                return Err(Error::NonFinite {
                    row,
                    value: found[at],
                });
            }
            scores.extend(found);
        }
        Ok(scores)
    }

    /// The score of one row of [`n_features`](Self::n_features) values. It doesn't depend on what is scored beside it;
    /// in [`score`](Self::score) its last bits may, since matrices of another height are multiplied in another order.
    ///
    /// # Errors
    /// As [`score`](Self::score).
    pub fn score_one(&self, row: &[f64]) -> Result<f64> {
        let row = ArrayView1::from(row).insert_axis(Axis(0));
        let scores = self.score(row)?;
        scores
            .first()
            .copied()
            .ok_or_else(|| Error::mismatch("output", "a number", "none"))
    }

    fn run(&self, rows: ArrayView2<'_, f64>) -> Result<Vec<f64>> {
        let failed = |error: TractError| Error::run(&error);
        let inputs = self.inputs(rows).map_err(failed)?;
        let outputs = self.plan.run(inputs).map_err(failed)?;
        let output = outputs[self.output].cast_to::<f64>().map_err(failed)?;
        let values = output.to_plain_array_view::<f64>().map_err(failed)?;
        let values: Vec<f64> = values.iter().copied().collect();
        let (n, width) = (rows.nrows(), self.n_features);
        let is_rebuilt = match self.reconstruction {
            Some(said) => said,
            None => width > 1 && values.len() == n * width,
        };
        if !is_rebuilt && values.len() == n {
            return Ok(values.into_iter().map(|value| self.sign * value).collect());
        }
        if is_rebuilt && values.len() == n * width {
            let pairs = values.chunks_exact(width).zip(rows.rows());
            let error = |(rebuilt, row): (&[f64], ArrayView1<'_, f64>)| {
                let squares = rebuilt.iter().zip(row).map(|(a, b)| (a - b) * (a - b));
                (squares.sum::<f64>() / width as f64).sqrt()
            };
            return Ok(pairs.map(error).collect());
        }
        let expected = match self.reconstruction {
            Some(true) => format!("{width} numbers a row"),
            Some(false) => "one number a row".to_owned(),
            None => format!("one number a row, or {width}: the row as rebuilt"),
        };
        let found = format!("{} numbers for {n} rows", values.len());
        Err(Error::mismatch("output", expected, found))
    }

    fn inputs(&self, rows: ArrayView2<'_, f64>) -> TractResult<TVec<TValue>> {
        let tensor = |values: Vec<f64>, shape: &[usize], kind: DatumType| -> TractResult<TValue> {
            let values = tract_ndarray::ArrayD::from_shape_vec(shape, values)?;
            let values = values.into_tensor();
            Ok(values.cast_to_dt(kind)?.into_owned().into_tvalue())
        };
        let n = rows.nrows();
        match &self.layout {
            Layout::Matrix(kind) => {
                let values = rows.iter().copied().collect();
                Ok(tvec![tensor(values, &[n, self.n_features], *kind)?])
            }
            Layout::Columns(columns) => columns
                .iter()
                .zip(&self.order)
                .map(|((kind, is_wide), column)| {
                    let shape: &[usize] = if *is_wide { &[n, 1] } else { &[n] };
                    tensor(rows.column(*column).to_vec(), shape, *kind)
                })
                .collect(),
        }
    }
}
